"""An answer that stands in for another must not be kept as if it were that one.

Who fetches something to keep it (a cache) says so to what runs inside; who answers in place of the call (a fallback)
says so to whoever fetches around it.
"""

from contextvars import ContextVar
from typing import Protocol


class Fetch(Protocol):
    """What is being fetched.

    Attributes:
        current: Whether what it brings is worth keeping.
    """

    current: bool


fetches: ContextVar[tuple[Fetch, ...]] = ContextVar("resilience_fetches", default=())
"""What the work around this is fetching."""


def stands_in() -> None:
    """What is answered now is not what was asked for: let nobody keep it."""
    for fetch in fetches.get():
        fetch.current = False
