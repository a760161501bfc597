"""Chaos as its users meet it: options, bad input, switching, what it tells."""

import logging
import pickle
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import anyio
import pytest

from resilience import Chaos, ChaosStats, Pipeline, fallback, policies, retry
from resilience.errors import ResilienceWarning, TimedOut
from resilience.events import Injected
from resilience.testing import sandbox
from tests.retry_doors import Heard, Passing
from tests.sdk import Sdk, forget_providers


async def coroutine_function(*_: object) -> Any:
    """Its answer comes too late."""


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({}, TypeError, "rate"),
        ({"rate": 0.5}, TypeError, r"needs something to inject: fault=, latency= or result="),
        ({"rate": "0.5", "fault": OSError}, TypeError, "rate must be a number"),
        ({"rate": True, "fault": OSError}, TypeError, "rate must be a number"),
        ({"rate": [1], "fault": OSError}, TypeError, r"number from 0 to 1, or a mapping .*, got \[1\] \(list\)"),
        ({"rate": {1: "1"}, "fault": OSError}, TypeError, "each rate must be a number, got '1'"),
        ({"rate": 1.5, "fault": OSError}, ValueError, "rate must be at most 1, got 1.5"),
        ({"rate": -0.1, "fault": OSError}, ValueError, "rate must be at least 0"),
        ({"rate": float("nan"), "fault": OSError}, ValueError, "rate must be a finite number"),
        ({"rate": {}, "fault": OSError}, ValueError, "rate must not be an empty schedule"),
        ({"rate": {-1: 0.5}, "fault": OSError}, ValueError, "rate's seconds must be at least 0"),
        ({"rate": {"1": 0.5}, "fault": OSError}, TypeError, "rate's seconds must be seconds"),
        ({"rate": {1: 2}, "fault": OSError}, ValueError, "rate must be at most 1, got 2"),
        (
            {"rate": {60: 1, timedelta(minutes=1): 0}, "fault": OSError},
            ValueError,
            "rate has two entries for one second",
        ),
        ({"rate": 1, "fault": OSError, "result": 1}, TypeError, "give fault= or result="),
        ({"rate": 1, "fault": OSError("x")}, TypeError, r"which all calls would share; write fault=lambda: OSError"),
        (
            {"rate": 1, "fault": KeyboardInterrupt},
            TypeError,
            "fault must be a type of Exception, got KeyboardInterrupt",
        ),
        ({"rate": 1, "fault": int}, TypeError, "fault must be a type of Exception, got int"),
        ({"rate": 1, "fault": TimedOut}, TypeError, "fault=TimedOut cannot be made of a text alone; give a function"),
        ({"rate": 1, "fault": 3}, TypeError, "fault must be an exception type or a function that makes an .*, got 3"),
        ({"rate": 1, "fault": coroutine_function}, TypeError, "fault must be a plain function"),
        ({"rate": 1, "latency": 0}, ValueError, "latency must be greater than 0"),
        ({"rate": 1, "latency": "1"}, TypeError, "latency must be seconds"),
        ({"rate": 1, "latency": [1, 2]}, TypeError, r"or a pair of them, a tuple of .*, got \[1, 2\] \(list\)"),
        ({"rate": 1, "latency": (2, 1)}, ValueError, "latency must name the least first"),
        ({"rate": 1, "latency": (1, 2, 3)}, ValueError, "latency must be seconds or a pair of them"),
        ({"rate": 1, "latency": (-1, 2)}, ValueError, "latency must be at least 0"),
        ({"rate": 1, "result": []}, ValueError, r"the result \[\] is mutable"),
        ({"rate": 1, "result": coroutine_function}, TypeError, "result must be a plain function"),
        ({"rate": 1, "fault": OSError, "when": 3}, TypeError, "when must be a function, got 3"),
        ({"rate": 1, "fault": OSError, "when": coroutine_function}, TypeError, "when must be a plain function"),
        ({"rate": 1, "fault": OSError, "seed": 1.5}, TypeError, "seed must be a whole number"),
        ({"rate": 1, "fault": OSError, "seed": -1}, ValueError, "seed must be at least 0"),
        ({"rate": 1, "fault": OSError, "name": ""}, ValueError, "name must not be empty"),
    ],
)
def test_bad_options_are_refused_when_it_is_made(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Chaos(**options)


def test_a_fault_that_is_no_exception_is_said_when_it_is_made() -> None:
    fault: Any = lambda: "oops"  # noqa: E731 - what a user writes
    with (
        Chaos(rate=1, fault=fault) as chaos,
        pytest.raises(TypeError, match="must return an exception, and returned 'oop"),
    ):
        chaos.call(print)


def test_it_is_switched_at_run_time() -> None:
    chaos = Chaos(rate=1, result="injected", name="switched")
    guarded = chaos(lambda: "real")
    with sandbox():
        assert guarded() == "real"
        assert chaos.start() is chaos
        assert guarded() == "injected"
        chaos.stop()
        chaos.stop()
        assert guarded() == "real"
        with chaos as entered:
            assert entered is chaos
            assert guarded() == "injected"
        assert guarded() == "real"


def test_it_says_how_things_stand() -> None:
    chaos = Chaos(rate={timedelta(minutes=1): 1.0}, fault=Passing, seed=9)
    with sandbox() as time:
        assert chaos.stats == ChaosStats(running=False, seed=None, calls=0, injected=0)
        chaos.start().call(lambda: None)
        assert chaos.stats == ChaosStats(running=True, seed=9, calls=1, injected=0)
        time.advance(60)
        with pytest.raises(Passing):
            chaos.call(lambda: None)
        assert chaos.stats == ChaosStats(running=True, seed=9, calls=2, injected=1)
        chaos.stop()
        assert chaos.stats == ChaosStats(running=False, seed=None, calls=0, injected=1)


def test_without_a_seed_each_start_draws_one_and_logs_it(caplog: pytest.LogCaptureFixture) -> None:
    chaos = Chaos(rate=0.5, fault=Passing, name="drawn")
    with sandbox(seed=1), caplog.at_level(logging.INFO, "resilience"):
        found = {chaos.start().stats.seed for _ in range(5)}
        chaos.stop()
        chaos.stop()
    assert len(found) == 5
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert {text for level, text in said if level == "WARNING"} == {
        f"drawn is on: it breaks calls on purpose, seed={seed}" for seed in found
    }
    assert said[-1] == ("INFO", "drawn is off")
    assert len(said) == 6


def test_what_it_does_is_told() -> None:
    with Chaos(rate=1, fault=Passing, latency=0.5, name="told") as chaos, sandbox():
        assert not chaos.stats.running, "a sandbox begins with everything calm"
        with chaos, Heard() as heard, pytest.raises(Passing, match="injected by told") as caught:
            chaos.call(print)
        assert heard.all == [Injected("told", "fault", 0.5, caught.value)]


@pytest.fixture
def sdk() -> Iterator[Sdk]:
    yield Sdk(metrics=True).install()
    forget_providers()


def test_an_injection_is_seen_on_the_attempt_and_counted(sdk: Sdk) -> None:
    chaos = Chaos(rate={0: 1.0, 1: 0.0}, fault=Passing, name="seen by the sdk")
    with sandbox(), chaos:
        Pipeline(retry(on=Passing, wait=2), chaos, name="payments").call(lambda: None)
        data: Any = sdk.reader.get_metrics_data()
    seen = {span.name: (span.attributes or {}).get("resilience.chaos.injected") for span in sdk.spans}
    assert seen == {"payments": None, "attempt 1": "fault", "retry.wait": None, "attempt 2": None}
    points = [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "resilience.chaos.injections"
        for point in metric.data.data_points
    ]
    assert {
        point.attributes["resilience.chaos.injected"]: point.value
        for point in points
        if point.attributes["resilience.policy.name"] == chaos.name
    } == {"fault": 1, "latency": 0, "result": 0}


def test_a_latency_that_blocks_an_event_loop_warns() -> None:
    chaos = Chaos(rate=1, latency=1, name="blocks")

    async def scene() -> None:
        with pytest.warns(ResilienceWarning, match="blocks is about to block .*; guard a coroutine function"):
            chaos.call(lambda: None)

    with sandbox(), chaos:
        anyio.run(scene)


def test_what_it_does_stands_in_an_explanation() -> None:
    chaos = Chaos(rate={60: 0.5, 120: 0}, latency=1, fault=OSError)
    text = Pipeline(retry(on=OSError), chaos).explain()
    assert "2. chaos: while it is on, injects fault and latency, at a rate of 0.5 from 60 s on, 0 from 120 s on" in text
    assert "at a rate of 0.1\n" in Pipeline(Chaos(rate=0.1, result=1)).explain()


def test_a_block_has_no_place_that_something_else_could_take() -> None:
    with pytest.raises(TypeError, match=r"has no guard\(\)"):
        Pipeline(Chaos(rate=1, fault=OSError)).guard()


def test_an_answer_in_its_place_is_possible() -> None:
    with Chaos(rate=1, fault=Passing) as chaos:
        assert Pipeline(fallback("instead", on=Passing), chaos).call(lambda: "real") == "instead"


def test_it_is_found_and_cannot_be_pickled() -> None:
    chaos = Chaos(rate=1, fault=OSError, name="found")
    assert chaos in policies(Chaos)
    with pytest.raises(TypeError, match="holds live state"):
        pickle.dumps(chaos)


@pytest.mark.law(94)
def test_inside_a_sandbox_it_is_off_and_afterwards_as_it_was() -> None:
    with Chaos(rate=1, result="injected", seed=4) as chaos:
        chaos.call(lambda: "real")
        with sandbox():
            assert chaos.call(lambda: "real") == "real"
            assert chaos.stats == ChaosStats(running=False, seed=None, calls=0, injected=0)
            chaos.start()
        assert chaos.stats == ChaosStats(running=True, seed=4, calls=1, injected=1)
        chaos._after_fork()
        assert chaos.stats == ChaosStats(running=True, seed=4, calls=1, injected=1)
