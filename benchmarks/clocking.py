"""Time many ways to do the same work, so that what disturbs one disturbs all.

Every candidate is measured in every round, for some milliseconds; the figures are the minimum and the median over the
rounds. The process is pinned to one core and the garbage collector is off while the clock runs.
"""

import asyncio
import gc
import itertools
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import trio

Name = TypeVar("Name")

BATCH = 8_000_000
"""Nanoseconds that one candidate is measured for in one round."""
FEWEST, MOST = 10, 20_000


class Took(NamedTuple):
    """Nanoseconds per call."""

    least: float
    median: float


def pin() -> None:
    """Stay on one core, where the system can be told so."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def clocked(candidates: Mapping[Name, Callable[[int], Any]], rounds: int) -> dict[Name, Took]:
    """Time plain functions of one argument."""
    times: dict[Name, list[float]] = {name: [] for name in candidates}
    sizes = {name: _size(min(_batch(fn, FEWEST) for _ in range(2))) for name, fn in candidates.items()}
    for number in range(rounds):
        _tell(number, rounds)
        with _Quiet():
            for name in _order(candidates, number):
                times[name].append(_batch(candidates[name], sizes[name]))
    return _took(times)


def aclocked(candidates: Mapping[Name, Callable[[int], Any]], rounds: int, backend: str) -> dict[Name, Took]:
    """Time coroutine functions of one argument, all in one run of an event loop."""
    times: dict[Name, list[float]] = {name: [] for name in candidates}

    async def main() -> None:
        sizes = {name: _size(await _abatch(fn, FEWEST)) for name, fn in candidates.items()}
        for number in range(rounds):
            _tell(number, rounds)
            with _Quiet():
                for name in _order(candidates, number):
                    times[name].append(await _abatch(candidates[name], sizes[name]))

    if backend == "trio":
        trio.run(main)
    else:
        asyncio.run(main())
    return _took(times)


def _order(candidates: Mapping[Name, object], number: int) -> list[Name]:
    """Another order in each round: nobody is always the first after a pause, or behind the same one."""
    names = list(candidates)
    random.Random(number).shuffle(names)
    return names


class _Quiet:
    """Without the garbage collector, which would run in somebody's time."""

    def __enter__(self) -> None:
        gc.collect()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        gc.enable()


def _batch(fn: Callable[[int], Any], size: int) -> float:
    loop = itertools.repeat(None, size)
    start = time.perf_counter_ns()
    for _ in loop:
        fn(1)
    return (time.perf_counter_ns() - start) / size


async def _abatch(fn: Callable[[int], Any], size: int) -> float:
    loop = itertools.repeat(None, size)
    start = time.perf_counter_ns()
    for _ in loop:
        await fn(1)
    return (time.perf_counter_ns() - start) / size


def _size(nanoseconds: float) -> int:
    return max(FEWEST, min(MOST, int(BATCH / nanoseconds)))


def _took(times: dict[Name, list[float]]) -> dict[Name, Took]:
    return {name: Took(min(values), statistics.median(values)) for name, values in times.items()}


def _tell(number: int, rounds: int) -> None:
    print(f"\r  round {number + 1} of {rounds} ", end="" if number + 1 < rounds else "\n", file=sys.stderr, flush=True)
