"""A clock that moves only when told to, or when nothing else can happen.

Timers lie in a heap. `advance` moves the time and runs what comes due, in order. By itself the clock leaps to the next
timer when nothing else can happen: in an event loop once every task is blocked (as trio's `MockClock` does with
`autojump`), for a thread that waits once every other thread stands still. While somebody waits for work in another
thread (`elsewhere`), something else can happen, and it does not leap. Nothing here waits for real.
"""

import heapq
import itertools
import random
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from math import inf

import anyio
import anyio.lowlevel

from .. import _checks
from .._clock import CancelScope, elsewhere
from ._homes import Home, current_home
from ._standstill import Standstill

_START = 1_000.0
"""Not zero, so that no code can mistake the first moment for 'never'."""

_WALL_START = 1_800_000_000.0
"""A moment in January 2027. Set `wall_start` to step the wall clock: nothing but stored moments should notice."""

_GLANCE = 0.001
"""Real seconds between two looks at a lock that another thread may release."""


class VirtualClock:
    """Virtual time and seeded chance. `sandbox` makes it and hands it out.

    Args:
        seed: Seeds `random`; the same seed gives the same run.
        autojump: Whether waits move the clock by themselves, as described above. Without it only `advance` does.
        patience: Real seconds that an event loop must be idle, or all threads stand still, before the clock leaps;
            raise it where they wait for real I/O, which the clock cannot see coming.
    """

    def __init__(self, seed: int = 0, *, autojump: bool = True, patience: float = 0.0) -> None:
        self.wall_start = _WALL_START
        self._now = _START
        self._autojump = autojump
        self._patience = patience
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._cancelled: set[int] = set()
        self._numbers = itertools.count()
        self._lock = threading.RLock()
        self._watched: set[Home] = set()
        self._waiting: dict[int, float] = {}
        self.random: Callable[[], float] = random.Random(seed).random  # noqa: S311 - chance for tests, not for secrets

    def now(self) -> float:
        """The virtual time, in seconds; it begins at 1,000."""
        return self._now

    def wall(self) -> float:
        """The virtual wall clock: it began at `wall_start`, and moves with the virtual time."""
        return self.wall_start + self.elapsed

    @property
    def elapsed(self) -> float:
        """Virtual seconds since the sandbox was entered."""
        return self._now - _START

    def advance(self, seconds: _checks.Seconds) -> None:
        """Move the time on, and run every timer that comes due on the way, in order.

        Args:
            seconds: How far, in seconds or as a `timedelta`; time cannot go back.

        Raises:
            TypeError: `seconds` is no duration.
            ValueError: `seconds` is negative or not finite.
        """
        self._move_to(self._now + _checks.seconds("seconds", seconds, zero=True))

    def sleep(self, seconds: float) -> None:
        """Block this thread in virtual time: with autojump, by moving the clock."""
        if self._autojump:
            self.advance(max(0.0, seconds))
        elif seconds > 0:
            gate = threading.Lock()
            gate.acquire()
            self._at(self._now + seconds, gate.release)
            gate.acquire()

    async def asleep(self, seconds: float) -> None:
        """Let this task wait in virtual time, on asyncio or trio."""
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        event = anyio.Event()
        cancel = self._at_home(seconds, event.set)
        try:
            await event.wait()
        finally:
            cancel()

    def acquire(self, lock: threading.Lock, seconds: float | None) -> bool:
        """Take a lock, waiting at most so many virtual seconds."""
        ends = inf if seconds is None else self._now + seconds
        others = Standstill(self._asleep_threads, round(self._patience / _GLANCE))
        cancel = _nothing if seconds is None else self._at(ends, _nothing)
        self._waiting[threading.get_ident()] = ends
        try:
            while not lock.acquire(blocking=False):
                if self._now >= ends:
                    return False
                if not (self._autojump and self._step(others)) and lock.acquire(timeout=_GLANCE):
                    return True
            return True
        finally:
            del self._waiting[threading.get_ident()]
            cancel()

    def call_later(self, loop: object, seconds: float, function: Callable[[], None]) -> Callable[[], None]:
        """Call a function later on the running asyncio loop, in the context of now, as the loop's own would."""
        return self._at_home(seconds, partial(copy_context().run, function))

    def expire(self, scope: CancelScope, seconds: float) -> Callable[[], None]:
        """Cancel a scope of the running task later."""
        return self._at_home(seconds, scope.cancel)

    def _at_home(self, seconds: float, function: Callable[[], None]) -> Callable[[], None]:
        home = current_home()
        if home is None:
            raise RuntimeError("this wait belongs into a running event loop, and none runs in this thread")
        cancel = self._at(self._now + seconds, lambda: home.run(function))
        if self._autojump and home not in self._watched:
            self._watched.add(home)
            others = Standstill(self._asleep_threads)
            home.when_idle(lambda: self._leap(home), self._patience, lambda: self._is_busy(others))
        return cancel

    def _at(self, when: float, function: Callable[[], None]) -> Callable[[], None]:
        number = next(self._numbers)
        with self._lock:
            heapq.heappush(self._timers, (when, number, function))

        def cancel() -> None:
            with self._lock:
                if any(number == pending for _, pending, _ in self._timers):
                    self._cancelled.add(number)

        return cancel

    def _move_to(self, target: float) -> None:
        while (due := self._pop(target)) is not None:
            due()
        with self._lock:
            self._now = max(self._now, target)

    def _pop(self, target: float) -> Callable[[], None] | None:
        with self._lock:
            when = self._next()
            if when is None or when > target:
                return None
            _, _, function = heapq.heappop(self._timers)
            self._now = max(self._now, when)
            return function

    def _next(self) -> float | None:
        """When the first timer is due that was not cancelled."""
        while self._timers and self._timers[0][1] in self._cancelled:
            self._cancelled.discard(heapq.heappop(self._timers)[1])
        return self._timers[0][0] if self._timers else None

    def _leap(self, home: Home) -> bool:
        """All tasks are blocked: go to the next timer. False, and no more watching, when there is none."""
        with self._lock:
            when = self._next()
            if when is None:
                self._watched.discard(home)
                return False
        self._move_to(when)
        return True

    def _is_busy(self, others: Standstill) -> bool:
        """Whether work that somebody waits for goes on in another thread.

        Where that thread waits here itself, then perhaps for yet another one: time may pass if none moves.
        """
        asleep = self._asleep_threads()
        if any(thread not in asleep for thread in list(elsewhere.values())):
            others.forget()
            return True
        return bool(elsewhere) and not others.look()

    def _asleep_threads(self) -> set[int]:
        """The threads that wait here, and whose time has not come."""
        return {ident for ident, ends in list(self._waiting.items()) if ends > self._now}

    def _step(self, others: Standstill) -> bool:
        """Go to the next timer, if no thread moves. False if one does, or there is no timer and one may yet wake up."""
        if self._is_busy(others) or not others.look():
            return False
        with self._lock:
            when = self._next()
        if when is not None:
            self._move_to(when)
            others.forget()
        elif others.alone:
            raise RuntimeError("deadlock: this wait has no limit, and no other thread and no timer could end it")
        return when is not None


def _nothing() -> None:
    """The end of a wait is a timer, so that the clock stops there; nothing else happens then."""
