"""A saga runs once in a process, whoever comes for it at the same moment: callers, threads, and the runner."""

import threading
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from resilience.saga import MemoryJournal, Saga, SagaRunner, step
from resilience.saga._beginning import Beginning
from resilience.saga._conduct import conduct, conduct_sync
from resilience.saga._stage import Stage


@dataclass
class Slow(Saga[int, int]):
    """One step; who comes first stays inside until it is let go."""

    go_on: anyio.Event
    inside: anyio.Event
    calls: list[str] = field(default_factory=list[str])

    @step
    async def work(self, number: int) -> int:
        self.calls.append(self.key)
        if len(self.calls) == 1:
            self.inside.set()
            await self.go_on.wait()
        return number


@dataclass
class SlowSync(Saga[int, int]):
    """The same in plain code."""

    go_on: threading.Event
    inside: threading.Event
    calls: list[str] = field(default_factory=list[str])

    @step
    def work(self, number: int) -> int:
        self.calls.append(self.key)
        if len(self.calls) == 1:
            self.inside.set()
            self.go_on.wait(30)
        return number


def another(saga: Any, journal: MemoryJournal) -> Stage:
    """What somebody holds who has come for the saga at the same time."""
    beginning = Beginning(saga, 7, "one", None)
    return beginning.stage(journal.start(beginning.id, beginning.name, beginning.body).wait())


@pytest.mark.scenario(19)
@pytest.mark.anyio
async def test_of_two_that_come_at_once_one_runs_it() -> None:
    saga, journal = Slow(anyio.Event(), anyio.Event()), MemoryJournal()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: saga.run(7, id="one", journal=journal))
        await saga.inside.wait()
        assert not await conduct(another(saga, journal), journal)
        saga.go_on.set()
    assert saga.calls == ["one/work"]


@pytest.mark.scenario(19)
def test_of_two_threads_that_come_at_once_one_runs_it() -> None:
    saga, journal = SlowSync(threading.Event(), threading.Event()), MemoryJournal()
    thread = threading.Thread(target=lambda: saga.run_sync(7, id="one", journal=journal))
    thread.start()
    saga.inside.wait(30)
    assert not conduct_sync(another(saga, journal), journal)
    saga.go_on.set()
    thread.join(30)
    assert saga.calls == ["one/work"]


class Later:
    """Stands for the runner's tasks: they begin when it is said so."""

    def __init__(self) -> None:
        self.begun: list[Any] = []

    def start_soon(self, *task: Any) -> None:
        self.begun.append(task)


@pytest.mark.scenario(21)
@pytest.mark.anyio
async def test_a_caller_that_comes_before_the_runners_task_begins_has_it_alone() -> None:
    saga, journal, later = Slow(anyio.Event(), anyio.Event()), MemoryJournal(), Later()
    left = Beginning(saga, 7, "one", None)
    await journal.start(left.id, left.name, left.body)
    await journal.release(left.id)
    runner = SagaRunner(journal, saga)
    runner._tasks = later  # type: ignore[assignment] # it has the one method that is used
    await runner._look()
    ((take_up, *arguments),) = later.begun
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: saga.run(7, id="one", journal=journal))
        await saga.inside.wait()
        await take_up(*arguments)
        assert saga.calls == ["one/work"]
        saga.go_on.set()
