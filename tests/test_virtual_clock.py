"""The test kit: a clock that moves only when told to, chance that repeats itself, and policies that start calm."""

import math
import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience import Bulkhead, CircuitBreaker, Pipeline, RetryBudget, deadline, remaining, retry
from resilience._clock import clock
from resilience.testing import instant, sandbox
from tests.doors import call
from tests.retry_doors import RETRY_DOORS, Passing, Script, outcome_of

EIGHTHS = st.integers(0, 80).map(lambda eighth: eighth / 8)


@given(steps=st.lists(EIGHTHS, max_size=6))
def test_time_moves_when_told_to_and_both_clocks_together(steps: list[float]) -> None:
    with sandbox() as time:
        wall = clock.wall()
        for done, step in enumerate(steps):
            assert time.elapsed == clock.now() - 1_000.0 == clock.wall() - wall == sum(steps[:done])
            time.advance(step)
        assert clock.now() == time.now() == 1_000.0 + sum(steps)


@pytest.mark.law(12)
def test_the_wall_clock_may_be_stepped_and_nothing_notices() -> None:
    with sandbox() as time:
        time.wall_start -= 3_600.0
        assert (clock.wall(), clock.now()) == (time.wall_start, 1_000.0)


def test_the_next_sandbox_begins_anew_and_the_system_clock_is_back() -> None:
    before = clock.now
    with sandbox() as outer:
        outer.advance(timedelta(minutes=1))
        with sandbox() as inner:
            assert (inner.elapsed, clock.now()) == (0.0, 1_000.0)
            inner.advance(5.0)
        assert (outer.elapsed, clock.now()) == (60.0, 1_060.0)
    assert clock.now is before


def test_it_is_left_also_by_an_error() -> None:
    before = clock.now
    with pytest.raises(Passing), sandbox():
        raise Passing
    with pytest.raises(Passing), instant():
        raise Passing
    assert clock.now is before


@pytest.mark.parametrize(
    ("seconds", "error"), [(-1, ValueError), (math.nan, ValueError), (math.inf, ValueError), ("1", TypeError)]
)
def test_time_goes_forward_by_what_is_a_duration(seconds: Any, error: type[Exception]) -> None:
    with sandbox() as time, pytest.raises(error, match="seconds"):
        time.advance(seconds)


@given(seed=st.integers())
def test_chance_repeats_itself(seed: int) -> None:
    with sandbox(seed):
        first = [clock.random() for _ in range(5)]
    with sandbox(seed):
        assert [clock.random() for _ in range(5)] == first
    assert all(0.0 <= roll < 1.0 for roll in first)


@pytest.mark.anyio
@pytest.mark.parametrize("autojump", [True, False])
async def test_tasks_wake_in_order_at_their_moment(autojump: bool) -> None:
    naps = [3.0, 0.0, 1.5, 1.5, 0.125, 20.0]
    woken: list[tuple[float, int]] = []

    async def sleeper(number: int, nap: float) -> None:
        await clock.asleep(nap)
        woken.append((time.elapsed, number))

    with sandbox(autojump=autojump) as time:
        async with anyio.create_task_group() as tasks:
            for number, nap in enumerate(naps):
                tasks.start_soon(sleeper, number, nap)
            if not autojump:
                for step in (0.0, 0.125, 1.375, 1.5, 17.0):
                    await anyio.wait_all_tasks_blocked()
                    time.advance(step)
        assert time.elapsed == 20.0
    assert [moment for moment, _ in woken] == sorted(naps)  # of equal ones, trio starts either first
    assert sorted(woken) == sorted((nap, number) for number, nap in enumerate(naps))


@pytest.mark.anyio
async def test_a_sleep_that_is_cancelled_leaves_no_timer_behind() -> None:
    with sandbox() as time:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(clock.asleep, 1_000.0)
                await clock.asleep(1.0)
                scope.cancel()
        assert time.elapsed == 1.0
        await clock.asleep(2.0)
        assert time.elapsed == 3.0
        assert not time._timers


@pytest.mark.anyio
async def test_a_loop_outlives_its_sandboxes() -> None:
    for _ in range(3):
        with sandbox() as time:
            await clock.asleep(5.0)
            assert time.elapsed == 5.0


@pytest.mark.anyio
async def test_a_sandbox_in_a_sandbox_has_a_time_of_its_own() -> None:
    with sandbox() as outer:
        await clock.asleep(5.0)
        with sandbox() as inner:
            await clock.asleep(3.0)
            await clock.asleep(4.0)
        await clock.asleep(2.0)
    assert (outer.elapsed, inner.elapsed) == (7.0, 7.0)


@pytest.mark.anyio
async def test_who_still_waits_when_a_sandbox_is_left_waits_on_beside_the_next_one() -> None:
    async with anyio.create_task_group() as tasks:
        with sandbox() as first:
            tasks.start_soon(clock.asleep, 2.0)
            await anyio.wait_all_tasks_blocked()
        with sandbox() as second:
            await clock.asleep(1.0)
    assert (first.elapsed, second.elapsed) == (2.0, 1.0)


@pytest.mark.anyio
async def test_tasks_that_are_busy_are_not_leapt_over() -> None:
    with sandbox() as time:
        seen: list[float] = []

        async def busy() -> None:
            for _ in range(50):
                await anyio.lowlevel.checkpoint()
                seen.append(time.elapsed)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(busy)
            tasks.start_soon(clock.asleep, 1.0)
        assert set(seen) == {0.0}


def test_a_thread_sleeps_until_somebody_moves_the_time() -> None:
    asleep, awake = threading.Barrier(2), threading.Event()

    def nap() -> None:
        clock.sleep(0.0)
        clock.sleep(-1.0)
        asleep.wait()
        clock.sleep(10.0)
        awake.set()

    with sandbox(autojump=False) as time:
        thread = threading.Thread(target=nap)
        thread.start()
        asleep.wait()
        while not time._timers:
            pass
        time.advance(9.0)
        assert not awake.is_set()
        time.advance(1.0)
        thread.join()
    assert awake.is_set()


@contextmanager
def no_other_threads() -> Iterator[None]:
    """As if nobody else were there: the test runner may have threads of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "_current_frames", dict)
        yield


def test_a_lock_is_waited_for_in_virtual_time() -> None:
    lock = threading.Lock()
    lock.acquire()
    with sandbox() as time:
        assert not clock.acquire(lock, 3.0)
        assert time.elapsed == 3.0
        lock.release()
        assert clock.acquire(lock, 3.0)
        assert time.elapsed == 3.0


def test_a_wait_that_nobody_could_end_is_told() -> None:
    lock = threading.Lock()
    lock.acquire()
    with sandbox(), pytest.raises(RuntimeError, match="deadlock"), no_other_threads():
        clock.acquire(lock, None)


def test_idle_threads_do_not_hold_the_time_up() -> None:
    """A pool's spare worker, an exporter: they stand still, whatever they wait for."""
    leave = threading.Event()
    helper = threading.Thread(target=leave.wait, daemon=True)
    helper.start()
    lock = threading.Lock()
    lock.acquire()
    with sandbox() as time:
        assert not clock.acquire(lock, 3.0)
        assert time.elapsed == 3.0
    leave.set()
    helper.join()


def test_a_thread_that_works_is_waited_for() -> None:
    lock = threading.Lock()
    lock.acquire()

    def work() -> None:
        sum(number % 7 for number in range(100_000))
        lock.release()

    with sandbox(patience=0.1) as time:
        helper = threading.Thread(target=work)
        helper.start()
        assert clock.acquire(lock, 3.0)
        assert time.elapsed == 0.0
        helper.join()


def test_of_two_waiting_threads_each_waits_its_own_time() -> None:
    gave_up: list[tuple[float, float]] = []
    lock = threading.Lock()
    lock.acquire()
    together = threading.Barrier(2)

    def wait(seconds: float) -> None:
        together.wait()
        assert not clock.acquire(lock, seconds)
        gave_up.append((seconds, time.elapsed))

    with sandbox(patience=0.1) as time:
        threads = [threading.Thread(target=wait, args=(seconds,)) for seconds in (2.0, 5.0)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(gave_up) == [(2.0, 2.0), (5.0, 5.0)]


def test_timers_of_a_loop_need_one() -> None:
    with sandbox() as time, pytest.raises(RuntimeError, match="none runs in this thread"):
        time.call_later(None, 1.0, lambda: None)


@pytest.mark.parametrize(
    "make", [lambda: CircuitBreaker(trip=1), lambda: Pipeline(CircuitBreaker(trip=1))], ids=["itself", "in a pipeline"]
)
def test_a_policy_starts_calm_and_is_afterwards_as_it_was(make: Callable[[], Any]) -> None:
    policy = make()
    breaker = policy if isinstance(policy, CircuitBreaker) else policy.layers()[0]
    outcome_of(call, policy, Script("passing"))
    assert breaker.state == "open"
    with sandbox():
        assert breaker.state == "closed"
        assert policy.call(Script("ok")) == "ok"
    assert breaker.state == "open"


def test_what_is_made_inside_is_calm_afterwards() -> None:
    with sandbox() as time:
        breaker, budget = CircuitBreaker(trip=1), RetryBudget(0.0, minimum_per_second=1)
        outcome_of(call, breaker, Script("passing"))
        budget.take()
        time.advance(10**6)
    assert breaker.state == "closed"
    assert budget.stats.balance == 10.0


@pytest.mark.parametrize("door", RETRY_DOORS)
def test_in_a_sandbox_no_retry_waits(door: Callable[..., Any]) -> None:
    with sandbox() as time:
        outcome_of(door, retry(on=Passing, wait=20.0), Script("passing"))
        assert time.elapsed == 40.0


@pytest.mark.parametrize("door", RETRY_DOORS)
def test_instant_skips_each_wait_and_the_time_with_it(door: Callable[..., Any]) -> None:
    breaker = CircuitBreaker(trip=1, cooldown=40.0, jitter=0.0)
    work = Script("passing", "ok")
    with instant():
        before = clock.now()
        assert outcome_of(door, retry(on=Exception, wait=0.0), lambda: breaker.call(work)) == "ok"
        assert 40.0 <= clock.now() - before < 80.0
    assert work.calls == 2


def test_instant_leaves_deadlines_and_states_as_they_are() -> None:
    bulkhead = Bulkhead(1)
    with instant(), deadline(100.0):
        outcome_of(call, retry(on=Passing, wait=30.0), Script("passing"))
        left = remaining()
        assert left is not None
        assert 30.0 < left <= 40.0
        assert bulkhead.stats.in_use == 0


@pytest.mark.anyio
async def test_instant_lets_other_tasks_run() -> None:
    turns: list[str] = []

    async def other() -> None:
        turns.append("other")

    async with anyio.create_task_group() as tasks:
        with instant():
            tasks.start_soon(other)
            await clock.asleep(1_000.0)
            await clock.asleep(1_000.0)
        turns.append("here")
    assert turns == ["other", "here"]


def test_loops_in_two_threads_share_the_clock() -> None:
    ended: dict[str, float] = {}

    async def main(name: str, naps: int) -> None:
        for _ in range(naps):
            await clock.asleep(1.0)
        ended[name] = time.elapsed

    with sandbox() as time:
        thread = threading.Thread(target=anyio.run, args=(main, "trio", 20), kwargs={"backend": "trio"})
        thread.start()
        anyio.run(main, "asyncio", 20, backend="asyncio")
        thread.join()
        assert 20.0 <= time.elapsed <= 41.0
    assert min(ended.values()) >= 20.0


def test_a_sandbox_leaves_the_randomness_of_others_alone() -> None:
    """Tracers draw their ids from it: seeded, the spans of two sandboxes would have the same ids."""
    before = random.getstate()
    with sandbox(seed=1):
        assert random.getstate() == before
