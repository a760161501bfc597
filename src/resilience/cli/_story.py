"""One saga as its journal tells it, without its class: what happened, how it stands, which letters nobody has heard."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import msgspec

from .._core.saga.entries import Asked, Parked, Record, Start, read
from .._core.saga.plan import Kind, Node, Plan
from .._core.saga.progress import Progress
from ..saga import HistoryEntry, Journal, Letter, Row, Summary, UnknownSaga
from ..saga._handle import doing
from ..saga._history import history_of

CONTROL = "control"
CURRENT = ("open", "stuck")


class Story:
    """One saga.

    Args:
        journal: Where it is kept.
        summary: What the journal says of it in a list.
        rows: Its records.

    Attributes:
        summary: As given.
        rows: As given.
        journal: The journal's name, which is its path.
    """

    def __init__(self, journal: Journal, summary: Summary, rows: list[Row]) -> None:
        self._journal = journal
        self.journal = journal.name
        self.summary = summary
        self.rows = rows

    @cached_property
    def records(self) -> list[tuple[float, Record | None]]:
        """What happened, and when; `None` for a record that cannot be read."""
        return [(row.at, _read(row)) for row in self.rows]

    @cached_property
    def history(self) -> tuple[HistoryEntry, ...]:
        """The same in words."""
        return history_of(self.rows)

    @cached_property
    def letters(self) -> list[Letter]:
        """What was sent to it."""
        return self._journal.letters(self.summary.id).wait()

    @cached_property
    def progress(self) -> Progress:
        """Where it stands, going by the steps as they were when it began."""
        return self.under(_plan(self.start))

    @cached_property
    def start(self) -> Start:
        """Its first record."""
        match self.records[0][1]:
            case Start() as start:
                return start
            case _:
                body = self.rows[0].body[:100]
                raise ValueError(f"the first record of {self.summary.id!r} cannot be read: {body!r}")

    def under(self, plan: Plan) -> Progress:
        """Where it stands, going by these steps."""
        progress = Progress(plan)
        for at, record in self.records:
            if record is not None:
                progress.apply(at, record)
        return progress

    def answer(self, row: int) -> Asked | None:
        """What became of a request; `None`: nobody has heard it."""
        return next((one for _, one in self.records if isinstance(one, Asked) and one.row == row), None)

    def unheard(self) -> Iterator[Letter]:
        """The letters that wait."""
        for letter in self.letters:
            waits = letter.topic not in self.progress.results and self.summary.ended is None
            if self.answer(letter.row) is None if letter.topic == CONTROL else waits:
                yield letter

    def parked(self) -> dict[str | None, Parked]:
        """What waits for an operator."""
        return {} if self.summary.ended is not None else self.progress.parked

    @property
    def doing(self) -> tuple[str, tuple[str, ...]]:
        """How it stands, and the steps that it is at: as `SagaStatus`, going by the steps as they were."""
        return doing(self.progress) if self.summary.status == "open" else (self.summary.status, ())

    @property
    def rests(self) -> bool:
        """Whether nothing more becomes of it for now."""
        return self.doing[0] not in {"running", "undoing"}

    def state(self, step: str) -> str:
        """How a step stands."""
        progress = self.progress
        if step in self.parked():
            return "parked"
        if step in progress.undone:
            return "undone"
        if step in progress.skipped:
            return "settled by hand"
        if step in progress.results:
            return {"ok": "done", "no": "no effect", "unknown": "unknown"}[progress.results[step].outcome]
        if progress.turn is not None or progress.ended is not None:
            return "not done"
        return "next" if step in progress.ready() else "to come"


def story_of(journal: Journal, id_: str) -> Story:
    """The story of a saga.

    Raises:
        UnknownSaga: There is none of this id.
    """
    found = journal.find(id_).wait()
    while found is not None:
        rows = journal.read(id_).wait()
        before, found = found, journal.find(id_).wait()
        if rows and found == before:  # nothing has become of it between the two
            return Story(journal, before, rows)
    raise UnknownSaga("", id_, f"no saga of this id is in {journal.name}")


def stories(journal: Journal, summaries: Iterable[Summary]) -> Iterator[Story]:
    """The stories of many; those that were purged meanwhile are left out."""
    for summary in summaries:
        if rows := journal.read(summary.id).wait():
            yield Story(journal, summary, rows)


def content(row: Row) -> Any:
    """A record as it is written."""
    try:
        return msgspec.json.decode(row.body)
    except ValueError:
        return {"unreadable": row.body.decode(errors="backslashreplace")}


def _read(row: Row) -> Record | None:
    try:
        return read(row.body)
    except ValueError:
        return None


def _plan(start: Start) -> Plan:
    nodes = (
        Node(step.name, Kind(step.kind), before=step.after, needs=step.after, undoes=step.undoes)
        for step in start.shape
    )
    return Plan(start.saga, tuple(nodes), start.within)
