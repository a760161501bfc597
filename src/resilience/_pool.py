"""The places of a bulkhead, with the lock that their machine asks for.

`_core.slots` thinks, this module sees to it that it thinks one thing at a time, and wakes whom it chose. A place goes
back only when the work has ended, which may be later than the call: a timeout can leave work behind.

Taking a place without waiting and giving one back need no lock, so this module is met only where places are scarce. It
knows neither the policy nor its options.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ._clock import clock
from ._core.slots import Slots
from ._waiters import Waiter
from .errors import TimedOut

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")

_MOST_CAUSES = 20


class Pool(Slots[Waiter]):
    """The places of one bulkhead for one stretch of its life, with the lock that the machine asks for.

    Giving back, giving up and resizing may also happen in a finalizer or a signal handler amid our own lines: then they
    leave it to the interrupted method, which settles before it returns.
    """

    __slots__ = ("_busy", "_lock")

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._lock = threading.RLock()
        self._busy = False

    def settle(self) -> None:
        """Give free places to those who wait, and wake them, outside the lock."""
        while self.unsettled:
            done, waiter = self._alone(self.step, clock.now())
            if not done:
                return
            if waiter is not None and not waiter.wake():
                self.leaving.append(waiter)

    def seize(self) -> bool:
        """Take a place without waiting, if there is one that is not spoken for."""
        if not self.contended and self.pop():
            return True
        _, taken = self._alone(self.take, clock.now())
        self.settle()
        return bool(taken)

    def enter(self, waiter: Waiter, most: int | None) -> bool:
        """Queue, unless `most` (default: `limit`) wait already."""
        _, entered = self._alone(self.join, waiter, most)
        self.settle()
        return bool(entered)

    def has(self, waiter: Waiter) -> bool:
        """Whether a waiter has its place now. It looks after grants that nobody took up, too."""
        _, taken = self._alone(self.look, waiter, clock.now())
        self.settle()
        return bool(taken)

    def leave(self, waiter: Waiter) -> None:
        """Wait no more; a place granted already goes to the next."""
        self.leaving.append(waiter)
        self.settle()

    def give(self) -> None:
        """Give a place back."""
        self.free.append(True)
        if self.contended:
            self.settle()

    def end(self, error: BaseException | None) -> None:
        """Give a place back when the work has really ended: what a timeout left behind is still at it."""
        work = _abandoned(error)
        if work is None:
            self.give()
        else:
            work.add_done_callback(lambda _: self.give())

    def resize(self, limit: int) -> None:
        """Have more or fewer places from now on."""
        self.limit = limit
        self.settle()

    def disown(self) -> None:
        """In a forked child: whoever waits or works here does so in the parent, and the lock may be held there."""
        self._lock = threading.RLock()
        self._busy = False
        self.queue.clear()
        self.contended = False

    def figures(self) -> tuple[int, int, int]:
        """The limit, the places in use, and how many wait, all at one moment."""
        with self._lock:
            return self.limit, self.in_use, len(self.queue)

    def _alone(self, method: Callable[..., T], *args: Any) -> tuple[bool, T | None]:
        """Let the machine do one thing; not if that would interrupt another that it is doing in this very thread."""
        with self._lock:
            if self._busy:
                return False, None
            self._busy = True
            try:
                return True, method(*args)
            finally:
                self._busy = False


def _abandoned(error: BaseException | None) -> "Future[Any] | None":
    """The work that still runs after this error: what a timeout left behind, also if the error was raised from it."""
    for _ in range(_MOST_CAUSES):
        if error is None:
            return None
        if isinstance(error, TimedOut):
            return error.work
        error = error.__cause__
    return None
