"""The adaptive throttle as its users meet it: options, bad input, doors, figures."""

import pickle
from datetime import timedelta
from typing import Any

import pytest

from resilience import (
    AdaptiveThrottle,
    OutOfTime,
    Pipeline,
    Throttled,
    ThrottleStats,
    deadline,
    listen,
    policies,
    priority,
    timeout,
)
from resilience.errors import ResilienceWarning
from resilience.events import Refused
from resilience.testing import sandbox


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"k": "2"}, TypeError, "k must be a number"),
        ({"k": 0.5}, ValueError, "k must be at least 1"),
        ({"k": float("nan")}, ValueError, "k must be"),
        ({"window": 0}, ValueError, "window must be"),
        ({"window": "1"}, TypeError, "window must be seconds"),
        ({"minimum": 0}, ValueError, "minimum must be at least 1"),
        ({"minimum": 1.5}, TypeError, "minimum must be a whole number"),
        ({"most": 1}, ValueError, "most must be below 1, got 1: where nothing gets through"),
        ({"most": -0.1}, ValueError, "most must be"),
        ({"on": ()}, ValueError, "on must name at least one"),
        ({"on": KeyboardInterrupt}, TypeError, "on must not name KeyboardInterrupt"),
        ({"ignore": 3}, TypeError, "ignore takes exception types"),
        ({"on_result": 3}, TypeError, "on_result"),
        ({"name": ""}, ValueError, "name must not be empty"),
    ],
)
def test_bad_options_are_refused_when_it_is_made(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        AdaptiveThrottle(**options)


def fail_on(throttle: AdaptiveThrottle) -> None:
    for _ in range(99):
        throttle.admit().fail()


def test_what_it_refuses_says_why_and_is_told() -> None:
    throttle = AdaptiveThrottle(name="search", window=timedelta(seconds=30))
    heard: list[Any] = []
    with sandbox(seed=1), listen(heard.append):
        for lease in [throttle.admit() for _ in range(99)]:
            lease.fail()
        with priority("low"), pytest.raises(Throttled) as caught:
            fail_on(throttle)
        assert throttle.stats.refused == 1
    text = str(caught.value)
    assert text.startswith("search: the service accepted 0 of 1")
    assert text.endswith("calls within 30 s, so 90% are not sent; this one was of low priority")
    assert heard == [Refused("search", caught.value)]
    assert pickle.loads(pickle.dumps(caught.value)).reason == caught.value.reason


def test_a_released_lease_was_never_there_and_one_that_fails_was_not_accepted() -> None:
    throttle = AdaptiveThrottle()
    with sandbox():
        throttle.admit().release()
        throttle.admit().succeed()
        throttle.admit().fail()
        throttle.admit().fail(ConnectionError())
        with throttle.guard():
            pass
        assert throttle.stats == ThrottleStats(asked=4, accepted=2, refusing=0.0, refused=0)


def test_a_past_deadline_is_no_question_to_the_service() -> None:
    throttle = AdaptiveThrottle()
    with sandbox():
        with deadline(0), pytest.raises(OutOfTime):
            throttle.call(print)
        assert throttle.stats.asked == 0


def test_what_it_promises_stands_in_an_explanation() -> None:
    assert (
        "1. throttle: refuses what goes beyond 2 times what was accepted in 120 s, at most 90%"
        in Pipeline(AdaptiveThrottle()).explain()
    )
    with pytest.warns(ResilienceWarning, match="does not name the TimedOut"):
        Pipeline(AdaptiveThrottle(on=ConnectionError), timeout(1))


def test_it_is_found_and_cannot_be_pickled() -> None:
    throttle = AdaptiveThrottle(name="found")
    assert throttle in policies(AdaptiveThrottle)
    with pytest.raises(TypeError, match="holds live state"):
        pickle.dumps(throttle)


def test_inside_a_sandbox_it_is_calm_and_afterwards_as_it_was() -> None:
    throttle = AdaptiveThrottle()
    throttle.admit()
    with sandbox():
        assert throttle.stats.asked == 0
        throttle.admit()
        throttle.admit()
    assert throttle.stats.asked == 1


def test_a_forked_child_keeps_the_counts() -> None:
    throttle = AdaptiveThrottle()
    with sandbox():
        throttle.admit()
        throttle._after_fork()
        throttle.admit()
        assert throttle.stats.asked == 2


def test_a_coroutine_of_a_plain_function_is_no_success() -> None:
    async def work() -> None:
        """Never runs."""

    throttle = AdaptiveThrottle()
    with sandbox():
        with pytest.raises(TypeError, match="is a coroutine function"):
            throttle(lambda: work())()
        assert throttle.stats.asked == 0


@pytest.mark.parametrize("level", ["urgent", 3, None, ""])
def test_a_priority_is_one_of_five(level: Any) -> None:
    with pytest.raises(ValueError, match="level must be one of 'background', 'low', 'normal', 'high', 'critical', got"):
        priority(level)


def test_a_priority_is_entered_once() -> None:
    high = priority("high")
    with high:
        pass
    with pytest.raises(RuntimeError, match=r"write 'with priority\('high'\):' anew"), high:
        pass
