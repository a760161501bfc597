"""The laws of a bulkhead over many threads, event loops and processes: those that stop, close, fork or come later."""

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from resilience._bulkhead import Bulkhead
from resilience.testing import sandbox
from tests.crowd import assert_whole, beside, nothing, threads, until
from tests.doors import ASYNC_DOORS, DOORS


@contextmanager
def switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@pytest.mark.law(70, 88)
@pytest.mark.parametrize("limit", [1, 2])
def test_loops_and_threads_share_one_limit(limit: int) -> None:
    bulkhead = Bulkhead(limit, max_wait=None, queue=9)
    inside = peak = 0
    lock, gate = threading.Lock(), threading.Barrier(3)

    def step_in() -> None:
        nonlocal inside, peak
        with lock:
            inside += 1
            peak = max(peak, inside)

    def step_out() -> None:
        nonlocal inside
        with lock:
            inside -= 1

    async def guarded() -> None:
        async with bulkhead.guard():
            step_in()
            await checkpoint()
            step_out()

    async def crowd() -> None:
        gate.wait()
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(_repeatedly, guarded)

    def thread() -> None:
        gate.wait()
        for _ in range(30):
            with bulkhead.guard():
                step_in()
                step_out()

    with (
        switching_often(),
        beside(
            thread,
            lambda: anyio.run(crowd, backend="asyncio"),
            lambda: anyio.run(crowd, backend="trio"),
        ),
    ):
        pass
    assert peak <= limit
    assert_whole(bulkhead)


async def _repeatedly(function: Callable[[], Any]) -> None:
    for _ in range(10):
        await function()


@pytest.mark.law(70, 88)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_waiting_in_one_loop_blocks_no_other_task_there(backend: str) -> None:
    bulkhead = Bulkhead(1, max_wait=None)
    held = bulkhead.admit()
    events: list[str] = []

    async def wait() -> None:
        async with bulkhead.guard():
            events.append("came in")

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            events.append("others run")
            giver.start()

    with threads(held.release) as (giver,):
        anyio.run(main, backend=backend)
    assert events == ["others run", "came in"]


@contextmanager
def a_loop_left_behind(bulkhead: Bulkhead) -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that has stopped while a task of it waits in the queue."""
    loop = asyncio.new_event_loop()
    entered: list[str] = []

    async def call() -> None:
        async with bulkhead.guard():
            entered.append("in")

    async def start() -> asyncio.Task[None]:
        task = asyncio.ensure_future(call())
        await anyio.wait_all_tasks_blocked()
        assert bulkhead.stats.waiting
        return task

    task = loop.run_until_complete(start())
    yield loop
    if loop.is_closed():
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # the point of the test, and no accident
    else:
        loop.run_until_complete(task)
        assert entered == ["in"]  # never refused, though it slept through its grant
        loop.close()


@pytest.mark.law(96)
def test_a_grant_to_a_closed_loop_passes_on_at_once() -> None:
    bulkhead = Bulkhead(1, max_wait=None)
    with sandbox() as time:
        held = bulkhead.admit()
        with a_loop_left_behind(bulkhead) as loop:
            loop.close()
            held.release()
            bulkhead.call(nothing)
            assert time.elapsed == 0.0
        gc.collect()
        assert_whole(bulkhead)


@pytest.mark.law(27, 96)
@pytest.mark.parametrize("door", DOORS)
def test_a_grant_that_a_stopped_loop_does_not_take_up_is_reclaimed_within_five_seconds(door: Any) -> None:
    bulkhead = Bulkhead(1, max_wait=None)
    with sandbox() as time:
        held = bulkhead.admit()
        with a_loop_left_behind(bulkhead):
            held.release()
            door(bulkhead, nothing)
            assert 0.0 < time.elapsed <= 5.0
        assert_whole(bulkhead)


@pytest.mark.law(96)
def test_one_who_waits_behind_a_stopped_loop_looks_after_it() -> None:
    bulkhead = Bulkhead(1, max_wait=None, queue=2)
    with sandbox(autojump=False) as time:
        held = bulkhead.admit()
        with a_loop_left_behind(bulkhead), threads(lambda: bulkhead.call(nothing)) as callers:
            callers[0].start()
            until(lambda: bulkhead.stats.waiting == 2)
            held.release()
            while callers[0].is_alive():
                time.advance(0.5)
        assert_whole(bulkhead)


MADE_AT_IMPORT = Bulkhead(1, max_wait=None, queue=5)


@MADE_AT_IMPORT
async def decorated_at_import() -> str:
    await anyio.lowlevel.checkpoint()
    return "done"


@pytest.mark.law(85)
@pytest.mark.parametrize("door", ASYNC_DOORS)
def test_what_one_loop_made_works_in_the_next(door: Any) -> None:
    made: list[Bulkhead] = []

    async def make() -> None:
        made.append(Bulkhead(1))

    anyio.run(make)
    for _ in range(3):
        assert door(made[0], lambda: "done") == "done"
    assert_whole(made[0])


@pytest.mark.law(85)
@pytest.mark.parametrize("backends", [["asyncio", "asyncio"], ["asyncio", "trio"], ["trio", "asyncio"]])
def test_decoration_at_import_time_needs_no_loop(backends: list[str]) -> None:
    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(decorated_at_import)

    for backend in backends:
        anyio.run(main, backend=backend)
    assert_whole(MADE_AT_IMPORT)


@pytest.mark.law(94)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_starts_fresh() -> None:
    bulkhead = Bulkhead(2, max_wait=None)
    held = [bulkhead.admit(), bulkhead.admit()]
    locked, may_end = threading.Event(), threading.Event()

    def hold_the_lock() -> None:
        with bulkhead.pool._lock:
            locked.set()
            may_end.wait()

    with beside(lambda: bulkhead.call(nothing)):
        until(lambda: bulkhead.stats.waiting)
        with beside(hold_the_lock):
            locked.wait()
            report = _in_a_child(lambda: _look_around_in_the_child(bulkhead, held))
            may_end.set()
        assert bulkhead.stats.in_use == 2
        for lease in held:
            lease.release()
    assert report == "fresh"
    assert_whole(bulkhead)


def _look_around_in_the_child(bulkhead: Bulkhead, held: list[Any]) -> str:
    if (bulkhead.limit, bulkhead.stats.in_use, bulkhead.stats.waiting) != (2, 0, 0):
        return f"not fresh: {bulkhead.stats}"
    for lease in held:
        lease.release()
    if len(bulkhead.pool.free) != 2:
        return "a lease of the parent made a place in the child"
    assert_whole(bulkhead)
    return "fresh"


def _in_a_child(function: Callable[[], str]) -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)  # a child that hangs ends, and with it the wait for its report
        report = "raised"
        try:
            report = function()
        finally:
            os.write(writing, report.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        report = pipe.read()
    os.waitpid(child, 0)
    return report
