"""The laws of waiting for a place: threads, asyncio tasks and trio tasks in one queue, cancelled at any moment."""

import asyncio
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from resilience._ambient import Deadline, ambient
from resilience._bulkhead import Bulkhead
from resilience._clock import clock
from resilience.errors import BulkheadFull, OutOfTime, Rejected
from resilience.testing import sandbox
from tests.crowd import assert_whole, nothing, threads, until
from tests.doors import DOORS

every_backend = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def call_in_a_thread(bulkhead: Bulkhead, work: Callable[[], Any]) -> None:
    bulkhead.call(work)


def call_in_a_loop(backend: str, bulkhead: Bulkhead, work: Callable[[], Any]) -> None:
    async def awork() -> None:
        work()

    anyio.run(bulkhead.acall, awork, backend=backend)


CALLERS = {
    "thread": call_in_a_thread,
    "asyncio": functools.partial(call_in_a_loop, "asyncio"),
    "trio": functools.partial(call_in_a_loop, "trio"),
}


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
    """One caller of a scene; its moments are counted in turns of the event loop."""

    start: int
    hold: int
    cancel: int | None
    patience: float


plans = st.builds(
    Plan,
    start=st.integers(0, 4),
    hold=st.integers(0, 4),
    cancel=st.none() | st.integers(0, 12),
    patience=st.sampled_from([0.5, 100.0]),
)


async def turns(number: int) -> None:
    for _ in range(number):
        await checkpoint()


@pytest.mark.law(5, 25, 26, 68)
@every_backend
@given(
    scene=st.lists(plans, min_size=1, max_size=8),
    limit=st.integers(1, 2),
    resizes=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), max_size=2),
)
def test_whatever_is_cancelled_and_whenever_no_place_is_lost(
    backend: str, scene: list[Plan], limit: int, resizes: list[tuple[int, int]]
) -> None:
    bulkhead = Bulkhead(limit, max_wait=1.0, queue=4)
    most = max(limit, *(size for _, size in resizes), 0)
    inside = 0

    async def call(plan: Plan, scope: anyio.CancelScope) -> None:
        nonlocal inside
        with scope:
            await turns(plan.start)
            try:
                async with bulkhead.guard():
                    inside += 1
                    assert inside <= most
                    try:
                        await turns(plan.hold)
                    finally:
                        inside -= 1
            except BulkheadFull:
                pass

    async def cancel(turn: int, scope: anyio.CancelScope) -> None:
        await turns(turn)
        scope.cancel()

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for plan in scene:
                scope = anyio.CancelScope()
                tasks.start_soon(call, plan, scope)
                if plan.cancel is not None:
                    tasks.start_soon(cancel, plan.cancel, scope)
            for turn, size in resizes:
                await turns(turn)
                bulkhead.resize(size)

    with sandbox():
        anyio.run(main, backend=backend)
    assert_whole(bulkhead)


@pytest.mark.law(26, 68)
@given(release=st.integers(0, 3), cancel=st.integers(0, 6))
def test_a_native_cancellation_at_any_moment_around_the_grant_passes_the_place_on(release: int, cancel: int) -> None:
    bulkhead = Bulkhead(1, max_wait=None, queue=2)
    done: list[str] = []

    async def work(name: str) -> None:
        await asyncio.sleep(0)
        done.append(name)

    async def main() -> None:
        held = await bulkhead.aadmit()
        first = asyncio.create_task(bulkhead.acall(work, "first"))
        second = asyncio.create_task(bulkhead.acall(work, "second"))
        for turn in range(8):
            if turn == release:
                held.release()
            if turn == cancel:
                first.cancel()
            await asyncio.sleep(0)
        await asyncio.gather(first, return_exceptions=True)
        await second
        assert first.cancelled() == ("first" not in done)

    asyncio.run(main())
    assert done[-1] == "second"
    assert_whole(bulkhead)


@pytest.mark.law(26)
@every_backend
def test_a_place_granted_to_a_cancelled_task_goes_to_the_next(backend: str) -> None:
    bulkhead = Bulkhead(1, max_wait=None, queue=2)
    entered: list[str] = []

    async def call(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            async with bulkhead.guard():
                await checkpoint()
                entered.append(name)

    async def main() -> None:
        held = await bulkhead.aadmit()
        scopes = [anyio.CancelScope(), anyio.CancelScope()]
        async with anyio.create_task_group() as tasks:
            for name, scope in zip(("first", "second"), scopes, strict=True):
                tasks.start_soon(call, name, scope)
                await anyio.wait_all_tasks_blocked()
            held.release()
            scopes[0].cancel()  # granted, but it had no turn yet

    anyio.run(main, backend=backend)
    assert entered == ["second"]
    assert_whole(bulkhead)


@pytest.mark.law(68)
@pytest.mark.parametrize("granted", [False, True])
def test_an_interrupted_thread_leaves_the_queue(granted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    bulkhead = Bulkhead(1, max_wait=None)
    held = bulkhead.admit()

    def interrupt(*_: object) -> bool:
        if granted:
            held.release()
        raise KeyboardInterrupt

    monkeypatch.setattr(clock, "acquire", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bulkhead.call(nothing)
    assert bulkhead.stats.waiting == 0
    held.release()
    assert_whole(bulkhead)


@pytest.mark.law(27, 70)
@given(kinds=st.lists(st.sampled_from(sorted(CALLERS)), min_size=2, max_size=5))
def test_threads_and_tasks_come_in_in_the_order_they_came(kinds: list[str]) -> None:
    bulkhead = Bulkhead(1, max_wait=None, queue=5)
    order: list[int] = []
    held = bulkhead.admit()
    with threads(
        *(
            functools.partial(CALLERS[kind], bulkhead, functools.partial(order.append, number))
            for number, kind in enumerate(kinds)
        )
    ) as callers:
        for number, thread in enumerate(callers, 1):
            thread.start()
            until(lambda number=number: bulkhead.stats.waiting == number)
        held.release()
    assert order == list(range(len(kinds)))
    assert_whole(bulkhead)


@pytest.mark.law(27)
@pytest.mark.parametrize("door", DOORS)
def test_one_too_many_is_refused_at_once_and_those_who_wait_are_not(door: Any) -> None:
    bulkhead = Bulkhead(1, max_wait=None, queue=1)
    held = bulkhead.admit()
    entered: list[str] = []
    with threads(lambda: bulkhead.call(entered.append, "waiter")) as callers:
        callers[0].start()
        until(lambda: bulkhead.stats.waiting)
        with pytest.raises(BulkheadFull, match="1 wait of at most 1"):
            door(bulkhead, nothing)
        held.release()
    assert entered == ["waiter"]
    assert_whole(bulkhead)


@pytest.mark.law(92)
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("max_wait", "deadline", "error", "waited"),
    [
        (2.0, None, BulkheadFull, 2.0),
        (2.0, 5.0, BulkheadFull, 2.0),
        (5.0, 2.0, OutOfTime, 2.0),
        (None, 2.0, OutOfTime, 2.0),
        (0.0, 2.0, BulkheadFull, 0.0),
        (5.0, 0.0, OutOfTime, 0.0),
    ],
)
def test_a_wait_ends_by_its_own_limit_or_by_the_deadline(
    door: Any, max_wait: float | None, deadline: float | None, error: type[Rejected], waited: float
) -> None:
    bulkhead = Bulkhead(1, max_wait=max_wait)
    with sandbox() as time:
        held = bulkhead.admit()
        with announced(deadline if deadline is not None else 1e6), pytest.raises(error) as caught:
            door(bulkhead, nothing)
        assert time.elapsed == pytest.approx(waited)
        assert caught.value.policy == "Bulkhead"
        assert bulkhead.stats.refused == 1
        held.release()
        assert_whole(bulkhead)


@pytest.mark.law(92)
@pytest.mark.parametrize("door", DOORS)
def test_nothing_starts_once_the_deadline_is_past_and_no_place_is_lost(door: Any) -> None:
    bulkhead = Bulkhead(1)
    started: list[bool] = []
    with sandbox() as time:
        with announced(1.0):
            door(bulkhead, lambda: started.append(True))
            time.advance(2.0)
            with pytest.raises(OutOfTime):
                door(bulkhead, lambda: started.append(True))
        assert_whole(bulkhead)
    assert started == [True]


@pytest.mark.law(25)
def test_a_lone_thread_that_can_never_come_in_is_told_so_by_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at intervals where only threads wait, so a deadlock is one for the virtual clock too."""
    bulkhead = Bulkhead(1, max_wait=None)
    monkeypatch.setattr(sys, "_current_frames", dict)  # as if the test runner had no threads of its own
    with sandbox():
        bulkhead.admit()
        with pytest.raises(RuntimeError, match="deadlock"):
            bulkhead.call(nothing)
