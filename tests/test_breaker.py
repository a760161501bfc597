"""`CircuitBreaker` as its users meet it: its options, its words, its figures."""

import copy
import logging
import pickle
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from math import inf, nan
from typing import Any

import pytest

from resilience._breaker import CircuitBreaker
from resilience._breaking import WindowStats
from resilience._core.period import RAMP_FLOOR
from resilience._core.states import TRANSITIONS, State, diagram
from resilience._events import Refused, StateChanged, listen
from resilience._rates import FailureRate, SlowRate
from resilience._traits import Role
from resilience.errors import CircuitOpen
from resilience.testing import sandbox
from tests.doors import DOORS, FUNCTION_DOORS


def down() -> None:
    raise ConnectionError("no route")


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.admit().fail()


@pytest.mark.parametrize("door", DOORS)
def test_five_failures_in_a_row_open_it_and_one_probe_closes_it(door: Callable[..., Any]) -> None:
    with sandbox() as time:
        breaker = CircuitBreaker()
        for _ in range(4):
            with pytest.raises(ConnectionError, match="no route"):
                door(breaker, down)
        assert door(breaker, lambda: "fine") == "fine"
        for _ in range(5):
            assert breaker.state == "closed"
            with pytest.raises(ConnectionError):
                door(breaker, down)
        with pytest.raises(CircuitOpen) as refused:
            door(breaker, lambda: pytest.fail("it was started"))
        wait = refused.value.retry_after
        assert wait is not None
        assert 60.0 <= wait <= 66.0
        assert "CircuitBreaker: open: 5 failures in a row, the last one ConnectionError: no route; try again in" in str(
            refused.value
        )
        time.advance(wait)
        assert door(breaker, lambda: "well") == "well"
        assert breaker.state == "closed"


@pytest.mark.parametrize("door", FUNCTION_DOORS)
def test_a_bad_result_is_a_failure_and_comes_back_unchanged(door: Callable[..., Any]) -> None:
    answer = {"status": 503}
    with sandbox():
        breaker = CircuitBreaker(trip=2, on_result=lambda result: result["status"] >= 500)
        assert door(breaker, lambda: answer) is answer
        assert door(breaker, lambda: {"status": 200})["status"] == 200
        assert breaker.stats.failures_in_row == 0
        assert door(breaker, lambda: answer) is answer
        assert door(breaker, lambda: answer) is answer
        with pytest.raises(CircuitOpen, match="the last one a dict that <lambda> calls a failure"):
            door(breaker, lambda: answer)


@pytest.mark.parametrize("door", FUNCTION_DOORS)
def test_on_result_and_a_rate_count_together(door: Callable[..., Any]) -> None:
    with sandbox():
        breaker = CircuitBreaker(trip=FailureRate(0.5, calls=4), on_result=lambda result: result is None)
        for result in (1, None, 2):
            door(breaker, lambda result=result: result)
        assert breaker.stats.windows == (WindowStats(FailureRate(0.5, calls=4), 3, 1),)
        door(breaker, lambda: None)
        assert breaker.state == "open"


def test_on_and_ignore_say_what_a_failure_is() -> None:
    with sandbox():
        breaker = CircuitBreaker(trip=1, on=(OSError, lambda error: "busy" in str(error)), ignore=FileNotFoundError)
        for error in (KeyError("other"), FileNotFoundError("ignored")):
            with pytest.raises(type(error)):
                breaker.call(throw, error)
        assert (breaker.state, breaker.stats.ignored) == ("closed", 2)
        with pytest.raises(KeyError):
            breaker.call(throw, KeyError("busy"))
        assert breaker.state == "open"


def throw(error: Exception) -> None:
    raise error


def test_an_unmatched_error_is_no_success_either() -> None:
    """It does not end a run of failures, and does not thin out a rate."""
    with sandbox():
        breaker = CircuitBreaker(trip=(3, FailureRate(0.5, calls=10)), on=OSError)
        fail(breaker, 2)
        with pytest.raises(KeyError):
            breaker.call(throw, KeyError())
        assert (breaker.stats.failures_in_row, breaker.stats.windows[0].calls) == (2, 2)
        fail(breaker)
        assert breaker.state == "open"


def test_any_of_several_rules_opens_it() -> None:
    with sandbox() as time:
        rules = (4, FailureRate(0.5, calls=10, minimum=6), SlowRate(0.5, slower_than=1.0, seconds=60, minimum=2))
        first, second, third = (CircuitBreaker(trip=rules) for _ in range(3))
        fail(first, 4)
        for _ in range(3):
            second.admit().succeed()
            fail(second)
        for _ in range(2):
            lease = third.admit()
            time.advance(1.5)
            lease.succeed()
        assert [one.state for one in (first, second, third)] == ["open"] * 3
        reasons = [one.snapshot()["reason"] for one in (first, second, third)]
        assert reasons[0] == "4 failures in a row, the last one reported without an error"
        assert reasons[1].startswith("50% of the last 10 calls failed")
        assert reasons[2] == "50% of the last 60 s took longer than 1 s, the last one a call, after 1.5 s"


def test_disable_lets_all_through_and_records_nothing() -> None:
    with sandbox():
        breaker = CircuitBreaker(trip=1, on=lambda _: pytest.fail("it was asked"))
        fail(breaker)
        breaker.disable()
        for _ in range(3):
            with pytest.raises(ConnectionError):
                breaker.call(down)
        assert (breaker.state, breaker.stats.failures) == ("disabled", 1)
        breaker.reset()
        assert breaker.state == "closed"


def test_isolate_refuses_until_reset_and_says_why() -> None:
    heard: list[Any] = []
    with sandbox(), listen(heard.append):
        breaker = CircuitBreaker("db")
        breaker.isolate("moving house")
        breaker.isolate("still moving")
        with pytest.raises(CircuitOpen, match=r"db: isolated: still moving; reset\(\) ends that") as refused:
            breaker.admit()
        breaker.reset()
        breaker.admit().succeed()
    assert [type(event) for event in heard] == [StateChanged, Refused, StateChanged]
    assert heard[0] == StateChanged("db", "closed", "isolated", "moving house", None)
    assert heard[1].error is refused.value


def test_a_reason_is_text() -> None:
    with pytest.raises(TypeError, match="reason must be a string, got 5"):
        CircuitBreaker().isolate(5)  # type: ignore[arg-type]


def test_the_figures() -> None:
    with sandbox() as time:
        rate = FailureRate(0.9, calls=10, minimum=3)
        breaker = CircuitBreaker(trip=(2, rate), cooldown=10.0, jitter=0.0, on=OSError)
        breaker.admit().succeed()
        breaker.admit().release()
        breaker.admit().fail(KeyboardInterrupt())
        assert breaker.stats.windows[0].rate is None
        fail(breaker)
        breaker.admit().succeed()
        assert breaker.stats.windows[0] == WindowStats(rate, 3, 1)
        assert breaker.stats.windows[0].rate == pytest.approx(1 / 3)
        fail(breaker, 2)
        time.advance(4.0)
        with pytest.raises(CircuitOpen):
            breaker.admit()
        stats = breaker.stats
        assert (stats.state, stats.retry_after, stats.failures, stats.ignored, stats.cancelled) == (
            "open",
            6.0,
            3,
            1,
            1,
        )
        assert (stats.refused, stats.opened, stats.transitions, stats.failures_in_row) == (1, 1, 1, 0)
        assert stats.windows == ()


def test_half_open_and_out_of_probes_does_not_know_when() -> None:
    with sandbox() as time:
        breaker = CircuitBreaker(trip=1, probes=2)
        fail(breaker)
        time.advance(70.0)
        breaker.admit()
        breaker.admit()
        with pytest.raises(CircuitOpen, match="half open, and its 2 probes are under way") as refused:
            breaker.admit()
        assert refused.value.retry_after is None


def test_it_says_in_the_log_when_it_opens(caplog: pytest.LogCaptureFixture) -> None:
    with sandbox(), caplog.at_level(logging.WARNING, "resilience"):
        fail(CircuitBreaker("payments", trip=1))
    assert "circuit breaker payments: closed -> open, 1 failure in a row" in caplog.text


def test_a_sandbox_leaves_it_as_it_was() -> None:
    breaker = CircuitBreaker(trip=2, cooldown=1e6)
    fail(breaker)
    before = breaker.stats
    with sandbox():
        assert breaker.stats.failures == 0
        fail(breaker, 2)
        breaker.configure(trip=7)
        assert breaker.state == "open"
    assert breaker.stats == before
    fail(breaker)
    assert breaker.state == "open"


def test_a_call_under_way_when_a_sandbox_begins_changes_nothing_in_it() -> None:
    breaker = CircuitBreaker(trip=2)
    lease = breaker.admit()
    with sandbox():
        lease.fail()
        assert breaker.stats.failures_in_row == 0


def test_traits() -> None:
    traits = CircuitBreaker(trip=(3, FailureRate(0.25, seconds=timedelta(minutes=1))), cooldown=20, probes=2).traits()
    assert traits.role is Role.CIRCUIT_BREAKER
    assert traits.raises == (CircuitOpen,)
    assert traits.lease == 20.0
    assert traits.summary == (
        "circuit breaker: opens when 3 in a row fail or 25% of the last 60 s failed; stays open 20 to 22 s, then "
        "2 probes decide"
    )


def test_the_picture_shows_every_way_a_state_changes() -> None:
    picture = diagram()
    assert picture.startswith("stateDiagram-v2\n")
    assert all(state in picture for state in State)
    assert {(before, after) for before, after in edges_of(picture) if "automatic" not in before} <= {
        (before.value, after.value) for (before, _), after in TRANSITIONS.items()
    } | {("[*]", "automatic"), ("[*]", "closed")}


def edges_of(picture: str) -> list[tuple[str, str]]:
    lines = [line.partition(" : ")[0].split(" --> ") for line in picture.splitlines() if "-->" in line]
    return [(before.strip(), after.strip()) for before, after in lines]


def test_a_ramp_begins_at_a_floor() -> None:
    with sandbox() as time:
        breaker = CircuitBreaker(trip=1, ramp=timedelta(seconds=100))
        fail(breaker)
        time.advance(70.0)
        breaker.admit().succeed()
        let_in = 0
        for _ in range(1_000):
            with suppress(CircuitOpen):
                breaker.admit().succeed()
                let_in += 1
        assert let_in == 1_000 * RAMP_FLOOR
        with pytest.raises(CircuitOpen, match="lets in 10% of the calls"):
            breaker.admit()


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"name": 3}, TypeError, "name"),
    ({"name": ""}, ValueError, "name"),
    ({"trip": 0}, ValueError, "trip"),
    ({"trip": -1}, ValueError, "trip"),
    ({"trip": 2.5}, TypeError, "trip"),
    ({"trip": True}, TypeError, "trip"),
    ({"trip": "5"}, TypeError, "trip"),
    ({"trip": ()}, ValueError, "trip"),
    ({"trip": (5, None)}, TypeError, "trip"),
    ({"trip": [5]}, TypeError, "trip"),
    *(({"cooldown": value}, ValueError, "cooldown") for value in (0, -1, nan, inf, timedelta(0))),
    *(({"cooldown": value}, TypeError, "cooldown") for value in (None, "60", True)),
    ({"on": ()}, ValueError, "on"),
    ({"on": "OSError"}, TypeError, "on"),
    ({"on": BaseException}, TypeError, "on"),
    ({"on": lambda: True}, TypeError, "on"),
    ({"ignore": int}, TypeError, "ignore"),
    ({"on_result": 5}, TypeError, "on_result"),
    ({"on_result": lambda: True}, TypeError, "on_result"),
    *(({"probes": value}, ValueError, "probes") for value in (0, -1)),
    *(({"probes": value}, TypeError, "probes") for value in (1.0, None, True)),
    *(({"probe_lease": value}, ValueError, "probe_lease") for value in (0, -1, nan, inf)),
    ({"probe_lease": "1"}, TypeError, "probe_lease"),
    *(({"jitter": value}, ValueError, "jitter") for value in (-0.1, nan, inf)),
    ({"jitter": None}, TypeError, "jitter"),
    *(({"max_cooldown": value}, ValueError, "max_cooldown") for value in (0, -1, nan, 59)),
    ({"max_cooldown": "1"}, TypeError, "max_cooldown"),
    *(({"ramp": value}, ValueError, "ramp") for value in (0, -1, nan, inf)),
    ({"ramp": "1"}, TypeError, "ramp"),
    ({"colour": "red"}, TypeError, "colour"),
]


@pytest.mark.parametrize(("options", "kind", "names"), WRONG)
def test_a_wrong_option_is_refused_by_name(options: dict[str, Any], kind: type[Exception], names: str) -> None:
    with pytest.raises(kind, match=names):
        CircuitBreaker(**options)
    breaker = CircuitBreaker()
    with pytest.raises(TypeError if "name" in options else kind, match=names):
        breaker.configure(**options)


WRONG_RATES: list[tuple[dict[str, Any], type[Exception], str]] = [
    *(({"ratio": value}, ValueError, "ratio") for value in (0, -0.1, 1.01, nan, inf)),
    *(({"ratio": value}, TypeError, "ratio") for value in (None, "0.5", True)),
    *(({"calls": value}, ValueError, "calls") for value in (0, -1)),
    *(({"calls": value}, TypeError, "calls") for value in (1.5, "10", True)),
    *(({"seconds": value}, ValueError, "seconds") for value in (0, -1, nan, inf)),
    ({"seconds": "10"}, TypeError, "seconds"),
    ({"calls": 10, "seconds": 10}, TypeError, "either calls or seconds"),
    ({"minimum": 0}, ValueError, "minimum"),
    ({"minimum": 2.0}, TypeError, "minimum"),
    ({"minimum": 11, "calls": 10}, ValueError, "minimum must be at most calls=10, got 11"),
    ({"minimum": 101}, ValueError, "minimum must be at most calls=100, got 101"),
]


@pytest.mark.parametrize(("options", "kind", "names"), WRONG_RATES, ids=str)
def test_a_wrong_rate_is_refused_by_name(options: dict[str, Any], kind: type[Exception], names: str) -> None:
    with pytest.raises(kind, match=names):
        FailureRate(**{"ratio": 0.5, **options})
    with pytest.raises(kind, match=names):
        SlowRate(**{"ratio": 0.5, "slower_than": 1.0, **options})


@pytest.mark.parametrize(("value", "kind"), [(0, ValueError), (-1, ValueError), (nan, ValueError), (None, TypeError)])
def test_slower_than_is_a_duration(value: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="slower_than"):
        SlowRate(0.5, slower_than=value)


def test_rates_are_values() -> None:
    assert (FailureRate(0.5).calls, FailureRate(0.5).seconds, FailureRate(0.5).minimum) == (100, None, 20)
    assert (FailureRate(0.5, calls=5).minimum, FailureRate(0.5, seconds=5).minimum) == (5, 20)
    assert FailureRate(0.5, seconds=1_000, minimum=500).minimum == 500
    assert FailureRate(0.5, seconds=timedelta(minutes=1)) == FailureRate(0.5, seconds=60.0)
    assert FailureRate(0.5) != SlowRate(0.5, slower_than=1.0)
    rule = SlowRate(0.5, slower_than=timedelta(seconds=1), calls=30)
    assert copy.deepcopy(rule) == pickle.loads(pickle.dumps(rule)) == rule
    assert repr(rule) == "SlowRate(ratio=0.5, calls=30, seconds=None, minimum=20, slower_than=1.0)"
    with pytest.raises(AttributeError):
        rule.ratio = 0.7  # type: ignore[misc]


BROKEN: list[Any] = [
    None,
    [],
    {},
    {"format": 2},
    {"state": "ajar"},
    {"state": 3},
    {"reason": None},
    {"open_until": nan},
    {"open_until": "soon"},
    {"open_until": True},
    {"openings": -1},
    {"openings": 1.5},
    {"failures_in_row": None},
    {"failures_in_row": True},
]


@pytest.mark.parametrize("change", BROKEN, ids=str)
def test_what_is_no_snapshot_is_refused_and_changes_nothing(change: Any) -> None:
    with sandbox():
        breaker = CircuitBreaker()
        before = breaker.snapshot()
        broken = {**before, **change} if change else change
        with pytest.raises(ValueError, match="this is no snapshot of a circuit breaker"):
            breaker.restore(broken)
        assert breaker.snapshot() == before
