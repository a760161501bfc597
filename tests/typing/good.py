"""What users write, and the exact types that both checkers must see. It is checked, never run."""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, assert_type

from tenacity import RetryCallState, stop_after_attempt, wait_exponential

from resilience import (
    Bulkhead,
    BulkheadStats,
    CircuitBreaker,
    Event,
    FailureRate,
    Lease,
    Pipeline,
    Policy,
    RetryBudget,
    SlowRate,
    SupportsBind,
    TimedOut,
    deadline,
    fallback,
    find,
    listen,
    policies,
    remaining,
    retry,
    timeout,
)
from resilience.errors import CircuitOpen, Rejected
from resilience.http import transient, unhealthy
from resilience.testing import instant, sandbox


@dataclass
class Price:
    """What the examples fetch."""

    cents: int


breaker = CircuitBreaker("prices", trip=(5, FailureRate(0.5, seconds=10), SlowRate(0.8, slower_than=2.0, calls=50)))
bulkhead = Bulkhead(10, max_wait=timedelta(seconds=1), queue=20, name="prices")
prices = Pipeline(timeout(5), retry(on=ConnectionError), breaker, bulkhead, name="prices")


# The decorator keeps the type of what it guards.


@breaker
def plain(article: str, *, currency: str = "EUR") -> Price:
    """A plain function."""
    return Price(len(article + currency))


@prices
async def fetched(article: str, *, currency: str = "EUR") -> Price:
    """A coroutine function."""
    return Price(len(article + currency))


class Shop:
    """Methods of every kind."""

    @retry(on=OSError)
    def price(self, article: str) -> Price:
        """A method."""
        return Price(len(article))

    @prices
    async def aprice(self, article: str) -> Price:
        """A coroutine method."""
        return Price(len(article))

    @classmethod
    @breaker
    def of(cls, name: str) -> "Shop":
        """A class method."""
        del name
        return cls()

    @staticmethod
    @breaker
    def currency() -> str:
        """A static method."""
        return "EUR"


assert_type(plain("tea"), Price)
assert_type(plain("tea", currency="USD"), Price)
assert_type(Shop().price("tea"), Price)
assert_type(Shop.of("tea"), Shop)
assert_type(Shop.currency(), str)
assert_type(breaker(partial(plain, "tea"))(), Price)
assert_type(retry(on=OSError)(len)("tea"), int)

keeps_its_type: Callable[[str], Price] = plain
is_a_coroutine_function: Callable[[str], Coroutine[Any, Any, Price]] = fetched


async def coroutines_stay_coroutines() -> None:
    assert_type(await fetched("tea", currency="USD"), Price)
    assert_type(await Shop().aprice("tea"), Price)


# One guarded call.


def open_file(name: str, mode: str = "r") -> int:
    return len(name + mode)


def awaitable(article: str) -> Awaitable[Price]:
    return fetched(article)


assert_type(breaker.call(open_file, "tea", mode="w"), int)
assert_type(prices.call(plain, "tea", currency="USD"), Price)


async def one_guarded_call() -> None:
    assert_type(await prices.acall(fetched, "tea", currency="USD"), Price)
    assert_type(await bulkhead.acall(awaitable, "tea"), Price)


# A fallback changes the type, and only a fallback.


@fallback(None, on=(ConnectionError, Rejected))
def maybe(article: str) -> Price:
    """Answers `None` when it cannot answer."""
    return Price(len(article))


@fallback(0, on=Exception)
async def counted(article: str) -> str:
    """Answers 0 when it cannot answer."""
    return article


def from_cache(article: str) -> str:
    return article


async def from_far_cache(article: str) -> bytes:
    return article.encode()


@fallback(to=from_far_cache, on=Exception)
async def cached_far(article: str) -> Price:
    """Awaits the answer."""
    return Price(len(article))


assert_type(maybe("tea"), Price | None)
assert_type(fallback(0, on=OSError).call(from_cache, "tea"), str | int)


async def answers_of_fallbacks() -> None:
    assert_type(await counted("tea"), str | int)
    assert_type(await cached_far("tea"), Price | bytes)
    assert_type(await fallback(0, on=OSError).acall(fetched, "tea"), Price | int)


# Blocks and leases.


def blocks() -> None:
    with breaker.guard() as lease:
        assert_type(lease, Lease)
    with bulkhead.admit() as lease:
        assert_type(lease.ended, bool)
    for attempt in retry(on=OSError, attempts=5):
        with attempt:
            assert_type(attempt.number, int)
    with deadline(2.0), listen(print):
        assert_type(remaining(), float | None)
        assert_type(remaining(at_most=1.0), float)


async def async_blocks() -> None:
    async with bulkhead.guard() as lease:
        assert_type(lease, Lease)
    async with timeout(2.0).guard():
        (await breaker.aadmit()).fail(OSError())
    async for attempt in retry(on=OSError):
        with attempt:
            assert_type(attempt.number, int)


# `on=` reads like `except`, and takes predicates; tenacity's strategies are taken as they are.


def is_busy(error: Exception) -> bool:
    return "busy" in str(error)


def is_empty(result: object) -> bool:
    return not result


def grows(state: RetryCallState) -> float:
    return float(state.attempt_number)


retry(on=OSError)
retry(on=(OSError, TimedOut, is_busy), on_result=is_empty)
retry(on=transient, on_result=transient, wait=wait_exponential(max=5), stop=stop_after_attempt(4))
retry(on=Exception, attempts=None, wait=timedelta(seconds=1), max_wait=None, max_elapsed=10, budget=None, again=True)
retry(on=OSError, wait=grows, budget=RetryBudget(0.1, minimum_per_second=5), retry_after=lambda _: None)
timeout(1.5, sync="deadline")
timeout(timedelta(seconds=1), sync="abandon", workers=4)
CircuitBreaker(on=unhealthy, on_result=unhealthy, ignore=(KeyError, is_busy), ramp=30, max_cooldown=timedelta(hours=1))
breaker.configure(cooldown=5.0, trip=3)


# What can be asked.


def heard(event: Event) -> None:
    assert_type(event.policy, str)


listen(heard).start().stop()
assert_type(bulkhead.stats, BulkheadStats)
assert_type(bulkhead.stats.available, int)
assert_type(breaker.state, str)
assert_type(policies(), list[Policy])
assert_type(policies(Bulkhead), list[Bulkhead])
assert_type(find(CircuitBreaker, "prices"), CircuitBreaker)


def refusal() -> None:
    try:
        plain("tea")
    except CircuitOpen as error:
        assert_type(error.retry_after, float | None)
        assert_type(error.policy, str)


# What users write of their own: no base class, two methods.


class Counting:
    """A policy of one's own."""

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """For plain functions."""
        return fn

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        """For coroutine functions."""
        return fn


mine: SupportsBind = Counting()
with_every_door: Policy = Pipeline(Counting(), breaker)
assert_type(Pipeline(mine).call(open_file, "tea"), int)


def takes_any_policy(policy: Policy) -> Price:
    return policy.call(plain, "tea")


takes_any_policy(retry(on=OSError))
takes_any_policy(prices)


# The test kit.


def in_a_sandbox() -> None:
    with sandbox(seed=1) as time:
        time.advance(60)
        assert_type(time.elapsed, float)
    with instant():
        plain("tea")


async def stream(articles: list[str]) -> AsyncIterator[Price]:
    for article in articles:
        async with bulkhead.guard():
            yield await fetched(article)
