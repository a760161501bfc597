"""`Rate`, and what else a rate limiter is given, checked and in its normal form."""

import inspect
from collections.abc import Callable
from typing import cast

from . import _checks
from ._core.gcra import Flow


class Rate:
    """So many permits in so many seconds: `Rate(100, per=60)`.

    Args:
        limit: Permits; more than 0.
        per: In how many seconds (or a `timedelta`). Default 1.0.
        burst: How many there are at once after a rest; at least 1. Default: `limit`, or 1 where that is less.

    Raises:
        TypeError: A parameter is of the wrong kind.
        ValueError: A parameter makes no sense.
    """

    __slots__ = ("burst", "limit", "per")

    def __init__(self, limit: float, *, per: _checks.Seconds = 1.0, burst: float | None = None) -> None:
        self.limit: float = _checks.number("limit", limit, above=0.0)
        self.per: float = _checks.seconds("per", per)
        self.burst: float = max(1.0, self.limit) if burst is None else _checks.number("burst", burst, least=1.0)

    def __repr__(self) -> str:
        return f"Rate({self.limit:g}, per={self.per:g}, burst={self.burst:g})"

    def __str__(self) -> str:
        return f"{self.limit:g} per {self.per:g} s (burst {self.burst:g})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rate) and self._figures() == other._figures()

    def __hash__(self) -> int:
        return hash(self._figures())

    def _figures(self) -> tuple[float, float, float]:
        return self.limit, self.per, self.burst

    def flow(self) -> Flow:
        """The rate, as the machine takes it."""
        return Flow(self.limit / self.per, self.burst)


def rates_of(given: tuple[float | Rate, ...], per: _checks.Seconds, burst: float | None) -> tuple[Rate, ...]:
    """The rates that a limiter is given, all as `Rate`s."""
    if not given:
        raise TypeError("at least one rate must be given, as RateLimiter(10) or RateLimiter(Rate(100, per=60))")
    seconds = _checks.seconds("per", per)
    if all(isinstance(rate, Rate) for rate in given) and (burst is not None or seconds != 1.0):
        raise ValueError("per= and burst= have no effect where every rate is a Rate; write Rate(100, per=60, burst=10)")
    return tuple(
        rate if isinstance(rate, Rate) else Rate(_checks.number("rates", rate, above=0.0), per=seconds, burst=burst)
        for rate in given
    )


def function_of(cost: object) -> Callable[..., float] | None:
    """The cost, if it is a function."""
    if cost is None or isinstance(cost, int | float):
        return None
    if not callable(cost) or isinstance(cost, type):
        raise TypeError(f"cost must be a number or a function of the call's arguments, got {cost!r}")
    if inspect.iscoroutinefunction(cost) or inspect.iscoroutinefunction(type(cost).__call__):
        raise TypeError(f"cost must be a plain function, got the coroutine function {cost!r}: it is needed at once")
    return cast("Callable[..., float]", cost)
