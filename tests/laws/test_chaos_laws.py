"""The laws of chaos: nothing unless asked for, the same fates for the same seed, the place of the service."""

import gc
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience import Cache, Chaos, CircuitBreaker, Pipeline, TimedOut, deadline, retry, timeout
from resilience._chaos import _roll
from resilience._clock import clock
from resilience.events import Injected
from resilience.testing import sandbox
from tests.crowd import beside
from tests.doors import FUNCTION_DOORS, SYNC_DOORS, Work
from tests.retry_doors import Heard, Passing, Script, outcome_of

Door = Callable[[Any, Work], Any]

every_door = pytest.mark.parametrize("door", FUNCTION_DOORS)
every_backend = pytest.mark.parametrize("backend", ["asyncio", "trio"])

seeds = st.integers(0, 2**32)
rates = st.floats(0, 1)


def splitmix(seed: int) -> Iterator[int]:
    """SplitMix64 as its authors write it: one after the other."""
    word = 2**64 - 1
    while True:
        seed = (seed + 0x9E3779B97F4A7C15) & word
        mixed = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & word
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & word
        yield mixed ^ (mixed >> 31)


def fates(seed: int, rate: float, calls: int) -> list[bool]:
    """Which of so many calls are broken: of the rolls, every second is for the latency."""
    return [(word >> 11) / 2**53 < rate for word in islice(splitmix(seed), 0, 2 * calls, 2)]


def broken(door: Door, chaos: Chaos, calls: int) -> list[bool]:
    return [isinstance(outcome_of(door, chaos, lambda: "ok"), Passing) for _ in range(calls)]


def raising(*_: Any, **__: Any) -> Any:
    raise AssertionError("nobody asked for this")


def test_the_rolls_are_those_of_splitmix64() -> None:
    # The reference values that are published with the algorithm for this seed.
    assert list(islice(splitmix(1234567), 3)) == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [int(_roll(1234567, n) * 2**53) for n in range(100)] == [w >> 11 for w in islice(splitmix(1234567), 100)]


@every_door
@pytest.mark.parametrize("line", ["ok", "passing", "quit"])
@pytest.mark.parametrize(
    "options", [{"fault": raising}, {"result": raising}, {"latency": 5}], ids=["fault", "result", "latency"]
)
@pytest.mark.parametrize("before", [lambda _: None, lambda chaos: chaos.start().stop()], ids=["new", "stopped"])
def test_off_it_does_nothing_at_all(door: Door, line: str, options: dict[str, Any], before: Any) -> None:
    chaos, work = Chaos(rate=1, when=raising, **options), Script(line)
    before(chaos)
    with sandbox() as time, Heard() as heard:
        outcome = outcome_of(door, chaos, work)
        assert outcome is work.made[0] or outcome == work.made[0] == "ok"
        assert (work.calls, heard.all, time.elapsed) == (1, [], 0.0)
        assert (chaos.stats.running, chaos.stats.calls, chaos.stats.injected) == (False, 0, 0)


@pytest.mark.law(44)
@every_door
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_a_fate_is_a_matter_of_the_seed_and_the_number_through_every_door(door: Door, rate: float) -> None:
    with sandbox(), Chaos(rate=rate, fault=Passing, seed=42) as chaos:
        assert broken(door, chaos, 12) == fates(42, rate, 12)
        chaos.start()  # again from the first
        assert broken(door, chaos, 12) == fates(42, rate, 12)


@pytest.mark.parametrize("door", SYNC_DOORS)
@given(seed=seeds, rate=rates)
def test_the_same_seed_breaks_the_same_calls(door: Door, seed: int, rate: float) -> None:
    with sandbox(), Chaos(rate=rate, fault=Passing, latency=(0, 9), seed=seed) as chaos, Heard() as heard:
        assert broken(door, chaos, 20) == fates(seed, rate, 20)
        latencies = [event.latency for event in heard.of(Injected)]
        rolls = [(word >> 11) / 2**53 for word in islice(splitmix(seed), 40)]
        assert latencies == [9 * slow for fate, slow in zip(rolls[::2], rolls[1::2], strict=True) if fate < rate]
        chaos.start()
        assert broken(door, chaos, 20) == fates(seed, rate, 20)
        assert [event.latency for event in heard.of(Injected)] == latencies * 2
        assert chaos.stats.calls == 20


@pytest.mark.law(44)
@given(seed=seeds, low=rates, high=rates)
def test_a_higher_rate_breaks_what_a_lower_one_breaks_and_more(seed: int, low: float, high: float) -> None:
    low, high = sorted((low, high))
    assert all(more or not less for less, more in zip(fates(seed, low, 50), fates(seed, high, 50), strict=True))
    with Chaos(rate=low, fault=Passing, seed=seed) as little, Chaos(rate=high, fault=Passing, seed=seed) as much:
        for _ in range(50):
            if isinstance(outcome_of(_call, little, lambda: "ok"), Passing):
                assert isinstance(outcome_of(_call, much, lambda: "ok"), Passing)
            else:
                outcome_of(_call, much, lambda: "ok")


def _call(policy: Any, work: Work) -> Any:
    return policy.call(work)


def test_a_rate_of_nothing_breaks_nothing_not_even_the_least_of_all_rolls() -> None:
    seed = 2**64 - 0x9E3779B97F4A7C15
    assert _roll(seed, 0) == 0.0
    with Chaos(rate=0, fault=Passing, seed=seed) as chaos:
        assert broken(_call, chaos, 1) == [False]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.99])
def test_the_rate_is_the_share_of_calls(rate: float, seed: int) -> None:
    with Chaos(rate=rate, fault=Passing, seed=seed) as chaos:
        assert sum(broken(_call, chaos, 4_000)) / 4_000 == pytest.approx(
            rate, abs=4 * (rate * (1 - rate) / 4_000) ** 0.5
        )


@pytest.mark.law(44)
@given(
    entries=st.dictionaries(st.integers(0, 60), st.sampled_from([0.0, 1.0]), min_size=1, max_size=6),
    steps=st.lists(st.integers(0, 25), max_size=12),
)
def test_a_schedule_says_from_which_second_on_which_rate_is_in_force(
    entries: dict[int, float], steps: list[int]
) -> None:
    with sandbox() as time:
        time.advance(1_000)  # the seconds are those since the start
        with Chaos(rate={float(since): rate for since, rate in entries.items()}, fault=Passing) as chaos:
            for step in [0, *steps]:
                time.advance(step)
                begun = [since for since in entries if since <= time.elapsed - 1_000]
                assert broken(_call, chaos, 1) == [bool(begun) and entries[max(begun)] == 1.0]


@pytest.mark.law(44)
@every_door
def test_only_calls_that_are_meant_are_broken_and_only_they_have_numbers(door: Door) -> None:
    answers = iter([True, False, False, True, True, False])
    with sandbox(), Chaos(rate=0.5, fault=Passing, seed=3, when=lambda: next(answers)) as chaos:
        first, *no, second, third, last = broken(door, chaos, 6)
        assert [first, second, third] == fates(3, 0.5, 3)
        assert [*no, last] == [False] * 3
        assert chaos.stats.calls == 3


@pytest.mark.law(46)
@every_door
@pytest.mark.parametrize("what", ["when", "fault", "result"])
def test_a_question_that_raises_ends_the_call_with_that(door: Door, what: str) -> None:
    def question() -> Any:
        raise LookupError

    options: dict[str, Any] = {"fault": Passing, what: question} if what == "when" else {what: question}
    with sandbox(), Heard() as heard, Chaos(rate=1, **options) as chaos:
        work = Script("ok")
        assert type(outcome_of(door, chaos, work)) is LookupError
        assert (work.calls, heard.all, chaos.stats.injected) == (0, [], 0)


@every_door
@given(low=st.floats(0, 5), more=st.floats(0.1, 5), seed=seeds)
def test_a_latency_lies_within_its_span_and_the_call_goes_on(door: Door, low: float, more: float, seed: int) -> None:
    with sandbox() as time, Chaos(rate=1, latency=(low, low + more), seed=seed) as chaos, Heard() as heard:
        work = Script("ok")
        assert outcome_of(door, chaos, work) == "ok"
        (told,) = heard.of(Injected)
        assert low <= time.elapsed <= low + more + 1e-9
        assert told == Injected("Chaos", "latency", told.latency, None)
        assert time.elapsed == pytest.approx(told.latency)
        assert work.calls == 1


@every_door
@pytest.mark.parametrize("kind", ["fault", "result"])
def test_what_is_injected_stands_in_the_place_of_the_call_and_comes_after_its_latency(door: Door, kind: str) -> None:
    made: list[Exception] = []

    def fault() -> Exception:
        made.append(Passing("mine"))
        return made[-1]

    options: dict[str, Any] = {"fault": fault} if kind == "fault" else {"result": lambda: "injected"}
    with sandbox() as time, Heard() as heard, Chaos(rate=1, latency=2, **options) as chaos:
        work = Script("ok")
        outcome = outcome_of(door, chaos, work)
        assert (work.calls, time.elapsed) == (0, 2.0)
        assert outcome == "injected" if kind == "result" else outcome is made[0]
        assert heard.all == [Injected("Chaos", kind, 2.0, made[0] if made else None)]


@pytest.mark.law(92)
@every_backend
def test_a_latency_is_that_of_the_service_so_a_deadline_lets_it_be_and_a_timeout_cuts_it(backend: str) -> None:
    chaos, work = Chaos(rate=1, latency=10), Script("ok")

    async def called() -> str:
        return work()

    async def scene() -> None:
        with deadline(3):
            assert await chaos(called)() == "ok"
        assert time.elapsed == 10.0
        with pytest.raises(TimedOut):
            await Pipeline(timeout(3), chaos)(called)()
        assert time.elapsed == 13.0

    with sandbox() as time, chaos:
        anyio.run(scene, backend=backend)
        assert work.calls == 1


@pytest.mark.law(92)
@pytest.mark.parametrize("door", SYNC_DOORS)
def test_a_deadline_does_not_shorten_what_a_plain_function_is_delayed_by(door: Door) -> None:
    with sandbox() as time, Chaos(rate=1, latency=10) as chaos, deadline(3):
        assert door(chaos, lambda: "ok") == "ok"
        assert time.elapsed == 10.0


@pytest.mark.law(68)
@every_backend
def test_a_cancellation_during_a_latency_is_prompt_and_whole(backend: str) -> None:
    work = Script("ok")

    async def called() -> str:
        return work()

    async def scene() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(chaos.acall, called)
            await clock.asleep(1)
            tasks.cancel_scope.cancel()

    with sandbox() as time, Chaos(rate=1, latency=10, fault=Passing) as chaos:
        anyio.run(scene, backend=backend)
        assert (work.calls, time.elapsed) == (0, 1.0)


@pytest.mark.law(70)
@every_backend
def test_a_stop_or_a_new_start_changes_no_call_under_way(backend: str) -> None:
    outcomes: list[Any] = []

    async def called() -> str:
        return "ok"

    async def one() -> None:
        try:
            outcomes.append(await chaos.acall(called))
        except Passing:
            outcomes.append("broken")

    async def scene() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one)
            await clock.asleep(1)
            chaos.stop()
            tasks.start_soon(one)
            await clock.asleep(1)
            assert outcomes == ["ok"]
            chaos.start()

    with sandbox(), Chaos(rate=1, latency=5, fault=Passing) as chaos:
        anyio.run(scene, backend=backend)
        assert outcomes == ["ok", "broken"]


@pytest.mark.law(70)
@every_door
def test_a_call_is_decided_by_the_start_that_it_began_under(door: Door) -> None:
    chaos = Chaos(rate=1, fault=Passing, when=lambda: bool(chaos.start()))
    with sandbox(), chaos:
        assert broken(door, chaos, 1) == [True]
        assert (chaos.stats.calls, chaos.stats.injected) == (0, 1)


@pytest.mark.law(93, 95)
@pytest.mark.parametrize("door", SYNC_DOORS)
def test_each_fault_is_a_new_one_and_leaves_nothing_behind(door: Door) -> None:
    with Chaos(rate=1, fault=Passing) as chaos:
        faults = [outcome_of(door, chaos, lambda: "ok") for _ in range(3)]
        assert len({id(fault) for fault in faults}) == 3
        assert [(str(fault), fault.__context__, getattr(fault, "__notes__", [])) for fault in faults] == [
            ("injected by Chaos", None, [])
        ] * 3
        gc.disable()
        try:
            left = [weakref.ref(fault) for fault in faults]
            faults.clear()
            assert [reference() for reference in left] == [None] * 3
        finally:
            gc.enable()


@every_door
def test_a_fault_is_evidence_and_is_repeated_as_the_services_own(door: Door) -> None:
    breaker = CircuitBreaker(trip=4)
    chaos, work = Chaos(rate={0: 1.0, 10: 0.0}, fault=Passing), Script("ok")
    with sandbox() as time, chaos:
        pipeline = Pipeline(retry(on=Passing, wait=1), breaker, chaos)
        assert isinstance(outcome_of(door, pipeline, work), Passing)
        assert chaos.stats.injected == 3
        outcome_of(door, pipeline, work)
        assert breaker.state == "open"
        assert work.calls == 0
        time.advance(100)
        assert outcome_of(door, pipeline, work) == "ok"


@every_door
def test_an_injected_result_is_not_kept_by_a_cache(door: Door) -> None:
    work = Script("ok")

    def same() -> Any:
        return work()

    chaos = Chaos(rate=1, result="injected")
    pipeline = Pipeline(Cache(60, key=lambda: "k"), chaos)
    with sandbox():
        with chaos:
            assert door(pipeline, same) == "injected"
        assert door(pipeline, same) == "ok"


@pytest.mark.law(70, 75, 97)
def test_threads_share_the_numbers_and_lose_none() -> None:
    outcomes: list[Any] = []

    def work() -> None:
        outcomes.extend(broken(_call, chaos, 500))

    with sandbox(), Chaos(rate=0.3, fault=Passing, seed=5) as chaos:
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            with beside(*[work] * 4):
                pass
        finally:
            sys.setswitchinterval(before)
        assert Counter(outcomes) == Counter(fates(5, 0.3, 2_000))
        assert (chaos.stats.calls, chaos.stats.injected) == (2_000, sum(outcomes))
        chaos.stop()
        chaos.start()
        assert (chaos.stats.calls, chaos.stats.injected) == (0, sum(outcomes))


@pytest.mark.law(72)
@every_backend
def test_the_functions_that_it_asks_are_given_the_calls_own_arguments(backend: str) -> None:
    def when(order: int, *, gift: bool) -> bool:
        return gift

    def result(order: int, *, gift: bool) -> str:
        return f"{order} {gift}"

    def plain(order: int, *, gift: bool) -> str:
        return "real"

    async def called(order: int, *, gift: bool) -> str:
        return "real"

    with sandbox(), Chaos(rate=1, result=result, when=when) as chaos:
        assert [chaos(plain)(7, gift=True), chaos(plain)(7, gift=False)] == ["7 True", "real"]

        async def scene() -> list[str]:
            return [await chaos(called)(8, gift=True), await chaos(called)(8, gift=False)]

        assert anyio.run(scene, backend=backend) == ["8 True", "real"]
