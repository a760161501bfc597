"""Checks of parameters, made once when a policy is made.

Each function takes the parameter's name and value, and returns the value in its normal form, or raises a
`TypeError` (wrong kind of thing) or `ValueError` (right kind, senseless value) that names the parameter, the
value, and what is allowed.
"""

import inspect
import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

Seconds = float | timedelta
"""A duration: seconds as a number, or a `timedelta`."""

_LIMITS = ("max_wait", "max_elapsed")
"""Parameters by which `None` means no limit, wherever they stand: who writes infinity there means that."""


def number(
    name: str, value: object, *, above: float | None = None, least: float | None = None, most: float | None = None
) -> float:
    """A finite number within the given bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__})")
    return _within(name, float(value), value, above, least, most)


def whole(name: str, value: object, *, least: int = 1) -> int:
    """A whole number, at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, at least {least}, got {value!r} ({type(value).__name__})")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return value


def seconds(name: str, value: object, *, zero: bool = False) -> float:
    """A duration in seconds: a number or a `timedelta`; zero only where it makes sense."""
    given = value
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be seconds (a number) or a timedelta, got {value!r} ({type(value).__name__})")
    if zero:
        return _within(name, float(value), given, None, 0.0, None)
    return _within(name, float(value), given, 0.0, None, None)


def seconds_or_none(name: str, value: object, *, zero: bool = False) -> float | None:
    """A duration in seconds, or `None` for no limit."""
    return None if value is None else seconds(name, value, zero=zero)


def text(name: str, value: object) -> str:
    """A non-empty string."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {value!r} ({type(value).__name__})")
    if not value:
        raise ValueError(f"{name} must not be empty, got {value!r}")
    return value


def flag(name: str, value: object) -> bool:
    """True or false, and nothing that merely looks like it."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value


def takes_one(name: str, function: object) -> Callable[[Any], Any]:
    """A callable that can be called with one positional argument."""
    if not callable(function) or isinstance(function, type):
        raise TypeError(f"{name} must be a function of one argument, got {function!r}")
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        raise TypeError(
            f"{name} must be a plain function, got the coroutine function {function!r}: its answer is needed at once"
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin that tells nothing about its parameters
        return function
    try:
        signature.bind(None)
    except TypeError:
        raise TypeError(f"{name} must take one argument, but {function!r} takes {signature}") from None
    return function


def _within(
    name: str, value: float, given: object, above: float | None, least: float | None, most: float | None
) -> float:
    if not math.isfinite(value):
        endless = "; where no limit is meant, None says so" if name in _LIMITS else ""
        raise ValueError(f"{name} must be a finite number, got {given!r}{endless}")
    if above is not None and value <= above:
        raise ValueError(f"{name} must be greater than {above:g}, got {given!r}")
    if least is not None and value < least:
        raise ValueError(f"{name} must be at least {least:g}, got {given!r}")
    if most is not None and value > most:
        raise ValueError(f"{name} must be at most {most:g}, got {given!r}")
    return value
