"""What the three services do: the side that is called. Each has a database of its own, and they know nothing of sagas.

A function here is one step or one undo, as the service sees it: it is given a connection with an open transaction and
the order, changes its tables, and returns what is answered. It raises `Refused` before it has changed anything. That it
is called once for each key, and an undo only after its step, is what the barrier around it sees to (`service.py`).

Beside what the business needs, every change writes a row into `moves`, which only ever grows: the audit reads it.
"""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from .script import NOWHERE, Script
from .values import Confirmation, Order, Payment, Reservation

Work = Callable[[sqlite3.Connection, Order], Any]


class Refused(Exception):  # noqa: N818 - it says what happened
    """The service says no, and has done nothing."""


@dataclass(frozen=True, slots=True)
class Participant:
    """A service.

    Attributes:
        schema: Its tables.
        fill: Puts in what is there at first.
        steps: What can be asked of it, by its path.
        undos: How to take that back, by its path.
    """

    schema: str
    fill: Callable[[sqlite3.Connection, Script], None]
    steps: dict[str, Work]
    undos: dict[str, Work]


MOVES = "CREATE TABLE moves (at REAL, order_id TEXT, verb TEXT, name TEXT, amount INTEGER);"


def reserve(connection: sqlite3.Connection, order: Order) -> Reservation:
    """Put things aside, if there are enough."""
    row = connection.execute("SELECT available FROM stock WHERE item = ?", (order.item,)).fetchone()
    if row[0] < order.count:
        raise Refused(f"{row[0]} of {order.item} left, {order.count} wanted")
    connection.execute("UPDATE stock SET available = available - ? WHERE item = ?", (order.count, order.item))
    _move(connection, order, "reserve", order.item, order.count)
    return Reservation(order.item, order.count)


def release(connection: sqlite3.Connection, order: Order) -> None:
    """Put them back."""
    connection.execute("UPDATE stock SET available = available + ? WHERE item = ?", (order.count, order.item))
    _move(connection, order, "release", order.item, order.count)


def charge(connection: sqlite3.Connection, order: Order) -> Payment:
    """Take the money, if the account covers it."""
    row = connection.execute("SELECT cents FROM accounts WHERE customer = ?", (order.customer,)).fetchone()
    if row[0] < order.cents:
        raise Refused(f"{order.customer} has {row[0]} cents, the price is {order.cents}")
    connection.execute("UPDATE accounts SET cents = cents - ? WHERE customer = ?", (order.cents, order.customer))
    _move(connection, order, "charge", order.customer, order.cents)
    return Payment(f"receipt-{order.id}", order.cents)


def refund(connection: sqlite3.Connection, order: Order) -> None:
    """Give it back."""
    connection.execute("UPDATE accounts SET cents = cents + ? WHERE customer = ?", (order.cents, order.customer))
    _move(connection, order, "refund", order.customer, order.cents)


def create(connection: sqlite3.Connection, order: Order) -> Confirmation:
    """Write the order down, if it can be sent."""
    if order.city == NOWHERE:
        raise Refused(f"nothing is sent to {order.city}")
    cursor = connection.execute("INSERT INTO orders (order_id) VALUES (?)", (order.id,))
    _move(connection, order, "create", order.city, 1)
    return Confirmation(cursor.lastrowid or 0)


def withdraw(connection: sqlite3.Connection, order: Order) -> None:
    """Strike it out."""
    connection.execute("DELETE FROM orders WHERE order_id = ?", (order.id,))
    _move(connection, order, "withdraw", order.city, 1)


def put_in_stock(connection: sqlite3.Connection, script: Script) -> None:
    """What the inventory has at first."""
    connection.executemany("INSERT INTO stock VALUES (?, ?)", script.stock.items())


def open_accounts(connection: sqlite3.Connection, script: Script) -> None:
    """What the customers have at first."""
    connection.executemany("INSERT INTO accounts VALUES (?, ?)", script.accounts.items())


def begin_empty(connection: sqlite3.Connection, script: Script) -> None:
    """There are no orders at first."""


PARTICIPANTS = {
    "inventory": Participant(
        "CREATE TABLE stock (item TEXT PRIMARY KEY, available INTEGER);" + MOVES,
        put_in_stock,
        {"/reserve": reserve},
        {"/release": release},
    ),
    "payments": Participant(
        "CREATE TABLE accounts (customer TEXT PRIMARY KEY, cents INTEGER);" + MOVES,
        open_accounts,
        {"/charge": charge},
        {"/refund": refund},
    ),
    "orders": Participant(
        "CREATE TABLE orders (number INTEGER PRIMARY KEY AUTOINCREMENT, order_id TEXT);" + MOVES,
        begin_empty,
        {"/create": create},
        {"/withdraw": withdraw},
    ),
}
"""The services by their names."""


def answer(result: Any) -> dict[str, Any]:
    """What a function here returned, as JSON has it."""
    return {} if result is None else asdict(result)


def _move(connection: sqlite3.Connection, order: Order, verb: str, name: str, amount: int) -> None:
    connection.execute("INSERT INTO moves VALUES (?, ?, ?, ?, ?)", (time.time(), order.id, verb, name, amount))
