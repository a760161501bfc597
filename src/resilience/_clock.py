"""Time and chance: the one clock that every policy reads.

Policies take no `clock=`. They read `clock`, whose functions the test kit replaces together, so that no test
ever waits: a virtual clock changes every policy at once. The clock is monotonic; stepping the wall clock changes
nothing here. Nothing else in the library may ask for the time, sleep, or draw a random number.
"""

import os
import random
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import anyio


class CancelScope(Protocol):
    """The part of an anyio (or trio) cancel scope that a clock needs."""

    deadline: float

    def cancel(self) -> None:
        """Cancel what runs inside."""


class Clock(Protocol):
    """What tells the time, waits, and rolls the dice."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def wall(self) -> float:
        """Seconds since 1970 on the wall clock: only for what another process or machine will read or has written."""
        ...

    def random(self) -> float:
        """A number, evenly spread over [0, 1)."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Block this thread."""
        ...

    def asleep(self, seconds: float, /) -> Awaitable[None]:
        """Let this task wait, on asyncio or trio."""
        ...

    def acquire(self, lock: threading.Lock, seconds: float | None) -> bool:
        """Take `lock`, waiting at most `seconds` (`None`: without limit); false if the time ran out."""
        ...

    def call_later(self, loop: Any, seconds: float, function: Callable[[], None]) -> Callable[[], None]:
        """Have an asyncio `loop`, the running one, call a function later; returns what takes that back."""
        ...

    def expire(self, scope: CancelScope, seconds: float) -> Callable[[], None]:
        """Cancel an entered anyio or trio scope of this task after `seconds`; returns what takes that back."""
        ...


class SystemClock:
    """The real thing."""

    now: Callable[..., float] = staticmethod(time.monotonic)
    wall: Callable[..., float] = staticmethod(time.time)
    random: Callable[..., float] = staticmethod(random.random)
    sleep: Callable[..., None] = staticmethod(time.sleep)
    asleep: Callable[..., Awaitable[None]] = staticmethod(anyio.sleep)

    def acquire(self, lock: threading.Lock, seconds: float | None) -> bool:
        """See `Clock.acquire`."""
        return lock.acquire(timeout=-1 if seconds is None else min(max(seconds, 0.0), threading.TIMEOUT_MAX))

    def call_later(self, loop: Any, seconds: float, function: Callable[[], None]) -> Callable[[], None]:
        """See `Clock.call_later`."""
        cancel: Callable[[], None] = loop.call_later(seconds, function).cancel
        return cancel

    def expire(self, scope: CancelScope, seconds: float) -> Callable[[], None]:
        """See `Clock.expire`."""
        scope.deadline = anyio.current_time() + seconds
        return _nothing


class _TheClock:
    """The clock in use, its functions as plain attributes: reading one costs no call of ours."""

    __slots__ = ("acquire", "asleep", "call_later", "expire", "now", "random", "sleep", "wall")

    now: Callable[[], float]
    wall: Callable[[], float]
    random: Callable[[], float]
    sleep: Callable[[float], None]
    asleep: Callable[[float], Awaitable[None]]
    acquire: Callable[[threading.Lock, float | None], bool]
    call_later: Callable[[Any, float, Callable[[], None]], Callable[[], None]]
    expire: Callable[[CancelScope, float], Callable[[], None]]

    def __init__(self, clock: Clock) -> None:
        use(clock, self)


def use(source: Clock, target: "_TheClock | None" = None) -> Callable[[], None]:
    """Make every policy read `source` from now on; returns what puts the former clock back."""
    target = target or clock
    before = {name: getattr(target, name) for name in _TheClock.__slots__ if hasattr(target, name)}
    for name in _TheClock.__slots__:
        setattr(target, name, getattr(source, name))

    def put_back() -> None:
        for name, function in before.items():
            setattr(target, name, function)

    return put_back


def _nothing() -> None:
    """The timer is part of the scope and ends with it."""


clock = _TheClock(SystemClock())
"""The clock that policies read: `clock.now()`, `clock.sleep(1.0)`."""

elsewhere: dict[object, int | None] = {}
"""What somebody waits for while another thread is at work on it, in real time: a test's clock does not leap meanwhile.

A key for each wait, set before it and taken away by whoever waited, once that one runs again. The value is the ident of
the thread at work, where it is known: should that one wait for the clock itself, then time is what it needs.
"""

if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=elsewhere.clear)
