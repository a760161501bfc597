"""Around a saga: a start that never was, a thread left behind, a class that is gone, a saga inside, the end told."""

import threading
from dataclasses import dataclass, field

import pytest

from resilience.errors import JournalUnavailable, LostOwnership, SagaFailed
from resilience.saga import MemoryJournal, NoEffect, Saga, SagaRunner, Summary, message, nested, step
from resilience.testing import sandbox
from tests.saga.trips import Trip, some_looks, status_of


@pytest.mark.scenario(1)
@pytest.mark.anyio
async def test_a_start_that_was_not_written_never_was() -> None:
    journal, saga = MemoryJournal(), Trip()
    journal.die()
    with pytest.raises(JournalUnavailable):
        await saga.start(7, id="one", journal=journal)
    another = journal.process()
    assert (saga.calls, await another.read("one")) == ([], None)
    assert await saga.run(8, id="one", journal=another) == 80  # the id is free, also for another input


@dataclass
class Slow(Saga[int, int], name="slow"):
    """A plain step that its limit cannot stop: its thread goes on until it is undone, and returns then."""

    calls: list[str] = field(default_factory=list[str])
    go_on: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    @step(within=5)
    def charge(self, euros: int) -> int:
        self.go_on.wait(60)
        self.calls.append("charged late")
        self.over.set()
        return euros

    @charge.undo
    def refund(self, charge: int | None, certain: bool) -> None:
        self.calls.append(f"refund {charge} {certain}")
        self.go_on.set()
        self.over.wait(60)

    @step(undo=None)
    def confirm(self, charge: int) -> int:
        return charge


@pytest.mark.scenario(18)
@pytest.mark.anyio
async def test_what_a_thread_returns_after_its_limit_is_not_looked_at() -> None:
    journal, saga = MemoryJournal(), Slow()
    with sandbox(), pytest.raises(SagaFailed) as caught:
        await saga.run(7, id="one", journal=journal)
    assert "TimedOut" in repr(caught.value.cause)
    assert (saga.calls, status_of(journal)) == (["refund None False", "charged late"], ["undone"])


class Asks(Saga[int, str], name="asks"):
    answer = message(str)

    @step(undo=None)
    async def note(self, number: int, answer: str) -> str:
        return f"{number}: {answer}"


@pytest.mark.scenario(28)
@pytest.mark.anyio
async def test_a_saga_whose_class_is_gone_stays_listed_until_it_is_back() -> None:
    with sandbox():
        first = MemoryJournal()
        await Asks().start(7, id="one", journal=first)
        first.die()
        journal = first.process()
        async with SagaRunner(journal, Trip()):
            await some_looks()
        [left] = await journal.list(status=["open"])
        assert (left.saga, left.orphan) == ("asks", True)
        async with SagaRunner(journal, Asks()):
            await Asks.answer.send("one", "yes", journal=journal)
            assert await Asks.handle("one", journal=journal).result() == "7: yes"


@dataclass
class Inner(Saga[int, str], name="inner"):
    calls: list[str]

    @step
    def load(self, number: int) -> str:
        return self._call(f"load {number}")

    @load.undo
    def unload(self) -> None:
        self._call("unload")

    @step
    def drive(self, load: str) -> str:
        return self._call("drive")

    @drive.undo
    def turn_round(self) -> None:
        self._call("turn round")

    def _call(self, call: str) -> str:
        self.calls.append(call)
        return call


@dataclass
class Outer(Saga[int, str], name="outer"):
    """Its last step but one is refused; before that, the power may go."""

    power: MemoryJournal | None = None
    calls: list[str] = field(default_factory=list[str])

    @nested
    def deliver(self, number: int) -> tuple[Inner, int]:
        return Inner(self.calls), number

    @step(undo=None)
    def bill(self, deliver: str) -> str:
        if self.power is not None:
            self.power.die()
        raise NoEffect("no address")

    @step(undo=None)
    def file(self, bill: str) -> str:
        return bill


@pytest.mark.scenario(34)
def test_a_saga_that_completed_inside_another_is_undone_with_it() -> None:
    saga = Outer()
    with pytest.raises(SagaFailed, match="no address"):
        saga.run_sync(7, id="one", journal=MemoryJournal())
    assert saga.calls == ["load 7", "drive", "turn round", "unload"]


@pytest.mark.scenario(34)
def test_also_when_another_process_goes_back() -> None:
    journal = MemoryJournal()
    before, after = Outer(power=journal), Outer()
    with pytest.raises(LostOwnership):
        before.run_sync(7, id="one", journal=journal)
    with pytest.raises(SagaFailed, match="no address"):
        after.run_sync(7, id="one", journal=journal.process())
    assert (before.calls, after.calls) == (["load 7", "drive"], ["turn round", "unload"])


@pytest.mark.scenario(35)
@pytest.mark.anyio
async def test_an_end_is_told_until_it_was_heard_and_by_another_process_if_need_be() -> None:
    first, heard = MemoryJournal(), list[tuple[str, str]]()
    await Trip().run(7, id="one", journal=first)
    first.die()
    journal = first.process()

    async def hear(ended: Summary) -> None:
        heard.append((ended.id, ended.status))
        if len(heard) < 2:
            raise OSError("nobody listens")

    with sandbox():
        async with SagaRunner(journal, Trip(), on_end=hear):
            await some_looks()
    assert (heard, await journal.untold()) == ([("one", "completed")] * 2, [])
