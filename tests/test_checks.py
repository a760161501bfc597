"""Checks of parameters: each error names the parameter, the value, and what is allowed."""

import functools
import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience import _checks

NO_NUMBERS = [None, "text", b"1", True, False, [1], 1j, timedelta(seconds=1), object()]
ENDLESS = [math.nan, math.inf, -math.inf]


def refused(check: Callable[..., Any], value: object, error: type[Exception], *texts: str, **limits: Any) -> None:
    with pytest.raises(error, match="this_one") as caught:
        check("this_one", value, **limits)
    for text in (repr(value), *texts):
        assert text in str(caught.value)


@given(value=st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9))
def test_a_number_is_a_float_from_then_on(value: float) -> None:
    result = _checks.number("n", value)
    assert result == value
    assert type(result) is float


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_no_number(value: object) -> None:
    refused(_checks.number, value, TypeError, "must be a number", type(value).__name__)


@pytest.mark.parametrize("value", ENDLESS)
def test_a_number_is_finite(value: float) -> None:
    refused(_checks.number, value, ValueError, "finite")
    refused(_checks.seconds, value, ValueError, "finite")
    for check in _checks.number, _checks.seconds:
        with pytest.raises(ValueError, match=f"^n must be a finite number, got {value!r}$"):  # None may be none either
            check("n", value)
        with pytest.raises(ValueError, match="None says so"):
            check("max_wait", value)


def test_bounds() -> None:
    refused(_checks.number, 1, ValueError, "greater than 1", above=1)
    refused(_checks.number, 0.9, ValueError, "at least 1", least=1)
    refused(_checks.number, 1.1, ValueError, "at most 1", most=1)
    assert [_checks.number("n", 1, least=1, most=1), _checks.number("n", 1.1, above=1)] == [1.0, 1.1]


@pytest.mark.parametrize("value", [None, "1", 1.0, True, [1]])
def test_what_is_no_whole_number(value: object) -> None:
    refused(_checks.whole, value, TypeError, "whole number")


def test_a_whole_number_has_a_least() -> None:
    refused(_checks.whole, 0, ValueError, "at least 1")
    refused(_checks.whole, 4, ValueError, "at least 5", least=5)
    assert _checks.whole("n", 0, least=0) == 0


@given(value=st.floats(1e-6, 1e9))
def test_seconds_are_a_number_or_a_timedelta(value: float) -> None:
    assert _checks.seconds("s", value) == value
    span = timedelta(seconds=round(value, 6))
    assert _checks.seconds("s", span) == span.total_seconds()


@pytest.mark.parametrize("value", [value for value in NO_NUMBERS if not isinstance(value, timedelta)])
def test_what_is_no_duration(value: object) -> None:
    if value is None:
        assert _checks.seconds_or_none("s", None) is None
    refused(_checks.seconds, value, TypeError, "a timedelta")


def test_zero_seconds_only_where_they_make_sense() -> None:
    refused(_checks.seconds, 0, ValueError, "greater than 0")
    refused(_checks.seconds, timedelta(0), ValueError, "greater than 0")
    refused(_checks.seconds, -1e-9, ValueError, "at least 0", zero=True)
    assert _checks.seconds("s", 0, zero=True) == 0.0


def test_text_and_flags() -> None:
    refused(_checks.text, 7, TypeError, "must be a string")
    for name in "name", "key", "reason":
        with pytest.raises(ValueError, match=f"^{name} must not be empty, got ''$"):  # not all may be left out
            _checks.text(name, "")
    for value in (0, 1, None, "yes"):
        refused(_checks.flag, value, TypeError, "True or False")
    assert _checks.flag("f", value=True) is True


def one(_: object) -> bool:
    return True


def with_more(_: object, more: bool = True) -> bool:
    return more


async def later(_: object) -> bool:
    return True


class Asked:
    def __call__(self, _: object) -> bool:
        return True

    def method(self, _: object) -> bool:
        return True


class AskedLater:
    async def __call__(self, _: object) -> bool:
        return True


@pytest.mark.parametrize(
    "function",
    [
        one,
        Asked(),
        Asked().method,
        functools.partial(max, 1),
        with_more,
        lambda *args: args,
        len,
        abs,
        [].append,
    ],
)
def test_a_function_of_one_argument(function: object) -> None:
    assert _checks.takes_one("f", function) is function


@pytest.mark.parametrize("value", [7, None, "one", int, Asked])
def test_what_is_no_function(value: object) -> None:
    refused(_checks.takes_one, value, TypeError, "function of one argument")


@pytest.mark.parametrize("value", [later, functools.partial(later), AskedLater(), AskedLater().__call__])
def test_an_answer_that_would_have_to_be_awaited(value: object) -> None:
    refused(_checks.takes_one, value, TypeError, "plain function")


@pytest.mark.parametrize(
    "value", [lambda: 1, lambda a, b: 1, lambda *, a: 1, lambda a, *, b: 1], ids=["none", "two", "keyword", "both"]
)
def test_a_function_of_another_number_of_arguments(value: object) -> None:
    refused(_checks.takes_one, value, TypeError, "must take one argument")
