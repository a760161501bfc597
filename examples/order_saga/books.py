"""The three databases and the journal, read when all is over; what each says by itself, and nothing made of it yet.

Four sources that were written by four processes: the audit holds them against one another, and believes none of them
about another.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resilience.saga import SQLiteJournal

from .board import Kill
from .participants import PARTICIPANTS
from .script import Script

DONE = ("reserve", "charge", "create")
"""What the services do for an order, in this order."""

UNDO = {"reserve": "release", "charge": "refund", "create": "withdraw"}
"""What takes each of these back."""


@dataclass(frozen=True, slots=True)
class Move:
    """A change in a service's database: it had an effect.

    Attributes:
        service: Whose.
        at: When, on the wall clock.
        order: For which order.
        verb: What was done.
        name: Which item, which customer or which city.
        amount: How many, or how many cents.
    """

    service: str
    at: float
    order: str
    verb: str
    name: str
    amount: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """A call that reached a service.

    Attributes:
        service: Which.
        at: When it came, on the wall clock.
        key: Its key.
        nth: The how-maniest with this key.
        fault: What the script did to it.
        verdict: What the service did.
    """

    service: str
    at: float
    key: str
    nth: int
    fault: str
    verdict: str

    @property
    def order(self) -> str:
        """The order that it is about."""
        return self.key.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Entry:
    """A record in the journal.

    Attributes:
        at: When it was written, on the wall clock.
        kind: What it is: "start", "result", "turn", "undone", "resumed", "end".
        step: Which step it is about, if one.
        outcome: How that or the saga ended, if it did.
    """

    at: float
    kind: str
    step: str = ""
    outcome: str = ""


@dataclass
class Books:
    """Everything that is written down.

    Attributes:
        script: What was wanted, and what there was at first.
        stock: What the inventory has of each item now.
        accounts: What each customer has now, in cents.
        orders: The orders that the order service knows.
        moves: What the services did.
        arrivals: What reached them.
        statuses: How the journal says that each saga stands.
        journal: What it has written down about each.
        kills: When the orchestrator was killed.
    """

    script: Script
    stock: dict[str, int]
    accounts: dict[str, int]
    orders: list[str]
    moves: list[Move]
    arrivals: list[Arrival]
    statuses: dict[str, str]
    journal: dict[str, list[Entry]]
    kills: list[Kill]

    @property
    def verbs(self) -> dict[str, Counter[str]]:
        """For each order, how often each thing was done."""
        found = {order.id: Counter[str]() for order in self.script.orders}
        for move in self.moves:
            found.setdefault(move.order, Counter())[move.verb] += 1
        return found

    @property
    def placed(self) -> set[str]:
        """The orders for which all was done and nothing taken back, going by the services alone."""
        return {
            order
            for order, verbs in self.verbs.items()
            if all(verbs[do] - verbs[undo] == 1 for do, undo in UNDO.items())
        }


def read(folder: Path, script: Script, kills: Iterable[Kill]) -> Books:
    """Read everything; the processes have ended."""
    statuses, journal = _journal(folder / "journal.db")
    return Books(
        script,
        stock=dict(_rows(folder, "inventory", "SELECT item, available FROM stock")),
        accounts=dict(_rows(folder, "payments", "SELECT customer, cents FROM accounts")),
        orders=[order for (order,) in _rows(folder, "orders", "SELECT order_id FROM orders")],
        moves=[
            Move(name, *row) for name, row in _everywhere(folder, "SELECT at, order_id, verb, name, amount FROM moves")
        ],
        arrivals=[
            Arrival(name, *row)
            for name, row in _everywhere(folder, "SELECT at, call_key, nth, fault, verdict FROM calls")
        ],
        statuses=statuses,
        journal=journal,
        kills=list(kills),
    )


def _journal(path: Path) -> tuple[dict[str, str], dict[str, list[Entry]]]:
    with SQLiteJournal(path) as journal:
        statuses = {saga.id: saga.status for saga in journal.list().wait()}
        rows = {order: journal.read(order).wait() or [] for order in statuses}
    return statuses, {order: [_entry(row.at, row.body) for row in found] for order, found in rows.items()}


def _entry(at: float, body: bytes) -> Entry:
    record = json.loads(body)
    return Entry(at, record["kind"], record.get("step") or "", record.get("outcome") or "")


def _everywhere(folder: Path, query: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for name in PARTICIPANTS:
        yield from ((name, row) for row in _rows(folder, name, query))


def _rows(folder: Path, name: str, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / f"{name}.db")) as connection:
        return connection.execute(query).fetchall()
