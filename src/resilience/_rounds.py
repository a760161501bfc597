"""One call that did not succeed at once: what comes next, decided in one place.

A retry's shells and loops run the attempts; this keeps the count and answers, after each attempt, how many seconds to
wait before the next, or `None` when it is over. It makes no attempt and does not sleep. tenacity's strategies are asked
for the wait and for the stop; the rest is what makes a retry safe: the budget, the deadline, the server's wait as a
floor, and the mark of an inner retry that gave up.
"""

import os
import reprlib
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from ._ambient import ambient, require_time, seconds_left
from ._budget import NoBudget, RetryBudget
from ._clock import clock
from ._core.outcomes import leaves, peek
from ._core.retry_after import LONGEST
from ._events import GaveUp, Recovered, Retrying, emit, heard
from ._matching import Matcher
from ._raising import annotate, follow, reraise
from ._strategies import CallState
from .errors import Rejected

if TYPE_CHECKING:
    from tenacity import Retrying as Strategies

_MARK = "__resilience_gave_up__"


_UNNAMED = "the error is not one that on= names"


class _Mark(int):
    """The number of a mark. It says nothing to another process, so it is not pickled with the exception."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return int, (0,)


class _Marks:
    """Numbers the marks that retries leave on what they gave up on.

    A retry reads `made` before an attempt: a higher mark on its exception was made by a retry inside that attempt, a
    lower one is left from another call that raised the same object. Where tasks share one exception object, a retry
    beside may have left the mark in the meantime; it cannot be told apart from one in a child task, and counts as
    inside: in doubt, fewer calls. A group is marked on its leaves, which survive `except*`. An exception raised `from`
    a marked one counts as marked: it is the same failure in other words.
    """

    __slots__ = ("_lock", "made")

    def __init__(self) -> None:
        self.made = 0
        self.after_fork()

    def after_fork(self) -> None:
        """A forked child must not wait for a thread that it does not have."""
        self._lock = threading.Lock()

    def leave_on(self, error: BaseException) -> None:
        with self._lock:
            self.made += 1
            number = _Mark(self.made)
        for leaf in leaves(error):
            # An exception that hides its dict cannot be marked; an outer retry repeats it, as without us.
            with suppress(Exception):
                cast("Any", leaf).__dict__[_MARK] = number

    def newer_on(self, error: BaseException, number: int) -> bool:
        return self.made > number and any(_mark_on(one) > number for one in _same_failure(error))


def _same_failure(error: BaseException) -> Iterator[object]:
    """The leaves of an error, what each was raised `from`, and so on."""
    seen, waiting = set[int](), leaves(error)
    alone = len(waiting) == 1 and waiting[0] is error
    if alone and peek(error, "__cause__") is None:  # as nearly always
        yield error
        return
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += leaves(peek(one, "__cause__"))


def _mark_on(leaf: object) -> int:
    attributes = peek(leaf, "__dict__")
    return cast("dict[str, int]", attributes).get(_MARK, 0) if isinstance(attributes, dict) else 0


marks = _Marks()
if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=marks.after_fork)


@dataclass(frozen=True, slots=True)
class Plan:
    """The options of a retry, checked. See `retry` for their meaning."""

    label: str
    matches: Matcher
    strategies: "Strategies"
    max_wait: float
    unwanted: Callable[[Any], Any] | None
    retry_after: Callable[[Any], float | None]
    budget: RetryBudget | NoBudget
    timed: bool
    again: bool

    def open_call(self) -> tuple[int, float | None]:
        """Before a first attempt: is there time, one more call for the budget, what a `Rounds` will want to know."""
        if ambient.get() is not None:
            require_time(self.label)
        if self.budget.pressed:
            self.budget.deposit()
        return marks.made, clock.now() if self.timed else None

    def concerns(self, failure: Exception | None, result: object) -> bool:
        """Whether an outcome is one to call again for."""
        if failure is not None:
            return self.matches(failure)
        return self.unwanted is not None and bool(self.unwanted(result))


class Rounds:
    """The attempts of one call, from the first failure on. Whatever leaves a block `with rounds:` interrupts them.

    Args:
        plan: The options.
        seen: How many marks had been made when the call began.
        started: When the call began, if somebody looked at the clock then.
        fn: The function, its arguments and keywords: for strategies that want to know.
    """

    __slots__ = ("_failure", "_own", "_plan", "_result", "_seen", "_since", "_state", "reason")

    def __init__(self, plan: Plan, seen: int, started: float | None, fn: Any, args: Any, kwargs: Any) -> None:
        self._plan = plan
        self._seen = seen
        self._since = "the first failure" if started is None else "the start"
        self._state = CallState(plan.strategies, clock.now() if started is None else started, fn, args, kwargs)
        self._failure: Exception | None = None
        self._result: object = None
        self._own: tuple[Exception | None, object] | None = None  # the latest outcome that is no refusal
        self.reason: str | None = None

    @property
    def attempts(self) -> int:
        """How many attempts were made."""
        return self._state.attempt_number

    def after(self, failure: Exception | None, result: object) -> float | None:
        """Take in how an attempt ended; answer the seconds to wait before the next, or `None` when it is over."""
        self._failure, self._result = failure, result
        if not isinstance(failure, Rejected):
            self._own = (failure, result)
        # The shell has asked about the first result already; a predicate is asked once about each.
        judged = failure is None and self.attempts == 1
        if not judged and not self._plan.concerns(failure, result):
            self.reason = None if failure is None else _UNNAMED
            return None
        if failure is not None and not self._plan.again and marks.newer_on(failure, self._seen):
            self.reason = "an inner retry had given up on it"
            return None
        self._state.note(failure, result)
        wait = self._wait()
        if self.reason is None and self._afford(wait):
            return wait
        self._give_up()
        return None

    def begin(self) -> bool:
        """The wait is over; whether there is still time to begin the next attempt."""
        if seconds_left() == 0.0:
            self.reason = "the deadline passed while waiting"
            self._give_up()
            return False
        self._failure = self._result = None
        self._state.prepare_for_next_attempt()
        self._seen = marks.made
        return True

    def outcome(self) -> Any:
        """Return or raise what the caller gets."""
        failure, result = self.settle()
        try:
            if failure is not None:
                reraise(failure)
            return result
        finally:
            failure = None  # no cycle through this frame

    def settle(self) -> tuple[Exception | None, Any]:
        """It is over: what the caller gets, which is the last attempt's own outcome, with our note on it."""
        failure, result, refusal = self._failure, self._result, None
        if isinstance(failure, Rejected) and self._own is not None:
            refusal = failure
            failure, result = self._own
        self._tell(failure, refusal)
        self._forget()
        return failure, result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.interrupted(error)

    def interrupted(self, error: BaseException) -> None:
        """Something else ended the call: a cancellation, or an option of the user's that raised."""
        reason = f"{type(error).__name__} ended it"
        emit(GaveUp(self._plan.label, self.attempts, reason, error))
        if isinstance(error, Exception):
            follow(error, self._failure)
        self._forget()

    def _wait(self) -> float:
        """Seconds until the next attempt, or a reason not to make it."""
        plan, state = self._plan, self._state
        wait: object = plan.strategies.wait(state)
        asked = plan.retry_after(self._result if self._failure is None else self._failure)
        if not _is_wait(wait) or not (asked is None or _is_wait(asked)):
            self.reason = f"wait= answered {_show(wait)}, retry_after= {_show(asked)}, which is no wait"
            return 0.0
        wait = max(cast("float", wait), asked or 0.0)
        left = seconds_left()
        if wait > plan.max_wait:
            self.reason = (
                f"the next attempt would have to wait {wait:.3g} s, longer than max_wait, {plan.max_wait:.3g} s"
            )
        elif left is not None and wait >= left:
            time_left = f"the deadline is in {left:.3g} s" if left > 0 else "the deadline has passed"
            self.reason = f"the next attempt would have to wait {wait:.3g} s, and {time_left}"
        return wait

    def _afford(self, wait: float) -> bool:
        plan, state = self._plan, self._state
        state.upcoming_sleep = wait
        if plan.strategies.stop(state):
            self.reason = "no more are allowed"
        elif not plan.budget.take():
            self.reason = f"the retry budget is spent ({plan.budget!r})"
        else:
            state.idle_for += wait
            if heard():
                emit(Retrying(plan.label, self.attempts, wait, self._failure))
            return True
        return False

    def _give_up(self) -> None:
        if self._failure is not None:
            marks.leave_on(self._failure)

    def _tell(self, failure: Exception | None, refusal: Rejected | None) -> None:
        """One event and one note at the end of what was retried, or could not be."""
        ours = self.attempts > 1 or self._state.outcome_timestamp is not None
        if self.reason is None:
            if ours and heard():
                emit(Recovered(self._plan.label, self.attempts))
            return
        if not ours:
            return
        reason = self.reason
        if refusal is not None:  # it is the refusal that is not named, and not the error that comes out
            reason = f"{'' if reason == _UNNAMED else f'{reason}; '}the last try was refused: {refusal}"
        if heard():
            emit(GaveUp(self._plan.label, self.attempts, reason, failure))
        if failure is not None:
            if refusal is not None:
                marks.leave_on(failure)
            annotate(failure, self._summary(reason))

    def _summary(self, reason: str) -> str:
        took = clock.now() - self._state.start_time
        times = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        return f"{self._plan.label} gave up after {times}, {took:.3g} s since {self._since}: {reason}"

    def _forget(self) -> None:
        """Let go of the exceptions: this object is in the frames that their tracebacks hold."""
        self._failure = self._result = self._own = None
        self._state.outcome = None


def _is_wait(seconds: object) -> bool:
    return isinstance(seconds, int | float) and 0 <= seconds <= LONGEST


def _show(answer: object) -> str:
    """An answer in a note: bounded, whatever it is."""
    try:
        return reprlib.repr(answer)
    except ValueError:  # an int of thousands of digits
        return "a number beyond all bounds"
