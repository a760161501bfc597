"""How long a journal that cannot be written is tried again, before its saga is left for later.

What a step has answered is in hand all the while, and nothing new is started.
"""

from .._clock import clock
from .._core.backoff import full_jitter
from .._events import logger
from ..errors import JournalUnavailable
from ._journal import Journal

_INITIAL, _MOST = 0.1, 5.0
"""Seconds: the ceilings of the first wait, and of all."""


class Perseverance:
    """One write that is tried until it succeeds, or patience is at an end."""

    def __init__(self, id: str, journal: Journal) -> None:  # noqa: A002 - it is the saga's id
        self._id = id
        self._journal = journal
        self._ends: float | None = None
        self._tries = 0

    def again_in(self, error: JournalUnavailable) -> float:
        """Seconds until the next try.

        Raises:
            JournalUnavailable: It has been tried for too long.
        """
        if self._ends is None:
            self._ends = clock.now() + self._journal.patience
            logger.warning("saga %s: %s cannot be written, and waits for it: %s", self._id, self._journal.name, error)
        self._tries += 1
        wait = max(0.01, full_jitter(self._tries, clock.random(), _INITIAL, _MOST))
        if clock.now() + wait > self._ends:
            raise error
        return wait
