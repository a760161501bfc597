"""Placing an order: the module to copy from.

Three services take part, and there is no transaction around them. So each step has its undo written beside it, and the
saga sees to it that in the end either all steps are done or all are undone, though calls fail, hang and get lost, and
though this very process is killed at any line.

What a step has to do for that is one thing: send its key, `self.key`, along. It stays the same however often the step
is tried, also by the next process, so the service can tell that it has seen this call before.

What a policy adds: most failures pass, so a call is tried again within `PATIENCE` seconds. What is left when that is
over is not known to have failed: perhaps only the answer was lost. The saga undoes it as well, and the service, asked
to undo what it has never seen, does nothing. A no is another matter (`no_effect=`): nothing was done or is undone.
"""

from dataclasses import dataclass
from datetime import timedelta

from resilience import CircuitBreaker, FailureRate, Pipeline, TimedOut, retry, timeout
from resilience.http import transient, unhealthy
from resilience.saga import Saga, step

from .clients import CardDeclined, Inventory, Orders, OutOfStock, Payments, Undeliverable
from .values import Confirmation, Order, Payment, Reservation

PATIENCE = 3.0
"""Seconds that a step may try."""

ATTEMPT = 0.4
"""Seconds that one call may last."""


def calls_to(service: str) -> Pipeline:
    """What guards the calls to one service; from the outside in."""
    return Pipeline(
        timeout(PATIENCE),
        retry(on=(transient, TimedOut), attempts=4),
        CircuitBreaker(service, trip=FailureRate(0.7, seconds=2.0), cooldown=0.5, on=unhealthy),
        timeout(ATTEMPT),
        name=service,
    )


to_inventory, to_payments, to_orders = (calls_to(service) for service in ("inventory", "payments", "orders"))


@dataclass
class PlaceOrder(Saga[Order, Confirmation], name="place-order", within=timedelta(minutes=5)):
    """Reserve the goods, charge the customer, create the order."""

    inventory: Inventory
    payments: Payments
    orders: Orders

    @step(policy=to_inventory, no_effect=OutOfStock)
    async def reserve(self, order: Order) -> Reservation:
        """Put the goods aside."""
        return await self.inventory.reserve(self.key, order)

    @reserve.undo(policy=to_inventory)
    async def release(self, order: Order) -> None:
        """Put them back."""
        await self.inventory.release(self.key, order)

    @step(policy=to_payments, no_effect=CardDeclined)
    async def charge(self, order: Order, reserve: Reservation) -> Payment:
        """Take the money for what was put aside."""
        assert reserve.count == order.count
        return await self.payments.charge(self.key, order)

    @charge.undo(policy=to_payments)
    async def refund(self, order: Order) -> None:
        """Give it back."""
        await self.payments.refund(self.key, order)

    @step(policy=to_orders, no_effect=Undeliverable)
    async def create(self, order: Order, charge: Payment) -> Confirmation:
        """Write down the order that was paid."""
        assert charge.cents == order.cents
        return await self.orders.create(self.key, order)

    @create.undo(policy=to_orders)
    async def withdraw(self, order: Order) -> None:
        """Strike it out."""
        await self.orders.withdraw(self.key, order)
