"""What SQLite says when it cannot, in words that tell what to do about it."""

import sqlite3

from ..errors import JournalUnavailable

_PRIMARY = 0xFF  # the lower byte of an extended result code

_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full, or a quota is used up; nothing was written. Make room: the journal goes on "
    "by itself",
    sqlite3.SQLITE_IOERR: "the disk does not do what it is told; nothing was written. Look at the system's log; the "
    "journal goes on by itself once it works again",
    sqlite3.SQLITE_BUSY: "another process holds its lock",
    sqlite3.SQLITE_LOCKED: "another connection holds a table; nothing was written",
    sqlite3.SQLITE_READONLY: "the file or its folder cannot be written to; nothing was written. Give this user leave "
    "to write to the folder, the file, and those beside it that end in -wal and -shm",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened. Give this user leave to read and write the folder, the file, and "
    "those beside it that end in -wal and -shm",
    sqlite3.SQLITE_CORRUPT: "it is damaged. Nothing is written to it any more: keep it with the files beside it, and "
    "put back a copy, or save what can be read with the sqlite3 program's .recover",
    sqlite3.SQLITE_NOTADB: "this is no SQLite database, or its beginning is damaged. If it was a journal, keep it with "
    "the files beside it and put back a copy; if it never was, give another path",
    sqlite3.SQLITE_TOOBIG: "a record is larger than SQLite takes",
}


def busy(error: sqlite3.Error) -> bool:
    """Whether somebody else is writing just now."""
    return _code(error) == sqlite3.SQLITE_BUSY


def as_unavailable(path: str, error: Exception) -> JournalUnavailable:
    """A new error of ours that says the same. Raise it from the original."""
    if isinstance(error, JournalUnavailable):
        reason = error.reason
    else:
        advice = _ADVICE.get(_code(error), "nothing was written")
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        reason = f"the journal {path!r} is unavailable: {error} ({name}): {advice}"
    new = JournalUnavailable("", "", reason)
    new.__cause__ = error
    return new


def gone(path: str) -> JournalUnavailable:
    """The file was taken away under an open journal."""
    return JournalUnavailable(
        "",
        "",
        f"the journal {path!r} is not where it was: it was deleted, or moved, or another file was put in its place. "
        "Nothing is written any more; put it back with the files beside it, or close this journal and open it anew",
    )


def held_up(path: str, seconds: float) -> JournalUnavailable:
    """Another process writes, and does not stop."""
    return JournalUnavailable(
        "",
        "",
        f"another process has held the lock of the journal {path!r} for more than {seconds:g} s (patience=); nothing "
        "was written. Look for one that has left a transaction open, or that hangs: a database browser, a backup",
    )


def closed(path: str) -> JournalUnavailable:
    """Too late."""
    return JournalUnavailable("", "", f"the journal {path!r} is closed; open it anew")


def inherited(path: str) -> JournalUnavailable:
    """A forked child must not touch what its parent has open."""
    return JournalUnavailable(
        "",
        "",
        f"the journal {path!r} was opened before this process was forked, and belongs to its parent; open it anew here",
    )


def _code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY
