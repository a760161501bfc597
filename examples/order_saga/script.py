"""The script: the orders, what there is to sell and to spend, and which call meets which fault. All from one seed.

Pure values: nothing here knows a clock, a socket or a saga. A fault is a function of the seed, the call's key and how
often that key has come, so that it does not depend on who runs first.
"""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from random import Random

from .values import Order

ITEMS = {"lamp": 4_900, "chair": 12_900, "table": 34_900, "shelf": 8_900, "rug": 6_500}
"""What is sold, and its price in cents."""

CUSTOMERS = tuple(f"customer-{number}" for number in range(1, 21))

CITIES = ("Lisbon", "Oslo", "Ghent", "Trieste", "Cork", "Turku")

NOWHERE = "Atlantis"
"""A city that the order service does not send to."""

STALL = 1.2
"""Seconds that a stalled call hangs before it is handled after all: longer than the caller's patience."""

TRIES = 4
"""How often a call that is out of luck meets a fault in a row: as often as the saga's retries come."""


class Fault(StrEnum):
    """What happens to a call beside what was asked for."""

    NONE = "none"
    UNAVAILABLE = "503"
    """Refused for the moment, before anything was done."""
    STALL = "stall"
    """Handled, but only when the caller has long hung up."""
    LOST = "lost reply"
    """Handled, and the connection dropped instead of an answer."""


SHARES = {Fault.UNAVAILABLE: 0.08, Fault.STALL: 0.03, Fault.LOST: 0.07}
"""How many of the calls meet each fault."""

UNLUCKY = 0.05
"""The share of steps that meet nothing but one kind of fault until the saga gives up."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """What one call gets.

    Attributes:
        fault: What goes wrong.
        before: Seconds until it is handled.
        after: Seconds from then until the answer is sent.
    """

    fault: Fault
    before: float
    after: float


@dataclass(frozen=True)
class Script:
    """One day in the life of a shop.

    Attributes:
        count: How many orders come in.
        seed: For another day of the same kind.
    """

    count: int
    seed: int

    @cached_property
    def orders(self) -> tuple[Order, ...]:
        """The orders, as they come in."""
        dice = Random(f"{self.seed}/orders")
        return tuple(self._order(number, dice) for number in range(1, self.count + 1))

    @cached_property
    def stock(self) -> dict[str, int]:
        """What there is of each item at first: a little less than is wanted."""
        wanted: Counter[str] = Counter()
        for order in self.orders:
            wanted[order.item] += order.count
        return {item: int(0.93 * wanted[item]) for item in ITEMS}

    @cached_property
    def accounts(self) -> dict[str, int]:
        """What each customer can spend at first, in cents: for some a little less than they want to."""
        wanted: Counter[str] = Counter()
        for order in self.orders:
            wanted[order.customer] += order.cents
        return {name: wanted[name] * (3 if place % 3 else 2) // 3 for place, name in enumerate(CUSTOMERS)}

    def reaction(self, key: str, nth: int) -> Reaction:
        """What a call gets that comes with this key for the nth time."""
        dice = Random(f"{self.seed}/{key}/{nth}")
        return Reaction(self._fault(key, nth, dice), dice.uniform(0.01, 0.05), dice.uniform(0.01, 0.05))

    def _order(self, number: int, dice: Random) -> Order:
        item, count = dice.choice(tuple(ITEMS)), dice.randint(1, 3)
        city = NOWHERE if dice.random() < 0.06 else dice.choice(CITIES)
        return Order(f"order-{number}", dice.choice(CUSTOMERS), item, count, count * ITEMS[item], city)

    def _fault(self, key: str, nth: int, dice: Random) -> Fault:
        luck = Random(f"{self.seed}/{key}")
        if nth <= TRIES and not key.endswith("/undo") and luck.random() < UNLUCKY:
            return luck.choice(tuple(SHARES))
        return dice.choices((*SHARES, Fault.NONE), (*SHARES.values(), 1 - sum(SHARES.values())))[0]
