"""Threads beside the test, ordered by what has happened and never by time."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def nothing() -> None:
    """Work that is done at once."""


def until(condition: Callable[[], Any]) -> None:
    """Let other threads run until it is so."""
    while not condition():
        time.sleep(0)


@contextmanager
def threads(*functions: Callable[[], Any]) -> Iterator[list[threading.Thread]]:
    """A thread for each function: for the block to start, and joined at its end."""
    made = [threading.Thread(target=function, daemon=True) for function in functions]
    yield made
    for thread in made:
        thread.join()


@contextmanager
def beside(*functions: Callable[[], Any]) -> Iterator[None]:
    """Run each function in a thread beside the block."""
    with threads(*functions) as made:
        for thread in made:
            thread.start()
        yield


def assert_whole(bulkhead: Any) -> None:
    """Nothing is in use, nobody waits, and exactly `limit` come in."""
    assert (bulkhead.stats.in_use, bulkhead.stats.waiting) == (0, 0)
    assert bulkhead.stats.available == bulkhead.limit
    leases = [bulkhead.admit() for _ in range(bulkhead.limit)]
    assert not bulkhead.pool.free, "there were more places than the limit"
    for lease in leases:
        lease.release()
    assert not bulkhead.pool.contended
