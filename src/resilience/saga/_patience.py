"""Waiting for another process, which lives in real time even when a test has made this one's virtual."""

from collections.abc import Callable

from .._clock import SystemClock

_LEAST, _MOST = 0.0002, 0.001
"""Seconds between two attempts. SQLite's own busy handler waits longer and longer, and starves: of two processes that
wrote as fast as they could for three seconds, one made 19,213 commits and the other one; so spread, 9,063 and 8,252."""

_real = SystemClock()


def patiently(attempt: Callable[[], bool], seconds: float) -> bool:
    """Try until it succeeds; false if that takes longer than so many (real) seconds."""
    ends = _real.now() + seconds
    while not attempt():
        if _real.now() >= ends:
            return False
        _real.sleep(_LEAST + _real.random() * (_MOST - _LEAST))
    return True
