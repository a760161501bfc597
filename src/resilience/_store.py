"""Where a cache keeps its values: a protocol for stores of one's own, and the one in memory.

A store keeps time in its own way: it is told for how many seconds a value is of use, and says how old one is.
"""

import threading
from collections import OrderedDict
from collections.abc import Awaitable, Hashable
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol, Self, runtime_checkable

from ._clock import clock
from ._locks import let_go


@dataclass(frozen=True, slots=True)
class Entry:
    """A value that was kept.

    Attributes:
        value: The value.
        since: When it was kept, on the library's clock.
        until: When it is of no more use, on the same clock.
    """

    value: Any
    since: float
    until: float = inf

    @classmethod
    def aged(cls, value: Any, age: float) -> Self:
        """One of a certain age, for a store with a clock of its own.

        Args:
            value: The value.
            age: For how many seconds it has been kept.
        """
        return cls(value, clock.now() - age)


@runtime_checkable
class Store(Protocol):
    """Where a cache keeps its values, for plain functions and coroutine functions. Called in any thread.

    What a method raises is told as `StoreFailed`, and breaks no call.
    """

    def get(self, key: Any, /) -> Entry | None:
        """What is kept under a key."""
        ...

    def put(self, key: Any, value: Any, seconds: float, /) -> None:
        """Keep a value, for so many seconds."""
        ...

    def drop(self, key: Any, /) -> None:
        """Keep nothing under a key."""
        ...

    def clear(self) -> None:
        """Keep nothing at all."""
        ...


@runtime_checkable
class AsyncStore(Protocol):
    """The same with coroutine functions; a cache with such a store guards coroutine functions only."""

    def get(self, key: Any, /) -> Awaitable[Entry | None]:
        """What is kept under a key."""
        ...

    def put(self, key: Any, value: Any, seconds: float, /) -> Awaitable[None]:
        """Keep a value, for so many seconds."""
        ...

    def drop(self, key: Any, /) -> Awaitable[None]:
        """Keep nothing under a key."""
        ...

    def clear(self) -> Awaitable[None]:
        """Keep nothing at all."""
        ...


class MemoryStore:
    """At most `maxsize` values, in this process. Full, it lets go of the one that was asked for the longest ago."""

    __slots__ = ("_entries", "_lock", "_maxsize")

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()
        # A lock that its own thread may take again: what is dropped here may have a finalizer that calls the cache.
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, /) -> Entry | None:
        """See `Store.get`."""
        entries, lock = self._entries, self._lock
        try:
            lock.acquire()  # not `with`: see `_locks`
            entry = entries.get(key)
            if entry is not None:
                entries.move_to_end(key)
        except BaseException:
            let_go(lock)
            raise
        lock.release()
        return entry

    def put(self, key: Hashable, value: Any, seconds: float, /) -> None:
        """See `Store.put`."""
        now = clock.now()
        gone: list[Entry] = []  # let go outside of the lock
        with self._lock:
            self._entries[key] = Entry(value, now, now + seconds)
            self._entries.move_to_end(key)
            while self._entries and (
                len(self._entries) > self._maxsize or next(iter(self._entries.values())).until <= now
            ):
                gone.append(self._entries.popitem(last=False)[1])

    def drop(self, key: Hashable, /) -> None:
        """See `Store.drop`."""
        with self._lock:
            self._entries.pop(key, None)

    def clear(self) -> None:
        """See `Store.clear`."""
        with self._lock:
            self._entries.clear()

    def disown(self) -> None:
        """In a forked child: a lock of its own."""
        self._lock = threading.RLock()


def checked_store(store: Any) -> Store | AsyncStore:
    """A store, if it is one.

    Raises:
        TypeError: It lacks a method, or is a class.
    """
    lacks = any(not callable(getattr(store, verb, None)) for verb in ("get", "put", "drop", "clear"))
    if lacks or isinstance(store, type):
        raise TypeError(f"store must be an object with get, put, drop and clear, got {store!r}")
    found: Store | AsyncStore = store
    return found
