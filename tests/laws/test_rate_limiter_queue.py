"""The laws of waiting for one's turn: in order, in time, and without a trace when given up."""

import asyncio
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience import Rate, RateLimiter
from resilience._ambient import Deadline, ambient
from resilience._clock import clock
from resilience._core.gcra import Place
from resilience._waiters import ThreadWaiter, Waiter
from resilience.errors import OutOfTime, RateLimited, Rejected
from resilience.testing import sandbox
from tests.crowd import beside, nothing, until
from tests.doors import DOORS, FUNCTION_DOORS

every_door = pytest.mark.parametrize("door", DOORS)
every_function_door = pytest.mark.parametrize("door", FUNCTION_DOORS)
every_backend = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@contextmanager
def announced(seconds: float) -> Iterator[None]:
    """A deadline, so many seconds from now."""
    token = ambient.set(Deadline(clock.now() + seconds, enforced=False))
    try:
        yield
    finally:
        ambient.reset(token)


@dataclass(frozen=True)
class Plan:
    """One caller of a scene; its moments are seconds."""

    start: float
    cost: float
    patience: float | None
    cancel: float | None


moments = st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.25])
plans = st.builds(
    Plan,
    start=moments,
    cost=st.sampled_from([0.5, 1.0, 2.0]),
    patience=st.none() | st.sampled_from([0.3, 1.1, 4.0]),
    cancel=st.none() | moments,
)


@pytest.mark.law(5, 37, 38, 39, 68, 92)
@every_backend
@given(scene=st.lists(plans, min_size=1, max_size=9), burst=st.sampled_from([2.0, 3.0]))
def test_whoever_gives_up_and_whenever_the_others_lose_nothing(backend: str, scene: list[Plan], burst: float) -> None:
    limiter = RateLimiter(2, burst=burst, max_wait=5.0)
    taken = list[tuple[float, float]]()

    async def caller(plan: Plan) -> None:
        await clock.asleep(plan.start)
        came = time.elapsed
        with anyio.CancelScope() as scope:
            if plan.cancel is not None:
                tasks.start_soon(cancel, plan.cancel, scope)
            with announced(1e6 if plan.patience is None else plan.patience):
                try:
                    async with limiter.guard(plan.cost):
                        taken.append((time.elapsed, plan.cost))
                        assert plan.patience is None or time.elapsed < came + plan.patience
                except Rejected:
                    pass

    async def cancel(after: float, scope: anyio.CancelScope) -> None:
        await clock.asleep(after)
        scope.cancel()

    async def main() -> None:
        nonlocal tasks
        async with anyio.create_task_group() as tasks:
            for plan in scene:
                tasks.start_soon(caller, plan)

    tasks: Any = None
    with sandbox() as time:
        anyio.run(main, backend=backend)
        assert limiter.stats.waiting == 0
        for begin, _ in taken:  # at burst + rate of any window
            for end in {moment for moment, _ in taken if moment >= begin}:
                total = sum(cost for moment, cost in taken if begin <= moment <= end)
                assert total <= burst + 2 * (end - begin) + 1e-6
        spent = 0.0
        last = 0.0
        for moment, cost in taken:
            spent, last = max(0.0, spent - 2 * (moment - last)) + cost, moment
        left = burst - max(0.0, spent - 2 * (time.elapsed - last))
        assert limiter.stats.available == pytest.approx(left)  # as if the others had never come


@pytest.mark.law(27)
@every_backend
@given(costs=st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=2, max_size=10))
def test_first_in_is_first_out_whatever_it_costs_and_each_at_its_moment(backend: str, costs: list[float]) -> None:
    limiter = RateLimiter(1, burst=3, max_wait=None)
    order = list[tuple[int, float]]()

    async def caller(number: int, cost: float) -> None:
        await clock.asleep(number / 1024)
        async with limiter.guard(cost):
            order.append((number, time.elapsed))

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for number, cost in enumerate(costs):
                tasks.start_soon(caller, number, cost)

    with sandbox() as time:
        anyio.run(main, backend=backend)
    assert [number for number, _ in order] == list(range(len(costs)))
    for count, (_, moment) in enumerate(order):
        assert moment <= max(count / 1024, sum(costs[: count + 1]) - 3) + 0.02


@pytest.mark.law(27)
def test_a_cheap_newcomer_does_not_overtake_who_waits_for_more() -> None:
    limiter = RateLimiter(1, burst=3, max_wait=10.0)
    order = list[str]()

    async def caller(name: str, cost: float) -> None:
        async with limiter.guard(cost):
            order.append(name)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            limiter.admit(2)
            tasks.start_soon(caller, "dear", 3)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            tasks.start_soon(caller, "cheap", 1)

    with sandbox():
        anyio.run(main)
    assert order == ["dear", "cheap"]


@pytest.mark.law(27)
@every_function_door
def test_a_newcomer_takes_nothing_while_somebody_waits_and_may_again_when_nobody_does(door: Any) -> None:
    limiter = RateLimiter(1, burst=3, max_wait=2.5)
    with sandbox():
        limiter.admit(2)
        place = Place[Waiter](ThreadWaiter(), 3.0, ends=inf)
        assert limiter.meter.enter(place)
        with pytest.raises(RateLimited, match="max_wait"):  # one permit is there, but its turn would come in 3 s
            door(limiter, nothing)
        limiter.meter.give_up(place)
        assert limiter.meter.door is limiter.meter.gauges[0]
        door(limiter, nothing)
        assert limiter.stats.available == 0.0


@pytest.mark.law(92)
@every_function_door
def test_past_the_deadline_a_permit_that_is_free_is_left_to_others(door: Any) -> None:
    limiter = RateLimiter(3)
    with sandbox(), announced(-1.0):
        with pytest.raises(OutOfTime):
            door(limiter, nothing)
        assert limiter.stats.available == 3.0


@pytest.mark.law(37, 92)
@every_door
def test_who_cannot_be_in_time_is_refused_at_once(door: Any) -> None:
    limiter = RateLimiter(1, max_wait=1.5)
    with sandbox() as time:
        limiter.charge(3)  # the next in 3 s
        with pytest.raises(RateLimited, match=r"more than max_wait=1\.5 s") as caught:
            door(limiter, nothing)
        assert caught.value.retry_after == 3.0
        time.advance(2.0)
        with announced(0.9), pytest.raises(OutOfTime, match="after the deadline") as late:
            door(limiter, nothing)
        assert late.value.retry_after == 1.0
        assert time.elapsed == 2.0
        with announced(1.1):
            door(limiter, nothing)
        assert time.elapsed == 3.0


@pytest.mark.law(37)
@every_door
def test_a_wait_of_exactly_what_is_allowed_is_allowed(door: Any) -> None:
    limiter = RateLimiter(10, burst=1, max_wait=0.1)
    with sandbox() as time:
        for _ in range(5):
            door(limiter, nothing)
        assert time.elapsed == pytest.approx(0.4)


@pytest.mark.law(38)
@every_backend
def test_who_is_cancelled_leaves_no_debt_and_those_behind_move_up(backend: str) -> None:
    limiter = RateLimiter(1, max_wait=None)
    done = list[tuple[str, float]]()

    async def caller(name: str) -> None:
        async with limiter.guard():
            done.append((name, time.elapsed))

    async def main() -> None:
        limiter.admit()
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:
                for name in "abc":
                    tasks.start_soon(caller, name)
                    await anyio.lowlevel.checkpoint()
                async with anyio.create_task_group() as doomed:
                    doomed.start_soon(caller, "x")
                    await clock.asleep(0.5)
                    scope.cancel()
            tasks.start_soon(caller, "d")

    with sandbox() as time:
        anyio.run(main, backend=backend)
    assert [name for name, _ in done] == ["a", "b", "c", "d"]
    assert [moment for _, moment in done] == pytest.approx([1, 2, 3, 4])


@pytest.mark.law(26, 38)
@given(release=st.integers(0, 3), cancel=st.integers(0, 6))
def test_a_native_cancellation_at_any_moment_around_the_grant_takes_nothing(release: int, cancel: int) -> None:
    limiter = RateLimiter(Rate(1, per=1000), max_wait=None)
    done = list[str]()

    async def work() -> None:
        done.append("x")

    async def main() -> None:
        held = limiter.admit()
        task = asyncio.ensure_future(limiter.acall(work))
        for turn in range(8):
            if turn == release + 1:
                held.release()
            if turn == cancel + 1:
                task.cancel()
            await asyncio.sleep(0)
        await asyncio.gather(task, return_exceptions=True)
        assert limiter.stats.waiting == 0
        assert round(limiter.stats.available) == 1 - len(done)

    with sandbox():
        asyncio.run(main())


def call_in_a_thread(limiter: RateLimiter, work: Callable[[], Any]) -> None:
    limiter.call(work)


def call_in_a_loop(backend: str, limiter: RateLimiter, work: Callable[[], Any]) -> None:
    async def awork() -> None:
        work()

    anyio.run(limiter.acall, awork, backend=backend)


CALLERS: dict[str, Callable[[RateLimiter, Callable[[], Any]], None]] = {
    "thread": call_in_a_thread,
    "asyncio": functools.partial(call_in_a_loop, "asyncio"),
    "trio": functools.partial(call_in_a_loop, "trio"),
}


@pytest.mark.law(24, 70)
def test_threads_and_loops_of_both_kinds_wait_in_one_queue() -> None:
    limiter = RateLimiter(Rate(1, per=1000), max_wait=None)
    order = list[str]()
    callers = [(f"{kind} {number}", call) for number in range(2) for kind, call in CALLERS.items()]
    with sandbox(autojump=False) as time:
        limiter.admit()
        crowd = list[threading.Thread]()
        for name, call in callers:
            crowd.append(threading.Thread(target=call, args=(limiter, functools.partial(order.append, name))))
            crowd[-1].start()
            until(lambda: limiter.stats.waiting == len(crowd))
        limiter.configure(Rate(100, per=1000, burst=1))
        for count in range(len(callers)):
            assert len(order) == count
            time.advance(10)
            until(lambda: len(order) == count + 1)  # noqa: B023 - called at once
        for thread in crowd:
            thread.join()
    assert order == [name for name, _ in callers]


@pytest.mark.law(22, 37)
@every_backend
def test_a_slower_rate_sees_off_at_once_whose_turn_cannot_come_and_a_faster_one_lets_in_earlier(backend: str) -> None:
    limiter = RateLimiter(1, max_wait=3.5)
    ends = list[tuple[str, float]]()

    async def caller(name: str) -> None:
        try:
            async with limiter.guard():
                ends.append((name, time.elapsed))
        except RateLimited:
            ends.append((f"not {name}", time.elapsed))

    async def main() -> None:
        limiter.admit()
        async with anyio.create_task_group() as tasks:
            for name in "abc":
                tasks.start_soon(caller, name)
                await clock.asleep(0)
                await clock.asleep(0.0625)
            limiter.configure(0.5)
            await clock.asleep(1.0)
            limiter.configure(100, burst=1)

    with sandbox() as time:
        anyio.run(main, backend=backend)
    assert sorted(name for name, _ in ends) == ["a", "not b", "not c"]
    moments = dict(ends)
    assert moments["not b"] == moments["not c"] == pytest.approx(0.1875)
    assert 1.1 < moments["a"] < 1.3


@pytest.mark.law(37)
@every_backend
def test_a_debt_sees_off_at_once_whose_turn_cannot_come_any_more(backend: str) -> None:
    limiter = RateLimiter(1, max_wait=2.0)
    ends = list[float]()

    async def caller() -> None:
        with pytest.raises(RateLimited):
            await limiter.aadmit()
        ends.append(time.elapsed)

    async def main() -> None:
        limiter.admit()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(caller)
            await clock.asleep(0.5)
            limiter.charge(10)

    with sandbox() as time:
        anyio.run(main, backend=backend)
    assert ends == [0.5]


@pytest.mark.law(96)
def test_a_closed_loop_that_stands_first_does_not_hold_up_the_others() -> None:
    limiter = RateLimiter(1, max_wait=None)
    done = list[float]()
    with sandbox() as time:
        limiter.admit()
        loop = asyncio.new_event_loop()
        gone = loop.create_task(limiter.aadmit())
        loop.run_until_complete(asyncio.sleep(0))  # it queues; then its loop stops for ever
        assert limiter.stats.waiting == 1
        limiter.admit().succeed()
        done.append(time.elapsed)
        assert 2.0 <= done[0] <= 6.0
        gone.cancel()
        loop.run_until_complete(asyncio.gather(gone, return_exceptions=True))
        loop.close()
        assert limiter.stats.waiting == 0


@pytest.mark.law(96)
@pytest.mark.parametrize("behind", [False, True])
def test_a_loop_that_is_closed_while_its_caller_stands_first_holds_up_nobody(behind: bool) -> None:
    limiter = RateLimiter(1, max_wait=None)
    with sandbox(autojump=not behind) as time:
        limiter.admit()
        loop = asyncio.new_event_loop()
        gone = loop.create_task(limiter.aadmit())
        loop.run_until_complete(asyncio.sleep(0))
        assert limiter.stats.waiting == 1
        if behind:  # already in line when the loop is closed
            with beside(lambda: limiter.admit().succeed()):
                until(lambda: limiter.stats.waiting == 2)
                loop.close()
                time.advance(1.0)
        else:
            loop.close()
            limiter.admit().succeed()
        assert time.elapsed == pytest.approx(1.0)
        assert limiter.stats.waiting == 0
        gone._log_destroy_pending = False  # it is what this is about


@pytest.mark.law(27, 96)
def test_one_that_was_passed_over_gets_its_old_turn_when_it_comes() -> None:
    limiter = RateLimiter(1, max_wait=None)
    with sandbox() as time:
        limiter.admit()
        loop = asyncio.new_event_loop()
        slept = loop.create_task(limiter.aadmit())
        loop.run_until_complete(asyncio.sleep(0))
        limiter.admit()
        assert limiter.stats.waiting == 0
        lease = loop.run_until_complete(slept)
        lease.succeed()
        loop.close()
        assert time.elapsed < 10


@pytest.mark.law(38)
def test_a_sync_wait_that_is_interrupted_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = RateLimiter(1, max_wait=None)

    def interrupted(*_: Any) -> bool:
        raise KeyboardInterrupt

    with sandbox() as time:
        limiter.admit()
        with monkeypatch.context() as patch:
            patch.setattr(clock, "acquire", interrupted)
            for _ in range(4):
                with pytest.raises(KeyboardInterrupt):
                    limiter.admit()
        assert limiter.stats.waiting == 0
        limiter.admit()
        assert time.elapsed == 1.0


@pytest.mark.law(70)
@pytest.mark.law(38)
def test_who_is_interrupted_just_after_its_turn_gives_back_what_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = RateLimiter(1, max_wait=5)
    with sandbox():
        limiter.admit()
        meter = limiter.meter
        has = type(meter).has

        def has_and_is_interrupted(*args: Any) -> float | None:
            nap = has(*args)
            if nap is None:
                raise KeyboardInterrupt
            return nap

        monkeypatch.setattr(type(meter), "has", has_and_is_interrupted)
        with pytest.raises(KeyboardInterrupt):
            limiter.admit()
        assert limiter.stats.available == 1


def test_threads_that_wait_are_woken_one_by_one() -> None:
    limiter = RateLimiter(1000, burst=1, max_wait=None)
    done = list[int]()

    def client() -> None:
        for _ in range(10):
            limiter.call(nothing)
            done.append(1)

    with beside(client, client, client):
        pass
    assert len(done) == 30
    assert limiter.stats.waiting == 0


@pytest.mark.law(37)
@every_backend
def test_who_would_be_too_late_behind_the_others_does_not_even_queue(backend: str) -> None:
    limiter = RateLimiter(1, max_wait=1.5)
    refused_at = list[float]()

    async def caller() -> None:
        try:
            await limiter.aadmit()
        except RateLimited as refusal:
            assert refusal.retry_after == 2.0
            refused_at.append(time.elapsed)

    async def main() -> None:
        limiter.admit()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(caller)
            tasks.start_soon(caller)

    with sandbox() as time:
        anyio.run(main, backend=backend)
    assert refused_at == [0.0]
