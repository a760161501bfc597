"""The doors by which a saga is run: what they return and raise, what an id means, and what a bad journal does to it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from resilience import deadline, timeout
from resilience._clock import clock
from resilience.errors import IdConflict, JournalUnavailable, LostOwnership, SagaFailed, SagaStuck
from resilience.saga import Letter, MemoryJournal, NoEffect, Pending, Saga, SagaRunner, current_key, nested, step
from resilience.saga._letters import write_request
from resilience.saga._pending import settled
from resilience.testing import sandbox
from tests.saga.trips import Dying, Failing, Holding, PlainTrip, Trip, some_looks, status_of, until

# What comes out.


@pytest.mark.anyio
async def test_the_step_written_last_gives_the_result() -> None:
    saga, journal = Trip(), MemoryJournal()
    assert await saga.run(7, id="one", journal=journal) == 70
    assert (saga.calls, status_of(journal)) == (["book", "pay"], ["completed"])


def test_plain_code_has_the_same_result() -> None:
    saga, journal = PlainTrip(), MemoryJournal()
    assert saga.run_sync(7, id="one", journal=journal) == 70
    assert (saga.calls, status_of(journal)) == (["book", "pay"], ["completed"])


@pytest.mark.anyio
async def test_it_needs_neither_a_journal_nor_an_id() -> None:
    assert await Trip().run(7) == 70
    assert PlainTrip().run_sync(7) == 70


def test_plain_code_refuses_a_saga_with_coroutine_functions() -> None:
    with pytest.raises(TypeError, match="coroutine function"):
        Trip().run_sync(7)
    with pytest.raises(TypeError, match="coroutine function"):
        Trip().start_sync(7, journal=MemoryJournal())


@dataclass
class Refused(Saga[int, int], name="refused"):
    """The second step fails; the undo of the first fails so many times."""

    error: Exception
    stubborn: int = 0
    calls: list[str] = field(default_factory=list[str])

    @step
    async def book(self, number: int) -> int:
        return number

    @book.undo(attempts=3)
    async def unbook(self, book: int | None) -> None:
        self.calls.append(self.key)
        if len(self.calls) <= self.stubborn:
            raise OSError(f"try {len(self.calls)}")

    @step
    async def pay(self, book: int) -> int:
        raise self.error


@pytest.mark.scenario(7)
@pytest.mark.anyio
async def test_a_refusal_undoes_what_was_before_and_reaches_the_caller_as_it_was_raised() -> None:
    error, journal = NoEffect("no money"), MemoryJournal()
    saga = Refused(error)
    with pytest.raises(SagaFailed, match="no money") as caught:
        await saga.run(7, id="one", journal=journal)
    assert caught.value.__cause__ is caught.value.cause is error
    assert caught.value.undo_errors is None
    assert (saga.calls, status_of(journal)) == (["one/book/undo"], ["undone"])


@pytest.mark.scenario(10, 12)
@pytest.mark.anyio
async def test_what_undos_raised_on_the_way_stands_beside_the_first_cause() -> None:
    error = RuntimeError("first")
    with sandbox(), pytest.raises(SagaFailed) as caught:
        await Refused(error, stubborn=2).run(7, id="one")
    assert caught.value.__cause__ is error
    assert caught.value.undo_errors is not None
    assert [str(one) for one in caught.value.undo_errors.exceptions] == ["try 1", "try 2"]


@pytest.mark.scenario(11, 12)
@pytest.mark.anyio
async def test_an_undo_that_never_works_leaves_the_saga_stuck_with_its_first_cause() -> None:
    error, journal = RuntimeError("first"), MemoryJournal()
    saga = Refused(error, stubborn=99)
    with sandbox(), pytest.raises(SagaStuck) as caught:
        await saga.run(7, id="one", journal=journal)
    assert (caught.value.parked, caught.value.__cause__) == (("book",), error)
    assert (saga.calls, status_of(journal)) == (["one/book/undo"] * 3, ["stuck"])


@pytest.mark.scenario(12)
@pytest.mark.anyio
async def test_who_asks_later_hears_of_the_first_cause_as_the_journal_remembers_it() -> None:
    journal = MemoryJournal()
    for _ in range(2):
        with pytest.raises(SagaFailed) as caught:
            await Refused(NoEffect("no money")).run(7, id="one", journal=journal)
    assert "NoEffect: no money" in str(caught.value.__cause__)


@pytest.mark.anyio
async def test_a_key_is_known_inside_a_step_and_nowhere_else() -> None:
    keys: list[str] = []

    class Keyed(Saga[int, int]):
        @step
        async def book(self, number: int) -> int:
            keys.extend([self.id, self.key, current_key()])
            return number

    await Keyed().run(7, id="one")
    assert keys == ["one", "one/book", "one/book"]
    with pytest.raises(RuntimeError):
        current_key()


# Ids.


@pytest.mark.scenario(30)
@pytest.mark.anyio
async def test_a_known_id_gives_the_result_without_a_call() -> None:
    first, again, journal = Trip(), Trip(), MemoryJournal()
    assert await first.run(7, id="one", journal=journal) == 70
    assert await again.run(7, id="one", journal=journal.process()) == 70
    assert again.calls == []


@pytest.mark.scenario(30)
@pytest.mark.anyio
async def test_a_known_id_with_another_input_or_of_another_class_is_a_conflict() -> None:
    journal = MemoryJournal()
    await Trip().run(7, id="one", journal=journal)
    with pytest.raises(IdConflict, match="another input"):
        await Trip().run(8, id="one", journal=journal)
    with pytest.raises(IdConflict, match="another input"):
        await Trip().start(8, id="one", journal=journal)
    with pytest.raises(IdConflict, match="a trip of this id"):
        PlainTrip().run_sync(7, id="one", journal=journal)
    with pytest.raises(IdConflict, match="a trip of this id"):
        PlainTrip().start_sync(7, id="one", journal=journal)


@pytest.mark.scenario(30)
@pytest.mark.anyio
async def test_a_conflict_with_a_saga_that_nobody_runs_leaves_it_to_others() -> None:
    first = MemoryJournal()
    await Trip(anyio.Event()).start(7, id="one", journal=first)
    first.die()
    second = first.process()
    with pytest.raises(IdConflict):
        await Trip().run(8, id="one", journal=second)
    assert await Trip().run(7, id="one", journal=second.process()) == 70


@pytest.mark.scenario(30)
@pytest.mark.anyio
async def test_a_saga_that_runs_here_conflicts_with_another_input() -> None:
    saga, journal = Trip(anyio.Event()), MemoryJournal()
    await saga.start(7, id="one", journal=journal)
    with pytest.raises(IdConflict):
        await saga.run(8, id="one", journal=journal)


@pytest.mark.scenario(30)
@pytest.mark.anyio
async def test_run_after_start_waits_for_the_one_saga() -> None:
    saga, journal = Trip(), MemoryJournal()
    await saga.start(7, id="one", journal=journal)
    with sandbox():
        assert await saga.run(7, id="one", journal=journal) == 70
    assert saga.calls == ["book", "pay"]


@pytest.mark.scenario(30)
@pytest.mark.anyio
async def test_two_starts_are_one_saga() -> None:
    saga, journal = Trip(), MemoryJournal()
    handles = [await saga.start(7, id="one", journal=journal) for _ in range(2)]
    with sandbox():
        assert [await handle.result() for handle in handles] == [70, 70]
    assert saga.calls == ["book", "pay"]


@pytest.mark.scenario(30)
def test_four_threads_with_one_id_are_one_saga() -> None:
    for _ in range(30):
        saga, journal, barrier = PlainTrip(), MemoryJournal(), threading.Barrier(4)
        results: list[int] = []

        def go(
            saga: PlainTrip = saga,
            journal: MemoryJournal = journal,
            barrier: threading.Barrier = barrier,
            results: list[int] = results,
        ) -> None:
            barrier.wait(30)
            results.append(saga.run_sync(7, id="one", journal=journal))

        threads = [threading.Thread(target=go) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert (saga.calls, results) == (["book", "pay"], [70] * 4)


# Side by side.


@dataclass
class Fork(Saga[int, int]):
    gate: anyio.Event
    calls: list[str] = field(default_factory=list[str])

    @step(after=(), undo=None)
    async def left(self, number: int) -> int:
        self.calls.append("left")
        await self.gate.wait()
        return 1

    @step(after=(), undo=None)
    async def right(self, number: int) -> int:
        self.calls.append("right")
        await self.gate.wait()
        return 2

    @step
    async def both(self, left: int, right: int) -> int:
        self.calls.append("both")
        return left + right


@pytest.mark.anyio
async def test_two_steps_that_end_in_one_tick_have_run_once_each() -> None:
    saga, results = Fork(anyio.Event()), list[int]()

    async def go() -> None:
        results.append(await saga.run(7, journal=MemoryJournal()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(go)
        await until(lambda: len(saga.calls) == 2)
        saga.gate.set()
    assert (set(saga.calls[:2]), saga.calls[2:], results) == ({"left", "right"}, ["both"], [3])


def test_two_threads_that_end_together_have_run_once_each() -> None:
    calls: list[str] = []

    class Plain(Saga[int, int]):
        @step(after=(), undo=None)
        def left(self, number: int) -> int:
            calls.append("left")
            barrier.wait(30)
            return 1

        @step(after=(), undo=None)
        def right(self, number: int) -> int:
            calls.append("right")
            barrier.wait(30)
            return 2

        @step
        def both(self, left: int, right: int) -> int:
            return left + right

    for _ in range(30):
        barrier = threading.Barrier(2)
        calls.clear()
        assert Plain().run_sync(7) == 3
        assert sorted(calls) == ["left", "right"]


@pytest.mark.anyio
async def test_plain_steps_run_in_worker_threads_of_an_event_loop() -> None:
    threads: set[int] = set()
    saga = PlainTrip(during=lambda: threads.add(threading.get_ident()))
    assert await saga.run(7) == 70
    assert threads
    assert threading.get_ident() not in threads


# The deadline of who begins it.


@pytest.mark.anyio
async def test_what_was_started_has_no_deadline_of_its_beginner() -> None:
    class Late(Saga[int, int]):
        @step(undo=None)
        async def rest(self, number: int) -> int:
            await clock.asleep(5.0)
            return number

        @step(policy=timeout(5.0))
        async def book(self, rest: int) -> int:
            return rest

    with sandbox():
        with deadline(1.0):
            handle = await Late().start(7, journal=MemoryJournal())
        assert await handle.result() == 7


# What cannot be kept, or made.


@pytest.mark.anyio
async def test_a_result_too_large_for_the_journal_is_an_unknown_outcome_and_no_loop() -> None:
    calls: list[str] = []

    class Large(Saga[int, str]):
        @step
        async def book(self, number: int) -> str:
            calls.append("book")
            return "x" * 3_000

        @book.undo
        async def unbook(self, book: str | None, certain: bool) -> None:
            calls.append(f"unbook {certain}")

        @step
        async def pay(self, book: str) -> str:
            return book

    journal = MemoryJournal(largest=2_000)
    with sandbox():
        async with SagaRunner(journal, Large()):
            with pytest.raises(SagaFailed, match="bytes"):
                await Large().run(7, id="one", journal=journal)
            await some_looks()
    assert calls == ["book", "unbook False"]


@pytest.mark.anyio
async def test_a_nested_saga_that_cannot_be_made_fails_its_parent() -> None:
    class Child(Saga[int, int]):
        @step(undo=None)
        async def load(self, number: int) -> int:
            return number

    class Parent(Saga[int, int]):
        @nested
        def deliver(self, number: int) -> tuple[Child, int]:
            raise RuntimeError("no van")

        @step
        async def pay(self, deliver: int) -> int:
            return deliver

    with pytest.raises(SagaFailed, match="no van"):
        await Parent().run(7)


# The journal fails.


@pytest.mark.scenario(1)
@pytest.mark.anyio
async def test_a_process_that_dies_before_the_start_is_written_has_begun_nothing() -> None:
    saga, journal = Trip(), Dying()
    for begin in (saga.run, saga.start):
        with pytest.raises(JournalUnavailable):
            await begin(7, id="one", journal=journal)  # type: ignore[operator]  # two coroutine functions
    assert (saga.calls, status_of(journal.process())) == ([], [])
    assert await saga.run(8, id="one", journal=journal.process()) == 80, "not even its input is remembered"


@pytest.mark.scenario(8)
@pytest.mark.anyio
async def test_nothing_begins_before_what_led_to_it_is_written() -> None:
    saga, journal = Refused(NoEffect("no money")), Holding()

    async def go() -> None:
        with pytest.raises(SagaFailed):
            await saga.run(7, id="one", journal=journal)

    def written() -> str:
        return b" ".join(row.body for row in journal.read("one").wait() or []).decode()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(go)
        for _ in ("the result of the first step", "the turn"):
            await until(lambda: journal.write)
            await anyio.wait_all_tasks_blocked()
            assert (saga.calls, '"turn"' in written()) == ([], False)
            assert journal.write is not None
            journal.write()
        await until(lambda: journal.write)
        assert (saga.calls, '"turn"' in written()) == (["one/book/undo"], True)
        assert journal.write is not None
        journal.write()


@pytest.mark.scenario(22)
@pytest.mark.anyio
async def test_a_journal_that_cannot_be_written_for_a_while_is_waited_for() -> None:
    saga, journal = Trip(), Failing()
    journal.down = 5
    with sandbox():
        assert await saga.run(7, id="one", journal=journal) == 70
    assert (saga.calls, journal.down) == (["book", "pay"], 0)


@pytest.mark.scenario(22)
def test_plain_code_waits_for_it_as_well() -> None:
    saga, journal = PlainTrip(), Failing()
    journal.down = 5
    with sandbox():
        assert saga.run_sync(7, id="one", journal=journal) == 70
    assert (saga.calls, journal.down) == (["book", "pay"], 0)


@pytest.mark.scenario(4, 22)
@pytest.mark.anyio
async def test_a_journal_that_cannot_be_written_for_too_long_is_the_callers_and_the_saga_can_be_taken_up() -> None:
    saga, journal = Trip(), Failing()
    journal.down = float("inf")
    with sandbox():
        with pytest.raises(JournalUnavailable, match="disk is full"):
            await saga.run(7, id="one", journal=journal)
        assert (saga.calls, status_of(journal)) == (["book"], ["open"]), "nothing new begins, and nothing is undone"
        assert await saga.run(7, id="one", journal=journal.process()) == 70
    assert saga.calls == ["book", "book", "pay"]


@pytest.mark.scenario(20)
@pytest.mark.anyio
async def test_an_owner_that_was_replaced_stops_at_its_next_write() -> None:
    first, second, journal = Trip(anyio.Event()), Trip(), MemoryJournal()
    lost: list[str] = []

    async def stand_still() -> None:
        with pytest.raises(LostOwnership):
            await first.run(7, id="one", journal=journal)
        lost.append("one")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stand_still)
        await until(lambda: first.calls == ["book"])
        journal.die()
        assert await second.run(7, id="one", journal=journal.process()) == 70
        assert first.booking is not None
        first.booking.set()
    assert (first.calls, second.calls, lost) == (["book"], ["book", "pay"], ["one"])


@pytest.mark.scenario(20)
def test_a_thread_that_was_replaced_stops_at_its_next_write() -> None:
    journal, second = MemoryJournal(), PlainTrip()

    def replaced() -> None:
        journal.die()
        second.run_sync(7, id="one", journal=journal.process())

    first = PlainTrip(during=replaced)
    with pytest.raises(LostOwnership):
        first.run_sync(7, id="one", journal=journal)
    assert (first.calls, second.calls) == (["book"], ["book", "pay"])


@pytest.mark.scenario(4)
def test_an_interrupt_leaves_the_saga_to_be_taken_up() -> None:
    journal = MemoryJournal()

    def interrupt() -> None:
        raise KeyboardInterrupt

    saga = PlainTrip(during=interrupt)
    with pytest.raises(KeyboardInterrupt):
        saga.run_sync(7, id="one", journal=journal)
    assert saga.run_sync(7, id="one", journal=journal.process()) == 70
    assert saga.calls == ["book", "book", "pay"]


class Deaf(MemoryJournal):
    """A journal whose letters cannot be read a few times."""

    failures = 3

    def letters(self, id: str, after: int = 0) -> Pending[list[Letter]]:  # noqa: A002
        if self.failures:
            self.failures -= 1
            return settled(JournalUnavailable("", "", "locked"))
        return super().letters(id, after)


@dataclass
class Asking(Saga[str, str]):
    """It is asked to pause and to go on while its first step is under way."""

    journal: MemoryJournal
    calls: list[str] = field(default_factory=list[str])

    @step(undo=None)
    def work(self, what: str) -> str:
        self.calls.append(self.key)
        for verb in ("pause", "resume"):
            self.journal.send("one", "control", write_request(verb), "ann").wait()
        return what

    @step
    def give(self, work: str) -> str:
        return work


@pytest.mark.scenario(22)
def test_a_journal_whose_letters_cannot_be_read_now_costs_no_result() -> None:
    journal = Deaf()
    saga = Asking(journal)
    with sandbox():
        assert saga.run_sync("it", id="one", journal=journal) == "it"
    assert (saga.calls, journal.failures) == (["one/work"], 0)


def test_what_is_no_journal_is_refused_with_what_to_write() -> None:
    path: Any = "sagas.db"
    calls: list[Callable[[], object]] = [
        lambda: PlainTrip().run_sync(7, id="one", journal=path),
        lambda: PlainTrip().start_sync(7, id="one", journal=path),
        lambda: PlainTrip.handle_sync("one", journal=path),
        lambda: SagaRunner(path, PlainTrip()),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"journal must be a Journal, got 'sagas\.db'.*SQLiteJournal\(path\)"):
            call()


def test_what_is_no_id_is_refused_for_a_handle() -> None:
    with pytest.raises(ValueError, match="1 to 200 printable characters"):
        PlainTrip.handle_sync("", journal=MemoryJournal())


def test_a_runner_is_given_objects() -> None:
    kind: Any = PlainTrip
    with pytest.raises(TypeError, match="takes objects of saga classes, with their clients"):
        SagaRunner(MemoryJournal(), kind)
    with pytest.raises(ValueError, match="needs an object of each class"):
        SagaRunner(MemoryJournal())
