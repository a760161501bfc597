"""Flow control as users write it, and the exact types it has: checked by mypy and pyright, both strict; never run."""

from datetime import timedelta
from typing import assert_type

from resilience import (
    AdaptiveBulkhead,
    AdaptiveStats,
    AdaptiveThrottle,
    Cache,
    CacheStats,
    Chaos,
    CircuitBreaker,
    Hedge,
    HedgeStats,
    Keyed,
    Lease,
    Pipeline,
    Policy,
    Rate,
    RateLimiter,
    RetryBudget,
    Store,
    TimedOut,
    find,
    policies,
    presets,
    priority,
    record,
    retry,
    timeout,
)
from resilience.simulate import Report, Service, exponential, simulate


def lowered(words: str) -> str:
    return words.lower()


shared = RetryBudget(0.1)
limiter = RateLimiter(Rate(10), Rate(100, per=60), max_wait=timedelta(seconds=1), name="search")
cache = Cache(60, key=lowered, stale_if_error=timedelta(hours=1))
hedge = Hedge(0.2, attempts=3, budget=shared)
tenants = Keyed(lambda tenant: CircuitBreaker(), key="tenant", name="tenants")
throttle = AdaptiveThrottle(on=(ConnectionError, TimedOut), on_result=lambda answer: answer is None)
places = AdaptiveBulkhead(initial=10, maximum=50, max_wait=None)
chaos = Chaos(rate={0: 0.1, timedelta(minutes=1): 0.0}, fault=ConnectionError, latency=(0.1, 0.5))
search = Pipeline(cache, retry(on=OSError, budget=shared), hedge, limiter, throttle, places, timeout(2), chaos)


@search
async def find_words(words: str, *, limit: int = 10) -> list[str]:
    return [words] * limit


@cache
def plain(words: str) -> int:
    return len(words)


@tenants
def deliver(tenant: str, message: bytes) -> bool:
    return bool(tenant and message)


async def use() -> None:
    assert_type(await find_words("tea", limit=3), list[str])
    assert_type(await hedge.acall(find_words, "tea"), list[str])
    assert_type(await limiter.aadmit(2.0), Lease)
    await cache.ainvalidate(find_words, "tea")
    async with limiter.guard(cost=3):
        pass


def look() -> None:
    assert_type(plain("tea"), int)
    assert_type(deliver("acme", b""), bool)
    assert_type(cache.stats, CacheStats)
    assert_type(hedge.stats, HedgeStats)
    assert_type(places.stats, AdaptiveStats)
    assert_type(limiter.rates, tuple[Rate, ...])
    assert_type(policies(RateLimiter), list[RateLimiter])
    assert_type(find(Cache, "answers"), Cache)
    limiter.charge(3)
    cache.invalidate(plain, "tea")
    with priority("background"), chaos:
        plain("tea")
    with record("traffic.jsonl") as traffic:
        assert_type(traffic.around(search), Pipeline)


class Kept:
    """A store of one's own."""

    def get(self, key: object, /) -> None:
        """Nothing is there."""

    def put(self, key: object, value: object, seconds: float, /) -> None:
        """Keep."""

    def drop(self, key: object, /) -> None:
        """Drop."""

    def clear(self) -> None:
        """Drop all."""


store: Store = Kept()
kept: Policy = Cache(60, store=store)
http: Pipeline = presets.http("catalogue", idempotent=True)
assert_type(simulate(Service(20, exponential(0.1)), search, rate=200), Report)
