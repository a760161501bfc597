"""The one thread that writes a journal: whatever has come in since its last commit goes into the next one.

A commit costs a disk's `fsync`, a record next to nothing: so the more sagas run side by side, the less each of them
pays. A batch is written on the assumption that all will go well. Refusals are found by reading and spoil nothing; if
SQL itself fails, nothing of the batch has happened, and it is done again saga by saga, so that one that cannot be
written fails alone. Where the journal as a whole cannot be written to, all of them fail, nothing is written, and the
next batch tries anew.

Between batches the thread looks whether another process has sent letters to sagas of ours.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .._clock import SystemClock
from ..errors import JournalUnavailable, SagaError
from ._faults import as_unavailable, busy, closed, gone, held_up
from ._ledger import Ledger, More
from ._patience import patiently
from ._pending import Pending, settle_all
from ._queries import addressed_after, last_letter
from ._worker import Worker

_MOST = 512
"""Jobs in a commit."""

LOOK = 0.1
"""Seconds between two looks for letters."""

Outcome = Any
Watcher = Callable[[set[str]], None]

_log = logging.getLogger("resilience")
_real = SystemClock()


class Job(NamedTuple):
    """Something to be written.

    Attributes:
        pending: What its caller waits for.
        work: A method of the ledger.
        arguments: Its arguments; where it is about a saga, that saga's id comes first.
        saga: The id of the saga that it is about; `None`: none in particular. If one job of a saga fails, so do those
            behind it in the batch.
        takes: Whether the saga becomes ours by it.
    """

    pending: Pending[Any]
    work: Callable[..., Any]
    arguments: tuple[Any, ...]
    saga: str | None = None
    takes: bool = False


class Writer:
    """The thread, and what it does.

    Args:
        path: Where the journal is.
        connection: The connection that it alone uses from now on, and closes in the end.
        ledger: The tables.
        patience: For how many seconds it tries while another process writes.
    """

    def __init__(self, path: str, connection: sqlite3.Connection, ledger: Ledger, patience: float) -> None:
        self._path = path
        self._place = Path(path)
        self._file = _file(self._place)
        self._connection = connection
        self._ledger = ledger
        self._patience = patience
        self._watchers: list[Watcher] = []
        self._version: int | None = None
        self._heard = last_letter(connection)
        connection.execute("PRAGMA busy_timeout = 0")  # from now on we wait ourselves, see `patiently`
        self._looked = _real.now()
        self._worker = Worker[Job](f"journal {path}", _MOST, self._carry_out, self._refuse, self._pause)
        self.put = self._worker.put

    def watch(self, function: Watcher) -> Callable[[], None]:
        """See `Journal.watch`."""
        self._watchers.append(function)
        self._worker.put(None)

        def unwatch() -> None:
            if function in self._watchers:
                self._watchers.remove(function)

        return unwatch

    def close(self) -> None:
        """Write what has come in, and give up every saga."""
        self.put(Job(Pending(), Ledger.leave, ()))
        self._worker.stop()
        self._ledger.resign()
        self._connection.close()

    def _carry_out(self, jobs: list[Job]) -> None:
        settled: list[tuple[Pending[Any], Outcome]] = []
        for job, outcome in zip(jobs, self._outcomes(jobs) if jobs else [], strict=True):
            if isinstance(outcome, More):
                self.put(job._replace(arguments=outcome.arguments))
            else:
                settled.append((job.pending, outcome))
        if self._watchers and (self._ledger.posted or _real.now() - self._looked >= LOOK):
            self._look()
        settle_all(settled)  # last: whoever has sent a letter may rely on it that its saga knows

    def _outcomes(self, jobs: list[Job]) -> list[Outcome]:
        try:
            return self._commit(jobs)
        except JournalUnavailable as error:
            return [self._failure(error, job) for job in jobs]
        except Exception:  # noqa: BLE001 - whatever it is, it must not end the thread, and is found again
            return self._one_by_one(jobs)

    def _one_by_one(self, jobs: list[Job]) -> list[Outcome]:
        """A commit for each saga."""
        groups: dict[object, list[int]] = {}
        for position, job in enumerate(jobs):
            groups.setdefault(position if job.saga is None else job.saga, []).append(position)
        outcomes: dict[int, Outcome] = {}
        for positions in groups.values():
            some = [jobs[position] for position in positions]
            try:
                found = self._commit(some)
            except Exception as error:  # noqa: BLE001 - it goes to whoever waits for the job
                found = [self._failure(error, job) for job in some]
            outcomes.update(zip(positions, found, strict=True))
        return [outcomes[position] for position in range(len(jobs))]

    def _commit(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Do all of it or nothing. A refusal is an outcome; whatever is raised concerns the whole."""
        ledger = self._ledger
        self._begin()
        try:
            ledger.begin([job.saga for job in jobs if job.takes and job.saga is not None])
            outcomes = [_outcome(job, ledger) for job in jobs]
            ledger.write()
            self._connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        return outcomes

    def _begin(self) -> None:
        if _file(self._place) != self._file:
            raise gone(self._path)
        if not patiently(self._seize, self._patience):
            raise held_up(self._path, self._patience)

    def _seize(self) -> bool:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if busy(error):
                return False
            raise
        return True

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # a disk that does not write; or SQLite has done it already
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        self._ledger.roll_back()

    def _failure(self, error: Exception, job: Job) -> Exception:
        """The error as the job's own: two that wait must not share one."""
        unavailable = as_unavailable(self._path, error)
        unavailable.id = job.saga or ""
        return unavailable

    def _refuse(self, jobs: list[Job]) -> None:
        settle_all([(job.pending, closed(self._path)) for job in jobs])

    def _pause(self) -> float | None:
        """Until the next look for letters, if anybody wants them."""
        if not self._watchers or not self._ledger.held:
            return None
        return max(0.0, self._looked + LOOK - _real.now())

    def _look(self) -> None:
        """Tell of the letters that have come since the last look."""
        self._looked = _real.now()
        try:
            version = self._connection.execute("PRAGMA data_version").fetchone()[0]  # moved by others' commits
            if version == self._version and not self._ledger.posted:
                return
            letters = addressed_after(self._connection, self._heard)
        except sqlite3.Error:  # whoever writes next hears of it; here, the next look will do
            return
        self._version, self._ledger.posted = version, False
        self._heard = letters[-1][0] if letters else self._heard
        ours = {id_ for _, id_ in letters if id_ in self._ledger.held}
        for watcher in list(self._watchers) if ours else []:
            try:
                watcher(ours)
            except Exception:  # noqa: BLE001 - whatever a watcher does, the next one is told
                _log.exception("a function that watches the journal %r raised", self._path)


def _outcome(job: Job, ledger: Ledger) -> Outcome:
    try:
        return job.work(ledger, *job.arguments)
    except SagaError as refusal:
        return refusal


def _file(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
