"""The adaptive bulkhead as its users meet it: options, bad input, doors, figures."""

import pickle
from typing import Any

import pytest

from resilience import AdaptiveBulkhead, AdaptiveStats, Bulkhead, Pipeline, policies
from resilience._clock import clock
from resilience.testing import sandbox


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"initial": 0}, ValueError, "initial must be at least 1"),
        ({"initial": 1.5}, TypeError, "initial must be a whole number"),
        ({"minimum": 0}, ValueError, "minimum must be at least 1"),
        ({"maximum": "9"}, TypeError, "maximum must be a whole number"),
        ({"minimum": 30}, ValueError, "initial must be from minimum=30 to maximum=1000, got 20"),
        ({"maximum": 10}, ValueError, "initial must be from minimum=1 to maximum=10, got 20"),
        ({"max_wait": -1}, ValueError, "max_wait must be"),
        ({"queue": 3}, ValueError, "queue=3 has no effect"),
        ({"on": ()}, ValueError, "on must name at least one"),
        ({"ignore": 3}, TypeError, "ignore takes exception types"),
        ({"name": ""}, ValueError, "name must not be empty"),
    ],
)
def test_bad_options_are_refused_when_it_is_made(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        AdaptiveBulkhead(**options)


def test_a_limit_may_be_set_by_hand_within_the_bounds() -> None:
    bulkhead = AdaptiveBulkhead(maximum=50)
    with sandbox():
        bulkhead.resize(50)
        assert (bulkhead.limit, bulkhead.stats.available) == (50, 50)
        for limit in (0, 51):
            with pytest.raises(ValueError, match="limit must be"):
                bulkhead.resize(limit)


def test_a_released_lease_says_nothing_and_gives_its_place_back() -> None:
    bulkhead = AdaptiveBulkhead(initial=1)
    with sandbox():
        for _ in range(60):
            lease = bulkhead.admit()
            clock.sleep(0.1)
            lease.release()
        assert bulkhead.stats == AdaptiveStats(1, 0, 0, 1, 0, None)


def test_it_is_a_bulkhead_and_is_found_as_one() -> None:
    bulkhead = AdaptiveBulkhead(name="found")
    assert isinstance(bulkhead, Bulkhead)
    assert bulkhead in policies(AdaptiveBulkhead)
    with pytest.raises(TypeError, match="holds live state"):
        pickle.dumps(bulkhead)


def test_what_it_promises_stands_in_an_explanation() -> None:
    assert "1. adaptive bulkhead: 1 to 1000 at once, now 20, refuses at once" in Pipeline(AdaptiveBulkhead()).explain()
    patient = Pipeline(AdaptiveBulkhead(max_wait=2, maximum=50)).explain()
    assert "1. adaptive bulkhead: 1 to 50 at once, now 20, 20 may wait up to 2 s" in patient


def test_inside_a_sandbox_it_begins_anew_and_afterwards_is_as_it_was() -> None:
    bulkhead = AdaptiveBulkhead(initial=1)
    with sandbox():
        for _ in range(50):
            bulkhead.call(clock.sleep, 0.1)
        assert bulkhead.limit == 2
    assert bulkhead.limit == 1


def test_a_forked_child_goes_on_from_the_limit() -> None:
    bulkhead = AdaptiveBulkhead(initial=1)
    with sandbox():
        for _ in range(50):
            bulkhead.call(clock.sleep, 0.1)
        bulkhead._after_fork()
        assert bulkhead.limit == 2
        bulkhead.call(clock.sleep, 0.1)
