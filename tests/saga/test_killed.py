"""Processes are killed in the middle of their sagas; another one finishes them, and ledger and journal agree."""

from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import pytest

from resilience._core.saga.entries import End, Record, Result, Resumed, Turn, Undone, read
from resilience.errors import SagaFailed
from resilience.saga import SagaRunner, SQLiteJournal
from tests.saga import killed_saga
from tests.saga.killed_saga import Order
from tests.saga.processes import running

SCRIPT = """
    import runpy, sys
    program, *sys.argv[1:] = sys.argv[1:]
    runpy.run_path(program, run_name="__main__")
"""


class Kill(NamedTuple):
    """A kill, and what there is to be seen of it.

    Attributes:
        refused: Whether the last step is refused, so that the saga turns; by then it would work.
        last: The last points that the process comes past.
        before: The effects that it leaves.
        after: Those that follow.
    """

    refused: bool
    last: str
    before: str
    after: str


KILLS = {
    "before the first call": Kill(False, "before do:reserve", "", "do reserve, do charge, do confirm"),
    "after a call, before its result is written": Kill(
        False, "after do:charge", "do reserve, do charge", "do charge, do confirm"
    ),
    "as a result is about to be written": Kill(
        False, "after do:charge before append", "do reserve, do charge", "do charge, do confirm"
    ),
    "after a result is written": Kill(
        False, "after do:charge before append after append", "do reserve, do charge", "do confirm"
    ),
    "after the turn, before any undo": Kill(
        True, "before do:confirm before append after append", "do reserve, do charge", "undo charge, undo reserve"
    ),
    "after an undo, before that is written": Kill(
        True, "after undo:charge", "do reserve, do charge, undo charge", "undo charge, undo reserve"
    ),
}


class Killed(NamedTuple):
    """What the dead have left."""

    journal: SQLiteJournal
    ledger: Path

    def effects(self, id_: str) -> str:
        """An order's effects, in order."""
        lines = self.ledger.read_text().splitlines() if self.ledger.exists() else []
        ours = (line.removesuffix("/undo").split(f" {id_}/") for line in lines if f" {id_}/" in line)
        return ", ".join(" ".join(words) for words in ours)

    def records(self, id_: str) -> list[Record]:
        return [read(row.body) for row in self.journal.read(id_).wait() or []]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Generator[Killed]:
    """The processes live and die side by side, each with an order of its own."""
    folder = tmp_path_factory.mktemp("killed")
    with ExitStack() as stack:
        killed = Killed(stack.enter_context(closing(SQLiteJournal(folder / "sagas.db"))), folder / "ledger")
        processes = [
            stack.enter_context(
                running(
                    SCRIPT,
                    *(killed_saga.__file__, killed.journal.name, killed.ledger),
                    *(id_, "refused" if kill.refused else "", kill.last),
                )
            )
            for id_, kill in KILLS.items()
        ]
        assert [process.end() for process in processes] == [-9] * len(KILLS)
        yield killed


@pytest.mark.scenario(2, 3, 4, 5, 8, 9, 21)
def test_another_process_finishes_what_the_dead_have_left(killed: Killed) -> None:
    journal = killed.journal
    assert {id_: killed.effects(id_) for id_ in KILLS} == {id_: kill.before for id_, kill in KILLS.items()}
    assert sorted(journal.orphans(["order"]).wait()) == sorted(KILLS)
    with SagaRunner(journal, Order(killed.ledger)):
        for id_, kill in KILLS.items():
            handle = Order.handle_sync(id_, journal=journal)
            if kill.refused:
                with pytest.raises(SagaFailed, match="not today"):
                    handle.result()
            else:
                assert handle.result() == "receipt for shelf 7"
    for id_, kill in KILLS.items():
        assert killed.effects(id_) == ", ".join(filter(None, [kill.before, kill.after])), id_
        agrees(killed.effects(id_).split(", "), killed.records(id_))
    assert journal.check().wait() == []
    assert journal.orphans(["order"]).wait() == []


def agrees(effects: list[str], records: list[Record]) -> None:
    """What the journal says is what has happened."""
    done = {record.step for record in records if isinstance(record, Result) and record.outcome == "ok"}
    undone = {record.step for record in records if isinstance(record, Undone) and record.error is None}
    assert done == {effect.removeprefix("do ") for effect in effects if effect.startswith("do ")}
    assert undone == {effect.removeprefix("undo ") for effect in effects if effect.startswith("undo ")}
    turns = [record for record in records if isinstance(record, Turn)]
    assert records[-1] == End("undone" if turns else "completed")
    assert undone == (done if turns else set())
    assert len([record for record in records if isinstance(record, Resumed)]) == 1
