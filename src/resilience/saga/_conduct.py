"""One run of one saga in this process, from its beginning to where it has ended, is stuck, or is left."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

from .._clock import clock
from .._core.saga.effects import Request
from ..errors import SagaError
from ._adrive import AsyncDriver
from ._crew import Crew, apart
from ._drive import Driver
from ._engine import engine_of, this_process
from ._journal import Journal
from ._stage import Stage
from ._watching import note_stuck


async def conduct(begin: Callable[[], Awaitable[Stage]], journal: Journal, *, leave: bool = False) -> Stage:
    """Run a saga for which there is a place here, if it turns out to be owned.

    Args:
        begin: Begins it, or finds how it stands; a cancellation does not reach it either.
        journal: Where it is written.
        leave: Whether a cancellation of this task leaves the saga as it is, rather than asking it to turn back.

    Returns:
        How it stands now.
    """
    run = _Run(begin, journal, leave=leave)
    await apart(run.main, run.cancelled)
    return run.stage


def conduct_sync(stage: Stage, journal: Journal, begun: Callable[[Driver], object] | None = None) -> Stage:
    """The same in plain code, of a saga that has begun; `begun` is told who drives it."""
    if stage.owned:
        stage.largest = journal.largest
        driver = Driver(stage, journal)
        if begun is not None:
            begun(driver)
        with _Known(stage, journal, driver):
            driver.drive()
    return stage


class _Run:
    """A run on an event loop, which may be cancelled before there is anything to cancel."""

    stage: Stage

    def __init__(self, begin: Callable[[], Awaitable[Stage]], journal: Journal, *, leave: bool) -> None:
        self._begin = begin
        self._journal = journal
        self._leave = leave
        self._driver: AsyncDriver | None = None
        self._cancelled = False

    async def main(self, crew: Crew) -> None:
        self.stage = stage = await self._begin()
        if stage.owned:
            stage.largest = self._journal.largest
            self._driver = AsyncDriver(stage, self._journal, crew)
            if self._cancelled:
                self._pass_on(self._driver)
            with _Known(stage, self._journal, self._driver):
                await self._driver.drive()

    def cancelled(self) -> None:
        self._cancelled = True
        if self._driver is not None:
            self._pass_on(self._driver)

    def _pass_on(self, driver: AsyncDriver) -> None:
        if self._leave:
            driver.leave()
        else:
            driver.request(Request("cancel", clock.wall(), who=this_process(), reason="its caller was cancelled"))


class _Known:
    """Around a run: letters find it, and what it leaves open is anybody's."""

    def __init__(self, stage: Stage, journal: Journal, driver: AsyncDriver | Driver) -> None:
        self._stage = stage
        self._journal = journal
        self._driver = driver

    def __enter__(self) -> None:
        engine_of(self._journal).enter(self._stage.id, self._driver)

    def __exit__(self, kind: object, error: BaseException | None, at: object) -> None:
        engine_of(self._journal).enter(self._stage.id, None)
        _leave(self._stage, self._journal, raised=error is not None)


def _leave(stage: Stage, journal: Journal, *, raised: bool) -> None:
    progress = stage.progress
    parked = progress.ended is None and not raised and bool(progress.parked)
    note_stuck(stage.blueprint.plan.saga, stage.id, parked=parked)
    if progress.ended is None:
        with suppress(SagaError):  # a journal that is closed has released everything
            _ = journal.release(stage.id)  # nobody needs to wait for it
    if stage.watch is not None:
        outcome = progress.ended or ("stuck" if parked else "left")
        stage.watch.ended(outcome, progress.moment("start"), None if outcome == "left" else stage.error())
