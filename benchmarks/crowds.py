"""What many have in common: threads at one breaker, tasks at one bulkhead, policies in memory, functions written out.

    python -m benchmarks.crowds          # about a minute
    python -m benchmarks.crowds --quick

Threads share one interpreter lock, so a figure is the processor's time for all of them; the ratio is to the same
threads at an empty decorator.
"""

import argparse
import asyncio
import gc
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import anyio

from benchmarks.units import aanswer, answer, passthrough
from resilience import (
    AdaptiveBulkhead,
    AdaptiveThrottle,
    Bulkhead,
    Cache,
    CircuitBreaker,
    FailureRate,
    Hedge,
    Keyed,
    Pipeline,
    RateLimiter,
    fallback,
    retry,
    timeout,
)

THREADS = (1, 2, 4, 8, 16)
TASKS = (10_000, 100_000)
PLACES = 100
MANY = 10_000
ROUNDS = 5

POLICIES: dict[str, Callable[[], Any]] = {
    "retry": lambda: retry(on=OSError),
    "timeout": lambda: timeout(1),
    "fallback": lambda: fallback(None, on=OSError),
    "circuit breaker": CircuitBreaker,
    "circuit breaker, rate by calls": lambda: CircuitBreaker(trip=FailureRate(0.5, calls=100)),
    "bulkhead": lambda: Bulkhead(20),
    "adaptive bulkhead": AdaptiveBulkhead,
    "rate limiter": lambda: RateLimiter(100),
    "adaptive throttle": AdaptiveThrottle,
    "hedge": lambda: Hedge(1),
    "cache": lambda: Cache(60),
    "keyed": lambda: Keyed(lambda _: CircuitBreaker(), key="x"),
}


def threads(calls: int) -> Iterator[str]:
    """So many threads that call through one breaker."""
    yield "threads at one circuit breaker: nanoseconds per call, and as a multiple of an empty decorator"
    breaker = CircuitBreaker()
    candidates = {
        "empty": passthrough(answer),
        "nested": Pipeline(breaker, fuse=False)(answer),
        "one": Pipeline(breaker)(answer),
    }
    for number in THREADS:
        least = dict.fromkeys(candidates, float("inf"))
        for _ in range(ROUNDS):
            for name, fn in candidates.items():
                least[name] = min(least[name], _with_threads(fn, number, calls // number))
        empty, nested, one = least.values()
        yield (
            f"  {number:>3} threads: nested {nested / empty:5.2f} ({nested:.0f})   "
            f"one function {one / empty:5.2f} ({one:.0f})"
        )


def _with_threads(fn: Callable[[int], Any], number: int, calls: int) -> float:
    def run() -> None:
        for _ in range(calls):
            fn(1)

    team = [threading.Thread(target=run) for _ in range(number)]
    gc.collect()
    began = time.process_time_ns()
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    return (time.process_time_ns() - began) / (number * calls)


def tasks(sizes: tuple[int, ...]) -> Iterator[str]:
    """So many tasks at one bulkhead of a hundred places, each of which takes a turn of the loop."""
    yield f"tasks at one bulkhead of {PLACES} places, on asyncio: microseconds per task"
    for number in sizes:
        times = max(1, 3 * TASKS[0] // number)  # a hundred thousand are their own repetition
        found = {name: min(asyncio.run(run(number)) for _ in range(times)) for name, run in _QUEUES.items()}
        yield f"  {number:>7,} tasks: " + "   ".join(f"{name} {took * 1e6:.1f}" for name, took in found.items())


async def _turn(x: int) -> int:
    await asyncio.sleep(0)
    return x


async def _ours(number: int) -> float:
    return await _all_of(Bulkhead(PLACES, max_wait=None, queue=number)(_turn), number)


async def _anyios(number: int) -> float:
    limiter = anyio.CapacityLimiter(PLACES)

    async def call(x: int) -> int:
        async with limiter:
            return await _turn(x)

    return await _all_of(call, number)


async def _asyncios(number: int) -> float:
    semaphore = asyncio.Semaphore(PLACES)

    async def call(x: int) -> int:
        async with semaphore:
            return await _turn(x)

    return await _all_of(call, number)


async def _nobodys(number: int) -> float:
    return await _all_of(_turn, number)


_QUEUES = {
    "no limit": _nobodys, "ours": _ours, "asyncio.Semaphore": _asyncios, "anyio.CapacityLimiter": _anyios,
}  # fmt: skip


async def _all_of(call: Callable[[int], Any], number: int) -> float:
    gc.collect()
    began = time.perf_counter()
    await asyncio.gather(*(call(x) for x in range(number)))
    return (time.perf_counter() - began) / number


def memory(many: int) -> Iterator[str]:
    """What a policy takes."""
    yield f"memory: bytes per policy, of {many:,}"
    for name, make in POLICIES.items():
        make()
        yield f"  {name:<32}{_bytes(lambda make=make: [make() for _ in range(many)]) / many:>8,.0f}"


def _bytes(make: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    kept = make()
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return size


def functions(many: int) -> Iterator[str]:
    """What it takes to decorate a function, and to call it first."""
    yield f"functions with retry, circuit breaker and bulkhead: the first, and the last of {many:,}"
    for name, fuse in (("nested", False), ("one function", True)):
        pipeline = Pipeline(retry(on=OSError), CircuitBreaker(), Bulkhead(5), fuse=fuse)
        first = _decorated(pipeline)
        size = _bytes(lambda pipeline=pipeline: [_decorated(pipeline) for _ in range(many - 200)])
        last = [_decorated(pipeline) for _ in range(200)]
        decorate, call = (sorted(each[index] for each in last)[100] for index in (1, 2))
        yield (
            f"  {name:<14} first: {first[1] / 1e3:,.0f} µs to decorate, {first[2] / 1e3:,.0f} µs to call   "
            f"last: {decorate / 1e3:.0f} µs, {call / 1e3:.1f} µs   {size / (many - 200):,.0f} bytes each"
        )


def _decorated(pipeline: Pipeline) -> tuple[object, int, int]:
    def function(order: int, amount: int = 1) -> int:
        return order + amount

    began = time.perf_counter_ns()
    guarded = pipeline(function)
    made = time.perf_counter_ns()
    guarded(1)
    return guarded, made - began, time.perf_counter_ns() - made


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer of everything")
    quick = parser.parse_args().quick
    print(f"CPython {sys.version.split()[0]}")
    asyncio.run(aanswer(1))
    # The first decorated function of the process is one of the figures, so this comes first.
    for part in (
        functions(1_000 if quick else MANY),
        memory(200 if quick else 2_000),
        threads(20_000 if quick else 200_000),
        tasks(TASKS[:1] if quick else TASKS),
    ):
        print()
        for line in part:
            print(line, flush=True)


if __name__ == "__main__":
    main()
