"""Small sagas that write down what is called and stand still where they are told to, and a journal that can be held."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel

from resilience._clock import clock
from resilience.errors import JournalUnavailable
from resilience.saga import Journal, MemoryJournal, Opened, Pending, Saga, step


@dataclass
class Trip(Saga[int, int], name="trip"):
    """Books, and pays; each waits at its gate, if it has one."""

    booking: anyio.Event | None = None
    paying: anyio.Event | None = None
    unbooking: anyio.Event | None = None
    calls: list[str] = field(default_factory=list[str])

    @step
    async def book(self, number: int) -> int:
        self.calls.append("book")
        await passing(self.booking)
        return number

    @book.undo
    async def unbook(self, book: int | None, certain: bool) -> None:
        self.calls.append(f"unbook {book} {'for certain' if certain else 'perhaps'}")
        if self.unbooking is not None:
            await self.unbooking.wait()
            self.calls.append("unbooked")

    @step
    async def pay(self, book: int) -> int:
        self.calls.append("pay")
        await passing(self.paying)
        return book * 10


@dataclass
class PlainTrip(Saga[int, int], name="plain-trip"):
    """The same in plain code; `during` is called while it books."""

    during: Callable[[], object] | None = None
    calls: list[str] = field(default_factory=list[str])

    @step
    def book(self, number: int) -> int:
        self.calls.append("book")
        if self.during is not None and self.calls == ["book"]:
            self.during()
        return number

    @book.undo
    def unbook(self, book: int | None) -> None:
        self.calls.append(f"unbook {book}")

    @step
    def pay(self, book: int) -> int:
        self.calls.append("pay")
        return book * 10


class Failing(MemoryJournal):
    """Cannot be written so many times."""

    down = 0.0
    refusals = 0

    def append(self, id: str, bodies: Sequence[bytes], status: str, heard: int | None = None) -> Pending[None]:  # noqa: A002
        if self.down > 0:
            self.down -= 1
            self.refusals += 1
            return refused(JournalUnavailable("", id, "the disk is full"))
        return super().append(id, bodies, status, heard)


class Dying(MemoryJournal):
    """Dies as it is about to write that a saga has begun."""

    def start(self, id: str, saga: str, body: bytes) -> Pending[Opened]:  # noqa: A002
        self.die()
        return super().start(id, saga, body)


class Slow(MemoryJournal):
    """Says that a saga has begun when it is told to."""

    begun: Pending[Any] | None = None

    def start(self, id: str, saga: str, body: bytes) -> Pending[Opened]:  # noqa: A002
        self.answer = super().start(id, saga, body).answer
        self.begun = Pending()
        return self.begun


class Holding(MemoryJournal):
    """Writes the next records when it is told to."""

    write: Callable[[], None] | None = None

    def append(self, id: str, bodies: Sequence[bytes], status: str, heard: int | None = None) -> Pending[None]:  # noqa: A002
        pending: Pending[None] = Pending()

        def write() -> None:
            self.write = None
            pending.settle(MemoryJournal.append(self, id, bodies, status, heard).answer)

        self.write = write
        return pending


def refused(error: Exception) -> Pending[Any]:
    pending: Pending[Any] = Pending()
    pending.settle(error)
    return pending


async def passing(gate: anyio.Event | None) -> None:
    """Through a gate, when it opens."""
    if gate is not None:
        await gate.wait()


async def until(condition: Callable[[], object]) -> None:
    """Let the others go on, until something holds."""
    for _ in range(2_000):
        if condition():
            return
        await anyio.lowlevel.checkpoint()
    raise AssertionError("it never comes to that")


async def some_looks() -> None:
    """Time enough for a runner to look for work a few times."""
    await clock.asleep(1.0)


def status_of(journal: Journal) -> list[str]:
    """How all its sagas stand."""
    return [summary.status for summary in journal.list().wait()]
