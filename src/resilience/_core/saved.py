"""A circuit breaker's state as plain data, for another process: a new one after a deploy, or one elsewhere.

What comes in may be anything, so it is checked here, and a wrong one is named. Moments are wall-clock times, the only
ones that two processes share; windows are not saved, because what they hold would be too old to count.
"""

import math
from typing import Any, NamedTuple, cast

from .states import State

_FORMAT = 1


class Saved(NamedTuple):
    """What is worth saving.

    Attributes:
        state: The state.
        reason: Why it began.
        until: The wall-clock time up to which it is open; `None` in every other state.
        openings: How often it opened in a row without closing in between.
        run: Failures in a row.
    """

    state: State
    reason: str
    until: float | None
    openings: int
    run: int


def pack(name: str | None, saved: Saved, wall: float) -> dict[str, Any]:
    """Saved state as what JSON can hold."""
    return {
        "format": _FORMAT,
        "name": name,
        "saved_at": wall,
        "state": saved.state.value,
        "reason": saved.reason,
        "open_until": saved.until,
        "openings": saved.openings,
        "failures_in_row": saved.run,
    }


def unpack(data: object) -> Saved:
    """Saved state from what `pack` made.

    Raises:
        ValueError: It is something else; the text says what is wrong.
    """
    if not isinstance(data, dict):
        raise _wrong(f"it must be a dict, got {data!r}")
    fields = cast("dict[str, object]", data)
    if fields.get("format") != _FORMAT:
        raise _wrong(f"format must be {_FORMAT}, got {fields.get('format')!r}")
    state, reason, until = fields.get("state"), fields.get("reason"), fields.get("open_until")
    if not isinstance(state, str) or state not in set(State):
        raise _wrong(f"state must be one of {', '.join(State)}, got {state!r}")
    if not isinstance(reason, str):
        raise _wrong(f"reason must be a string, got {reason!r}")
    openings, run = _whole(fields, "openings"), _whole(fields, "failures_in_row")
    return Saved(State(state), reason, None if until is None else _moment(until), openings, run)


def _moment(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong(f"open_until must be a finite time in seconds, or None, got {value!r}")
    return value


def _whole(fields: dict[str, object], name: str) -> int:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _wrong(f"{name} must be a whole number, 0 or more, got {value!r}")
    return value


def _wrong(what: str) -> ValueError:
    return ValueError(f"this is no snapshot of a circuit breaker: {what}")
