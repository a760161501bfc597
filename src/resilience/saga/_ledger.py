"""What is done to the tables of a journal, within a transaction that somebody else opens and ends.

Sagas that this journal object owns are known here by heart: their number, and what their row says. Nobody else may
write to them, so nothing of that need be read again; that it is still so, one look at the journal's own row among the
owners tells, once for each transaction. To take over from a dead owner is to delete its row: it may be dead, or merely
believed dead; in either case it writes no more.

Records, new sagas and changes of status are gathered and written together at the end. Whatever must read what another
job of the same transaction may have written has them written first. A refusal is raised before anything is changed.

This module does not know what the records say.
"""

import sqlite3
from collections.abc import Collection, Sequence
from os import getpid
from typing import NamedTuple

from .._clock import clock
from ..errors import LostOwnership, MessageRefused, UnknownSaga
from ._journal import CONTROL, ENDED, OPEN, STUCK, Opened, Row
from ._owners import Owners
from ._queries import CURRENT, is_listed, letters_of, rows_of
from ._together import Rows, for_each

_SLICE = 500
"""Sagas that are purged in one transaction."""


_CHANGE = "UPDATE sagas SET status = ?, ended = ?, news = CASE WHEN news > ? THEN news ELSE 0 END WHERE number IN "

_ALL = (1 << 63) - 1
"""Higher than the number of any letter."""

_FIND = "SELECT number, id, saga, status, owner FROM sagas WHERE id = ?"


class More(NamedTuple):
    """The outcome of what is not done yet: it goes on with these arguments, in another transaction."""

    arguments: tuple[object, ...]


class Held(NamedTuple):
    """A saga that this journal owns.

    Attributes:
        number: Its row.
        status: What its row says.
    """

    number: int
    status: str


class Found(NamedTuple):
    """A saga's row, as the transaction finds it."""

    number: int
    id: str
    saga: str
    status: str
    owner: int | None


class Ledger:
    """The tables, as one owner writes them. For one thread.

    Attributes:
        held: The sagas that are ours, by id.
        owner: Our number; `None` while we have none.
        posted: Whether letters were written; whoever tells of them sets it back.

    Args:
        connection: To the database.
        owners: The lock file beside it.
    """

    def __init__(self, connection: sqlite3.Connection, owners: Owners) -> None:
        self.held: dict[str, Held] = {}
        self.owner: int | None = None
        self.posted = False
        self._connection = connection
        self._owners = owners
        self._now = 0.0
        self._taken: set[str] = set()
        self._next: int | None = None
        self._sagas = Rows("sagas (number, id, saga, status, owner, started)")
        self._entries = Rows("entries (saga, at, body)")
        self._changed: dict[int, tuple[str, int]] = {}
        self._before: list[tuple[str, Held | None]] = []

    def begin(self, taking: list[str]) -> None:
        """Start on a transaction that has just been opened.

        Args:
            taking: The ids that are to be started or opened in it.
        """
        self._now, self._next = clock.wall(), None
        self._before.clear()
        if self.owner is not None and not is_listed(self._connection, self.owner):
            self.resign()
        if taking:
            self._enlist()
            self._taken = {id_ for (id_,) in for_each(self._connection, "SELECT id FROM sagas WHERE id IN ", taking)}

    def write(self) -> None:
        """Write down what was gathered."""
        self._sagas.insert(self._connection)
        self._entries.insert(self._connection)
        for status, heard in set(self._changed.values()):
            numbers = [number for number, changed in self._changed.items() if changed == (status, heard)]
            ended = self._now if status in ENDED else None
            for_each(self._connection, _CHANGE, numbers, status, ended, heard)
        self._changed.clear()

    def roll_back(self) -> None:
        """The transaction came to nothing: all is as before. A number that came with it, `begin` will not find."""
        for id_, held in reversed(self._before):
            self._note(id_, held)
        for gathered in (self._sagas.values, self._entries.values, self._changed):
            gathered.clear()

    def start(self, id_: str, saga: str, body: bytes) -> Opened:
        """See `Journal.start`."""
        if id_ in self._taken:
            return self._reopen(id_, None)
        if self._next is None:
            self._next = self._one("SELECT coalesce(max(number), 0) + 1 FROM sagas")
        number, self._next = self._next, self._next + 1
        self._taken.add(id_)
        self._sagas.values += (number, id_, saga, OPEN, self.owner, self._now)
        self._entries.values += (number, self._now, body)
        self._hold(id_, Held(number, OPEN))
        return Opened([Row(self._now, body)], [], created=True, owned=True)

    def open(self, id_: str, body: bytes | None) -> Opened | None:
        """See `Journal.open`."""
        return self._reopen(id_, body) if id_ in self._taken else None

    def append(self, id_: str, bodies: Sequence[bytes], status: str, heard: int | None = None) -> None:
        """See `Journal.append`."""
        held = self.held.get(id_)
        if held is None:
            raise LostOwnership("", id_, "this journal does not own it, or does not any more: another one took it over")
        number, now, values = held.number, self._now, self._entries.values
        for body in bodies:
            values += (number, now, body)
        if status != held.status or status == STUCK:
            self._changed[number] = status, _ALL if heard is None else heard
            self._hold(id_, None if status in ENDED else Held(number, status))

    def release(self, id_: str) -> None:
        """See `Journal.release`."""
        held = self.held.get(id_)
        if held is not None:
            self.write()
            self._connection.execute("UPDATE sagas SET owner = NULL WHERE number = ?", (held.number,))
            self._hold(id_, None)

    def send(self, id_: str, topic: str, value: bytes, who: str) -> int:
        """See `Journal.send`."""
        self.write()
        found, topic = self._addressee(id_, topic)
        if found.status in ENDED:
            raise MessageRefused(found.saga, found.id, f"it has ended ({found.status}), and takes no message any more")
        if topic != CONTROL and (there := self._letter(found, topic)):
            row, before = there
            if before != value:
                raise MessageRefused(found.saga, found.id, f"another message was sent to {topic!r} before this one")
            return row
        self.posted = True
        insert = "INSERT INTO letters (saga, topic, value, who, at) VALUES (?, ?, ?, ?, ?)"
        row = self._insert(insert, found.number, topic, value, who, self._now)
        self._connection.execute("UPDATE sagas SET news = ? WHERE number = ?", (row, found.number))
        return row

    def told(self, id_: str) -> None:
        """See `Journal.told`."""
        self.write()
        self._connection.execute("UPDATE sagas SET told = 1 WHERE id = ? AND ended IS NOT NULL", (id_,))

    def purge(self, before: float, statuses: Collection[str], so_far: int = 0) -> "int | More":
        """See `Journal.purge`. It lets others write in between."""
        self.write()
        marks = ", ".join("?" * len(statuses))
        find = f"SELECT number, id FROM sagas WHERE ended < ? AND status IN ({marks}) LIMIT ?"  # noqa: S608
        found = self._connection.execute(find, (before, *statuses, _SLICE)).fetchall()
        self._taken.difference_update(id_ for _, id_ in found)
        numbers = [number for number, _ in found]
        for table, column in (("entries", "saga"), ("letters", "saga"), ("sagas", "number")):
            for_each(self._connection, f"DELETE FROM {table} WHERE {column} IN ", numbers)  # noqa: S608
        so_far += len(numbers)
        return so_far if len(numbers) < _SLICE else More((before, statuses, so_far))

    def leave(self) -> None:
        """Be no owner any more: whatever is open of ours is anybody's."""
        if self.owner is not None:
            self.write()
            self._connection.execute("DELETE FROM owners WHERE number = ?", (self.owner,))

    def resign(self) -> None:
        """Somebody took us for dead, or we never became an owner, or are none any more."""
        if self.owner is not None:
            self._owners.give(self.owner)
        self.owner = None
        self.held.clear()

    def _reopen(self, id_: str, body: bytes | None) -> Opened:
        self.write()
        found = Found(*self._connection.execute(_FIND, (id_,)).fetchone())
        owned = id_ in self.held or (found.status not in ENDED and self._claim(found, body))
        rows, letters = rows_of(self._connection, found.number), letters_of(self._connection, found.number, 0)
        return Opened(rows, letters, created=False, owned=owned)

    def _claim(self, found: Found, body: bytes | None) -> bool:
        """Take over what nobody alive owns."""
        if found.owner is not None and found.owner != self.owner and is_listed(self._connection, found.owner):
            if self._owners.alive(found.owner):
                return False
            self._connection.execute("DELETE FROM owners WHERE number = ?", (found.owner,))
        self._connection.execute("UPDATE sagas SET owner = ? WHERE number = ?", (self.owner, found.number))
        if body is not None:
            self._entries.values += (found.number, self._now, body)
            self.write()
        self._hold(found.id, Held(found.number, found.status))
        return True

    def _enlist(self) -> None:
        """Have a number. One whose byte is locked belongs to somebody whose journal was deleted here: pass it over."""
        while self.owner is None:
            insert = "INSERT INTO owners (process, since) VALUES (?, ?)"
            number = self._insert(insert, getpid(), self._now)
            if self._owners.take(number):
                self.owner = number
                self._bury()

    def _bury(self) -> None:
        """Forget the dead who have left nothing: an owner that ends without closing its journal leaves its row."""
        idle = "SELECT number FROM owners WHERE number NOT IN (SELECT owner FROM sagas WHERE owner > 0 AND {})"
        dead = [
            number for (number,) in self._connection.execute(idle.format(CURRENT)) if not self._owners.alive(number)
        ]
        for_each(self._connection, "DELETE FROM owners WHERE number IN ", dead)

    def _hold(self, id_: str, held: Held | None) -> None:
        self._before.append((id_, self.held.get(id_)))
        self._note(id_, held)

    def _note(self, id_: str, held: Held | None) -> None:
        if held is None:
            self.held.pop(id_, None)
        else:
            self.held[id_] = held

    def _addressee(self, id_: str, topic: str) -> tuple[Found, str]:
        """The saga that a message is for. One to a nested saga is kept with the saga that it is a part of."""
        whole = id_
        while (row := self._connection.execute(_FIND, (whole,)).fetchone()) is None:
            whole, slash, nested = whole.rpartition("/")
            if not slash or topic == CONTROL:  # a request is for a saga as a whole
                raise UnknownSaga("", id_, "no saga of this id is in the journal")
            topic = f"{nested}.{topic}"
        return Found(*row), topic

    def _letter(self, found: Found, topic: str) -> tuple[int, bytes] | None:
        select = "SELECT row, value FROM letters WHERE saga = ? AND topic = ?"
        row: tuple[int, bytes] | None = self._connection.execute(select, (found.number, topic)).fetchone()
        return row

    def _insert(self, insert: str, *parameters: object) -> int:
        row = self._connection.execute(insert, parameters).lastrowid
        return row if row is not None else 0  # there is one after every INSERT

    def _one(self, select: str, *parameters: object) -> int:
        found: int = self._connection.execute(select, parameters).fetchone()[0]
        return found
