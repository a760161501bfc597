"""What is written down while it runs: by the client about its calls, by the service about what reached it.

Plain data and what follows from it. Two sides write independently; the audit joins them by the call's id. Times are
seconds since the service's start, on the machine's monotonic clock, which both processes share.
"""

import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise


class Side(StrEnum):
    """Where a call came from."""

    THREADS = "threads"
    TASKS = "tasks"


class Outcome(StrEnum):
    """How a call ended for its caller."""

    OK = "answered"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    CIRCUIT_OPEN = "circuit open"
    BULKHEAD_FULL = "bulkhead full"
    OUT_OF_TIME = "out of time"

    @property
    def refused(self) -> bool:
        """Whether our own side refused the call, so that the service must never have seen it."""
        return self in _REFUSALS


_REFUSALS = frozenset({Outcome.CIRCUIT_OPEN, Outcome.BULKHEAD_FULL, Outcome.OUT_OF_TIME})


@dataclass(slots=True)
class Attempt:
    """One time that a call's function ran.

    Attributes:
        number: From 1.
        started: When it began.
        ended: When it ended, in whatever way.
        error: The name of the exception that ended it, if one did.
    """

    number: int
    started: float
    ended: float | None = None
    error: str | None = None


@dataclass(slots=True)
class Call:
    """One logical call, as its caller sees it; `outcome` is `None` while it runs."""

    id: str
    side: Side
    began: float
    started: float
    ended: float | None = None
    outcome: Outcome | None = None
    attempts: list[Attempt] = field(default_factory=list[Attempt])

    @contextmanager
    def attempt(self) -> Generator[dict[str, str]]:
        """Write down an attempt, and give the headers by which the service's record can be joined with it."""
        attempt = Attempt(len(self.attempts) + 1, time.monotonic() - self.began)
        self.attempts.append(attempt)
        try:
            yield {"X-Call-Id": self.id, "X-Attempt": str(attempt.number)}
        except BaseException as error:
            attempt.error = type(error).__name__
            raise
        finally:
            attempt.ended = time.monotonic() - self.began

    def end(self, outcome: Outcome) -> None:
        """Write down how the call ended."""
        self.ended = time.monotonic() - self.began
        self.outcome = outcome

    @property
    def seconds(self) -> float:
        """How long the caller waited; 0.0 while it still waits."""
        return 0.0 if self.ended is None else self.ended - self.started

    @property
    def retries(self) -> int:
        """Attempts after the first."""
        return max(0, len(self.attempts) - 1)

    @property
    def recovered(self) -> bool:
        """Whether a retry saved it."""
        return self.outcome is Outcome.OK and self.retries > 0


@dataclass(frozen=True, slots=True)
class Request:
    """One request that reached the service, as the service wrote it down on arrival.

    Attributes:
        call: The id of the call it belongs to.
        attempt: Which attempt of it.
        at: When it arrived.
        kind: What the service did with it.
        retry_after: Seconds of peace that the service asked for, if it did.
    """

    call: str
    attempt: int
    at: float
    kind: str
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """The circuit breaker entered a state."""

    at: float
    state: str
    reason: str


@dataclass(slots=True)
class Record:
    """Everything both sides wrote down.

    Attributes:
        planned: The ids of the calls that were to be made.
        calls: The client's record.
        requests: The service's record.
        transitions: The breaker's states.
    """

    planned: list[str] = field(default_factory=list[str])
    calls: list[Call] = field(default_factory=list[Call])
    requests: list[Request] = field(default_factory=list[Request])
    transitions: list[Transition] = field(default_factory=list[Transition])

    @property
    def end(self) -> float:
        """The last moment that anything was written down."""
        return max((call.ended or call.started for call in self.calls), default=0.0)

    def outcomes(self, side: Side | None = None) -> Counter[Outcome]:
        """How many calls ended in which way."""
        return Counter(call.outcome for call in list(self.calls) if call.outcome and side in (None, call.side))

    def states(self, until: float) -> list[tuple[float, float, str]]:
        """The breaker's states with the moments at which they begin and end."""
        edges = [Transition(0.0, "closed", "the start"), *self.transitions, Transition(until, "", "the end")]
        return [(a.at, b.at, a.state) for a, b in pairwise(edges) if b.at > a.at]
