"""A service in a loop with its limit: callers, places, and a service that gets slower when it is full. No real time."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from resilience._core.adaptive import Finder


@dataclass
class Service:
    """So many can be served at once; the others wait within, first in, first out.

    Attributes:
        capacity: How many at a moment.
        seconds: How long one takes when it is served.
        noise: A number for each call, around 1.
        thrash: By what share each call above the capacity slows the others down.
    """

    capacity: Callable[[float], float]
    seconds: Callable[[float], float] = lambda _: 0.1
    noise: Callable[[random.Random], float] = lambda _: 1.0
    thrash: float = 0.0


@dataclass
class Loop:
    """Callers who want `demand` calls under way at a moment, as far as the limit lets them."""

    finder: Finder
    service: Service
    demand: Callable[[float], int]
    seed: int = 0
    limits: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    now: float = 0.0

    def run(self, until: float) -> "Loop":
        """Play until a moment."""
        chance, running, inside, waiting, number = random.Random(self.seed), 0, 0, list[float](), 0
        ends: list[tuple[float, int, float]] = []
        while self.now < until:
            while inside < min(self.finder.limit, self.demand(self.now)):
                inside += 1
                waiting.append(self.now)
            while waiting and running < max(1, round(self.service.capacity(self.now))):
                running += 1
                number += 1
                crowd = 1.0 + self.service.thrash * max(0.0, inside - self.service.capacity(self.now))
                takes = self.service.seconds(self.now) * self.service.noise(chance) * crowd
                heapq.heappush(ends, (self.now + takes, number, waiting.pop(0)))
            if not ends:
                self.now += 0.01
                continue
            self.now, _, began = heapq.heappop(ends)
            running -= 1
            found = self.finder.note(self.now - began, self.now, good=True, in_use=inside)
            inside -= 1
            if found is not None:
                self.limits.append((self.now, found))
        return self

    def settled(self, since: float, until: float) -> tuple[float, float, float]:
        """The least, the mean and the most of the limits in a stretch of time."""
        values = [limit for at, limit in self.limits if since <= at < until]
        return min(values), sum(values) / len(values), max(values)
