"""What a guarded call costs while all is well, as a multiple of an empty decorator.

    python -m benchmarks.hot_path               # this interpreter, about a minute
    python -m benchmarks.hot_path --rounds 60   # calmer figures on a busy machine

Every candidate is measured in every round, so that what disturbs one disturbs all; the table shows the minimum and the
median over the rounds. The process is pinned to one core and the garbage collector is off while the clock runs. The
unit is a `functools.wraps` pass-through that does nothing: S for plain functions, A for coroutine functions. Ratios
carry over from machine to machine; nanoseconds do not. Peers that are installed (tenacity, stamina, pybreaker, ...) are
measured beside.
"""

import argparse
import asyncio
import gc
import itertools
import os
import statistics
import sys
import time
from math import inf
from typing import Any

import anyio

from benchmarks.peers import achecked, async_peers, checked, sync_peers
from benchmarks.units import Async, Sync, aanswer, answer, apassthrough, passthrough
from resilience import (
    AdaptiveBulkhead,
    AdaptiveThrottle,
    Bulkhead,
    Cache,
    Chaos,
    CircuitBreaker,
    CircuitOpen,
    FailureRate,
    Hedge,
    Keyed,
    Pipeline,
    RateLimiter,
    SlowRate,
    retry,
    timeout,
)

CALLS = 20_000
TARGETS = {  # the ratios to reach; those of timeouts are shares of what the peer adds
    "retry": (2.4, 1.9),
    "CircuitBreaker, consecutive": (2.6, 2.0),
    "Hedge, not fired": (inf, 6.0),
    "CircuitBreaker, rate by calls": (2.8, 2.2),
    "CircuitBreaker, rate by time": (3.4, 2.8),
    "CircuitBreaker, rate by time and slow calls": (3.9, 3.3),
    "Bulkhead": (2.8, 2.2),
    "RateLimiter": (4.2, 2.9),
    "Keyed CircuitBreaker, one key": (3.0, 3.0),
    "pipeline of 3 (retry, breaker, bulkhead)": (4.7, 3.8),
    "pipeline of 5 of such": (7.3, 5.8),
}


def policies() -> dict[str, Any]:
    """What is measured, by the name in the table."""
    three = (retry(on=OSError), CircuitBreaker(), Bulkhead(1_000))
    return {
        "retry": retry(on=OSError),
        "CircuitBreaker, consecutive": CircuitBreaker(),
        "CircuitBreaker, rate by calls": CircuitBreaker(trip=FailureRate(0.5, calls=100)),
        "CircuitBreaker, rate by time": CircuitBreaker(trip=FailureRate(0.5, seconds=10)),
        "CircuitBreaker, rate by time and slow calls": CircuitBreaker(
            trip=(FailureRate(0.5, seconds=10), SlowRate(0.5, seconds=10, slower_than=1.0))
        ),
        "Bulkhead": Bulkhead(1_000),
        "RateLimiter": RateLimiter(1e9),
        "AdaptiveBulkhead": AdaptiveBulkhead(initial=1_000),
        "AdaptiveThrottle": AdaptiveThrottle(),
        "Cache, hit": Cache(3600),
        "Keyed CircuitBreaker, one key": Keyed(lambda _: CircuitBreaker(), key="x"),
        "Chaos, off": Chaos(rate=0.5, fault=OSError),
        "pipeline of 3 (retry, breaker, bulkhead)": Pipeline(*three),
        "pipeline of 5 of such": Pipeline(*three, CircuitBreaker(), Bulkhead(1_000)),
    }


def open_breaker() -> CircuitBreaker:
    """A breaker that refuses."""
    breaker = CircuitBreaker()
    breaker.isolate()
    return breaker


def refused(fn: Sync) -> Sync:
    """Call an open breaker, and catch what it raises."""
    guarded = open_breaker()(fn)

    def call(x: int) -> int:
        try:
            return guarded(x)
        except CircuitOpen:
            return 0

    return call


def raised(fn: Sync) -> Sync:
    """Raise and catch one exception: the floor of any refusal."""

    def call(x: int) -> int:
        try:
            raise CircuitOpen("payments", None, "")
        except CircuitOpen:
            return 0

    return call


def async_timeouts() -> dict[str, Async]:
    """An async limit of 30 s in three hands."""

    async def native(x: int) -> int:
        async with asyncio.timeout(30):
            return await aanswer(x)

    async def anyios(x: int) -> int:
        with anyio.fail_after(30):
            return await aanswer(x)

    return {"timeout": timeout(30)(aanswer), "  asyncio.timeout": native, "  anyio.fail_after": anyios}


def time_sync(fn: Sync) -> float:
    """Nanoseconds per call."""
    loop = itertools.repeat(None, CALLS)
    start = time.perf_counter_ns()
    for _ in loop:
        fn(1)
    return (time.perf_counter_ns() - start) / CALLS


async def time_async(fn: Async) -> float:
    """Nanoseconds per awaited call."""
    loop = itertools.repeat(None, CALLS)
    start = time.perf_counter_ns()
    for _ in loop:
        await fn(1)
    return (time.perf_counter_ns() - start) / CALLS


def measure(rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """All candidates, interleaved."""
    made = policies()
    plain: dict[str, Sync] = {"S": passthrough(answer), **{name: policy(answer) for name, policy in made.items()}}
    plain |= {"refusal by an open breaker": refused(answer), "  raise and catch": raised(answer)}
    plain |= {f"  {name}": checked(peer, answer)(answer) for name, peer in sync_peers()}
    coroutine: dict[str, Async] = {
        "A": apassthrough(aanswer),
        **{name: policy(aanswer) for name, policy in made.items()},
    }
    coroutine |= async_timeouts()
    coroutine["Hedge, not fired"] = Hedge(30)(aanswer)
    for name, peer in async_peers():
        coroutine[f"  {name}"] = asyncio.run(achecked(peer, aanswer))(aanswer)
    sync_times: dict[str, list[float]] = {name: [] for name in plain}
    async_times: dict[str, list[float]] = {name: [] for name in coroutine}

    async def async_round() -> None:
        for name, fn in coroutine.items():
            async_times[name].append(await time_async(fn))

    gc.disable()
    for number in range(rounds):
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr)
        for name, fn in plain.items():
            sync_times[name].append(time_sync(fn))
        asyncio.run(async_round())
        gc.collect()
    print(file=sys.stderr)
    gc.enable()
    return sync_times, async_times


def report(unit: str, times: dict[str, list[float]], column: int) -> None:
    """One table."""
    floor, usual = min(times[unit]), statistics.median(times[unit])
    print(
        f"\n{unit} = {floor:.0f} ns (median {usual:.0f})".ljust(52)
        + f"{'min':>8}{'ratio':>8}{'median':>8}{'target':>8}"
    )
    for name, values in times.items():
        if name == unit:
            continue
        target = TARGETS.get(name)
        wanted = f"{target[column]:>8.2f}" if target else " " * 8
        ratio, middle = min(values) / floor, statistics.median(values) / usual
        verdict = "" if not target else "  ok" if ratio <= target[column] else f"  over by {ratio - target[column]:.2f}"
        print(f"{name:<50}{min(values):>8.0f}{ratio:>8.2f}{middle:>8.2f}{wanted}{verdict}")


def report_added(unit: str, times: dict[str, list[float]]) -> None:
    """What an async timeout adds to the call, as a share of what others add."""
    added = {name: min(times[name]) - min(times[unit]) for name in async_timeouts()}
    print(f"\nadded by an async timeout, in time: {added['timeout']:.0f} ns")
    for peer, share in (("  asyncio.timeout", 3), ("  anyio.fail_after", 8)):
        wanted = f"wanted: at most 1/{share}"
        print(f"{peer:<24}{added[peer]:>8.0f} ns   ours is 1/{added[peer] / added['timeout']:.1f} of it ({wanted})")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="how often everything is measured (default: 30)")
    rounds = parser.parse_args().rounds
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    sync_times, async_times = measure(rounds)
    print(f"CPython {sys.version.split()[0]}, {rounds} rounds of {CALLS:,} calls")
    report("S", sync_times, 0)
    report("A", async_times, 1)
    report_added("A", async_times)


if __name__ == "__main__":
    main()
