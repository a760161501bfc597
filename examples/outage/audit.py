"""Holds both sides' records against what the policies promise.

Pure: a record and the limits in, findings out. The service's record and the client's were written independently, in
two processes, and are joined by the call's id; neither is believed about the other.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .records import Attempt, Call, Record, Request

SLACK = 0.25
"""Seconds by which the machine may be late to wake a thread or a task, or to get round to it, before it counts."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What was promised, in seconds where it is a time.

    Attributes:
        deadline: The longest that a call may last.
        retry_ratio: Retries allowed per call.
        retry_floor: Retries allowed per second, however few the calls.
        retry_window: The seconds whose floor the budget holds in store at the start.
        at_once: The most attempts in flight at the same time.
        queued: The longest that an attempt admitted by the breaker may wait for its place.
        slack: How late the machine may be.
    """

    deadline: float
    retry_ratio: float
    retry_floor: float
    retry_window: float
    at_once: int
    queued: float
    slack: float = SLACK


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether one promise was kept.

    Attributes:
        name: One word for it.
        promise: What was promised.
        figures: What was counted or measured.
        offenders: What broke it; empty when it was kept.
    """

    name: str
    promise: str
    figures: str
    offenders: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether the promise was kept."""
        return not self.offenders


def audit(record: Record, limits: Limits) -> list[Finding]:
    """Every promise, kept or broken."""
    return [check(record, limits) for check in CHECKS.values()]


def budget(record: Record, limits: Limits) -> Finding:
    """Retries are within the budget: the requests that reached the service, against the calls that did."""
    requests, calls = len(record.requests), len({request.call for request in record.requests})
    retries = limits.retry_ratio * len(record.calls) + limits.retry_floor * (record.end + limits.retry_window)
    over = requests - (calls + retries)
    return Finding(
        "budget",
        "requests stay within calls plus the retry budget",
        f"{requests} requests ≤ {calls} calls + {retries:.0f} retries",
        (f"{over:.1f} too many",) if over > 0 else (),
    )


def deadline(record: Record, limits: Limits) -> Finding:
    """No call outlasts its deadline."""
    allowed = limits.deadline + limits.slack
    longest = max((call.seconds for call in record.calls), default=0.0)
    return Finding(
        "deadline",
        f"no call lasts longer than {limits.deadline:g} s",
        f"longest {longest:.3f} s, slack {limits.slack:g} s",
        tuple(f"{call.id}: {call.seconds:.3f} s" for call in record.calls if call.seconds > allowed),
    )


def refusal(record: Record, _: Limits) -> Finding:
    """What was refused never reached the service."""
    refused = {call.id for call in record.calls if call.outcome and call.outcome.refused}
    return Finding(
        "refusal",
        "no refused call reaches the service",
        f"{len(refused)} refused",
        tuple(_name(request) for request in record.requests if request.call in refused),
    )


def lost(record: Record, _: Limits) -> Finding:
    """Every call ends once, and the two sides' records match."""
    ended = Counter(call.id for call in record.calls if call.outcome)
    begun = {(call.id, attempt.number) for call in record.calls for attempt in call.attempts}
    seen = Counter((request.call, request.attempt) for request in record.requests)
    return Finding(
        "lost",
        "each call ends once, each request is one attempt",
        f"{len(record.planned)} begun, {ended.total()} ended, {len(seen)} requests matched",
        (
            *(f"{name} ended {ended[name]} times" for name in record.planned if ended[name] != 1),
            *(f"{name} was never begun" for name in ended.keys() - set(record.planned)),
            *(
                f"{name}/{number} reached the service {times} times"
                for (name, number), times in seen.items()
                if times > 1
            ),
            *(f"{name}/{number} is nobody's" for name, number in seen.keys() - begun),
        ),
    )


def retry_after(record: Record, _: Limits) -> Finding:
    """Nobody comes back before the `Retry-After` of a 503 that arrived is over."""
    asked = {(request.call, request.attempt): request.retry_after for request in record.requests if request.retry_after}
    waits = [
        (call, after.number, after.started - before.ended, asked[call.id, before.number])
        for call, before, after in _retried(record.calls)
        if before.ended and before.error == "HTTPStatusError" and (call.id, before.number) in asked
    ]
    return Finding(
        "retry_after",
        "no retry comes before a Retry-After is over",
        f"{len(asked)} answers asked for a wait, {len(waits)} of them retried",
        tuple(f"{call.id}/{number} after {wait:.3f} s" for call, number, wait, least in waits if wait < (least or 0)),
    )


def bulkhead(record: Record, limits: Limits) -> Finding:
    """Threads and tasks together never exceed the bulkhead."""
    attempts = [attempt for call in record.calls for attempt in call.attempts]
    most = _most_at_once(attempts)
    return Finding(
        "bulkhead",
        f"at most {limits.at_once} attempts at once, both sides together",
        f"at most {most} of {len(attempts)}",
        (f"{most} at once",) if most > limits.at_once else (),
    )


def circuit(record: Record, limits: Limits) -> Finding:
    """An open circuit starts nothing, but for what was admitted just before and waited for its place."""
    grace = limits.queued + limits.slack
    spans = [(begin + grace, end) for begin, end, state in record.states(record.end) if state == "open"]
    return Finding(
        "circuit",
        "while the circuit is open nothing starts",
        f"{len(spans)} times open, {sum(max(0.0, end - begin) for begin, end in spans):.1f} s of silence",
        tuple(
            f"{call.id}/{attempt.number} at {attempt.started:.2f} s"
            for call in record.calls
            for attempt in call.attempts
            if any(begin < attempt.started < end for begin, end in spans)
        ),
    )


CHECKS: dict[str, Callable[[Record, Limits], Finding]] = {
    check.__name__: check for check in (budget, deadline, refusal, lost, retry_after, bulkhead, circuit)
}
"""Every promise by its name."""


def _retried(calls: Iterable[Call]) -> Iterable[tuple[Call, Attempt, Attempt]]:
    return ((call, *pair) for call in calls for pair in zip(call.attempts, call.attempts[1:], strict=False))


def _most_at_once(attempts: Iterable[Attempt]) -> int:
    edges = [(attempt.started, 1) for attempt in attempts if attempt.ended is not None]
    edges += [(attempt.ended, -1) for attempt in attempts if attempt.ended is not None]
    now = most = 0
    for _, step in sorted(edges):  # at the same instant, those that leave come first
        now += step
        most = max(most, now)
    return most


def _name(request: Request) -> str:
    return f"{request.call}/{request.attempt}"
