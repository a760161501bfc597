"""How the saga's steps call the services: one request each, which carries the key of its step.

A 409 is a no: the service has done nothing, and says why. Each service's no is an exception of its own, so that a step
can name it in `no_effect=`. Everything else that goes wrong leaves open what was done, and stays what it is.
"""

from dataclasses import asdict, dataclass
from typing import Any

import httpx2

from resilience.saga.barrier import headers

from .values import Confirmation, Order, Payment, Reservation


class OutOfStock(Exception):  # noqa: N818 - it says what happened
    """The inventory has not enough."""


class CardDeclined(Exception):  # noqa: N818 - it says what happened
    """The customer has not enough."""


class Undeliverable(Exception):  # noqa: N818 - it says what happened
    """Nothing is sent there."""


CONFLICT = 409
"""How a service says no."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """Puts things aside."""

    http: httpx2.AsyncClient

    async def reserve(self, key: str, order: Order) -> Reservation:
        """Put aside what was ordered."""
        return Reservation(**await _post(self.http, "/reserve", key, order, OutOfStock))

    async def release(self, key: str, order: Order) -> None:
        """Put it back, if it was put aside."""
        await _post(self.http, "/release", key, order)


@dataclass(frozen=True, slots=True)
class Payments:
    """Takes money."""

    http: httpx2.AsyncClient

    async def charge(self, key: str, order: Order) -> Payment:
        """Take the price."""
        return Payment(**await _post(self.http, "/charge", key, order, CardDeclined))

    async def refund(self, key: str, order: Order) -> None:
        """Give it back, if it was taken."""
        await _post(self.http, "/refund", key, order)


@dataclass(frozen=True, slots=True)
class Orders:
    """Keeps the orders."""

    http: httpx2.AsyncClient

    async def create(self, key: str, order: Order) -> Confirmation:
        """Write the order down."""
        return Confirmation(**await _post(self.http, "/create", key, order, Undeliverable))

    async def withdraw(self, key: str, order: Order) -> None:
        """Strike it out, if it was written down."""
        await _post(self.http, "/withdraw", key, order)


async def _post(
    http: httpx2.AsyncClient, path: str, key: str, order: Order, no: type[Exception] | None = None
) -> dict[str, Any]:
    response = await http.post(path, json=asdict(order), headers=headers(key))
    answer: dict[str, Any] = response.json() if response.content else {}
    if no and response.status_code == CONFLICT:
        raise no(answer["refused"])
    response.raise_for_status()
    return answer
