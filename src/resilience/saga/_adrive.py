"""Drives a saga on an event loop, asyncio or trio: asks the program, writes, calls, waits, and tells what came of it.

What is decided is durable before anything new is started. A saga has a task of its own that nobody else knows, so that
nobody else's cancellation ends it: a caller that is cancelled asks, as anybody may, and the program decides. Letters,
and requests from other threads, only ring a bell.

Steps that run side by side have a task each, which the program may have stopped. One alone runs in the driver's own,
for a task costs more than most of what else is done about a step. Should the bell ring meanwhile, another task takes
the driver's place, and the step goes on where it is.

`_drive` is the same for plain code.
"""

from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any

import anyio

from .._clock import clock
from .._core.saga.effects import Arrival, Do, Effect, Elapsed, Request, Sleep, Wait
from .._core.saga.program import Decision
from .._waiters import task_waiter
from ..errors import JournalUnavailable
from ._crew import Crew, is_a_steps_own
from ._journal import STUCK, Journal
from ._pending import Pending, answer_of
from ._perseverance import Perseverance
from ._points import reached
from ._stage import Stage


class AsyncDriver:
    """One run of a saga on an event loop.

    Args:
        stage: What is to be done.
        journal: Where it is written.
        crew: Who does it.
    """

    def __init__(self, stage: Stage, journal: Journal, crew: Crew) -> None:
        self._stage = stage
        self._journal = journal
        self._crew = crew
        self._context = copy_context()
        self._inbox: deque[Arrival | BaseException] = deque()
        self._post: deque[Arrival] = deque()
        self._under_way: dict[str, Callable[[], object]] = {}
        self._cancellable: set[str] = set()
        self._entered: set[str] = set()
        self._stopped: set[str] = set()
        self._here: _Here | None = None
        self._bell = task_waiter()
        self._mail = False
        self._left = False
        self._sure = False

    def mail(self) -> None:
        """Letters have come; from any thread."""
        self._mail = True
        self._bell.deliver(self._ring)

    def leave(self) -> None:
        """Let go of the saga as it is, for somebody else to take up; from any thread."""
        self._left = True
        self._bell.deliver(self._ring)

    def request(self, request: Request) -> None:
        """Ask for something; from any thread."""
        self._arrive(request)

    def _arrive(self, arrival: Arrival | BaseException) -> None:
        self._inbox.append(arrival)
        self._bell.deliver(self._ring)

    def _ring(self) -> None:
        """Have the driver look; while it is at a step itself, another task has to."""
        if self._here is None:
            self._bell.ring()
        elif self._has_news:
            self._relieve(self._here)

    @property
    def _has_news(self) -> bool:
        return bool(self._inbox or self._post) or self._mail or self._left

    async def drive(self) -> None:
        """Go on until it has ended, is stuck, or is left.

        Raises:
            JournalUnavailable: Its journal could not be written for too long. It can be taken up again.
            LostOwnership: Another process has taken it over.
        """
        decision = self._stage.begin()
        self._post += self._stage.arrivals(self._stage.letters, decision)
        await self._follow(decision)

    async def _follow(self, decision: Decision) -> None:
        """Do what a decision says, and what follows from it."""
        while True:
            if decision.entries:
                await self._write(decision)
            if self._left or decision.ended is not None:
                return
            arrival = await self._have_done(decision)
            if arrival is None:
                return
            decision = self._stage.go_on(arrival)

    async def _write(self, decision: Decision) -> None:
        bodies = self._stage.bodies(decision)
        reached("before", "append")
        await self._insist(self._journal.append, self._stage.id, bodies, decision.status, self._stage.heard)
        reached("after", "append")

    async def _insist(self, ask: Callable[..., Pending[Any]], *arguments: object) -> Any:
        """Ask the journal, and ask again for a while if it cannot answer: what is in hand is not lost meanwhile."""
        trying: Perseverance | None = None
        while True:
            try:
                return await answer_of(ask(*arguments), self._bell)
            except JournalUnavailable as error:
                if self._left:
                    raise
                trying = trying or Perseverance(self._stage.id, self._journal)
                await self._bell.wait(trying.again_in(error))  # or until it is to be left

    async def _have_done(self, decision: Decision) -> Arrival | None:
        """Have under way what should be; returns what comes first, and `None` if nothing more can be done here."""
        lone = self._lone(decision)
        if lone is not None:
            return await self._call_here(lone, decision)
        self._keep_up(decision)
        return await self._next(decision)

    def _keep_up(self, decision: Decision) -> None:
        """Have under way what should be, and nothing else."""
        wanted = {effect.key: effect for effect in decision.effects}
        for key in [key for key in self._under_way if key not in wanted]:
            self._under_way.pop(key)()
        for key in decision.stop:
            if key in self._under_way:
                self._stop(key)
            elif key not in self._stopped:
                self._inbox.append(self._stage.never_started(key))
        new = [effect for key, effect in wanted.items() if key not in self._under_way and key not in decision.stop]
        for effect in new:
            if not isinstance(effect, Do):
                self._begin(effect)
        for effect in new:
            if isinstance(effect, Do) and not (self._post or self._inbox):  # what is known by now may turn the saga
                self._begin(effect)

    def _stop(self, key: str) -> None:
        """Cancel a call, once; a worker thread cannot be, and is awaited."""
        if key in self._stopped or key not in self._cancellable:
            return
        self._stopped.add(key)
        if key in self._entered:
            self._under_way[key]()
        else:  # its task has not come to run yet, and will find out when it does
            self._inbox.append(self._stage.never_started(key))

    def _begin(self, effect: Effect) -> None:
        match effect:
            case Do(key):
                self._note(effect, self._crew.start(partial(self._call_there, effect)))
            case Sleep(key):
                left = min(max(effect.due - clock.wall(), 0.0), effect.seconds)
                if left > 0:
                    self._under_way[key] = self._crew.start(partial(self._sleep, key, left))
                else:
                    self._under_way[key] = _nothing
                    self._elapsed(key)
            case Wait(key):
                self._under_way[key] = _nothing
                self._mail = True  # it may have come long before

    def _note(self, do: Do, cancel: Callable[[], object]) -> None:
        """A call is under way."""
        self._under_way[do.key] = cancel
        if self._stage.function(do).is_async:
            self._cancellable.add(do.key)

    async def _call_there(self, do: Do) -> None:
        """Make a call in a task of its own; what comes of it is an arrival."""
        if do.key not in self._stopped:
            self._entered.add(do.key)
            self._arrive(await self._call(do))

    async def _call(self, do: Do) -> Arrival | BaseException:
        try:
            return await self._stage.aperform(do)
        except BaseException as error:  # noqa: BLE001 - if it is not we who stopped it: a loop that shuts down, or an interrupt
            ours = do.key in self._stopped or is_a_steps_own(error)
            return self._stage.failed(do, error) if ours else error

    async def _sleep(self, key: str, seconds: float) -> None:
        await clock.asleep(seconds)
        self._elapsed(key)

    def _elapsed(self, key: str) -> None:
        elapsed = Elapsed(key, clock.wall())
        self._mail |= elapsed.for_message
        self._arrive(elapsed)

    async def _next(self, decision: Decision) -> Arrival | None:
        """What comes first; `None` if it is left."""
        while self._mail or not (self._post or self._inbox):
            if self._mail:
                self._mail = False
                letters = await self._insist(self._journal.letters, self._stage.id)
                self._post += self._stage.arrivals(letters, decision)
            elif self._left or (decision.status == STUCK and self._sure):
                return None
            elif decision.status == STUCK:
                self._sure = self._mail = True  # one more look: what came before it was written down is not told again
            else:
                await self._bell.wait(None)
        self._sure = False
        # Letters first, in their order: once it is told what came of a step, the next one counts as begun.
        arrival = self._post.popleft() if self._post else self._inbox.popleft()
        if isinstance(arrival, BaseException):
            raise arrival
        if not isinstance(arrival, Request):  # not before it is told: until then it must not count as never started
            self._under_way.pop(arrival.key, None)
        return arrival

    # One call alone

    def _lone(self, decision: Decision) -> Do | None:
        """The call that is to be made, if there is nothing else to be done or waited for."""
        if len(decision.effects) != 1 or self._under_way or self._has_news:
            return None
        effect = decision.effects[0]
        return effect if isinstance(effect, Do) and effect.key not in decision.stop else None

    async def _call_here(self, do: Do, decision: Decision) -> Arrival | None:
        """Make a call in this task; `None` if another one has taken the driver's place, and done the rest."""
        with self._crew.stretch() as stretch:
            here = self._here = _Here(do, decision, stretch.cancel)
            arrival = await self._call(do)
        if here.relief is not None:
            self._arrive(arrival)
            await here.relief.end()
            return None
        self._here = None
        if isinstance(arrival, BaseException):
            raise arrival
        return arrival

    def _relieve(self, here: "_Here") -> None:
        """Have another task take the driver's place."""
        self._here, here.relief = None, _Relief()
        self._entered.add(here.do.key)
        self._note(here.do, here.cancel)
        self._context.run(self._crew.start, partial(self._take_over, here, here.relief))

    async def _take_over(self, here: "_Here", relief: "_Relief") -> None:
        try:
            arrival = await self._next(here.decision)
            if arrival is not None:
                await self._follow(self._stage.go_on(arrival))
        except BaseException as error:  # noqa: BLE001 - it is raised where the driver was
            relief.error = error
        here.cancel()  # should the step be at work still: what comes of it is nobody's any more
        relief.over.set()


class _Here:
    """A call that is made in the driver's own task.

    Attributes:
        do: Which.
        decision: What asked for it.
        cancel: Cancels it.
        relief: Who has taken the driver's place meanwhile.
    """

    __slots__ = ("cancel", "decision", "do", "relief")

    def __init__(self, do: Do, decision: Decision, cancel: Callable[[], object]) -> None:
        self.do = do
        self.decision = decision
        self.cancel = cancel
        self.relief: _Relief | None = None


class _Relief:
    """What has become of the rest of a run, in another task.

    Attributes:
        over: Set when it has come to its end.
        error: What it has raised.
    """

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.error: BaseException | None = None

    async def end(self) -> None:
        """Wait for it, and raise what it has raised."""
        await self.over.wait()
        if self.error is not None:
            raise self.error


def _nothing() -> None:
    """There is nothing to be stopped: a message that is no longer waited for, a time that is over."""
