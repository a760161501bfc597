"""The same work in the hands of other libraries, as far as they are installed.

Each adapter does what its library's documentation says for this case: nothing is taken away that makes it correct, and
nothing is added. `checked` has seen each return the right result after exactly one call of the function.
"""

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.units import Async, Sync

ENOUGH = 1_000_000_000
"""Permits, places and the like that do not run out."""

SyncPeer = Callable[[Sync], Sync]
AsyncPeer = Callable[[Async], Async]


def sync_peers() -> Iterator[tuple[str, SyncPeer]]:
    """Decorators of plain functions, by what is being compared and who does it."""
    if _installed("tenacity"):
        import tenacity

        retrying = tenacity.retry(stop=tenacity.stop_after_attempt(3), retry=tenacity.retry_if_exception_type(OSError))
        yield "tenacity: retry", retrying
    if _installed("stamina"):
        import stamina

        yield "stamina: retry", stamina.retry(on=OSError)
    if _installed("pybreaker"):
        import pybreaker

        yield "pybreaker: breaker", pybreaker.CircuitBreaker()
    if _installed("circuitbreaker"):
        import circuitbreaker

        yield "circuitbreaker: breaker", circuitbreaker.circuit
    if _installed("limits"):
        yield "limits: moving window", _limits
    if _installed("pyrate_limiter"):
        yield "pyrate-limiter: rate limiter", _pyrate_limiter
    if _installed("pyresilience"):
        yield from _pyresilience()


def async_peers() -> Iterator[tuple[str, AsyncPeer]]:
    """Decorators of coroutine functions."""
    if _installed("aiolimiter"):
        yield "aiolimiter: rate limiter", _aiolimiter
    if _installed("pyresilience"):
        yield from _pyresilience()


def checked(peer: Callable[[Any], Any], fn: Sync) -> Callable[[Any], Any]:
    """A peer that is seen to do the work: the right result, after one call of the function."""
    calls: list[int] = []

    def counted(x: int) -> int:
        calls.append(x)
        return fn(x)

    found = peer(counted)(7)
    assert (found, calls) == (fn(7), [7]), f"{peer!r} does not do the work: {found!r} after {len(calls)} calls"
    return peer


async def achecked(peer: AsyncPeer, fn: Async) -> AsyncPeer:
    """The async twin of `checked`."""
    calls: list[int] = []

    async def counted(x: int) -> int:
        calls.append(x)
        return await fn(x)

    found = await peer(counted)(7)
    assert (found, calls) == (await fn(7), [7]), f"{peer!r} does not do the work: {found!r} after {len(calls)} calls"
    return peer


def _limits(fn: Sync) -> Sync:
    from limits import RateLimitItemPerSecond
    from limits.storage import MemoryStorage
    from limits.strategies import MovingWindowRateLimiter

    limiter, item = MovingWindowRateLimiter(MemoryStorage()), RateLimitItemPerSecond(1_000)

    def call(x: int) -> int:
        limiter.hit(item, "search")  # above the rate it says no; what that costs is about the same
        return fn(x)

    return call


def _pyrate_limiter(fn: Sync) -> Sync:
    from pyrate_limiter import Duration, Limiter, Rate

    limiter = Limiter(Rate(1_000, Duration.SECOND))

    def call(x: int) -> int:
        limiter.try_acquire("search", blocking=False)  # as above
        return fn(x)

    return call


def _aiolimiter(fn: Async) -> Async:
    from aiolimiter import AsyncLimiter

    limiter: list[AsyncLimiter] = []  # it belongs to the loop in which it is made

    async def call(x: int) -> int:
        if not limiter:
            limiter.append(AsyncLimiter(ENOUGH, 1))
        async with limiter[0]:
            return await fn(x)

    return call


def _pyresilience() -> Iterator[tuple[str, Callable[[Any], Any]]]:
    from pyresilience import (
        BulkheadConfig,
        CacheConfig,
        CircuitBreakerConfig,
        RateLimiterConfig,
        RetryConfig,
        resilient,
    )

    for what, options in {
        "retry": {"retry": RetryConfig()},
        "breaker": {"circuit_breaker": CircuitBreakerConfig()},
        "bulkhead": {"bulkhead": BulkheadConfig(1_000)},
        "rate limiter": {"rate_limiter": RateLimiterConfig(ENOUGH, 1)},
        "cache hit": {"cache": CacheConfig()},
    }.items():
        yield f"pyresilience: {what}", resilient(**options)


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
