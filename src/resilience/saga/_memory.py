"""A journal in memory: for tests, and for sagas that need not survive their process.

It can stand for several processes: `process()` gives another owner of the same store, and `die()` ends one as SIGKILL
would, so that a test can crash wherever it likes.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

from .. import _checks
from .._clock import clock
from ..errors import JournalUnavailable, LostOwnership, MessageRefused, SagaError, UnknownSaga
from ._journal import (
    CONTROL,
    ENDED,
    LARGEST,
    OPEN,
    STUCK,
    Journal,
    Letter,
    Opened,
    Row,
    Summary,
    checked_id,
    checked_size,
)
from ._pending import Pending, settled

T = TypeVar("T")
Watcher = Callable[[set[str]], None]

_log = logging.getLogger("resilience")


@dataclass(slots=True)
class _File:
    """All there is of one saga."""

    saga: str
    owner: "MemoryJournal | None"
    rows: list[Row]
    letters: list[Letter] = field(default_factory=list[Letter])
    status: str = OPEN
    heard: int = 0
    told: bool = False


@dataclass(slots=True)
class _Store:
    """What the processes share."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    files: dict[str, _File] = field(default_factory=dict[str, _File])
    numbers: "count[int]" = field(default_factory=lambda: count(1))


class MemoryJournal(Journal):
    """Keeps sagas for as long as the process lives.

    Args:
        largest: Bytes that one record may have. Default 1 MiB.

    Attributes:
        number: Its number among the processes that share the store.
        alive: Whether it is open, and its process lives.
    """

    def __init__(self, *, largest: int = LARGEST) -> None:
        self.name = "memory"
        self.largest: int = _checks.whole("largest", largest)
        self._begin(_Store())

    def _begin(self, store: _Store) -> None:
        self._store = store
        self.number: int = next(store.numbers)
        self.alive: bool = True
        self._process = os.getpid()
        self._killed = False
        self._watchers: list[Watcher] = []

    def process(self) -> "MemoryJournal":
        """The same journal, as another process would have opened it."""
        other = MemoryJournal(largest=self.largest)
        other._begin(self._store)
        return other

    def die(self) -> None:
        """End as if the process had been killed: what it owns is left to whoever comes, and its appends are lost.

        Whatever still runs on it is told `LostOwnership`, so that it stops.
        """
        self._killed = True
        self.close()

    def close(self) -> None:
        """See `Journal.close`."""
        if self._process != os.getpid():  # the journal is the parent's
            return
        with self._store.lock:
            self.alive = False
            self._watchers.clear()

    def start(self, id: str, saga: str, body: bytes) -> Pending[Opened]:  # noqa: A002
        """See `Journal.start`."""
        checked_id(id)
        checked_size(body, self.largest)

        def begin() -> Opened:
            if id in self._store.files:
                return self._open(id, None)
            file = self._store.files[id] = _File(saga, self, [Row(clock.wall(), body)])
            return Opened(list(file.rows), [], created=True, owned=True)

        return self._answer(begin)

    def open(self, id: str, body: bytes | None = None) -> Pending[Opened | None]:  # noqa: A002
        """See `Journal.open`."""
        checked_size(body or b"", self.largest)
        return self._answer(lambda: self._open(id, body) if id in self._store.files else None)

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

        def write() -> None:
            file = self._store.files.get(id)
            if file is None or file.owner is not self:
                raise LostOwnership(file.saga if file else "", id, "this journal does not own it, or does not any more")
            now = clock.wall()
            file.rows += [Row(now, body) for body in bodies]
            file.heard = heard if heard is not None else file.letters[-1].row if file.letters else 0
            file.status = status
            if status in ENDED:
                file.owner = None

        return settled(LostOwnership("", id, "this process was killed")) if self._killed else self._answer(write)

    def release(self, id: str) -> Pending[None]:  # noqa: A002
        """See `Journal.release`."""

        def release() -> None:
            file = self._store.files.get(id)
            if file is not None and file.owner is self:
                file.owner = None

        return self._answer(release)

    def read(self, id: str) -> Pending[list[Row] | None]:  # noqa: A002
        """See `Journal.read`."""
        return self._answer(lambda: list(self._store.files[id].rows) if id in self._store.files else None)

    def find(self, id: str) -> Pending[Summary | None]:  # noqa: A002
        """See `Journal.find`."""
        return self._answer(lambda: _summary(id, self._store.files[id]) if id in self._store.files else None)

    def letters(self, id: str, after: int = 0) -> Pending[list[Letter]]:  # noqa: A002
        """See `Journal.letters`."""

        def letters() -> list[Letter]:
            file = self._store.files.get(id)
            return [] if file is None else [letter for letter in file.letters if letter.row > after]

        return self._answer(letters)

    def send(self, id: str, topic: str, value: bytes, who: str) -> Pending[int]:  # noqa: A002
        """See `Journal.send`."""
        checked_size(value, self.largest)
        sent = self._answer(lambda: self._deliver(id, topic, value, who))
        if isinstance(sent.answer, Exception):
            return settled(sent.answer)
        row, whole, watchers = sent.answer
        for watcher in watchers:
            try:
                watcher({whole})
            except Exception:  # noqa: BLE001 - it must not reach who sent the letter
                _log.exception("a function that watches the journal %r raised", self.name)
        return settled(row)

    def orphans(self, sagas: Collection[str]) -> Pending[list[str]]:
        """See `Journal.orphans`."""

        def waits(file: _File) -> bool:
            unheard = bool(file.letters) and file.letters[-1].row > file.heard
            return _is_orphan(file) and (file.status == OPEN or (file.status == STUCK and unheard))

        return self._answer(lambda: [id_ for id_, file in self._files() if file.saga in sagas and waits(file)])

    def untold(self, limit: int = 100, *, sagas: Collection[str] | None = None) -> Pending[list[Summary]]:
        """See `Journal.untold`."""

        def untold() -> list[Summary]:
            ended = [(id_, file) for id_, file in self._files() if file.status in ENDED and not file.told]
            found = [_summary(id_, file) for id_, file in ended if sagas is None or file.saga in sagas]
            return sorted(found, key=lambda summary: summary.ended or 0.0)[:limit]

        return self._answer(untold)

    def told(self, id: str) -> Pending[None]:  # noqa: A002
        """See `Journal.told`."""

        def tell() -> None:
            file = self._store.files.get(id)
            if file is not None and file.status in ENDED:
                file.told = True

        return self._answer(tell)

    def purge(self, *, before: float, statuses: Collection[str] = ()) -> Pending[int]:
        """See `Journal.purge`."""

        def purge() -> int:
            gone = [
                id_
                for id_, file in self._files()
                if file.status in (statuses or ENDED) and file.status in ENDED and file.rows[-1].at < before
            ]
            for id_ in gone:
                del self._store.files[id_]
            return len(gone)

        return self._answer(purge)

    def check(self) -> Pending[list[str]]:
        """See `Journal.check`."""
        return self._answer(_nothing_wrong)

    def watch(self, function: Watcher) -> Callable[[], None]:
        """See `Journal.watch`."""
        with self._use():
            self._watchers.append(function)

        def unwatch() -> None:
            if function in self._watchers:
                self._watchers.remove(function)

        return unwatch

    def _answer(self, work: Callable[[], T]) -> Pending[T]:
        """Do something at once, as all others would see it in one commit."""
        try:
            with self._use():
                return settled(work())
        except SagaError as error:
            return settled(error)

    @contextlib.contextmanager
    def _use(self) -> Generator[None]:
        if self._process != os.getpid():  # where its lock may be held by a thread that is not there
            raise JournalUnavailable("", "", "this journal was inherited by a forked process; open one there")
        with self._store.lock:
            if not self.alive:
                raise JournalUnavailable("", "", "this journal is closed; open it anew")
            yield

    def _files(self) -> list[tuple[str, _File]]:
        return list(self._store.files.items())

    def _open(self, id_: str, body: bytes | None) -> Opened:
        file = self._store.files[id_]
        if _is_orphan(file):
            file.owner = self
            if body is not None:
                file.rows.append(Row(clock.wall(), body))
        return Opened(list(file.rows), list(file.letters), created=False, owned=file.owner is self)

    def _deliver(self, id_: str, topic: str, value: bytes, who: str) -> tuple[int, str, "Sequence[Watcher]"]:
        """Put a letter where it belongs; its number, the saga, and who is to hear of it."""
        whole, file, topic = self._addressee(id_, topic)
        if file.status in ENDED:
            raise MessageRefused(file.saga, whole, f"it has ended ({file.status}), and takes no message any more")
        watchers = tuple(file.owner._watchers) if file.owner is not None else ()
        for letter in file.letters:
            if letter.topic == topic != CONTROL:
                if letter.value != value:
                    raise MessageRefused(file.saga, whole, f"another message was sent to {topic!r} before this one")
                return letter.row, whole, ()
        file.letters.append(Letter(next(self._store.numbers), topic, value, who, clock.wall()))
        return file.letters[-1].row, whole, watchers

    def _addressee(self, id_: str, topic: str) -> tuple[str, _File, str]:
        """The saga that a letter is for: one to a nested saga is kept with the saga that it is a part of."""
        whole, part = id_, topic
        while (file := self._store.files.get(whole)) is None:
            whole, slash, nested = whole.rpartition("/")
            if not slash or topic == CONTROL:
                raise UnknownSaga("", id_, "no saga of this id is in the journal")
            part = f"{nested}.{part}"
        return whole, file, part

    def list(
        self, *, status: Collection[str] | None = None, saga: str | None = None, limit: int | None = None
    ) -> Pending[list[Summary]]:
        """See `Journal.list`."""
        return self._answer(
            lambda: [
                _summary(id_, file)
                for id_, file in self._files()
                if (status is None or file.status in status) and saga in {None, file.saga}
            ][:limit]
        )


def _nothing_wrong() -> list[str]:
    return []


def _is_orphan(file: _File) -> bool:
    return file.status not in ENDED and (file.owner is None or not file.owner.alive)


def _summary(id_: str, file: _File) -> Summary:
    ended = file.rows[-1].at if file.status in ENDED else None
    owner = None if file.owner is None else file.owner.number
    return Summary(id_, file.saga, file.status, file.rows[0].at, ended, owner, _is_orphan(file))
