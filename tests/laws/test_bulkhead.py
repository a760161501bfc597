"""The laws of a bulkhead's places: who holds one, how long, and that none is ever lost or made."""

import asyncio
import gc
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience._bulkhead import Bulkhead
from resilience._events import Retrying, listen
from resilience._pipeline import Pipeline
from resilience._retry import retry
from resilience._timeout import timeout
from resilience.errors import BulkheadFull, TimedOut
from resilience.testing import sandbox
from tests.crowd import assert_whole, beside, nothing, until
from tests.doors import DOORS, FUNCTION_DOORS

every_door = pytest.mark.parametrize("door", DOORS)


class Stop(BaseException):
    """An ending that is no `Exception`, and that nobody knows."""


ENDINGS = [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, Stop]


@pytest.mark.law(5, 68)
@every_door
@pytest.mark.parametrize("ending", [None, *ENDINGS])
def test_every_ending_returns_the_place(door: Any, ending: type[BaseException] | None) -> None:
    bulkhead = Bulkhead(1)

    def work() -> str:
        assert bulkhead.stats.in_use == 1
        if ending is not None:
            raise ending
        return "done"

    if ending is None:
        assert door(bulkhead, work) == "done"
    else:
        with pytest.raises(ending):
            door(bulkhead, work)
    assert_whole(bulkhead)


@pytest.mark.law(5, 25)
@every_door
@given(endings=st.lists(st.sampled_from([None, *ENDINGS]), max_size=5), limit=st.integers(1, 3))
def test_no_run_of_endings_loses_or_makes_a_place(door: Any, endings: list[Any], limit: int) -> None:
    bulkhead = Bulkhead(limit)
    for ending in endings:
        answers = iter([ending() if ending else None])

        def work(answers: Iterator[Any] = answers) -> None:
            if error := next(answers):
                raise error

        try:
            door(bulkhead, work)
        except tuple(ENDINGS) as error:
            assert type(error) is ending
    assert_whole(bulkhead)


@pytest.mark.law(68)
@pytest.mark.parametrize("awaits", ["running", "waiting"])
def test_a_coroutine_that_is_closed_returns_its_place(awaits: str) -> None:
    bulkhead = Bulkhead(1, max_wait=None)

    async def main() -> None:
        held = bulkhead.admit() if awaits == "waiting" else None
        call = bulkhead.acall(asyncio.Event().wait)
        call.send(None)
        assert bulkhead.stats.in_use == 1
        assert bulkhead.stats.waiting == (held is not None)
        call.close()
        if held is not None:
            assert bulkhead.stats.waiting == 0
            held.release()

    asyncio.run(main())
    assert_whole(bulkhead)


@pytest.mark.law(25)
def test_a_place_given_back_by_the_garbage_collector_is_settled() -> None:
    bulkhead = Bulkhead(1, max_wait=None)

    def stream() -> Iterator[int]:
        with bulkhead.guard():
            yield 1

    streams = [stream()]
    streams.append(streams)  # type: ignore[arg-type]  # a cycle: only the collector can end it
    next(streams[0])
    entered = threading.Event()
    with beside(lambda: bulkhead.call(entered.set)):
        until(lambda: bulkhead.stats.waiting)
        del streams
        gc.collect()
        entered.wait()
    assert_whole(bulkhead)


@pytest.mark.law(28)
@given(limit=st.integers(1, 3), ends=st.lists(st.sampled_from(["succeed", "fail", "release"]), min_size=2, max_size=6))
def test_ending_a_lease_again_changes_nothing(limit: int, ends: list[str]) -> None:
    bulkhead = Bulkhead(limit)
    others = [bulkhead.admit() for _ in range(limit - 1)]
    lease = bulkhead.admit()
    for end in ends:
        getattr(lease, end)()
        assert bulkhead.stats.available == 1
    for other in others:
        other.release()
    assert_whole(bulkhead)


@pytest.mark.law(28)
def test_of_many_threads_one_ends_the_lease() -> None:
    bulkhead = Bulkhead(1)
    lease, gate = bulkhead.admit(), threading.Barrier(4)

    def end() -> None:
        gate.wait()
        lease.release()

    with beside(end, end, end, end):
        pass
    assert_whole(bulkhead)


@pytest.mark.law(29)
@every_door
@pytest.mark.parametrize("translated", [False, True])
def test_abandoned_work_keeps_its_place_until_it_ends(door: Any, translated: bool) -> None:
    bulkhead = Bulkhead(1)
    left_behind: Future[None] = Future()

    def work() -> None:
        cut = TimedOut("slow", 1.0, left_behind)
        if translated:
            raise ValueError("the user's own words") from cut
        raise cut

    with pytest.raises((TimedOut, ValueError)):
        door(bulkhead, work)
    assert bulkhead.stats.in_use == 1
    with pytest.raises(BulkheadFull):
        door(bulkhead, work)
    left_behind.set_result(None)
    assert_whole(bulkhead)


@pytest.mark.law(29)
def test_what_a_timeout_left_behind_keeps_its_place() -> None:
    with sandbox(autojump=False) as time:
        limit = timeout(5.0, sync="abandon")
        bulkhead = Bulkhead(1)
        started, may_end = threading.Event(), threading.Event()
        outcome: list[BaseException] = []

        def work() -> None:
            started.set()
            may_end.wait()

        def call() -> None:
            try:
                Pipeline(bulkhead, limit).call(work)
            except TimedOut as error:
                outcome.append(error)

        with beside(call):
            started.wait()
            time.advance(6.0)
        assert outcome
        assert bulkhead.stats.in_use == 1
        may_end.set()
        until(lambda: bulkhead.stats.in_use == 0)
        assert_whole(bulkhead)
        limit.close()


@pytest.mark.law(30)
@given(limits=st.lists(st.integers(1, 6), min_size=1, max_size=6), held=st.integers(0, 4))
def test_a_resize_returns_at_once_and_converges(limits: list[int], held: int) -> None:
    bulkhead = Bulkhead(4)
    leases = [bulkhead.admit() for _ in range(held)]
    for limit in limits:
        bulkhead.resize(limit)  # would hang here if it waited for those inside
        assert bulkhead.limit == limit
        assert bulkhead.stats.in_use == held
        assert bulkhead.stats.available == max(0, limit - held)
    for lease in leases:
        lease.release()
    assert_whole(bulkhead)


@pytest.mark.law(30)
def test_places_taken_over_a_lowered_limit_vanish_as_they_come_back() -> None:
    bulkhead = Bulkhead(2)
    first, second = bulkhead.admit(), bulkhead.admit()
    bulkhead.resize(1)
    first.release()
    with pytest.raises(BulkheadFull):
        bulkhead.admit()
    second.release()
    assert_whole(bulkhead)


@pytest.mark.law(30)
def test_a_raised_limit_lets_in_those_who_wait() -> None:
    bulkhead = Bulkhead(1, max_wait=None, queue=2)
    entered = threading.Barrier(3)
    held = bulkhead.admit()
    with beside(lambda: bulkhead.call(entered.wait), lambda: bulkhead.call(entered.wait)):
        until(lambda: bulkhead.stats.waiting == 2)
        bulkhead.resize(3)
        entered.wait()
    held.release()
    assert_whole(bulkhead)


@pytest.mark.law(31)
@pytest.mark.parametrize("door", FUNCTION_DOORS)
def test_a_retry_outside_holds_no_place_while_it_sleeps(door: Any) -> None:
    bulkhead = Bulkhead(1)
    in_use: list[int] = []

    def work() -> None:
        assert bulkhead.stats.in_use == 1
        raise ValueError

    def note(event: object) -> None:
        if isinstance(event, Retrying):
            in_use.append(bulkhead.stats.in_use)

    with sandbox(), listen(note), pytest.raises(ValueError):
        door(Pipeline(retry(on=ValueError, attempts=3, wait=1.0), bulkhead), work)
    assert in_use == [0, 0]
    assert_whole(bulkhead)


@pytest.mark.law(31)
def test_a_retry_inside_a_bulkhead_warns_when_it_is_built() -> None:
    with pytest.warns(UserWarning, match="keeps its place while it waits"):
        Pipeline(Bulkhead(1), retry(on=ValueError))


@pytest.mark.law(79)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_concurrent_calls_of_one_function_share_nothing(backend: str) -> None:
    bulkhead = Bulkhead(3, max_wait=None, queue=100)

    @bulkhead
    async def echo(number: int) -> int:
        await anyio.lowlevel.checkpoint()
        if number % 3 == 0:
            raise ValueError(number)
        return number

    answers: dict[int, Any] = {}

    async def ask(number: int) -> None:
        try:
            answers[number] = await echo(number)
        except ValueError as error:
            answers[number] = error.args

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(ask, number)

    anyio.run(main, backend=backend)
    assert answers == {number: number if number % 3 else (number,) for number in range(30)}
    assert_whole(bulkhead)


@pytest.mark.law(84)
@every_door
@pytest.mark.parametrize("crowded", [False, True])
def test_no_lock_is_held_while_the_function_runs(door: Any, crowded: bool) -> None:
    bulkhead = Bulkhead(1, max_wait=None, queue=1)
    waiter = threading.Thread(target=lambda: bulkhead.call(nothing), daemon=True)

    def everything_else() -> None:
        bulkhead.resize(3)
        bulkhead.admit().release()
        assert bulkhead.stats.limit == 3

    def work() -> None:
        if crowded:
            waiter.start()
            until(lambda: bulkhead.stats.waiting)
        with beside(everything_else):  # hangs if the lock is held here
            pass

    door(bulkhead, work)
    if crowded:
        waiter.join()
    assert_whole(bulkhead)
