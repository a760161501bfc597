"""What a call of a rate limiter costs, where that is not the same for all: of a block, and by a function.

A function of the call's own arguments has shells apart from the usual ones, which do not look at the arguments, and so
leave them as the caller has given them.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from . import _checks
from ._ambient import ambient
from ._lease import Ending, Lease
from ._rate_meter import Meter
from ._telemetry import AsyncFunction, Function


class Metered(Protocol):
    """What has a meter, another one after a fork."""

    meter: Meter


class Admitting(Protocol):
    """What lets blocks in, at a cost."""

    def admit(self, cost: float | None = None) -> Lease:
        """See `RateLimiter.admit`."""
        ...

    async def aadmit(self, cost: float | None = None) -> Lease:
        """See `RateLimiter.aadmit`."""
        ...


class Priced:
    """A limiter at a given cost, for a guard."""

    __slots__ = ("_cost", "_limiter")

    def __init__(self, limiter: Admitting, cost: float) -> None:
        self._limiter = limiter
        self._cost = cost

    def admit(self) -> Lease:
        """Let a block in."""
        return self._limiter.admit(self._cost)

    async def aadmit(self) -> Lease:
        """The async twin of `admit`."""
        return await self._limiter.aadmit(self._cost)


def lease(meter: Meter, cost: float, mark: float) -> Lease:
    """What is given back if nothing was called.

    Args:
        meter: Where it was taken.
        cost: How much.
        mark: By what to give it back.
    """

    def end(ending: Ending, _: BaseException | None) -> None:
        if ending is Ending.RELEASED:
            meter.give_back(cost, mark)

    return Lease(end)


def priced(limiter: Metered, cost: Callable[..., Any], take: Callable[[Meter, float], Any], fn: Function) -> Function:
    """Wrap a plain function."""
    deadline = ambient.get

    def call(*args: Any, **kwargs: Any) -> Any:
        meter = limiter.meter
        price = _price(cost(*args, **kwargs))
        if deadline() is not None or meter.seize(price) is None:
            take(meter, price)
        result = fn(*args, **kwargs)
        return result

    return call


def apriced(
    limiter: Metered, cost: Callable[..., Any], take: Callable[[Meter, float], Awaitable[Any]], fn: AsyncFunction
) -> AsyncFunction:
    """Wrap a coroutine function."""
    deadline = ambient.get

    async def call(*args: Any, **kwargs: Any) -> Any:
        meter = limiter.meter
        price = _price(cost(*args, **kwargs))
        if deadline() is not None or meter.seize(price) is None:
            await take(meter, price)
        result = await fn(*args, **kwargs)
        return result

    return call


def _price(returned: Any) -> float:
    return _checks.number("what cost= returned", returned, least=0.0)
