"""The simulator: its world is as asyncio's, its service as the textbook's, its figures the same in every run."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from math import inf, nan
from typing import Any

import anyio
import pytest

from resilience import (
    Bulkhead,
    Cache,
    CircuitBreaker,
    Hedge,
    Keyed,
    Pipeline,
    RateLimiter,
    TimedOut,
    fallback,
    listen,
    retry,
    timeout,
)
from resilience._clock import clock
from resilience._compose import acompose
from resilience.simulate import Brownout, LookAside, Service, exponential, lognormal, simulate
from resilience.simulate._loop import START
from resilience.simulate._report import quantile_of, sparkline
from resilience.simulate._run import _living_in
from resilience.simulate._world import Caller, World
from resilience.testing import sandbox

ARRIVALS = [0.0, 0.013, 0.031, 0.047, 0.3, 0.311, 0.37, 0.61, 1.27, 1.33, 1.41, 2.9, 2.93, 3.17]


def service() -> Callable[[], Awaitable[None]]:
    """Slow at first, and it fails at times: the same for both worlds."""
    begun = 0

    async def ask() -> None:
        nonlocal begun
        begun += 1
        slow, fails = begun % 3 == 1, begun % 4 == 2
        await clock.asleep(0.29 if slow else 0.05)
        if fails:
            raise ConnectionError("no")

    return ask


POLICIES: dict[str, Callable[[], Any]] = {
    "nothing": Pipeline,
    "retry": lambda: retry(on=ConnectionError, wait=0.07),
    "jittered retry": lambda: retry(on=ConnectionError, budget=None),
    "timeout": lambda: timeout(0.2),
    "timeouts": lambda: Pipeline(timeout(0.4), retry(on=TimedOut, wait=0.03), timeout(0.11)),
    "breaker": lambda: CircuitBreaker(trip=2, cooldown=0.5),
    "bulkhead": lambda: Bulkhead(1, max_wait=0.4, queue=3),
    "limiter": lambda: RateLimiter(4, burst=1, max_wait=0.6),
    "hedge": lambda: Hedge(0.1, budget=None),
    "hedge under a limit": lambda: Pipeline(timeout(0.27), Hedge(0.06, attempts=3, budget=None)),
    "cache": lambda: Cache(0.2),
    "all": lambda: Pipeline(
        timeout(1.0), retry(on=(ConnectionError, TimedOut), wait=0.05), CircuitBreaker(), Bulkhead(2, max_wait=1),
        timeout(0.25),
    ),
}  # fmt: skip


def in_asyncio(policy: Any) -> list[tuple[float, str]]:
    ended = [(0.0, "")] * len(ARRIVALS)

    async def arrive(number: int, call: Callable[[], Awaitable[Any]]) -> None:
        began = clock.now()
        await clock.asleep(ARRIVALS[number])
        how = "ok"
        try:
            await call()
        except Exception as error:
            how = type(error).__name__
        ended[number] = (round(clock.now() - began, 6), how)

    async def main() -> None:
        call = acompose(Pipeline(policy).layers(), service())
        async with asyncio.TaskGroup() as tasks:
            for number in range(len(ARRIVALS)):
                tasks.create_task(arrive(number, call))

    with sandbox():
        clock.random = lambda: 0.25
        asyncio.run(main())
    return ended


def in_a_world(policy: Any) -> list[tuple[float, str]]:
    ended = [(0.0, "")] * len(ARRIVALS)
    world = World(0)
    world.random = lambda: 0.25

    def start(number: int, call: Callable[[], Any]) -> None:
        def note(_: Caller, error: BaseException | None) -> None:
            ended[number] = (round(world.elapsed, 6), "ok" if error is None else type(error).__name__)

        Caller(world, call(), note).go()

    with _living_in(world):
        call = acompose(Pipeline(policy).layers(), service())
        for number, moment in enumerate(ARRIVALS):
            world.call_at(START + moment, start, number, call)
        world.run(START + 60.0)
    assert not world.waiting
    return ended


async def clock_sleep(seconds: float) -> None:
    await clock.asleep(seconds)


async def wait_for_nothing(seconds: float) -> None:
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("name", POLICIES)
def test_every_call_ends_when_and_as_on_asyncio(name: str) -> None:
    with sandbox():
        expected, found = in_asyncio(POLICIES[name]()), in_a_world(POLICIES[name]())
    assert found == expected
    assert {how for _, how in found} != {""}


def test_what_a_call_awaits_may_be_asyncio_s_or_anyio_s() -> None:
    seen: list[str] = []

    async def ask() -> None:
        began = clock.now()
        await asyncio.sleep(1)
        await anyio.sleep(1)
        bell = asyncio.Event()
        beside = asyncio.get_running_loop().create_task(ring(bell))
        await bell.wait()
        await beside
        with anyio.move_on_after(1) as scope:
            await anyio.sleep(10)
        assert scope.cancelled_caught
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ring, bell)
            tasks.start_soon(ring, bell)
        assert asyncio.current_task().get_name() == "a simulated call"  # type: ignore[union-attr]
        await asyncio.sleep(0)
        await asyncio.gather(clock.asleep(1), clock.asleep(1))
        await clock.asleep(-1)
        seen.append(f"{clock.now() - began:g}")

    async def ring(bell: asyncio.Event) -> None:
        await clock.asleep(1)
        bell.set()

    report = simulate(ask, rate=2, seconds=20)
    assert not report.errors
    assert set(seen) == {"6"}


@pytest.mark.parametrize("wait", [clock_sleep, asyncio.sleep, wait_for_nothing])
def test_a_call_that_cancels_itself_is_cut_where_it_waits_next(wait: Callable[[float], Awaitable[None]]) -> None:
    seen: list[str] = []

    async def ask() -> None:
        task = asyncio.current_task()
        assert task is not None
        assert task.cancel("enough")
        seen.append("goes on")
        try:
            await wait(10)
        except asyncio.CancelledError as error:
            assert task.uncancel() == 0
            seen.append(str(error))
        await clock.asleep(1)
        seen.append("is well")

    report = simulate(ask, rate=1, seconds=9, seed=1)
    assert set(report.latencies) == {1.0}
    assert seen[:2] == ["goes on", "enough"]
    assert seen.count("goes on") == seen.count("enough") == report.calls


# The service


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_a_queue_is_as_long_as_the_textbook_says(load: float) -> None:
    """M/M/1: the mean time of a stay is the work's, divided by the share of time that is free."""
    report = simulate(Service(1, exponential(0.1)), rate=10 * load, seconds=6_000)
    assert sum(report.latencies) / report.answered == pytest.approx(0.1 / (1 - load), rel=0.06)
    assert report.quantile(0.5) == pytest.approx(0.0693 / (1 - load), rel=0.06)


def test_latencies_are_those_that_were_asked_for() -> None:
    report = simulate(Service(1_000, lognormal(0.05, 0.2)), rate=500, seconds=60)
    assert report.quantile(0.5) == pytest.approx(0.05, rel=0.02)
    assert report.quantile(0.99) == pytest.approx(0.2, rel=0.05)
    assert list(report.latencies) == sorted(report.latencies)
    assert all(tick.p50 == pytest.approx(0.05, rel=0.15) for tick in report.ticks)
    measured = simulate(Service(1_000, [0.1, 0.3]), rate=100, seconds=10)
    assert {round(one, 6) for one in measured.latencies} == {0.1, 0.3}


def test_a_full_queue_refuses_at_once() -> None:
    report = simulate(Service(1, 1.0, queue=2), rate=50, seconds=10)
    assert report.answered == pytest.approx(9, abs=1)
    assert report.errors[ConnectionError] == report.calls - report.answered - report.unfinished
    assert report.unfinished == 3
    assert report.quantile(1.0) == pytest.approx(3.0, abs=0.1)


def test_a_queue_of_none_refuses_whoever_would_wait() -> None:
    report = simulate(Service(1, 0.5, queue=0), rate=50, seconds=10)
    assert {round(one, 6) for one in report.latencies} == {0.5}


def test_a_stall_holds_up_everybody_and_ends() -> None:
    stalled = Service(4, 0.01, brownouts=[Brownout(5, 8, slower=inf)])
    report = simulate(stalled, rate=20, seconds=20)
    assert [tick.answered for tick in report.ticks[6:8]] == [0, 0]
    assert report.ticks[8].answered > 60
    assert report.answered + report.unfinished == report.calls
    assert report.quantile(1.0) == pytest.approx(3.0, abs=0.3)


def test_brownouts_add_up() -> None:
    ill = [Brownout(0, 20, slower=2), Brownout(10, 30, slower=3, failing=0.5)]
    report = simulate(Service(500, 0.1, brownouts=ill), rate=100, seconds=40)
    assert [round(report.ticks[second].p50 or 0, 6) for second in (5, 15, 25, 35)] == [0.2, 0.6, 0.3, 0.1]
    failing = sum(tick.failed for tick in report.ticks[11:30])
    assert failing == pytest.approx(19 * 50, rel=0.15)
    assert sum(tick.failed for tick in report.ticks[:10]) == 0


def test_work_goes_on_for_those_who_have_gone() -> None:
    """Two workers can do ten a second; each is at work for all that came, the cut ones too."""
    report = simulate(Service(2, 0.2), timeout(0.3), rate=20, seconds=60)
    assert report.timed_out > report.answered * 4


def test_a_cache_is_warm_until_it_is_cleared() -> None:
    asked = 0
    behind = Service(1_000, 0.05)

    def count() -> Awaitable[None]:
        nonlocal asked
        asked += 1
        return behind()

    cache = LookAside(count, keys=100, ttl=10, hit=0)
    warm = simulate(cache, rate=1_000, seconds=20)
    assert asked == pytest.approx(200, rel=0.6)
    assert warm.quantile(0.5) == 0.0
    asked = 0
    simulate(cache, rate=1_000, seconds=20, at=[(20.0, cache.clear)])
    before, asked = asked, 0
    simulate(cache, rate=1_000, seconds=20, at=[(5.0, cache.clear)])
    assert asked > before + 50


def test_a_model_starts_anew_with_each_run_and_runs_in_a_sandbox_too() -> None:
    one = Service(1, 0.5)
    assert simulate(one, rate=10, seconds=10) == simulate(one, rate=10, seconds=10)
    with sandbox() as time:
        asyncio.run(_ask(one))
        assert time.elapsed == pytest.approx(0.5)


async def _ask(one: Service) -> None:
    await one()


# The run


def policy() -> Pipeline:
    return Pipeline(retry(on=(ConnectionError, TimedOut)), CircuitBreaker(cooldown=2), timeout(0.3))


def trouble() -> Service:
    return Service(10, lognormal(0.04, 0.1), brownouts=[Brownout(3, 6, slower=4, failing=0.3)])


def test_the_same_seed_gives_the_same_run() -> None:
    first, second, third = (simulate(trouble(), policy(), rate=150, seconds=15, seed=seed) for seed in (7, 7, 8))
    assert first == second
    assert str(first) == str(second)
    assert first != third


def test_calls_come_at_the_same_moments_whatever_guards_them() -> None:
    bare, guarded = simulate(trouble(), rate=150, seconds=15), simulate(trouble(), policy(), rate=150, seconds=15)
    assert [tick.calls for tick in bare.ticks] == [tick.calls for tick in guarded.ticks]


def test_everything_is_counted_once() -> None:
    report = simulate(trouble(), policy(), rate=150, seconds=15.5)
    assert report.calls == report.answered + report.refused + report.timed_out + report.failed + report.unfinished
    for name in ("calls", "requests", "answered", "refused", "timed_out", "failed"):
        assert sum(getattr(tick, name) for tick in report.ticks) == getattr(report, name)
    assert report.ticks[-1].running == report.unfinished
    assert report.refused > 0
    assert (report.ticks[-1].begin, report.ticks[-1].end) == (15.0, 15.5)
    assert report.amplification == report.requests / report.calls
    assert report.goodput == report.answered / 15.5


def test_a_client_waits_for_its_answer_and_thinks() -> None:
    report = simulate(Service(1_000, 0.5), think=0.5, clients=100, seconds=200)
    assert report.calls == pytest.approx(100 * 200, rel=0.02)
    assert max(tick.running for tick in report.ticks) <= 100


def test_each_client_of_a_fleet_has_its_own_policy() -> None:
    made: list[int] = []

    def make(number: int) -> CircuitBreaker:
        made.append(number)
        return CircuitBreaker(trip=1, cooldown=60, jitter=0)

    report = simulate(Service(100, 0.01, brownouts=[Brownout(0, 60, failing=1)]), make, think=1, clients=8, seconds=20)
    assert made == list(range(8))
    assert report.requests == 8


def test_a_rate_may_change_and_be_nothing() -> None:
    report = simulate(Service(100, 0.001), rate=lambda second: 0 if second < 5 else 100 * (second < 10), seconds=15)
    assert [tick.calls > 50 for tick in report.ticks] == [False] * 5 + [True] * 5 + [False] * 5


def test_nothing_is_left_of_a_run() -> None:
    heard: list[object] = []
    bulkhead, breaker = Bulkhead(3, max_wait=5), CircuitBreaker(trip=1)
    with pytest.raises(ZeroDivisionError):
        breaker.call(lambda: 1 / 0)
    thresholds, before = gc.get_threshold(), clock.now
    with listen(heard.append):
        report = simulate(Service(1, 5.0), Pipeline(breaker, bulkhead), rate=10, seconds=8)
    assert report.answered == 1  # the breaker, open as it was, began calm
    assert not heard
    assert breaker.state == "open"
    assert bulkhead.stats.in_use == bulkhead.stats.waiting == 0
    assert gc.get_threshold() == thresholds
    assert clock.now is before
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_what_is_under_way_at_the_end_is_ended() -> None:
    ended: list[str] = []

    async def beside() -> None:
        try:
            await clock.asleep(60)
        finally:
            ended.append("beside")

    async def ask() -> None:
        task = asyncio.get_running_loop().create_task(beside())
        try:
            await clock.asleep(60)
        finally:
            ended.append("call")
        await task

    report = simulate(ask, rate=2, seconds=10)
    assert ended.count("call") == ended.count("beside") == report.unfinished > 0


def test_at_the_end_sleepers_and_who_waits_for_others_are_ended_in_the_order_in_which_they_began() -> None:
    began: list[float] = []
    ended: list[float] = []

    async def ask() -> None:
        began.append(mine := clock.now())
        try:
            await (clock.asleep(60) if len(began) % 2 else wait_for_nothing(0))
        finally:
            ended.append(mine if asyncio.current_task() is not None else 0.0)  # not by the garbage collector

    report = simulate(ask, rate=2, seconds=10)
    assert ended == began
    assert report.unfinished == report.ticks[-1].running == len(began) > 3

    del began[:], ended[:]
    simulate(ask, think=0.1, seconds=10, tick=100)  # what would come next is the call itself
    assert ended == began != []


def test_it_runs_inside_of_a_running_loop() -> None:
    async def main() -> int:
        report = simulate(Service(1, 0.1), timeout(0.3), rate=5, seconds=10)
        await asyncio.sleep(0)
        return report.answered

    assert asyncio.run(main()) > 10


def test_a_fallback_answers() -> None:
    report = simulate(Service(1, 0.1, brownouts=[Brownout(0, 9, failing=1)]), fallback(0, on=ConnectionError), rate=5)
    assert report.answered + report.unfinished == report.calls


def test_what_goes_wrong_in_the_story_itself_is_raised() -> None:
    def wrong() -> None:
        raise LookupError("the story")

    with pytest.raises(LookupError, match="the story"):
        simulate(Service(1, 0.1), rate=5, seconds=10, at=[(5, wrong)])
    report = simulate(_blocking, rate=5, seconds=2)
    assert report.errors == {RuntimeError: report.calls}


async def _blocking() -> None:
    clock.sleep(1.0)


# The report


def test_recovery_is_when_it_is_well_for_good() -> None:
    flaky = Service(100, 0.01, brownouts=[Brownout(5, 10, failing=1), Brownout(15, 16, failing=1)])
    report = simulate(flaky, rate=100, seconds=30)
    assert report.recovery(10) == pytest.approx(6, abs=1)
    assert report.recovery(20) == 0.0
    late = simulate(Service(100, 0.01, brownouts=[Brownout(5, 90, failing=1)]), rate=100, seconds=30)
    assert late.recovery(10) is None
    hung = simulate(Service(1, 50.0), rate=1, seconds=30)
    assert hung.recovery(0) is None


def test_a_quantile_is_a_value_that_was_seen() -> None:
    assert [quantile_of([1.0, 2.0, 3.0, 4.0], share) for share in (0, 0.25, 0.5, 0.51, 1)] == [1, 1, 2, 3, 4]
    assert quantile_of([], 0.5) is None


def test_a_report_is_a_table_and_its_course() -> None:
    text = str(simulate(trouble(), policy(), rate=150, seconds=15))
    assert "answered" in text
    assert "refused, CircuitOpen" in text
    assert "p99.9" in text
    assert text.count("▁") > 0
    assert sparkline([0.0, 1.0, 2.0], 2.0) == "▁▄█"
    assert sparkline([0.0, 0.0], 0.0) == "▁▁"


def test_nobody_called_and_nothing_is_to_tell() -> None:
    report = simulate(Service(1, 0.1), rate=lambda _: 0, seconds=3)
    assert (report.calls, report.amplification, report.quantile(0.5), report.recovery(0)) == (0, 0.0, None, 0.0)
    assert str(report)


# Bad input


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: Service(0, 0.1), ValueError, "capacity must be at least 1"),
        (lambda: Service(1, 0), ValueError, "latency must be greater than 0"),
        (lambda: Service(1, []), ValueError, "latency must be seconds or some durations"),
        (lambda: Service(1, [-1.0]), ValueError, "each latency must be at least 0"),
        (lambda: Service(1, 0.1, queue=-1), ValueError, "queue must be at least 0"),
        (lambda: Service(1, 0.1, brownouts=[3]), TypeError, "brownouts must hold"),  # type: ignore[list-item]
        (lambda: Brownout(5, 5), ValueError, "end must be greater than 5"),
        (lambda: Brownout(0, 5, slower=0), ValueError, "slower must be greater than 0"),
        (lambda: Brownout(0, 5, failing=1.1), ValueError, "failing must be at most 1"),
        (lambda: lognormal(0.2, 0.1), ValueError, "p99 must be at least 0.2"),
        (lambda: exponential(0), ValueError, "mean must be greater than 0"),
        (lambda: LookAside(3, keys=1, ttl=1), TypeError, "behind must be a function"),  # type: ignore[arg-type]
        (lambda: LookAside(Service(1, 1), keys=0, ttl=1), ValueError, "keys must be at least 1"),
        (lambda: simulate(3, rate=1), TypeError, "service must be a function"),  # type: ignore[arg-type]
        (lambda: simulate(Service(1, 1)), TypeError, "give either rate="),
        (lambda: simulate(Service(1, 1), rate=1, think=1), TypeError, "got rate=1 and think=1.0"),
        (lambda: simulate(Service(1, 1), rate=0), ValueError, "rate must be greater than 0"),
        (lambda: simulate(Service(1, 1), think=0), ValueError, "think must be greater than 0"),
        (lambda: simulate(Service(1, 1), rate=1, clients=0), ValueError, "clients must be at least 1"),
        (lambda: simulate(Service(1, 1), rate=1, seconds=inf), ValueError, "seconds must be a finite"),
        (lambda: simulate(Service(1, 1), 7, rate=1), TypeError, "policy must be a policy"),  # type: ignore[arg-type]
        (lambda: simulate(Service(1, 1), rate=1, at=[(1, 2)]), TypeError, "at must hold pairs"),  # type: ignore[list-item]
        (lambda: simulate(Service(1, 1), rate=1, at=[3]), TypeError, "at must hold pairs of seconds"),  # type: ignore[list-item]
        (lambda: simulate(Service(1, 1), rate=1, at=[(1,)]), TypeError, "at must hold pairs of seconds and"),  # type: ignore[list-item]
        (lambda: simulate(Service(1, 1), rate=1, at=None), TypeError, "at must hold pairs of seconds and a function"),  # type: ignore[arg-type]
        (lambda: simulate(Service(1, 1), rate=lambda _: "x"), TypeError, "what rate= returns for second 0 must be"),  # type: ignore[arg-type,return-value]
        (lambda: simulate(Service(1, 1), rate=lambda _: nan), ValueError, "must be a finite number"),
        (lambda: simulate(Service(1, 1), rate=lambda _: -1), ValueError, "must be at least 0"),
        (
            lambda: simulate(Service(1, 1), Keyed(lambda _: CircuitBreaker(), key="host"), rate=1),
            ValueError,
            "a simulated call has no arguments",
        ),
    ],
)
def test_bad_input_is_refused(make: Callable[[], object], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words.replace("(", r"\(")):
        make()
