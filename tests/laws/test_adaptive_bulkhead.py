"""The laws of the adaptive bulkhead, in a loop closed over a simulated service: it finds the knee, time and again."""

import math
import random
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resilience import AdaptiveBulkhead, BulkheadFull, Rejected
from resilience._clock import clock
from resilience._core.adaptive import Finder, Round, elasticity
from resilience.errors import CircuitOpen
from resilience.testing import sandbox
from tests.closed_loop import Loop, Service
from tests.doors import DOORS

every_door = pytest.mark.parametrize("door", DOORS)
every_backend = pytest.mark.parametrize("backend", ["asyncio", "trio"])

NOISES: dict[str, Callable[[random.Random], float]] = {
    "none": lambda _: 1.0,
    "exponential": lambda chance: chance.expovariate(1),
    "heavy": lambda chance: chance.lognormvariate(-0.5, 1.0),
}


def saturated(service: Service, seconds: float, initial: int = 20, seed: int = 1) -> Loop:
    """Far more is asked for than can be done."""
    return Loop(Finder(initial, 1, 1_000, 0.0), service, lambda _: 2_000, seed).run(seconds)


def assert_near(loop: Loop, capacity: float, since: float, until: float) -> None:
    """The band that the documentation states."""
    least, mean, most = loop.settled(since, until)
    assert mean == pytest.approx(capacity, rel=1 / 3), (least, mean, most)
    assert capacity / 3 <= least <= most <= capacity * 2, (least, mean, most)


@pytest.mark.law(33)
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("capacity", [20, 60])
@pytest.mark.parametrize("initial", [2, 300])
def test_it_comes_to_what_the_service_can_do_and_stays_there(noise: str, capacity: int, initial: int) -> None:
    loop = saturated(Service(lambda _: capacity, noise=NOISES[noise]), 180, initial)
    assert_near(loop, capacity, 120, 180)


@pytest.mark.law(33)
def test_it_does_not_drift_where_latency_follows_the_limit() -> None:
    """The backend that made others go from 105 to 1,000: capacity 20, and the latency grows with the calls."""
    loop = saturated(Service(lambda _: 20, seconds=lambda _: 0.01), 120, initial=105)
    assert_near(loop, 20, 60, 120)


@pytest.mark.law(33)
@pytest.mark.parametrize("noise", ["none", "exponential"])
def test_it_follows_a_capacity_that_falls_and_rises_again(noise: str) -> None:
    loop = saturated(Service(lambda at: 20 if 100 <= at < 200 else 60, noise=NOISES[noise]), 300)
    assert_near(loop, 60, 60, 100)
    assert_near(loop, 20, 150, 200)
    assert_near(loop, 60, 260, 300)


@pytest.mark.law(33)
def test_a_service_that_only_gets_slower_is_worth_as_many_calls_as_before() -> None:
    loop = saturated(Service(lambda _: 30, lambda at: 0.05 if at < 80 else 0.15, NOISES["exponential"]), 200)
    assert_near(loop, 30, 40, 80)
    assert_near(loop, 30, 140, 200)


@pytest.mark.law(33)
def test_a_service_that_thrashes_is_kept_from_it() -> None:
    loop = saturated(Service(lambda _: 40, noise=NOISES["exponential"], thrash=0.02), 160, initial=200)
    assert_near(loop, 40, 100, 160)


@pytest.mark.law(34)
@pytest.mark.parametrize("demand", [0, 1, 8, 17])
def test_where_the_limit_is_never_reached_it_does_not_move(demand: int) -> None:
    loop = Loop(Finder(20, 1, 1_000, 0.0), Service(lambda _: 1_000, noise=NOISES["heavy"]), lambda _: demand, 3).run(
        120
    )
    assert {limit for _, limit in loop.limits} <= {20}


@pytest.mark.law(34)
def test_after_a_quiet_time_it_goes_on_where_it_was() -> None:
    busy = lambda at: 2_000 if at < 80 or at >= 160 else 3  # noqa: E731 - a line of the scene
    loop = Loop(Finder(20, 1, 1_000, 0.0), Service(lambda _: 40, noise=NOISES["exponential"]), busy, 5).run(200)
    assert_near(loop, 40, 50, 80)
    assert_near(loop, 40, 165, 200)


@pytest.mark.law(34)
def test_a_quiet_time_is_no_part_of_the_round_after_it() -> None:
    finder = Finder(20, 1, 1_000, 0.0)
    for minute in range(3):
        finder.note(0.1, 60.0 * minute, good=True, in_use=1)
    for number in range(101):  # twenty at once, of a tenth of a second each
        finder.note(0.1, 200.0 + 0.005 * number, good=True, in_use=20)
    (only,) = finder._rounds
    assert only.calls == pytest.approx(20, rel=0.02)


@pytest.mark.law(32, 34)
@given(
    calls=st.lists(
        st.tuples(st.sampled_from([0.0, 1e-9, 0.1, 5.0]), st.sampled_from([0.0, 1e-6, 0.3]), st.booleans()),
        max_size=400,
    ),
    reached=st.booleans(),
)
@example(calls=[(0.0, 0.3, True)] * 100, reached=True)
@example(calls=[(0.1, 0.0, True)] * 100, reached=True)
@example(calls=[(0.1, 0.3, False)] * 200, reached=True)
def test_no_latency_however_odd_throws_it_off(calls: list[tuple[float, float, bool]], reached: bool) -> None:
    finder, now = Finder(5, 2, 50, 0.0), 0.0
    for seconds, pause, good in calls:
        now += pause
        finder.note(seconds, now, good=good, in_use=finder.limit if reached else 1)
        assert 2 <= finder.limit <= 50
        assert reached or finder.limit == 5


@given(slope=st.floats(-2, 2), points=st.lists(st.floats(1, 100), min_size=3, max_size=12, unique=True))
def test_the_elasticity_is_the_slope_between_the_logarithms(slope: float, points: list[float]) -> None:
    rounds = [Round(calls, 7.0 * calls**slope) for calls in points]
    found = elasticity(rounds)
    if found is None:
        latest = [math.log(one.calls) for one in rounds[-2:]]
        assert abs(latest[0] - latest[1]) < 0.2
    else:
        assert found == pytest.approx(slope, abs=1e-6)


# As a bulkhead.


@pytest.mark.law(33)
@every_backend
def test_the_policy_itself_finds_the_knee(backend: str) -> None:
    bulkhead = AdaptiveBulkhead(initial=4, max_wait=None, queue=500)
    limits: list[int] = []

    async def scene() -> None:
        places = anyio.Semaphore(16)

        @bulkhead
        async def serve() -> None:
            async with places:
                await clock.asleep(0.1)

        async def client() -> None:
            while clock.now() < ends:
                await serve()
                if clock.now() > ends - 20:
                    limits.append(bulkhead.limit)

        ends = clock.now() + 60
        async with anyio.create_task_group() as tasks:
            for _ in range(60):
                tasks.start_soon(client)

    with sandbox():
        anyio.run(scene, backend=backend)
    assert sum(limits) / len(limits) == pytest.approx(16, rel=0.25)
    assert 8 <= min(limits) <= max(limits) <= 32


@every_door
@pytest.mark.parametrize("error", [CircuitOpen("inner"), KeyError(), KeyboardInterrupt()])
@pytest.mark.law(34)
def test_refusals_what_is_ignored_and_what_is_cancelled_say_nothing(door: Any, error: BaseException) -> None:
    bulkhead = AdaptiveBulkhead(initial=1, ignore=KeyError)

    def work() -> None:
        clock.sleep(0.1)
        raise error

    with sandbox():
        for _ in range(100):
            with pytest.raises(type(error)):
                door(bulkhead, work)
        assert (bulkhead.limit, bulkhead.stats.elasticity, bulkhead.stats.in_use) == (1, None, 0)


@every_door
def test_answers_count_through_every_door(door: Any) -> None:
    bulkhead = AdaptiveBulkhead(initial=1)
    with sandbox():
        for _ in range(50):
            door(bulkhead, lambda: clock.sleep(0.1))
        assert bulkhead.limit == 2


@pytest.mark.law(25, 30)
@every_door
def test_no_place_is_lost_whatever_becomes_of_the_calls(door: Any) -> None:
    bulkhead = AdaptiveBulkhead(initial=1, maximum=3)
    with sandbox():
        for number in range(200):
            outcome = (None, OSError(), KeyboardInterrupt())[number % 3]

            def work(outcome: BaseException | None = outcome) -> None:
                clock.sleep(0.05)
                if outcome is not None:
                    raise outcome

            try:
                door(bulkhead, work)
            except (OSError, KeyboardInterrupt):
                pass
            assert bulkhead.stats.in_use == 0
        leases = [bulkhead.admit() for _ in range(bulkhead.limit)]
        with pytest.raises(BulkheadFull):
            bulkhead.admit()
        assert bulkhead.stats.in_use == len(leases)


@pytest.mark.law(9, 32)
@every_door
def test_a_question_that_raises_loses_no_place(door: Any) -> None:
    def question(_: Exception) -> bool:
        raise LookupError

    def work() -> None:
        raise OSError

    bulkhead = AdaptiveBulkhead(initial=2, on=question)
    with sandbox():
        for _ in range(5):
            with pytest.raises(LookupError):
                door(bulkhead, work)
        assert bulkhead.stats.in_use == 0


@every_backend
def test_failures_are_no_answers_so_a_service_that_fails_for_load_gets_less(backend: str) -> None:
    bulkhead = AdaptiveBulkhead(initial=60, max_wait=None, queue=500)

    async def scene() -> None:
        inside = 0

        @bulkhead
        async def serve() -> None:
            nonlocal inside
            inside += 1
            try:
                full = inside > 20
                await clock.asleep(0.1)
                if full:
                    raise ConnectionError
            finally:
                inside -= 1

        async def client() -> None:
            while clock.now() < ends:
                try:
                    await serve()
                except (ConnectionError, Rejected):
                    pass

        ends = clock.now() + 60
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(client)

    with sandbox():
        anyio.run(scene, backend=backend)
        assert 10 <= bulkhead.limit <= 40


@pytest.mark.law(25)
@pytest.mark.parametrize("at", ["now", "note"])
def test_an_interrupt_while_a_call_is_timed_or_told_loses_no_place(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> float:
        raise KeyboardInterrupt

    bulkhead = AdaptiveBulkhead(initial=1)
    guarded = bulkhead(lambda: None)
    guarded()
    monkeypatch.setattr(*((clock, at) if at == "now" else (Finder, at)), interrupted)
    with pytest.raises(KeyboardInterrupt):
        guarded()
    monkeypatch.undo()
    assert bulkhead.stats.in_use == 0
