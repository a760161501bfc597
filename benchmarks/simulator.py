"""How many simulated calls a second on one core, through which policies, in health and in trouble.

    python -m benchmarks.simulator               # some seconds
    python -m benchmarks.simulator --calls 500000 --rounds 9

Each figure is the best of some rounds, in processor time. The service has a hundred workers and log-normal latencies
("well"), or fails half of the time ("half fail"). `S` is a call through an empty `functools.wraps` decorator in the
same run: the measure of the machine. "bare asyncio" is what a task costs on asyncio's own loop that does nothing
but wait for a future: less than any simulator on that loop could do. "bare coroutines" is what no simulator in Python
can do without: a coroutine in a context of its own that sleeps once, a place in a heap, and two steps.

What limits the rest: chance and a queue for the service, the next arrival, to be asyncio's current task in each step,
the counting, and then the policies. Where calls fail it is mostly these: an exception, and what a retry does from the
first failure on.
"""

import argparse
import asyncio
import functools
import heapq
import time
import timeit
from collections.abc import Callable, Generator
from contextvars import copy_context
from types import coroutine
from typing import Any

from resilience import Bulkhead, CircuitBreaker, Pipeline, TimedOut, retry, timeout
from resilience.simulate import Brownout, Service, lognormal, simulate

GOAL = 200_000
"""Calls a second, on one core."""

RATE = 1_000
LATENCY = lognormal(0.05, 0.2)
POLICIES: dict[str, Callable[[], Any]] = {
    "no policy": Pipeline,
    "retry": lambda: retry(on=ConnectionError, budget=None),
    "CircuitBreaker": lambda: CircuitBreaker(trip=1_000),
    "Bulkhead": lambda: Bulkhead(1_000),
    "timeout": lambda: timeout(1),
    "retry, breaker, bulkhead": lambda: Pipeline(
        retry(on=ConnectionError, budget=None), CircuitBreaker(trip=1_000), Bulkhead(1_000)
    ),
    "the same, and timeout": lambda: Pipeline(
        retry(on=(ConnectionError, TimedOut), budget=None), CircuitBreaker(trip=1_000), Bulkhead(1_000), timeout(1)
    ),
}


def run(make: Callable[[], Any], calls: int, failing: float) -> float:
    """Calls a second of one simulation."""
    seconds = calls / RATE
    service = Service(100, LATENCY, brownouts=[Brownout(0, seconds, failing=failing)] if failing else ())
    policy = make()
    began = time.process_time()
    report = simulate(service, policy, rate=RATE, seconds=seconds)
    return report.calls / (time.process_time() - began)


def pass_through() -> float:
    """Nanoseconds of a call through a decorator that does nothing."""

    def fn(*args: object) -> None:
        pass

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return min(timeit.repeat(lambda: wrapped(1), number=20_000, repeat=15)) / 20_000 * 1e9


def bare_asyncio(calls: int) -> float:
    """Calls a second of tasks that sleep once, on asyncio's own loop with time jumping to the next timer."""
    loop = asyncio.new_event_loop()
    now = 0.0
    loop.time = lambda: now  # type: ignore[method-assign]
    wakes: list[tuple[float, int, asyncio.Future[None]]] = []

    async def call(number: int) -> None:
        done = loop.create_future()
        heapq.heappush(wakes, (now + 0.05, number, done))
        await done

    async def main() -> None:
        nonlocal now
        for number in range(calls):
            now = number / RATE
            task = loop.create_task(call(number))
            await asyncio.sleep(0)
            while wakes and wakes[0][0] <= now:
                heapq.heappop(wakes)[2].set_result(None)
        for _, _, done in wakes:
            done.set_result(None)
        await task

    began = time.process_time()
    loop.run_until_complete(main())
    loop.close()
    return calls / (time.process_time() - began)


@coroutine
def _nap(seconds: float) -> Generator[float, None, None]:
    yield seconds


def bare_coroutines(calls: int) -> float:
    """Calls a second of coroutines that sleep once, each in its own context, stepped from a heap."""
    places: list[tuple[float, int, Any, Any]] = []
    everybodys = copy_context()

    async def call() -> None:
        await _nap(0.05)

    began = time.process_time()
    for number in range(calls):
        now, steps, context = number / RATE, call().__await__(), everybodys.copy()
        heapq.heappush(places, (now + context.run(next, steps, 0.0), number, steps, context))
        while places[0][0] <= now:
            _, _, steps, context = heapq.heappop(places)
            context.run(next, steps, None)
    return calls / (time.process_time() - began)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    unit = min(pass_through() for _ in range(given.rounds))
    print(f"S = {unit:.0f} ns; the goal is {GOAL:,} calls a second\n")
    print(f"{'':<26} {'well':>12} {'µs':>6} {'S':>5}   {'half fail':>12} {'µs':>6}")
    for name, make in POLICIES.items():
        well, ill = (max(run(make, given.calls, failing) for _ in range(given.rounds)) for failing in (0.0, 0.5))
        times = f"{1e6 / well:>6.2f} {1e9 / well / unit:>5.0f}"
        print(f"{name:<26} {well:>10,.0f}/s {times}   {ill:>10,.0f}/s {1e6 / ill:>6.2f}")
    print()
    for name, bare in {"bare coroutines": bare_coroutines, "bare asyncio": bare_asyncio}.items():
        floor = max(bare(given.calls) for _ in range(given.rounds))
        print(f"{name:<26} {floor:>10,.0f}/s {1e6 / floor:>6.2f} {1e9 / floor / unit:>5.0f}")


if __name__ == "__main__":
    main()
