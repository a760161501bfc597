"""The waiting primitive: made where one waits, woken from anywhere."""

import asyncio
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import trio

from resilience._waiters import AsyncioWaiter, ThreadWaiter, TrioWaiter, task_waiter, warn_if_blocking
from resilience.errors import ResilienceWarning
from resilience.testing import sandbox

Waker = Callable[[Callable[[], Any]], None]


def here(wake: Callable[[], Any]) -> None:
    wake()


def in_another_thread(wake: Callable[[], Any]) -> None:
    threading.Thread(target=wake).start()


def in_another_loop(wake: Callable[[], Any]) -> None:
    async def main() -> None:
        wake()

    threading.Thread(target=asyncio.run, args=(main(),)).start()


every_waker = pytest.mark.parametrize("waker", [here, in_another_thread, in_another_loop])


@every_waker
def test_a_thread_is_woken(waker: Waker) -> None:
    waiter = ThreadWaiter()
    waker(waiter.wake)
    waiter.wait(None)


@every_waker
@pytest.mark.anyio
async def test_a_task_is_woken(waker: Waker) -> None:
    waiter = task_waiter()
    waker(waiter.wake)
    await waiter.wait(None)


@every_waker
@pytest.mark.anyio
async def test_a_task_that_waits_already_is_woken(waker: Waker) -> None:
    waiters: list[Any] = []
    woken: list[bool] = []

    async def wait() -> None:
        waiters.append(task_waiter())
        await waiters[0].wait(None)
        woken.append(True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert not woken
        waker(waiters[0].wake)
    assert woken


def test_a_thread_waits_no_longer_than_told() -> None:
    with sandbox() as time:
        ThreadWaiter().wait(3.0)
        assert time.elapsed == 3.0


@pytest.mark.anyio
async def test_a_task_waits_no_longer_than_told_and_can_wait_again() -> None:
    with sandbox() as time:
        waiter = task_waiter()
        await waiter.wait(3.0)
        await waiter.wait(2.0)
        assert time.elapsed == 5.0


def test_a_thread_woken_twice_wakes_once() -> None:
    waiter = ThreadWaiter()
    assert waiter.wake()
    assert waiter.wake()
    waiter.wait(None)
    with sandbox() as time:
        waiter.wait(1.0)
        assert time.elapsed == 1.0


@pytest.mark.anyio
async def test_a_task_woken_twice_wakes_once() -> None:
    waiter = task_waiter()
    assert waiter.wake()
    assert waiter.wake()
    await waiter.wait(None)
    with sandbox() as time:
        await waiter.wait(1.0)
        assert time.elapsed == 1.0


@pytest.mark.anyio
async def test_a_cancelled_wait_raises_the_cancellation() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await task_waiter().wait(10.0)
    assert scope.cancelled_caught


@pytest.mark.law(96)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_wake_up_into_a_loop_that_is_over_says_so(backend: str) -> None:
    async def main() -> AsyncioWaiter | TrioWaiter:
        return task_waiter()

    waiter = anyio.run(main, backend=backend)
    assert waiter.wake() is False


@pytest.mark.law(96)
def test_a_wake_up_into_a_stopped_loop_is_kept_for_it() -> None:
    loop = asyncio.new_event_loop()

    async def main() -> AsyncioWaiter | TrioWaiter:
        return task_waiter()

    waiter: Any = loop.run_until_complete(main())
    assert waiter.wake() is True
    loop.run_until_complete(waiter.wait(None))
    loop.close()


def test_a_trio_run_that_is_the_guest_of_an_asyncio_loop_is_seen_as_trio() -> None:
    async def main() -> str:
        waiter = task_waiter()
        waiter.wake()
        await waiter.wait(None)
        return type(waiter).__name__

    async def host() -> tuple[str, str]:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        trio.lowlevel.start_guest_run(
            main,
            run_sync_soon_threadsafe=asyncio.get_running_loop().call_soon_threadsafe,
            done_callback=done.set_result,
        )
        outcome = await done
        return type(task_waiter()).__name__, outcome.unwrap()

    assert asyncio.run(host()) == ("AsyncioWaiter", "TrioWaiter")


def test_trio_is_not_imported_for_those_who_do_not_run_it() -> None:
    program = """if True:
        import asyncio, sys
        from resilience._bulkhead import Bulkhead

        async def main():
            bulkhead = Bulkhead(1, max_wait=5.0)
            async def work():
                await asyncio.sleep(0)
            await asyncio.gather(bulkhead.acall(work), bulkhead.acall(work))

        asyncio.run(main())
        assert "trio" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.anyio
async def test_a_wait_that_blocks_an_event_loop_warns_once_and_where(anyio_backend_name: str) -> None:
    policy = f"a policy on {anyio_backend_name}"
    with pytest.warns(ResilienceWarning, match="block a thread that runs an event loop.*; await it") as caught:
        warn_if_blocking(policy, "await it")
    assert caught[0].filename == __file__
    warn_if_blocking(policy, "await it")  # a second warning would be an error here


def test_a_wait_that_blocks_only_a_thread_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_blocking("a policy in a thread", "await it")


@pytest.mark.anyio
async def test_a_wait_in_a_worker_thread_beside_a_loop_does_not_warn() -> None:
    done: list[bool] = []

    def work() -> None:
        warn_if_blocking("a policy in a worker", "await it")
        done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done


def test_what_was_warned_about_is_bounded() -> None:
    async def main() -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for number in range(2_500):
                warn_if_blocking(f"policy {number}", "await it")
        assert len(caught) == 2_500

    asyncio.run(main())
    from resilience import _waiters  # noqa: PLC0415 - only to look inside

    assert len(_waiters._warned) <= _waiters._MOST_WARNED
