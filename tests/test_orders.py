"""Which compositions are refused, which are doubted, and that the recommended one is neither."""

import pickle
import warnings
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest

from resilience import (
    Bulkhead,
    BulkheadFull,
    CircuitBreaker,
    CircuitOpen,
    Pipeline,
    Rejected,
    ResilienceWarning,
    TimedOut,
    fallback,
    retry,
    timeout,
)

WANTED = (ConnectionError, TimedOut)


def recommended() -> list[Any]:
    return [
        fallback(None, on=(*WANTED, Rejected)),
        timeout(10),
        retry(on=WANTED),
        CircuitBreaker(),
        Bulkhead(20),
        timeout(2),
    ]


def test_the_recommended_order_raises_no_doubt() -> None:
    """Nor does any pipeline that leaves some of it out."""
    for size in range(7):
        for parts in combinations(recommended(), size):
            Pipeline(*parts)  # a warning is an error here
            Pipeline(Pipeline(*parts[:2]), Pipeline(*parts[2:]))


def test_the_example_of_the_documentation_raises_no_doubt() -> None:
    Pipeline(timeout(10), retry(on=WANTED), CircuitBreaker(), Bulkhead(20), timeout(2), name="payments")


@pytest.mark.parametrize(
    "make", [lambda: retry(on=OSError), CircuitBreaker, lambda: timeout(5)], ids=["retry", "breaker", "timeout"]
)
def test_one_policy_twice_is_refused(make: Callable[[], Any]) -> None:
    policy = make()
    for build in (
        lambda: Pipeline(policy, policy),
        lambda: Pipeline(Pipeline(policy), Pipeline(Pipeline(policy))),
        lambda: Pipeline(policy, timeout(50), policy),
    ):
        with pytest.raises(ValueError, match=r"stands twice in this pipeline.*name it once"):
            build()


def test_a_fallback_inside_is_refused() -> None:
    for parts in ([retry(on=OSError), fallback(1, on=OSError)], [fallback(1, on=OSError), fallback(2, on=OSError)]):
        with pytest.raises(ValueError, match=r"put it first: Pipeline\(fallback\(\.\.\.\), \.\.\.\)"):
            Pipeline(*parts)
    with pytest.raises(ValueError, match="put it first"):
        Pipeline(Pipeline(retry(on=OSError)), Pipeline(fallback(1, on=OSError)))


@pytest.mark.parametrize("inner", [5, 6, 500])
def test_a_timeout_that_can_never_expire_is_refused(inner: float) -> None:
    with pytest.raises(
        ValueError, match=rf"inner timeout \({inner:g} s\) can never expire before the outer one \(5 s\)"
    ):
        Pipeline(timeout(5), retry(on=TimedOut), timeout(inner))


DOUBTS: list[Any] = [
    pytest.param(
        lambda: Pipeline(retry(on=OSError), retry(on=OSError)),
        "two retries in one pipeline.*one retry with the attempts you want",
        id="two-retries",
    ),
    pytest.param(
        lambda: Pipeline(Bulkhead(5), retry(on=OSError)),
        r"keeps its place while it waits.*Pipeline\(retry\(\.\.\.\), Bulkhead\(\.\.\.\)\)",
        id="retry-in-bulkhead",
    ),
    pytest.param(
        lambda: Pipeline(CircuitBreaker(), retry(on=OSError)),
        r"hides the failed attempts.*Pipeline\(retry\(\.\.\.\), CircuitBreaker\(\.\.\.\)\)",
        id="retry-in-breaker",
    ),
    pytest.param(
        lambda: Pipeline(retry(on=ConnectionError), timeout(1.5)),
        r"on= does not name the TimedOut that the timeout inside raises.*on=\(\.\.\., TimedOut\)",
        id="retry-misses-timeouts",
    ),
    pytest.param(
        lambda: Pipeline(CircuitBreaker(on=ConnectionError), timeout(1.5)),
        "on= does not name the TimedOut",
        id="breaker-misses-timeouts",
    ),
    pytest.param(
        lambda: Pipeline(fallback(0, on=ConnectionError), timeout(1.5)),
        "on= does not name TimedOut.*add TimedOut, or Rejected",
        id="fallback-misses-timeouts",
    ),
    pytest.param(
        lambda: Pipeline(fallback(0, on=TimedOut), CircuitBreaker()),
        "on= does not name CircuitOpen.*add CircuitOpen, or Rejected for every refusal",
        id="fallback-misses-open-breaker",
    ),
    pytest.param(
        lambda: Pipeline(fallback(0, on=(TimedOut, CircuitOpen)), Bulkhead(5)),
        "on= does not name BulkheadFull",
        id="fallback-misses-full-bulkhead",
    ),
    pytest.param(
        lambda: Pipeline(CircuitBreaker(cooldown=2), timeout(2)),
        "a probe's outcome counts for 2 s, and the timeout inside lets it hang for 2 s.*probe_lease longer than 2 s",
        id="lease-too-short-for-timeout",
    ),
    pytest.param(
        lambda: Pipeline(CircuitBreaker(cooldown=5), timeout(5)),
        "a probe that hangs never says so; give a probe_lease longer than 5 s",
        id="probe-outlives-its-lease",
    ),
]


@pytest.mark.parametrize(("build", "text"), DOUBTS)
def test_a_doubtful_order_warns_once_where_it_is_written(build: Callable[[], Any], text: str) -> None:
    with pytest.warns(ResilienceWarning, match=text) as caught:
        pipeline = build()
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert isinstance(pipeline, Pipeline)


@pytest.mark.parametrize(("build", "text"), DOUBTS)
def test_a_doubt_may_be_made_an_error(build: Callable[[], Any], text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResilienceWarning)
        with pytest.raises(ResilienceWarning, match=text):
            build()


@pytest.mark.parametrize(
    "on",
    [
        TimedOut,
        TimeoutError,
        OSError,
        Exception,
        (ValueError, TimedOut),
        lambda error: False,
        (ValueError, lambda e: True),
    ],
    ids=["itself", "parent", "grandparent", "Exception", "tuple", "predicate", "mixed"],
)
def test_an_on_that_covers_timeouts_raises_no_doubt(on: Any) -> None:
    """A predicate may cover them: only what is certain is said."""
    Pipeline(retry(on=on), CircuitBreaker(on=on), timeout(2))


def test_a_fallback_that_names_every_refusal_raises_no_doubt() -> None:
    for on in (Exception, (OSError, Rejected), lambda error: True, (TimedOut, CircuitOpen, BulkheadFull)):
        Pipeline(fallback(0, on=on), CircuitBreaker(), Bulkhead(5), timeout(5))


def test_a_lease_longer_than_the_timeout_raises_no_doubt() -> None:
    Pipeline(CircuitBreaker(cooldown=5, probe_lease=5.5), timeout(5))


def test_a_probe_lease_that_outlasts_the_timeout_raises_no_doubt() -> None:
    Pipeline(CircuitBreaker(cooldown=2, probe_lease=2.5), timeout(2))
    Pipeline(timeout(5), CircuitBreaker(cooldown=2))


def test_a_timeout_outside_raises_no_doubt() -> None:
    Pipeline(timeout(5), retry(on=ConnectionError), CircuitBreaker(on=ConnectionError))


def test_the_checks_see_through_nested_pipelines() -> None:
    with pytest.warns(ResilienceWarning, match="keeps its place"):
        Pipeline(Pipeline(Bulkhead(5)), Pipeline(Pipeline(retry(on=OSError))))


def test_a_copy_is_not_doubted_again() -> None:
    with pytest.warns(ResilienceWarning, match="two retries"):
        pipeline = Pipeline(retry(on=OSError), retry(on=OSError))
    assert repr(pickle.loads(pickle.dumps(pipeline))) == repr(pipeline)
