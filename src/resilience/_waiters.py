"""Waiting, once for all: threads, asyncio tasks and trio tasks may stand in one queue.

A waiter is made by whoever will wait, where it will wait, and can be woken from anywhere. To be woken says nothing yet:
what a waiter waits for is written down by those who wake it, under their own lock, and it looks there each time. So a
wake-up too many, or one that comes late, does no harm; and one that cannot be delivered says so.

This module knows nothing of what is waited for.
"""

import contextlib
import sys
import threading
import warnings
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, cast

from ._clock import clock
from ._frames import levels_inside
from .errors import ResilienceWarning

if TYPE_CHECKING:
    import asyncio

_MOST_WARNED = 1_000

_warned: set[str] = set()


class ThreadWaiter:
    """A thread that waits: all of its thread waits with it.

    Attributes:
        home: The same for every thread.
        number: Its turn in a queue; the queue's to set.
    """

    __slots__ = ("_bell", "number")

    home: Hashable = None

    def __init__(self) -> None:
        self.number: int = -1
        self._bell = threading.Lock()
        self._bell.acquire()

    def wake(self) -> bool:
        """Wake it, from any thread; always delivered."""
        with contextlib.suppress(RuntimeError):  # it rings already
            self._bell.release()
        return True

    def wait(self, seconds: float | None) -> None:
        """Wait until woken, at most so many seconds; `None`: without limit."""
        clock.acquire(self._bell, seconds)


class AsyncioWaiter:
    """An asyncio task that waits, on a future of its own loop.

    Attributes:
        home: The event loop.
        number: Its turn in a queue; the queue's to set.
    """

    __slots__ = ("_bell", "home", "number")

    def __init__(self, loop: "asyncio.AbstractEventLoop") -> None:
        self.number: int = -1
        self.home: asyncio.AbstractEventLoop = loop
        self._bell = loop.create_future()

    def wake(self) -> bool:
        """Wake it, from any thread; false if its loop is closed."""
        return self.deliver(self.ring)

    def deliver(self, function: Callable[[], object]) -> bool:
        """Have a function called in its loop, from any thread; at once, if that is here. False if it is closed."""
        if _running_loop() is self.home:
            function()
            return True
        try:
            self.home.call_soon_threadsafe(function)
        except RuntimeError:
            return False
        return True

    async def wait(self, seconds: float | None) -> None:
        """Wait until woken, at most so many seconds; `None`: without limit."""
        cancel = None if seconds is None else clock.call_later(self.home, seconds, self.ring)
        try:
            await self._bell
        finally:
            if cancel is not None:
                cancel()
        self._bell = self.home.create_future()

    def ring(self) -> None:
        """Wake it, from its own loop."""
        if not self._bell.done():
            self._bell.set_result(None)


class TrioWaiter:
    """A trio task that waits, on an event.

    Attributes:
        home: The trio run's token.
        number: Its turn in a queue; the queue's to set.
    """

    __slots__ = ("_bell", "_trio", "home", "number")

    def __init__(self, trio: Any) -> None:
        self.number: int = -1
        self._trio = trio
        self.home: Any = trio.lowlevel.current_trio_token()
        self._bell: Any = trio.Event()

    def wake(self) -> bool:
        """Wake it, from any thread; false if its run is over."""
        return self.deliver(self.ring)

    def deliver(self, function: Callable[[], object]) -> bool:
        """Have a function called in its run, from any thread; at once, if that is here. False if it is over."""
        if _trio_token(self._trio) is self.home:
            function()
            return True
        try:
            self.home.run_sync_soon(function)
        except self._trio.RunFinishedError:
            return False
        return True

    async def wait(self, seconds: float | None) -> None:
        """Wait until woken, at most so many seconds; `None`: without limit."""
        with self._trio.CancelScope() as scope:
            cancel = None if seconds is None else clock.expire(scope, seconds)
            try:
                await self._bell.wait()
            finally:
                if cancel is not None:
                    cancel()
        self._bell = self._trio.Event()

    def ring(self) -> None:
        """Wake it, from its own run."""
        self._bell.set()


Waiter = ThreadWaiter | AsyncioWaiter | TrioWaiter
"""Whoever waits; `wake` is the same for all."""


def task_waiter() -> AsyncioWaiter | TrioWaiter:
    """A waiter for the running task."""
    trio = trio_here()
    return AsyncioWaiter(sys.modules["asyncio"].get_running_loop()) if trio is None else TrioWaiter(trio)


def current_task() -> object:
    """The task that runs now, on asyncio or trio; `None` outside of both."""
    task = None
    with contextlib.suppress(RuntimeError, KeyError, AttributeError):
        task = sys.modules["asyncio"].current_task()
    if task is None:
        with contextlib.suppress(RuntimeError, KeyError, AttributeError):
            task = sys.modules["trio"].lowlevel.current_task()
    return cast("object", task)


def warn_if_blocking(policy: str, instead: str) -> None:
    """Warn, once per policy, that a wait is about to block a thread in which an event loop runs.

    Args:
        policy: The name of the policy that is about to wait.
        instead: What to do instead, as the end of a sentence.
    """
    if policy in _warned or (_running_loop() is None and trio_here() is None):
        return
    if len(_warned) >= _MOST_WARNED:
        _warned.clear()
    _warned.add(policy)
    warnings.warn(
        f"{policy} is about to block a thread that runs an event loop, and with it every task there; {instead}",
        ResilienceWarning,
        stacklevel=levels_inside(),
    )


def _running_loop() -> "asyncio.AbstractEventLoop | None":
    """The asyncio loop that runs in this thread, if any; where nobody has imported asyncio, none does."""
    # An AttributeError: another thread is importing it just now.
    with contextlib.suppress(RuntimeError, KeyError, AttributeError):
        return cast("asyncio.AbstractEventLoop", sys.modules["asyncio"].get_running_loop())
    return None


def trio_here() -> Any:
    """The trio module, if the running code is a trio task; nobody else needs it imported.

    Asked before asyncio: a trio run may be the guest of an asyncio loop in the same thread.
    """
    trio = sys.modules.get("trio")
    if trio is None:
        return None
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return None
    return trio


def _trio_token(trio: Any) -> Any:
    """The token of the trio run in this thread, if any."""
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:
        return None
