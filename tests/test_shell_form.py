"""Our shells keep the form in which they can be written into one another.

Those inside which nothing can be written are named, with reasons.
"""

from collections.abc import Callable
from typing import Any

import pytest

from resilience import (
    AdaptiveBulkhead,
    AdaptiveThrottle,
    Bulkhead,
    Cache,
    Chaos,
    CircuitBreaker,
    Hedge,
    Keyed,
    RateLimiter,
    fallback,
    retry,
    timeout,
)
from resilience._compose import Entrance
from resilience._form import draft, outline
from resilience._fuse import _chain

POLICIES: dict[str, Callable[[], Any]] = {
    "retry": lambda: retry(on=OSError),
    "breaker": CircuitBreaker,
    "bulkhead": lambda: Bulkhead(3),
    "adaptive bulkhead": AdaptiveBulkhead,
    "limiter": lambda: RateLimiter(3),
    "limiter with a price": lambda: RateLimiter(3, cost=lambda order: order),
    "fallback": lambda: fallback(None, on=OSError).policy,
    "cache": lambda: Cache(3),
    "throttle": AdaptiveThrottle,
    "chaos": lambda: Chaos(rate=0.5, fault=OSError),
    "hedge": lambda: Hedge(3),
    "timeout that tells": lambda: timeout(3, sync="deadline"),
    "timeout that abandons": lambda: timeout(3, sync="abandon"),
    "keyed": lambda: Keyed(lambda _: CircuitBreaker(), key="order"),
}
LAST = {
    ("hedge", False): "the call is made in a thread",
    ("timeout that abandons", False): "the call is made in a thread",
    ("keyed", False): "which shell it calls depends on the key",
    ("keyed", True): "which shell it calls depends on the key",
}
ASKING = {"limiter with a price", "fallback", "cache", "chaos", "keyed"}


def work(order: int) -> int:
    """What is guarded."""
    return order


async def awork(order: int) -> int:
    """The same, awaited."""
    return order


@pytest.mark.parametrize("waits", [False, True], ids=["plain", "awaited"])
@pytest.mark.parametrize("name", POLICIES)
def test_it_can_be_written(name: str, waits: bool) -> None:
    fn = awork if waits else work
    shells = _chain(Entrance(POLICIES[name](), fn).gate(), fn)
    assert shells[0].__qualname__.startswith(("_gated", "_agated"))
    assert all(outline(shell.__code__) is not None and draft(shell.__code__) is not None for shell in shells)
    outer, innermost = shells[:-1], shells[-1]
    assert outer
    assert not any(last(shell) for shell in outer)
    assert last(innermost) is ((name, waits) in LAST)
    assert any(found.asks for shell in shells[1:] if (found := draft(shell.__code__))) is (name in ASKING)


def last(shell: Any) -> bool:
    """Whether nothing can be written inside."""
    found = outline(shell.__code__)
    return found is not None and found.last
