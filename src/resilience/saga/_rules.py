"""The rules of records and owners: what is acknowledged is there, and one at a time may write."""

from functools import partial
from typing import Any

from .._clock import clock
from ..errors import JournalUnavailable, LostOwnership
from ._bench import Bench, begun, bodies, each, opened, refused, rows, same, together, wrong
from ._journal import ENDED, LONGEST_ID, Journal, Summary
from ._pending import Pending

_DAY = 86_400.0


def answers_are_owed(bench: Bench) -> None:
    """Every method answers with a `Pending`."""
    journal = bench.fresh()
    answers: dict[str, Any] = {
        "start": journal.start("a", "Trip", b"start"),
        "open": journal.open("a"),
        "append": journal.append("a", [b"1"], "open"),
        "send": journal.send("a", "approval", b"1", "ann"),
        "letters": journal.letters("a"),
        "read": journal.read("a"),
        "find": journal.find("a"),
        "list": journal.list(),
        "orphans": journal.orphans({"Trip"}),
        "untold": journal.untold(),
        "told": journal.told("a"),
        "check": journal.check(),
        "release": journal.release("a"),
        "purge": journal.purge(before=0.0),
    }
    same([name for name, answer in answers.items() if not isinstance(answer, Pending)], [], "what answers otherwise")
    for answer in answers.values():
        answer.wait()


def a_new_saga(bench: Bench) -> None:
    """`start` begins a saga that is owned by who began it, and open."""
    journal = bench.fresh()
    saga = begun(journal)
    same(([row.body for row in saga.rows], len(saga.letters)), ([b"start"], 0), "what start('a') finds")
    same((saga.created, saga.owned), (True, True), "whether start('a') created it, and owns it,")
    (summary,) = journal.list().wait()
    same(summary[:3], ("a", "Trip", "open"), "the id, class and status in the list")
    same((summary.ended, summary.orphan), (None, False), "whether it has ended, and is an orphan,")
    if abs(summary.started - clock.wall()) > _DAY or saga.rows[0].at != summary.started:
        wrong(f"it started at {summary.started!r}, its first record is of {saga.rows[0].at!r}, now is {clock.wall()!r}")


def a_known_saga(bench: Bench) -> None:
    """`start` and `open` of a saga that is owned here find it, and write nothing."""
    journal = bench.fresh()
    begun(journal)
    journal.append("a", [b"1"], "open").wait()
    for what, saga in (
        ("start", begun(journal, saga="Other", body=b"again")),
        ("open", opened(journal)),
    ):
        same((saga.created, saga.owned), (False, True), f"whether {what}('a') created it, and owns it,")
        same([row.body for row in saga.rows], [b"start", b"1"], f"what {what}('a') finds")
    same(bodies(journal), [b"start", b"1"], "what is written then")


def an_unknown_saga(bench: Bench) -> None:
    """`open` and `read` of an unknown saga find nothing, and make nothing."""
    journal = bench.fresh()
    same((journal.open("a", b"resumed").wait(), journal.read("a").wait()), (None, None), "what open and read find")
    same(journal.list().wait(), [], "the list then")


def records_are_bytes(bench: Bench) -> None:
    """Records come back in order, byte for byte, each with its time."""
    journal = bench.fresh()
    written = [bytes(range(256)), b"", '{"a": "\N{SNOWMAN}"}'.encode(), b"2" * 100_000]
    begun(journal, body=written[0])
    journal.append("a", written[1:3], "open").wait()
    journal.append("a", [], "open").wait()
    journal.append("a", written[3:], "open").wait()
    same(bodies(journal), written, "what was written")
    times = [row.at for row in rows(journal)]
    same({type(time) for time in times}, {float}, "the type of their times")


def ids_are_exact(bench: Bench) -> None:
    """Ids that differ at all are different; what is no id is refused."""
    journal = bench.fresh()
    ids = ["a", "A", "a ", " a", "a/b", "a%", "a_", "\u00e9", "e\u0301", "'; --", "\u4e2d" * LONGEST_ID]
    for number, id_ in enumerate(ids):
        begun(journal, id_, body=b"%d" % number)
    same([bodies(journal, id_) for id_ in ids], [[b"%d" % number] for number in range(len(ids))], "what they hold")
    for id_ in ("", "a" * (LONGEST_ID + 1), "a\n", "\x00", "\ud800"):
        refused(f"start({id_[:9]!r})", partial(journal.start, id_, "Trip", b"start"), ValueError)
    no_text: Any = 7
    refused("start(7)", lambda: journal.start(no_text, "Trip", b"start"), TypeError)
    same(len(journal.list().wait()), len(ids), "the number of sagas then")


def appends_are_atomic(bench: Bench) -> None:
    """If one record of an append is too large, none is written."""
    journal = bench.fresh()
    begun(journal)
    error = refused("a record of 16 MiB", lambda: journal.append("a", [b"1", b"2" * (1 << 24)], "stuck"), ValueError)
    if f"{1 << 24:,}" not in str(error):
        wrong(f"the error does not tell the record's size, {1 << 24:,}: {error}")
    same(bodies(journal), [b"start"], "what is written then")
    same(journal.list().wait()[0].status, "open", "the status then")


def order_is_kept(bench: Bench) -> None:
    """Appends that are not waited for are written in the order of the calls."""
    journal = bench.fresh()
    ids = list(each(20))
    owed: list[Pending[Any]] = [journal.start(id_, "Trip", b"start") for id_ in ids]
    for number in range(10):
        owed += [journal.append(id_, [b"%d" % number], "open") for id_ in ids]
    for answer in owed:
        answer.wait()
    expected = [b"start", *(b"%d" % number for number in range(10))]
    same([id_ for id_ in ids if bodies(journal, id_) != expected], [], "the sagas with records in another order")


def one_fails_alone(bench: Bench) -> None:
    """An append that is refused takes no other with it."""
    ours, theirs = bench.two()
    begun(theirs, "b")
    ids = list(each(5))
    for id_ in ids:
        begun(ours, id_)
    owed = [ours.append(id_, [b"1"], "open") for id_ in (ids[0], "b", *ids[1:])]
    refused("an append to another's saga among others", lambda: owed[1], LostOwnership)
    for answer in (owed[0], *owed[2:]):
        answer.wait()
    same([bodies(ours, id_) for id_ in ids], [[b"start", b"1"]] * 5, "what the others hold")


def one_owner(bench: Bench) -> None:
    """While the owner of a saga is alive, nobody else gets it or writes to it."""
    ours, theirs = bench.two()
    begun(ours)
    for what, saga in (("start", begun(theirs, body=b"mine")), ("open", opened(theirs))):
        same((saga.created, saga.owned), (False, False), f"whether another's {what} created it, and owns it,")
        same([row.body for row in saga.rows], [b"start"], f"what another's {what} finds")
    refused("an append of who is not the owner", lambda: theirs.append("a", [b"theirs"], "completed"), LostOwnership)
    theirs.release("a").wait()
    ours.append("a", [b"1"], "open").wait()
    same(bodies(theirs), [b"start", b"1"], "what is written then")
    refused("an append to an unknown saga", lambda: theirs.append("unknown", [b"1"], "open"), LostOwnership)


def released_ones_are_free(bench: Bench) -> None:
    """A released saga is an orphan at once; who opens it then owns it."""
    ours, theirs = bench.two()
    begun(ours)
    ours.release("a").wait()
    ours.release("a").wait()
    (summary,) = ours.list().wait()
    same((summary.owner, summary.orphan), (None, True), "its owner, and whether it is an orphan,")
    refused("an append after the release", lambda: ours.append("a", [b"late"], "open"), LostOwnership)
    saga = opened(theirs)
    same((saga.created, saga.owned), (False, True), "whether open created it, and owns it,")
    same([row.body for row in saga.rows], [b"start", b"resumed"], "what open finds")
    refused("an append after another took it over", lambda: ours.append("a", [b"late"], "open"), LostOwnership)
    same(opened(ours, "a", b"again").owned, False, "whether the former owner gets it back")
    same(bodies(ours), [b"start", b"resumed"], "what is written then")


def the_dead_own_nothing(bench: Bench) -> None:
    """What the dead wrote is there, what they owned is free; they write no more."""
    ours, theirs = bench.two()
    begun(ours)
    begun(ours, "b")
    ours.append("a", [b"1"], "open").wait()
    bench.kill(ours)
    same(theirs.orphans({"Trip"}).wait(), ["a", "b"], "the orphans then")
    refused("an append of the dead", lambda: ours.append("a", [b"late"], "open"), LostOwnership, JournalUnavailable)
    same(begun(theirs, body=b"new").created, False, "whether start('a') made it anew")
    theirs.append("a", [b"2"], "open").wait()
    refused("an append of the dead", lambda: ours.append("a", [b"late"], "open"), LostOwnership, JournalUnavailable)
    same(bodies(theirs), [b"start", b"1", b"2"], "what is written then")


def closing_keeps_all(bench: Bench) -> None:
    """Closing finishes what was asked for; opened anew, a journal finds all."""
    ours = bench.fresh()
    owed: list[Pending[Any]] = [ours.start(id_, "Trip", b"start") for id_ in each(5)]
    owed += [ours.append(id_, [b"1"], "open") for id_ in each(5)]
    ours.close()
    ours.close()
    for answer in owed:
        answer.wait()
    refused("read after close", lambda: ours.read("a-0"), JournalUnavailable)
    refused("start after close", lambda: ours.start("b", "Trip", b"start"), JournalUnavailable)
    again = bench.another(ours)
    same([bodies(again, id_) for id_ in each(5)], [[b"start", b"1"]] * 5, "what is found afterwards")
    same(again.orphans({"Trip"}).wait(), list(each(5)), "the orphans then")


def one_of_many_begins(bench: Bench) -> None:
    """Of many that begin the same saga at once, one does."""
    journals = bench.two()
    found: list[tuple[bool, bytes]] = []

    def begin(number: int) -> None:
        saga = begun(journals[number % 2], body=b"%d" % number)
        found.append((saga.created, saga.rows[0].body))

    together([partial(begin, number) for number in range(8)])
    same(sum(created for created, _ in found), 1, "how many created it")
    same({body for _, body in found}, set(bodies(journals[0])), "what they found")


def one_of_many_takes_over(bench: Bench) -> None:
    """Of many that open an orphan at once, one owns it."""
    dead, first = bench.two()
    for id_ in each(5):
        begun(dead, id_)
    bench.kill(dead)
    journals = [first, *(bench.another(first) for _ in range(3))]
    owned: list[str] = []

    def take(journal: Journal, id_: str) -> None:
        owned.extend([id_] if opened(journal, id_).owned else [])

    together([partial(take, journal, id_) for id_ in each(5) for journal in journals])
    same(sorted(owned), list(each(5)), "who was owned, once for each owner,")
    same([len(bodies(first, id_)) for id_ in each(5)], [2] * 5, "how many records they have")


def the_end_is_the_end(bench: Bench) -> None:
    """A saga that has ended belongs to nobody, and nobody writes to it."""
    ours, theirs = bench.two()
    for id_, status in zip(each(3), ENDED, strict=True):
        begun(ours, id_)
        ours.append(id_, [b"end"], status).wait()
        (summary,) = ours.list(status={status}).wait()
        same(summary[:3], (id_, "Trip", status), "the id, class and status in the list")
        same((summary.owner, summary.orphan), (None, False), "its owner, and whether it is an orphan,")
        same(summary.ended, rows(ours, id_)[-1].at, "when it ended, beside the time of its last record,")
        refused("an append after the end", partial(ours.append, id_, [b"late"], "open"), LostOwnership)
        for journal in (ours, theirs):
            same(opened(journal, id_).owned, False, "whether open owns it")
            same(begun(journal, id_).owned, False, "whether start owns it")
        same(bodies(ours, id_), [b"start", b"end"], "what is written then")


def lists(bench: Bench) -> None:
    """`list` gives the sagas, oldest first: of some statuses, of a class, so many."""
    ours, theirs = bench.two()
    for number, id_ in enumerate(each(9)):
        begun(ours, id_, "Trip" if number % 2 else "Move")
        ours.append(id_, [], ("open", "stuck", "completed")[number % 3]).wait()
    found: dict[str, tuple[Pending[list[Summary]], list[int]]] = {
        "everything": (theirs.list(), list(range(9))),
        "status={'open'}": (theirs.list(status={"open"}), [0, 3, 6]),
        "status={'stuck', 'completed'}": (theirs.list(status={"stuck", "completed"}), [1, 2, 4, 5, 7, 8]),
        "status=()": (theirs.list(status=()), []),
        "saga='Trip'": (theirs.list(saga="Trip"), [1, 3, 5, 7]),
        "saga='Trip', status={'open', 'undone'}": (theirs.list(saga="Trip", status=["open", "undone"]), [3]),
        "limit=4": (theirs.list(limit=4), [0, 1, 2, 3]),
        "limit=0": (theirs.list(limit=0), []),
    }
    for what, (answer, numbers) in found.items():
        same([summary.id for summary in answer.wait()], [f"a-{number}" for number in numbers], f"the list of {what}")


def finds(bench: Bench) -> None:
    """`find` gives the saga of exactly this id, and says of it what `list` does."""
    ours, theirs = bench.two()
    ids = ["a", "A", "a/b", "a%"]
    for id_, status in zip(ids, ("open", "stuck", "completed", "undone"), strict=True):
        begun(ours, id_)
        ours.append(id_, [b"1"], status).wait()
    for when in ("while their owner lives", "afterwards"):
        listed = theirs.list().wait()
        same([theirs.find(id_).wait() for id_ in ids], listed, f"what find finds {when}")
        bench.kill(ours)
    same([theirs.find(id_).wait() for id_ in ("b", "a/", "%", "a_")], [None] * 4, "what find finds for unknown ids")


def orphans(bench: Bench) -> None:
    """`orphans` gives the open sagas of some classes that nobody alive owns."""
    ours, theirs = bench.two()
    for id_, saga, status in (
        ("a", "Trip", "open"),
        ("b", "Move", "open"),
        ("c", "Trip", "completed"),
        ("d", "Trip", "stuck"),
        ("e", "Other", "open"),
    ):
        begun(ours, id_, saga)
        ours.append(id_, [], status).wait()
    begun(theirs, "f")
    same(theirs.orphans({"Trip", "Move"}).wait(), [], "the orphans while their owner lives")
    bench.kill(ours)
    same(theirs.orphans({"Trip", "Move"}).wait(), ["a", "b"], "the orphans afterwards")
    same(theirs.orphans(["Trip"]).wait(), ["a"], "the orphans of one class")
    same(theirs.orphans(()).wait(), [], "the orphans of no class")


def ends_are_told(bench: Bench) -> None:
    """An end is untold until it is confirmed; the oldest comes first."""
    ours, theirs = bench.two()
    for id_ in each(4):
        begun(ours, id_)
    ours.told("a-3").wait()
    for id_ in ("a-2", "a-0", "a-1"):
        ours.append(id_, [b"end"], "completed").wait()
    bench.kill(ours)
    found = theirs.untold().wait()
    same({summary.id for summary in found}, {"a-0", "a-1", "a-2"}, "what is untold")
    same(found, sorted(found, key=lambda summary: summary.ended or 0.0), "what is untold, in the order of the ends,")
    same(theirs.untold(2).wait(), found[:2], "what is untold, at most two,")
    same(theirs.untold(sagas={"Trip", "Move"}).wait(), found, "what is untold of its class")
    same(theirs.untold(sagas={"Move"}).wait(), [], "what is untold of another class")
    theirs.told("a-2").wait()
    theirs.told("a-2").wait()
    theirs.told("unknown").wait()
    opened(theirs, "a-3")
    theirs.append("a-3", [b"end"], "undone").wait()
    bench.kill(theirs)
    same(set(_ids(bench.another(ours).untold())), {"a-0", "a-1", "a-3"}, "what is untold after one was confirmed")


def purges(bench: Bench) -> None:
    """`purge` forgets what ended before a time, in some ways, and nothing else."""
    ours, theirs = bench.two()
    for id_, status in zip(each(5), ("completed", "undone", "repaired", "stuck", "open"), strict=True):
        begun(ours, id_)
        ours.send(id_, "approval", b"1", "ann").wait()
        ours.append(id_, [b"1"], status).wait()
    ended = max(summary.ended or 0.0 for summary in ours.list().wait())
    same(theirs.purge(before=ended - _DAY).wait(), 0, "how many a purge before their end forgets")
    same(theirs.purge(before=ended + 1, statuses={"undone"}).wait(), 1, "how many undone ones it forgets")
    same(
        theirs.purge(before=ended + 1, statuses={"open", "stuck"}).wait(), 0, "how many it forgets that have not ended"
    )
    same(theirs.purge(before=ended + 1).wait(), 2, "how many others it forgets")
    same(_ids(theirs.list()), ["a-3", "a-4"], "the list then")
    saga = begun(theirs, "a-1", body=b"new")
    same((saga.created, len(saga.letters), bodies(theirs, "a-1")), (True, 0, [b"new"]), "a saga of an id that is free")


def nothing_is_wrong(bench: Bench) -> None:
    """`check` finds nothing wrong with a journal that is whole."""
    journal = bench.fresh()
    for id_ in each(3):
        begun(journal, id_)
        journal.send(id_, "approval", b"1", "ann").wait()
    journal.append("a-0", [b"end"], "completed").wait()
    same(journal.check().wait(), [], "what check finds")


def _ids(answer: Pending[list[Summary]]) -> list[str]:
    return [summary.id for summary in answer.wait()]


RECORD_RULES = (
    answers_are_owed,
    a_new_saga,
    a_known_saga,
    an_unknown_saga,
    records_are_bytes,
    ids_are_exact,
    appends_are_atomic,
    order_is_kept,
    one_fails_alone,
    one_owner,
    released_ones_are_free,
    the_dead_own_nothing,
    closing_keeps_all,
    one_of_many_begins,
    one_of_many_takes_over,
    the_end_is_the_end,
    lists,
    finds,
    orphans,
    ends_are_told,
    purges,
    nothing_is_wrong,
)
