"""The journal in memory: what it adds to the rules of journals, which `test_conformance` tries with it."""

import logging
import os
import signal
import threading
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.errors import JournalUnavailable, LostOwnership
from resilience.saga import MemoryJournal
from resilience.saga._journal import CONTROL, Journal

OPERATIONS = st.tuples(
    st.sampled_from(["start", "open", "append", "end", "release", "die"]),
    st.integers(0, 2),
    st.sampled_from(["a", "b"]),
)


class Model:
    """What three processes may expect of the sagas "a" and "b", and the journal that must do it."""

    def __init__(self) -> None:
        first = MemoryJournal()
        self.processes = [first, first.process(), first.process()]
        self.records: dict[str, list[bytes]] = {}
        self.owners: dict[str, MemoryJournal] = {}

    def is_free(self, id_: str) -> bool:
        return id_ in self.records and id_ not in self.owners and self.records[id_][-1] != b"end"

    def start(self, process: int, id_: str, record: bytes) -> None:
        created = id_ not in self.records
        self.records.setdefault(id_, [record])
        if self.is_free(id_):
            self.owners[id_] = self.processes[process]
        opened = self.processes[process].start(id_, "Trip", record).wait()
        assert (opened.created, opened.owned) == (created, self.owns(process, id_))

    def open(self, process: int, id_: str, record: bytes) -> None:
        if self.is_free(id_):
            self.owners[id_] = self.processes[process]
            self.records[id_].append(record)
        opened = self.processes[process].open(id_, record).wait()
        assert (opened and opened.owned) == (self.owns(process, id_) if id_ in self.records else None)

    def append(self, process: int, id_: str, record: bytes, status: str = "open") -> None:
        written = self.processes[process].append(id_, [record], status)
        if self.owns(process, id_):
            written.wait()
            self.records[id_].append(record)
        else:
            with pytest.raises(LostOwnership):
                written.wait()

    def end(self, process: int, id_: str, record: bytes) -> None:
        ends = self.owns(process, id_)
        self.append(process, id_, b"end", "completed")
        if ends:
            del self.owners[id_]

    def release(self, process: int, id_: str, record: bytes) -> None:
        self.processes[process].release(id_).wait()
        if self.owns(process, id_):
            del self.owners[id_]

    def die(self, process: int, id_: str, record: bytes) -> None:
        dead = self.processes[process]
        dead.die()
        self.owners = {id_: owner for id_, owner in self.owners.items() if owner is not dead}
        self.processes[process] = dead.process()

    def owns(self, process: int, id_: str) -> bool:
        return self.owners.get(id_) is self.processes[process]


@pytest.mark.scenario(19, 20)
@given(operations=st.lists(OPERATIONS, max_size=30))
def test_at_most_one_owner_writes_and_nothing_acknowledged_is_lost(operations: list[tuple[str, int, str]]) -> None:
    model = Model()
    for number, (operation, process, id_) in enumerate(operations):
        getattr(model, operation)(process, id_, b"%d" % number)
        reader = model.processes[0]
        found = {saga.id: [row.body for row in reader.read(saga.id).wait() or []] for saga in reader.list().wait()}
        assert found == model.records
        assert {id_ for id_ in model.records if model.is_free(id_)} == set(reader.orphans({"Trip"}).wait())


def test_the_killed_are_told_to_stop() -> None:
    journal = MemoryJournal()
    other = journal.process()
    journal.start("a", "Trip", b"start").wait()
    heard: list[set[str]] = []
    journal.watch(heard.append)
    journal.die()
    with pytest.raises(LostOwnership, match="killed"):
        journal.append("a", [b"late"], "open").wait()
    with pytest.raises(JournalUnavailable):
        journal.read("a").wait()
    other.send("a", CONTROL, b"pause", "ann").wait()
    assert heard == []
    assert other.list().wait()[0].orphan
    rows = other.read("a").wait()
    assert rows is not None
    assert [row.body for row in rows] == [b"start"]


def test_answers_are_there_at_once() -> None:
    with MemoryJournal() as journal:
        with pytest.raises(StopIteration) as end:  # it does not suspend, so it needs no event loop
            next(journal.start("a", "Trip", b"start").__await__())
        assert end.value.value.created
    with pytest.raises(JournalUnavailable, match="closed; open it anew"):
        journal.start("b", "Trip", b"start").wait()
    with pytest.raises(JournalUnavailable, match="closed; open it anew"):
        journal.watch(print)


@pytest.mark.parametrize("write", ["start", "open", "append", "send"])
def test_what_is_too_large_is_refused(write: str) -> None:
    journal = MemoryJournal(largest=1_000)
    journal.start("a", "Trip", b"1" * 1_000).wait()
    arguments: dict[str, tuple[Any, ...]] = {
        "start": ("b", "Trip", b"1" * 1_001),
        "open": ("a", b"1" * 1_001),
        "append": ("a", [b"1", b"1" * 1_001], "open"),
        "send": ("a", "approval", b"1" * 1_001, "ann"),
    }
    with pytest.raises(ValueError, match=r"1,001 bytes is more than the 1,000 .*largest="):
        getattr(journal, write)(*arguments[write])
    assert (len(journal.read("a").wait() or []), journal.read("b").wait(), journal.letters("a").wait()) == (1, None, [])


@pytest.mark.parametrize(("largest", "error"), [(0, ValueError), (1.5, TypeError), (None, TypeError)])
def test_a_senseless_limit_is_refused(largest: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="largest"):
        MemoryJournal(largest=largest)


def test_a_watcher_that_raises_is_logged_and_nobody_suffers(caplog: pytest.LogCaptureFixture) -> None:
    journal = MemoryJournal()
    heard: list[set[str]] = []

    def fail(ids: set[str]) -> None:
        raise ZeroDivisionError

    journal.watch(fail)
    journal.watch(heard.append)
    journal.start("a", "Trip", b"start").wait()
    with caplog.at_level(logging.ERROR, logger="resilience"):
        assert journal.send("a", "approval", b"1", "ann").wait()
    assert heard == [{"a"}]
    assert "watches the journal 'memory' raised" in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_is_told_to_open_its_own() -> None:
    journal = MemoryJournal()
    journal.start("a", "Trip", b"start").wait()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with journal._store.lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, which is the point
        child = os.fork()
    if not child:
        signal.alarm(20)  # whatever it waits for, it does not stay
        os._exit(0 if _is_refused(journal) else 1)
    _, status = os.waitpid(child, 0)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0


def _is_refused(journal: Journal) -> bool:
    """Whether every use in this process is refused; the lock that another thread held is never waited for."""
    refused = 0
    for use in (lambda: journal.read("a").wait(), lambda: journal.append("a", [b"1"], "open").wait()):
        try:
            use()
        except JournalUnavailable as error:
            refused += "inherited" in str(error)
    journal.close()
    return refused == 2
