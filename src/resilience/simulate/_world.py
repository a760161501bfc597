"""The world of a simulation: virtual time, chance, and callers that are stepped without an event loop's ado.

An event loop costs some ten microseconds a call. Most of what a simulated call does is to sleep, so here a `Caller`
steps the coroutine of a call by itself: `clock.asleep` hands it the seconds, and it lies down in the heap until then.
Nothing lies between a coroutine and the heap, no future and no handle.

All else must find what it finds in production. So the world is an asyncio event loop as well, and a caller a task of
its own making, announced as asyncio's documentation asks of those ("Extending asyncio"): policies cut callers off, let
them queue on futures and start rivals in tasks beside them, and know no difference.
"""

import asyncio
import random  # noqa: TID251 - chance from a seed, as in a sandbox
import threading
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from heapq import heappush
from itertools import count
from operator import attrgetter
from types import coroutine
from typing import Any, cast

from .._clock import CancelScope, clock
from ._loop import Loop, Place

_WALL_START = 1_800_000_000.0
"""A moment in January 2027."""
# Documented for tasks that are not asyncio's.
_enter: Callable[[Any, Any], None] = asyncio._enter_task
_leave: Callable[[Any, Any], None] = asyncio._leave_task


class World(Loop):
    """Virtual time, chance from a seed, and everybody who waits for either.

    It is a `Clock` for the policies, see `WorldClock`, and an event loop for their tasks.

    Args:
        seed: Seeds all chance; the same seed gives the same run.

    Attributes:
        current: The caller that runs now, if any.
        context: What the context of each caller is a copy of.
        waiting: The callers that wait for a future; all others lie in the heap.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self._streams = count(1)
        self.current: Caller | None = None
        self.context = copy_context()
        self.waiting: dict[Caller, None] = {}
        self.random: Callable[[], float] = self.stream()

    def stream(self) -> Callable[[], float]:
        """A source of chance of its own, so that who draws more from one does not change what others draw."""
        return random.Random(f"{self._seed}/{next(self._streams)}").random  # noqa: S311 - seeded, as it must be

    def end(self) -> None:
        """See `Loop.end`; the calls under way are ended first, in the order in which they began."""
        asleep = {who: None for _, _, who in self.heap if isinstance(who, Caller)}
        for caller in sorted(asleep | self.waiting, key=attrgetter("began")):
            caller.close()
        super().end()

    def wall(self) -> float:
        """See `Clock.wall`."""
        return _WALL_START + self.elapsed

    @coroutine
    def asleep(self, seconds: float, /) -> Generator[Any, None, None]:
        """See `Clock.asleep`."""
        if self.current is not None:
            yield seconds + 0.0
        else:
            yield from self._asleep_task(seconds)

    async def _asleep_task(self, seconds: float) -> None:
        """Sleep in a task that is asyncio's own."""
        done = self.create_future()
        timer = self.call_later(seconds, _finish, done)
        try:
            await done
        finally:
            timer.cancel()

    def sleep(self, seconds: float, /) -> None:
        """Nobody may.

        Raises:
            RuntimeError: It would hold up everybody.
        """
        raise RuntimeError("a simulated call must not block: await clock.asleep(seconds), or asyncio.sleep(seconds)")

    def acquire(self, lock: threading.Lock, seconds: float | None) -> bool:
        """Take a lock that is free."""
        if not lock.acquire(blocking=False):
            self.sleep(0.0)
        return True

    def expire(self, scope: CancelScope, seconds: float) -> Callable[[], None]:
        """See `Clock.expire`."""
        return self.call_later(seconds, scope.cancel).cancel


class WorldClock:
    """A world, as the policies' clock. All but `call_later`, which an event loop has too, is the world's own."""

    def __init__(self, world: World) -> None:
        self.now = world.now
        self.wall = world.wall
        self.random = world.random
        self.sleep = world.sleep
        self.asleep = world.asleep
        self.acquire = world.acquire
        self.expire = world.expire

    def call_later(self, loop: Any, seconds: float, function: Callable[[], None]) -> Callable[[], None]:
        """See `Clock.call_later`."""
        cancel: Callable[[], None] = loop.call_later(seconds, function).cancel
        return cancel


class Caller:
    """The task of one simulated call: steps its coroutine, from sleep to sleep.

    Args:
        world: Where it lives.
        call: What is called.
        ended: Told how it has ended: with which error, or `None`.

    Attributes:
        began: When.
    """

    _cancels = 0  # not in `__init__`: most calls are never cancelled, and never wait for a future
    _message: tuple[object, ...] = ()
    _must_cancel = False  # these two have the names that asyncio's tasks have: anyio reads them
    _fut_waiter: "asyncio.Future[Any] | None" = None

    def __init__(
        self,
        world: World,
        call: Coroutine[Any, Any, Any],
        ended: "Callable[[Caller, BaseException | None], None]",
    ) -> None:
        self._world = world
        self._call = call
        self._ended = ended
        # It iterates where a task would send: `next` has a word for the end that is no exception.
        self._steps = call.__await__()
        self._context = world.context.copy()
        self.began = world.moment
        self.turn = 0

    def go(self, go_on: Callable[[Any, Any], Any] = next) -> None:
        """Wake, whoever is not woken by the loop."""
        place = self.wake(go_on)
        if place is not None:
            heappush(self._world.heap, place)

    def wake(self, go_on: Callable[[Any, Any], Any] = next) -> Place | None:
        """Go on, in this way or another, until the call sleeps, waits, or ends."""
        world = self._world
        self.turn = 0
        world.current = self
        _enter(world, self)
        try:
            wish = self._context.run(go_on, self._steps, self)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - it is how the call ends
            self._ended(self, error)
            return None
        finally:
            world.current = None
            _leave(world, self)
        if type(wish) is float:  # it is `World.at`, but for the heap
            turn = self.turn = world.turns = world.turns + 1
            return world.moment + wish if wish > 0.0 else world.moment, turn, self
        if wish is self:  # it is over
            self._ended(self, None)
        else:
            self._wait(wish)
        return None

    def _wait(self, wish: object) -> None:
        """Wait for a future, as tasks do; nothing at all lets others go first."""
        if wish is None:
            self._world.at(self._world.moment, self)
            return
        future = cast("asyncio.Future[Any]", wish)
        future._asyncio_future_blocking = False
        self._fut_waiter = future
        self._world.waiting[self] = None
        future.add_done_callback(self._done, context=self._world.context)

    def _done(self, _: object) -> None:
        self._fut_waiter = None
        del self._world.waiting[self]
        self.go()

    def close(self) -> None:
        """The simulation is over, and this call is not; what it raises now, nobody is there to hear."""
        self.turn = 0
        _enter(self._world, self)
        try:
            self._context.run(self._call.close)
        except Exception:  # noqa: BLE001, S110 - see above
            pass
        finally:
            _leave(self._world, self)

    # What a task can do

    def cancel(self, msg: object = None) -> bool:
        """See `asyncio.Task.cancel`."""
        self._cancels += 1
        self._message = () if msg is None else (msg,)
        if self._world.current is self:
            self._must_cancel = True
            self._world.call_soon(self._cancel_then)
        else:
            self._interrupt()
        return True

    def _cancel_then(self) -> None:
        """It cancelled itself, and has come to where it can be."""
        if self._must_cancel:
            self._must_cancel = False
            self._interrupt()

    def _interrupt(self) -> None:
        if self._fut_waiter is not None:
            self._fut_waiter.cancel(*self._message)
        elif self.turn:
            self.turn = 0
            self._world.call_soon(self._throw)

    def _throw(self) -> None:
        self.go(self._thrown)

    def _thrown(self, steps: Any, over: object) -> object:
        """Go on as `next` does, with the cancellation."""
        try:
            return steps.throw(asyncio.CancelledError(*self._message))
        except StopIteration:
            return over

    def uncancel(self) -> int:
        """See `asyncio.Task.uncancel`."""
        self._cancels = max(0, self._cancels - 1)
        return self._cancels

    def cancelling(self) -> int:
        """See `asyncio.Task.cancelling`."""
        return self._cancels

    def get_loop(self) -> World:
        """See `asyncio.Task.get_loop`."""
        return self._world

    def get_coro(self) -> Coroutine[Any, Any, Any]:
        """See `asyncio.Task.get_coro`."""
        return self._call

    def get_name(self) -> str:
        """See `asyncio.Task.get_name`."""
        return "a simulated call"

    def done(self) -> bool:
        """See `asyncio.Task.done`."""
        return not self.turn and self._fut_waiter is None and self._world.current is not self


def _finish(future: "asyncio.Future[Any]") -> None:
    if not future.done():
        future.set_result(None)


def stream() -> Callable[[], float]:
    """A source of chance: of the simulation that runs; elsewhere, as in a sandbox, the clock's own."""
    world = getattr(clock.now, "__self__", None)
    return world.stream() if isinstance(world, World) else clock.random
