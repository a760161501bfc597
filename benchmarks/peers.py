"""The same work in the hands of other libraries, as far as they are installed.

Each adapter does what its library's documentation says for this case: nothing is taken away that makes it correct, and
nothing is added. One whose library cannot be loaded, or that does not do the work, is named in the report and left out.
"""

import asyncio
import importlib.metadata
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from fractions import Fraction
from typing import Any

import anyio
import trio

from benchmarks.rows import (
    BREAKER,
    BULKHEAD,
    CACHE,
    FAILURE,
    LIMITER,
    NOBODY,
    REFUSAL,
    RETRY,
    SUCCESS,
    THREE,
    TIMEOUT,
    Row,
    ignoring,
)

NAMES = (
    "tenacity", "stamina", "backoff", "pybreaker", "circuitbreaker", "purgatory", "hyx", "pyresilience", "interlock-cb",
    "crashbytes-resilience", "resilient-circuit", "aiolimiter", "limits", "pyrate-limiter", "anyio", "trio",
)  # fmt: skip
AGAIN = "retry, second attempt"

Make = Callable[[Any], Any]
Offer = tuple[str, str, Callable[[], Make]]
"""Path, pattern, and what makes the decorator: a library is loaded with its first offer."""


def versions() -> dict[str, str | None]:
    """Which are installed; `None` for one that is not."""
    found: dict[str, str | None] = {}
    for name in NAMES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def theirs(way: str) -> Iterator[tuple[Row | None, str, str]]:
    """Their rows: the row, or `None`, who offers it, and why there is none."""
    offers = _SYNC if way == "sync" else {**_ASYNC, **(_ON_TRIO if way == "trio" else _ON_ASYNCIO)}
    for who, of_one in offers.items():
        for path, pattern, load in of_one:
            calls = 0 if path == REFUSAL or pattern == CACHE else 2 if pattern == AGAIN else 1
            try:
                yield Row(path, pattern, who, load(), calls, pattern == AGAIN), who, ""
            except ImportError:
                yield None, who, "not installed"
            except Exception as error:  # noqa: BLE001 - each library has its own
                yield None, f"{who}: {path}, {pattern}", f"{type(error).__name__}: {error}"


# Plain functions


def _tenacity(**options: Any) -> Make:
    import tenacity

    stop, kinds = tenacity.stop_after_attempt(3), tenacity.retry_if_exception_type(OSError)
    return tenacity.retry(stop=stop, retry=kinds, **options)


def _tenacity_again() -> Make:
    import tenacity

    return _tenacity(wait=tenacity.wait_none())


def _stamina(**options: Any) -> Make:
    import stamina

    return stamina.retry(on=OSError, **options)


def _backoff(**options: Any) -> Make:
    import backoff

    return backoff.on_exception(backoff.constant if options else backoff.expo, OSError, max_tries=3, **options)


def _pybreaker(failures: int = 5) -> Make:
    import pybreaker

    return pybreaker.CircuitBreaker(fail_max=failures)


def _pybreaker_open() -> Make:
    import pybreaker

    breaker = pybreaker.CircuitBreaker()
    breaker.open()
    return breaker


def _circuitbreaker(failures: int = 5) -> Make:
    import circuitbreaker

    return circuitbreaker.CircuitBreaker(failure_threshold=failures)


def _opened(make: Callable[[], Make]) -> Make:
    """A breaker that has seen enough failures."""

    def decorate(fn: Any) -> Any:
        breaker = make()

        def fail(x: int) -> int:
            raise OSError(x)

        failing = breaker(fail)
        for _ in range(6):
            ignoring(lambda: failing(1))
        return breaker(fn)

    return decorate


def _aopened(make: Callable[[], Make]) -> Make:
    """The same for coroutine functions."""

    def decorate(fn: Any) -> Any:
        breaker = make()
        is_open: list[bool] = []

        async def fail(x: int) -> int:
            raise OSError(x)

        failing, guarded = breaker(fail), breaker(fn)

        async def call(x: int) -> Any:
            while len(is_open) < 6:
                is_open.append(True)
                with suppress(Exception):
                    await failing(1)
            return await guarded(x)

        return call

    return decorate


def _purgatory() -> Make:
    import purgatory

    return purgatory.SyncCircuitBreakerFactory()("service")


def _apurgatory() -> Make:
    import purgatory

    return purgatory.AsyncCircuitBreakerFactory()("service")


def _interlock() -> Make:
    import interlock

    return interlock.CircuitBreaker(name="service")


def _interlock_bulkhead() -> Make:
    import interlock

    return interlock.Pipeline(interlock.BulkheadStrategy(1_000))


def _interlock_timeout() -> Make:
    import interlock

    return interlock.Pipeline(interlock.TimeoutStrategy(30))


def _interlock_open() -> Make:
    import interlock

    return interlock.CircuitBreaker(name="service", initial_state=interlock.State.FORCED_OPEN)


def _crashbytes(what: str, *args: Any, **options: Any) -> Make:
    import crashbytes_resilience

    make: Callable[..., Make] = getattr(crashbytes_resilience, what)
    return make(*args, **options)


def _crashbytes_three() -> Make:
    parts = _crashbytes("retry", exceptions=(OSError,)), _crashbytes("circuit_breaker"), _crashbytes("bulkhead", 1_000)
    return _crashbytes("pipeline", *parts)


def _resilient_retry() -> Make:
    from resilient_circuit import RetryWithBackoffPolicy

    return RetryWithBackoffPolicy(should_handle=_is_os_error)


def _resilient_breaker() -> Make:
    from resilient_circuit import CircuitProtectorPolicy

    return CircuitProtectorPolicy(failure_limit=Fraction(5, 5), cooldown=timedelta(seconds=60))


def _resilient_two() -> Make:
    from resilient_circuit import SafetyNet

    return SafetyNet(policies=(_resilient_retry(), _resilient_breaker()))


def _is_os_error(error: Exception) -> bool:
    return isinstance(error, OSError)


def _pyresilience(*what: str) -> Make:
    import pyresilience as library

    made = {
        "retry": library.RetryConfig,
        "circuit_breaker": library.CircuitBreakerConfig,
        "bulkhead": lambda: library.BulkheadConfig(1_000),
        "rate_limiter": lambda: library.RateLimiterConfig(NOBODY, 1),
        "cache": library.CacheConfig,
        "timeout": lambda: library.TimeoutConfig(30),
    }
    return library.resilient(**{name: made[name]() for name in what})


def _limits() -> Make:
    from limits import RateLimitItemPerSecond
    from limits.storage import MemoryStorage
    from limits.strategies import FixedWindowRateLimiter

    limiter, item = FixedWindowRateLimiter(MemoryStorage()), RateLimitItemPerSecond(NOBODY)

    def decorate(fn: Any) -> Any:
        def call(x: int) -> Any:
            if not limiter.hit(item, "search"):
                raise RuntimeError("over the limit")
            return fn(x)

        return call

    return decorate


def _pyrate_limiter() -> Make:
    from pyrate_limiter import Duration, Limiter, Rate

    limiter = Limiter(Rate(100_000, Duration.SECOND))

    def decorate(fn: Any) -> Any:
        def call(x: int) -> Any:
            limiter.try_acquire("search", blocking=False)
            return fn(x)

        return call

    return decorate


# What they offer for plain and coroutine functions alike.
_TENACITY: list[Offer] = [(SUCCESS, RETRY, _tenacity), (FAILURE, AGAIN, _tenacity_again)]
_STAMINA: list[Offer] = [
    (SUCCESS, RETRY, _stamina),
    (FAILURE, AGAIN, lambda: _stamina(wait_initial=0, wait_jitter=0, wait_max=0)),
]
_BACKOFF: list[Offer] = [(SUCCESS, RETRY, _backoff), (FAILURE, AGAIN, lambda: _backoff(interval=0, jitter=None))]
_CRASHBYTES: list[Offer] = [
    (SUCCESS, RETRY, lambda: _crashbytes("retry", exceptions=(OSError,))),
    (SUCCESS, BREAKER, lambda: _crashbytes("circuit_breaker")),
    (SUCCESS, BULKHEAD, lambda: _crashbytes("bulkhead", 1_000)),
    (SUCCESS, LIMITER, lambda: _crashbytes("rate_limiter", NOBODY)),
    (SUCCESS, THREE, _crashbytes_three),
    (FAILURE, AGAIN, lambda: _crashbytes("retry", delay=0, exceptions=(OSError,))),
]
_PYRESILIENCE: list[Offer] = [
    (SUCCESS, RETRY, lambda: _pyresilience("retry")),
    (SUCCESS, BREAKER, lambda: _pyresilience("circuit_breaker")),
    (SUCCESS, BULKHEAD, lambda: _pyresilience("bulkhead")),
    (SUCCESS, LIMITER, lambda: _pyresilience("rate_limiter")),
    (SUCCESS, CACHE, lambda: _pyresilience("cache")),
    (SUCCESS, THREE, lambda: _pyresilience("retry", "circuit_breaker", "bulkhead")),
]

_SYNC: dict[str, list[Offer]] = {
    "tenacity": _TENACITY,
    "stamina": _STAMINA,
    "backoff": _BACKOFF,
    "pybreaker": [
        (SUCCESS, BREAKER, _pybreaker),
        (FAILURE, BREAKER, lambda: _pybreaker(NOBODY)),
        (REFUSAL, BREAKER, _pybreaker_open),
    ],
    "circuitbreaker": [
        (SUCCESS, BREAKER, _circuitbreaker),
        (FAILURE, BREAKER, lambda: _circuitbreaker(NOBODY)),
        (REFUSAL, BREAKER, lambda: _opened(_circuitbreaker)),
    ],
    "purgatory": [(SUCCESS, BREAKER, _purgatory), (REFUSAL, BREAKER, lambda: _opened(_purgatory))],
    "interlock-cb": [
        (SUCCESS, BREAKER, _interlock),
        (SUCCESS, BULKHEAD, _interlock_bulkhead),
        (REFUSAL, BREAKER, _interlock_open),
    ],
    "crashbytes-resilience": [
        *_CRASHBYTES,
        (REFUSAL, BREAKER, lambda: _opened(lambda: _crashbytes("circuit_breaker"))),
    ],
    "resilient-circuit": [
        (SUCCESS, RETRY, _resilient_retry),
        (SUCCESS, BREAKER, _resilient_breaker),
        (SUCCESS, "pipeline of 2", _resilient_two),
        (REFUSAL, BREAKER, lambda: _opened(_resilient_breaker)),
    ],
    "pyresilience": [
        *_PYRESILIENCE,
    ],
    "limits": [(SUCCESS, LIMITER, _limits)],
    "pyrate-limiter": [(SUCCESS, LIMITER, _pyrate_limiter)],
}


# Coroutine functions


def _hyx(module: str, name: str, *args: Any, **options: Any) -> Make:
    import importlib

    make: Callable[..., Make] = getattr(importlib.import_module(f"hyx.{module}"), name)
    return make(*args, **options)


def _hyx_limiter() -> Make:
    from hyx.ratelimit import tokenbucket

    return _lazily(lambda: tokenbucket(NOBODY, 1, NOBODY))


def _lazily(make: Callable[[], Make]) -> Make:
    """What wants to be made in the loop in which it is used."""

    def decorate(fn: Any) -> Any:
        made: list[Any] = []

        async def call(x: int) -> Any:
            if not made:
                made.append(make()(fn))
            return await made[0](x)

        return call

    return decorate


def _within(make: Callable[[], Any]) -> Make:
    """A context manager as a decorator; it is made in the loop in which it is used."""

    def decorate(fn: Any) -> Any:
        made: list[Any] = []

        async def call(x: int) -> Any:
            if not made:
                made.append(make())
            async with made[0]:
                return await fn(x)

        return call

    return decorate


def _anew(make: Callable[[], Any], *, waits: bool = False) -> Make:
    """A context manager for each call."""

    def decorate(fn: Any) -> Any:
        async def awaited(x: int) -> Any:
            async with make():
                return await fn(x)

        async def call(x: int) -> Any:
            with make():
                return await fn(x)

        return awaited if waits else call

    return decorate


def _aiolimiter() -> Make:
    from aiolimiter import AsyncLimiter

    return _within(lambda: AsyncLimiter(NOBODY, 1))


_ASYNC: dict[str, list[Offer]] = {
    "tenacity": _TENACITY,
    "stamina": _STAMINA,
    "anyio": [
        (SUCCESS, TIMEOUT, lambda: _anew(lambda: anyio.fail_after(30))),
        (SUCCESS, BULKHEAD, lambda: _within(lambda: anyio.CapacityLimiter(1_000))),
    ],
}
_ON_ASYNCIO: dict[str, list[Offer]] = {
    "backoff": _BACKOFF,
    "circuitbreaker": [
        (SUCCESS, BREAKER, _circuitbreaker),
        (FAILURE, BREAKER, lambda: _circuitbreaker(NOBODY)),
        (REFUSAL, BREAKER, lambda: _aopened(_circuitbreaker)),
    ],
    "purgatory": [(SUCCESS, BREAKER, _apurgatory), (REFUSAL, BREAKER, lambda: _aopened(_apurgatory))],
    "hyx": [
        (SUCCESS, RETRY, lambda: _hyx("retry", "retry", on=OSError)),
        (SUCCESS, BREAKER, lambda: _hyx("circuitbreaker", "consecutive_breaker")),
        (SUCCESS, BULKHEAD, lambda: _hyx("bulkhead", "bulkhead", 1_000, 1_000)),
        (SUCCESS, LIMITER, _hyx_limiter),
        (SUCCESS, TIMEOUT, lambda: _lazily(lambda: _hyx("timeout", "timeout", 30))),
        (REFUSAL, BREAKER, lambda: _aopened(lambda: _hyx("circuitbreaker", "consecutive_breaker"))),
    ],
    "interlock-cb": [
        (SUCCESS, BREAKER, _interlock),
        (SUCCESS, BULKHEAD, _interlock_bulkhead),
        (SUCCESS, TIMEOUT, _interlock_timeout),
        (REFUSAL, BREAKER, _interlock_open),
    ],
    "crashbytes-resilience": [
        *_CRASHBYTES,
        (SUCCESS, TIMEOUT, lambda: _crashbytes("timeout", 30)),
    ],
    "pyresilience": [
        *_PYRESILIENCE,
        (SUCCESS, TIMEOUT, lambda: _pyresilience("timeout")),
    ],
    "aiolimiter": [(SUCCESS, LIMITER, _aiolimiter)],
    "asyncio": [
        (SUCCESS, TIMEOUT, lambda: _anew(lambda: asyncio.timeout(30), waits=True)),
        (SUCCESS, BULKHEAD, lambda: _within(lambda: asyncio.Semaphore(1_000))),
    ],
}
_ON_TRIO: dict[str, list[Offer]] = {
    "trio": [
        (SUCCESS, TIMEOUT, lambda: _anew(lambda: trio.fail_after(30))),
        (SUCCESS, BULKHEAD, lambda: _within(lambda: trio.CapacityLimiter(1_000))),
    ],
}
