"""A saga runs once in a process, whoever comes for it at the same moment: callers, threads, and the runner."""

import threading
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from resilience.saga import MemoryJournal, Saga, SagaRunner, step
from resilience.saga._beginning import Beginning
from resilience.testing import sandbox


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


@pytest.mark.scenario(19, 30)
@pytest.mark.anyio
async def test_of_two_that_come_at_once_one_runs_it_and_both_have_its_result() -> None:
    saga, journal, results = Slow(anyio.Event(), anyio.Event()), MemoryJournal(), list[int]()

    async def come() -> None:
        results.append(await saga.run(7, id="one", journal=journal))

    with sandbox():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(come)
            tasks.start_soon(come)
            await saga.inside.wait()
            saga.go_on.set()
    assert (saga.calls, results) == (["one/work"], [7, 7])


@pytest.mark.scenario(19, 30)
def test_of_two_threads_that_come_at_once_one_runs_it_and_both_have_its_result() -> None:
    saga, journal, results = SlowSync(threading.Event(), threading.Event()), MemoryJournal(), list[int]()

    def come() -> None:
        results.append(saga.run_sync(7, id="one", journal=journal))

    threads = [threading.Thread(target=come) for _ in range(2)]
    for thread in threads:
        thread.start()
    saga.inside.wait(30)
    saga.go_on.set()
    for thread in threads:
        thread.join(30)
    assert (saga.calls, results) == (["one/work"], [7, 7])


class Later:
    """Stands for the runner's tasks: they begin when it is said so."""

    def __init__(self) -> None:
        self.begun: list[Any] = []

    def start_soon(self, *task: Any) -> None:
        self.begun.append(task)


@pytest.mark.scenario(21)
@pytest.mark.anyio
async def test_a_caller_that_comes_before_the_runners_task_begins_waits_for_it() -> None:
    saga, journal, later = Slow(anyio.Event(), anyio.Event()), MemoryJournal(), Later()
    left = Beginning(saga, 7, "one", None)
    await journal.start(left.id, left.name, left.body)
    await journal.release(left.id)
    runner = SagaRunner(journal, saga)
    runner._tasks = later  # type: ignore[assignment] # it has the one method that is used
    await runner._look()
    ((take_up, *arguments),) = later.begun
    saga.go_on.set()
    with sandbox():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: saga.run(7, id="one", journal=journal))
            await anyio.wait_all_tasks_blocked()
            assert saga.calls == []
            await take_up(*arguments)
    assert saga.calls == ["one/work"]
