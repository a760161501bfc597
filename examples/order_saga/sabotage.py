"""Spoils the books, one promise at a time, to show that the audit can fail.

Each function does to what is written down what one fault of a saga engine, or of a service, would have done.
"""

from collections.abc import Callable
from dataclasses import replace

from .books import UNDO, Books, Entry, Move


def ended(books: Books) -> None:
    """An order whose saga wrote its end twice."""
    order = _placed(books)
    books.journal[order].append(Entry(books.journal[order][-1].at, "end", outcome="completed"))


def half_done(books: Books) -> None:
    """A saga that gave up after a reservation, and forgot to release it."""
    books.moves.remove(_first(books, "release"))


def twice(books: Books) -> None:
    """A service that took a repeated call for a new one, and its repeated undo as well."""
    undone = _first(books, "release")
    books.moves += [_step(books, undone), undone]


def late(books: Books) -> None:
    """A call that hung, woke up after its undo, and had its effect."""
    undone = _first(books, "release")
    step = _step(books, undone)
    books.moves[books.moves.index(step)] = replace(step, at=undone.at + 1.0)


def stock(books: Books) -> None:
    """Things that were put aside for nobody."""
    books.stock["lamp"] -= 1


def money(books: Books) -> None:
    """A refund that was paid to somebody else."""
    first, second = list(books.accounts)[:2]
    books.accounts[first] -= 100
    books.accounts[second] += 100


def journal(books: Books) -> None:
    """An order that was confirmed and never written down."""
    books.orders.remove(_placed(books))


def kills(books: Books) -> None:
    """A demo that waits until nothing is under way before it kills."""
    books.kills[:] = [replace(kill, under_way=()) for kill in books.kills]


SABOTAGE: dict[str, Callable[[Books], None]] = {
    spoil.__name__: spoil for spoil in (ended, half_done, twice, late, stock, money, journal, kills)
}
"""How to break each promise, by the audit's name for it."""


def _first(books: Books, verb: str) -> Move:
    return next(move for move in books.moves if move.verb == verb)


def _step(books: Books, undo: Move) -> Move:
    return next(move for move in books.moves if move.order == undo.order and UNDO.get(move.verb) == undo.verb)


def _placed(books: Books) -> str:
    return min(books.placed)
