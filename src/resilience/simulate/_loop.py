"""Virtual time: a heap of those who sleep until a moment, and a loop that wakes them in order.

The loop is an event loop of asyncio's kind, as far as waiting needs one: futures, timers and tasks live on it. It has
no sockets, no threads and no signals, and time passes only by going on to the next who sleeps.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from heapq import heappop, heappush, heappushpop
from typing import TYPE_CHECKING, Any, Protocol, cast

START = 1_000.0
"""Not zero, so that no code can mistake the first moment for 'never'."""

# Not as a type: of an event loop's sixty methods, a call that does nothing but wait needs a dozen.
if TYPE_CHECKING:

    class _Loop:
        pass

else:
    _Loop = asyncio.AbstractEventLoop


Place = tuple[float, int, "Sleeper"]
"""An entry in the heap: when, by which turn, who."""


class Sleeper(Protocol):
    """Whoever lies in the heap.

    Attributes:
        turn: The number of the entry it lies there by; it can lie in one place only. Any other number, and it is not
            woken.
    """

    turn: int

    def wake(self) -> Place | None:
        """Its time has come; the place in which it lies down again, if it does."""
        ...


class Loop(_Loop):
    """Time, and who waits for it.

    Attributes:
        moment: What time it is.
        heap: Who sleeps until when, and by which turn.
        turns: How many entries there were.
    """

    def __init__(self) -> None:
        self.moment = START
        self.heap: list[Place] = []
        self.turns = 0
        self._ready: deque[asyncio.Handle] = deque()
        self._problem: BaseException | None = None

    @property
    def elapsed(self) -> float:
        """Virtual seconds since the beginning."""
        return self.moment - START

    def now(self) -> float:
        """See `Clock.now`."""
        return self.moment

    def at(self, when: float, sleeper: Sleeper) -> None:
        """Wake a sleeper then."""
        turn = sleeper.turn = self.turns = self.turns + 1
        heappush(self.heap, (when, turn, sleeper))

    def run(self, until: float) -> None:
        """Let time pass until then.

        Raises:
            BaseException: What a callback has raised: the simulation is of no worth then.
        """
        heap, ready = self.heap, self._ready
        place = heappop(heap) if heap else None
        while True:  # `while <condition>` would do, but Python 3.11 makes a function faster only where it jumps back so
            if place is None or place[0] > until or self._problem is not None:
                break
            self.moment, turn, sleeper = place
            again = sleeper.wake() if sleeper.turn == turn else None
            if ready:
                self._settle()
            # Most who wake lie down again, or somebody lies there: one way through the heap instead of two.
            place = heappushpop(heap, again) if again is not None else heappop(heap) if heap else None
        if place is not None:
            heappush(heap, place)
        self.moment = until
        if self._problem is not None:
            raise self._problem

    def end(self) -> None:
        """No time passes any more: what runs in tasks beside the callers is cancelled."""
        for task in asyncio.all_tasks(cast("Any", self)):
            task.cancel()
        self._settle()

    def _settle(self) -> None:
        """Do all that is to be done now."""
        while self._ready:
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()

    # What an event loop does

    def time(self) -> float:
        """The loop's own time is the same."""
        return self.moment

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        """Call it before time goes on."""
        handle = asyncio.Handle(callback, args, cast("Any", self), context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """The same: there is one thread."""
        return self.call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> "Timer":
        """Call it then."""
        timer = Timer(when, callback, args, cast("Any", self), context)
        self.at(max(when, self.moment), timer)
        return timer

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> "Timer":
        """Call it later."""
        return self.call_at(self.moment + delay, callback, *args, context=context)

    def create_future(self) -> "asyncio.Future[Any]":
        """A future of asyncio's."""
        return asyncio.Future(loop=cast("Any", self))

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> "asyncio.Task[Any]":
        """A task of asyncio's, beside the callers: a hedge's second attempt, say."""
        return asyncio.Task(coro, loop=cast("Any", self), **options)

    def get_task_factory(self) -> None:
        """None."""

    def get_debug(self) -> bool:
        """No."""
        return False

    def is_running(self) -> bool:
        """Yes."""
        return True

    def is_closed(self) -> bool:
        """No."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A callback that raises ends the simulation; what a forgotten task has raised is logged, as by asyncio."""
        error = context.get("exception")
        if "handle" in context and error is not None:
            self._problem = error
        else:
            logging.getLogger("asyncio").error(context.get("message"), exc_info=error)


class Timer(asyncio.TimerHandle):
    """A function that lies in the heap."""

    __slots__ = ("turn",)

    turn: int

    def cancel(self) -> None:
        """Call it no more."""
        self.turn = 0
        asyncio.Handle.cancel(self)

    def wake(self) -> None:
        """Call it."""
        self._run()
