"""Spoils a record, one promise at a time, to show that the audit can fail.

Each function does to the record what one broken policy would have done to the world, and no more.
"""

from collections.abc import Callable
from dataclasses import replace

from .audit import Limits
from .records import Attempt, Call, Outcome, Record, Request, Transition


def budget(record: Record, limits: Limits) -> None:
    """A client that repeats a call without end."""
    call = _answered(record)
    allowed = limits.retry_ratio * len(record.calls) + limits.retry_floor * (record.end + limits.retry_window)
    for _ in range(int(allowed) + 1):
        _send_again(record, call)


def deadline(record: Record, limits: Limits) -> None:
    """A call that nobody cut off."""
    call = _answered(record)
    call.ended = call.started + 2 * (limits.deadline + limits.slack)


def refusal(record: Record, _: Limits) -> None:
    """A call that was sent, and called refused."""
    _answered(record).outcome = Outcome.CIRCUIT_OPEN


def lost(record: Record, _: Limits) -> None:
    """A call whose caller never heard of it again."""
    _answered(record).outcome = None


def retry_after(record: Record, _: Limits) -> None:
    """A retry at once, though the service had asked to be left alone."""
    call = _answered(record)
    call.attempts[-1].error = "HTTPStatusError"
    last = max((request for request in record.requests if request.call == call.id), key=lambda one: one.attempt)
    record.requests[record.requests.index(last)] = replace(last, retry_after=1)
    _send_again(record, call)


def bulkhead(record: Record, limits: Limits) -> None:
    """Attempts that kept their places while others took them too."""
    attempts = [attempt for call in record.calls for attempt in call.attempts]
    for attempt in attempts[: limits.at_once + 1]:
        attempt.ended = record.end


def circuit(record: Record, _: Limits) -> None:
    """A circuit that was said to be open all the time."""
    record.transitions[:] = [Transition(0.0, "open", "sabotage")]


SABOTAGE: dict[str, Callable[[Record, Limits], None]] = {
    spoil.__name__: spoil for spoil in (budget, deadline, refusal, lost, retry_after, bulkhead, circuit)
}
"""How to break each promise, by the audit's name for it."""


def _answered(record: Record) -> Call:
    return next(call for call in record.calls if call.outcome is Outcome.OK)


def _send_again(record: Record, call: Call) -> None:
    number, moment = len(call.attempts) + 1, call.attempts[-1].ended or call.started
    call.attempts.append(Attempt(number, moment, moment))
    record.requests.append(Request(call.id, number, moment, "ok"))
