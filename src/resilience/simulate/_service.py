"""A modelled service: so many workers, how long each request takes, and what goes wrong when.

The queue is first in, first out, and requests stay in it when their callers have gone, as in a socket's backlog. So
the moment at which a request will be begun is known when it arrives: it is when the worker that is free first is free.
One heap of such moments is all there is, and a request is one sleep, however long the queue.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heapreplace
from itertools import pairwise
from math import exp, inf, log
from statistics import NormalDist
from typing import Any

from .. import _checks
from .._clock import clock
from ._world import stream

_POINTS = 4_096
"""Values that stand for a distribution: the tail beyond 1 in 8,192 is cut off."""


def lognormal(median: float, p99: float) -> list[float]:
    """Latencies as services have them: most near the median, some far above.

    Args:
        median: Seconds that half of the requests take at most.
        p99: Seconds that 99 % of them take at most; not below the median.

    Returns:
        4,096 durations that are equally likely.

    Raises:
        TypeError: A parameter is no number.
        ValueError: `median` is not above 0, or `p99` is below it.
    """
    middle = _checks.number("median", median, above=0.0)
    sigma = log(_checks.number("p99", p99, least=middle) / middle) / NormalDist().inv_cdf(0.99)
    return [middle * exp(sigma * NormalDist().inv_cdf(share)) for share in _shares()]


def exponential(mean: float) -> list[float]:
    """Latencies without memory, as in the textbooks' queue M/M/c.

    Args:
        mean: Seconds; above 0.

    Returns:
        4,096 durations that are equally likely.

    Raises:
        TypeError: `mean` is no number.
        ValueError: `mean` is not above 0.
    """
    mean = _checks.number("mean", mean, above=0.0)
    return [-mean * log(1.0 - share) for share in _shares()]


def _shares() -> Iterable[float]:
    return ((point + 0.5) / _POINTS for point in range(_POINTS))


@dataclass(frozen=True, slots=True)
class Brownout:
    """A time in which a service is ill.

    Args:
        begin: When it begins, in seconds since the start of the simulation.
        end: When it is over.
        slower: How many times as long each request takes that is begun meanwhile. Default 1.0; `inf`: none is begun.
        failing: The share of the requests begun meanwhile that end in a `ConnectionError`. Default 0.0.

    Raises:
        TypeError: A parameter is no number.
        ValueError: A parameter is out of its range.
    """

    begin: float
    end: float
    slower: float = 1.0
    failing: float = 0.0

    def __post_init__(self) -> None:
        _checks.number("begin", self.begin, least=0.0)
        _checks.number("end", self.end, above=self.begin)
        if self.slower != inf:
            _checks.number("slower", self.slower, above=0.0)
        _checks.number("failing", self.failing, least=0.0, most=1.0)


@dataclass(frozen=True, slots=True)
class _Phase:
    """A time in which nothing changes."""

    until: float
    slower: float
    failing: float


class Model:
    """What starts anew with every simulation, whoever has used it before."""

    __slots__ = ("_now", "_random")

    def __init__(self) -> None:
        self._now: Callable[[], float] | None = None
        self._random: Callable[[], float] = clock.random

    def __call__(self) -> Awaitable[None]:
        """Send a request."""
        raise NotImplementedError

    def _time(self) -> float:
        """What time it is; the beginning, where the clock is another than it was."""
        if clock.now is not self._now:
            self._now, self._random = clock.now, stream()
            self._begin(clock.now())
        return clock.now()

    def _begin(self, now: float) -> None:
        raise NotImplementedError


class Service(Model):
    """A service that can do so much, and takes so long.

    Call it to send a request: `await service()`. It starts anew with each simulation.

    Args:
        capacity: How many requests it works on at once. With a latency of 0.1 s, 20 workers can do 200 a second.
        latency: How long the work takes: seconds, or durations that are equally likely, such as measured ones, or
            those of `lognormal` and `exponential`.
        queue: How many requests may wait; what comes then is refused at once with a `ConnectionError`. Default `None`:
            any number.
        brownouts: When it is ill. Where several are at once, each adds what it does.

    Raises:
        TypeError: A parameter is of the wrong kind.
        ValueError: A parameter is out of its range.
    """

    __slots__ = ("_bounded", "_brownouts", "_capacity", "_draws", "_latencies", "_phase", "_phases", "_queue",
                 "_waiting", "_workers")  # fmt: skip

    def __init__(
        self,
        capacity: int,
        latency: float | Sequence[float],
        *,
        queue: int | None = None,
        brownouts: Sequence[Brownout] = (),
    ) -> None:
        super().__init__()
        self._capacity = _checks.whole("capacity", capacity)
        self._latencies = _durations("latency", latency)
        self._draws = len(self._latencies)
        self._bounded = queue is not None
        self._queue = inf if queue is None else _checks.whole("queue", queue, least=0)
        self._brownouts = tuple(brownouts)
        for one in self._brownouts:
            if not isinstance(one, Brownout):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
                raise TypeError(f"brownouts must hold Brownout(begin, end, ...), got {one!r}")
        self._workers: list[float] = []
        self._waiting: deque[float] = deque()
        self._phases: list[_Phase] = []
        self._phase = _Phase(inf, 1.0, 0.0)

    def __call__(self) -> Awaitable[None]:
        """Send a request; it is answered when its turn was and the work is done.

        Raises:
            ConnectionError: The queue is full; or (when awaited) the request fails.
        """
        now = clock.now() if clock.now is self._now else self._time()
        phase = self._phase
        begins = self._workers[0]
        if begins <= now:
            begins = now
        elif self._bounded:
            self._line_up(now, begins)
        if begins >= phase.until or phase.slower == inf:
            begins = self._moved_on(begins)
            phase = self._phase
        ends = begins + self._latencies[int(self._random() * self._draws)] * phase.slower
        heapreplace(self._workers, ends)
        if phase.failing and self._random() < phase.failing:
            return _fail(ends - now)
        return clock.asleep(ends - now)

    def _line_up(self, now: float, begins: float) -> None:
        """Take the last place in the queue, if there is one."""
        waiting = self._waiting
        while waiting and waiting[0] <= now:
            waiting.popleft()
        if len(waiting) >= self._queue:
            raise ConnectionError(f"the service's queue is full: {self._queue} requests wait")
        waiting.append(begins)

    def _moved_on(self, begins: float) -> float:
        """Go on to the phase in which a request is begun; when it is; no worker begins anything in one of `inf`."""
        while begins >= self._phase.until or self._phase.slower == inf:
            if self._phase.slower == inf:
                begins = max(begins, self._phase.until)
                self._workers = [max(free, begins) for free in self._workers]  # which keeps the heap in order
            self._phase = self._phases.pop()
        return begins

    def _begin(self, now: float) -> None:
        edges = sorted({0.0, inf, *(edge for one in self._brownouts for edge in (one.begin, one.end))})
        phases = [_phase(self._brownouts, *span, now) for span in pairwise(edges)]
        self._phases = phases[::-1]
        self._phase = self._phases.pop()
        self._workers = [now] * self._capacity
        self._waiting.clear()


class LookAside(Model):
    """A cache beside a slow service: who misses asks the service, and stores what it answers.

    Call it as the service: `await cache()`. The key of each request is one of `keys`, all equally likely. A caller that
    was cut off stores nothing; that is how a cold cache can stay cold. It begins warm with each simulation, its entries
    of every age.

    Args:
        behind: The service, a function that returns an awaitable.
        keys: How many keys there are.
        ttl: Seconds that an entry is good for. Warm, about `keys / ttl` requests a second go on to the service.
        hit: Seconds that a hit takes. Default 0.001.

    Raises:
        TypeError: A parameter is of the wrong kind.
        ValueError: A parameter is out of its range.
    """

    __slots__ = ("_behind", "_expires", "_hit", "_keys", "_ttl")

    def __init__(
        self, behind: Callable[[], Awaitable[Any]], *, keys: int, ttl: _checks.Seconds, hit: _checks.Seconds = 0.001
    ) -> None:
        super().__init__()
        if not callable(behind):
            raise TypeError(f"behind must be a function that returns an awaitable, got {behind!r}")
        self._behind = behind
        self._keys = _checks.whole("keys", keys)
        self._ttl = _checks.seconds("ttl", ttl)
        self._hit = _checks.seconds("hit", hit, zero=True)
        self._expires: list[float] = []

    def __call__(self) -> Awaitable[None]:
        """Ask for one of the keys."""
        now = self._time()
        key = int(self._random() * self._keys)
        return clock.asleep(self._hit) if self._expires[key] > now else self._fetch(key)

    def clear(self) -> None:
        """It is cold from now on."""
        self._expires = [self._time()] * self._keys

    async def _fetch(self, key: int) -> None:
        await self._behind()
        self._expires[key] = clock.now() + self._ttl

    def _begin(self, now: float) -> None:
        self._expires = [now + self._ttl * self._random() for _ in range(self._keys)]


async def _fail(after: float) -> None:
    await clock.asleep(after)
    raise ConnectionError("the service failed")


def _phase(brownouts: Sequence[Brownout], begin: float, end: float, now: float) -> _Phase:
    slower, well = 1.0, 1.0
    for one in brownouts:
        if one.begin <= begin < one.end:
            slower *= one.slower
            well *= 1.0 - one.failing
    return _Phase(now + end, slower, 1.0 - well)


def _durations(name: str, given: float | Sequence[float]) -> tuple[float, ...]:
    if isinstance(given, int | float):
        return (_checks.number(name, given, above=0.0),)
    values = tuple(_checks.number(f"each {name}", value, least=0.0) for value in given)
    if not values:
        raise ValueError(f"{name} must be seconds or some durations, got none")
    return values
