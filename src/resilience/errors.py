"""Everything this library raises of its own, in one tree.

The wrapped function's own exceptions always come through unchanged; these are added only for what a policy
refused or cut off::

    ResilienceError
    ├─ Rejected(policy, retry_after)     the function was not started
    │  ├─ CircuitOpen                    a circuit breaker is open, isolated, or out of probes
    │  ├─ BulkheadFull                   every place is taken, and no waiting (or no more waiting) is allowed
    │  ├─ RateLimited                    over the rate
    │  ├─ Throttled                      shed by an adaptive throttle
    │  └─ OutOfTime                      the deadline leaves no time to start
    └─ TimedOut(policy, seconds)         cut off by a timeout; also a TimeoutError
    ResilienceWarning                    a doubtful use, with the better spelling in its text

Every error says what refused, the limit, the actual value and the next step, and survives pickling any number of
times with the same type, attributes and message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = [
    "BulkheadFull",
    "CircuitOpen",
    "OutOfTime",
    "RateLimited",
    "Rejected",
    "ResilienceError",
    "ResilienceWarning",
    "Throttled",
    "TimedOut",
]


class ResilienceWarning(UserWarning):
    """A doubtful use of a policy; the text names the better spelling."""


class ResilienceError(Exception):
    """The root of what this library raises."""


class Rejected(ResilienceError):
    """A policy refused the call: the function was not started.

    Attributes:
        policy: The name of the policy that refused.
        retry_after: Seconds until a new try can succeed, if the policy knows; else `None`.
        reason: What was refused, the limit, the actual value, and what to do.
    """

    def __init__(self, policy: str, retry_after: float | None = None, reason: str = "") -> None:
        # Not by way of `super()`, which costs as much as the rest: refusing is what must stay cheap under overload.
        self.args: tuple[Any, ...] = (policy, retry_after, reason)
        self.policy = policy
        self.retry_after = retry_after
        self.reason = reason

    def __str__(self) -> str:
        when = "" if self.retry_after is None else f"; try again in {self.retry_after:.3g} s"
        return f"{self.policy}: {self.reason or 'the call was refused'}{when}"


class CircuitOpen(Rejected):
    """A circuit breaker did not let the call through."""


class BulkheadFull(Rejected):
    """Every place of a bulkhead (or of a bounded pool of workers) is taken."""


class RateLimited(Rejected):
    """The call is over the rate that a limiter allows."""


class Throttled(Rejected):
    """An adaptive throttle shed the call, because the service refuses too many."""


class OutOfTime(Rejected):
    """The ambient deadline leaves no time to start the call, or to wait for a place."""


class TimedOut(ResilienceError, TimeoutError):
    """A `timeout` cut the call off: whether it took effect is not known.

    It is an `OSError` by way of `TimeoutError`, so `on=OSError` catches it.

    Attributes:
        policy: The name of the timeout.
        seconds: The limit that expired, in seconds.
        work: With `sync="abandon"`, the future of the work that was left behind; it is done if that ended in the very
            moment. Else `None`. It does not survive pickling.
    """

    def __init__(self, policy: str, seconds: float, work: Future[Any] | None = None) -> None:
        # One argument only: with two, OSError would take them for errno and strerror.
        super().__init__(policy)
        self.policy = policy
        self.seconds = seconds
        self.work = work

    def __str__(self) -> str:
        runs_on = self.work is not None and not self.work.done()
        left = "; the work was left behind and still runs" if runs_on else ""
        return f"{self.policy}: no answer within {self.seconds:.3g} s{left}"

    def __reduce__(self) -> tuple[Any, ...]:
        state = {key: value for key, value in self.__dict__.items() if key != "work"}
        return type(self), (self.policy, self.seconds), state
