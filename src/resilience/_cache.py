"""`Cache`: answer again what was answered a moment ago, and fetch once what many want.

What tells calls apart is in `_keys`, the values are in a `_store`, who fetches and who waits is in `_fetching`; here
are the options and the two shells. A call finds a fresh value, or a leader to follow, or has to lead: then the function
is called, once, and what it returns is kept.

How old a value is decides what it is good for::

    age < ttl                              the answer
    age < ttl + stale_while_revalidate     the answer, while a newer one is fetched in the background
    age < ttl + stale_if_error             the answer, if no newer one can be had

The two times are those of RFC 5861, for any function. An exception is never kept, and a stream is kept for nobody.
"""

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

from . import _checks, _live, _totals
from ._ambient import require_time, within_deadline
from ._clock import clock
from ._compose import guarded_function
from ._core.flights import Flight
from ._events import ServedStale, emit
from ._fetching import Lead, Shelf, outcome
from ._keys import Arguments, Keys, Named
from ._metrics import ERROR_TYPE, OUTCOME, POLICY_NAME, Instrument, Reading, declare
from ._policy import Shared
from ._refreshing import Refresher
from ._results import COROUTINE
from ._store import AsyncStore, Entry, MemoryStore, Store, checked_store
from ._telemetry import Waiting
from ._traits import Role, Traits
from ._waiters import ThreadWaiter, Waiter, task_waiter, warn_if_blocking
from .errors import OutOfTime

_MAXSIZE = 1024
RESULTS = ("hit", "miss", "followed", "stale")
CACHE_RESULT = "resilience.cache.result"


@dataclass(frozen=True, slots=True)
class CacheStats:
    """A cache at one moment; the counts never fall.

    Attributes:
        size: How many values it has, also those too old to be used; `None`: its store does not say.
        hits: How many calls had a fresh value.
        misses: How many had to call the function.
        followed: How many had what another call was fetching.
        stale: How many were answered with an old value.
    """

    size: int | None
    hits: int
    misses: int
    followed: int
    stale: int


class Cache(Shared):
    """Answer calls from what the same calls were answered before.

    Calls that miss at the same time are one call: the first fetches, the others wait for it, in threads and on event
    loops alike, and have its value or its exception. If it is cancelled, another of them fetches. What is answered is
    the same object each time: let nobody change it.

    Args:
        ttl: For how long a value is fresh: seconds or a `timedelta`.
        key: What tells calls apart: the name of a parameter, or a function of the call's arguments. Default: all
            arguments, which must be hashable, by value and type; what a method is called on counts by identity.
        stale_if_error: For how much longer a value is the answer where the function raises. Default 0.0: not at all.
        stale_while_revalidate: For how much longer it is the answer while a newer one is fetched in the background.
            Default 0.0: not at all.
        maxsize: The most values; the one that was asked for the longest ago goes first. Default 1024.
        store: Where else values are kept, see `Store` and `AsyncStore`. Default: in memory.
        name: What errors, events and telemetry call it.

    Raises:
        TypeError: A parameter is of the wrong kind.
        ValueError: A parameter makes no sense, among them a `maxsize` for a store of one's own.

    Example:
        ```python
        rates = Cache(60, key="currency", stale_if_error=3600, name="rates")

        @rates
        def rate(session, currency): ...
        ```
    """

    __slots__ = (
        "_if_error", "_keep", "_keys", "_maxsize", "_refresher", "_store", "_totals", "_ttl", "_while", "shelf",
    )  # fmt: skip

    kind = "cache"

    def __init__(
        self,
        ttl: _checks.Seconds,
        *,
        key: str | Callable[..., Hashable] | None = None,
        stale_if_error: _checks.Seconds = 0.0,
        stale_while_revalidate: _checks.Seconds = 0.0,
        maxsize: int = _MAXSIZE,
        store: Store | AsyncStore | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self._ttl = _checks.seconds("ttl", ttl)
        self._keys = Keys(key, self.label, by_name=store is not None)
        self._if_error = _checks.seconds("stale_if_error", stale_if_error, zero=True)
        self._while = _checks.seconds("stale_while_revalidate", stale_while_revalidate, zero=True)
        self._keep = self._ttl + max(self._while, self._if_error)
        self._maxsize = _checks.whole("maxsize", maxsize)
        self._store = None if store is None else checked_store(store)
        if store is not None and maxsize != _MAXSIZE:
            raise ValueError(
                f"maxsize={maxsize!r} has no effect with store=, which has a size of its own; leave it out"
            )
        self.shelf: Shelf = self._empty_shelf()
        self._refresher = Refresher(self.label)
        self._totals = _totals.Totals(*RESULTS)
        _totals.file(self, self._totals)
        _live.enrol(self)

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Wrap a plain function; most users want the decorator."""
        if self.shelf.slow:
            raise TypeError(f"{self!r} has an asynchronous store, and so guards coroutine functions only")
        find, key, spared = self._find, self._keys.of(guarded_function(fn)), self._spared
        ways = self._fetch, self._refresher.in_thread

        def call(*args: Any, **kwargs: Any) -> Any:
            found = find(ways, fn, key(args, kwargs), args, kwargs)
            if type(found) is not Lead:
                result = found.value
            else:
                try:
                    result = fn(*args, **kwargs)
                except BaseException as error:
                    stale = spared(found, error)
                    if stale is None:
                        raise
                    result = stale.value
                else:
                    found.arrived(result)
            return result

        return call

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        """Wrap a coroutine function; most users want the decorator."""
        find, key, spared = self._find, self._keys.of(guarded_function(fn)), self._spared
        ways = self._afetch, self._refresher.in_task

        async def call(*args: Any, **kwargs: Any) -> Any:
            found = find(ways, fn, key(args, kwargs), args, kwargs)
            if type(found) is COROUTINE:  # a hit in memory is there at once
                found = await found
            if type(found) is not Lead:
                result = found.value
            else:
                try:
                    result = await fn(*args, **kwargs)
                except BaseException as error:
                    stale = spared(found, error)
                    if stale is None:
                        raise
                    result = stale.value
                else:
                    await found.aarrived(result)
            return result

        return call

    def traits(self) -> Traits:
        """What a pipeline needs to know about this policy."""
        where = f"of up to {self._maxsize:,}" if self._store is None else f"in {type(self._store).__name__}"
        stale = f", {self._while:g} s longer while it fetches anew" if self._while else ""
        if self._if_error:
            stale += f", {self._if_error:g} s longer if there is no newer"
        return Traits(Role.CACHE, f"cache: values {where} answer for {self._ttl:g} s{stale}", raises=(OutOfTime,))

    @property
    def stats(self) -> CacheStats:
        """How things stand at this moment."""
        store, counts = self.shelf.store, self._totals.read()
        size = len(store) if isinstance(store, MemoryStore) else None
        return CacheStats(size, counts["hit"], counts["miss"], counts["followed"], counts["stale"])

    @property
    def calm(self) -> bool:
        """Always: what is forgotten is fetched anew."""
        return True

    def invalidate(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Forget what a call would be answered. What is being fetched for it now is not kept either.

        Args:
            fn: A function that this cache guards, decorated or not.
            args: The call's arguments.
            kwargs: The call's arguments by name.

        Raises:
            TypeError: The cache has an asynchronous store: that needs `ainvalidate`.
            ValueError: The cache does not guard this function.
        """
        self._refuse_slow("invalidate")
        key = self._keys.of_call(fn, args, kwargs)
        self.shelf.forget(key)
        self.shelf.ask("drop", key)

    async def ainvalidate(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """The async twin of `invalidate`, for either kind of store."""
        key = self._keys.of_call(fn, args, kwargs)
        self.shelf.forget(key)
        await self.shelf.aask("drop", key)

    def clear(self) -> None:
        """Forget everything, also what is being fetched now.

        Raises:
            TypeError: The cache has an asynchronous store: that needs `aclear`.
        """
        self._refuse_slow("clear")
        self.shelf.forget_all()
        self.shelf.ask("clear")

    async def aclear(self) -> None:
        """The async twin of `clear`, for either kind of store."""
        self.shelf.forget_all()
        await self.shelf.aask("clear")

    def _find(self, ways: "_Ways", fn: Callable[..., Any], key: Hashable, args: Arguments, kwargs: Named) -> "_Found":
        """A value for the call, or leave to fetch it; for a task perhaps a coroutine that returns either."""
        shelf = self.shelf
        if shelf.slow:
            return self._await(shelf, key, ways, fn, args, kwargs)
        try:  # `shelf.ask("get", key)`, written out for speed
            entry: Any = shelf.store.get(key)
            fresh = entry is not None and clock.now() - entry.since < self._ttl  # the first of what `_weigh` weighs
        except Exception as error:  # noqa: BLE001 - it is the user's
            entry = fresh = None
            shelf.failed("get", error)
        if fresh:
            self._totals.add("hit")
            return entry
        return self._weigh(shelf, key, entry, ways, fn, args, kwargs)

    async def _await(self, shelf: Shelf, key: Hashable, *call: Any) -> "_Found":
        """What `_find` finds in an asynchronous store."""
        found = self._weigh(shelf, key, await shelf.alook_up(key), *call)
        return await found if type(found) is COROUTINE else found

    def _weigh(
        self, shelf: Shelf, key: Hashable, entry: Any, ways: "_Ways", fn: Callable[..., Any], args: Any, kwargs: Named
    ) -> "_Found":
        """What becomes of a call for which this is in the store."""
        if entry is not None:
            age = clock.now() - entry.since
            if age < self._ttl:
                self._totals.add("hit")
                return entry
            if age < self._ttl + self._while:
                ways[1](shelf, key, partial(fn, *args, **kwargs))
                return self._served(entry, None)
        return ways[0](shelf, key, entry)

    def _fetch(self, shelf: Shelf, key: Hashable, entry: Entry | None) -> "_Found":
        """Lead, or follow who does."""
        boarded = shelf.board(key, ThreadWaiter)
        if isinstance(boarded, Lead):
            return self._led(boarded, entry)
        flight, follower = boarded
        try:
            warn_if_blocking(self.label, "write 'await cache.acall(...)', or decorate a coroutine function")
            with Waiting("cache.wait", self.label, _WAIT):
                while (lead := shelf.take_over(flight, follower)) is None and not flight.landed:
                    require_time(self.label)
                    follower.wait(within_deadline(None))
        except BaseException:
            shelf.leave(flight, follower)
            raise
        return self._followed(flight, entry) if lead is None else self._led(lead, entry)

    async def _afetch(self, shelf: Shelf, key: Hashable, entry: Entry | None) -> "_Found":
        """The async twin of `_fetch`."""
        boarded = shelf.board(key, task_waiter)
        if isinstance(boarded, Lead):
            return self._led(boarded, entry)
        flight, follower = boarded
        try:
            with Waiting("cache.wait", self.label, _WAIT):
                while (lead := shelf.take_over(flight, follower)) is None and not flight.landed:
                    require_time(self.label)
                    await follower.wait(within_deadline(None))
        except BaseException:
            shelf.leave(flight, follower)
            raise
        return self._followed(flight, entry) if lead is None else self._led(lead, entry)

    def _led(self, lead: Lead, entry: Entry | None) -> Lead:
        self._totals.add("miss")
        lead.start(self._spare(entry))
        return lead

    def _followed(self, flight: Flight[Waiter], entry: Entry | None) -> Entry:
        """What the leader has brought; where that is an error, the old value, if it is good enough."""
        spare = self._spare(entry)
        if flight.error is not None and spare is not None:
            return self._served(spare, flight.error)
        self._totals.add("followed")
        return outcome(flight)

    def _spare(self, entry: Entry | None) -> Entry | None:
        """What would do if there is nothing newer."""
        return entry if entry is not None and clock.now() - entry.since < self._ttl + self._if_error else None

    def _served(self, entry: Entry, error: Exception | None) -> Entry:
        self._totals.add("stale")
        emit(ServedStale(self.label, clock.now() - entry.since, error))
        return entry

    def _spared(self, lead: Lead, error: BaseException) -> Entry | None:
        """The function has raised: the old value, if it will do."""
        if not isinstance(error, Exception):
            lead.gone()
            return None
        if isinstance(error, OutOfTime):  # the leader's own time: another may have more
            lead.gone()
        else:
            lead.failed(error)
        return None if lead.stale is None else self._served(lead.stale, error)

    def _refuse_slow(self, verb: str) -> None:
        if self.shelf.slow:
            raise TypeError(f"{self!r} has an asynchronous store; write 'await cache.a{verb}(...)'")

    def _empty_shelf(self) -> Shelf:
        return Shelf(MemoryStore(self._maxsize) if self._store is None else self._store, self.label, self._keep)

    def _shelve(self) -> Callable[[], None]:
        put_totals_back, shelved = self._totals.shelve(), self.shelf
        self.shelf = self._empty_shelf()

        def put_back() -> None:
            put_totals_back()
            self.shelf = shelved

        return put_back

    def _after_fork(self) -> None:
        self.shelf.disown()


_Found = Any  # an entry, or a `Lead`; or a coroutine that returns either: see `_find`
_Ways = tuple[Callable[..., Any], Callable[..., None]]  # how to fetch, and how to do so in the background


def _readings() -> list[Reading]:
    return [
        (value, {POLICY_NAME: label, CACHE_RESULT: result})
        for label, counts in _totals.totals_of("cache").items()
        for result, value in counts.items()
    ]


def _sizes() -> list[Reading]:
    return [(one.stats.size or 0, {POLICY_NAME: one.label}) for one in _live.living("cache")]


_WAIT = declare(
    Instrument(
        "resilience.cache.wait.duration",
        "histogram",
        "s",
        "Time for which calls waited for what another call was fetching",
        (POLICY_NAME, OUTCOME, ERROR_TYPE),
    )
)
declare(
    Instrument(
        "resilience.cache.lookups",
        "counter",
        "{call}",
        "Calls by what they were answered with",
        (POLICY_NAME, CACHE_RESULT),
        _readings,
    )
)
declare(Instrument("resilience.cache.usage", "up_down_counter", "{value}", "Values in memory", (POLICY_NAME,), _sizes))
