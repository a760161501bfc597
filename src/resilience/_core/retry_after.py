"""How long somebody asks to be left alone: `.retry_after`, or a `Retry-After` header.

Read from whatever a call ended with, an exception or a result, of any library: attributes and headers are looked up
by name, so no library is imported. RFC 9110, section 10.2.3, allows a number of seconds and a date; a date is
measured against the `Date` header of the same response where there is one, because then the two clocks that differ
are one. What cannot be read is no wish at all: hostile objects and headers answer `None`, they never raise.

This module knows no clock (`wall_now` is an argument), and not what a wait is good for: whether it fits a deadline or
a limit is for the policy that asks.
"""

import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, timedelta
from typing import cast

from .outcomes import leaves, peek

LONGEST = 2.0**31
"""Seconds (68 years): what RFC 9111, section 1.2.2, reads any larger number as."""

_NUMBER = re.compile(r"-?\d+(\.\d*)?", re.ASCII)


def retry_after_of(outcome: object, wall_now: float) -> float | None:
    """Seconds until a new try is welcome, as the outcome itself says.

    The attribute `retry_after` comes first (a number of seconds, or a `timedelta`), then the header `Retry-After` of
    `outcome.headers` or `outcome.response.headers`, in any spelling of its case. A group of exceptions asks for the
    longest wait among its leaves.

    Args:
        outcome: The exception or the result of a call.
        wall_now: Seconds since the epoch by the wall clock, for a date in a response that has no `Date` of its own.

    Returns:
        Seconds, from 0.0 (what is negative or past) to `LONGEST`; `None` where nothing readable is said.
    """
    try:
        waits = [wait for leaf in leaves(outcome) if (wait := _wish(leaf, wall_now)) is not None]
        return max(waits, default=None)
    except Exception:  # noqa: BLE001 - the outcome's own code ran (headers may be anything), and it may raise anything
        return None


def _wish(outcome: object, wall_now: float) -> float | None:
    wait = _seconds(peek(outcome, "retry_after"))
    if wait is None:
        wait = _header(peek(outcome, "headers"), wall_now)
    if wait is None:
        wait = _header(peek(peek(outcome, "response"), "headers"), wall_now)
    return wait


def _seconds(value: object) -> float | None:
    if value is None:  # nearly always
        return None
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return float(min(max(0.0, value), LONGEST))


def _header(headers: object, wall_now: float) -> float | None:
    if headers is None:  # nearly always
        return None
    asked = _field(headers, "retry-after")
    if not isinstance(asked, str):
        return _seconds(asked)
    if _NUMBER.fullmatch(asked.strip()):
        return _seconds(min(float(asked), LONGEST))
    then = _date(asked)
    if then is None:
        return None
    sent = _date(_field(headers, "date"))
    return _seconds(then - (wall_now if sent is None else sent))


def _field(headers: object, wanted: str) -> object:
    items = peek(headers, "items")
    if not callable(items):
        return None
    pairs = cast("Callable[[], Iterable[tuple[object, object]]]", items)()
    # Not every mapping of headers ignores case, so this one look does.
    return next((value for name, value in pairs if isinstance(name, str) and name.lower() == wanted), None)


def _date(text: object) -> float | None:
    if not isinstance(text, str):
        return None
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - loads sockets and more, and few servers send dates

    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ArithmeticError, LookupError, TypeError, ValueError):  # Each of them has been seen for some text.
        return None
