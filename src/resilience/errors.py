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
    ├─ TimedOut(policy, seconds)         cut off by a timeout; also a TimeoutError
    └─ SagaError(saga, id)               what happened to a saga
       ├─ SagaFailed                     it was undone; the first cause is its `__cause__`
       ├─ SagaStuck                      something waits for an operator
       │  └─ DefinitionChanged           its class no longer fits its journal
       ├─ IdConflict                     the id belongs to another saga, or to another input
       ├─ UnknownSaga                    no saga of this id is in the journal
       ├─ MessageRefused                 too late, or another message was first
       ├─ JournalUnavailable             the journal cannot be read or written now
       └─ LostOwnership                  another process has taken it over
    RecordedError                        an exception of another process, as a saga's journal remembers it
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
    "DefinitionChanged",
    "IdConflict",
    "JournalUnavailable",
    "LostOwnership",
    "MessageRefused",
    "OutOfTime",
    "RateLimited",
    "RecordedError",
    "Rejected",
    "ResilienceError",
    "ResilienceWarning",
    "SagaError",
    "SagaFailed",
    "SagaStuck",
    "Throttled",
    "TimedOut",
    "UnknownSaga",
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


class SagaError(ResilienceError):
    """Something happened to a saga.

    Attributes:
        saga: The name of its class; "" if that is not known.
        id: Its id; "" if it concerns none in particular.
        reason: What happened, and what to do.
    """

    def __init__(self, saga: str, id: str, reason: str = "") -> None:  # noqa: A002 - it is the saga's id
        self.args: tuple[Any, ...] = (saga, id, reason)
        self.saga = saga
        self.id = id
        self.reason = reason

    def __str__(self) -> str:
        about = f"{self.saga} {self.id!r}: " if self.saga and self.id else f"{self.saga or self.id}: "
        return f"{about if self.saga or self.id else ''}{self.reason or 'the saga could not go on'}"


class SagaFailed(SagaError):
    """The saga did not complete: what it had done is undone, or settled by an operator.

    Attributes:
        cause: The first cause, which is also the `__cause__`; after a crash, a `RecordedError` that says what it was.
        outcome: "undone", or "repaired" if an operator had to settle something.
        undo_errors: What undos raised on the way, also if they succeeded in the end; `None` if none did.
    """

    def __init__(
        self,
        saga: str,
        id: str,  # noqa: A002 - it is the saga's id
        reason: str = "",
        *,
        cause: BaseException | None = None,
        outcome: str = "undone",
        undo_errors: ExceptionGroup[Exception] | None = None,
    ) -> None:
        super().__init__(saga, id, reason)
        self.cause = cause
        self.outcome = outcome
        self.undo_errors = undo_errors


class SagaStuck(SagaError):
    """Something waits for an operator: an undo that keeps failing, a step past the point of no return that does.

    Everything that does not depend on it has gone on. `python -m resilience saga show` tells what waits and why.

    Attributes:
        cause: The first cause, which is also the `__cause__`; after a crash, a `RecordedError` that says what it was.
        parked: The steps that wait; empty where all of the saga does.
        undo_errors: What undos raised on the way; `None` if none did.
    """

    def __init__(
        self,
        saga: str,
        id: str,  # noqa: A002 - it is the saga's id
        reason: str = "",
        *,
        cause: BaseException | None = None,
        parked: tuple[str, ...] = (),
        undo_errors: ExceptionGroup[Exception] | None = None,
    ) -> None:
        super().__init__(saga, id, reason)
        self.cause = cause
        self.parked = parked
        self.undo_errors = undo_errors


class IdConflict(SagaError):
    """The id is taken: by a saga of another class, or with another input."""


class UnknownSaga(SagaError):
    """No saga of this id is in the journal."""


class MessageRefused(SagaError):
    """The saga takes no such message any more: it has ended, or another message was there first."""


class DefinitionChanged(SagaStuck):
    """The saga's class no longer fits what its journal says it has done; it waits until one does, or is undone."""


class JournalUnavailable(SagaError):
    """The journal cannot be read or written now; nothing that it has acknowledged is lost."""


class LostOwnership(SagaError):
    """Another process has taken this saga over: this one must not touch it any more."""


class RecordedError(ResilienceError):
    """An exception of another process, or of an earlier run, as the journal remembers it.

    Attributes:
        type_name: Its class, with the module: "builtins.ConnectionError".
        message: Its text.
    """

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(type_name, message)
        self.type_name = type_name
        self.message = message

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}" if self.message else self.type_name
