"""`on=` reads like `except`."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience import CircuitBreaker, SlowRate, fallback, retry
from resilience._matching import Matcher
from resilience.errors import BulkheadFull, Rejected, TimedOut

KINDS = (OSError, ConnectionError, KeyError, LookupError, ValueError, TimeoutError, Rejected)


def as_except(error: Exception, kinds: tuple[type[Exception], ...]) -> bool:
    try:
        raise error  # noqa: TRY301 - to ask Python itself
    except kinds:
        return True
    except Exception:
        return False


@given(kind=st.sampled_from([*KINDS, BulkheadFull]), on=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
def test_types_match_as_in_except(kind: type[Exception], on: list[type[Exception]]) -> None:
    error = kind("x")
    matcher = Matcher("on", tuple(on))
    assert matcher(error) == as_except(error, tuple(on))
    assert matcher.covers(kind) == matcher(error)
    assert matcher.names(error) == matcher(error)


def test_nothing_is_hidden_in_it() -> None:
    everything = Matcher("on", Exception)
    assert everything(Rejected("b"))
    assert everything(TimedOut("t", 1.0))
    assert Matcher("on", OSError)(TimedOut("t", 1.0)), "a TimedOut is an OSError, by way of TimeoutError"
    assert not everything.names(Rejected("b")), "not by name"


@pytest.mark.law(68)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), GeneratorExit(), BaseException()])
def test_what_is_no_exception_never_matches_and_no_predicate_hears_of_it(error: BaseException) -> None:
    def predicate(_: Exception) -> bool:
        pytest.fail("it was asked")

    assert not Matcher("on", (Exception, predicate))(error)
    assert not Matcher("on", Exception)(BaseExceptionGroup("group", [error, ValueError()]))


def test_a_mix_is_tried_types_first_and_in_order() -> None:
    asked: list[str] = []

    def about(name: str, answer: object) -> Callable[[Exception], Any]:
        def predicate(_: Exception) -> Any:
            asked.append(name)
            return answer

        return predicate

    matcher = Matcher("on", (about("no", None), OSError, about("yes", 1), about("never", 1)))
    assert matcher(OSError())
    assert asked == []
    assert matcher(ValueError()) is True
    assert asked == ["no", "yes"]
    assert matcher.covers(OSError) is True
    assert matcher.covers(ValueError) is None


def test_an_empty_tuple_is_for_those_who_need_no_errors() -> None:
    assert not Matcher("ignore", (), required=False)(OSError())
    assert repr(Matcher("on", (), required=False)) == "()"
    with pytest.raises(ValueError, match="on must name at least one"):
        Matcher("on", ())


def test_it_shows_what_it_was_given() -> None:
    assert repr(Matcher("on", OSError)) == "OSError"
    assert repr(Matcher("on", (OSError, bool_of))) == "(OSError, bool_of)"


def bool_of(error: Exception) -> bool:
    return bool(error)


@pytest.mark.law(74)
def test_groups_match_by_their_leaves_across_types() -> None:
    matcher = Matcher("on", (OSError, KeyError))
    assert matcher(ExceptionGroup("g", [OSError(), ExceptionGroup("h", [KeyError()])]))
    assert not matcher(ExceptionGroup("g", [OSError(), ValueError()]))
    assert Matcher("on", ExceptionGroup)(ExceptionGroup("g", [ValueError()])), "the group's own type"
    assert not Matcher("on", bool_of_nothing)(ExceptionGroup("g", [OSError()])), "a predicate is not asked about leaves"


def bool_of_nothing(error: Exception) -> bool:
    return isinstance(error, OSError)


@pytest.mark.parametrize(
    "policy",
    [
        lambda wanted: retry(on=(), on_result=wanted, attempts=2, wait=0),
        lambda wanted: fallback("instead", on=(), on_result=wanted),
        lambda wanted: CircuitBreaker(on=(), on_result=wanted),
        lambda _: CircuitBreaker(on=(), trip=SlowRate(0.5, seconds=10, slower_than=1)),
    ],
    ids=["retry", "fallback", "breaker", "breaker that judges slowness"],
)
def test_where_results_are_judged_no_error_need_be_named(policy: Any) -> None:
    judged = policy(lambda result: result == "bad")
    with pytest.raises(OSError, match="as it is"):
        judged.call(raising)
    if isinstance(judged, retry | fallback):
        assert judged.call(lambda: "bad") == ("instead" if isinstance(judged, fallback) else "bad")


def raising() -> None:
    raise OSError("as it is")


@pytest.mark.parametrize(
    "make",
    [lambda: retry(on=()), lambda: fallback(1, on=()), lambda: CircuitBreaker(on=())],
    ids=["retry", "fallback", "breaker"],
)
def test_where_only_errors_are_judged_one_must_be_named(make: Any) -> None:
    with pytest.raises(ValueError, match=r"on must name at least one exception type or predicate, got \(\); it may be"):
        make()
