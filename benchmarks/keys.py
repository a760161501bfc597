"""A million keys under a `Keyed`: what a call costs, and what a key costs.

Run it: `python -m benchmarks.keys`, best pinned to one core: `taskset -c 1 python -m benchmarks.keys`. Times are in
units of S, a `functools.wraps` decorator in the same run that adds nothing; the telemetry gate is part of each.
"""

import gc
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from itertools import accumulate

from benchmarks.units import answer, passthrough
from resilience import CircuitBreaker, Keyed

MILLION = 1_000_000
ROUNDS = 15
BATCH = 20_000


def keyed(maxsize: int = 10_000) -> Keyed:
    """A breaker for each key."""
    return Keyed(lambda _: CircuitBreaker(), key="x", maxsize=maxsize)


def nanoseconds(function: Callable[[int], int], keys: Sequence[int]) -> float:
    """What one call takes, over a batch of them."""
    begun = time.perf_counter()
    for key in keys:
        function(key)
    return (time.perf_counter() - begun) / len(keys) * 1e9


def least(functions: dict[str, tuple[Callable[[int], int], Sequence[int]]]) -> dict[str, float]:
    """The shortest of several interleaved rounds, for each."""
    found = dict.fromkeys(functions, float("inf"))
    for _ in range(ROUNDS):
        for name, (function, keys) in functions.items():
            found[name] = min(found[name], nanoseconds(function, keys))
    return found


def resident() -> int:
    """The memory of this process at its highest, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def warm() -> None:
    """Calls whose key has its policy."""
    spread = [key % 10_000 for key in random.Random(1).sample(range(MILLION), BATCH)]
    every, guarded = [7] * BATCH, keyed()(answer)
    for key in spread:
        guarded(key)
    found = least(
        {
            "S": (passthrough(answer), every),
            "one breaker for all": (CircuitBreaker()(answer), every),
            "keyed, one key": (guarded, every),
            "keyed, 10,000 keys": (guarded, spread),
        }
    )
    for name, nanosecond in found.items():
        print(f"{name:34} {nanosecond:9.0f} ns {nanosecond / found['S']:7.2f} S")


def million() -> None:
    """A million healthy keys, each asked for once: then once more as a web would, some far more often than others."""
    tenants = keyed()
    guarded = tenants(answer)
    for key in range(10_000):
        guarded(key)
    before, begun = resident(), time.perf_counter()
    for key in range(10_000, MILLION):
        guarded(key)
    took = time.perf_counter() - begun
    grown = (resident() - before) / (MILLION - 10_000)
    print(f"{'a key that is new':34} {took / (MILLION - 10_000) * 1e9:9.0f} ns")
    print(f"{'memory per key beyond maxsize':34} {grown:9.1f} bytes  {tenants.stats}")
    weights = list(accumulate(1 / rank for rank in range(1, MILLION + 1)))
    keys = random.Random(2).choices(range(MILLION), cum_weights=weights, k=300_000)
    for key in keys[:100_000]:
        guarded(key)
    made = tenants.stats.made
    zipf = nanoseconds(guarded, keys[100_000:])
    hits = 1 - (tenants.stats.made - made) / 200_000
    print(f"{'a million keys, by the law of Zipf':34} {zipf:9.0f} ns  {hits:.0%} of the calls found their policy")


def kept() -> None:
    """What a policy takes that is kept."""
    before, count = resident(), 100_000
    tenants = keyed(count)
    guarded = tenants(answer)
    for key in range(count):
        guarded(key)
    print(f"{'memory per policy that is kept':34} {(resident() - before) / count:9.1f} bytes")


if __name__ == "__main__":
    gc.collect()
    gc.freeze()
    gc.disable()
    warm()
    million()
    kept()
