"""Many rows in one statement.

Each step of a statement lets go of the interpreter's lock, and a busy event loop may take it and keep it for
milliseconds: one statement for a batch is not only faster than one for each row, it cannot be held up between them.
"""

import sqlite3
from collections.abc import Iterator
from typing import Any

_MOST = 128
"""Rows in a statement; times the columns, it stays below the 999 parameters that an old SQLite takes."""


class Rows:
    """Rows that wait to be inserted.

    Attributes:
        values: Their columns, one row after another.

    Args:
        table: The table and its columns: "entries (saga, n, at, body)".
    """

    def __init__(self, table: str) -> None:
        self.values: list[object] = []
        self._width = table.count(",") + 1
        self._row = f"({', '.join('?' * self._width)})"
        self._insert = f"INSERT INTO {table} VALUES "  # noqa: S608 - constants of this package
        self._statements: dict[int, str] = {}

    def insert(self, connection: sqlite3.Connection) -> None:
        """Insert them all."""
        values, width = self.values, self._width
        for first, count in _pieces(len(values) // width):
            connection.execute(self._statement(count), values[first * width : (first + count) * width])
        values.clear()

    def _statement(self, count: int) -> str:
        if count not in self._statements:
            self._statements[count] = self._insert + ", ".join([self._row] * count)
        return self._statements[count]


def for_each(connection: sqlite3.Connection, statement: str, keys: list[Any], *first: object) -> list[tuple[Any, ...]]:
    """Run a statement that ends in "IN " for all keys, after the first parameters; what it returns, together."""
    rows: list[tuple[Any, ...]] = []
    for begin in range(0, len(keys), _MOST):
        some = keys[begin : begin + _MOST]
        padded = [*some, *some[-1:] * (_power(len(some)) - len(some))]
        marks = ", ".join("?" * len(padded))
        rows += connection.execute(f"{statement}({marks})", (*first, *padded)).fetchall()
    return rows


def _pieces(rows: int) -> Iterator[tuple[int, int]]:
    """Cut into powers of two: so few kinds of statement that each stays prepared."""
    first, count = 0, _MOST
    while first < rows:
        while count > rows - first:
            count //= 2
        yield first, count
        first += count


def _power(number: int) -> int:
    return 1 << (number - 1).bit_length()
