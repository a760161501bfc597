"""Takes up what others have left: sagas whose process died, or that were only asked to begin.

A runner asks the journal ten times a second who waits. The kernel tells at once when a process is gone, so nothing here
has to time out. When it begins it also looks through those that are stuck for a class that did not fit them: after a
deploy that mends this, they go on by themselves.
"""

import inspect
import threading
from collections.abc import Callable, Collection
from functools import partial
from types import TracebackType
from typing import Any, Self

import anyio

from .. import _checks
from .._clock import clock
from .._core.saga.entries import read
from .._core.saga.plan import differences
from .._core.saga.progress import fold
from .._events import logger, report
from .._waiters import ThreadWaiter
from ..errors import SagaError, UnknownSaga
from ._beginning import refuse_coroutines, saga_of, taken_up
from ._blueprint import Blueprint
from ._compile import blueprint_of
from ._conduct import conduct, conduct_sync
from ._definition import Saga
from ._drive import Driver
from ._engine import engine_of
from ._journal import STUCK, Journal, Opened, Row, Summary, checked_id, checked_journal
from ._pending import Pending, settled
from ._stage import Stage

LOOK = 0.1
"""Seconds between two looks."""

_MOST_REST = 30.0
"""Seconds: the longest that a saga whose runs break down is left alone."""

OnEnd = Callable[[Summary], Any]


class SagaRunner:
    """Runs the sagas of a journal that nobody else runs: `async with` on an event loop, `with` in a thread.

    ```python
    async with SagaRunner(journal, PlaceOrder(stock, payments), Refund(payments)):
        await serve_requests()
    ```

    Put one into each process of the service. A saga whose process dies goes on in another within 0.2 s, where it
    stopped. Leaving the block lets go of what runs, for others to take up; a plain function that is under way cannot be
    stopped, and is awaited.

    Args:
        journal: Where the sagas are kept.
        *sagas: An object of each class that is run here, with its clients.
        on_end: Called with each saga of these classes that has ended, here or elsewhere, at least once: after a crash
            again. A coroutine function is awaited. If it raises, it is called again later.
        most: How many sagas are run here at once. Default 100.
        only: The ids of those that are taken up. Default: whichever wait.

    Raises:
        TypeError: `journal` is none, or one of the sagas is none, or wrong; or, for `with`, has coroutine functions. Or
            `only` is a text.
        ValueError: There is none, or two of them have one name. Or one of `only` is no id.
    """

    def __init__(
        self,
        journal: Journal,
        *sagas: Saga[Any, Any],
        on_end: OnEnd | None = None,
        most: int = 100,
        only: Collection[str] | None = None,
    ) -> None:
        self._journal = checked_journal(journal)
        self._sagas: dict[str, tuple[Blueprint, Saga[Any, Any]]] = {}
        if not sagas:
            raise ValueError("a SagaRunner needs an object of each class that it is to run, got none")
        for saga in sagas:
            if not isinstance(saga, Saga):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
                raise TypeError(f"a SagaRunner takes objects of saga classes, with their clients, got {saga!r}")
            blueprint = blueprint_of(type(saga))
            if blueprint.plan.saga in self._sagas:
                raise ValueError(f"two sagas are called {blueprint.plan.saga!r}; give one of the classes another name=")
            self._sagas[blueprint.plan.saga] = blueprint, saga
        self._on_end = on_end
        self._most = _checks.whole("most", most)
        self._only = _ids(only)
        self._taken: dict[str, threading.Thread | None] = {}
        self._drivers: dict[str, Driver] = {}
        self._resting: dict[str, tuple[int, float]] = {}
        self._returning: set[str] | None = None
        self._stopping = threading.Event()

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._serve)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(kind, error, trace)

    async def _serve(self) -> None:
        while True:
            try:
                await self._look()
            except SagaError as error:
                logger.warning("a runner of sagas cannot read %s now: %s", self._journal.name, error)
            await clock.asleep(LOOK)

    async def _look(self) -> None:
        if self._returning is None:
            stuck = await self._journal.list(status={STUCK})
            self._returning = {one.id for one in stuck if self._returns(one, await self._read(one))}
        for id_ in (*self._returning, *await self._journal.orphans(self._sagas)):
            if self._has_room(id_):
                self._taken[id_] = None
                self._tasks.start_soon(self._take_up, id_)
        if self._on_end is not None:
            for summary in await self._journal.untold(sagas=self._sagas):
                await self._tell(self._on_end, summary)

    async def _take_up(self, id_: str) -> None:
        try:
            await conduct(partial(self._found, id_), self._journal, leave=True)
        except Exception as error:  # noqa: BLE001 - one saga's trouble is not the others'
            self._rest(id_, error)
        finally:
            self._leave(id_)

    async def _found(self, id_: str) -> Stage:
        return self._staged(id_, await self._journal.open(id_))

    def _has_room(self, id_: str) -> bool:
        """Whether to take a saga up now; if so, its place is ours."""
        if self._only is not None and id_ not in self._only:
            return False
        rested = clock.now() >= self._resting.get(id_, (0, 0.0))[1]
        ours = rested and len(self._taken) < self._most and engine_of(self._journal).reserve(id_)
        if ours and self._returning is not None:
            self._returning.discard(id_)
        return ours

    def _read(self, one: Summary) -> Pending[list[Row] | None]:
        return self._journal.read(one.id) if one.saga in self._sagas else settled(None)

    def _returns(self, one: Summary, rows: list[Row] | None) -> bool:
        """Whether a saga was parked by a class that did not fit it, and the class that is here does."""
        if not rows:
            return False
        try:
            progress = fold(self._sagas[one.saga][0].plan, [(row.at, read(row.body)) for row in rows])
        except ValueError:  # it cannot be read
            return False
        shape = () if progress.start is None else progress.start.shape
        return None in progress.parked and not differences(shape, progress.plan, progress.results)

    def _staged(self, id_: str, opened: Opened | None) -> Stage:
        if opened is None:
            raise UnknownSaga("", id_, "it has been purged")
        blueprint, saga = self._sagas[saga_of(opened)]
        return taken_up(blueprint, saga, id_, opened)

    def _rest(self, id_: str, error: Exception) -> None:
        """A run has broken down: the saga is tried again later, and later each time."""
        tries = self._resting.get(id_, (0, 0.0))[0] + 1
        self._resting[id_] = tries, clock.now() + min(_MOST_REST, LOOK * 2.0 ** min(tries, 20))
        logger.warning("saga %s was left, and is taken up again later: %s", id_, error)

    def _leave(self, id_: str) -> None:
        self._taken.pop(id_, None)
        engine_of(self._journal).free(id_)

    async def _tell(self, on_end: OnEnd, summary: Summary) -> None:
        try:
            answer = on_end(summary)
            if inspect.isawaitable(answer):
                await answer
        except Exception as error:  # noqa: BLE001 - it is the user's
            report(error, "on_end of a saga runner raised, and is called again for %s", summary.id)
        else:
            await self._journal.told(summary.id)

    # In a thread

    def __enter__(self) -> Self:
        for blueprint, _ in self._sagas.values():
            refuse_coroutines(blueprint)
        self._stopping.clear()
        self._bell = ThreadWaiter()
        self._thread = threading.Thread(target=self._serve_sync, name=f"sagas of {self._journal.name}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._bell.wake()
        self._thread.join()
        for driver in list(self._drivers.values()):
            driver.leave()
        for thread in list(self._taken.values()):
            if thread is not None:
                thread.join()

    def _serve_sync(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look_sync()
            except SagaError as error:
                logger.warning("a runner of sagas cannot read %s now: %s", self._journal.name, error)
            self._bell.wait(LOOK)

    def _look_sync(self) -> None:
        if self._returning is None:
            stuck = self._journal.list(status={STUCK}).wait()
            self._returning = {one.id for one in stuck if self._returns(one, self._read(one).wait())}
        for id_ in (*self._returning, *self._journal.orphans(self._sagas).wait()):
            if self._has_room(id_):
                work = partial(self._take_up_sync, id_)
                thread = self._taken[id_] = threading.Thread(target=work, name=f"saga {id_}", daemon=True)
                thread.start()
        if self._on_end is not None:
            for summary in self._journal.untold(sagas=self._sagas).wait():
                self._tell_sync(self._on_end, summary)

    def _take_up_sync(self, id_: str) -> None:
        try:
            stage = self._staged(id_, self._journal.open(id_).wait())
            conduct_sync(stage, self._journal, partial(self._begun, id_))
        except Exception as error:  # noqa: BLE001 - one saga's trouble is not the others'
            self._rest(id_, error)
        finally:
            self._drivers.pop(id_, None)
            self._leave(id_)

    def _begun(self, id_: str, driver: Driver) -> None:
        self._drivers[id_] = driver
        if self._stopping.is_set():  # it may have come too late to be told
            driver.leave()

    def _tell_sync(self, on_end: OnEnd, summary: Summary) -> None:
        try:
            on_end(summary)
        except Exception as error:  # noqa: BLE001 - it is the user's
            report(error, "on_end of a saga runner raised, and is called again for %s", summary.id)
        else:
            self._journal.told(summary.id).wait()


def _ids(only: Collection[str] | None) -> frozenset[str] | None:
    if isinstance(only, str):  # a collection as well, of letters
        raise TypeError(f"only must be a collection of ids, got {only!r}; for one saga, give {{{only!r}}}")
    return None if only is None else frozenset(map(checked_id, only))
