"""Whether every other thread of the process stands still, so that only time could bring anything on.

A thread that is blocked is found at the same instruction look after look; one that works is not. Idle helpers (a pool's
spare workers, an exporter) are blocked as well, so a test need not be free of them.
"""

import sys
import threading
from collections.abc import Callable

_LOOKS = 10
"""Equal looks in a row that count as standing still. Between two of them the looker lets go of the interpreter."""


class Standstill:
    """A series of looks at all threads but the one that looks.

    Args:
        besides: The idents of threads that are known to stand still; asked at each look.
        looks: How many equal looks it takes, if that is more than usual.
    """

    def __init__(self, besides: Callable[[], set[int]], looks: int = 0) -> None:
        self._besides = besides
        self._needed = max(_LOOKS, looks)
        self._found: dict[int, tuple[int, int]] | None = None
        self._equal = 0

    @property
    def alone(self) -> bool:
        """Whether the last look found no other thread at all."""
        return not self._found

    def look(self) -> bool:
        """Look once more; true if there is nobody else, or nobody else has moved for long enough."""
        found = self._positions()
        self._equal = self._equal + 1 if found == self._found else 0
        self._found = found
        return not found or self._equal >= self._needed

    def forget(self) -> None:
        """Begin anew: something happened that may have set others going."""
        self._equal = 0

    def _positions(self) -> dict[int, tuple[int, int]]:
        """The frame and instruction at which each thread is."""
        frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]  # documented, for just such purposes
        still = self._besides() | {threading.get_ident()}
        return {ident: (id(frame), frame.f_lasti) for ident, frame in frames.items() if ident not in still}
