"""Where a test may break a call or cut the power: before and after each call of a step or undo, and each append.

In service nobody listens at these points, and each costs a look.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Literal

When = Literal["before", "after"]
Probe = Callable[[When, str], None]

probe: ContextVar[Probe | None] = ContextVar("resilience.saga.probe", default=None)
"""Called at every point of the sagas that run in this context, with its name: "before", "do:charge"."""


def reached(when: When, key: str) -> None:
    """A point is reached; whoever probes may raise here."""
    if (listener := probe.get()) is not None:
        listener(when, key)
