"""Who is alive: an owner is a number, and while it lives it holds a lock on that byte of a file beside the journal.

The kernel drops the locks of a process the moment it dies, however it dies, and keeps them while it is merely stopped
or slow: nobody has to guess from a clock. The file stays empty; locks may lie beyond its end.

The locks are POSIX record locks, and these have three habits that shape this module. A process that closes *any*
descriptor of a file loses all its locks on it: so there is one descriptor for each file, kept while anybody here uses
it, and it is never the database itself, which SQLite opens and closes. A process does not conflict with itself: so the
owners within this one are known from a list. And a forked child inherits the descriptor but no lock.

Should someone else in this process open and close the file, or delete it, its owners seem dead to others. Then sagas
are taken over, and the fence in the journal stops the former owner: a nuisance, not a wrong.
"""

import os
import sys
import threading
from pathlib import Path

if sys.platform != "win32":
    import fcntl

DOOR = 0
"""The byte that whoever creates a journal holds; owners begin at 1."""

_lock = threading.Lock()
_files: dict[tuple[int, int], "Owners"] = {}


class Owners:
    """The lock file of one journal, as this process has it; `owners_of` makes it.

    Attributes:
        path: Where it is.
    """

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.users = 0
        self._descriptor = descriptor
        self._held: set[int] = set()
        self._lock = threading.Lock()

    def take(self, number: int) -> bool:
        """Become this owner; false if somebody is it already."""
        with self._lock:
            if number in self._held or not self._try(number, fcntl.LOCK_EX):
                return False
            self._held.add(number)
            return True

    def give(self, number: int) -> None:
        """Be this owner no more."""
        with self._lock:
            self._held.discard(number)
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, number)

    def alive(self, number: int) -> bool:
        """Whether this owner lives, in this process or another. Once dead, it stays dead: numbers are not used again.

        Those who ask take a shared lock for a moment, so they do not take one another for the owner.
        """
        with self._lock:
            if number in self._held:
                return True
            if not self._try(number, fcntl.LOCK_SH):
                return True
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, number)
            return False

    def leave(self) -> None:
        """Have no more to do with it. With the last one here the descriptor is closed."""
        with _lock:
            self.users -= 1
            if not self.users:
                _files.pop(_identity(os.fstat(self._descriptor)), None)
                os.close(self._descriptor)

    def _try(self, number: int, kind: int) -> bool:
        try:
            fcntl.lockf(self._descriptor, kind | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):  # POSIX allows either
            return False
        return True

    def forget(self) -> None:
        """In a forked child: let go of the parent's descriptor; the locks are the parent's and stay."""
        os.close(self._descriptor)


def owners_of(path: str) -> Owners:
    """The lock file at `path`, created if need be; `leave` it in the end.

    Raises:
        OSError: It cannot be opened for writing.
        NotImplementedError: This system has no such locks.
    """
    if sys.platform == "win32":
        raise NotImplementedError("this system has no POSIX record locks (fcntl), by which a dead owner is told")
    with _lock:
        owners = _known(path) or _opened(path)
        owners.users += 1
        return owners


def _known(path: str) -> Owners | None:
    try:
        return _files.get(_identity(Path(path).stat()))
    except FileNotFoundError:
        return None


def _opened(path: str) -> Owners:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    return _files.setdefault(_identity(os.fstat(descriptor)), Owners(path, descriptor))


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    for owners in _files.values():
        owners.forget()
    _files.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
