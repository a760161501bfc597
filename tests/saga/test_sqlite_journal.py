"""A journal in a file: what it promises, to whom it belongs, and what it makes of files that are none."""

import logging
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from resilience.errors import JournalUnavailable, LostOwnership, MessageRefused, UnknownSaga
from resilience.saga._conformance import check_journal
from resilience.saga._journal import CONTROL
from resilience.saga._owners import owners_of
from resilience.saga._place import filesystem
from resilience.saga._schema import APPLICATION, VERSION
from resilience.saga._sqlite import SQLiteJournal
from resilience.testing import sandbox
from tests.saga.processes import forked, running

LONG = 20.0
"""Seconds after which a test gives up; none of them waits that long."""

OWN = """
    import sys
    from resilience.saga._sqlite import SQLiteJournal
    journal = SQLiteJournal(sys.argv[1])
    print(journal.open(sys.argv[2], b"resumed").wait().owned)
    for status in sys.stdin:
        try:
            print(journal.append(sys.argv[2], [b"late"], status.strip()).wait())
        except Exception as error:
            print(type(error).__name__)
"""
SEND = """
    import sys
    from resilience.saga._sqlite import SQLiteJournal
    journal = SQLiteJournal(sys.argv[1])
    for line in sys.stdin:
        print(journal.send(line.strip(), "control", b"stop", "ann").wait())
"""

WRITE = """
    import sys
    from resilience.saga._sqlite import SQLiteJournal
    journal = SQLiteJournal(sys.argv[1])
    journal.start(sys.argv[2], "Trip", b"0").wait()
    for number in range(1, int(sys.argv[3])):
        journal.append(sys.argv[2], [b"%d" % number], "open").wait()
    print("done")
"""

Open = Callable[..., SQLiteJournal]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sagas.db"


@pytest.fixture
def journal_at(path: Path) -> Generator[Open]:
    """Opens the journal of the test, once more each time; all are closed in the end."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(closing(SQLiteJournal(path, **options)))


def bodies(journal: SQLiteJournal, id_: str) -> list[bytes]:
    return [row.body for row in journal.read(id_).wait() or []]


def die(journal: SQLiteJournal) -> None:
    """As if its process were gone: its lock is, and it says nothing more."""
    owner = journal._writer._ledger.owner
    if owner is not None:
        journal._owners.give(owner)
    journal._process = 0


@pytest.mark.scenario(19, 20, 21, 31)
@pytest.mark.parametrize(("kill", "time"), [(None, nullcontext), (die, sandbox)])
def test_it_keeps_the_rules_of_journals(
    tmp_path: Path, kill: Callable[[SQLiteJournal], None] | None, time: Callable[[], AbstractContextManager[object]]
) -> None:
    made: list[SQLiteJournal] = []

    def opened(path: str | Path) -> SQLiteJournal:
        made.append(SQLiteJournal(path))
        return made[-1]

    with time():
        check_journal(lambda: opened(tmp_path / f"{len(made)}.db"), lambda journal: opened(journal.name), kill)
    for journal in made:
        journal._process = os.getpid()
        journal.close()


# To whom a saga belongs.


@pytest.mark.scenario(19)
def test_of_two_that_want_a_saga_one_gets_it(journal_at: Open) -> None:
    first, second, third = journal_at(), journal_at(), journal_at()
    first.start("a", "Trip", b"start").wait()
    first.release("a").wait()
    claims = [second.open("a", b"second"), third.open("a", b"third")]
    opened = [claim.wait() for claim in claims]
    assert sorted(found is not None and found.owned for found in opened) == [False, True]
    assert len(bodies(first, "a")) == 2


@pytest.mark.scenario(21)
def test_what_a_dead_process_owned_is_free_at_once(path: Path, journal_at: Open) -> None:
    journal = journal_at()
    journal.start("a", "Trip", b"start").wait()
    journal.release("a").wait()
    with running(OWN, path, "a") as other:
        assert other.says() == "True"
        found = journal.open("a", b"too early").wait()
        assert found is not None
        assert not found.owned
        assert journal.orphans(["Trip"]).wait() == []
        other.kill()
    assert journal.orphans(["Trip"]).wait() == ["a"]
    found = journal.open("a", b"resumed here").wait()
    assert found is not None
    assert found.owned
    assert bodies(journal, "a") == [b"start", b"resumed", b"resumed here"]


@pytest.mark.scenario(20)
def test_a_stopped_owner_keeps_its_sagas_and_writes_on_when_it_wakes(path: Path, journal_at: Open) -> None:
    journal = journal_at()
    journal.start("a", "Trip", b"start").wait()
    journal.release("a").wait()
    with running(OWN, path, "a") as other:
        assert other.says() == "True"
        other.send(signal.SIGSTOP)
        found = journal.open("a", b"too early").wait()
        assert found is not None
        assert not found.owned
        other.send(signal.SIGCONT)
        other.tell("open")
        assert other.says() == "None"
    assert bodies(journal, "a") == [b"start", b"resumed", b"late"]


@pytest.mark.scenario(20)
def test_an_owner_that_was_taken_for_dead_writes_no_more(path: Path, journal_at: Open) -> None:
    first, second = journal_at(), journal_at()
    first.start("a", "Trip", b"start").wait()
    first.start("b", "Trip", b"start").wait()
    owner = next(found.owner for found in first.list().wait())
    assert owner is not None
    owners = owners_of(f"{path}-owners")
    owners.give(owner)  # as if somebody in its process had opened and closed the file
    owners.leave()
    found = second.open("a", b"taken").wait()
    assert found is not None
    assert found.owned
    late = [first.append("a", [b"late"], "open"), first.append("b", [b"late"], "open")]
    for pending in late:
        with pytest.raises(LostOwnership):
            pending.wait()
    assert bodies(first, "a") == [b"start", b"taken"]
    assert bodies(first, "b") == [b"start"], "it lost all of them: which others were taken it cannot know"
    found = first.open("b", b"mine again").wait()
    assert found is not None
    assert found.owned, "it may begin anew, as another owner"
    assert first.append("b", [b"on"], "open").wait() is None


def test_what_is_released_is_no_longer_ours(journal_at: Open) -> None:
    journal = journal_at()
    journal.start("a", "Trip", b"start").wait()
    journal.release("a").wait()
    journal.release("a").wait()
    with pytest.raises(LostOwnership) as caught:
        journal.append("a", [b"late"], "open").wait()
    assert caught.value.id == "a"


def test_closing_gives_everything_up(path: Path, journal_at: Open) -> None:
    journal = journal_at()
    with closing(SQLiteJournal(path)) as other:
        pending = [other.start(f"saga-{number}", "Trip", b"start") for number in range(1_000)]
    assert all(each.wait().owned for each in pending), "what was asked for is done"
    assert len(journal.orphans(["Trip"]).wait()) == 1_000
    with pytest.raises(JournalUnavailable, match="closed"):
        other.append("saga-0", [b"late"], "open")
    with pytest.raises(JournalUnavailable, match="closed"):
        other.read("saga-0")
    other.close()


def test_the_dead_who_left_nothing_are_forgotten(path: Path, journal_at: Open) -> None:
    journal = journal_at()
    for id_ in ("ended", "open"):
        journal.start(id_, "Trip", b"start").wait()
        journal.release(id_).wait()
        with running(OWN, path, id_) as other:
            assert other.says() == "True"
            other.tell("completed" if id_ == "ended" else "open")
            assert other.says() == "None"
            other.kill()
    with closing(SQLiteJournal(path)) as last:
        last.start("new", "Trip", b"start").wait()
        assert owners_in(path) == [1, 3, 4], "1 lives, and 3 has left something"
    assert owners_in(path) == [1, 3]


def owners_in(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as database:
        return [number for (number,) in database.execute("SELECT number FROM owners")]


def test_the_numbers_of_a_journal_that_was_deleted_are_passed_over(path: Path, journal_at: Open) -> None:
    journal = journal_at()
    journal.start("a", "Trip", b"start").wait()
    for end in ("", "-wal", "-shm"):
        Path(f"{path}{end}").unlink()
    anew = journal_at()
    anew.start("a", "Trip", b"another").wait()
    assert [found.owner for found in anew.list().wait()] == [2], "number 1 lives, and writes to a file without a name"
    with pytest.raises(JournalUnavailable, match="not where it was"):
        journal.append("a", [b"lost"], "open").wait()


def test_a_forked_child_has_no_journal(path: Path, journal_at: Open) -> None:
    journal = journal_at()
    journal.start("a", "Trip", b"start").wait()

    def child() -> str:
        journal.close()
        said = []
        uses: list[Callable[[], Any]] = [
            lambda: journal.append("a", [b"child"], "open"),
            lambda: journal.read("a"),
            lambda: journal.watch(print),
        ]
        for use in uses:
            with pytest.raises(JournalUnavailable, match="open it anew here"):
                use()
            said.append("refused")
        with closing(SQLiteJournal(path)) as own:
            found = own.open("a", b"child").wait()
            said.append("owned" if found is not None and found.owned else "not owned")
        return " ".join(said)

    assert forked(child) == "refused refused refused not owned"
    assert journal.append("a", [b"parent"], "open").wait() is None
    assert journal.check().wait() == []


@pytest.mark.parametrize("count", [1, 3])
def test_orphans_are_told_of_once_when_it_is_opened(
    path: Path, journal_at: Open, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    with closing(SQLiteJournal(path)) as before:
        for number in range(count):
            before.start(f"saga-{number}", "Trip", b"start").wait()
    with caplog.at_level(logging.WARNING, logger="resilience"):
        journal_at()
    assert len(caplog.messages) == 1
    assert f"holds {count} {'saga' if count == 1 else 'sagas'} that" in caplog.messages[0]


def test_without_orphans_nothing_is_said(journal_at: Open, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="resilience"):
        journal_at().start("a", "Trip", b"start").wait()
        journal_at()
    assert caplog.messages == []


# One commit for many.


def test_a_batch_is_taken_in_order(journal_at: Open) -> None:
    """All of it may land in one commit, where each must see what those before it have written."""
    journal = journal_at()
    pending: list[Any] = [
        journal.start("a", "Trip", b"1"),
        journal.append("a", [b"2", b"3"], "open"),
        journal.start("a", "Trip", b"again"),
        journal.send("a", CONTROL, b"stop", "ann"),
        journal.append("a", [b"4"], "stuck"),
        journal.append("a", [b"5"], "open"),
        journal.open("a", b"again"),
        journal.append("a", [b"6"], "completed"),
        journal.open("a", b"over"),
        journal.open("b"),
    ]
    opened = [each.wait() for each in pending]
    assert opened[0].created
    assert [row.body for row in opened[2].rows] == [b"1", b"2", b"3"]
    assert (opened[2].created, opened[2].owned) == (False, True)
    assert len(opened[6].letters) == 1
    assert [row.body for row in opened[8].rows] == [b"1", b"2", b"3", b"4", b"5", b"6"]
    assert not opened[8].owned
    assert opened[9] is None
    with pytest.raises(LostOwnership):
        journal.append("a", [b"7"], "open").wait()
    (found,) = journal.list().wait()
    assert (found.status, found.owner, found.orphan) == ("completed", None, False)


def test_many_threads_share_the_commits(journal_at: Open) -> None:
    journal = journal_at()
    start = threading.Barrier(16)

    def work(name: str) -> None:
        start.wait(LONG)
        journal.start(name, "Trip", b"0").wait()
        for number in range(1, 20):
            journal.append(name, [b"%d" % number], "open").wait()

    threads = [threading.Thread(target=work, args=(f"saga-{number}",)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(16):
        assert bodies(journal, f"saga-{number}") == [b"%d" % number for number in range(20)]


def test_processes_take_turns(path: Path, journal_at: Open) -> None:
    journal = journal_at()
    with running(WRITE, path, "b", 200) as first, running(WRITE, path, "c", 200) as second:
        journal.start("a", "Trip", b"0").wait()
        for number in range(1, 200):
            journal.append("a", [b"%d" % number], "open").wait()
        assert (first.says(), second.says()) == ("done", "done")
    for id_ in ("a", "b", "c"):
        assert bodies(journal, id_) == [b"%d" % number for number in range(200)]


@pytest.mark.parametrize("count", [1, 127, 128, 129, 700])
def test_batches_of_every_size(journal_at: Open, count: int) -> None:
    journal = journal_at()
    started = [journal.start(f"saga-{number}", "Trip", b"%d" % number) for number in range(count)]
    ended = [journal.append(f"saga-{number}", [b"end"], "undone") for number in range(count)]
    assert all(pending.wait().created for pending in started)
    assert [pending.wait() for pending in ended] == [None] * count
    found = journal.list().wait()
    assert [summary.id for summary in found] == [f"saga-{number}" for number in range(count)]
    assert {summary.status for summary in found} == {"undone"}
    assert bodies(journal, f"saga-{count - 1}") == [b"%d" % (count - 1), b"end"]


@pytest.mark.anyio
async def test_tasks_await_what_threads_wait_for(journal_at: Open) -> None:
    journal = journal_at()
    await journal.start("a", "Trip", b"start")
    await journal.append("a", [b"more"], "open")
    rows = await journal.read("a")
    assert rows is not None
    assert len(rows) == 2
    with pytest.raises(LostOwnership):
        await journal.append("b", [b"more"], "open")


def test_purging_goes_on_until_nothing_is_left_to_purge(journal_at: Open) -> None:
    journal = journal_at()
    with sandbox() as time:
        for number in range(1_200):
            journal.start(f"saga-{number}", "Trip", b"start")
        ended = [journal.append(f"saga-{number}", [b"end"], "undone") for number in range(1_100)]
        assert [pending.wait() for pending in ended] == [None] * 1_100
        now = time.wall()
    assert journal.purge(before=now).wait() == 0
    assert journal.purge(before=now + 1, statuses=["completed"]).wait() == 0
    assert journal.purge(before=now + 1).wait() == 1_100
    assert len(journal.list().wait()) == 100
    assert journal.read("saga-0").wait() is None
    assert journal.check().wait() == []


# Letters.


def test_a_letter_to_a_part_is_kept_with_the_whole(journal_at: Open) -> None:
    journal = journal_at()
    journal.start("order-42", "Trip", b"start").wait()
    journal.send("order-42/deliver/van", "approval", b"yes", "ann").wait()
    assert [letter.topic for letter in journal.letters("order-42").wait()] == ["deliver.van.approval"]
    journal.start("order-42/deliver", "Trip", b"start").wait()
    journal.send("order-42/deliver/van", "approval", b"yes", "ann").wait()
    assert [letter.topic for letter in journal.letters("order-42/deliver").wait()] == ["van.approval"]
    with pytest.raises(UnknownSaga):
        journal.send("order-43/deliver", "approval", b"yes", "ann").wait()


def test_one_letter_for_each_topic(journal_at: Open) -> None:
    journal = journal_at()
    journal.start("a", "Trip", b"start").wait()
    row = journal.send("a", "approval", b"yes", "ann").wait()
    assert journal.send("a", "approval", b"yes", "bob").wait() == row
    with pytest.raises(MessageRefused, match="another message"):
        journal.send("a", "approval", b"no", "ann").wait()
    assert journal.send("a", CONTROL, b"stop", "ann").wait() < journal.send("a", CONTROL, b"stop", "ann").wait()


def test_a_letter_of_our_own_is_told_before_its_sender_hears_that_it_is_kept(journal_at: Open) -> None:
    journal, told = journal_at(), list[set[str]]()
    journal.start("a", "Trip", b"start").wait()
    end = journal.watch(told.append)
    journal.send("a", CONTROL, b"stop", "ann").wait()
    assert told == [{"a"}]
    end()
    end()
    journal.send("a", CONTROL, b"stop", "ann").wait()
    assert told == [{"a"}]


def test_a_letter_of_another_process_is_told(path: Path, journal_at: Open) -> None:
    journal, told = journal_at(), threading.Event()
    journal.start("a", "Trip", b"start").wait()
    journal.start("released", "Trip", b"start").wait()
    journal.release("released").wait()
    heard: list[set[str]] = []

    def hear(ids: set[str]) -> None:
        heard.append(ids)
        told.set()

    journal.watch(hear)
    with running(SEND, path) as other:
        other.tell("released")
        assert other.says()
        other.tell("a")
        assert other.says()
        assert told.wait(LONG)
    assert heard == [{"a"}], "what is not ours does not concern us"


def test_a_letter_of_a_sibling_is_told(journal_at: Open) -> None:
    journal, sibling, told = journal_at(), journal_at(), threading.Event()
    journal.start("a", "Trip", b"start").wait()
    journal.watch(lambda _: told.set())
    sibling.send("a", CONTROL, b"stop", "ann").wait()
    assert told.wait(LONG)


def test_a_watcher_that_raises_keeps_nobody_from_hearing(journal_at: Open, caplog: pytest.LogCaptureFixture) -> None:
    journal, told = journal_at(), list[set[str]]()

    def broken(_: set[str]) -> None:
        raise ValueError("broken")

    journal.watch(broken)
    journal.watch(told.append)
    journal.start("a", "Trip", b"start").wait()
    journal.send("a", CONTROL, b"stop", "ann").wait()
    assert told == [{"a"}]
    assert "broken" in caplog.text


def test_a_stuck_saga_is_an_orphan_only_while_a_letter_waits(path: Path, journal_at: Open) -> None:
    journal = journal_at()
    journal.start("a", "Trip", b"start").wait()
    journal.append("a", [b"parked"], "stuck").wait()
    assert journal.orphans(["Trip"]).wait() == []
    journal.release("a").wait()
    assert journal.orphans(["Trip"]).wait() == []
    journal.send("a", CONTROL, b"retry", "ann").wait()
    assert journal.orphans(["Trip"]).wait() == ["a"]
    assert journal.orphans(["Other"]).wait() == []
    assert journal.orphans([]).wait() == []
    journal.open("a", b"resumed").wait()
    assert journal.orphans(["Trip"]).wait() == []
    journal.append("a", [b"heard"], "stuck").wait()
    journal.release("a").wait()
    assert journal.orphans(["Trip"]).wait() == []


# What is no journal.


def test_a_new_journal_says_what_it_is(path: Path, journal_at: Open) -> None:
    journal_at()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA application_id").fetchone() == (APPLICATION,)
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert not Path(f"{path}-new").exists()


def test_what_a_creator_that_crashed_left_is_made_anew(path: Path, journal_at: Open) -> None:
    Path(f"{path}-new").write_bytes(b"half of it")
    assert journal_at().start("a", "Trip", b"start").wait().created


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"path": ""}, ValueError, "MemoryJournal"),
        ({"path": ":memory:"}, ValueError, "MemoryJournal"),
        ({"path": 7}, TypeError, "path must be a str or a path, got 7"),
        ({"patience": -1}, ValueError, "patience"),
        ({"patience": "1"}, TypeError, "patience"),
        ({"largest": 0}, ValueError, "largest"),
        ({"check": "no"}, TypeError, "check"),
    ],
)
def test_senseless_options(path: Path, options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        SQLiteJournal(**{"path": path, **options})


def test_options_in_their_normal_form(path: Path) -> None:
    with closing(SQLiteJournal(str(path), patience=timedelta(seconds=5), largest=10)) as journal:
        assert journal.patience == 5.0
        assert journal.name == os.path.realpath(path)
        with pytest.raises(ValueError, match="largest="):
            journal.start("a", "Trip", b"x" * 11)
        with pytest.raises(ValueError, match="largest="):
            journal.append("a", [b"x", b"x" * 11], "open")
        with pytest.raises(ValueError, match="largest="):
            journal.send("a", CONTROL, b"x" * 11, "ann")
        with pytest.raises(ValueError, match="printable"):
            journal.start("a\0", "Trip", b"x")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match="there is no folder"):
        SQLiteJournal(tmp_path / "none" / "sagas.db")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"got the folder .*; meant to be .*sagas\.db"):
        SQLiteJournal(tmp_path)


@pytest.mark.parametrize(("changed", "says"), [("folder", "cannot be written to"), ("file", "read and written")])
def test_a_place_that_may_only_be_read(
    path: Path, journal_at: Open, monkeypatch: pytest.MonkeyPatch, changed: str, says: str
) -> None:
    """What the system answers to root is no use here: root may write anywhere."""
    journal_at().close()
    forbidden = path.parent if changed == "folder" else path
    monkeypatch.setattr(os, "access", lambda place, _: Path(place) != forbidden)
    with pytest.raises(JournalUnavailable, match=says):
        SQLiteJournal(path)


def test_a_journal_of_a_later_format(path: Path, journal_at: Open) -> None:
    journal_at().close()
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(JournalUnavailable, match=f"format {VERSION + 1}"):
        SQLiteJournal(path)


def test_a_database_of_something_else(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE users (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(JournalUnavailable, match="no journal"):
        SQLiteJournal(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("_", range(4))
def test_many_that_make_the_same_journal_at_once_make_one(path: Path, _: int) -> None:
    start, made = threading.Barrier(8), list[SQLiteJournal]()

    def make(number: int) -> None:
        start.wait(LONG)
        journal = SQLiteJournal(path)
        journal.start(f"saga-{number}", "Trip", b"start").wait()
        made.append(journal)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made[0].list().wait()) == 8
    for journal in made:
        journal.close()


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /mnt/share rw,relatime shared:14 - nfs4 server:/ rw,vers=4.2
31 22 0:27 / /mnt/share/local rw - tmpfs tmpfs rw
32 22 0:28 / /mnt/with\\040space rw,relatime - cifs //server/x rw
33 22 0:29 / /twice rw - ext4 /dev/vdb rw
34 22 0:30 / /twice rw - fuse.sshfs x: rw
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/home/sagas.db", "ext4"),
        ("/mnt/share/sagas.db", "nfs4"),
        ("/mnt/shared/sagas.db", "ext4"),
        ("/mnt/share/local/sagas.db", "tmpfs"),
        ("/mnt/with space/sagas.db", "cifs"),
        ("/twice/sagas.db", "fuse.sshfs"),
    ],
)
def test_what_a_place_is_mounted_from(place: str, kind: str) -> None:
    assert filesystem(Path(place), MOUNTS) == kind


def test_a_place_on_a_network_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resilience.saga._place.filesystem", lambda _: "nfs4")
    with pytest.raises(JournalUnavailable, match=r"on a network \(nfs4\).*local disk"):
        SQLiteJournal(path)
    assert not path.exists()
