"""The laws of an async timeout, call by call: what comes through, where it runs, and that nothing is left over."""

import asyncio
import contextlib
import gc
import threading
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from resilience._clock import clock
from resilience._timeout import timeout
from resilience.errors import TimedOut
from resilience.testing import VirtualClock, sandbox
from tests.virtual import ENDINGS, both_loops, heard, virtually


def pending(time: VirtualClock) -> int:
    """How many timers wait."""
    return len(time._timers) - len(time._cancelled)


@pytest.mark.law(52)
@both_loops
@pytest.mark.parametrize("ending", ["returns", "raises", "cancelled", "expires", "shielded"])
def test_no_timer_outlives_the_call_and_its_policy(backend: str, ending: str) -> None:
    async def work() -> None:
        if ending == "raises":
            raise ValueError
        if ending == "shielded":
            with anyio.CancelScope(shield=True):
                await clock.asleep(100)
        if ending != "returns":
            await clock.asleep(100)

    async def calls(time: VirtualClock, policy: timeout) -> None:
        for _ in range(3 if ending == "shielded" else 20):  # anyio keeps the loop busy while a shield holds
            with anyio.CancelScope() as scope:
                if ending == "cancelled":
                    clock.expire(scope, 0.5)
                with contextlib.suppress(ValueError, TimedOut):
                    await policy.acall(work)
            # On asyncio, one timer for all calls of the policy on this loop may wait for its moment.
            assert pending(time) <= (2 if backend == "asyncio" else 1)
            assert not any(table.live for table in policy._limits._tables.values())

    async def main(time: VirtualClock) -> None:
        # The virtual clock watches for idleness in the context of its first timer; that must not be one under a limit.
        clock.expire(anyio.CancelScope(), 1e9)
        async with anyio.create_task_group() as group:  # asyncio's tasks keep the last cancellation they were sent
            group.start_soon(calls, time, timeout(60.0))
        gc.collect()
        await checkpoint()  # its timer is called off in the loop
        assert pending(time) == 1

    virtually(backend, main)


@pytest.mark.law(52)
def test_policies_made_for_one_call_leave_no_timers_in_the_loop() -> None:
    async def work() -> None: ...

    async def main() -> None:
        for _ in range(20):
            await timeout(3600.0).acall(work)
        await checkpoint()
        timers: Any = asyncio.get_running_loop()
        assert [timer for timer in timers._scheduled if not timer.cancelled()] == []

    asyncio.run(main())


@pytest.mark.law(52)
def test_no_policy_keeps_a_loop() -> None:
    policy = timeout(60.0)

    async def work() -> None:
        await asyncio.sleep(0)

    async def call() -> None:
        await policy.acall(work)

    for _ in range(5):
        asyncio.run(call())
    gc.collect()
    assert len(policy._limits._tables) == 0


@pytest.mark.law(68)
@both_loops
@pytest.mark.parametrize("ending", [*ENDINGS, asyncio.CancelledError])
def test_what_the_function_raises_comes_through(backend: str, ending: type[BaseException]) -> None:
    raised = ending("its own")

    async def work() -> None:
        raise raised

    async def main(time: VirtualClock) -> None:
        policy = timeout(1.0)
        with heard() as events, pytest.raises(ending) as caught:
            await policy.acall(work)
        assert caught.value is raised
        assert events == []
        assert not any(table.live for table in policy._limits._tables.values())

    virtually(backend, main)


@pytest.mark.law(70)
@both_loops
def test_one_policy_in_many_loops_at_once(backend: str) -> None:
    policy = timeout(1.0)
    started, outcomes, calls, loops = threading.Semaphore(0), [], 20, 3

    async def work(number: int) -> int:
        if number % 2:
            started.release()
            await anyio.Event().wait()
        return number

    async def one(number: int) -> None:
        try:
            outcomes.append(await policy.acall(work, number))
        except TimedOut as error:
            outcomes.append(error.policy)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for number in range(calls):
                group.start_soon(one, number)

    with sandbox(autojump=False) as time:
        threads = [
            threading.Thread(target=anyio.run, args=(main,), kwargs={"backend": backend}, daemon=True)
            for _ in range(loops)
        ]
        for thread in threads:
            thread.start()
        for _ in range(loops * calls // 2):
            started.acquire()
        while any(thread.is_alive() for thread in threads):  # a loop may still be on its way into the wait
            time.advance(2)
            threads[0].join(0.001)
    assert outcomes.count("timeout") == loops * calls // 2
    assert sorted(number for number in outcomes if isinstance(number, int)) == sorted([*range(0, calls, 2)] * loops)


@pytest.mark.law(72, 78)
@both_loops
def test_the_function_runs_in_the_callers_task_and_context(backend: str) -> None:
    seen: ContextVar[str] = ContextVar("seen", default="nothing")

    async def main(time: VirtualClock) -> None:
        def task() -> Any:
            return anyio.get_current_task().id

        @timeout(1.0)
        async def work() -> Any:
            assert seen.get() == "the caller's"
            seen.set("the function's")
            return task()

        seen.set("the caller's")
        assert await work() == task()
        assert seen.get() == "the function's"

    virtually(backend, main)


@pytest.mark.law(78)
def test_a_cancellation_as_the_call_completes_is_not_lost() -> None:
    async def main(time: VirtualClock) -> None:
        task = asyncio.current_task()

        @timeout(1.0)
        async def completes_as_it_is_cancelled() -> None:
            done = task.get_loop().create_future()
            task.get_loop().call_soon(lambda: (done.set_result(None), task.cancel()))
            await done

        with pytest.raises(asyncio.CancelledError):
            await completes_as_it_is_cancelled()
        assert task.uncancel() == 0

        @timeout(1.0)
        async def cancels_itself_and_returns() -> str:
            task.cancel()
            return "done"

        assert await cancels_itself_and_returns() == "done"
        assert task.cancelling() == 1
        with pytest.raises(asyncio.CancelledError):
            await checkpoint()
        assert task.uncancel() == 0

    virtually("asyncio", main)


@pytest.mark.law(85)
@both_loops
def test_a_policy_made_outside_any_loop_works_in_one_after_another(backend: str) -> None:
    @timeout(1.0)
    async def work(takes: float) -> str:
        await clock.asleep(takes)
        return "done"

    async def main(time: VirtualClock) -> None:
        assert await work(0.5) == "done"
        with pytest.raises(TimedOut):
            await work(1.5)

    for _ in range(3):
        virtually(backend, main)
