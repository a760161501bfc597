"""`fallback`: what it is given, and its place."""

import copy
import pickle
from functools import partial
from typing import Any

import pytest

from resilience import Pipeline, fallback, retry
from resilience.errors import ResilienceWarning


def other(*args: object) -> str:
    return "other"


def fail() -> str:
    raise OSError


def through_pickle(policy: object) -> Any:
    return pickle.loads(pickle.dumps(policy))


@pytest.mark.parametrize(
    ("args", "options", "error", "text"),
    [
        ((), {}, TypeError, "one answer"),
        ((1, 2), {}, TypeError, "one answer"),
        ((1,), {"to": other}, TypeError, "one answer"),
        ((), {"to": 7}, TypeError, "to must be a function"),
        (([],), {}, ValueError, "mutable"),
        (({},), {}, ValueError, "mutable"),
        ((set(),), {}, ValueError, "mutable"),
        ((([],),), {}, ValueError, "mutable"),
        ((1,), {"on": ()}, ValueError, "on must name"),
        ((1,), {"on": BaseException}, TypeError, "on must not name BaseException"),
        ((1,), {"on_result": 3}, TypeError, "on_result must be a function"),
        ((1,), {"name": ""}, ValueError, "name must not be empty"),
    ],
)
def test_senseless_options_are_told(args: tuple[Any, ...], options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        fallback(*args, **{"on": OSError} | options)


def test_on_has_no_default() -> None:
    with pytest.raises(TypeError, match="on"):
        fallback(1)  # type: ignore[call-overload]  # the point of this test


@pytest.mark.parametrize("value", [None, 0, "", (), (1, (2,)), frozenset([1]), 1.5])
def test_any_value_that_cannot_change_is_an_answer(value: object) -> None:
    assert fallback(value, on=OSError).call(fail) == value


@pytest.mark.law(73)
@pytest.mark.parametrize(
    "policy", [fallback(None, on=OSError), fallback(to=other, on=(OSError, KeyError), name="price")]
)
@pytest.mark.parametrize("way", [through_pickle, copy.copy, copy.deepcopy])
def test_it_survives_a_copy(policy: Any, way: Any) -> None:
    twin = way(way(policy))
    assert repr(twin) == repr(policy)
    assert twin.call(fail) == policy.call(fail)
    chain = way(Pipeline(policy, retry(on=OSError, wait=0)))
    assert chain.call(fail) == policy.call(fail)
    assert repr(chain) == repr(Pipeline(policy, retry(on=OSError, wait=0)))


def test_it_shows_itself_as_it_is_written() -> None:
    assert repr(fallback(0.0, on=OSError)) == "fallback(0.0, on=OSError)"
    assert repr(fallback(to=other, on=(OSError, KeyError))) == "fallback(on=(OSError, KeyError), to=other)"


def test_it_stands_first() -> None:
    with pytest.raises(ValueError, match="put it first"):
        Pipeline(retry(on=OSError), fallback(1, on=OSError))


def test_a_decorated_plain_function_refuses_an_awaited_answer_at_once() -> None:
    async def to() -> int:
        return 1

    with pytest.raises(TypeError, match="cannot await"):
        fallback(to=to, on=OSError)(fail)


def test_a_plain_call_that_is_answered_with_a_coroutine_says_so() -> None:
    async def late() -> int:
        return 1

    guarded = fallback(to=lambda: late(), on=OSError)(fail)
    with pytest.raises(TypeError, match="coroutine"):
        guarded()


def test_a_pipeline_warns_where_it_misses_a_refusal_inside() -> None:
    from resilience import Bulkhead  # noqa: PLC0415

    with pytest.warns(ResilienceWarning, match="BulkheadFull"):
        Pipeline(fallback(1, on=OSError), Bulkhead(1))


@pytest.mark.parametrize(
    "function", [len, lambda: 1, dict, partial(len, ())], ids=["builtin", "lambda", "class", "partial"]
)
def test_a_function_given_as_the_value_is_taken_for_a_mistake(function: Any) -> None:
    with pytest.raises(TypeError, match="not called; write to="):
        fallback(function, on=OSError)
    assert fallback(to=lambda: function, on=OSError).call(lambda: 1) == 1
