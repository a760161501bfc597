"""What is passed around: an order, and what each service answers. Plain dataclasses: a journal keeps them as JSON."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Order:
    """What a customer wants.

    Attributes:
        id: Also the saga's id.
        customer: Whose account pays.
        item: What is to be sent.
        count: How many.
        cents: The price in all.
        city: Where to.
    """

    id: str
    customer: str
    item: str
    count: int
    cents: int
    city: str


@dataclass(frozen=True, slots=True)
class Reservation:
    """The inventory has put things aside."""

    item: str
    count: int


@dataclass(frozen=True, slots=True)
class Payment:
    """The customer has paid."""

    receipt: str
    cents: int


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The order is placed."""

    number: int
