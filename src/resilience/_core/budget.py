"""How many retries a stream of calls may afford: pure arithmetic, not thread-safe.

Two purses. The *share* earns `ratio` of a token per call, and what it has earned fades over `window`. The *reserve*
earns `per_second` tokens a second and holds at most a window's worth; it starts full, so that low traffic can retry.
Each retry takes one token, from the share first. So in the time t since the start, with c calls::

    retries <= ratio * c + per_second * (t + window)

The numbers are Finagle's (RetryBudget: 20 %, 10 per second, 10 s).
"""


class Budget:
    """The two purses.

    Args:
        ratio: Tokens per call.
        per_second: Tokens per second, whatever the traffic.
        window: Seconds over which earned tokens fade, and for which the reserve saves up.
        now: The present moment.
    """

    __slots__ = ("_per_second", "_ratio", "_reserve", "_seen", "_share", "_since", "_window")

    def __init__(self, ratio: float, per_second: float, window: float, now: float) -> None:
        self._ratio = ratio
        self._per_second = per_second
        self._window = window
        self._share = 0.0
        self._reserve = per_second * window
        self._since = now
        self._seen = 0

    def take(self, now: float, calls: int) -> bool:
        """Take one token for a retry, if there is one.

        Args:
            now: The present moment.
            calls: How many calls there have been in all.
        """
        self._earn(now, calls)
        if self._share >= 1.0:
            self._share -= 1.0
        elif self._share + self._reserve >= 1.0:
            self._reserve -= 1.0 - self._share
            self._share = 0.0
        else:
            return False
        return True

    def balance(self, now: float, calls: int) -> float:
        """How many retries could be afforded now."""
        self._earn(now, calls)
        return self._share + self._reserve

    def _earn(self, now: float, calls: int) -> None:
        elapsed = max(0.0, now - self._since)
        # The calls since the last look are taken as evenly spread: those older than the window have faded already.
        fresh = (calls - self._seen) * min(1.0, self._window / elapsed) if elapsed else calls - self._seen
        self._share = self._share * max(0.0, 1.0 - elapsed / self._window) + self._ratio * fresh
        self._reserve = min(self._per_second * self._window, self._reserve + self._per_second * elapsed)
        self._since = max(self._since, now)
        self._seen = calls
