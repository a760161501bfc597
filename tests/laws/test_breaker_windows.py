"""The laws of windows: what counts, for how long, and what it costs."""

import sys
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience._breaker import CircuitBreaker
from resilience._breaking import WindowStats
from resilience._rates import FailureRate, SlowRate
from resilience.testing import sandbox

NEVER = {"cooldown": 10.0, "jitter": 0.0}


def settle(breaker: CircuitBreaker, failed: bool) -> None:
    lease = breaker.admit()
    lease.fail() if failed else lease.succeed()


@pytest.mark.law(24)
@given(size=st.integers(1, 5), outcomes=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=8, max_size=40))
def test_a_call_window_is_a_ring_buffer(size: int, outcomes: list[tuple[bool, bool]]) -> None:
    """Whatever succeeds or fails, and however often somebody looks on the way: n recorded is n observed."""
    with sandbox():
        breaker = CircuitBreaker(trip=FailureRate(1.0, calls=size), **NEVER)
        ring: deque[bool] = deque(maxlen=size)
        for failed, look in outcomes:
            if failed and sum([*ring, True][-size:]) == size:
                continue  # it would open
            settle(breaker, failed)
            ring.append(failed)
            if look:
                assert breaker.stats.windows[0] == WindowStats(FailureRate(1.0, calls=size), len(ring), sum(ring))


@pytest.mark.law(13, 83)
@given(
    seconds=st.sampled_from([0.3, 1.0, 10.0, 3_600.0]),
    steps=st.lists(st.tuples(st.floats(0.0, 0.7), st.booleans()), min_size=1, max_size=60),
    idle=st.floats(0.0, 1.5),
)
def test_a_time_window_holds_what_is_young_enough(seconds: float, steps: list[tuple[float, bool]], idle: float) -> None:
    """Everything younger than 99 % of the window counts, nothing that is as old as the window does."""
    with sandbox() as time:
        # No rate reaches 1.0 once a call has succeeded, so it counts on.
        breaker = CircuitBreaker(trip=FailureRate(1.0, seconds=seconds, minimum=1_000), **NEVER)
        log: list[tuple[float, bool]] = []
        for step, failed in steps:
            time.advance(step * seconds)
            settle(breaker, failed)
            log.append((time.now(), failed))
            between(breaker, log, time.now(), seconds)
        time.advance(idle * seconds)
        between(breaker, log, time.now(), seconds)


def between(breaker: CircuitBreaker, log: list[tuple[float, bool]], now: float, seconds: float) -> None:
    window = breaker.stats.windows[0]
    young = [failed for when, failed in log if now - when < seconds * 0.99 - 1e-9]
    alive = [failed for when, failed in log if now - when < seconds]
    assert len(young) <= window.calls <= len(alive)
    assert sum(young) <= window.bad <= sum(alive)


@pytest.mark.law(83)
@given(offset=st.floats(0.0, 3.0))
def test_two_failures_a_tenth_of_a_second_apart_are_seen_together(offset: float) -> None:
    with sandbox() as time:
        breaker = CircuitBreaker(trip=FailureRate(1.0, seconds=1.0, minimum=2), **NEVER)
        settle(breaker, failed=False)  # a window has begun, and its parts lie somewhere
        time.advance(1.0 + offset)
        settle(breaker, failed=True)
        time.advance(0.1)
        settle(breaker, failed=True)
        assert breaker.state == "open"


@pytest.mark.law(13)
@pytest.mark.parametrize(
    "rule", [FailureRate(0.5, seconds=10, minimum=5), SlowRate(0.5, slower_than=1, seconds=10, minimum=5)]
)
def test_after_an_idle_hour_one_bad_call_is_one_bad_call(rule: Any) -> None:
    with sandbox() as time:
        breaker = CircuitBreaker(trip=rule, **NEVER)
        for _ in range(4):
            bad(breaker, time)
        assert breaker.stats.windows[0].bad == 4
        time.advance(3_600.0)
        assert breaker.stats.windows[0].calls == 0
        bad(breaker, time)
        assert breaker.state == "closed"
        assert (breaker.stats.windows[0].calls, breaker.stats.windows[0].bad) == (1, 1)


def bad(breaker: CircuitBreaker, time: Any) -> None:
    lease = breaker.admit()
    time.advance(1.5)
    lease.fail()


@pytest.mark.law(14)
@given(
    size=st.integers(1, 40),
    ratio=st.sampled_from([0.07, 0.1, 0.3, 1 / 3, 0.5, 0.7, 1.0]),
    minimum=st.integers(1, 40),
)
def test_it_opens_at_the_ratio_and_at_the_minimum_and_not_before(size: int, ratio: float, minimum: int) -> None:
    """>=, for the share as for the number: the first failure that brings both there, and no earlier one."""
    with sandbox():
        minimum = min(minimum, size)
        breaker = CircuitBreaker(trip=FailureRate(ratio, calls=size, minimum=minimum), **NEVER)
        goods = size - next(bads for bads in range(1, size + 1) if bads / size >= ratio)
        for _ in range(goods):
            settle(breaker, failed=False)
        failures = 0
        while breaker.state == "closed":
            calls = goods + failures + 1
            settle(breaker, failed=True)
            failures += 1
            met = calls >= minimum and failures / calls >= ratio
            assert (breaker.state == "open") == met, (calls, failures)
        assert failures <= size


@pytest.mark.law(14)
def test_seven_of_a_hundred_are_seven_per_cent() -> None:
    """In floats, 0.07 * 100 is more than 7."""
    with sandbox():
        breaker = CircuitBreaker(trip=FailureRate(0.07, calls=100, minimum=100), **NEVER)
        for number in range(100):
            assert breaker.state == "closed"
            settle(breaker, failed=number >= 93)
        assert breaker.state == "open"


@pytest.mark.law(13)
def test_slow_calls_count_as_slow_whether_they_succeed_or_fail() -> None:
    with sandbox() as time:
        breaker = CircuitBreaker(trip=(10, SlowRate(0.5, slower_than=1.0, calls=10, minimum=4)), **NEVER)
        for failed, took in ((False, 0.5), (True, 2.0), (False, 1.0), (False, 2.0)):
            assert breaker.state == "closed"
            lease = breaker.admit()
            time.advance(took)
            lease.fail() if failed else lease.succeed()
        assert breaker.state == "open"
        assert (breaker.stats.slow, breaker.stats.failures) == (2, 0)


@pytest.mark.law(13)
def test_a_slow_failure_is_a_failure_too() -> None:
    with sandbox() as time:
        breaker = CircuitBreaker(trip=(2, SlowRate(1.0, slower_than=1.0, calls=10)), **NEVER)
        for _ in range(2):
            bad(breaker, time)
        assert breaker.state == "open"
        assert "2 failures in a row" in breaker.snapshot()["reason"]


def steps_of(action: Callable[[], object]) -> int:
    """How much Python of ours an action runs: lines, calls and returns, counted rather than timed."""
    steps = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal steps
        if not frame.f_globals.get("__name__", "").startswith("resilience."):
            return None  # a garbage collection, say, that happens to come now
        steps += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return steps


@pytest.mark.law(20)
@pytest.mark.parametrize(
    "rule",
    [
        FailureRate(0.9, calls=10**6),
        FailureRate(0.9, seconds=3_600),
        SlowRate(0.9, slower_than=1, calls=10**6),
        SlowRate(0.9, slower_than=1, seconds=3_600),
    ],
    ids=str,
)
def test_the_cost_of_a_failure_does_not_grow_with_the_window(rule: Any) -> None:
    with sandbox() as time:
        breaker = CircuitBreaker(trip=rule, **NEVER)
        guarded = breaker(lambda: None)
        costs: list[tuple[int, int]] = []
        for calls in (100, 1_000, 5_000):
            for number in range(calls):
                guarded()
                if number % 2:
                    settle(breaker, failed=True)
                time.advance(0.01)
            held = len(breaker._circuit.period.book.windows[0]._marks) if rule.seconds else 0  # type: ignore[union-attr]
            assert held <= 101
            lease = breaker.admit()
            costs.append((steps_of(lambda lease=lease: lease.fail()), steps_of(lambda: breaker.stats)))  # type: ignore[misc]
        assert len(set(costs)) == 1, costs
