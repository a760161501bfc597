"""Running totals that never fall: what the counters of telemetry read.

Each policy has a `Totals` of its own, which any thread may raise without a lock. They are filed here under the policy's
kind and label: two live policies of one label are summed, and when a policy dies its totals stay, folded into one sum.
So what is kept is bounded by the labels and by what is alive. Nothing here keeps a policy alive, or knows what a
policy does.
"""

import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Hashable
from itertools import count
from typing import Generic, Protocol, TypeVar

from ._core.windows import peek

_Key = tuple[str, str]
K = TypeVar("K", bound=Hashable)

_FEW = 16


class Tally(Generic[K]):
    """Running totals by a key. What was never counted takes no memory."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[K, count[int]] = {}

    def add(self, key: K) -> None:
        """Count one more; atomic, without a lock."""
        counts = self._counts
        next(counts.get(key) or counts.setdefault(key, count()))

    def read(self) -> dict[K, int]:
        """The totals now, of all that was ever counted."""
        return {key: peek(counter) for key, counter in self._counts.copy().items()}


class Totals(Tally[str]):
    """The totals of one policy, by what is counted."""

    __slots__ = ("_kinds",)

    def __init__(self, *kinds: str) -> None:
        super().__init__()
        self._kinds = kinds

    def read(self) -> dict[str, int]:
        """The totals now, of all that can be counted."""
        return dict.fromkeys(self._kinds, 0) | super().read()

    def shelve(self) -> Callable[[], None]:
        """Start from zero; returns what puts the present totals back."""
        before = self._counts
        self._counts = {}

        def put_back() -> None:
            self._counts = before

        return put_back


_lock = threading.Lock()
_live: dict[_Key, list[tuple["weakref.ref[object]", Totals]]] = {}
_dead: dict[_Key, Counter[str]] = {}
_full: dict[_Key, int] = {}


class Counted(Protocol):
    """A policy that counts."""

    @property
    def kind(self) -> str:
        """Which pattern it is."""
        ...

    @property
    def label(self) -> str:
        """What telemetry calls it."""
        ...


def file(policy: Counted, totals: Totals) -> None:
    """Keep the totals of a policy under its kind and label, for as long as the process lives."""
    key = (policy.kind, policy.label)
    with _lock:
        entries = _live.setdefault(key, [])
        entries.append((weakref.ref(policy), totals))
        if len(entries) >= _full.get(key, 0):
            _fold(key)
            # Again only when twice as many are there: making a policy costs the same, however many there are.
            _full[key] = 2 * len(_live[key]) + _FEW


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
    kept: list[tuple[weakref.ref[object], Totals]] = []
    dead = _dead.setdefault(key, Counter())
    for policy, totals in _live[key]:
        if policy() is None:
            dead.update(totals.read())
        else:
            kept.append((policy, totals))
    _live[key] = kept


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)
