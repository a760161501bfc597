"""What is measured on the hot paths: our policies, nested and written out, by what happens to the call.

A `Row` is one way to guard one function. Who measures it looks first whether it does the work: the right result or
error, after the right number of calls of the function.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from resilience import (
    AdaptiveBulkhead,
    AdaptiveThrottle,
    Bulkhead,
    Cache,
    Chaos,
    CircuitBreaker,
    FailureRate,
    Hedge,
    Keyed,
    Pipeline,
    RateLimiter,
    SlowRate,
    fallback,
    retry,
    timeout,
)

NESTED, WRITTEN = "nested", "one function"
SUCCESS, FAILURE, REFUSAL = "success", "failure", "refusal"
RETRY, BREAKER, BULKHEAD, LIMITER = "retry", "circuit breaker", "bulkhead", "rate limiter"
CACHE, TIMEOUT, THREE, FALLBACK = "cache, hit", "timeout", "pipeline of 3", "fallback"
HEDGE = "hedge, not fired"
NOBODY = 1_000_000_000
"""Failures, permits and places that are never reached."""


class Row(NamedTuple):
    """One way to guard a function.

    Attributes:
        path: What becomes of the call: success, failure or refusal.
        pattern: What guards it; rows of one path and pattern are compared.
        who: Whose it is.
        make: Guards a function.
        calls: How many calls of the function one guarded call makes.
        again: Whether the function fails the first time only.
    """

    path: str
    pattern: str
    who: str
    make: Callable[[Any], Any]
    calls: int = 1
    again: bool = False


# The goals, as multiples of a pass-through: nested sync, nested async, written out sync, written out async.
GOALS: dict[tuple[str, str], tuple[float | None, float | None, float | None, float | None]] = {
    (SUCCESS, RETRY): (2.4, 1.9, 0.95, 1.0),
    (SUCCESS, BREAKER): (2.6, 2.0, 1.2, 1.1),
    (SUCCESS, "circuit breaker, rate by calls"): (2.8, 2.2, 1.4, 1.3),
    (SUCCESS, "circuit breaker, rate by time"): (3.4, 2.8, 2.0, 1.9),
    (SUCCESS, "circuit breaker, rate by time and slow calls"): (3.9, 3.3, 2.5, 2.4),
    (SUCCESS, BULKHEAD): (2.8, 2.2, 1.4, 1.2),
    (SUCCESS, LIMITER): (4.2, 2.9, 2.8, 2.0),
    (SUCCESS, HEDGE): (None, 6.0, None, 5.0),
    (SUCCESS, "keyed circuit breaker"): (3.0, 3.0, None, None),
    (SUCCESS, THREE): (4.7, 3.8, 1.7, 1.4),
    (SUCCESS, "pipeline of 5"): (7.3, 5.8, 2.4, 1.8),
}


def ours(*, waits: bool) -> Iterator[Row]:
    """Our rows, each nested and written out."""
    for path, pattern, make in (*_successes(waits=waits), *_failures(), *_refusals()):
        for who, fuse in ((NESTED, False), (WRITTEN, True)):
            pipeline = Pipeline(make(), fuse=fuse)
            again = pattern == "retry, second attempt"
            calls = 0 if path == REFUSAL or pattern == CACHE else 2 if again else 1
            yield Row(path, pattern, who, pipeline, calls, again)


def _successes(*, waits: bool) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    yield SUCCESS, RETRY, lambda: retry(on=OSError)
    yield SUCCESS, BREAKER, CircuitBreaker
    yield SUCCESS, "circuit breaker, rate by calls", lambda: CircuitBreaker(trip=FailureRate(0.5, calls=100))
    yield SUCCESS, "circuit breaker, rate by time", lambda: CircuitBreaker(trip=FailureRate(0.5, seconds=10))
    slow = FailureRate(0.5, seconds=10), SlowRate(0.5, seconds=10, slower_than=1.0)
    yield SUCCESS, "circuit breaker, rate by time and slow calls", lambda: CircuitBreaker(trip=slow)
    yield SUCCESS, BULKHEAD, lambda: Bulkhead(1_000)
    yield SUCCESS, LIMITER, lambda: RateLimiter(NOBODY)
    yield SUCCESS, FALLBACK, lambda: fallback(None, on=OSError)
    yield SUCCESS, CACHE, lambda: Cache(3600)
    yield SUCCESS, "keyed circuit breaker", lambda: Keyed(lambda _: CircuitBreaker(), key="x")
    yield SUCCESS, "adaptive bulkhead", lambda: AdaptiveBulkhead(initial=1_000)
    yield SUCCESS, "adaptive throttle", AdaptiveThrottle
    yield SUCCESS, "chaos, off", lambda: Chaos(rate=0.5, fault=OSError)
    yield SUCCESS, TIMEOUT, lambda: timeout(30) if waits else timeout(30, sync="deadline")
    if waits:
        yield SUCCESS, HEDGE, lambda: Hedge(30)
    for size in range(1, 9):
        yield SUCCESS, f"pipeline of {size}", lambda size=size: Pipeline(*of_size(size))


def _failures() -> Iterator[tuple[str, str, Callable[[], Any]]]:
    yield FAILURE, "retry, not its error", lambda: retry(on=KeyError)
    yield FAILURE, "retry, second attempt", lambda: retry(on=OSError, wait=0, budget=None)
    yield FAILURE, BREAKER, lambda: CircuitBreaker(trip=NOBODY)
    yield FAILURE, BULKHEAD, lambda: Bulkhead(1_000)
    yield FAILURE, FALLBACK, lambda: fallback(1, on=OSError)


def _refusals() -> Iterator[tuple[str, str, Callable[[], Any]]]:
    yield REFUSAL, BREAKER, open_breaker
    yield REFUSAL, BULKHEAD, full_bulkhead
    yield REFUSAL, LIMITER, spent_limiter


def of_size(size: int) -> list[Any]:
    """Retry, breaker, bulkhead, and then breakers and bulkheads in turns."""
    turns = [CircuitBreaker() if number % 2 else Bulkhead(1_000) for number in range(1, size)]
    return [retry(on=OSError), *turns]


def open_breaker() -> CircuitBreaker:
    """A breaker that refuses."""
    breaker = CircuitBreaker()
    breaker.isolate()
    return breaker


def full_bulkhead() -> Bulkhead:
    """A bulkhead whose one place is taken."""
    bulkhead = Bulkhead(1)
    bulkhead.admit()
    return bulkhead


def spent_limiter() -> RateLimiter:
    """A limiter that will have no permit for a long time."""
    limiter = RateLimiter(1, per=3600)
    limiter.admit().succeed()
    return limiter


# The work, and whether it is done


class Work:
    """The function that is guarded, and how often it was called.

    Args:
        row: Whether it succeeds is for its path to say.
    """

    def __init__(self, row: Row) -> None:
        self.count = 0
        self._again = row.again
        self._fails = row.path == FAILURE

    def plain(self, x: int) -> int:
        """A plain function."""
        self.count += 1
        if self._fails and (not self._again or self.count % 2):
            raise OSError
        return x

    async def awaited(self, x: int) -> int:
        """A coroutine function."""
        return self.plain(x)


def quiet(row: Row, fn: Callable[[int], int]) -> Callable[[int], int]:
    """What is measured: the guarded function; where it raises, in a `try`."""
    if row.path == SUCCESS:
        return fn

    def call(x: int) -> int:
        try:
            return fn(x)
        except Exception:  # noqa: BLE001 - each library has its own
            return 0

    return call


def aquiet(row: Row, fn: Callable[[int], Any]) -> Callable[[int], Any]:
    """The async twin of `quiet`."""
    if row.path == SUCCESS:
        return fn

    async def call(x: int) -> int:
        try:
            found: int = await fn(x)
        except Exception:  # noqa: BLE001 - each library has its own
            return 0
        return found

    return call


def problem_of(row: Row, made: Callable[[Any], Any]) -> str | None:
    """What is wrong with a row, if anything: it is called twice, by a function that makes one call of it."""
    work = Work(row)
    outcomes: list[object] = []
    try:
        call = made(work)
        for _ in range(2):
            work.count = 0
            try:
                outcomes.append(call(7))
            except Exception as error:  # noqa: BLE001 - each library has its own
                outcomes.append(error)
    except Exception as error:  # noqa: BLE001 - its author's idea of a first call
        return f"{type(error).__name__}: {error}"
    right = _is_right(row, outcomes[-1])
    return None if right and work.count == row.calls else f"{outcomes[-1]!r} after {work.count} calls"


def _is_right(row: Row, outcome: object) -> bool:
    if row.path == SUCCESS or row.again:
        return outcome == 7
    if row.path == FAILURE:
        return isinstance(outcome, OSError) or (row.pattern == FALLBACK and outcome == 1)
    return isinstance(outcome, Exception) and not isinstance(outcome, OSError)


def ignoring(call: Callable[[], object]) -> None:
    """Make a call whose outcome is nobody's concern: to open a breaker, say."""
    with suppress(Exception):
        call()
