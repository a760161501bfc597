"""The two ways to take time and luck out of a test."""

import time as system_time
from collections.abc import Callable
from types import TracebackType

import anyio
import anyio.lowlevel

from .._clock import SystemClock, use
from .._live import shelve_all
from ._virtual import VirtualClock


class sandbox:
    """Run a block on a virtual clock, with seeded randomness and calm policies.

    Every policy that is alive starts calm inside, as if just made, and is as before afterwards, counters included. It
    works for plain code, threads, asyncio and trio alike.

    Args:
        seed: Seeds the randomness of jitter; the same seed gives the same run. Default 0. Python's own `random`, which
            tenacity's strategies draw from, is not touched: others draw their ids from it.
        autojump: Let waits move the clock by themselves (default). Without it only `advance` does.
        patience: Real seconds that an event loop must be idle, or all threads stand still, before the clock leaps.
            Default 0.0; raise it (0.05, say) when what is inside talks to real sockets.

    Example:
        ```python
        with sandbox() as time:
            with pytest.raises(ConnectionError):
                guarded()              # retries three times; no real wait
            assert time.elapsed < 10.0
        ```
    """

    def __init__(self, seed: int = 0, *, autojump: bool = True, patience: float = 0.0) -> None:
        self._clock = VirtualClock(seed, autojump=autojump, patience=patience)
        self._undo: list[Callable[[], None]] = []

    def __enter__(self) -> VirtualClock:
        # The clock first: calm states may note the time they begin at.
        self._undo = [use(self._clock)]
        self._undo.append(shelve_all())
        return self._clock

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        put_clock_back, put_states_back = self._undo
        put_clock_back()
        put_states_back()


class instant:
    """Make every retry and wait instant, and leave all else as it is.

    The clock runs on, and each wait moves it forward instead of lasting: an open breaker's cooldown that a retry waits
    for is over when the wait is.

    Example:
        ```python
        with instant():
            guarded()
        ```
    """

    def __enter__(self) -> None:
        self._undo = use(_InstantClock())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo()


class _InstantClock(SystemClock):
    """The system clock, with every sleep skipped over."""

    def __init__(self) -> None:
        self._skipped = 0.0

    def now(self) -> float:
        """The real time, and all that was skipped."""
        return system_time.monotonic() + self._skipped

    def sleep(self, seconds: float, /) -> None:
        """Skip it."""
        self._skipped += max(0.0, seconds)

    async def asleep(self, seconds: float, /) -> None:
        """Skip it, and let other tasks run."""
        self.sleep(seconds)
        await anyio.lowlevel.checkpoint()
