"""What is asked of the tables of a journal without changing them."""

import sqlite3
from collections.abc import Collection, Iterator

from ._journal import ENDED, OPEN, Letter, Row, Summary
from ._owners import Owners
from ._schema import damage

_SUMMARY = "SELECT id, saga, status, started, ended, owner FROM sagas"

CURRENT = "told = 0 AND ended IS NULL"
"""That a saga has not ended, as the index `current` has it."""


def rows_of(connection: sqlite3.Connection, number: int) -> list[Row]:
    """The records of a saga, in order."""
    select = "SELECT at, body FROM entries WHERE saga = ? ORDER BY row"
    return [Row(*row) for row in connection.execute(select, (number,))]


def letters_of(connection: sqlite3.Connection, number: int, after: int) -> list[Letter]:
    """The letters to a saga that came after one."""
    select = "SELECT row, topic, value, who, at FROM letters WHERE saga = ? AND row > ? ORDER BY row"
    return [Letter(*row) for row in connection.execute(select, (number, after))]


def number_of(connection: sqlite3.Connection, id_: str) -> int | None:
    """The number that a saga goes by in the tables."""
    row: tuple[int] | None = connection.execute("SELECT number FROM sagas WHERE id = ?", (id_,)).fetchone()
    return row and row[0]


def is_listed(connection: sqlite3.Connection, owner: int) -> bool:
    """Whether an owner may write: nobody has taken over from it."""
    return connection.execute("SELECT 1 FROM owners WHERE number = ?", (owner,)).fetchone() is not None


def addressed_after(connection: sqlite3.Connection, row: int) -> list[tuple[int, str]]:
    """The letters after one, over all sagas: the row, and whom it is to."""
    select = "SELECT row, id FROM letters JOIN sagas ON number = letters.saga WHERE row > ? ORDER BY row"
    return connection.execute(select, (row,)).fetchall()


def last_letter(connection: sqlite3.Connection) -> int:
    """The row of the letter that came last, over all sagas; 0 if there is none."""
    last: int = connection.execute("SELECT coalesce(max(row), 0) FROM letters").fetchone()[0]
    return last


class Queries:
    """The questions that are asked by a saga's id, concern more than one, or say who is alive.

    Args:
        connection: To the database.
        owners: The lock file beside it.
    """

    def __init__(self, connection: sqlite3.Connection, owners: Owners) -> None:
        self._connection = connection
        self._owners = owners

    def read(self, id_: str) -> list[Row] | None:
        """See `Journal.read`."""
        number = number_of(self._connection, id_)
        return None if number is None else rows_of(self._connection, number)

    def find(self, id_: str) -> Summary | None:
        """See `Journal.find`."""
        found = self._select(["id = ?"], [id_], "number", None)
        return found[0] if found else None

    def letters(self, id_: str, after: int) -> list[Letter]:
        """See `Journal.letters`."""
        number = number_of(self._connection, id_)
        return [] if number is None else letters_of(self._connection, number, after)

    def summaries(self, statuses: Collection[str] | None, saga: str | None, limit: int | None) -> list[Summary]:
        """See `Journal.list`."""
        conditions, parameters = _within("status", statuses)
        if statuses is not None and not set(ENDED).intersection(statuses):
            conditions.append(CURRENT)
        if saga is not None:
            conditions.append("saga = ?")
            parameters.append(saga)
        return self._select(conditions, parameters, "number", limit)

    def orphans(self, sagas: Collection[str] | None) -> list[str]:
        """See `Journal.orphans`; `None`: of any class."""
        conditions, parameters = _within("saga", sagas)
        conditions += [CURRENT, "(status = ? OR news > 0)"]
        found = self._select(conditions, [*parameters, OPEN], "number", None)
        return [summary.id for summary in found if summary.orphan]

    def untold(self, limit: int, sagas: Collection[str] | None) -> list[Summary]:
        """See `Journal.untold`."""
        conditions, parameters = _within("saga", sagas)
        return self._select([*conditions, "told = 0", "ended IS NOT NULL"], parameters, "ended", limit)

    def problems(self) -> list[str]:
        """See `Journal.check`."""
        return [*damage(self._connection, "integrity_check"), *self._contradictions()]

    def _select(self, conditions: list[str], parameters: list[object], order: str, limit: int | None) -> list[Summary]:
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        select = f"{_SUMMARY}{where} ORDER BY {order} LIMIT ?"
        rows = self._connection.execute(select, (*parameters, -1 if limit is None else limit)).fetchall()
        alive = self._alive()
        return [_summary(alive, *row) for row in rows]

    def _alive(self) -> set[int]:
        """The owners that live and have not been taken for dead."""
        listed = self._connection.execute("SELECT number FROM owners").fetchall()
        return {number for (number,) in listed if self._owners.alive(number)}

    def _contradictions(self) -> Iterator[str]:
        for table in ("entries", "letters"):
            lost = f"SELECT DISTINCT saga FROM {table} WHERE saga NOT IN (SELECT number FROM sagas) LIMIT 10"  # noqa: S608
            yield from (
                f"{table} of saga {number}, which is not listed" for (number,) in self._connection.execute(lost)
            )
        empty = "SELECT id FROM sagas WHERE NOT EXISTS (SELECT 1 FROM entries WHERE saga = number) LIMIT 10"
        yield from (f"saga {id_!r} has no records" for (id_,) in self._connection.execute(empty))


def _within(column: str, values: Collection[str] | None) -> tuple[list[str], list[object]]:
    if values is None:
        return [], []
    return [f"{column} IN ({', '.join('?' * len(values))})"], list(values)


def _summary(
    alive: set[int], id_: str, saga: str, status: str, started: float, ended: float | None, owner: int | None
) -> Summary:
    living = owner if ended is None and owner in alive else None
    return Summary(id_, saga, status, started, ended, living, orphan=ended is None and living is None)
