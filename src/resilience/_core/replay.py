"""Recorded traffic, and what a replay makes of it: pure, without a clock, a file or a call.

A `Call` is one logical call, as its caller saw it; its `Attempt`s are what the service saw of it. `Traffic` answers the
one question of a replay: what does *this* attempt meet? Its own recorded outcome, if it is made at about the moment
that it was made then; else that of an attempt near in time, drawn by lot, which is a guess, and counted as one.

`compare` holds both runs against each other, call by call.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from msgspec import Struct

VERSION = 1
"""Of the lines below. A new field with a default needs no new version."""

NEAR = 1.0
"""Seconds: an attempt that is made no further from its recorded moment meets its own recorded outcome."""

NEIGHBOURS = 20
"""Any other attempt meets the outcome of one of at most so many that are near it in time: within `NEAR`, or, where none
is so near, no more than twice as far as the nearest. So of an outage with few probes, the probes tell."""

CUT = ("cancelled", "running")
"""Outcomes of attempts that were not seen to their end: they took at least so long."""

_ILL = 500
"""A response with such a status or a higher one is none that a caller wanted."""


class Header(Struct, frozen=True, tag_field="line", tag="traffic"):
    """The first line of a recording, and of each further run that goes on in the same file."""

    version: int


class Attempt(Struct, frozen=True, omit_defaults=True):
    """One call of the function itself.

    Attributes:
        at: When it began, in seconds since 1970.
        took: How long it took, in seconds.
        outcome: "success", "error", "timeout", "rejected", "cancelled"; "running" if nobody waited for its end.
        error: The class of what it raised, if anything.
        status: The HTTP status of its answer, if it had one.
    """

    at: float
    took: float
    outcome: str
    error: str | None = None
    status: int | None = None


class Call(Struct, frozen=True, omit_defaults=True, tag_field="line", tag="call"):
    """One guarded call.

    Attributes:
        at: When it began, in seconds since 1970.
        policy: The name of the pipeline.
        took: How long its caller waited, in seconds.
        outcome: As for an attempt.
        error: As for an attempt.
        status: As for an attempt.
        attempts: What reached the function, in order; none if the call was refused.
    """

    at: float
    policy: str
    took: float
    outcome: str
    error: str | None = None
    status: int | None = None
    attempts: tuple[Attempt, ...] = ()


class Turn(Struct, frozen=True, tag_field="line", tag="state"):
    """A circuit breaker changed its state.

    Attributes:
        at: When, in seconds since 1970.
        policy: The name of the pipeline that it is in.
        breaker: Its own name.
        state: The state that began.
    """

    at: float
    policy: str
    breaker: str
    state: str


Line = Header | Call | Turn


class Traffic:
    """The calls of one pipeline, in order.

    Args:
        calls: The calls; at least one of them must have reached the function.

    Attributes:
        calls: The same, by the time they began.
    """

    def __init__(self, calls: Iterable[Call]) -> None:
        self.calls: list[Call] = sorted(calls, key=lambda call: call.at)
        # What a caller took back says when he lost patience, and nothing about the service.
        met = [attempt for call in self.calls if call.outcome != "cancelled" for attempt in attempts_of(call)]
        self._attempts = sorted(met, key=lambda attempt: attempt.at)
        self._starts = [attempt.at for attempt in self._attempts]

    @property
    def speaks(self) -> bool:
        """Whether anything is known of the service."""
        return bool(self._attempts)

    def meets(self, call: Call, number: int, at: float, roll: float) -> tuple[Attempt, bool]:
        """What an attempt meets, and whether that is a guess.

        Args:
            call: The call that it is made for.
            number: Which attempt of it, from 0.
            at: When it is made, in seconds since 1970.
            roll: A number, evenly spread over [0, 1).
        """
        own = attempts_of(call)
        if number < len(own) and abs(own[number].at - at) <= NEAR:
            return own[number], False
        return self._near(at, roll), True

    def _near(self, at: float, roll: float) -> Attempt:
        last = max(0, len(self._starts) - NEIGHBOURS)
        first = min(max(0, bisect_left(self._starts, at) - NEIGHBOURS // 2), last)
        around = self._attempts[first : first + NEIGHBOURS]
        reach = max(NEAR, 2 * min(abs(one.at - at) for one in around))
        among = [one for one in around if abs(one.at - at) <= reach]
        return among[int(roll * len(among))]


def attempts_of(call: Call) -> tuple[Attempt, ...]:
    """The attempts; where a call was made and none was seen (in a thread without its context), the call itself."""
    if call.attempts or call.outcome == "rejected":
        return call.attempts
    return (Attempt(call.at, call.took, call.outcome, call.error, call.status),)


class Ended(NamedTuple):
    """How a call ended in a run.

    Attributes:
        outcome: As for an attempt.
        took: Seconds that its caller waited.
        attempts: How often the function was called for it.
        status: The HTTP status of its answer, if it had one.
    """

    outcome: str
    took: float
    attempts: int
    status: int | None = None

    @property
    def verdict(self) -> str:
        """How it ended for whoever asked: "good", "failed", "refused" or "cancelled"."""
        if self.outcome in {"rejected", "cancelled"}:
            return {"rejected": "refused"}.get(self.outcome, self.outcome)
        return "good" if self.outcome in {"success", "fallback"} and (self.status or 0) < _ILL else "failed"


def as_recorded(call: Call) -> Ended:
    """How a call ended when it was recorded."""
    return Ended(call.outcome, call.took, len(attempts_of(call)), call.status)


@dataclass(frozen=True, slots=True)
class Latency:
    """How long callers waited, in seconds; by nearest rank, so each is a time that somebody waited.

    Attributes:
        p50: Half of them waited no longer.
        p95: 95 % of them.
        p99: 99 % of them.
        longest: All of them.
    """

    p50: float
    p95: float
    p99: float
    longest: float


def latency(times: Iterable[float]) -> Latency | None:
    """The quantiles of some durations; `None` where there are none."""
    ordered = sorted(times)
    if not ordered:
        return None
    p50, p95, p99 = (ordered[-(-len(ordered) * share // 100) - 1] for share in (50, 95, 99))
    return Latency(p50, p95, p99, ordered[-1])


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs.

    Attributes:
        good: Calls that ended well.
        failed: Calls that were made and failed.
        refused: Calls that were never made.
        cancelled: Calls that their callers took back.
        attempts: How often the function was called.
        latency: Of all calls but those taken back.
        good_latency: Of the calls that ended well.
    """

    good: int
    failed: int
    refused: int
    cancelled: int
    attempts: int
    latency: Latency | None
    good_latency: Latency | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both runs, and what became of each call.

    Attributes:
        before: As recorded.
        after: As replayed.
        spared: Doomed calls that are not made any more: they failed, and are refused.
        spared_seconds: How much less their callers wait for that, together.
        lost: Good calls that are refused.
        harmed: Good calls that are made, and fail.
        rescued: Calls that failed or were refused, and end well.
    """

    before: Side
    after: Side
    spared: int
    spared_seconds: float
    lost: int
    harmed: int
    rescued: int


def compare(before: Sequence[Ended], after: Sequence[Ended]) -> Comparison:
    """Hold two runs of the same calls against each other."""
    pairs = Counter((one.verdict, other.verdict) for one, other in zip(before, after, strict=True))
    spared = [
        one.took - other.took
        for one, other in zip(before, after, strict=True)
        if (one.verdict, other.verdict) == ("failed", "refused")
    ]
    return Comparison(
        before=_side(before),
        after=_side(after),
        spared=len(spared),
        spared_seconds=sum(spared),
        lost=pairs["good", "refused"],
        harmed=pairs["good", "failed"],
        rescued=pairs["failed", "good"] + pairs["refused", "good"],
    )


def _side(run: Sequence[Ended]) -> Side:
    verdicts = Counter(one.verdict for one in run)
    return Side(
        good=verdicts["good"],
        failed=verdicts["failed"],
        refused=verdicts["refused"],
        cancelled=verdicts["cancelled"],
        attempts=sum(one.attempts for one in run),
        latency=latency(one.took for one in run if one.verdict != "cancelled"),
        good_latency=latency(one.took for one in run if one.verdict == "good"),
    )
