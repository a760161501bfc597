"""How the service behaves, second by second: a written schedule, read by the service and by whoever draws it.

Pure values: nothing here knows a clock, a socket or a policy. The same moment and the same roll of the dice always
give the same answer.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from random import Random
from typing import Self

STALL = 4.0
"""Seconds that a stalled request hangs: longer than anybody's patience here."""


class Kind(StrEnum):
    """What the service does with a request."""

    OK = "ok"
    STALL = "stall"
    ERROR = "error"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request gets.

    Attributes:
        kind: What the service does with it.
        delay: Seconds until it does.
        retry_after: Seconds the service asks to be left alone, as a `Retry-After` header can say it.
    """

    kind: Kind
    delay: float
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of time in which the service keeps to one manner.

    Attributes:
        name: What to call it.
        seconds: How long it lasts.
        latency: The shortest and the longest time to an answer, in seconds.
        stalls: The share of requests that hang.
        errors: The share answered with 503.
        resets: The share whose connection is reset.
        retry_after: What the 503s ask for, in seconds.
    """

    name: str
    seconds: float
    latency: tuple[float, float]
    stalls: float = 0.0
    errors: float = 0.0
    resets: float = 0.0
    retry_after: int | None = None

    def answer(self, dice: Random) -> Answer:
        """What a request in this phase gets."""
        delay, luck = dice.uniform(*self.latency), dice.random()
        if luck < self.stalls:
            return Answer(Kind.STALL, STALL)
        if luck < self.stalls + self.errors:
            return Answer(Kind.ERROR, delay, self.retry_after)
        if luck < self.stalls + self.errors + self.resets:
            return Answer(Kind.RESET, delay)
        return Answer(Kind.OK, delay)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Phases, one after the other; the last one goes on for ever."""

    phases: tuple[Phase, ...]

    @property
    def seconds(self) -> float:
        """How long all phases last together."""
        return math.fsum(phase.seconds for phase in self.phases)

    def lasting(self, seconds: float) -> Self:
        """The same story told in another time: phases shrink or grow, latencies do not."""
        factor = seconds / self.seconds
        return replace(self, phases=tuple(replace(phase, seconds=phase.seconds * factor) for phase in self.phases))

    def spans(self) -> list[tuple[float, float, Phase]]:
        """Each phase with the seconds at which it begins and ends."""
        edges = [math.fsum(phase.seconds for phase in self.phases[:count]) for count in range(len(self.phases) + 1)]
        return [(begin, end, phase) for (begin, end), phase in zip(pairwise(edges), self.phases, strict=True)]

    def at(self, moment: float) -> Phase:
        """The phase at so many seconds from the start."""
        return next((phase for _, end, phase in self.spans() if moment < end), self.phases[-1])


OUTAGE = Schedule(
    (
        Phase("healthy", 4.0, latency=(0.02, 0.06)),
        Phase("slow", 3.0, latency=(0.1, 0.45), stalls=0.6),
        Phase("down", 4.0, latency=(0.005, 0.02), errors=0.6, resets=0.4, retry_after=1),
        Phase("flaky", 3.0, latency=(0.02, 0.08), errors=0.25, resets=0.15, retry_after=1),
        Phase("recovered", 6.0, latency=(0.02, 0.06)),
    )
)
"""Twenty seconds in the life of a service."""
