"""The ambient deadline: how much time is left, known to everything that runs inside.

One context variable. `deadline` announces (it never cuts), `timeout` announces and enforces. Every policy that would
start an attempt, sleep, or queue asks here first: nothing starts that cannot end in time.
"""

from contextvars import ContextVar, Token
from dataclasses import dataclass
from math import inf
from typing import overload

from . import _checks
from ._clock import clock
from ._events import refused
from .errors import OutOfTime


@dataclass(slots=True, eq=False)
class Deadline:
    """A moment by which the current work should end.

    Not frozen, though nobody changes one that is announced: a frozen one takes five times as long to make.

    Attributes:
        expires: The moment, on the library's clock.
        enforced: Whether somebody outside cuts the work off then (a `timeout`), or only announced it (a `deadline`).
    """

    expires: float
    enforced: bool


ambient: ContextVar[Deadline | None] = ContextVar("resilience_deadline", default=None)
"""The nearest deadline in force, if any; never later than one outside of it."""


def nearest(expires: float, *, enforced: bool) -> Deadline:
    """The deadline to announce for work that should end by `expires`: an earlier one outside stays in force."""
    outer = ambient.get()
    return outer if outer is not None and outer.expires <= expires else Deadline(expires, enforced)


def withdraw(announced: Token[Deadline | None]) -> None:
    """Take an announcement back; in another context than it was made in, there is nothing of ours to take back."""
    try:
        ambient.reset(announced)
    except ValueError:
        pass


def seconds_left() -> float | None:
    """Seconds until the ambient deadline, 0.0 when it is past, `None` when there is none."""
    current = ambient.get()
    return None if current is None or current.expires == inf else max(0.0, current.expires - clock.now())


def within_deadline(seconds: float | None) -> float | None:
    """The shorter of a wait and the time left; `None` only when both are without limit."""
    left = seconds_left()
    if left is None:
        return seconds
    return left if seconds is None else min(seconds, left)


def require_time(policy: str) -> None:
    """Refuse to start anything once the deadline is past.

    Raises:
        OutOfTime: No time is left.
    """
    if seconds_left() == 0.0:
        refusal = OutOfTime(
            policy,
            None,
            "the deadline is past, so nothing was started; give the caller's deadline more time, or do less before "
            "this call",
        )
        refused(policy, refusal)
        raise refusal


@overload
def remaining() -> float | None: ...
@overload
def remaining(at_most: _checks.Seconds) -> float: ...
def remaining(at_most: _checks.Seconds | None = None) -> float | None:
    """Seconds left until the ambient deadline: what to hand to a client as its own timeout.

    Args:
        at_most: Never answer more than this (seconds or `timedelta`), also when there is no deadline.

    Returns:
        Seconds, never negative; `None` when there is no deadline and no `at_most`.

    Example:
        ```python
        with deadline(2.0):
            httpx.get(url, timeout=remaining(at_most=1.0))
        ```
    """
    return within_deadline(_checks.seconds_or_none("at_most", at_most, zero=True))
