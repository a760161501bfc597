"""`SQLiteJournal`: a journal in one file, for every process of one machine.

What it promises is in `_journal`; here the work is handed to those who do it:

    _place      can a journal be there at all          _schema     the tables; a new file, an old one
    _writer     the thread that commits, in batches    _ledger     what is done within a commit
    _queries    what is asked without writing          _owners     who is alive

Reading has a connection and a thread of its own, so that a long list holds up no commit.
"""

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Collection, Sequence
from os import getpid
from pathlib import Path
from typing import Any, NamedTuple

from .. import _checks
from ..errors import JournalUnavailable
from ._faults import as_unavailable, closed, inherited
from ._journal import ENDED, LARGEST, Journal, Letter, Opened, Row, Summary, checked_id, checked_size
from ._ledger import Ledger
from ._owners import Owners, owners_of
from ._pending import Pending, settle_all
from ._place import check_place
from ._queries import Queries
from ._schema import connect, create, examine
from ._worker import Worker
from ._writer import Job, Writer

_log = logging.getLogger("resilience")


class SQLiteJournal(Journal):
    """Keeps sagas in an SQLite file. Every acknowledged record is on the disk.

    Any number of processes of one machine may have it open. Each open journal is an owner; what it owned is free the
    moment that it is closed or that its process dies. Sagas side by side share commits: the more, the cheaper.

    Beside the file there are others, which belong to it: `-wal` holds what was committed last, so a copy of the file
    alone is not a backup; `-owners` is empty, and tells who is alive. Leave them where they are, and let nothing in
    your processes open and close them.

    Args:
        path: The file; it is made if it is not there, but its folder is not. It must be on a local disk.
        patience: How long a write is tried while another process writes: seconds or a `timedelta`.
        largest: The most bytes of one record; default 1 MiB.
        check: Whether the whole file is read and looked over first, which takes about 2 s for each GB. Damage that
            this would find is otherwise noticed when it is met, or by `check()`.

    Raises:
        TypeError: A parameter is of the wrong kind.
        ValueError: A parameter makes no sense; `path` is no file's name.
        JournalUnavailable: The file is damaged, of a later format, or no journal; or the place is of no use. What is
            there is never replaced.

    Example:
        ```python
        with SQLiteJournal("sagas.db") as journal:
            await PlaceOrder(stock, payments).run(order, id="order-42", journal=journal)
        ```
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        patience: _checks.Seconds = 30.0,
        largest: int = LARGEST,
        check: bool = True,
    ) -> None:
        self.name: str = _path(path)
        self.patience: float = _checks.seconds("patience", patience, zero=True)
        self.largest: int = _checks.whole("largest", largest)
        self._process = getpid()
        self._closed = False
        check_place(Path(self.name))
        with contextlib.ExitStack() as undo:
            self._owners = _owners(self.name)
            undo.callback(self._owners.leave)
            try:
                self._begin(undo, thorough=_checks.flag("check", check))
            except sqlite3.Error as error:
                raise as_unavailable(self.name, error) from error
            undo.pop_all()

    def _begin(self, undo: contextlib.ExitStack, *, thorough: bool) -> None:
        create(self.name, self._owners, self.patience)
        writing = undo.enter_context(contextlib.closing(connect(self.name, self.patience)))
        examine(self.name, writing, thorough=thorough)
        self._reading = undo.enter_context(contextlib.closing(connect(self.name, self.patience)))
        self._queries = Queries(self._reading, self._owners)
        self._warn_of_orphans()
        self._writer = Writer(self.name, writing, Ledger(writing, self._owners), self.patience)
        self._reader = Worker[Question](f"read {self.name}", 1, self._answer, self._refuse)

    def start(self, id: str, saga: str, body: bytes) -> Pending[Opened]:  # noqa: A002 - it is the saga's id
        """See `Journal.start`."""
        checked_size(body, self.largest)
        return self._write(Ledger.start, checked_id(id), saga, body, takes=True)

    def open(self, id: str, body: bytes | None = None) -> Pending[Opened | None]:  # noqa: A002
        """See `Journal.open`."""
        if body is not None:
            checked_size(body, self.largest)
        return self._write(Ledger.open, checked_id(id), body, takes=True)

    def append(
        self,
        id: str,  # noqa: A002
        bodies: Sequence[bytes],
        status: str,
        heard: int | None = None,
    ) -> Pending[None]:
        """See `Journal.append`."""
        for body in bodies:
            checked_size(body, self.largest)
        return self._write(Ledger.append, id, bodies, status, heard)

    def release(self, id: str) -> Pending[None]:  # noqa: A002
        """See `Journal.release`."""
        return self._write(Ledger.release, id)

    def send(self, id: str, topic: str, value: bytes, who: str) -> Pending[int]:  # noqa: A002
        """See `Journal.send`."""
        checked_size(value, self.largest)
        return self._write(Ledger.send, checked_id(id), topic, value, who)

    def told(self, id: str) -> Pending[None]:  # noqa: A002
        """See `Journal.told`."""
        return self._write(Ledger.told, id)

    def purge(self, *, before: float, statuses: Collection[str] = ()) -> Pending[int]:
        """See `Journal.purge`. The file does not shrink; the room is used again."""
        self._usable()
        pending: Pending[int] = Pending()
        self._writer.put(Job(pending, Ledger.purge, (before, tuple(statuses or ENDED))))
        return pending

    def read(self, id: str) -> Pending[list[Row] | None]:  # noqa: A002
        """See `Journal.read`."""
        return self._ask(self._queries.read, id)

    def find(self, id: str) -> Pending[Summary | None]:  # noqa: A002
        """See `Journal.find`."""
        return self._ask(self._queries.find, id)

    def letters(self, id: str, after: int = 0) -> Pending[list[Letter]]:  # noqa: A002
        """See `Journal.letters`."""
        return self._ask(self._queries.letters, id, after)

    def orphans(self, sagas: Collection[str]) -> Pending[list[str]]:
        """See `Journal.orphans`."""
        return self._ask(self._queries.orphans, sagas)

    def untold(self, limit: int = 100, *, sagas: Collection[str] | None = None) -> Pending[list[Summary]]:
        """See `Journal.untold`."""
        return self._ask(self._queries.untold, limit, sagas)

    def check(self) -> Pending[list[str]]:
        """See `Journal.check`. It reads the whole file, indexes included; other reads wait meanwhile, writes do not."""
        return self._ask(self._queries.problems)

    def watch(self, function: Callable[[set[str]], None]) -> Callable[[], None]:
        """See `Journal.watch`."""
        self._usable()
        return self._writer.watch(function)

    def close(self) -> None:
        """See `Journal.close`. In a forked child it does nothing: the journal is the parent's."""
        if self._closed or self._process != getpid():
            return
        self._closed = True
        self._reader.stop()
        self._reading.close()
        self._writer.close()
        self._owners.leave()

    def _write(self, work: Callable[..., Any], id_: str, *arguments: Any, takes: bool = False) -> Pending[Any]:
        self._usable()
        pending: Pending[Any] = Pending()
        self._writer.put(Job(pending, work, (id_, *arguments), id_, takes))
        return pending

    def _ask(self, work: Callable[..., Any], *arguments: Any) -> Pending[Any]:
        self._usable()
        pending: Pending[Any] = Pending()
        self._reader.put(Question(pending, work, arguments))
        return pending

    def _answer(self, questions: "list[Question]") -> None:
        settle_all([(question.pending, self._found(question)) for question in questions])

    def _found(self, question: "Question") -> Any:
        try:
            return question.work(*question.arguments)
        except Exception as error:  # noqa: BLE001 - it goes to whoever waits for the answer
            return as_unavailable(self.name, error)

    def _refuse(self, questions: "list[Question]") -> None:
        settle_all([(question.pending, closed(self.name)) for question in questions])

    def _usable(self) -> None:
        if self._closed:
            raise closed(self.name)
        if self._process != getpid():
            raise inherited(self.name)

    def _warn_of_orphans(self) -> None:
        orphans = len(self._queries.orphans(None))
        if orphans:
            _log.warning(
                "the journal %r holds %d %s that nobody works on; a SagaRunner of their classes resumes them",
                self.name,
                orphans,
                "saga" if orphans == 1 else "sagas",
            )

    def list(
        self, *, status: Collection[str] | None = None, saga: str | None = None, limit: int | None = None
    ) -> Pending[list[Summary]]:
        """See `Journal.list`."""
        return self._ask(self._queries.summaries, status, saga, limit)


class Question(NamedTuple):
    """Something to be read.

    Attributes:
        pending: What its caller waits for.
        work: A method of the queries.
        arguments: Its arguments.
    """

    pending: Pending[Any]
    work: Callable[..., Any]
    arguments: tuple[Any, ...]


def _path(path: str | os.PathLike[str]) -> str:
    """The path without symbolic links, so that every process finds the same files beside it."""
    if not isinstance(path, str | os.PathLike):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
        raise TypeError(f"path must be a str or a path, got {path!r} ({type(path).__name__})")
    if os.fspath(path) in {"", ":memory:"}:
        raise ValueError(f"path must be that of a file, got {path!r}; a journal in memory is MemoryJournal()")
    return os.path.realpath(path)


def _owners(path: str) -> Owners:
    try:
        return owners_of(path + "-owners")
    except OSError as error:
        raise as_unavailable(path, error) from error
    except NotImplementedError as error:
        raise JournalUnavailable("", "", f"SQLiteJournal cannot be used here: {error}; MemoryJournal can") from error
