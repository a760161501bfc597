"""Drives a saga in plain code: asks the program, writes, calls, waits, and tells the program what came of it.

What is decided is durable before anything new is started. One step alone runs in the saga's own thread; steps that run
side by side have a thread each. A thread cannot be cancelled, so a step that is under way when the saga turns back is
awaited. `_adrive` is the same for event loops.
"""

import threading
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TypeVar

from .._clock import clock
from .._core.saga.effects import Arrival, Do, Done, Elapsed, Request, Sleep, Wait
from .._core.saga.program import Decision
from .._waiters import ThreadWaiter
from ..errors import JournalUnavailable
from ._journal import STUCK, Journal
from ._pending import Pending
from ._perseverance import Perseverance
from ._points import reached
from ._stage import Stage

T = TypeVar("T")


class Driver:
    """One run of a saga in plain code.

    Args:
        stage: What is to be done.
        journal: Where it is written.
    """

    def __init__(self, stage: Stage, journal: Journal) -> None:
        self._stage = stage
        self._journal = journal
        self._inbox: deque[Arrival | BaseException] = deque()
        self._post: deque[Arrival] = deque()
        self._bell = ThreadWaiter()
        self._under_way: set[str] = set()
        self._ends: dict[str, float] = {}
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

    @property
    def _may_leave(self) -> bool:
        """Whether it is to let go, and no call is under way: threads cannot be stopped, and are awaited."""
        return self._left and not self._under_way

    def drive(self) -> None:
        """Go on until it has ended, is stuck, or is left.

        Raises:
            JournalUnavailable: Its journal could not be written for too long. It can be taken up again.
            LostOwnership: Another process has taken it over.
        """
        decision = self._stage.begin()
        self._post += self._stage.arrivals(self._stage.letters, decision)
        while True:
            self._write(decision)
            if self._may_leave or decision.ended is not None:
                return
            self._mail |= any(isinstance(effect, Wait) for effect in decision.effects)
            self._look_at_the_clock(decision)
            if not (self._post or self._inbox or self._left):  # what is over, and not told yet, is not done again
                self._start(decision)
            arrival = self._next(decision)
            if arrival is None:
                return
            decision = self._stage.go_on(arrival)

    def _write(self, decision: Decision) -> None:
        if decision.entries:
            bodies = self._stage.bodies(decision)
            reached("before", "append")
            self._insist(partial(self._journal.append, self._stage.id, bodies, decision.status, self._stage.heard))
            reached("after", "append")

    def _insist(self, ask: Callable[[], Pending[T]]) -> T:
        """Ask the journal, and ask again for a while if it cannot answer: what is in hand is not lost meanwhile."""
        trying: Perseverance | None = None
        while True:
            try:
                return ask().wait()
            except JournalUnavailable as error:
                if self._left:
                    raise
                trying = trying or Perseverance(self._stage.id, self._journal)
                self._bell.wait(trying.again_in(error))  # or until it is to be left

    def _start(self, decision: Decision) -> None:
        """Have under way what should be; one alone is done at once."""
        for key in decision.stop - self._under_way:
            self._inbox.append(self._stage.never_started(key))
        calls = [one for one in decision.effects if isinstance(one, Do) and self._is_new(one, decision)]
        if len(calls) == 1 and not self._under_way:
            self._perform(calls[0])
            return
        for do in calls:
            self._under_way.add(do.key)
            work = partial(copy_context().run, self._perform, do)
            threading.Thread(target=work, name=f"saga {self._stage.id} {do.key}", daemon=True).start()

    def _is_new(self, do: Do, decision: Decision) -> bool:
        return do.key not in self._under_way and do.key not in decision.stop

    def _perform(self, do: Do) -> None:
        """Make a call; what comes of it is an arrival."""
        arrival: Arrival | BaseException
        try:
            arrival = self._stage.perform(do)
        except BaseException as error:  # noqa: BLE001 - an interrupt: the saga is left as it is
            arrival = error
        self._inbox.append(arrival)
        self._bell.wake()

    def _next(self, decision: Decision) -> Arrival | None:
        """What comes first; `None` if nothing more can be done here."""
        while self._mail or not (self._post or self._inbox):
            if self._mail:
                self._mail = False
                letters = self._insist(partial(self._journal.letters, self._stage.id))
                self._post += self._stage.arrivals(letters, decision)
            elif self._may_leave or (decision.status == STUCK and self._sure):
                return None
            elif decision.status == STUCK:
                self._sure = self._mail = True  # one more look: what came before it was written down is not told again
            elif not self._look_at_the_clock(decision):
                self._rest()
        self._sure = False
        # Letters first, in their order: once it is told what came of a step, the next one counts as begun.
        arrival = self._post.popleft() if self._post else self._inbox.popleft()
        if isinstance(arrival, BaseException):
            raise arrival
        if isinstance(arrival, Done):  # not before it is told: until then it must not count as never started
            self._under_way.discard(arrival.key)
        return arrival

    def _look_at_the_clock(self, decision: Decision) -> bool:
        """Whether a wait is over: that is told next."""
        elapsed = self._elapsed(decision)
        if elapsed is not None:
            self._mail |= elapsed.for_message
            self._inbox.appendleft(elapsed)
        return elapsed is not None

    def _elapsed(self, decision: Decision) -> Elapsed | None:
        """The first wait that is over."""
        sleeps = {one.key: one for one in decision.effects if isinstance(one, Sleep)}
        self._ends = {key: ends for key, ends in self._ends.items() if key in sleeps}
        for key, sleep in sleeps.items():
            left = min(max(sleep.due - clock.wall(), 0.0), sleep.seconds)
            if clock.now() >= self._ends.setdefault(key, clock.now() + left):
                del self._ends[key]
                return Elapsed(key, clock.wall())
        return None

    def _rest(self) -> None:
        """Wait until something comes, or a time is over."""
        ends = min(self._ends.values(), default=None)
        self._bell.wait(None if ends is None else max(0.0, ends - clock.now()))
