"""Where a waiter lives, and how to reach it from anywhere.

A timer of the virtual clock may belong to an asyncio loop, a trio run, or a plain thread; whoever advances the clock
may be in any of them. A `Home` runs a function where its waiter lives, at once if that is here. It also knows when
nothing at home can run any more, which is when the clock may leap.
"""

import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakKeyDictionary

_IDLE_TURNS = 8
"""Turns of an asyncio loop with nothing to do before it counts as idle: enough for a socket on loopback to speak up."""

_watchers: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()
"""How many clocks watch a loop: one that was left may still do so, and a turn of theirs is nobody's work."""


class Home(Protocol):
    """A place that functions can be sent to."""

    def run(self, function: Callable[[], None]) -> None:
        """Run the function there; at once if this is there."""
        ...

    def when_idle(self, leap: Callable[[], bool], patience: float, busy: Callable[[], bool]) -> None:
        """Call `leap` there whenever all tasks are blocked and nothing is `busy`, until it answers false."""
        ...


def current_home() -> Home | None:
    """The event loop that runs in this thread, if any."""
    with contextlib.suppress(RuntimeError):
        return AsyncioHome(asyncio.get_running_loop())
    trio = sys.modules.get("trio")
    if trio is not None:
        with contextlib.suppress(RuntimeError):
            return TrioHome(trio, trio.lowlevel.current_trio_token())
    return None


class AsyncioHome:
    """An asyncio event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready: Any = getattr(loop, "_ready", ())  # what is due in this turn; a uvloop does not tell

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncioHome) and other._loop is self._loop

    def __hash__(self) -> int:
        return hash(self._loop)

    def run(self, function: Callable[[], None]) -> None:
        """See `Home.run`."""
        if current_home() == self:
            function()
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there any more
                self._loop.call_soon_threadsafe(function)

    def when_idle(self, leap: Callable[[], bool], patience: float, busy: Callable[[], bool]) -> None:
        """See `Home.when_idle`."""
        idle_since = 0.0
        turns = 0

        def look() -> None:
            nonlocal turns, idle_since
            if turns == 0 or self._has_work() or busy():
                turns, idle_since = 0, self._loop.time()
            turns += 1
            if turns > _IDLE_TURNS and self._loop.time() - idle_since >= patience:
                turns = 0
                if not leap():
                    _watchers[self._loop] -= 1
                    return
            self._loop.call_soon(look)

        _watchers[self._loop] = _watchers.get(self._loop, 0) + 1
        self._loop.call_soon(look)

    def _has_work(self) -> bool:
        """Whether anything is due but the looks of the other watchers, each of which is due once."""
        return len(self._ready) >= _watchers[self._loop]


class TrioHome:
    """A trio run."""

    def __init__(self, trio: Any, token: Any) -> None:
        self._trio = trio
        self._token = token

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrioHome) and other._token is self._token

    def __hash__(self) -> int:
        return hash(self._token)

    def run(self, function: Callable[[], None]) -> None:
        """See `Home.run`."""
        if current_home() == self:
            function()
        else:
            with contextlib.suppress(self._trio.RunFinishedError):
                self._token.run_sync_soon(function)

    def when_idle(self, leap: Callable[[], bool], patience: float, busy: Callable[[], bool]) -> None:
        """See `Home.when_idle`."""
        import trio.testing  # noqa: PLC0415 - only where trio already runs

        async def look() -> None:
            await trio.testing.wait_all_tasks_blocked(cushion=patience)
            while busy() or leap():
                await trio.testing.wait_all_tasks_blocked(cushion=patience)

        self._trio.lowlevel.spawn_system_task(look)
