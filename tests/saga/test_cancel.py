"""Somebody gives up: a caller, a scope, a deadline. What was done is undone out of their reach, and then they go on."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
import pytest
import trio

from resilience import timeout
from resilience._clock import clock
from resilience.errors import SagaFailed
from resilience.saga import MemoryJournal, Saga, SagaRunner, step
from resilience.testing import sandbox
from tests.saga.trips import Slow, Trip, some_looks, status_of, until

on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])
on_trio = pytest.mark.parametrize("anyio_backend", ["trio"])


@pytest.mark.scenario(13, 16)
@pytest.mark.anyio
async def test_a_cancelled_scope_undoes_the_step_under_way_and_then_ends() -> None:
    saga, journal = Trip(paying=anyio.Event(), unbooking=anyio.Event()), MemoryJournal()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def give_up() -> None:
                await until(lambda: saga.calls[-1:] == ["pay"])
                scope.cancel()
                with anyio.CancelScope(shield=True):
                    await until(lambda: len(saga.calls) == 3)
                    assert saga.unbooking is not None
                    saga.unbooking.set()

            tasks.start_soon(give_up)
            await saga.run(7, journal=journal)
    assert scope.cancelled_caught
    assert saga.calls == ["book", "pay", "unbook 7 for certain", "unbooked"]
    assert status_of(journal) == ["undone"]


@pytest.mark.scenario(13)
@on_asyncio
@pytest.mark.anyio
async def test_a_cancelled_task_is_cancelled_once_after_all_is_undone(anyio_backend: str) -> None:
    saga, journal = Trip(anyio.Event()), MemoryJournal()
    task = asyncio.create_task(saga.run(7, journal=journal))
    await until(lambda: saga.calls == ["book"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (saga.calls, status_of(journal)) == (["book", "unbook None perhaps"], ["undone"])
    assert task.cancelling() == 1


@pytest.mark.scenario(13)
@on_asyncio
@pytest.mark.anyio
async def test_a_step_that_ends_as_its_caller_is_cancelled_is_undone(anyio_backend: str) -> None:
    gate = anyio.Event()
    saga = Trip(gate)
    task = asyncio.create_task(saga.run(7, journal=MemoryJournal()))
    await until(lambda: saga.calls == ["book"])
    task.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert saga.calls[0] == "book"
    assert [call[:6] for call in saga.calls[1:]] == ["unbook"]


@pytest.mark.scenario(16)
@pytest.mark.anyio
async def test_a_step_that_ends_as_its_scope_is_cancelled_is_kept_or_undone_and_nothing_between() -> None:
    gate = anyio.Event()
    saga, journal = Trip(gate), MemoryJournal()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def go() -> None:
                await saga.run(7, journal=journal)

            tasks.start_soon(go)
            await until(lambda: saga.calls == ["book"])
            scope.cancel()
            gate.set()
    undone = [call for call in saga.calls if call.startswith("unbook")]
    assert (saga.calls.count("book"), len(undone)) == (1, status_of(journal) == ["undone"])
    assert status_of(journal)[0] in {"undone", "completed"}


@pytest.mark.scenario(13)
@on_asyncio
@pytest.mark.anyio
async def test_asyncios_own_timeout_undoes_and_is_a_timeout(anyio_backend: str) -> None:
    saga, journal = Trip(anyio.Event()), MemoryJournal()

    async def hurried() -> None:
        async with asyncio.timeout(None) as limit:
            asyncio.get_running_loop().call_soon(limit.reschedule, 0.0)
            await saga.run(7, journal=journal)

    with pytest.raises(TimeoutError):
        await hurried()
    assert (saga.calls, status_of(journal)) == (["book", "unbook None perhaps"], ["undone"])


@pytest.mark.scenario(16)
@on_trio
@pytest.mark.anyio
async def test_trios_own_scope_undoes_and_ends(anyio_backend: str) -> None:
    saga, journal = Trip(anyio.Event()), MemoryJournal()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: saga.run(7, journal=journal))
            await until(lambda: saga.calls == ["book"])
            scope.cancel()
    assert scope.cancelled_caught
    assert (saga.calls, status_of(journal)) == (["book", "unbook None perhaps"], ["undone"])


@pytest.mark.scenario(14, 16)
@pytest.mark.anyio
async def test_a_second_cancelled_scope_does_not_reach_the_undo() -> None:
    unbooking = anyio.Event()
    saga = Trip(anyio.Event(), unbooking=unbooking)
    outer, inner = anyio.CancelScope(), anyio.CancelScope()

    async def go() -> None:
        with outer, inner:
            await saga.run(7, journal=MemoryJournal())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(go)
        await until(lambda: saga.calls == ["book"])
        inner.cancel()
        await until(lambda: len(saga.calls) == 2)
        outer.cancel()
        await _some_ticks()
        unbooking.set()
    assert saga.calls == ["book", "unbook None perhaps", "unbooked"]


@pytest.mark.scenario(14)
@on_asyncio
@pytest.mark.anyio
async def test_a_task_that_is_cancelled_again_and_again_undoes_all_the_same(anyio_backend: str) -> None:
    unbooking = anyio.Event()
    saga = Trip(anyio.Event(), unbooking=unbooking)
    task = asyncio.create_task(saga.run(7, journal=MemoryJournal()))
    await until(lambda: saga.calls == ["book"])
    for _ in range(3):
        task.cancel()
        await _some_ticks()
    unbooking.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert saga.calls == ["book", "unbook None perhaps", "unbooked"]
    assert task.cancelling() == 3


async def _some_ticks() -> None:
    for _ in range(10):
        await anyio.lowlevel.checkpoint()


# Past the point of no return.


@dataclass
class Final(Saga[int, int]):
    """Its first step is its pivot."""

    gate: anyio.Event
    calls: list[str] = field(default_factory=list[str])

    @step(pivot=True)
    async def charge(self, number: int) -> int:
        self.calls.append("charge")
        return number

    @step
    async def ship(self, charge: int) -> int:
        self.calls.append("ship")
        await self.gate.wait()
        return charge


@pytest.mark.scenario(15)
@pytest.mark.anyio
async def test_past_its_pivot_a_cancelled_saga_goes_on_to_its_end() -> None:
    saga, journal = Final(anyio.Event()), MemoryJournal()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def go() -> None:
                await saga.run(7, journal=journal)

            tasks.start_soon(go)
            await until(lambda: saga.calls == ["charge", "ship"])
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await _some_ticks()
            saga.gate.set()
    assert (saga.calls, status_of(journal)) == (["charge", "ship"], ["completed"])


@pytest.mark.scenario(33)
@pytest.mark.parametrize("interrupt", [True, False])
@pytest.mark.anyio
async def test_a_step_beside_a_failed_one_is_cancelled_or_awaited_as_it_says(interrupt: bool) -> None:
    gate, calls = anyio.Event(), list[str]()

    class Fork(Saga[int, int]):
        @step(after=(), interrupt=interrupt)
        async def left(self, number: int) -> int:
            await gate.wait()
            return number

        @left.undo
        async def unleft(self, left: int | None, certain: bool) -> None:
            calls.append(f"unleft {left} {certain}")

        @step(after=(), undo=None)
        async def right(self, number: int) -> int:
            await anyio.wait_all_tasks_blocked()
            raise RuntimeError("no")

        @step
        async def both(self, left: int, right: int) -> int:
            return left + right

    async with anyio.create_task_group() as tasks:

        async def go() -> None:
            with pytest.raises(SagaFailed):
                await Fork().run(7)

        tasks.start_soon(go)
        await anyio.wait_all_tasks_blocked()
        await _some_ticks()
        assert calls == (["unleft None False"] if interrupt else [])
        gate.set()
    assert calls == (["unleft None False"] if interrupt else ["unleft 7 True"])


# Deadlines.


@dataclass
class Sluggish(Saga[int, int], name="sluggish"):
    """Pays for ever; its undo has a limit of its own."""

    undone: list[int | None] = field(default_factory=list[int | None])

    @step
    async def book(self, number: int) -> int:
        return number

    @book.undo(policy=timeout(5.0), attempts=2)
    async def unbook(self, book: int | None) -> None:
        await clock.asleep(2.0)
        self.undone.append(book)

    @step
    async def pay(self, book: int) -> int:
        await anyio.sleep_forever()
        return book


@pytest.mark.scenario(17)
@pytest.mark.anyio
async def test_an_undo_has_time_of_its_own_when_its_callers_is_over() -> None:
    saga, journal = Sluggish(), MemoryJournal()
    with sandbox(), pytest.raises(TimeoutError):
        async with timeout(1.0).guard():
            await saga.run(7, journal=journal)
    assert (saga.undone, status_of(journal)) == ([7], ["undone"])


@pytest.mark.scenario(17)
@pytest.mark.anyio
async def test_an_undo_has_time_of_its_own_when_its_sagas_is_over() -> None:
    saga, journal = Sluggish(), MemoryJournal()
    with sandbox(), pytest.raises(SagaFailed, match="took too long"):
        await saga.run(7, journal=journal, within=1.0)
    assert (saga.undone, status_of(journal)) == ([7], ["undone"])


# What is no cancellation, and what comes too early for one.


@on_asyncio
@pytest.mark.anyio
async def test_a_step_that_raises_a_cancellation_of_something_else_has_failed(anyio_backend: str) -> None:
    class Spurious(Saga[int, int]):
        @step(undo=None)
        async def book(self, number: int) -> int:
            other = asyncio.create_task(anyio.sleep_forever())
            other.cancel()
            await other
            return number

    with pytest.raises(SagaFailed):
        await Spurious().run(7)


@pytest.mark.parametrize("wait", [True, False], ids=["later", "in the same tick"])
@pytest.mark.anyio
async def test_a_saga_whose_caller_is_cancelled_before_its_start_is_durable_does_not_go_forward(wait: bool) -> None:
    saga, journal, scope = Trip(), Slow(), anyio.CancelScope()

    async def go() -> None:
        with scope:
            await saga.run(7, id="one", journal=journal)

    with sandbox():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(go)
            await until(lambda: journal.begun is not None)
            scope.cancel()
            if wait:
                await _some_ticks()
            assert journal.begun is not None
            journal.begun.settle(journal.answer)
        async with SagaRunner(journal.process(), saga):
            await some_looks()
    assert (saga.calls, status_of(journal)) == ([], ["undone"])


Ending = Callable[[Trip, MemoryJournal], None]


def on_asyncios_loop(saga: Trip, journal: MemoryJournal) -> None:
    async def main() -> None:
        await saga.start(7, id="one", journal=journal)
        await until(lambda: saga.calls == ["book"])

    asyncio.run(main())


def on_trios_loop(saga: Trip, journal: MemoryJournal) -> None:
    async def main() -> None:
        await saga.start(7, id="one", journal=journal)
        await until(lambda: saga.calls == ["book"])

    trio.run(main)


@pytest.mark.scenario(16)
@pytest.mark.parametrize("end", [on_asyncios_loop, on_trios_loop])
def test_a_loop_that_ends_leaves_what_was_started_to_be_taken_up(end: Ending) -> None:
    journal, saga = MemoryJournal(), Trip(anyio.Event())
    end(saga, journal)
    assert (saga.calls, status_of(journal)) == (["book"], ["open"])
    again = Trip()
    with sandbox():
        assert anyio.run(lambda: again.run(7, id="one", journal=journal)) == 70
    assert again.calls == ["book", "pay"]
