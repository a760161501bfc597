"""The answer that a journal owes: settled from anywhere, awaited anywhere, and no virtual clock leaps meanwhile."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio

from resilience._clock import clock, elsewhere
from resilience.errors import JournalUnavailable
from resilience.saga._function import function_of
from resilience.saga._limits import alimited
from resilience.saga._pending import Pending, settle_all, settled
from resilience.testing import VirtualClock, sandbox
from resilience.testing._standstill import Standstill

both_loops = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    yield
    assert not elsewhere


def in_another_thread(function: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


async def until(what: Callable[[], Any]) -> None:
    while not what():
        await anyio.lowlevel.checkpoint()


def test_an_answer_that_is_there_is_had_at_once() -> None:
    pending = settled(42)
    assert (pending.done, pending.wait()) == (True, 42)
    with pytest.raises(StopIteration) as end:  # it does not suspend, so it needs no event loop
        next(pending.__await__())
    assert end.value.value == 42


def test_an_error_is_raised_for_everyone_who_asks() -> None:
    pending: Pending[int] = Pending()
    assert not pending.done
    pending.settle(JournalUnavailable("", "a", "the disk is full"))
    for _ in range(2):
        with pytest.raises(JournalUnavailable, match="full"):
            pending.wait()
        with pytest.raises(JournalUnavailable, match="full"):
            next(pending.__await__())


def test_the_first_answer_stands() -> None:
    pending = settled(1)
    pending.settle(2)
    assert pending.wait() == 1


def test_threads_are_woken() -> None:
    pending: Pending[int] = Pending()
    answers: list[int] = []
    threads = [in_another_thread(lambda: answers.append(pending.wait())) for _ in range(3)]
    while len(pending.waiters) < 3:
        clock.sleep(0)
    pending.settle(7)
    for thread in threads:
        thread.join()
    assert answers == [7, 7, 7]


@pytest.mark.anyio
async def test_tasks_are_woken_from_another_thread() -> None:
    pending: Pending[int] = Pending()
    answers: list[int] = []

    async def ask() -> None:
        answers.append(await pending)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
        await until(lambda: len(pending.waiters) == 3)
        in_another_thread(lambda: pending.settle(7))
    assert answers == [7, 7, 7]


@pytest.mark.anyio
async def test_tasks_are_woken_from_their_own_loop() -> None:
    pending: Pending[int] = Pending()

    async def settle() -> None:
        await until(lambda: pending.waiters)
        pending.settle(7)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(settle)
        assert await pending == 7


class _Sly(list[Any]):
    """A list of waiters that is settled just before, or just after, somebody joins it."""

    def __init__(self, before: Callable[[], Any], after: Callable[[], Any]) -> None:
        self._before = before
        self._after = after

    def append(self, waiter: Any, /) -> None:
        self._before()
        super().append(waiter)
        self._after()


def _sly(when: str) -> Pending[int]:
    pending: Pending[int] = Pending()

    def settle() -> None:
        pending.settle(7)

    pending.waiters = _Sly(settle if when == "before" else int, settle if when == "after" else int)
    return pending


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.anyio
async def test_no_wake_up_is_lost_to_a_task(when: str) -> None:
    with anyio.fail_after(60):
        assert await _sly(when) == 7


@pytest.mark.parametrize("when", ["before", "after"])
def test_no_wake_up_is_lost_to_a_thread(when: str) -> None:
    assert _sly(when).wait() == 7


@both_loops
def test_a_batch_is_one_wake_up_for_each_loop(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pendings: list[Pending[int]] = [Pending() for _ in range(50)]
    calls: list[object] = []
    home, name = (
        (asyncio.BaseEventLoop, "call_soon_threadsafe")
        if backend == "asyncio"
        else (trio.lowlevel.TrioToken, "run_sync_soon")
    )
    real = getattr(home, name)

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(self)
        return real(self, *args, **kwargs)

    async def main() -> int:
        answers: list[int] = []

        async def ask(pending: Pending[int]) -> None:
            answers.append(await pending)

        async with anyio.create_task_group() as tasks:
            for pending in pendings:
                tasks.start_soon(ask, pending)
            await until(lambda: all(pending.waiters for pending in pendings))
            monkeypatch.setattr(home, name, counted)
            settle_all((pending, number) for number, pending in enumerate(pendings))
            monkeypatch.undo()
        assert sorted(answers) == list(range(50))
        return len(calls)

    assert anyio.run(main, backend=backend) == 1


@pytest.mark.anyio
async def test_who_stops_waiting_disturbs_nobody_and_may_wait_again() -> None:
    pending: Pending[int] = Pending()
    answers: list[int] = []

    async def ask() -> None:
        answers.append(await pending)

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as cancelled:
                cancelled.start_soon(ask)
                await until(lambda: pending.waiters)
                scope.cancel()
        assert not elsewhere
        tasks.start_soon(ask)
        tasks.start_soon(ask)
        await until(lambda: len(pending.waiters) == 3)
        in_another_thread(lambda: pending.settle(7))
    assert answers == [7, 7]


@both_loops
def test_a_loop_that_is_gone_disturbs_nobody(backend: str) -> None:
    gone: Pending[int] = Pending()
    there: Pending[int] = Pending()

    async def ask() -> None:
        await gone

    async def leave() -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await until(lambda: gone.waiters)
                scope.cancel()

    anyio.run(leave, backend=backend)
    answers: list[int] = []
    thread = in_another_thread(lambda: answers.append(there.wait()))
    while not there.waiters:
        clock.sleep(0)
    settle_all([(gone, 1), (there, 2)])
    thread.join()
    assert (gone.wait(), answers) == (1, [2])


class _Curious:
    """Lets a thread go on only once the clock has asked many times whether it may leap."""

    def __init__(self, time: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self._often = threading.Event()
        self._real = time._is_busy
        monkeypatch.setattr(time, "_is_busy", self._ask)

    def _ask(self, others: Any) -> bool:
        self.asked += 1
        if self.asked > 50:
            self._often.set()
        return self._real(others)

    def wait(self) -> None:
        assert self._often.wait(60)


@both_loops
def test_a_virtual_clock_stands_still_while_a_task_waits(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with sandbox() as time:
        curious = _Curious(time, monkeypatch)
        moments: list[float] = []

        def work(pending: Pending[int]) -> None:
            curious.wait()
            moments.append(time.elapsed)
            pending.settle(7)

        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(clock.asleep, 5.0)
                for _ in range(3):
                    curious.asked = 0
                    curious._often.clear()
                    pending: Pending[int] = Pending()
                    in_another_thread(lambda pending=pending: work(pending))
                    assert await pending == 7
                    moments.append(time.elapsed)

        anyio.run(main, backend=backend)
        assert moments == [0.0] * 6
        assert time.elapsed == 5.0  # and then it leaps as ever


def test_a_virtual_clock_stands_still_while_a_thread_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    with sandbox() as time:
        curious = _Curious(time, monkeypatch)
        pending: Pending[int] = Pending()
        moments: list[float] = []
        never = threading.Lock()
        never.acquire()

        def work() -> None:
            curious.wait()
            moments.append(time.elapsed)
            pending.settle(7)

        sleeper = in_another_thread(lambda: clock.acquire(never, 5.0))
        in_another_thread(work)
        assert pending.wait() == 7
        sleeper.join()
        assert moments == [0.0]
        assert time.elapsed == 5.0


def test_after_such_work_it_looks_anew_whether_all_threads_stand_still() -> None:
    parked = threading.Lock()
    parked.acquire()
    thread = in_another_thread(parked.acquire)
    with sandbox() as time:
        others = Standstill(time._asleep_threads)
        while not others.look():
            clock.sleep(0)
        elsewhere[parked] = None
        assert time._is_busy(others)
        del elsewhere[parked]
        assert not time._is_busy(others)
        assert not others.look()
    parked.release()
    thread.join()


@both_loops
def test_it_leaps_where_the_other_thread_waits_for_the_clock_itself(backend: str) -> None:
    with sandbox() as time:
        never = threading.Lock()
        never.acquire()
        ended = Pending[bool](timed=True)

        def work() -> None:
            elsewhere[ended] = threading.get_ident()
            ended.settle(clock.acquire(never, 5.0))

        async def ask() -> None:
            elsewhere[ended] = None
            in_another_thread(work)
            assert await ended is False
            del elsewhere[ended]

        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(clock.asleep, 9.0)
                tasks.start_soon(ask)

        anyio.run(main, backend=backend)
        assert time.elapsed == 9.0


@both_loops
def test_it_does_not_leap_while_that_thread_waits_for_one_that_works(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that waits for a limited time has handed its work to a third."""
    asked, gone_on, ended = threading.Lock(), threading.Lock(), threading.Lock()
    for lock in (asked, gone_on, ended):
        lock.acquire()
    in_time: list[bool] = []

    def work() -> None:  # a little for each question, and never twice at the same place
        for _ in range(25):
            asked.acquire()
            gone_on.release()
            asked.acquire()
            gone_on.release()
        ended.release()

    with sandbox() as time:
        real = time._is_busy
        questions = count()
        answered = Pending[bool](timed=True)

        def ask(others: Any) -> bool:
            if threading.current_thread() is threading.main_thread() and next(questions) < 50:
                asked.release()
                gone_on.acquire()
            return real(others)

        def limit() -> None:
            elsewhere[answered] = threading.get_ident()
            answered.settle(clock.acquire(ended, 5.0))

        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(clock.asleep, 9.0)
                elsewhere[answered] = None
                in_another_thread(limit)
                in_time.append(await answered)
                del elsewhere[answered]

        in_another_thread(work)
        monkeypatch.setattr(time, "_is_busy", ask)
        anyio.run(main, backend=backend)
        assert in_time == [True]


@both_loops
def test_it_leaps_for_an_answer_that_comes_by_the_clock(backend: str) -> None:
    with sandbox() as time:
        pending = Pending[int](timed=True)

        async def slow() -> None:
            await clock.asleep(3.0)
            pending.settle(7)

        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(slow)
                assert await pending == 7

        anyio.run(main, backend=backend)
        assert time.elapsed == 3.0


def test_a_plain_step_whose_task_is_closed_before_its_thread_begins_leaves_no_note(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late = list[Callable[[], Any]]()

    async def queue(work: Callable[[], Any]) -> None:
        late.append(work)
        await asyncio.sleep(0)

    class Dull:
        def step(self) -> int:
            return 1

    monkeypatch.setattr(anyio.to_thread, "run_sync", queue)
    call = alimited(function_of(Dull.step, "step"), lambda: 1)
    call.send(None)
    call.close()
    assert not elsewhere
    assert late.pop()() == 1
    assert not elsewhere
