"""How many calls at once a service is worth: found by trying, a machine without a lock or a clock.

More calls at once bring more answers a second until the service is full; from there on they only wait. With `n` calls
at once and `x` answers a second, `x` grows in step with `n` below the knee, and not at all above it. So the machine
asks what a percent more calls brought, the *elasticity* of the answers::

    d log x / d log n      1 below the knee, 0 above it, less than 0 where the service thrashes

Above a half, the limit goes up by a step, below it down. That is the same as climbing Kleinrock's power, `x` divided by
the latency: its summit is the knee. No latency is taken for that of an idle service, so none can be out of date, and
none has to be probed for: a limit that drifts up with the latency that it causes is what this is built against.

The elasticity is a regression over the last rounds, newer ones counting more. It needs the limit to move, so it always
does: around the knee it goes up and down by a step. Where it was not the limit that held the calls back, nothing can be
learned about it, and it stays as it is.
"""

from math import log
from typing import NamedTuple

STEP = 0.05
"""By how much the limit moves each round, as a share."""

STRIDE = 0.15
"""By how much it moves once it has gone `SURE` rounds one way: the knee is somewhere else."""

SURE = 2

LEAST = 40
"""The fewest calls of which a round is made."""

PER_PLACE = 5
"""Calls for each place, of which a round is made: so many that chance seldom hides a step."""

LONGEST = 5.0
"""Seconds after which a round ends with fewer calls, but for `FEW`."""

FEW = 8

FULL = 0.9
"""The share of the places that were in use when a call ended at the limit."""

MOSTLY = 0.75
"""The share of the calls of a round that have to end at the limit, for the limit to be what held them back."""

MEMORY = 0.65
"""What a round counts for in the next one."""

LAST = 29
"""Rounds before this one that are remembered: older ones count for less than a millionth."""

HALF = 0.5

SPREAD = 0.02
"""Differences between rounds, as a share, below which nothing can be told from them."""


class Round(NamedTuple):
    """What was seen in a stretch of time.

    Attributes:
        calls: Calls at once, on average.
        answers: Good answers a second.
    """

    calls: float
    answers: float


class Finder:
    """Finds the limit.

    Args:
        initial: The limit at first.
        minimum: The least that it may be.
        maximum: The most.
        now: The time.

    Attributes:
        limit: How many calls at once are let in.
        elasticity: What was seen last; `None`: nothing yet.
    """

    __slots__ = (
        "_answers",
        "_busy",
        "_ended",
        "_full",
        "_maximum",
        "_minimum",
        "_one_way",
        "_rounds",
        "_since",
        "elasticity",
        "limit",
    )

    def __init__(self, initial: int, minimum: int, maximum: int, now: float) -> None:
        self._minimum = minimum
        self._maximum = maximum
        self.limit = initial
        self.elasticity: float | None = None
        self._rounds: list[Round] = []
        self._one_way = 0  # rounds in a row; below zero: downwards
        self._begin(now)

    def note(self, seconds: float, now: float, in_use: int, *, good: bool = True) -> int | None:
        """One call has ended.

        Args:
            seconds: How long it took.
            now: The time.
            in_use: How many calls were under way, itself included.
            good: Whether it was answered.

        Returns:
            The limit, if a round has ended by it.
        """
        full = in_use >= FULL * self.limit
        if full and not self._full and self._ended:
            self._begin(now)  # a quiet time is over: it is no part of what comes now
        self._busy += seconds
        self._ended += 1
        self._answers += good
        self._full += full
        took = now - self._since
        few = self._ended < LEAST or self._ended < PER_PLACE * self.limit
        if (few and (took < LONGEST or self._ended < FEW)) or took <= 0.0:
            return None
        if self._busy > 0.0 and self._full >= MOSTLY * self._ended:
            self._judge(took)
        self._begin(now)
        return self.limit

    def adopt(self, limit: int) -> None:
        """Go on from another limit."""
        self.limit = limit

    def _begin(self, now: float) -> None:
        self._since = now
        self._busy = 0.0
        self._ended = 0
        self._answers = 0
        self._full = 0

    def _judge(self, took: float) -> None:
        """A round is over, in which the limit was what held the calls back: move it."""
        answers = self._answers + HALF  # of none, there is no logarithm
        self._rounds = [*self._rounds[-LAST:], Round(self._busy / took, answers / took)]
        self.elasticity = elasticity(self._rounds)
        up = self.elasticity is None or self.elasticity > HALF
        self._one_way = max(self._one_way, 0) + 1 if up else min(self._one_way, 0) - 1
        self._move(STRIDE if abs(self._one_way) > SURE else STEP, up=up)

    def _move(self, share: float, *, up: bool) -> None:
        step = max(1.0, share * self.limit)  # a whole one at least, or nothing moves
        self.adopt(min(max(round(self.limit + (step if up else -step)), self._minimum), self._maximum))


def elasticity(rounds: list[Round]) -> float | None:
    """By how many percent the answers change for one percent more calls; `None` where the calls hardly differ."""
    weights = [MEMORY**age for age in range(len(rounds) - 1, -1, -1)]
    points = [(weight, log(one.calls), log(one.answers)) for weight, one in zip(weights, rounds, strict=True)]
    total = sum(weights)
    calls = sum(weight * x for weight, x, _ in points) / total
    answers = sum(weight * y for weight, _, y in points) / total
    spread = sum(weight * (x - calls) ** 2 for weight, x, _ in points) / total
    if spread < SPREAD**2:
        return None
    return sum(weight * (x - calls) * (y - answers) for weight, x, y in points) / total / spread
