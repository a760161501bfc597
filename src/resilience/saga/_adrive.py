"""Drives a saga on an event loop, asyncio or trio: asks the program, writes, calls, waits, and tells what came of it.

What is decided is durable before anything new is started. A saga has a task of its own that nobody else knows, so that
nobody else's cancellation ends it: a caller that is cancelled asks, as anybody may, and the program decides. Each step
has a task, which the program may have stopped. Letters, and requests from other threads, only ring a bell.

`_drive` is the same for plain code.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from .._clock import clock
from .._core.saga.effects import Arrival, Do, Effect, Elapsed, Request, Sleep, Wait
from .._core.saga.program import Decision
from .._waiters import task_waiter
from ..errors import JournalUnavailable
from ._crew import Crew, is_a_steps_own
from ._journal import STUCK, Journal
from ._pending import Pending
from ._perseverance import Perseverance
from ._points import reached
from ._stage import Stage

T = TypeVar("T")


class AsyncDriver:
    """One run of a saga on an event loop.

    Args:
        stage: What is to be done.
        journal: Where it is written.
    """

    def __init__(self, stage: Stage, journal: Journal) -> None:
        self._stage = stage
        self._journal = journal
        self._inbox: deque[Arrival | BaseException] = deque()
        self._under_way: dict[str, Callable[[], object]] = {}
        self._cancellable: set[str] = set()
        self._entered: set[str] = set()
        self._stopped: set[str] = set()
        self._bell = task_waiter()
        self._mail = False
        self._left = False
        self._sure = False

    def mail(self) -> None:
        """Letters have come; from any thread."""
        self._mail = True
        self._bell.wake()

    def leave(self) -> None:
        """Let go of the saga as it is, for somebody else to take up; from any thread."""
        self._left = True
        self._bell.wake()

    def request(self, request: Request) -> None:
        """Ask for something; from any thread."""
        self._inbox.append(request)
        self._bell.wake()

    async def drive(self, crew: Crew) -> None:
        """Go on until it has ended, is stuck, or is left.

        Raises:
            JournalUnavailable: Its journal could not be written for too long. It can be taken up again.
            LostOwnership: Another process has taken it over.
        """
        decision = self._stage.begin()
        self._inbox += self._stage.arrivals(self._stage.letters, decision)
        while True:
            await self._write(decision)
            if self._left or decision.ended is not None:
                return
            self._keep_up(decision, crew)
            arrival = await self._next(decision)
            if arrival is None:
                return
            decision = self._stage.go_on(arrival)

    async def _write(self, decision: Decision) -> None:
        if decision.entries:
            bodies = self._stage.bodies(decision)
            reached("before", "append")
            await self._insist(partial(self._journal.append, self._stage.id, bodies, decision.status))
            reached("after", "append")

    async def _insist(self, ask: Callable[[], Pending[T]]) -> T:
        """Ask the journal, and ask again for a while if it cannot answer: what is in hand is not lost meanwhile."""
        trying: Perseverance | None = None
        while True:
            try:
                return await ask()
            except JournalUnavailable as error:
                if self._left:
                    raise
                trying = trying or Perseverance(self._stage.id, self._journal)
                await self._bell.wait(trying.again_in(error))  # or until it is to be left

    def _keep_up(self, decision: Decision, crew: Crew) -> None:
        """Have under way what should be, and nothing else."""
        wanted = {effect.key: effect for effect in decision.effects}
        for key in [key for key in self._under_way if key not in wanted]:
            self._under_way.pop(key)()
        for key in decision.stop:
            if key in self._under_way:
                self._stop(key)
            elif key not in self._stopped:
                self._inbox.append(self._stage.never_started(key))
        for key, effect in wanted.items():
            if key not in self._under_way and key not in decision.stop:
                self._begin(effect, crew)

    def _stop(self, key: str) -> None:
        """Cancel a call, once; a worker thread cannot be, and is awaited."""
        if key in self._stopped or key not in self._cancellable:
            return
        self._stopped.add(key)
        if key in self._entered:
            self._under_way[key]()
        else:  # its task has not come to run yet, and will find out when it does
            self._inbox.append(self._stage.never_started(key))

    def _begin(self, effect: Effect, crew: Crew) -> None:
        match effect:
            case Do(key):
                self._under_way[key] = crew.start(partial(self._perform, effect))
                if self._stage.function(effect).is_async:
                    self._cancellable.add(key)
            case Sleep(key):
                self._under_way[key] = crew.start(partial(self._sleep, effect))
            case Wait(key):
                self._under_way[key] = _nothing
                self._mail = True  # it may have come long before

    async def _perform(self, do: Do) -> None:
        """Make a call; what comes of it is an arrival."""
        if do.key in self._stopped:
            return
        self._entered.add(do.key)
        arrival: Arrival | BaseException
        try:
            arrival = await self._stage.aperform(do)
        except BaseException as error:  # noqa: BLE001 - if it is not we who stopped it: a loop that shuts down, or an interrupt
            ours = do.key in self._stopped or is_a_steps_own(error)
            arrival = self._stage.failed(do, error) if ours else error
        self._arrive(arrival)

    async def _sleep(self, sleep: Sleep) -> None:
        await clock.asleep(min(max(sleep.due - clock.wall(), 0.0), sleep.seconds))
        self._arrive(Elapsed(sleep.key, clock.wall()))

    def _arrive(self, arrival: Arrival | BaseException) -> None:
        self._inbox.append(arrival)
        self._bell.wake()

    async def _next(self, decision: Decision) -> Arrival | None:
        """What comes first; `None` if it is left."""
        while not self._inbox:
            if self._left:
                return None
            if self._mail:
                self._mail = False
                letters = await self._insist(partial(self._journal.letters, self._stage.id))
                self._inbox += self._stage.arrivals(letters, decision)
            elif decision.status == STUCK and self._sure:
                return None
            elif decision.status == STUCK:
                self._sure = self._mail = True  # one more look: what came before it was written down is not told again
            else:
                await self._bell.wait(None)
        self._sure = False
        arrival = self._inbox.popleft()
        if isinstance(arrival, BaseException):
            raise arrival
        if not isinstance(arrival, Request):  # not before it is told: until then it must not count as never started
            self._under_way.pop(arrival.key, None)
        return arrival


def _nothing() -> None:
    """A message that is no longer waited for needs no stopping."""
