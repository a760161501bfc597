"""A runner takes up what others have left, tells of the ends, and lets go of what it runs."""

import threading
from dataclasses import dataclass, field

import anyio
import pytest

from resilience._clock import clock
from resilience.errors import LostOwnership
from resilience.saga import MemoryJournal, Pending, Saga, SagaRunner, Summary, message, step
from resilience.saga._beginning import Beginning
from resilience.saga._drive import Driver
from resilience.saga._letters import write_request
from resilience.testing import sandbox
from tests.saga.trips import Failing, PlainTrip, Trip, some_looks, status_of, until

# Orphans.


async def left(journal: MemoryJournal, *ids: str) -> MemoryJournal:
    """The same journal in another process, after the first has died with these trips under way."""
    for id_ in ids:
        saga = Trip(paying=anyio.Event())
        await saga.start(7, id=id_, journal=journal)
        await until(lambda saga=saga: saga.calls == ["book", "pay"])
    journal.die()
    return journal.process()


@pytest.mark.scenario(21)
@pytest.mark.anyio
async def test_a_runner_takes_up_what_a_dead_process_left_where_it_stopped() -> None:
    saga, journal = Trip(), await left(MemoryJournal(), "one", "two")
    with sandbox() as time:
        async with SagaRunner(journal, saga):
            assert await Trip.handle("one", journal=journal).result() == 70
            assert await Trip.handle("two", journal=journal).result() == 70
        assert time.elapsed <= 0.2
    assert saga.calls == ["pay", "pay"]


@pytest.mark.scenario(21)
@pytest.mark.anyio
async def test_a_runner_that_serves_already_takes_up_what_is_orphaned_later() -> None:
    journal, saga = MemoryJournal(), Trip()
    with sandbox():
        async with SagaRunner(journal.process(), saga) as runner:
            await some_looks()
            await left(journal, "one")
            assert await Trip.handle("one", journal=runner._journal).result() == 70
    assert saga.calls == ["pay"]


@pytest.mark.anyio
async def test_a_runner_leaves_the_sagas_of_other_classes_and_of_live_owners_alone() -> None:
    mine = Trip(anyio.Event())
    journal, others = MemoryJournal(), await left(MemoryJournal(), "one")
    await mine.start(7, id="mine", journal=journal)
    again = Trip()
    with sandbox():
        async with SagaRunner(journal.process(), again), SagaRunner(others, PlainTrip()):
            await some_looks()
    assert (mine.calls, again.calls, status_of(others)) == (["book"], [], ["open"])


@pytest.mark.scenario(13)
@pytest.mark.anyio
async def test_what_was_asked_while_nobody_ran_it_is_heard_when_it_is_taken_up() -> None:
    saga, journal = Trip(paying=anyio.Event()), await left(MemoryJournal(), "one")
    await journal.send("one", "control", write_request("cancel"), "ops")
    with sandbox():
        async with SagaRunner(journal, saga):
            await some_looks()
    assert (saga.calls[-1], status_of(journal)) == ("unbook 7 for certain", ["undone"])


def plain_orphan() -> MemoryJournal:
    """A saga in plain code whose process has died while it booked."""
    journal = MemoryJournal()
    with pytest.raises(LostOwnership):
        PlainTrip(during=journal.die).run_sync(7, id="one", journal=journal)
    return journal.process()


@pytest.mark.scenario(21)
def test_a_runner_in_a_thread_takes_up_orphans_as_well() -> None:
    journal, saga = plain_orphan(), PlainTrip()
    with sandbox(), SagaRunner(journal, saga):
        assert PlainTrip.handle_sync("one", journal=journal).result() == 70
    assert saga.calls == ["book", "pay"]


def test_a_runner_in_a_thread_refuses_coroutine_functions() -> None:
    with pytest.raises(TypeError, match="coroutine function"), SagaRunner(MemoryJournal(), Trip()):
        pass


def test_two_classes_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two sagas are called 'trip'"):
        SagaRunner(MemoryJournal(), Trip(), Trip())


@pytest.mark.anyio
async def test_a_runner_has_no_more_under_way_than_it_may() -> None:
    journal = await left(MemoryJournal(), "one", "two", "three")
    saga = Trip(paying=anyio.Event())
    with sandbox():
        async with SagaRunner(journal, saga, most=2):
            await some_looks()
            assert saga.calls == ["pay", "pay"]
            assert saga.paying is not None
            saga.paying.set()
            await some_looks()
    assert (saga.calls, status_of(journal)) == (["pay"] * 3, ["completed"] * 3)


# Leaving.


@pytest.mark.scenario(16, 21)
@pytest.mark.anyio
async def test_leaving_the_block_leaves_its_sagas_to_others_and_undoes_nothing() -> None:
    journal = await left(MemoryJournal(), "one")
    saga, again = Trip(paying=anyio.Event()), Trip()
    with sandbox():
        async with SagaRunner(journal, saga):
            await until(lambda: saga.calls == ["pay"])
        assert (saga.calls, status_of(journal)) == (["pay"], ["open"])
        async with SagaRunner(journal.process(), again):
            assert await Trip.handle("one", journal=journal).result() == 70
    assert again.calls == ["pay"]


# Breaking down.


@pytest.mark.anyio
async def test_a_saga_whose_runs_break_down_is_tried_less_and_less_often_and_goes_on_in_the_end() -> None:
    journal, saga = Failing(), Trip()
    journal._begin((await left(MemoryJournal(), "one"))._store)
    journal.down, journal.patience = float("inf"), 0.0
    with sandbox():
        async with SagaRunner(journal, saga):
            await clock.asleep(100.0)
            assert 5 <= journal.refusals <= 15
            assert saga.calls == [], "that it was taken up is not written yet"
            journal.down = 0
            await clock.asleep(31.0)
    assert (saga.calls, status_of(journal)) == (["pay"], ["completed"])


# Ends.


@dataclass
class Subscriber:
    """Hears of ends, and fails so many times."""

    failing: int = 0
    told: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    async def hears(self, summary: Summary) -> None:
        self.hears_in_plain_code(summary)

    def hears_in_plain_code(self, summary: Summary) -> None:
        self.told.append((summary.id, summary.status))
        if len(self.told) <= self.failing:
            raise RuntimeError("later")


class Other(Saga[int, int], name="other"):
    @step
    async def pay(self, number: int) -> int:
        return number


@pytest.mark.scenario(35)
@pytest.mark.anyio
async def test_a_runner_tells_of_the_ends_of_its_classes_and_again_after_an_error() -> None:
    journal, ann = MemoryJournal(), Subscriber(failing=1)
    with sandbox():
        async with SagaRunner(journal, Trip(), on_end=ann.hears):
            await Other().run(7, id="other", journal=journal)
            await Trip().run(7, id="one", journal=journal)
            await some_looks()
    assert ann.told == [("one", "completed"), ("one", "completed")]


@pytest.mark.scenario(35)
@pytest.mark.anyio
async def test_an_end_that_nobody_was_told_of_is_told_by_the_next_runner_and_then_never_again() -> None:
    journal, ann, bob = MemoryJournal(), Subscriber(), Subscriber()
    await Trip().run(7, id="one", journal=journal)
    journal.die()
    with sandbox():
        for listener in (ann, bob):
            async with SagaRunner(journal.process(), Trip(), on_end=listener.hears):
                await some_looks()
    assert (ann.told, bob.told) == ([("one", "completed")], [])


@pytest.mark.scenario(35)
@pytest.mark.anyio
async def test_an_end_is_told_when_it_is_durable_and_not_before() -> None:
    journal, ann = Failing(), Subscriber()
    saga = Trip(paying=anyio.Event())
    with sandbox():
        async with SagaRunner(journal, Trip(), on_end=ann.hears), anyio.create_task_group() as tasks:

            async def go() -> None:
                await saga.run(7, id="one", journal=journal)

            tasks.start_soon(go)
            await until(lambda: saga.calls == ["book", "pay"])
            journal.down = float("inf")
            assert saga.paying is not None
            saga.paying.set()
            await some_looks()
            assert ann.told == []
            journal.down = 0
            await clock.asleep(10.0)
    assert ann.told == [("one", "completed")]


@pytest.mark.scenario(35)
def test_a_runner_in_a_thread_tells_of_ends_as_well() -> None:
    journal, ann, twice = MemoryJournal(), Subscriber(failing=1), threading.Event()

    def hears(summary: Summary) -> None:
        if len(ann.told) == 1:
            twice.set()
        ann.hears_in_plain_code(summary)

    PlainTrip().run_sync(7, id="one", journal=journal)
    with sandbox(), SagaRunner(journal, PlainTrip(), on_end=hears):
        assert twice.wait(30)
    assert ann.told == [("one", "completed"), ("one", "completed")]


class Waiting(Saga[int, str]):
    """Waits for an answer, in plain code."""

    @step(undo=None)
    def ask(self, number: int) -> int:
        return number

    answer = message(str)

    @step
    def hear(self, answer: str) -> str:
        return answer


def test_leaving_the_block_in_plain_code_leaves_its_sagas_to_others() -> None:
    journal = MemoryJournal()
    left = Beginning(Waiting(), 7, "one", None)
    journal.start(left.id, left.name, left.body).wait()
    journal.die()
    first, second = journal.process(), journal.process()
    with sandbox():
        with SagaRunner(first, Waiting()):
            handle = Waiting.handle_sync("one", journal=first)
            while handle.status().state != "waiting":
                clock.sleep(0.1)
        assert first.orphans({"Waiting"}).wait() == ["one"]
        with SagaRunner(second, Waiting()):
            Waiting.answer.send_sync("one", "yes", journal=second)
            assert handle.result() == "yes"


@dataclass
class Beside(Saga[int, int]):
    """Two steps side by side, which wait for one another, and for a gate."""

    both: threading.Barrier = field(default_factory=lambda: threading.Barrier(3))
    gate: threading.Event = field(default_factory=threading.Event)
    at_work: set[str] = field(default_factory=set[str])

    @step(after=(), undo=None)
    def left(self, number: int) -> int:
        return self._work("left")

    @step(after=(), undo=None)
    def right(self, number: int) -> int:
        return self._work("right")

    @step(after=(left, right))
    def last(self, number: int) -> int:
        return number

    def _work(self, name: str) -> int:
        self.at_work.add(name)
        self.both.wait()
        self.gate.wait()
        self.at_work.discard(name)
        return 1


class Releasing(MemoryJournal):
    """Opens the gate when its saga is to be let go of, at the latest."""

    saga: Beside
    at_work: set[str] | None = None

    def release(self, id: str) -> Pending[None]:  # noqa: A002
        self.at_work = set(self.saga.at_work)
        self.saga.gate.set()
        return super().release(id)


def test_a_saga_is_not_let_go_of_while_its_steps_are_at_work_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    saga, journal = Beside(), MemoryJournal()
    left = Beginning(saga, 7, "one", None)
    journal.start(left.id, left.name, left.body).wait()
    journal.die()
    other = Releasing()
    other._begin(journal._store)
    other.saga = saga
    resting = Driver._rest

    def rest(driver: Driver) -> None:
        """It has been told to leave, and waits all the same: that is enough."""
        if driver._left:
            saga.gate.set()
        resting(driver)

    monkeypatch.setattr(Driver, "_rest", rest)
    with SagaRunner(other, saga):
        saga.both.wait()
    assert (other.at_work, saga.at_work) == (set(), set())
