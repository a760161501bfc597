"""What sagas need of a journal: a durable store of records, to which one process at a time may write for each saga.

A journal knows ids, bytes and owners, and nothing of steps and undos. Three things make it one that a saga can rely on:

- **What is acknowledged is durable.** A `Pending` that has its answer stands for what no crash takes away.
- **One owner.** Each open journal object is an owner. A saga belongs to at most one that is alive, and whoever takes it
  over from a dead one bars that one for good, in the same commit: should it wake up, its appends are `LostOwnership`.
- **Letters.** Anybody may leave a message or a request for a saga, whoever owns it; its owner hears of it at once.

`MemoryJournal` and `SQLiteJournal` are such; `check_journal` tells whether another one is.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Self

from ._pending import Pending

CONTROL = "control"
"""The topic of requests: the one that takes any number of letters."""

OPEN = "open"
"""What a journal says of a saga that goes on."""

STUCK = "stuck"
"""What it says of one that waits for an operator."""

ENDED = ("completed", "undone", "repaired")
"""What it says of those that have ended."""

LONGEST_ID = 200
"""Characters."""

LARGEST = 1 << 20
"""Bytes of one record, unless the journal is told otherwise."""


class Row(NamedTuple):
    """One record.

    Attributes:
        at: When it was written, in seconds since 1970.
        body: The record.
    """

    at: float
    body: bytes


class Letter(NamedTuple):
    """A message or request from outside.

    Attributes:
        row: Its number: unique in the journal, and rising.
        topic: What it is for: the name of a step that waits, or `CONTROL`.
        value: What it says.
        who: Who sent it, for people.
        at: When, in seconds since 1970.
    """

    row: int
    topic: str
    value: bytes
    who: str
    at: float


class Opened(NamedTuple):
    """A saga as it was found.

    Attributes:
        rows: Its records, in the order in which they were written.
        letters: Its letters, likewise.
        created: Whether it is new.
        owned: Whether this journal object is its owner now.
    """

    rows: list[Row]
    letters: list[Letter]
    created: bool
    owned: bool


class Summary(NamedTuple):
    """A saga in a list.

    Attributes:
        id: Its id.
        saga: The name of its class.
        status: "open", "stuck", or how it ended.
        started: When it began, in seconds since 1970.
        ended: When it ended; `None` while it is open.
        owner: The number of its owner; `None` if it has none.
        orphan: Whether it is open, and nobody alive owns it.
    """

    id: str
    saga: str
    status: str
    started: float
    ended: float | None
    owner: int | None
    orphan: bool


class Journal(ABC):
    """Keeps the records of sagas. Every method may be called from any thread and any event loop.

    What goes wrong is raised by the call itself or by whoever waits for its answer: `JournalUnavailable` where the
    journal cannot be read or written now, or is closed, or was inherited by a forked process.

    A journal can be used in a `with` statement, which closes it.

    Attributes:
        name: For messages and logs.
        patience: Seconds for which a write that fails is tried again before the saga is left to be resumed later.
        largest: The most bytes of one record.
        engine: What runs sagas on it in this process; not the journal's business.
    """

    name: str = "journal"
    patience: float = 30.0
    largest: int = LARGEST
    engine: object = None

    @abstractmethod
    def start(self, id: str, saga: str, body: bytes) -> Pending[Opened]:  # noqa: A002 - it is the saga's id
        """Begin a saga and own it; if there is one of this id, the same as `open`.

        Args:
            id: Its id, see `checked_id`.
            saga: The name of its class.
            body: Its first record.
        """

    @abstractmethod
    def open(self, id: str, body: bytes | None = None) -> Pending[Opened | None]:  # noqa: A002
        """Read a saga, and own it if it is open and nobody alive does.

        Args:
            id: Its id.
            body: A record to be written in the commit in which it gets a new owner, and only then.

        Returns:
            What was found, with that record; `None` if there is no such saga.
        """

    @abstractmethod
    def append(
        self,
        id: str,  # noqa: A002
        bodies: Sequence[bytes],
        status: str,
        heard: int | None = None,
    ) -> Pending[None]:
        """Write records, all or none.

        Args:
            id: A saga that is owned here.
            bodies: The records.
            status: What the journal says of it from now on: "open", "stuck", or how it has ended, which ends the
                ownership as well.
            heard: The number of the last letter that whoever writes this has taken note of; `None`: of all.

        Raises:
            LostOwnership: It is not owned here, or not any more.
            JournalUnavailable: They cannot be written now; nothing was.
            ValueError: One of them is too large.
        """

    @abstractmethod
    def release(self, id: str) -> Pending[None]:  # noqa: A002
        """Own it no more: an open saga is an orphan at once. Harmless if it is not owned here."""

    @abstractmethod
    def read(self, id: str) -> Pending[list[Row] | None]:  # noqa: A002
        """The records of a saga; `None` if there is none of this id."""

    @abstractmethod
    def find(self, id: str) -> Pending[Summary | None]:  # noqa: A002
        """What a list says of the saga of this id; `None` if there is none. It takes no longer among a million."""

    @abstractmethod
    def letters(self, id: str, after: int = 0) -> Pending[list[Letter]]:  # noqa: A002
        """The letters of a saga whose numbers are higher than `after`."""

    @abstractmethod
    def send(self, id: str, topic: str, value: bytes, who: str) -> Pending[int]:  # noqa: A002
        """Leave a letter; durable like a record, whoever owns the saga.

        A topic other than `CONTROL` takes one letter for each saga: the same value again is the same letter. Requests,
        of the topic `CONTROL`, are for a saga as a whole, and not for a nested one.

        Args:
            id: The saga; for a nested one, "order-42/deliver" with the topic "approval" means the topic
                "deliver.approval" of "order-42", unless there is a saga of that very id.
            topic: What it is for.
            value: What it says.
            who: Who sends it.

        Returns:
            Its number.

        Raises:
            UnknownSaga: There is no such saga.
            MessageRefused: It has ended, or another message was there first.
        """

    @abstractmethod
    def orphans(self, sagas: Collection[str]) -> Pending[list[str]]:
        """The ids of sagas of these classes that wait for somebody to take them up.

        Those are the open ones that nobody alive owns, and the stuck ones that nobody alive owns and that have a letter
        which was not `heard`.
        """

    @abstractmethod
    def untold(self, limit: int = 100, *, sagas: Collection[str] | None = None) -> Pending[list[Summary]]:
        """Sagas (of these classes) that have ended, and whose end nobody has confirmed by `told`, oldest first."""

    @abstractmethod
    def told(self, id: str) -> Pending[None]:  # noqa: A002
        """Confirm that the end of a saga was heard."""

    @abstractmethod
    def purge(self, *, before: float, statuses: Collection[str] = ()) -> Pending[int]:
        """Forget sagas that ended before a time (in seconds since 1970), and in one of these ways, if any are given.

        Returns:
            How many.
        """

    @abstractmethod
    def check(self) -> Pending[list[str]]:
        """Look whether everything is whole.

        Returns:
            What is wrong, a line each; none if all is well.
        """

    @abstractmethod
    def watch(self, function: Callable[[set[str]], None]) -> Callable[[], None]:
        """Have a function called, in any thread, with the ids of sagas owned here that got letters.

        Letters that another process leaves are told within 0.2 s.

        Returns:
            What ends it.
        """

    @abstractmethod
    def close(self) -> None:
        """Finish what was asked for, and own nothing any more. Harmless if it is closed already."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    @abstractmethod
    def list(
        self, *, status: Collection[str] | None = None, saga: str | None = None, limit: int | None = None
    ) -> Pending[list[Summary]]:
        """The sagas, oldest first: those with one of these statuses, of this class, at most so many."""


def checked_id(id: str) -> str:  # noqa: A002 - it is the saga's id
    """An id, if it is one.

    Raises:
        TypeError: It is no text.
        ValueError: It is empty, too long, or not printable.
    """
    if not isinstance(id, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise TypeError(f"a saga's id must be a str, got {id!r}")
    if not 1 <= len(id) <= LONGEST_ID or not id.isprintable():
        shown = id if len(id) <= LONGEST_ID else f"{id[:20]}... ({len(id)} characters)"
        raise ValueError(f"a saga's id must have 1 to {LONGEST_ID} printable characters, got {shown!r}")
    return id


def checked_journal(journal: Journal) -> Journal:
    """A journal, if it is one.

    Raises:
        TypeError: It is something else: a path, perhaps.
    """
    if not isinstance(journal, Journal):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise TypeError(f"journal must be a Journal, got {journal!r}; for a file, SQLiteJournal(path) makes one")
    return journal


def checked_size(body: bytes, most: int, room: int = 0) -> bytes:
    """A record, or what comes into one, if it is not too large.

    Args:
        body: The record, or the value in it.
        most: The most bytes of a record.
        room: Bytes to be kept free for what else is in it.

    Raises:
        ValueError: It is.
    """
    if len(body) + room > most:
        with_room = f" ({len(body):,} of the value, and {room:,} kept free for what is said of it)" if room else ""
        raise ValueError(
            f"a record of {len(body) + room:,} bytes{with_room} is more than the {most:,} that this journal takes "
            "(largest=); keep large values elsewhere, and their address in the saga"
        )
    return body
