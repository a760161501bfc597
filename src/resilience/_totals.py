"""Running totals that never fall: what the counters of telemetry read.

Each policy has a `Totals` of its own, which any thread may raise without a lock. They are filed here under the policy's
kind and label: two live policies of one label are summed, and when a policy dies its totals stay, folded into one sum.
So what is kept is bounded by the number of labels, not of policies. Nothing here keeps a policy alive, or knows what a
policy does.
"""

import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from itertools import count

from ._core.windows import peek

_Key = tuple[str, str]


class Totals:
    """The totals of one policy, by what is counted."""

    __slots__ = ("_counts",)

    def __init__(self, *kinds: str) -> None:
        self._counts = {kind: count() for kind in kinds}

    def add(self, kind: str) -> None:
        """Count one more; atomic, without a lock."""
        next(self._counts[kind])

    def read(self) -> dict[str, int]:
        """The totals now."""
        return {kind: peek(counter) for kind, counter in self._counts.items()}

    def shelve(self) -> Callable[[], None]:
        """Start from zero; returns what puts the present totals back."""
        before = self._counts
        self._counts = {kind: count() for kind in before}

        def put_back() -> None:
            self._counts = before

        return put_back


_lock = threading.Lock()
_live: dict[_Key, list[tuple["weakref.ref[object]", Totals]]] = {}
_dead: dict[_Key, Counter[str]] = {}


def file(policy: object, label: str, totals: Totals) -> None:
    """Keep the totals of a policy under its kind and label, for as long as the process lives."""
    key = (type(policy).__name__, label)
    with _lock:
        _fold(key)
        _live.setdefault(key, []).append((weakref.ref(policy), totals))


def totals_of(kind: str) -> dict[str, dict[str, int]]:
    """By label, the totals of all policies of a kind that are alive or ever were."""
    with _lock:
        keys = [key for key in _live if key[0] == kind]
        return {key[1]: dict(_sum(key)) for key in keys}


def _after_fork() -> None:
    """In a forked child: a new lock; the counts are kept."""
    global _lock
    _lock = threading.Lock()


def _sum(key: _Key) -> Counter[str]:
    _fold(key)
    total = Counter(_dead.get(key, {}))
    for _, totals in _live[key]:
        total.update(totals.read())
    return total


def _fold(key: _Key) -> None:
    """Add the totals of the dead to their sum, and forget them one by one."""
    entries = _live.get(key, [])
    gone = [totals for policy, totals in entries if policy() is None]
    if gone:
        _live[key] = [entry for entry in entries if entry[1] not in gone]
        dead = _dead.setdefault(key, Counter())
        for totals in gone:
            dead.update(totals.read())


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)
