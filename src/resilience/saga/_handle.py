"""A saga as its users see it from outside: how it stands, what comes of it, and what may be asked of it.

A handle asks the journal, so it is right whoever runs the saga, here or in another process.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from .._clock import clock
from .._core.saga.entries import Asked, Verb, read
from .._core.saga.program import WAITING
from .._core.saga.progress import Progress
from ..errors import SagaError, UnknownSaga
from ._blueprint import Blueprint
from ._engine import this_process
from ._history import HistoryEntry, history_of
from ._journal import CONTROL, Journal, Opened, Row, checked_id, checked_journal
from ._letters import write_request
from ._stage import Stage

Output = TypeVar("Output")

LOOK = 0.1
"""Seconds between two looks at the journal."""


@dataclass(frozen=True, slots=True)
class SagaStatus:
    """How a saga stands.

    Attributes:
        id: Its id.
        state: "running", "waiting" (for a message or a time), "paused", "undoing", "stuck", "completed", "undone" or
            "repaired".
        steps: The steps that it is at.
        parked: The steps that wait for an operator.
    """

    id: str
    state: str
    steps: tuple[str, ...]
    parked: tuple[str, ...]


class _Handle(Generic[Output]):
    """What both handles know.

    Attributes:
        id: The saga's id.
    """

    __slots__ = ("_blueprint", "_journal", "id")

    def __init__(self, blueprint: Blueprint, id: str, journal: Journal) -> None:  # noqa: A002 - it is the saga's id
        self._blueprint = blueprint
        self._journal = checked_journal(journal)
        self.id: str = checked_id(id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._blueprint.plan.saga} {self.id!r}>"

    def _known(self, rows: list[Row] | None) -> list[Row]:
        if rows is None:
            raise UnknownSaga(self._blueprint.plan.saga, self.id, "no saga of this id is in the journal")
        return rows

    def _stage(self, rows: list[Row] | None) -> Stage:
        return Stage(self._blueprint, None, self.id, Opened(self._known(rows), [], created=False, owned=False))

    def _over(self, rows: list[Row] | None) -> Stage | None:
        """The saga, if there is nothing to wait for any more."""
        stage = self._stage(rows)
        stuck = bool(stage.progress.parked) and not stage.has_work()
        return stage if stuck or stage.progress.ended is not None else None

    def _request(self, verb: Verb, reason: str) -> bytes:
        return write_request(verb, reason=reason)

    def _answer(self, row: int, rows: list[Row] | None) -> bool:
        """Whether a request was answered.

        Raises:
            SagaError: It was refused.
        """
        stage = self._stage(rows)
        for one in rows or ():
            asked = read(one.body)
            if isinstance(asked, Asked) and asked.row == row:
                if asked.refused is not None:
                    raise SagaError(stage.blueprint.plan.saga, self.id, asked.refused)
                return True
        if stage.progress.ended is not None:
            raise SagaError(stage.blueprint.plan.saga, self.id, f"it has ended: {stage.progress.ended}")
        return False


class SagaHandle(_Handle[Output]):
    """A saga, for code on an event loop."""

    __slots__ = ()

    async def status(self) -> SagaStatus:
        """How it stands now.

        Raises:
            UnknownSaga: No saga of this id is in the journal.
        """
        return _status(self._stage(await self._journal.read(self.id)))

    async def history(self) -> tuple[HistoryEntry, ...]:
        """All that has happened to it so far, in order; the text of each entry is a line for people.

        Raises:
            UnknownSaga: No saga of this id is in the journal.
        """
        return history_of(self._known(await self._journal.read(self.id)))

    async def result(self) -> Output:
        """Wait for its end, and return what it returns.

        Raises:
            SagaFailed: It did not complete, and what it had done is undone.
            SagaStuck: Something waits for an operator.
            UnknownSaga: No saga of this id is in the journal.
        """
        while (stage := self._over(await self._journal.read(self.id))) is None:
            await clock.asleep(LOOK)
        output: Output = stage.result()
        return output

    async def cancel(self, reason: str = "") -> None:
        """Ask it to turn back: what it has done is undone. Returns when it has begun to.

        Args:
            reason: Why, for the record.

        Raises:
            SagaError: It is too late: it is past the point of no return, is being undone already, or has ended.
        """
        await self._ask("cancel", reason)

    async def pause(self, reason: str = "") -> None:
        """Ask it to begin no further step until `resume`. What is under way goes on.

        Raises:
            SagaError: It is being undone, or has ended.
        """
        await self._ask("pause", reason)

    async def resume(self, reason: str = "") -> None:
        """Let it go on after a `pause`.

        Raises:
            SagaError: It is not paused, or has ended.
        """
        await self._ask("resume", reason)

    async def _ask(self, verb: Verb, reason: str) -> None:
        row = await self._journal.send(self.id, CONTROL, self._request(verb, reason), this_process())
        while not self._answer(row, await self._journal.read(self.id)):
            await clock.asleep(LOOK)


class SyncSagaHandle(_Handle[Output]):
    """A saga, for plain code."""

    __slots__ = ()

    def status(self) -> SagaStatus:
        """As `SagaHandle.status`."""
        return _status(self._stage(self._journal.read(self.id).wait()))

    def history(self) -> tuple[HistoryEntry, ...]:
        """As `SagaHandle.history`."""
        return history_of(self._known(self._journal.read(self.id).wait()))

    def result(self) -> Output:
        """As `SagaHandle.result`."""
        while (stage := self._over(self._journal.read(self.id).wait())) is None:
            clock.sleep(LOOK)
        output: Output = stage.result()
        return output

    def cancel(self, reason: str = "") -> None:
        """As `SagaHandle.cancel`."""
        self._ask("cancel", reason)

    def pause(self, reason: str = "") -> None:
        """As `SagaHandle.pause`."""
        self._ask("pause", reason)

    def resume(self, reason: str = "") -> None:
        """As `SagaHandle.resume`."""
        self._ask("resume", reason)

    def _ask(self, verb: Verb, reason: str) -> None:
        row = self._journal.send(self.id, CONTROL, self._request(verb, reason), this_process()).wait()
        while not self._answer(row, self._journal.read(self.id).wait()):
            clock.sleep(LOOK)


def _status(stage: Stage) -> SagaStatus:
    progress = stage.progress
    parked = tuple(name for name in progress.parked if name is not None)
    if progress.ended is not None:
        return SagaStatus(stage.id, progress.ended, (), parked)
    if progress.parked and not stage.has_work():
        return SagaStatus(stage.id, "stuck", (), parked)
    state, steps = doing(progress)
    return SagaStatus(stage.id, state, steps, parked)


def doing(progress: Progress) -> tuple[str, tuple[str, ...]]:
    """What a saga does that has not ended and is not stuck, and the steps that it is at."""
    at = progress.ready() if progress.turn is None else progress.to_undo()
    steps = tuple(name for name in at if name not in progress.parked)
    if progress.turn is not None:
        return "undoing", steps
    if progress.paused:
        return "paused", steps
    waits = bool(steps) and all(progress.plan.by_name[name].kind in WAITING for name in steps)
    return "waiting" if waits else "running", steps
