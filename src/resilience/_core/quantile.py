"""A quantile of the last values, exactly: a machine without a lock or a clock.

The last `SIZE` values are kept in order, and thrown out one by one as new ones come: two binary searches and two moves
in a short list. An estimate from less memory would be quicker by nothing that counts, and wrong after a change.
"""

from bisect import bisect_left, insort
from collections import deque
from math import ceil

SIZE = 200
"""How many values are looked at: what is slow today counts, not what was slow an hour ago."""

LEAST = 20
"""The fewest values of which a quantile means anything; for a quantile far out, more (see `Quantile`)."""


class Quantile:
    """A quantile of the last `SIZE` values.

    Args:
        share: Which one: 0.95 for the value that 95 % of the others do not exceed.
    """

    __slots__ = ("_enough", "_order", "_share", "_values")

    def __init__(self, share: float) -> None:
        self._share = share
        # Fewer than this, and not one value is expected beyond the quantile.
        self._enough = max(LEAST, ceil(round(1.0 / (1.0 - share), 9)))
        self._values: deque[float] = deque()
        self._order: list[float] = []

    def add(self, value: float) -> float | None:
        """Count one more: the quantile now."""
        if len(self._values) == SIZE:
            del self._order[bisect_left(self._order, self._values.popleft())]
        self._values.append(value)
        insort(self._order, value)
        return self.value()

    def value(self) -> float | None:
        """The quantile now (the nearest rank); `None` while there are too few values."""
        count = len(self._order)
        return self._order[ceil(self._share * count) - 1] if count >= self._enough else None
