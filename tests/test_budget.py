"""`RetryBudget`: what it is given, what it says of itself."""

import copy
import math
import pickle
from datetime import timedelta
from typing import Any

import pytest

from resilience import RetryBudget, retry
from resilience.testing import sandbox


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        *(("ratio", value, TypeError) for value in ("0.2", None, True, [1])),
        *(("ratio", value, ValueError) for value in (-0.1, math.nan, math.inf)),
        *(("minimum_per_second", value, TypeError) for value in ("1", None, False)),
        *(("minimum_per_second", value, ValueError) for value in (-1, math.nan, math.inf, 0.05)),
        *(("window", value, TypeError) for value in ("1", None, True)),
        *(("window", value, ValueError) for value in (0, -1, math.nan, math.inf, timedelta(0), 0.05)),
        ("name", 7, TypeError),
        ("name", "", ValueError),
    ],
)
def test_senseless_options_are_told_by_name(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        RetryBudget(**{name: value})


def test_a_floor_that_never_saves_up_one_retry_is_told_with_the_window_it_needs() -> None:
    with pytest.raises(ValueError, match="make window at least 20"):
        RetryBudget(minimum_per_second=0.05)
    RetryBudget(minimum_per_second=0.05, window=20)


def test_the_defaults_are_finagles() -> None:
    with sandbox():
        budget = RetryBudget()
        assert repr(budget) == "RetryBudget(0.2, minimum_per_second=10, window=10)"
        assert budget.stats.balance == 100.0
        assert budget.name is None


def test_stats_count_calls_grants_and_refusals() -> None:
    with sandbox() as time:
        budget = RetryBudget(0.5, minimum_per_second=1, window=timedelta(seconds=2), name="shared")
        assert [budget.take() for _ in range(3)] == [True, True, False]
        for _ in range(4):
            budget.deposit()
        stats = budget.stats
        assert (stats.calls, stats.granted, stats.refused, stats.balance) == (4, 2, 1, 2.0)
        time.advance(1.0)
        assert budget.stats.balance == 2.0, "half of the share has faded, and the reserve has earned one"


@pytest.mark.parametrize("budget", ["mine", 0.2, object, retry])
def test_a_retry_takes_a_budget_or_none(budget: Any) -> None:
    with pytest.raises(TypeError, match="budget must be a RetryBudget"):
        retry(on=OSError, budget=budget)


@pytest.mark.law(73)
@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_live_count_is_not_copied(way: Any) -> None:
    with pytest.raises(TypeError, match="make one in each process"):
        way(RetryBudget())
    if way is not copy.copy:
        with pytest.raises(TypeError, match="make one in each process"):
            way(retry(on=OSError, budget=RetryBudget()))


def test_a_copied_retry_shares_the_budget_it_was_given() -> None:
    with sandbox():
        budget = RetryBudget(0.0, minimum_per_second=0.5, window=2)
        twin = copy.copy(retry(on=OSError, wait=0.0, budget=budget))
        with pytest.raises(OSError, match="gone"):
            twin.call(_gone)
        assert budget.stats.granted == 1


def _gone() -> None:
    raise OSError("gone")
