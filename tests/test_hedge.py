"""The hedge as its users meet it: options, bad input, doors, figures."""

import pickle
from datetime import timedelta
from typing import Any

import anyio
import pytest

from resilience import Hedge, HedgeStats, Pipeline, RetryBudget, deadline, listen, policies, remaining, timeout
from resilience._clock import clock
from resilience.events import Hedged
from resilience.testing import sandbox


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"after": "1"}, TypeError, "after must be seconds"),
        ({"after": 0}, ValueError, "after must be"),
        ({"after": float("inf")}, ValueError, "after must be"),
        ({"quantile": 0}, ValueError, "quantile must be"),
        ({"quantile": 1}, ValueError, "quantile must be"),
        ({"quantile": "0.9"}, TypeError, "quantile must be a number"),
        (
            {"after": 1, "quantile": 0.9},
            ValueError,
            r"quantile=0\.9 has no effect beside after=1; leave one of them out",
        ),
        ({"attempts": 1}, ValueError, "attempts must be at least 2"),
        ({"attempts": 2.0}, TypeError, "attempts must be a whole number"),
        ({"budget": 3}, TypeError, "budget must be a RetryBudget"),
        ({"workers": 1}, ValueError, "workers must be at least 2"),
        ({"name": ""}, ValueError, "name must not be empty"),
    ],
)
def test_bad_options_are_refused_when_it_is_made(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Hedge(**options)


def test_it_says_that_it_hedges() -> None:
    hedge, begun, heard = Hedge(timedelta(seconds=1), name="lookup"), list[int](), list[Any]()

    @hedge
    async def work() -> int:
        begun.append(1)
        number = len(begun)
        await clock.asleep(5 if number == 1 else 0.5)
        return number

    with sandbox(), listen(heard.append):
        assert anyio.run(work) == 2
        assert hedge.stats == HedgeStats(delay=1.0, won=1, lost=0, refused=0)
    assert heard == [Hedged("lookup", 2, 1.0)]


def test_a_shared_budget_is_asked_and_paid() -> None:
    budget = RetryBudget(1.0, minimum_per_second=0)
    hedge = Hedge(1.0, budget=budget)

    @hedge
    async def work() -> None:
        await clock.asleep(2)

    with sandbox():
        anyio.run(work)
        assert (budget.stats.calls, budget.stats.granted) == (1, 1)
        assert hedge.call(lambda: 7) == 7
        assert budget.stats.calls == 2


def test_what_it_promises_stands_in_an_explanation() -> None:
    text = Pipeline(timeout(5), Hedge(0.2, attempts=3)).explain()
    assert "2. hedge: up to 3 calls at once, one more after each 0.2 s" in text
    assert "calls per call: at most 3" in text
    assert "one more after each what 0.95 of the calls take" in Pipeline(Hedge()).explain()


def test_a_block_cannot_be_hedged() -> None:
    with pytest.raises(TypeError, match="repeats or replaces the call"):
        Pipeline(Hedge(1.0)).guard()


def test_it_is_found_and_cannot_be_pickled() -> None:
    hedge = Hedge(name="found")
    assert hedge in policies(Hedge)
    with pytest.raises(TypeError, match="holds live state"):
        pickle.dumps(hedge)


def test_plain_calls_see_the_caller_s_deadline_and_none_where_there_is_none() -> None:
    hedge = Hedge(30.0)
    with sandbox():
        assert hedge.call(remaining) is None
        with deadline(7):
            assert hedge.call(remaining) == pytest.approx(7)


def test_a_closed_one_takes_no_plain_calls() -> None:
    hedge = Hedge(30.0)
    assert hedge.call(lambda: 1) == 1
    hedge.close()
    with pytest.raises(RuntimeError, match="is closed"):
        hedge.call(lambda: 1)


def test_inside_a_sandbox_it_knows_nothing_and_afterwards_what_it_knew() -> None:
    hedge = Hedge()
    for _ in range(20):
        hedge.call(lambda: None)
    assert hedge.stats.delay is not None
    with sandbox():
        assert hedge.stats.delay is None
    assert hedge.stats.delay is not None


def test_a_forked_child_keeps_what_it_knew() -> None:
    hedge = Hedge()
    with sandbox():
        for _ in range(20):
            hedge.call(lambda: None)
        hedge._after_fork()
        assert hedge.stats.delay == 0.001
