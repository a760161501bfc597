"""Test code that is guarded, without waiting and without luck.

`sandbox` gives a virtual clock and seeded randomness, and every policy starts calm in it; `instant` only takes the
waiting out. Both are for your tests as well as for ours::

    with sandbox() as time:
        ...            # five failures
        assert breaker.state == "open"
        time.advance(70)
        assert breaker.state == "half_open"

`check_saga` tells every story that a saga can live through: each call broken, and the power gone at every point.
"""

from typing import TYPE_CHECKING, Any

from ._sandbox import instant, sandbox
from ._virtual import VirtualClock

if TYPE_CHECKING:
    from ._sagas import Stories, check_saga

__all__ = ["Stories", "VirtualClock", "check_saga", "instant", "sandbox"]


def __getattr__(name: str) -> Any:
    """Load what is about sagas with its first use."""
    if name in {"Stories", "check_saga"}:
        from . import _sagas  # noqa: PLC0415

        return getattr(_sagas, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
