"""A saga's tasks, on asyncio and trio: begun one by one, stopped one by one, out of reach of the caller's cancellation.

A caller that is cancelled must not take its saga with it in the middle of a step: what is to be done then, the saga
decides. So the saga runs in tasks of its own, and its caller only waits for them. On asyncio they are plain tasks, for
a task group for every saga would cost more than the saga; on trio they are a nursery's, each behind a shield.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol, Self

import anyio

from .._waiters import trio_here

Work = Callable[[], Coroutine[Any, Any, None]]


class Crew(Protocol):
    """Who does the work."""

    def start(self, work: Work) -> Callable[[], object]:
        """Begin something; returns what cancels it."""
        ...

    def stretch(self) -> "AbstractContextManager[Stretch]":
        """A stretch of the running task, one of the crew, that can be cancelled by itself."""
        ...


class Stretch(Protocol):
    """What is between the begin and the end of it; whoever is in there takes the cancellation, and lets none out."""

    def cancel(self) -> object:
        """Cancel what is in there; nothing, once it is over."""
        ...


def is_a_steps_own(error: BaseException) -> bool:
    """Whether a cancellation is no cancellation of this task: a step has awaited something else that was cancelled."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is not None and not task.cancelling()


async def apart(main: Callable[[Crew], Awaitable[None]], cancelled: Callable[[], object]) -> None:
    """Run something out of reach of this task's cancellation, and wait for it.

    Args:
        main: What is run; what it has begun is cancelled when it ends.
        cancelled: Called when this task is cancelled meanwhile, once. The wait goes on, and then the cancellation.
    """
    trio = trio_here()
    if trio is None:
        await _apart_on_asyncio(main, cancelled)
    else:
        await _apart_on_trio(trio, main, cancelled)


class _AsyncioCrew:
    """Plain tasks."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Work) -> Callable[[], object]:
        """See `Crew.start`."""
        task = self._loop.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task.cancel

    def stretch(self) -> "_AsyncioStretch":
        """See `Crew.stretch`."""
        return _AsyncioStretch(asyncio.current_task(self._loop))

    async def finish(self) -> None:
        """Cancel what is left, and wait for it."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)


class _AsyncioStretch:
    """A part of a task."""

    __slots__ = ("_task",)

    def __init__(self, task: "asyncio.Task[Any] | None") -> None:
        self._task = task

    def __enter__(self) -> Self:
        return self

    def cancel(self) -> None:
        """See `Stretch.cancel`."""
        if self._task is not None:
            self._task.cancel()

    def __exit__(self, *raised: object) -> None:
        self._task = None


async def _apart_on_asyncio(main: Callable[[Crew], Awaitable[None]], cancelled: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    crew = _AsyncioCrew(loop)

    async def run() -> None:
        try:
            await main(crew)
        finally:
            await crew.finish()

    task = loop.create_task(run())
    try:
        await _done(loop, task)
    except asyncio.CancelledError:
        cancelled()
        await _in_spite_of_all(loop, task)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error from None
        raise
    task.result()


async def _done(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[None]") -> None:
    """Wait for a task, whose own end, however it comes, is no exception here."""
    if task.done():
        return
    bell: asyncio.Future[None] = loop.create_future()
    task.add_done_callback(partial(_ring, bell))
    await bell


def _ring(bell: "asyncio.Future[None]", _: object) -> None:
    if not bell.done():
        bell.set_result(None)


async def _in_spite_of_all(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[None]") -> None:
    """Wait for a task, however often this one is cancelled: by asyncio once each time, by anyio again and again."""
    with anyio.CancelScope(shield=True):
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await _done(loop, task)


class _TrioCrew:
    """The tasks of a nursery, each behind a shield."""

    def __init__(self, trio: Any, nursery: Any) -> None:
        self._trio = trio
        self._nursery = nursery
        self._scopes: set[Any] = set()

    def start(self, work: Work) -> Callable[[], object]:
        """See `Crew.start`."""
        scope = self._trio.CancelScope(shield=True)
        self._scopes.add(scope)
        self._nursery.start_soon(self._run, scope, work)
        return scope.cancel  # type: ignore[no-any-return]  # trio is imported where it runs

    async def _run(self, scope: Any, work: Work) -> None:
        if not scope.cancel_called:  # else it was cancelled before it came to run, and does not begin
            with scope:
                await work()
        self._scopes.discard(scope)

    def stretch(self) -> Any:
        """See `Crew.stretch`."""
        return self._trio.CancelScope()

    def finish(self) -> None:
        """Cancel what is left; the nursery waits for it."""
        for scope in self._scopes:
            scope.cancel()


async def _apart_on_trio(trio: Any, main: Callable[[Crew], Awaitable[None]], cancelled: Callable[[], object]) -> None:
    raised: list[BaseException] = []
    over = trio.Event()

    async def run(crew: _TrioCrew) -> None:
        with trio.CancelScope(shield=True):
            try:
                await main(crew)
            except BaseException as error:  # noqa: BLE001 - it goes on from here, and not out of the nursery, wrapped in a group
                raised.append(error)
            finally:
                crew.finish()
                over.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, _TrioCrew(trio, nursery))
        try:
            await over.wait()
        except trio.Cancelled:
            cancelled()
            with trio.CancelScope(shield=True):
                await over.wait()
    if raised:
        raise raised[0]
    await trio.lowlevel.checkpoint_if_cancelled()
