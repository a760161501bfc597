"""The participant's table: whatever a saga sends, however often and however late, has its effect once or not at all.

A saga calls again after a timeout or a crash, and turns back without knowing whether a call arrived. So a service that
takes part meets, beside the calls that it expects, three that it does not: one that was here before (*duplicate*), an
undo of something that never came (*null*), and something that comes after its undo (*late*). All of them carry the
step's key, and a row for each key, written in the same transaction as the work itself, tells them apart::

    connection = sqlite3.connect("payments.db")
    barrier = Barrier(connection)

    def charge(key, order):                          # key_from(request.headers): "order-42/charge"
        with connection:                             # commits, or rolls back
            call = barrier.do(key)                   # first: the row is the lock
            if call.fresh:
                connection.execute("INSERT INTO payments VALUES (?, ?)", (order.id, order.cents))
                call.answer("charged")
        return call.reply                            # "charged", also the next time

    def refund(key, order):                          # "order-42/charge/undo"
        with connection:
            call = barrier.undo(key)
            if call.fresh:                           # not if nothing was charged
                connection.execute("DELETE FROM payments WHERE id = ?", (order.id,))

The idea is dtm's "sub-transaction barrier" (Dongfu Ye, 2021); that a refusal is kept as well is added here: a saga does
not undo what was refused, so a duplicate of the refused call must not come through later.

This module is for the other side of the wire: it knows nothing of sagas but how their keys end, and no driver by name
but for what two dialects of SQL have not in common.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from re import fullmatch
from typing import Any, Literal, NamedTuple, Protocol
from urllib.parse import quote, unquote

from .._checks import text
from ..errors import ResilienceError

HEADER = "Idempotency-Key"
"""The header that carries the key (IETF draft "The Idempotency-Key HTTP Header Field")."""

LONGEST = 500
"""The most characters of a key."""

_UNDO = "/undo"
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '%"')
_PLACEHOLDER = {"qmark": "?", "format": "%s", "pyformat": "%s", "numeric": ":{}"}
_IDLE = 0  # libpq's PQTRANS_IDLE

Op = Literal["do", "undo"]

_Keep = Callable[[str, bool], None]


class TooLate(ResilienceError):  # noqa: N818 - named by what happened, as all of ours are
    """The step was undone before this call of it came: it must have no effect any more.

    Nobody waits for the answer; with HTTP, 409 says it best.

    Attributes:
        key: The step's key.
    """

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"{self.key!r} has been undone already: this call comes too late, and must have no effect"


class Connection(Protocol):
    """A connection as PEP 249 has it: that of sqlite3, psycopg, mysqlclient and most others."""

    def cursor(self) -> Any:
        """A new cursor."""
        ...

    def commit(self) -> object:
        """Make the transaction last; the barrier leaves that to you."""
        ...


class Headers(Protocol):
    """The headers of a request: a dict, or what a framework has for it."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Their names and values."""
        ...


class Barrier:
    """Tells the calls of a saga's steps and undos that are to have an effect from those that are not.

    It writes in the connection's open transaction and neither commits nor rolls back: the row stays if the work stays.
    So call `do` or `undo` first in the transaction. If two duplicates come at once, the second waits there for the
    first one's commit, on the unique key, and then gets its reply; where the database refuses to wait (a busy SQLite
    file, an isolation above "read committed"), its own error comes out, and the saga calls again.

    Rows are needed for as long as calls may still come: delete old ones by their `made_at`, long after your sagas' end.

    Args:
        connection: Of the database that the work is done in. One on which every statement is a transaction of its own
            ("autocommit") is refused as soon as it is used outside a transaction.
        table: The table's name, with its schema if need be.
        paramstyle: How the driver marks parameters: "qmark", "format", "pyformat" or "numeric". Default: what the
            driver's own module says, as PEP 249 has it; needed for a connection in a wrapper.

    Raises:
        TypeError: The connection is an asynchronous one.
        ValueError: The table's name is none, or the paramstyle is unknown.
    """

    def __init__(self, connection: Connection, *, table: str = "saga_barrier", paramstyle: str | None = None) -> None:
        if inspect.iscoroutinefunction(getattr(connection, "commit", None)):
            raise TypeError(
                f"Barrier needs a plain DB-API connection, got the asynchronous {type(connection).__qualname__}; "
                "run the handler in a thread, with a connection of the driver's plain kind"
            )
        if not fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?", text("table", table)):
            raise ValueError(f"table must be a plain name, or schema.name, got {table!r}")
        self._connection = connection
        self._sql = _Sql(table, _Dialect.of(connection), _placeholder(connection, paramstyle))

    @property
    def ddl(self) -> str:
        """The statement that creates the table, for your migrations."""
        return self._sql.create

    def create_table(self) -> None:
        """Create the table if there is none yet. Databases differ in whether that commits: do it at the start."""
        self._run(self._sql.create)

    def do(self, key: str) -> "Call":
        """Let a step's call in, once.

        Args:
            key: The key that the saga has sent: "order-42/charge".

        Returns:
            The call. Do the work if it is `fresh`; else there is nothing to do but to send its `reply` again.

        Raises:
            TooLate: The step was undone before.
            ValueError: The key is no step's.
            RuntimeError: No transaction is open, and none would be opened.
        """
        _check(key)
        if key.endswith(_UNDO):
            raise ValueError(f"{key!r} is the key of an undo: call undo() with it, and do() with the key of a step")
        if self._insert(key, "do", had_effect=True):
            return Call(key, "do", None, partial(self._keep, key, "do"))
        if self._row(key, "undo"):
            raise TooLate(key)
        return Call(key, "do", self._kept(key, "do"))

    def undo(self, key: str) -> "Call":
        """Let an undo in, once, and only if there is something to undo. From now on the step itself comes too late.

        Args:
            key: The key that the saga has sent: "order-42/charge/undo".

        Returns:
            The call. Undo the work if it is `fresh`. It is not if the step never came or was refused (its `reply` is
            `None` then), nor if this undo was here before.

        Raises:
            ValueError: The key is no undo's.
            RuntimeError: No transaction is open, and none would be opened.
        """
        _check(key)
        if not key.endswith(_UNDO):
            raise ValueError(f"{key!r} is not the key of an undo, which ends with {_UNDO!r}; do() takes those of steps")
        step = key.removesuffix(_UNDO)
        if not self._insert(step, "undo", had_effect=True):
            return Call(step, "undo", self._kept(step, "undo"))
        never_came = self._insert(step, "do", had_effect=False)
        fresh = not never_came and self._kept(step, "do").had_effect
        return Call(step, "undo", None, partial(self._keep, step, "undo") if fresh else None)

    def _keep(self, key: str, op: Op, reply: str, had_effect: bool) -> None:
        self._run(self._sql.update, reply, int(had_effect), key, op)

    def _insert(self, key: str, op: Op, *, had_effect: bool) -> bool:
        """Whether the row is new; waits for whoever is about to write the same."""
        if _commits_each(self._connection):
            raise RuntimeError(
                "the connection is in autocommit mode, outside a transaction: the barrier's row and the work would not "
                "be committed together; begin a transaction first"
            )
        rows: int = self._run(self._sql.insert, key, op, int(had_effect))[0]
        return rows > 0

    def _row(self, key: str, op: Op) -> "_Kept | None":
        row = self._run(self._sql.select, key, op)[1]
        return None if row is None else _Kept(bool(row[0]), row[1])

    def _kept(self, key: str, op: Op) -> "_Kept":
        row = self._row(key, op)
        if row is None:
            raise RuntimeError(
                f"the row of {key!r} is there but cannot be seen: the transaction looks at an older state; "
                "call the barrier first in a transaction, and let the saga call again"
            )
        return row

    def _run(self, statement: str, *parameters: object) -> tuple[int, Any]:
        cursor = self._connection.cursor()
        try:
            cursor.execute(statement, parameters)
            return cursor.rowcount, cursor.fetchone() if cursor.description else None
        finally:
            cursor.close()


class Call:
    """One call of a step or of an undo, as the barrier has judged it.

    Attributes:
        fresh: Whether its work is to be done. Do it in the same transaction.
        reply: What was answered the first time; `None` if nothing was.
        refused: Whether that was a refusal.
    """

    def __init__(self, key: str, op: Op, kept: "_Kept | None", keep: _Keep | None = None) -> None:
        self.fresh: bool = keep is not None
        self.reply = kept.reply if kept else None
        self.refused: bool = op == "do" and kept is not None and not kept.had_effect
        self._key, self._undo, self._keep = key, op == "undo", keep

    def answer(self, reply: str) -> None:
        """Keep the reply, so that a duplicate is answered the same.

        Raises:
            RuntimeError: The call is not fresh.
        """
        self._settle(reply, had_effect=True)

    def refuse(self, reply: str) -> None:
        """Keep a refusal: the work was not done and never will be under this key, nor is there anything to undo.

        Write nothing else, and commit: a refusal that was rolled back could be overtaken by a duplicate of its call,
        which would have an effect that the saga, having heard of the refusal, never undoes.

        Raises:
            RuntimeError: The call is not fresh, or is an undo, which cannot be refused; let it fail and roll back.
        """
        if self._undo:
            raise RuntimeError(f"the undo of {self._key!r} cannot be refused; raise an error and roll back instead")
        self._settle(reply, had_effect=False)
        self.refused = True

    def _settle(self, reply: str, *, had_effect: bool) -> None:
        if self._keep is None:
            raise RuntimeError(f"this call of {self._key!r} is not fresh: its work belongs under `if call.fresh:`")
        self._keep(reply, had_effect)
        self.reply = reply


def headers(key: str) -> dict[str, str]:
    """The header to send with a step's call: `post(url, headers=headers(self.key))`.

    Args:
        key: The step's key. What is not plain ASCII is percent-encoded; `key_from` decodes it.
    """
    return {HEADER: quote(key, safe=_PLAIN)}


def key_from(headers: Headers) -> str:
    """The key that a request carries.

    Args:
        headers: The request's, of whatever framework. The key may stand in quotes, as the draft has it.

    Raises:
        ValueError: There is none: the request comes from no saga.
    """
    found = next((value for name, value in headers.items() if name.lower() == HEADER.lower()), "").strip().strip('"')
    if not found:
        raise ValueError(f"the request has no {HEADER} header; the saga sends it with `headers=headers(self.key)`")
    return unquote(found)


class _Kept(NamedTuple):
    """What a row says."""

    had_effect: bool
    reply: str | None


@dataclass(frozen=True, slots=True)
class _Dialect:
    """Where databases differ.

    Attributes:
        insert: How to begin an INSERT that passes over a row that is there already.
        conflict: How to end it.
        lock: How to end a SELECT that sees what was committed since the transaction's first look.
        key: A type for keys that are compared exactly.
        reply: A type for long text.
    """

    insert: str = "INSERT INTO"
    conflict: str = " ON CONFLICT DO NOTHING"
    lock: str = ""
    key: str = f"VARCHAR({LONGEST})"
    reply: str = "TEXT"

    @classmethod
    def of(cls, connection: object) -> "_Dialect":
        """MySQL's, if the driver's name says so; else the one that SQLite and PostgreSQL share."""
        return _MYSQL if any("mysql" in name.lower() or "mariadb" in name for name in _modules(connection)) else cls()


# Keys as bytes: MySQL's text compares without regard to case or to spaces at the end.
_MYSQL = _Dialect("INSERT IGNORE INTO", "", " FOR UPDATE", f"VARBINARY({4 * LONGEST})", "MEDIUMTEXT")


class _Sql:
    """The statements."""

    def __init__(self, table: str, dialect: _Dialect, placeholder: str) -> None:
        first, second, third, fourth = (placeholder.format(number) for number in range(1, 5))
        this_row = "WHERE call_key = {} AND op = {}"
        self.create = (
            f"CREATE TABLE IF NOT EXISTS {table} (call_key {dialect.key} NOT NULL, op VARCHAR(4) NOT NULL, "
            f"had_effect SMALLINT NOT NULL, reply {dialect.reply}, "
            "made_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL, PRIMARY KEY (call_key, op))"
        )
        self.insert = (
            f"{dialect.insert} {table} (call_key, op, had_effect) VALUES ({first}, {second}, {third}){dialect.conflict}"
        )
        self.select = f"SELECT had_effect, reply FROM {table} {this_row.format(first, second)}{dialect.lock}"  # noqa: S608
        self.update = f"UPDATE {table} SET reply = {first}, had_effect = {second} {this_row.format(third, fourth)}"  # noqa: S608


def _check(key: object) -> None:
    if len(text("key", key)) > LONGEST:
        raise ValueError(f"key must have at most {LONGEST} characters, got {len(str(key))}: {str(key)[:40]!r}...")


def _modules(connection: object) -> Iterator[str]:
    """The modules that the connection's classes come from, each before the packages around it."""
    for kind in type(connection).__mro__[:-1]:
        parts = kind.__module__.split(".")
        yield from (".".join(parts[:count]) for count in range(len(parts), 0, -1))


def _placeholder(connection: object, paramstyle: str | None) -> str:
    if paramstyle is None:
        paramstyle = next((found for name in _modules(connection) if (found := _declared(name))), None)
    if paramstyle not in _PLACEHOLDER:
        raise ValueError(
            f"paramstyle must be one of {', '.join(_PLACEHOLDER)}, got {paramstyle!r} for {type(connection)!r}; "
            "where the driver does not say which, Barrier(connection, paramstyle=...) does"
        )
    return _PLACEHOLDER[paramstyle]


def _declared(module: str) -> str | None:
    style = getattr(sys.modules.get(module), "paramstyle", None)
    return style if isinstance(style, str) else None


def _commits_each(connection: Any) -> bool:
    """Whether the next statement would be a transaction of its own, as far as the driver lets on."""
    if hasattr(connection, "in_transaction"):  # sqlite3
        alone = connection.isolation_level is None or getattr(connection, "autocommit", False) is True
        return alone and not connection.in_transaction
    status = getattr(getattr(connection, "info", None), "transaction_status", None)  # psycopg
    return getattr(connection, "autocommit", False) is True and status == _IDLE
