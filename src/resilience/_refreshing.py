"""Fetching anew in the background what a cache has answered with an old value: in a thread, or in a task.

Whoever was answered has its answer, so its deadline is not that of the refresh; and nobody waits who could be told of
a failure, so that is an event. A refresh is a flight like any other: who asks meanwhile, and has no old value that
would do, follows it.
"""

from collections.abc import Awaitable, Callable, Hashable
from contextvars import copy_context
from functools import partial
from typing import Any

from ._ambient import ambient
from ._core.flights import Flight
from ._events import RefreshFailed, emit
from ._fetching import Lead, Shelf
from ._waiters import Waiter
from ._workers import Workers

_MOST = 8
"""Threads in which plain functions are called again, for each cache; where all are busy, the next call tries again."""


class Refresher:
    """Who refreshes the values of one cache.

    Args:
        label: The name of the cache.
        keep: For how many seconds a value is of use.
    """

    __slots__ = ("_keep", "_label", "_workers")

    def __init__(self, label: str, keep: float) -> None:
        self._label = label
        self._keep = keep
        self._workers: Workers | None = None

    def in_thread(self, shelf: Shelf, key: Hashable, fetch: Callable[[], Any]) -> None:
        """Fetch in a worker thread; unless somebody is at it, or too many are at other things."""
        flight = shelf.begin(key)
        if flight is None:
            return
        if self._workers is None:
            self._workers = Workers(self._label, _MOST)
        context = copy_context()
        if self._workers.start(lambda: context.run(self._fetch, shelf, flight, fetch)) is None:
            shelf.give_up(flight)

    def in_task(self, shelf: Shelf, key: Hashable, fetch: Callable[[], Awaitable[Any]]) -> None:
        """Fetch in a task of the running loop; unless somebody is at it."""
        flight = shelf.begin(key)
        if flight is not None:
            shelf.send_off(partial(self._afetch, shelf, flight, fetch))

    def _fetch(self, shelf: Shelf, flight: Flight[Waiter], fetch: Callable[[], Any]) -> None:
        lead = self._lead(shelf, flight)
        try:
            result = fetch()
        except Exception as error:  # noqa: BLE001 - nobody waits for it who could be told otherwise
            self._in_vain(lead, error)
        except BaseException:
            lead.gone()
            raise
        else:
            lead.arrived(result)

    async def _afetch(self, shelf: Shelf, flight: Flight[Waiter], fetch: Callable[[], Awaitable[Any]]) -> None:
        lead = self._lead(shelf, flight)
        try:
            result = await fetch()
        except Exception as error:  # noqa: BLE001 - see above
            self._in_vain(lead, error)
        except BaseException:
            lead.gone()
            raise
        else:
            await lead.aarrived(result)

    def _lead(self, shelf: Shelf, flight: Flight[Waiter]) -> Lead:
        ambient.set(None)
        return Lead(shelf, flight, self._keep)

    def _in_vain(self, lead: Lead, error: Exception) -> None:
        lead.failed(error)
        emit(RefreshFailed(self._label, error))
