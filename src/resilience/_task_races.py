"""A race of tasks, on asyncio and on trio.

The primary runs in the caller's own task, and each rival in one of its own: on asyncio, a call is a race only when the
time has come for its first rival (see `_hedge_calls`). If a rival wins, the primary is cut off: on asyncio by a
cancellation that is taken back afterwards, told from others' by the task's count of them (and never inside a shield of
anyio's), on trio by a cancel scope. Nobody waits for a loser to have ended: one that clings to life holds nobody up.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from functools import partial
from typing import Any

import anyio

from ._anyio_scopes import UNREADABLE, is_shielded
from ._clock import clock
from ._races import Race, Starter, aclose_now
from ._raising import reraise
from ._waiters import task_waiter

_SHIELD_GLANCE = 0.01
"""Seconds between two looks at whether a shield has been left that is in the way of cutting the primary off."""


class TaskRace(Race):
    """One call of a coroutine function."""

    __slots__ = ("_attempt", "_primary", "_scopes", "_stopped", "_waiter")

    def __init__(self, hedge: Starter, delay: float, attempt: Callable[[], Awaitable[Any]]) -> None:
        super().__init__(hedge, delay)
        self._attempt = attempt
        self._primary = True
        self._scopes: dict[int, anyio.CancelScope] = {}
        self._stopped = False
        self._waiter: Any = None

    def begin(self) -> int:
        """See `Race.begin`."""
        self.started += 1
        self.running += 1
        self._spawn(partial(self._rival, self.started))
        return self.started

    def settle(self, result: object) -> Any:
        """The primary has returned: what the caller gets."""
        self._over(None)
        if self.win(1, result):
            self._stop()
            return result
        self._spawn(partial(aclose_now, result))  # nobody waits for a loser, nor for its end
        if self.end is not None:
            reraise(self.verdict())
        return self.winner

    async def saved(self, error: BaseException) -> bool:
        """The primary has raised: whether a rival has won, or wins yet."""
        ours = self._over(error) or isinstance(error, Exception)
        if self.end is not None and ours:
            reraise(self.verdict())
        if self.decided:
            if ours:
                return True
            self._spawn(partial(aclose_now, self.winner))  # the caller was cancelled, and has no use for it
            return False
        if not isinstance(error, Exception):
            self._stop()
            self.void()
            return False
        self.fail(1, error)
        if await self._outcome():
            return True
        verdict = self.verdict()
        if verdict is not error:
            reraise(verdict)
        return False

    async def _outcome(self) -> bool:
        """Wait for the rivals: whether one has won."""
        self._waiter = task_waiter()
        try:
            while self.running and not self.decided and self.end is None:
                await self._waiter.wait(None)
        except BaseException:
            self.void()
            raise
        finally:
            self._stop()
        return self.decided

    async def _rival(self, number: int) -> None:
        """One rival, from its beginning to its end."""
        with anyio.CancelScope() as scope:  # which respects shields, as a task's own `cancel` does not
            self._scopes[number] = scope
            if self._stopped:  # before it had begun
                scope.cancel()
            await self._run(number)

    async def _run(self, number: int) -> None:
        try:
            result = await self._attempt()
        except GeneratorExit:  # the event loop is gone
            raise
        except anyio.get_cancelled_exc_class():
            self.running -= 1
            raise
        except BaseException as error:  # noqa: BLE001 - observed; it is the caller's if all fail, or if it ends the race
            self.fail(number, error)
            if self.end is error:
                self._decide(number)
        else:
            if self.win(number, result):
                self._decide(number)
            else:
                await aclose_now(result)
        finally:
            if self._waiter is not None:
                self._waiter.ring()

    def _decide(self, number: int) -> None:
        """By this rival it is decided: the others are told to stop."""
        self._stop(number)
        if self._primary:
            self._cut()

    def _stop(self, winner: int = 1) -> None:
        """Begin no further rival, and cancel those that run, but for the winner."""
        self._stopped = True
        self._disarm()
        for number, scope in self._scopes.items():
            if number != winner:
                scope.cancel()

    @abstractmethod
    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin a task of its own, which the caller's end does not wait for."""

    @abstractmethod
    def _disarm(self) -> None:
        """Begin no further rival."""

    @abstractmethod
    def _cut(self) -> None:
        """Cut the primary off."""

    @abstractmethod
    def _over(self, error: BaseException | None) -> bool:
        """The primary has ended; whether by our own cutting."""


class AsyncioRace(TaskRace):
    """On asyncio: a call for which the time has come to begin a rival.

    Args:
        hedge: The policy.
        delay: After how many seconds the next rival is begun.
        attempt: The call.
        task: The caller's.
        base: How often that had been asked to cancel when the call began.
        scope: The innermost scope of anyio's that it was in then.
    """

    __slots__ = ("_base", "_call_off", "_cutting", "_loop", "_scope", "_task", "_tasks")

    def __init__(
        self,
        hedge: Starter,
        delay: float,
        attempt: Callable[[], Awaitable[Any]],
        task: "asyncio.Task[Any]",
        base: int,
        scope: Any,
    ) -> None:
        super().__init__(hedge, delay, attempt)
        self._task = task
        self._loop = task.get_loop()
        self._base = base
        self._scope = scope
        self._cutting = False
        self._tasks: set[asyncio.Task[None]] = set()  # a loop holds its tasks weakly
        self._call_off: Callable[[], None] | None = None

    def ring(self) -> None:
        """Begin a rival, and the next one later."""
        self._call_off = None
        if self.fire() and self.open:
            self._call_off = clock.call_later(self._loop, self.delay, self.ring)

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = self._loop.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _disarm(self) -> None:
        if self._call_off is not None:
            self._call_off()

    def _cut(self) -> None:
        if not self._primary:
            return
        if self._scope is not UNREADABLE and is_shielded(self._task, self._scope):
            clock.call_later(self._loop, _SHIELD_GLANCE, self._cut)
        else:
            self._cutting = True
            self._task.cancel()

    def _over(self, error: BaseException | None) -> bool:
        self._primary = False
        if not self._cutting:
            return False
        return self._task.uncancel() <= self._base and isinstance(error, asyncio.CancelledError)


class TrioRace(TaskRace):
    """On trio.

    Attributes:
        began: The moment.
    """

    __slots__ = ("_scope", "_timer", "_trio", "began")

    live: Any = None
    race: Any = True  # from its beginning

    def __init__(self, hedge: Starter, delay: float, attempt: Callable[[], Awaitable[Any]], trio: Any) -> None:
        super().__init__(hedge, delay, attempt)
        self.began = clock.now()
        self._trio = trio
        self._timer = trio.CancelScope()
        self._spawn(self._ring)
        self._scope = trio.CancelScope()
        self._scope.__enter__()

    async def _ring(self) -> None:
        with self._timer:
            while True:
                await clock.asleep(self.delay)
                if self._stopped or not self.fire() or not self.open:
                    return

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._trio.lowlevel.spawn_system_task(work, context=copy_context())

    def _disarm(self) -> None:
        self._timer.cancel()

    def _cut(self) -> None:
        self._scope.cancel()

    def _over(self, error: BaseException | None) -> bool:
        self._primary = False
        kind, trace = (None, None) if error is None else (type(error), error.__traceback__)
        return bool(self._scope.__exit__(kind, error, trace))
