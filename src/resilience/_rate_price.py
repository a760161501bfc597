"""The shells of a rate limiter whose cost is a function of the call's own arguments.

Apart from the usual ones, which do not look at the arguments, and so leave them as the caller has given them.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from . import _checks
from ._ambient import ambient
from ._rate_meter import Meter
from ._telemetry import AsyncFunction, Function


class Metered(Protocol):
    """What has a meter, another one after a fork."""

    meter: Meter


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
