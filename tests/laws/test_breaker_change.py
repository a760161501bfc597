"""The laws of changing a circuit breaker while calls are under way."""

from typing import Any

import pytest

from resilience._breaker import CircuitBreaker
from resilience._rates import FailureRate, SlowRate
from resilience.testing import sandbox


def opened(**options: Any) -> CircuitBreaker:
    breaker = CircuitBreaker(**{"trip": 1, "cooldown": 10.0, "jitter": 0.0, **options})
    breaker.admit().fail()
    return breaker


@pytest.mark.law(22)
def test_calls_under_way_are_judged_by_what_held_when_they_started() -> None:
    with sandbox():
        breaker = CircuitBreaker(trip=1, on=OSError, jitter=0.0)
        before = breaker.admit()
        breaker.configure(on=KeyError)
        after = breaker.admit()
        after.fail(OSError())
        assert breaker.state == "closed"
        before.fail(OSError())
        assert breaker.state == "open", "and it counts, for the same run of failures"


@pytest.mark.law(22)
def test_a_success_from_before_a_change_counts_after_it_as_one_that_was_not_timed() -> None:
    with sandbox() as time:
        breaker = CircuitBreaker(trip=2)

        @breaker
        def meanwhile() -> None:
            breaker.configure(trip=(2, SlowRate(0.1, slower_than=0.1, calls=9, minimum=1)))
            breaker.admit().fail()
            time.advance(1_000.0)

        meanwhile()
        assert breaker.state == "closed", "nobody noted when it started, so it was not slow"
        assert breaker.stats.failures_in_row == 0
        assert breaker.stats.windows[0].calls == 2


@pytest.mark.law(22)
def test_an_open_one_keeps_its_wait_and_a_failed_change_changes_nothing() -> None:
    with sandbox() as time:
        breaker = opened()
        time.advance(4.0)
        breaker.configure(cooldown=100.0, trip=3)
        assert breaker.stats.retry_after == 6.0
        for wrong in ({"cooldown": -1}, {"trip": ()}, {"colour": "red"}, {"name": "other"}):
            with pytest.raises((TypeError, ValueError)):
                breaker.configure(**wrong)
        time.advance(6.0)
        breaker.admit().fail()
        assert breaker.stats.retry_after == 100.0


@pytest.mark.law(22)
def test_fewer_probes_close_one_that_has_proven_enough() -> None:
    with sandbox() as time:
        breaker = opened(probes=3)
        time.advance(10.0)
        breaker.admit().succeed()
        breaker.admit().succeed()
        assert breaker.state == "half_open"
        breaker.configure(probes=2)
        assert breaker.state == "closed"


@pytest.mark.law(22)
def test_an_unchanged_rule_keeps_its_counts_and_a_new_one_begins_empty() -> None:
    kept, new = FailureRate(0.5, calls=10), FailureRate(0.5, seconds=60)
    with sandbox():
        breaker = CircuitBreaker(trip=(9, kept))
        breaker.admit().fail()
        breaker.admit().succeed()
        breaker.configure(trip=(9, new, kept))
        breaker.admit().fail()
        assert [(window.calls, window.bad) for window in breaker.stats.windows] == [(1, 1), (3, 2)]
        breaker.configure(probes=2)
        assert [(window.calls, window.bad) for window in breaker.stats.windows] == [(1, 1), (3, 2)]
