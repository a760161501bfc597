"""One run of one saga in this process, from where it is owned to where it has ended, is stuck, or is left."""

from contextlib import suppress
from functools import partial

from .._clock import clock
from .._core.saga.effects import Request
from ..errors import SagaError
from ._adrive import AsyncDriver
from ._crew import apart
from ._drive import Driver
from ._engine import engine_of, this_process
from ._journal import Journal
from ._stage import Stage
from ._watching import note_stuck


async def conduct(stage: Stage, journal: Journal, *, leave: bool = False) -> bool:
    """Run a saga that is owned here, until it has ended, is stuck, or is left.

    Args:
        stage: What is to be done.
        journal: Where it is written.
        leave: Whether a cancellation of this task leaves the saga as it is, rather than asking it to turn back.

    Returns:
        Whether it was run here and now; not if another task or thread of this process is at it.
    """
    stage.largest = journal.largest
    driver = AsyncDriver(stage, journal)
    cancel = partial(
        driver.request, Request("cancel", clock.wall(), who=this_process(), reason="its caller was cancelled")
    )
    with _Conducted(stage, journal, driver) as entered:
        if entered:
            await apart(driver.drive, driver.leave if leave else cancel)
    return entered


def conduct_sync(stage: Stage, journal: Journal) -> bool:
    """The same in plain code."""
    stage.largest = journal.largest
    driver = Driver(stage, journal)
    with _Conducted(stage, journal, driver) as entered:
        if entered:
            driver.drive()
    return entered


class _Conducted:
    """Around a run: the engine knows of it, if it is the only one, and what it leaves open is anybody's."""

    def __init__(self, stage: Stage, journal: Journal, driver: AsyncDriver | Driver) -> None:
        self._stage = stage
        self._journal = journal
        self._driver = driver

    def __enter__(self) -> bool:
        self._entered = engine_of(self._journal).enter(self._stage.id, self._driver)
        return self._entered

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._entered:
            self._left(error)

    def _left(self, error: BaseException | None) -> None:
        stage, progress = self._stage, self._stage.progress
        engine_of(self._journal).leave(stage.id)
        parked = progress.ended is None and error is None and bool(progress.parked)
        note_stuck(stage.blueprint.plan.saga, stage.id, parked=parked)
        if progress.ended is None:
            with suppress(SagaError):  # a journal that is closed has released everything
                _ = self._journal.release(stage.id)  # nobody needs to wait for it
        if stage.watch is not None:
            outcome = progress.ended or ("stuck" if parked else "left")
            failure = stage.error() if error is None and outcome != "left" else error
            stage.watch.ended(outcome, progress.moment("start"), failure)
