"""Keeps count of a simulation. What happens often costs an increment; the course in time is told from differences."""

from array import array
from collections import Counter
from struct import pack
from typing import NamedTuple

from ._loop import START
from ._report import Report, Tick, count_of, quantile_of
from ._world import Caller, World


class _Look(NamedTuple):
    """The totals at one moment."""

    at: float
    calls: int
    requests: int
    answered: int
    errors: Counter[type[BaseException]]

    @property
    def ended(self) -> int:
        return self.answered + self.errors.total()

    @property
    def running(self) -> int:
        return self.calls - self.ended


class Ledger:
    """The totals of a simulation, and looks at them at even moments.

    Attributes:
        calls: How many calls were begun.
        requests: How many requests they made.
    """

    __slots__ = ("_errors", "_fresh", "_latencies", "_looks", "_tick", "_world", "calls", "requests", "turn")

    def __init__(self, world: World, tick: float) -> None:
        self._world = world
        self._tick = tick
        self._errors: Counter[type[BaseException]] = Counter()
        self._latencies = array("d")  # in ascending order between two looks
        self._fresh: list[float] = []  # those since the last look: a list takes one in at a tenth of the cost
        self.calls = 0
        self.requests = 0
        self._looks = [self._look()]
        self.turn = 0
        world.at(START + tick, self)

    def ended(self, caller: Caller, error: BaseException | None) -> None:
        """A call has ended."""
        if error is None:
            self._fresh.append(self._world.moment - caller.began)
        else:
            self._errors[type(error)] += 1

    def wake(self) -> None:
        """A tick is over."""
        self._looks.append(self._look())
        self._world.at(START + len(self._looks) * self._tick, self)

    def report(self) -> Report:
        """All of it, up to now."""
        now = self._look()
        if now.at > self._looks[-1].at + self._tick * 1e-6:
            self._looks.append(now)
        ticks = [self._between(*pair) for pair in zip(self._looks, self._looks[1:], strict=False)]
        return Report(
            seconds=now.at,
            calls=self.calls,
            requests=self.requests,
            errors=dict(self._errors),
            unfinished=now.running,
            latencies=_packed(sorted(self._latencies)),
            ticks=tuple(ticks),
        )

    def _look(self) -> _Look:
        self._fresh.sort()
        self._latencies += _packed(self._fresh)
        self._fresh.clear()
        return _Look(self._world.elapsed, self.calls, self.requests, len(self._latencies), self._errors.copy())

    def _between(self, one: _Look, other: _Look) -> Tick:
        latencies = self._latencies[one.answered : other.answered]
        errors = other.errors - one.errors
        return Tick(
            begin=one.at,
            end=other.at,
            calls=other.calls - one.calls,
            requests=other.requests - one.requests,
            answered=other.answered - one.answered,
            refused=count_of(errors, "refused"),
            timed_out=count_of(errors, "timed out"),
            failed=count_of(errors, "failed"),
            running=other.running,
            p50=quantile_of(latencies, 0.5),
            p99=quantile_of(latencies, 0.99),
        )


def _packed(values: list[float]) -> "array[float]":
    """It is `array("d", values)`, at a tenth of its cost."""
    return array("d", pack(f"{len(values)}d", *values))
