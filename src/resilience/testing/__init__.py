"""Test code that is guarded, without waiting and without luck.

`sandbox` gives a virtual clock and seeded randomness, and every policy starts calm in it; `instant` only takes the
waiting out. Both are for your tests as well as for ours::

    with sandbox() as time:
        ...            # five failures
        assert breaker.state == "open"
        time.advance(70)
        assert breaker.state == "half_open"
"""

from ._sandbox import instant, sandbox
from ._virtual import VirtualClock

__all__ = ["VirtualClock", "instant", "sandbox"]
