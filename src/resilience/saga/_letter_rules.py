"""The rules of letters: who may send them, where they are kept, and who hears of them."""

from functools import partial

from ..errors import MessageRefused, UnknownSaga
from ._bench import Bell, Bench, begun, opened, refused, same
from ._journal import CONTROL, Journal


def letters_are_kept(bench: Bench) -> None:
    """A letter is kept for its saga, whoever sends it; letters are numbered upwards."""
    ours, theirs = bench.two()
    begun(ours)
    begun(ours, "b")
    rows = [
        ours.send("a", "approval", b'"yes"', "ann").wait(),
        theirs.send("b", "approval", b"\x00\xff", "bob").wait(),
        theirs.send("a", "address", b"{}", "").wait(),
    ]
    same(sorted(set(rows)), rows, "the numbers of three letters, in the order in which they were sent,")
    there = ours.letters("a").wait()
    expected = [(rows[0], "approval", b'"yes"', "ann"), (rows[2], "address", b"{}", "")]
    same([letter[:4] for letter in there], expected, "what letters('a') finds")
    same(ours.letters("a", rows[0]).wait(), there[1:], "what letters('a', after=the first) finds")
    same([letter.value for letter in theirs.letters("b").wait()], [b"\x00\xff"], "what another owner finds for 'b'")
    same(ours.letters("unknown").wait(), [], "what letters of an unknown saga finds")
    same(opened(ours).letters, there, "the letters that open('a') finds")


def letters_survive(bench: Bench) -> None:
    """An acknowledged letter survives its sender and the owner of the saga."""
    ours, theirs = bench.two()
    begun(ours)
    theirs.send("a", "approval", b"yes", "ann").wait()
    bench.kill(theirs)
    bench.kill(ours)
    there = opened(bench.another(ours)).letters
    same([letter.value for letter in there], [b"yes"], "what open('a') finds afterwards")


def one_letter_for_a_topic(bench: Bench) -> None:
    """A topic takes one letter: the same again is the same, another is refused."""
    ours, theirs = bench.two()
    begun(ours)
    begun(ours, "b")
    row = ours.send("a", "approval", b"yes", "ann").wait()
    same(theirs.send("a", "approval", b"yes", "bob").wait(), row, "the number of the same letter, sent again,")
    refused("another message to the same topic", lambda: theirs.send("a", "approval", b"no", "bob"), MessageRefused)
    same(len(ours.letters("a").wait()), 1, "the number of letters then")
    ours.send("a", "address", b"no", "ann").wait()
    ours.send("b", "approval", b"no", "ann").wait()


def requests_in_any_number(bench: Bench) -> None:
    """The topic of requests takes any number of letters, also the same again."""
    journal = bench.fresh()
    begun(journal)
    rows = [journal.send("a", CONTROL, value, "ann").wait() for value in (b"pause", b"resume", b"pause")]
    same([letter.row for letter in journal.letters("a").wait()], rows, "the numbers of the letters that are kept")
    same(len(set(rows)), 3, "the number of letters after three requests")


def no_letters_after_the_end(bench: Bench) -> None:
    """A saga that has ended takes no letters, and an unknown one neither."""
    journal = bench.fresh()
    begun(journal)
    journal.append("a", [b"end"], "completed").wait()
    for topic in ("approval", CONTROL):
        refused(f"a late letter to {topic}", partial(journal.send, "a", topic, b"1", "ann"), MessageRefused)
    refused("a letter to an unknown saga", lambda: journal.send("unknown", "approval", b"1", "ann"), UnknownSaga)


def nested_addresses(bench: Bench) -> None:
    """A message to a nested saga is kept with the saga that it is a part of."""
    journal = bench.fresh()
    begun(journal, "a")
    begun(journal, "a/own")
    journal.send("a/deliver", "approval", b"1", "ann").wait()
    journal.send("a/deliver/drive", "approval", b"2", "ann").wait()
    journal.send("a/own", "approval", b"3", "ann").wait()
    journal.send("a/own/deliver", "approval", b"4", "ann").wait()
    same(_topics(journal, "a"), ["deliver.approval", "deliver.drive.approval"], "the topics of the letters of 'a'")
    same(_topics(journal, "a/own"), ["approval", "deliver.approval"], "the topics of the letters of 'a/own'")
    refused("a request to a nested saga", lambda: journal.send("a/deliver", CONTROL, b"1", "ann"), UnknownSaga)
    refused("a message to a part of nothing", lambda: journal.send("b/deliver", "approval", b"1", "ann"), UnknownSaga)


def watchers_hear(bench: Bench) -> None:
    """The watchers of a saga's owner hear of letters to it, and nobody else does."""
    ours, theirs = bench.two()
    bell, elsewhere, ended = Bell(), Bell(), Bell()
    end = ours.watch(bell)
    theirs.watch(elsewhere)
    ours.watch(ended)()
    for id_ in ("a", "b"):
        begun(ours, id_)
    begun(theirs, "c")
    ours.send("a", "approval", b"1", "ann").wait()
    bell.wait_for("a")
    theirs.send("b", "approval", b"1", "ann").wait()
    bell.wait_for("b")
    ours.send("c", "approval", b"1", "ann").wait()
    elsewhere.wait_for("c")
    same((bell.heard, elsewhere.heard), ({"a", "b"}, {"c"}), "what the owner of 'a' and 'b', and that of 'c', hear")
    same(ended.heard, set[str](), "what somebody hears who has stopped watching")
    end()
    end()


def stuck_ones_wait_for_letters(bench: Bench) -> None:
    """A stuck orphan waits to be taken up once it has a letter that was not heard."""
    ours, theirs = bench.two()
    begun(ours)
    ours.send("a", "approval", b"1", "ann").wait()
    ours.append("a", [b"parked"], "stuck").wait()
    bench.kill(ours)
    same(theirs.orphans({"Trip"}).wait(), [], "what waits to be taken up, with only an old letter,")
    theirs.send("a", CONTROL, b"retry", "ann").wait()
    same(theirs.orphans({"Trip"}).wait(), ["a"], "what waits to be taken up, with a new letter,")
    same(opened(theirs).owned, True, "whether it can be taken up")
    theirs.append("a", [b"parked"], "stuck").wait()
    bench.kill(theirs)
    third = bench.another(ours)
    same(third.orphans({"Trip"}).wait(), [], "what waits to be taken up, with the letter heard,")
    opened(third)
    heard = third.send("a", CONTROL, b"retry", "ann").wait()
    third.send("a", CONTROL, b"abort", "ann").wait()
    third.append("a", [b"parked"], "stuck", heard).wait()
    bench.kill(third)
    same(bench.another(ours).orphans({"Trip"}).wait(), ["a"], "what waits to be taken up, with one letter unheard,")


def _topics(journal: Journal, id_: str) -> list[str]:
    return [letter.topic for letter in journal.letters(id_).wait()]


LETTER_RULES = (
    letters_are_kept,
    letters_survive,
    one_letter_for_a_topic,
    requests_in_any_number,
    no_letters_after_the_end,
    nested_addresses,
    watchers_hear,
    stuck_ones_wait_for_letters,
)
