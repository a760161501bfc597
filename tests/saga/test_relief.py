"""While a step runs in its driver's own task, another task takes the driver's place as soon as there is news."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from resilience.errors import LostOwnership, SagaFailed
from resilience.saga import MemoryJournal, Saga, message, step
from resilience.testing import sandbox
from tests.saga.trips import Trip, until

pytestmark = pytest.mark.anyio


class Outcome:
    """What has become of something that was begun in a task of its own."""

    result: Any = None
    error: BaseException | None = None
    over = False

    async def of(self, run: Callable[[], Any]) -> None:
        try:
            self.result = await run()
        except Exception as error:
            self.error = error
        self.over = True


async def test_the_step_goes_on_and_so_does_its_caller() -> None:
    saga, journal, found = Trip(anyio.Event()), MemoryJournal(), Outcome()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(found.of, lambda: saga.run(7, id="one", journal=journal))
        await until(lambda: saga.calls == ["book"])
        with sandbox():
            handle = Trip.handle("one", journal=journal)
            await handle.pause()
            await handle.resume()
        assert not found.over
        assert saga.booking is not None
        saga.booking.set()
    assert (found.result, found.error) == (70, None)
    assert saga.calls == ["book", "pay"]


async def test_a_second_relief_in_one_run() -> None:
    saga, journal, found = Trip(anyio.Event(), anyio.Event()), MemoryJournal(), Outcome()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(found.of, lambda: saga.run(7, id="one", journal=journal))
        with sandbox():
            handle = Trip.handle("one", journal=journal)
            for name, gate in (("book", saga.booking), ("pay", saga.paying)):
                await until(lambda name=name: saga.calls[-1:] == [name])
                await handle.pause()
                await handle.resume()
                assert gate is not None
                gate.set()
    assert (found.result, found.error) == (70, None)


async def test_news_between_two_steps_starts_no_second_driver() -> None:
    saga, found = Trip(), Outcome()

    class Nosy(MemoryJournal):
        """Rings whenever something is written."""

        def append(self, id: str, bodies: Any, status: str, heard: int | None = None) -> Any:  # noqa: A002
            self.send(id, "control", b"{}", "nobody")
            return super().append(id, bodies, status, heard)

    await found.of(lambda: saga.run(7, id="one", journal=Nosy()))
    assert (found.result, found.error) == (70, None)
    assert saga.calls == ["book", "pay"]


async def test_what_goes_wrong_for_the_relief_reaches_the_caller() -> None:
    saga, journal, found = Trip(anyio.Event()), MemoryJournal(), Outcome()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(found.of, lambda: saga.run(7, id="one", journal=journal))
        await until(lambda: saga.calls == ["book"])
        with sandbox():
            await Trip.handle("one", journal=journal).pause()
        journal.die()
        assert saga.booking is not None
        saga.booking.set()
    assert isinstance(found.error, LostOwnership)


place: ContextVar[str] = ContextVar("place", default="nowhere")


@dataclass
class Placed(Saga[int, str]):
    """Its second step says where it is."""

    gate: anyio.Event
    calls: list[str] = field(default_factory=list[str])

    @step(undo=None)
    async def wait(self, number: int) -> int:
        self.calls.append("wait")
        await self.gate.wait()
        return number

    @step
    async def look(self, wait: int) -> str:
        return place.get()


async def test_the_relief_is_in_the_callers_context() -> None:
    saga, journal, found = Placed(anyio.Event()), MemoryJournal(), Outcome()

    async def here() -> str:
        place.set("here")
        return await saga.run(7, id="one", journal=journal)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(found.of, here)
        await until(lambda: saga.calls == ["wait"])
        other = journal.process()
        await anyio.to_thread.run_sync(lambda: other.send("one", "control", b'{"verb":"pause"}', "me").wait())
        await anyio.to_thread.run_sync(lambda: other.send("one", "control", b'{"verb":"resume"}', "me").wait())
        saga.gate.set()
    assert (found.result, found.error) == ("here", None)


class Struck(BaseException):
    """Not what a step may raise: the process is about to end."""


@dataclass
class Striking(Saga[int, int]):
    """Something that is no error of its own ends its step."""

    @step
    async def strike(self, number: int) -> int:
        raise Struck

    @strike.undo
    async def soothe(self) -> None: ...


async def test_an_interrupt_leaves_the_saga_as_it_is() -> None:
    journal = MemoryJournal()
    with pytest.raises(Struck):
        await Striking().run(7, id="one", journal=journal)
    assert len(journal.read("one").wait() or []) == 1


@dataclass
class Asking(Saga[int, str]):
    """Waits an hour for an answer."""

    @step(undo=None)
    async def ask(self, number: int) -> int:
        return number

    answer = message(str, within=3_600)

    @step
    async def hear(self, answer: str) -> str:
        return answer


@dataclass
class PlainAsking(Saga[int, str]):
    """The same in plain code."""

    @step(undo=None)
    def ask(self, number: int) -> int:
        return number

    answer = message(str, within=3_600)

    @step
    def hear(self, answer: str) -> str:
        return answer


class Deaf(MemoryJournal):
    """Tells nobody of letters; one comes by itself, long before the hour is over."""

    asked = 0

    def watch(self, function: Callable[[set[str]], None]) -> Callable[[], None]:
        return lambda: None

    def letters(self, id: str, after: int = 0) -> Any:  # noqa: A002
        found = super().letters(id, after)
        self.asked += 1
        if self.asked == 1:
            self.send(id, "answer", b'"yes"', "me")
        return found


@pytest.mark.scenario(31)
async def test_a_message_that_was_accepted_counts_though_the_time_is_over_when_it_is_seen() -> None:
    with sandbox():
        assert await Asking().run(7, id="one", journal=Deaf()) == "yes"


@pytest.mark.scenario(31)
def test_the_same_in_plain_code(anyio_backend: str) -> None:
    with sandbox():
        assert PlainAsking().run_sync(7, id="one", journal=Deaf()) == "yes"


async def test_a_relief_that_has_to_leave_takes_the_step_along() -> None:
    saga, journal, found = Trip(anyio.Event()), MemoryJournal(), Outcome()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(found.of, lambda: saga.run(7, id="one", journal=journal))
        await until(lambda: saga.calls == ["book"])
        journal.process().send("one", "control", b'{"verb":"abort","reason":"enough"}', "me").wait()
    assert isinstance(found.error, SagaFailed)
    assert saga.calls == ["book"]
