"""What users write, and the exact types it has: checked by mypy and pyright, both strict; never run."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import lru_cache, partial
from typing import Any, Generic, TypeVar, assert_type, overload

from resilience import (
    Attempt,
    Bulkhead,
    BulkheadStats,
    CircuitBreaker,
    Event,
    FailureRate,
    Guard,
    Lease,
    Pipeline,
    Policy,
    Rejected,
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
from resilience.events import Retrying, StateChanged
from resilience.testing import VirtualClock, sandbox

T = TypeVar("T")

breaker = CircuitBreaker("payments", trip=(5, FailureRate(0.5, seconds=10), SlowRate(0.5, calls=50, slower_than=1.0)))
bulkhead = Bulkhead(10, max_wait=timedelta(seconds=1), name="database")
again = retry(on=(OSError, lambda error: "busy" in str(error)), attempts=5, budget=RetryBudget())
pipeline = Pipeline(timeout(10), again, breaker, bulkhead, timeout(2), name="payments")
answer = fallback("stale", on=Exception)

# Policies are what one annotates with, and what one writes


def takes_a_policy(policy: Policy) -> Callable[[int], str]:
    return policy(str)


takes_a_policy(again)
takes_a_policy(breaker)
takes_a_policy(pipeline)
takes_a_policy(timeout(3))


class Mine:
    """A policy of one's own: two methods."""

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        return fn

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        return fn


mine: SupportsBind = Mine()
assert_type(Pipeline(mine, Mine(), again), Pipeline)
assert_type(Pipeline(), Pipeline)
assert_type(Pipeline(pipeline, Pipeline(name="inner"), name="outer"), Pipeline)
assert_type(str(pipeline.explain()), str)

# A decorated function keeps its type


@pipeline
def plain(a: int, /, b: str, *rest: float, key: bool = False, **more: bytes) -> list[str]:
    return [b]


@again
async def awaited(a: int, b: str = "") -> list[str]:
    return [b]


@breaker
def generic(value: T, default: list[T]) -> list[T]:
    return [value, *default]


@overload
def doubled(a: int) -> int: ...
@overload
def doubled(a: str) -> str: ...
@bulkhead
def doubled(a: Any) -> Any:
    return a * 2


assert_type(plain(1, "b", 2.0, key=True, more=b""), list[str])
assert_type(generic(1, [2]), list[int])
assert_type(generic("1", []), list[str])
assert_type(doubled(1), int)
assert_type(doubled("1"), str)
assert_type(pipeline(plain)(1, "b"), list[str])
assert_type(retry(on=OSError)(len)([1]), int)
assert_type(pipeline(partial(plain, 1))("b"), list[str])
assert_type(again(lambda: plain(1, "b"))(), list[str])


@pipeline
@breaker
def stacked(a: int) -> str:
    return str(a)


assert_type(stacked(1), str)


@again
@lru_cache
def cached(a: int) -> int:
    return a


assert_type(cached(1), int)
cached.cache_clear()


class Callable1:
    """A callable object keeps its class, and so its methods."""

    def __call__(self, a: int) -> str:
        return str(a)

    def close(self) -> None: ...


assert_type(pipeline(Callable1()), Callable1)
pipeline(Callable1()).close()


class Service(Generic[T]):
    """Methods of every kind."""

    def __init__(self, value: T) -> None:
        self.value = value

    @pipeline
    def method(self, a: int) -> T:
        return self.value

    @pipeline
    async def amethod(self, a: int) -> T:
        return self.value

    @classmethod
    @pipeline
    def named(cls, a: int) -> str:
        return cls.__name__

    @pipeline
    @classmethod
    def named_below(cls, a: int) -> str:
        return cls.__name__

    @staticmethod
    @pipeline
    def static(a: int) -> int:
        return a

    @pipeline
    @staticmethod
    def static_below(a: int) -> int:
        return a

    @property
    @pipeline
    def total(self) -> int:
        return 3


service = Service("value")
assert_type(service.method(1), str)
assert_type(service.named(1), str)
assert_type(service.named_below(1), str)
assert_type(service.static(1), int)
assert_type(service.static_below(1), int)
assert_type(service.total, int)

# One call


def call() -> None:
    assert_type(again.call(plain, 1, "b", key=True), list[str])
    assert_type(pipeline.call(generic, 1, [2]), list[int])
    assert_type(breaker.call(lambda: 3), int)
    assert_type(timeout(3, sync="deadline").call(divmod, 7, 2), tuple[int, int])


async def acall() -> None:
    assert_type(await awaited(1), list[str])
    assert_type(await service.amethod(1), str)
    assert_type(await again.acall(awaited, 1, b="b"), list[str])
    assert_type(await pipeline.acall(asyncio.sleep, 1, "result"), str)
    future: asyncio.Future[int] = asyncio.Future()
    assert_type(await breaker.acall(lambda: future), int)
    # a coroutine function stays one, which is what these need
    task = asyncio.create_task(awaited(1))
    assert_type(await task, list[str])
    async with asyncio.TaskGroup() as tasks:
        made = tasks.create_task(service.amethod(1))
        assert_type(await made, str)
    coroutine: Coroutine[Any, Any, list[str]] = awaited(1)
    assert_type(await coroutine, list[str])


# A fallback changes the type, alone and at the head of a pipeline


def price(article: int) -> float:
    return 1.0


async def aprice(article: int) -> float:
    return 1.0


async def astale(article: int) -> bytes:
    return b""


def other(article: int) -> bytes:
    return b""


assert_type(answer(price)(article=3), float | str)
assert_type(answer.call(price, 3), float | str)
assert_type(fallback(None, on=OSError)(price)(3), float | None)
assert_type(fallback(to=other, on=OSError)(price)(3), float | bytes)


@answer
def decorated_price(article: int, *, currency: str = "") -> float:
    return 1.0


assert_type(decorated_price(3, currency="EUR"), float | str)
assert_type(Pipeline(answer)(price)(3), float | str)
assert_type(Pipeline(answer, again, timeout(3)).call(price, 3), float | str)
assert_type(Pipeline(Pipeline(answer, again), breaker, name="x")(price)(3), float | str)


async def fallbacks() -> None:
    assert_type(await answer(aprice)(3), float | str)
    assert_type(await answer.acall(aprice, 3), float | str)
    assert_type(await fallback(to=astale, on=OSError)(aprice)(3), float | bytes)
    assert_type(await fallback(to=other, on=OSError)(aprice)(3), float | bytes)
    assert_type(await Pipeline(answer, again)(aprice)(3), float | str)
    assert_type(await Pipeline(answer, again).acall(aprice, 3), float | str)
    assert_type(await asyncio.create_task(answer(aprice)(3)), float | str)


# Blocks and leases


def blocks() -> None:
    with breaker.guard() as lease:
        assert_type(lease, Lease)
    with pipeline.guard():
        pass
    with timeout(2, sync="deadline").guard(), deadline(timedelta(seconds=2)):
        pass
    assert_type(breaker.guard(), Guard)
    assert_type(breaker.admit(), Lease)
    assert_type(pipeline.admit(), Lease)
    breaker.admit().fail(ValueError())
    for attempt in retry(on=OSError):
        assert_type(attempt, Attempt)
        with attempt as same:
            assert_type(same.number, int)


async def ablocks() -> None:
    async with bulkhead.guard() as lease:
        assert_type(lease, Lease)
    async with timeout(2).guard(), pipeline.guard():
        pass
    assert_type(await bulkhead.aadmit(), Lease)
    assert_type(await pipeline.aadmit(), Lease)
    async for attempt in retry(on=OSError):
        assert_type(attempt, Attempt)
        with attempt:
            pass


def found_after_a_block() -> int:
    """A guard lets exceptions through, so that the checkers know that the end is not reached."""
    with breaker.guard(), pipeline.guard():
        return 3


@asynccontextmanager
async def dependency() -> AsyncGenerator[int]:
    async with bulkhead.guard():
        yield 3


# Time, events, registry, errors

assert_type(remaining(), float | None)
assert_type(remaining(1.0), float)
assert_type(remaining(at_most=timedelta(seconds=1)), float)


def hear(event: Event) -> None:
    match event:
        case Retrying(policy, attempt, wait, error):
            assert_type(policy, str)
            assert_type(attempt, int)
            assert_type(wait, float)
            assert_type(error, BaseException | None)
        case StateChanged(before=before, lasts=lasts):
            assert_type(before, str)
            assert_type(lasts, float | None)
        case _:
            pass


with listen(hear) as listening:
    assert_type(listening, listen)
listen(print).start().stop()

assert_type(policies(), list[Policy])
assert_type(policies(CircuitBreaker), list[CircuitBreaker])
assert_type(find(Bulkhead, "database"), Bulkhead)
assert_type(find(RetryBudget, "shared"), RetryBudget)
assert_type(bulkhead.stats, BulkheadStats)
assert_type(breaker.state, str)

try:
    plain(1, "b")
except Rejected as refusal:
    assert_type(refusal.policy, str)
    assert_type(refusal.retry_after, float | None)
except TimedOut as late:
    assert_type(late.seconds, float)

with sandbox(seed=3) as time:
    assert_type(time, VirtualClock)
    time.advance(60)
