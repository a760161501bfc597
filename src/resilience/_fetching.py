"""Who fetches what for a cache, and who waits for it: the lock around `_core.flights`, and the end of a fetch.

All that is mutable in a cache is in one `Shelf`, read once per call, so that what a call brings goes to where it was
missed, even if a fork or a sandbox has put another shelf in its stead meanwhile.

A fetch that nobody would end would hold up all who follow it, for good. So a flight refers to its `Lead` weakly, and
one that is lost without a word (to an interrupt between two of our lines, with a task that was cancelled before it
began) has given up once it is collected.
"""

import copy
import inspect
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine, Hashable, Iterable
from contextlib import suppress
from contextvars import Token, copy_context
from typing import Any, TypeVar

from ._clock import clock
from ._core.flights import Flight, Flights
from ._events import StoreFailed, emit
from ._results import refuse_coroutine, values
from ._standing_in import Fetch, fetches
from ._store import AsyncStore, Entry, MemoryStore, Store
from ._waiters import Waiter, trio_here

W = TypeVar("W", bound=Waiter)


class Shelf:
    """The values of one cache for one stretch of its life, and what is being fetched for it.

    Args:
        store: Where the values are.
        label: The name of the cache.
        keep: For how many seconds a value is of use.

    Attributes:
        store: As given.
        slow: Whether the store is asynchronous.
        tasks: What is being fetched in the background of an asyncio loop.
    """

    __slots__ = ("_flights", "_keep", "_label", "_lock", "slow", "store", "tasks")

    def __init__(self, store: Store | AsyncStore, label: str, keep: float) -> None:
        self.store: Store | AsyncStore = store
        self.slow: bool = inspect.iscoroutinefunction(store.get)
        self.tasks: set[Any] = set()
        self._label = label
        self._keep = keep
        self._flights: Flights[Waiter] = Flights()
        self._lock = threading.RLock()

    def __len__(self) -> int:
        """How many values are being fetched."""
        with self._lock:
            return len(self._flights)

    @property
    def following(self) -> int:
        """How many callers wait for what others fetch."""
        with self._lock:
            return self._flights.following

    def ask(self, verb: str, *args: Any) -> Any:
        """Have the store do something; its failure is told, and is nobody else's."""
        try:
            return getattr(self.store, verb)(*args)
        except Exception as error:  # noqa: BLE001 - it is the user's
            self.failed(verb, error)
            return None

    async def aask(self, verb: str, *args: Any) -> Any:
        """The same of either kind of store."""
        if not self.slow:
            return self.ask(verb, *args)
        try:
            return await getattr(self.store, verb)(*args)
        except Exception as error:  # noqa: BLE001 - it is the user's
            self.failed(verb, error)
            return None

    async def alook_up(self, key: Hashable) -> Entry | None:
        """What an asynchronous store keeps under a key."""
        entry: object = await self.aask("get", key)
        if isinstance(entry, Entry | None):
            return entry
        self.failed("get", TypeError(f"get must return an Entry or None, got {entry!r}"))
        return None

    def failed(self, verb: str, error: Exception) -> None:
        """Tell that the store has failed."""
        emit(StoreFailed(self._label, verb, error))

    def forget(self, key: Hashable) -> None:
        """Let nothing that is being fetched for a key be kept."""
        with self._lock:
            self._flights.forget(key)

    def forget_all(self) -> None:
        """Let nothing that is being fetched be kept."""
        with self._lock:
            self._flights.forget_all()

    def board(self, key: Hashable, waiter: Callable[[], W]) -> "Lead | tuple[Flight[Waiter], W]":
        """Fetch, or follow who does, as the waiter that is returned too."""
        with self._lock:
            flight = self._flights.find(key)
            if flight is None:
                return self._begin(key)
            if flight in fetches.get():  # a function that calls itself: it would wait for itself
                return Lead(self, Flight(key))
            follower = waiter()
            flight.followers.append(follower)
            return flight, follower

    def begin(self, key: Hashable) -> "Lead | None":
        """Fetch, unless somebody does."""
        with self._lock:
            return self._begin(key) if self._flights.find(key) is None else None

    def take_over(self, flight: Flight[Waiter], follower: Waiter) -> "Lead | None":
        """Fetch, for one that follows, if nobody does any more."""
        with self._lock:
            if flight.leader is not None or flight.landed:
                return None
            flight.followers.remove(follower)
            return Lead(self, flight)

    def leave(self, flight: Flight[Waiter], follower: Waiter) -> None:
        """Follow no more."""
        with self._lock:
            self._flights.leave(flight, follower)

    def land(self, flight: Flight[Waiter], value: object, error: Exception | None = None) -> None:
        """All who follow have this outcome."""
        with self._lock:
            followers = self._flights.land(flight, value, error)
        _wake(followers)

    def give_up(self, flight: Flight[Waiter]) -> None:
        """Have one of those who follow lead on."""
        with self._lock:
            followers = self._flights.give_up(flight)
        _wake(followers)

    def keep(self, flight: Flight[Waiter], value: object) -> None:
        """Have the store keep what was fetched."""
        if flight.current:
            self.ask("put", flight.key, value, self._keep)
            if not flight.current:  # forgotten while it was put, so perhaps put after it was dropped
                self.ask("drop", flight.key)

    async def akeep(self, flight: Flight[Waiter], value: object) -> None:
        """The async twin of `keep`, for either kind of store."""
        if flight.current:
            await self.aask("put", flight.key, value, self._keep)
            if not flight.current:  # see `keep`
                await self.aask("drop", flight.key)

    def send_off(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run work in the background of the running event loop, in a copy of this context."""
        trio = trio_here()
        if trio is not None:
            trio.lowlevel.spawn_system_task(work, context=copy_context())
            return
        task = sys.modules["asyncio"].get_running_loop().create_task(work())  # which copies the context
        self.tasks.add(task)  # a loop holds its tasks weakly
        task.add_done_callback(self.tasks.discard)

    def disown(self) -> None:
        """In a forked child: whoever fetches or waits does so in the parent, and a lock may be held there."""
        self._lock = threading.RLock()
        self._flights = Flights()
        self.tasks = set()
        if isinstance(self.store, MemoryStore):
            self.store.disown()

    def _begin(self, key: Hashable) -> "Lead":
        """Called under the lock."""
        lead = Lead(self, Flight(key))
        self._flights.begin(lead.flight)
        return lead


class Lead:
    """Leave to fetch. Start, and say how it ended, in one context.

    Args:
        shelf: For which cache.
        flight: What is fetched.

    Attributes:
        flight: As given.
        stale: What will do if there is nothing newer.
    """

    __slots__ = ("__weakref__", "_shelf", "_token", "flight", "stale")

    def __init__(self, shelf: Shelf, flight: Flight[Waiter]) -> None:
        self.flight: Flight[Waiter] = flight
        self.stale: Entry | None = None
        self._shelf = shelf
        self._token: Token[tuple[Fetch, ...]] | None = None
        flight.leader = weakref.ref(self, lambda _: shelf.give_up(flight))

    def start(self, stale: Entry | None = None) -> None:
        """What runs from now on is the fetch."""
        self.stale = stale
        self._token = fetches.set((*fetches.get(), self.flight))

    def arrived(self, value: object) -> None:
        """It succeeded."""
        if not self._lasts(value):
            return
        self._withdraw()
        try:
            self._shelf.keep(self.flight, value)
        finally:
            self._land(value)

    async def aarrived(self, value: object) -> None:
        """The async twin of `arrived`, for either kind of store."""
        if not self._lasts(value):
            return
        self._withdraw()
        try:
            await self._shelf.akeep(self.flight, value)
        finally:
            self._land(value)

    def failed(self, error: Exception) -> None:
        """It failed, for all who follow."""
        self._withdraw()
        self._land(None, error)

    def gone(self) -> None:
        """It has no outcome: it was cancelled, or what it returned is for one caller only."""
        self._withdraw()
        self._shelf.give_up(self.flight)

    def _lasts(self, value: object) -> bool:
        """Whether a value can be given twice. It is over where not: a stream is for its caller alone."""
        try:
            if type(value) not in values:
                refuse_coroutine(value)
        except BaseException:
            self.gone()
            raise
        lasts = type(value) in values and not hasattr(type(value), "__next__")  # an iterator is used up by the first
        if not lasts:
            self.gone()
        return lasts

    def _land(self, value: object, error: Exception | None = None) -> None:
        try:
            self._shelf.land(self.flight, value, error)
        except BaseException:  # an interrupt: whom it has not told goes on
            self._shelf.give_up(self.flight)
            raise

    def _withdraw(self) -> None:
        token, self._token = self._token, None
        if token is not None:
            with suppress(ValueError):  # a coroutine may be closed in another context, with nothing to take back
                fetches.reset(token)


def outcome(flight: Flight[Waiter]) -> Entry:
    """What a flight has brought to one who followed it.

    Raises:
        Exception: What it failed with, in a copy: many may raise it at once, and each adds its own traceback to it.
    """
    error = flight.error
    if error is None:
        return Entry(flight.value, clock.now())
    twin = _copy_of(error)
    if twin is None:
        raise error
    raise twin from error


def _copy_of(error: Exception) -> Exception | None:
    try:
        twin = copy.copy(error)
    except Exception:  # noqa: BLE001 - it is the user's class, and may need more than its arguments
        return None
    notes = getattr(error, "__notes__", None)
    if notes is not None:
        twin.__notes__ = list(notes)
    return twin if type(twin) is type(error) else None


def _wake(followers: Iterable[Waiter]) -> None:
    """Outside the lock. One whose event loop is closed waits no more, and is nobody's leader."""
    for follower in followers:
        follower.wake()
