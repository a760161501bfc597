"""The laws of nested async timeouts and deadlines: who is cut off, when, and by whom."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import assume, given
from hypothesis import strategies as st

from resilience._ambient import remaining
from resilience._clock import clock
from resilience._deadline import deadline
from resilience._events import CutOff, Overran, Refused
from resilience._timeout import timeout
from resilience.errors import OutOfTime, TimedOut
from resilience.testing import VirtualClock
from tests.virtual import MOMENTS, both_loops, heard, virtually


def layered(layers: list[tuple[str, float]], work: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    """The work under timeouts and deadlines, the first outermost; each timeout is named by its place."""

    def announcing(seconds: float, inner: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
        async def announced() -> Any:
            with deadline(seconds):
                return await inner()

        return announced

    for place, (kind, seconds) in reversed(list(enumerate(layers))):
        work = timeout(seconds, name=str(place))(work) if kind == "timeout" else announcing(seconds, work)
    return work


def expected_cut(layers: list[tuple[str, float]]) -> tuple[float, str]:
    """When layers cut, and who reports it: the outermost timeout of those that are due first."""
    nearest, cut, reporter = float("inf"), float("inf"), ""
    for place, (kind, seconds) in enumerate(layers):
        nearest = min(nearest, seconds)
        if kind == "timeout" and nearest < cut:
            cut, reporter = nearest, str(place)
    return cut, reporter


LAYERS = st.lists(st.tuples(st.sampled_from(["timeout", "deadline"]), MOMENTS), min_size=1, max_size=4)


@pytest.mark.law(53, 54, 55, 76, 92)
@both_loops
@given(layers=LAYERS, takes=MOMENTS, error=st.sampled_from([None, ValueError, TimeoutError]))
def test_the_outermost_limit_that_is_due_first_cuts_and_is_reported(
    backend: str, layers: list[tuple[str, float]], takes: float, error: type[Exception] | None
) -> None:
    cut, reporter = expected_cut(layers)
    own = None if error is None else error("its own")
    finished: list[bool] = []

    async def work() -> str:
        await clock.asleep(takes)
        finished.append(True)
        if own is not None:
            raise own
        return "done"

    async def main(time: VirtualClock) -> None:
        guarded = layered(layers, work)
        with heard() as events:
            try:
                outcome: Any = await guarded()
            except Exception as raised:
                outcome = raised
        if takes < cut:
            assert outcome is own or outcome == "done"
            assert events == []
        else:  # a tie goes to the limit
            assert isinstance(outcome, TimedOut)
            assert (outcome.policy, outcome.seconds) == (reporter, pytest.approx(cut))
            assert events == [CutOff(reporter, outcome.seconds)]
            assert time.elapsed == pytest.approx(cut)
            assert not finished or takes == cut

    virtually(backend, main)


@pytest.mark.law(54, 69, 78)
@both_loops
@given(layers=LAYERS, comes=MOMENTS, native=st.booleans())
def test_the_callers_own_cancellation_stays_one(
    backend: str, layers: list[tuple[str, float]], comes: float, native: bool
) -> None:
    cut, _ = expected_cut(layers)
    assume(comes != cut)

    async def forever() -> None:
        await anyio.Event().wait()

    async def under_scope() -> bool:
        with anyio.CancelScope() as scope:
            clock.expire(scope, comes)
            await layered(layers, forever)()
        return scope.cancelled_caught

    async def under_cancel() -> bool:
        task = asyncio.current_task()
        clock.call_later(task.get_loop(), comes, task.cancel)
        try:
            await layered(layers, forever)()
        except asyncio.CancelledError:
            assert task.uncancel() == 0
            return True
        return False

    async def main(time: VirtualClock) -> None:
        cancelled = under_cancel if native and backend == "asyncio" else under_scope
        with heard() as events:
            if comes < cut:
                assert await cancelled()
                assert events == []
            else:
                with pytest.raises(TimedOut):
                    await cancelled()
                if cancelled is under_cancel:  # it comes all the same, after the limit
                    with pytest.raises(asyncio.CancelledError):
                        await clock.asleep(10)
                    asyncio.current_task().uncancel()

    virtually(backend, main)


@pytest.mark.law(54)
def test_an_inner_limit_whose_timer_rings_first_lets_the_outer_one_go_first() -> None:
    inner, outer = timeout(1.0, name="inner"), timeout(1.0, name="outer")

    async def main(time: VirtualClock) -> None:
        loop = asyncio.get_running_loop()

        def the_inner_timer_rings_first() -> None:
            time._now += 1.0
            table = inner._limits._tables[loop]
            table.look(loop)

        async def work() -> None:
            loop.call_soon(the_inner_timer_rings_first)
            await loop.create_future()

        with pytest.raises(TimedOut) as caught:
            await outer.acall(inner.acall, work)
        assert caught.value.policy == "outer"

    virtually("asyncio", main)


@pytest.mark.law(54, 69)
def test_a_cancellation_in_the_same_turn_as_the_expiry_wins() -> None:
    async def main(time: VirtualClock) -> None:
        task = asyncio.current_task()

        @timeout(1.0)
        async def cancelled_when_it_expires() -> None:
            clock.call_later(task.get_loop(), 1.0, task.cancel)
            await clock.asleep(5)

        with heard() as events, pytest.raises(asyncio.CancelledError):
            await cancelled_when_it_expires()
        assert task.uncancel() == 0
        assert events == []

    virtually("asyncio", main)


@pytest.mark.law(53, 69)
def test_a_swallowed_cancellation_leaves_the_outcome_and_no_trace() -> None:
    async def main(time: VirtualClock) -> None:
        @timeout(1.0)
        async def stubborn() -> str:
            try:
                await clock.asleep(5)
            except asyncio.CancelledError:
                await clock.asleep(2)
            return "mine"

        with heard() as events:
            assert await stubborn() == "mine"
        assert events == [Overran("timeout", 1.0, 3.0)]

    virtually("asyncio", main)


@pytest.mark.law(55)
@both_loops
def test_a_tie_goes_to_the_limit_with_one_event(backend: str) -> None:
    async def main(time: VirtualClock) -> None:
        ready = anyio.Event()

        @timeout(1.0)
        async def waits_for_what_comes_with_the_limit() -> str:
            await ready.wait()
            return "done"

        async with anyio.create_task_group() as group:

            @group.start_soon
            async def brings() -> None:
                await clock.asleep(1.0)
                ready.set()

            with heard() as events, pytest.raises(TimedOut):
                await waits_for_what_comes_with_the_limit()
        assert [type(event) for event in events] == [CutOff]

    virtually(backend, main)


@pytest.mark.law(76)
@both_loops
def test_a_timeout_error_of_the_functions_own_is_not_ours(backend: str) -> None:
    own = TimeoutError("the server said so")

    async def main(time: VirtualClock) -> None:
        @timeout(1.0)
        async def work() -> None:
            await clock.asleep(0.9)
            raise own

        with heard() as events, pytest.raises(TimeoutError) as caught:
            await work()
        assert caught.value is own
        assert events == []

    virtually(backend, main)


@pytest.mark.law(92)
@both_loops
@given(layers=LAYERS, waits=MOMENTS)
def test_what_runs_inside_sees_the_nearest_limit(backend: str, layers: list[tuple[str, float]], waits: float) -> None:
    nearest = min(seconds for _, seconds in layers)
    only_announced = [("deadline", seconds) for _, seconds in layers]

    async def look() -> None:
        assert remaining() == pytest.approx(nearest)

    async def look_late() -> None:
        await clock.asleep(waits)
        assert remaining() == pytest.approx(max(0.0, nearest - waits))
        ran: list[bool] = []

        async def inner() -> None:
            ran.append(True)

        if waits < nearest:
            await timeout(9.0).acall(inner)
        else:
            with heard() as events, pytest.raises(OutOfTime) as refused:
                await timeout(9.0, name="inner").acall(inner)
            assert not ran
            assert events == [Refused("inner", refused.value)]

    async def main(time: VirtualClock) -> None:
        await layered(layers, look)()
        await layered(only_announced, look_late)()  # a deadline never cuts
        assert time.elapsed == waits

    virtually(backend, main)


@pytest.mark.law(92)
@both_loops
def test_a_task_that_outlives_a_timeout_is_not_promised_a_cut(backend: str) -> None:
    async def main(time: VirtualClock) -> None:
        async with anyio.create_task_group() as group:
            left = anyio.Event()
            outcome: list[TimedOut] = []

            async def outlives() -> None:
                await left.wait()
                with pytest.raises(TimedOut) as caught:
                    await timeout(9.0, name="its own").acall(clock.asleep, 8.0)
                outcome.append(caught.value)

            @timeout(2.0)
            async def starts_it() -> None:
                group.start_soon(outlives)
                await checkpoint()

            await starts_it()
            left.set()
        assert [(error.policy, error.seconds) for error in outcome] == [("its own", 2.0)]

    virtually(backend, main)
