"""What `explain()` promises: its texts, and its arithmetic against a reckoning of our own."""

import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from resilience import Bulkhead, CircuitBreaker, Keyed, Pipeline, TimedOut, fallback, retry, timeout
from resilience._explain import UNKNOWN, Explanation, explain
from resilience._traits import Role, Traits

WANTED = (ConnectionError, TimedOut)


def test_the_whole_stack() -> None:
    pipeline = Pipeline(
        timeout(10),
        retry(on=WANTED),
        CircuitBreaker(),
        Bulkhead(20, max_wait=0.5),
        timeout(2),
        name="payments",
    )
    assert str(pipeline.explain()) == (
        "payments (outermost first)\n"
        "  1. timeout: at most 10 s (cancels)\n"
        "  2. retry: up to 3 calls on (ConnectionError, TimedOut)\n"
        f"  3. {pipeline.layers()[2].traits().summary}\n"
        "  4. bulkhead: at most 20 at once, 20 may wait up to 0.5 s\n"
        "  5. timeout: at most 2 s (cancels)\n"
        "worst case:     10 s\n"
        "calls per call: at most 3\n"
        "may raise:      TimedOut (cut off), OutOfTime (not started), CircuitOpen (not started), "
        "BulkheadFull (not started), and whatever the function raises"
    )


def test_the_identity() -> None:
    assert str(Pipeline().explain()) == (
        "Pipeline (outermost first)\n"
        "  (no policies: the function itself)\n"
        "worst case:     the function's own duration\n"
        "calls per call: at most 1\n"
        "may raise:      whatever the function raises"
    )


@pytest.mark.parametrize(
    ("pipeline", "worst", "calls"),
    [
        (Pipeline(retry(on=OSError)), "3 times the function's own duration + 120 s", "at most 3"),
        (Pipeline(retry(on=OSError, max_wait=0)), "3 times the function's own duration", "at most 3"),
        (Pipeline(retry(on=OSError, attempts=1)), "the function's own duration", "at most 1"),
        (Pipeline(retry(on=WANTED), timeout(2)), "126 s", "at most 3"),
        (Pipeline(timeout(10), retry(on=WANTED), timeout(2)), "10 s", "at most 3"),
        (Pipeline(timeout(10), retry(on=OSError, attempts=None)), "10 s", "unbounded"),
        (Pipeline(retry(on=OSError, attempts=None)), "unbounded; a timeout around it would bound it", "unbounded"),
        (
            Pipeline(retry(on=OSError, attempts=None, max_wait=0)),
            "unbounded; a timeout around it would bound it",
            "unbounded",
        ),
        (
            Pipeline(retry(on=WANTED, attempts=None, max_wait=0), timeout(2)),
            "unbounded; a timeout around it would bound it",
            "unbounded",
        ),
        (Pipeline(Bulkhead(1, max_wait=None)), "unbounded; a timeout around it would bound it", "at most 1"),
        (Pipeline(timeout(3), Bulkhead(1, max_wait=None)), "3 s", "at most 1"),
        (Pipeline(Bulkhead(1, max_wait=1), timeout(3)), "4 s", "at most 1"),
        (Pipeline(timeout(3, sync="deadline")), "the function's own duration", "at most 1"),
        (
            Pipeline(timeout(3, sync="deadline"), retry(on=OSError)),
            "the function's own duration + 3 s",
            "at most 3",
        ),
        (
            Pipeline(timeout(3, sync="deadline"), Bulkhead(1, max_wait=1)),
            "the function's own duration + 1 s",
            "at most 1",
        ),
        (Pipeline(fallback(0, on=Exception), timeout(3)), "3 s", "at most 1"),
    ],
)
def test_promises(pipeline: Pipeline, worst: str, calls: str) -> None:
    lines = str(pipeline.explain()).splitlines()
    assert f"worst case:     {worst}" in lines
    assert f"calls per call: {calls}" in lines


def test_a_policy_of_ones_own_is_told_by_its_repr() -> None:
    class Mine:
        def bind(self, fn: Any, /) -> Any:
            return fn

        def abind(self, fn: Any, /) -> Any:
            return fn

        def __repr__(self) -> str:
            return "a policy of mine"

    assert "  1. a policy of mine\n" in Pipeline(Mine()).explain()


TENANTS = Keyed(
    lambda tenant: Pipeline(retry(on=OSError, attempts=5), CircuitBreaker(trip=9)), key="tenant", name="explained"
)


@pytest.mark.parametrize(
    ("pipeline", "worst"),
    [
        (Pipeline(TENANTS), UNKNOWN),
        (Pipeline(retry(on=OSError), TENANTS, timeout(2)), UNKNOWN),
        (Pipeline(TENANTS, Bulkhead(1, max_wait=None)), UNKNOWN),
        (Pipeline(timeout(3, sync="deadline"), TENANTS), UNKNOWN),
        (Pipeline(timeout(10), TENANTS), "10 s"),
        (Pipeline(timeout(10), retry(on=OSError), TENANTS, timeout(2)), "10 s"),
        (Pipeline(retry(on=WANTED, max_wait=0), timeout(2), TENANTS), "6 s"),
        (Pipeline(Bulkhead(1, max_wait=None), TENANTS), "unbounded; a timeout around it would bound it"),
    ],
)
def test_what_is_made_for_a_key_is_unknown_and_no_promise_rests_on_it(pipeline: Pipeline, worst: str) -> None:
    lines = str(pipeline.explain()).splitlines()
    assert f"worst case:     {worst}" in lines
    assert f"calls per call: {UNKNOWN}" in lines
    assert lines[-1].endswith(f"whatever the function raises, and more that is {UNKNOWN}")


def test_the_refusals_around_what_is_made_for_a_key_are_known() -> None:
    raises = str(Pipeline(timeout(10), TENANTS).explain()).splitlines()[-1]
    assert raises.startswith("may raise:      TimedOut (cut off), OutOfTime (not started), whatever the function")


def test_it_shows_itself_as_it_reads() -> None:
    text = Pipeline().explain()
    assert isinstance(text, Explanation)
    assert repr(text) == str(text)


# The arithmetic: every layer is acted out on a clock, with a function that takes `own` seconds

figures = st.integers(0, 20).map(float)
layers = st.builds(
    lambda calls, waits, seconds: Traits(
        Role.CUSTOM, "layer", most_calls=calls, waits=waits, seconds=seconds, cuts=seconds < math.inf
    ),
    calls=st.integers(1, 4),
    waits=figures,
    seconds=st.just(math.inf) | st.integers(1, 500).map(float),
)


def acted_out(stack: list[Traits], own: float) -> tuple[float, int]:
    """The longest that a call may take, and how often it calls the function."""
    if not stack:
        return own, 1
    outer, *inside = stack
    took, calls = acted_out(inside, own)
    total = outer.waits + sum(took for _ in range(int(outer.most_calls)))
    return min(total, outer.seconds), calls * int(outer.most_calls)


def promised(text: str, own: float) -> float:
    """The worst case of an explanation, for a function that takes `own` seconds."""
    line = next(line for line in text.splitlines() if line.startswith("worst case:")).removeprefix("worst case:     ")
    if "the function's own duration" not in line:
        return float(line.removesuffix(" s"))
    times, _, plus = line.partition("the function's own duration")
    return float(times.removesuffix(" times ") or 1) * own + float(plus.removeprefix(" + ").removesuffix(" s") or 0)


@given(stack=st.lists(layers, max_size=5))
def test_calls_per_call_is_the_product(stack: list[Traits]) -> None:
    calls = acted_out(stack, 1.0)[1]
    assert f"calls per call: at most {calls:g}\n" in explain("x", stack)


@given(stack=st.lists(layers, max_size=5), own=st.sampled_from([0.0, 1.0, 7.0, 1e9]))
def test_the_worst_case_is_one_that_can_happen_and_none_is_worse(stack: list[Traits], own: float) -> None:
    longest, _ = acted_out(stack, own)
    assume(longest < 999_999 or own == 1e9)  # six digits are printed
    worst = promised(explain("x", stack), own)
    if own == 1e9:  # every limit is reached, so the promise is exact
        assert worst == pytest.approx(longest, rel=1e-5)
    else:
        assert longest - 1e-3 <= worst <= acted_out(stack, 1e9)[0] * (1 + 1e-5)


@given(
    stack=st.lists(layers | st.just(Traits(Role.RETRY, "for ever", most_calls=math.inf, waits=math.inf)), max_size=4)
)
def test_no_text_holds_what_is_no_number(stack: list[Traits]) -> None:
    text = explain("x", stack)
    assert "nan" not in text
    assert "inf" not in text


def test_what_adds_no_error_raises_what_the_function_does() -> None:
    assert "may raise:      whatever the function raises" in str(Pipeline().explain())
