"""The sagas of a kiosk, for those who try the command line on them: names for `--app`."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import anyio

from resilience.saga import Saga, message, pause, step


@dataclass
class Order:
    number: int
    wish: str = "tea"


@dataclass
class Sell(Saga[Order, str], name="sell"):
    """Stands still wherever it is told to."""

    broken: tuple[str, ...] = ()

    @step
    def reserve(self, order: Order) -> int:
        return order.number

    @reserve.undo(attempts=1)
    def release(self, reserve: int | None) -> None:
        self._try("release")

    @step
    def pay(self, order: Order, reserve: int) -> str:
        self._try("pay")
        return f"receipt {reserve}"

    @pay.undo
    def refund(self, pay: str | None) -> None: ...

    @step(pivot=True, attempts=1)
    def pour(self, pay: str) -> str:
        self._try("pour")
        return "tea"

    @step(attempts=1)
    def thank(self, pour: str, pay: str) -> str:
        return f"{pour}, {pay}"

    def _try(self, what: str) -> None:
        if what in self.broken:
            raise ConnectionError(f"\x1b[31m{what} is broken")


class Ask(Saga[Order, str], name="ask"):
    """Waits for an answer, and then for an hour."""

    answer = message(str)
    cooling = pause(3_600)

    @step
    def tell(self, answer: str) -> str:
        return answer


class Slow(Saga[Order, str], name="slow"):
    """Comes to no end by itself."""

    @step
    async def brew(self, order: Order) -> str:
        await anyio.sleep_forever()
        raise AssertionError


@dataclass
class Renamed(Saga[Order, str], name="sell"):
    """What became of `Sell` after somebody was at it."""

    calls: list[str] = field(default_factory=list[str])

    @step
    def book(self, order: Order) -> int:
        self.calls.append("book")
        return order.number

    @book.undo
    def cancel_booking(self, book: int | None) -> None: ...

    @step
    def pay(self, book: int) -> int:
        return book

    @pay.undo
    def refund(self, pay: int | None) -> None: ...

    @step
    def thank(self, pay: int) -> str:
        return str(pay)


class Mix(Saga[Order, str], name="mix"):
    """Says what it does, and does it when it is told to."""

    @step
    async def shake(self, order: Order) -> str:
        return await told("shake")

    @shake.undo
    async def pour_away(self, shake: str | None) -> None:
        say(f"pour away {shake}")

    @step(undo=None)
    async def serve(self, shake: str) -> str:
        return await told("serve")


BARKEEPER = """
    import sys
    _, path, root = sys.argv
    sys.path.insert(0, root)

    import anyio
    from resilience.saga import SagaRunner, SQLiteJournal
    from tests.saga.kiosk import Mix

    async def work():
        async with SagaRunner(journal, Mix()):
            await anyio.sleep_forever()

    with SQLiteJournal(path) as journal:
        anyio.run(work)
"""
"""Runs sagas until it is killed."""


async def told(what: str) -> str:
    """What it is told to do once it has said what it is at."""
    say(what)
    line = await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    return line.strip()


def say(line: str) -> None:
    """A whole line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Numbered(Saga[Order, str], name="sell"):
    """What became of `Sell` when its receipts got numbers."""

    @step
    def reserve(self, order: Order) -> int:
        return order.number

    @reserve.undo
    def release(self, reserve: int | None) -> None: ...

    @step
    def pay(self, reserve: int) -> int:
        return reserve

    @pay.undo
    def refund(self) -> None: ...

    @step(pivot=True)
    def pour(self, pay: int) -> str:
        return "tea"

    @step
    def thank(self, pour: str) -> str:
        return pour


class Needy(Saga[Order, str], name="sell"):
    """Cannot be made without its clients."""

    def __init__(self, till: object) -> None:
        self.till = till

    @step
    def take(self, order: Order) -> str:
        return order.wish


broken = Sell(("pay", "release"))
stuck = Sell(("pour",))
whole = [Sell(), Ask()]
number = 7


def made() -> Iterator[Saga[Order, str]]:
    """Objects that are made when they are asked for."""
    yield Sell()


def failing() -> None:
    """Raises."""
    raise LookupError("no such till")
