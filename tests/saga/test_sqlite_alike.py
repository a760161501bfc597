"""The journal in a file answers as the one in memory does, however its jobs fall into commits and whoever dies."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resilience.errors import SagaError
from resilience.saga._journal import CONTROL, Journal, Opened
from resilience.saga._memory import MemoryJournal
from resilience.saga._pending import Pending
from resilience.saga._sqlite import SQLiteJournal
from tests.saga.test_sqlite_journal import die

IDS = st.sampled_from(["a", "b", "a/part"])
BODIES = st.lists(st.sampled_from([b"1", b"2"]), max_size=3)
STATUSES = st.sampled_from(["open", "open", "stuck", "completed", "undone"])
TOPICS = st.sampled_from(["x", "y", CONTROL])

WRITES = st.one_of(
    st.tuples(st.just("start"), IDS, st.sampled_from(["Trip", "Other"]), st.just(b"start")),
    st.tuples(st.just("open"), IDS, st.sampled_from([None, b"resumed"])),
    st.tuples(st.just("append"), IDS, BODIES, STATUSES),
    st.tuples(st.just("release"), IDS),
    st.tuples(st.just("send"), IDS, TOPICS, st.sampled_from([b"yes", b"no"]), st.just("ann")),
    st.tuples(st.just("told"), IDS),
    st.tuples(st.just("purge")),
)
READS = st.one_of(
    st.tuples(st.just("read"), IDS),
    st.tuples(st.just("letters"), IDS),
    st.tuples(st.just("list"), st.none() | st.sets(STATUSES), st.sampled_from([None, "Trip"])),
    st.tuples(st.just("orphans"), st.sets(st.sampled_from(["Trip", "Other"]))),
    st.tuples(st.just("untold"), st.none() | st.sets(st.sampled_from(["Trip", "Other"]))),
    st.tuples(st.just("check")),
)
STEPS = st.tuples(st.integers(0, 1), st.one_of(WRITES, WRITES, WRITES, READS, st.tuples(st.just("die"))))


def ask(journal: Journal, name: str, *arguments: Any) -> Pending[Any]:
    if name == "list":
        return journal.list(status=arguments[0], saga=arguments[1])
    if name == "untold":
        return journal.untold(sagas=arguments[0])
    if name == "purge":
        return journal.purge(before=float("inf"))
    asked: Pending[Any] = getattr(journal, name)(*arguments)
    return asked


def told(name: str, pending: Pending[Any]) -> object:
    """The answer without what may differ: times, and numbers."""
    try:
        answer = pending.wait()
    except SagaError as error:
        return type(error).__name__
    return PLAIN.get(name, lambda same: same)(answer)


def plain(opened: Opened | None) -> object:
    if opened is None:
        return None
    letters = [(letter.topic, letter.value) for letter in opened.letters]
    return [row.body for row in opened.rows], letters, opened.created, opened.owned


PLAIN: dict[str, Callable[[Any], object]] = {
    "start": plain,
    "open": plain,
    "read": lambda rows: rows and [row.body for row in rows],
    "letters": lambda letters: [(letter.topic, letter.value) for letter in letters],
    "list": lambda found: [(one.id, one.saga, one.status, one.orphan, one.ended is None) for one in found],
    "untold": lambda found: {one.id for one in found},
    "send": lambda _: "sent",
}


def in_memory(steps: list[Any]) -> Iterator[object]:
    first = MemoryJournal()
    journals = [first, first.process()]
    for who, (name, *arguments) in steps:
        if name == "die":
            journals[who].die()
            journals[who] = journals[1 - who].process()
        else:
            yield told(name, ask(journals[who], name, *arguments))


def in_a_file(path: Path, steps: list[Any]) -> Iterator[object]:
    """What one owner writes in a row is asked for at once, so that it may land in one commit."""
    journals, dead = [SQLiteJournal(path), SQLiteJournal(path)], list[SQLiteJournal]()
    owed: list[tuple[str, Pending[Any]]] = []
    last: object = None
    for who, (name, *arguments) in steps:
        writes = name in {"start", "open", "append", "release", "send", "told", "purge"}
        if not writes or who != last:
            yield from [told(*each) for each in owed]
            owed.clear()
        last = who if writes else None
        if name == "die":
            die(journals[who])
            dead.append(journals[who])
            journals[who] = SQLiteJournal(path)
        else:
            owed.append((name, ask(journals[who], name, *arguments)))
    yield from [told(*each) for each in owed]
    for journal in [*journals, *dead]:
        journal._process = os.getpid()
        journal.close()


@pytest.mark.scenario(19, 20, 21, 23, 31)
@given(st.lists(STEPS, max_size=30))
def test_both_answer_alike(steps: list[Any]) -> None:
    with TemporaryDirectory() as folder:
        assert list(in_a_file(Path(folder) / "sagas.db", steps)) == list(in_memory(steps))


@given(st.lists(WRITES, max_size=40))
@example([("start", "a", "Trip", b"1"), ("append", "a", [], "undone"), ("purge",), ("start", "a", "Trip", b"2")])
def test_one_commit_for_all_answers_as_one_for_each(steps: list[Any]) -> None:
    alone = [(0, step) for step in steps]
    with TemporaryDirectory() as folder, closing(SQLiteJournal(Path(folder) / "sagas.db")) as journal:
        pending = [(step[0], ask(journal, *step)) for step in steps]
        assert [told(*each) for each in pending] == list(in_memory(alone))
        assert journal.check().wait() == []
