"""What the file of a journal is like inside, how it comes into being, and what is asked of one that is there.

Three tables hold what happened, in ever the same order: `entries`, a row for each record of a saga; `letters`, a row
for each message or request from outside; `sagas`, a row for each saga, which says what its last record says as well,
so that a list needs no fold. The fourth, `owners`, has a row for each journal object that may write: to delete that row
is the fence, for every transaction asks first whether its own is still there.

Records of all sagas stand in one table in the order in which they came: a commit for 64 sagas then fills a few pages,
where a table ordered by saga would touch 64 of them.

An empty file is never made where something was lost: a new journal is made under another name, complete and on the
disk, and then renamed. So a file that is empty, damaged, or of another kind was not left behind by a crash of ours, and
is refused, by name.
"""

import contextlib
import os
import sqlite3
from collections.abc import Generator
from pathlib import Path

from ..errors import JournalUnavailable
from ._faults import as_unavailable
from ._owners import DOOR, Owners
from ._patience import patiently

APPLICATION = 0x53414741
"""SQLite's `application_id` of a journal: "SAGA"."""

VERSION = 1
"""The version of the tables, SQLite's `user_version`. A journal of a later one is refused."""

_CHECKPOINT = 4_000
"""Pages in the write-ahead log (of 4 KiB) before they are moved to the database: fewer, larger moves than SQLite's
default of 1,000, which at full speed would come every tenth of a second."""

_TABLES = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
CREATE TABLE owners (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: the dead stay dead
    process INTEGER NOT NULL,
    since REAL NOT NULL
);
CREATE TABLE sagas (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    saga TEXT NOT NULL,
    status TEXT NOT NULL,
    owner INTEGER,
    started REAL NOT NULL,
    ended REAL,
    told INTEGER NOT NULL DEFAULT 0,
    news INTEGER NOT NULL DEFAULT 0  -- the last letter, as long as nobody may have taken note of it
);
CREATE INDEX current ON sagas (ended) WHERE told = 0;  -- open ones first, then those whose end nobody has heard of
CREATE TABLE entries (
    row INTEGER PRIMARY KEY,
    saga INTEGER NOT NULL,
    at REAL NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX entries_of ON entries (saga);
CREATE TABLE letters (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    saga INTEGER NOT NULL,
    topic TEXT NOT NULL,
    value BLOB NOT NULL,
    who TEXT NOT NULL,
    at REAL NOT NULL
);
CREATE INDEX letters_of ON letters (saga);
"""


def connect(path: str, seconds: float) -> sqlite3.Connection:
    """A connection to a journal that is there. Every commit is on the disk before it is acknowledged.

    Args:
        path: Where it is.
        seconds: How long SQLite itself waits for locks.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    uri = f"{Path(path).as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=seconds, isolation_level=None, check_same_thread=False)
    try:
        connection.executescript(
            "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;"
            f"PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = {_CHECKPOINT};"
        )
    except BaseException:
        connection.close()
        raise
    return connection


def create(path: str, owners: Owners, seconds: float) -> None:
    """Make a new journal at `path`, unless another process was first.

    Raises:
        JournalUnavailable: It cannot be made, or what is there says that something was lost.
    """
    with _door(path, owners, seconds):
        try:
            if not Path(path).exists():
                _build(path)
            _sync(Path(path).parent)  # also for one that was made by a process which died before it came to this
        except (sqlite3.Error, OSError) as error:
            raise as_unavailable(path, error) from error


def examine(path: str, connection: sqlite3.Connection, *, thorough: bool) -> None:
    """Refuse what is no journal, or a damaged one.

    Args:
        path: For the messages.
        connection: To the file.
        thorough: Whether to read all of it.

    Raises:
        JournalUnavailable: It is no journal, one of a later version, or damaged.
        sqlite3.Error: It cannot be read at all.
    """
    application, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    if application != APPLICATION:
        raise _refusal(
            path,
            f"is an SQLite database but no journal (its application_id is {application}, not {APPLICATION})",
            "give another path; a journal is never made in a file that is there",
        )
    if version != VERSION:
        raise _refusal(
            path,
            f"has format {version}, and this version of the library writes format {VERSION}",
            "use the version of the library that wrote it, or a later one",
        )
    if _pragma(connection, "journal_mode = WAL") != "wal":
        raise _refusal(path, "cannot have a write-ahead log here", "put it on a local disk, in a folder of its own")
    if thorough and (problems := damage(connection)):
        raise _refusal(
            path,
            f"is damaged ({' '.join(problems[0].split())})",
            "keep it with the files beside it, and put back a copy, or save what can be read with the sqlite3 "
            "program's .recover",
        )


def damage(connection: sqlite3.Connection, check: str = "quick_check") -> list[str]:
    """What is wrong with the file itself. "quick_check" reads it; "integrity_check" compares indexes and tables too."""
    return [row[0] for row in connection.execute(f"PRAGMA {check}(10)") if row[0] != "ok"]


@contextlib.contextmanager
def _door(path: str, owners: Owners, seconds: float) -> Generator[None]:
    """One at a time."""
    if not patiently(lambda: owners.take(DOOR), seconds):
        raise _refusal(path, f"is being made by another process, for more than {seconds:g} s", "find out if it hangs")
    try:
        yield
    finally:
        owners.give(DOOR)


def _build(path: str) -> None:
    if Path(path + "-wal").exists():
        raise _refusal(
            path,
            f"is gone, but its write-ahead log {path + '-wal'!r} is there: it was moved or deleted by itself",
            "put it back beside its log; or, to begin anew, move the log away as well",
        )
    new = Path(path + "-new")
    new.unlink(missing_ok=True)  # left by one that crashed here
    connection = sqlite3.connect(new, isolation_level=None)
    try:
        connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; BEGIN; {_TABLES} COMMIT;")
    finally:
        connection.close()  # which moves the log to the file, and the file to the disk
    new.replace(path)


def _sync(folder: Path) -> None:
    """Have the name on the disk as well."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pragma(connection: sqlite3.Connection, what: str) -> object:
    return connection.execute(f"PRAGMA {what}").fetchone()[0]


def _refusal(path: str, what: str, advice: str) -> JournalUnavailable:
    return JournalUnavailable("", "", f"{path!r} {what}; {advice}")
