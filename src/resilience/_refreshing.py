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
from ._events import RefreshFailed, emit
from ._fetching import Lead, Shelf
from ._workers import Workers

_MOST = 8
"""Threads in which plain functions are called again, for each cache; where all are busy, the next call tries again."""


class Refresher:
    """Who refreshes the values of one cache.

    Args:
        label: The name of the cache.
    """

    __slots__ = ("_label", "_workers")

    def __init__(self, label: str) -> None:
        self._label = label
        self._workers: Workers | None = None

    def in_thread(self, shelf: Shelf, key: Hashable, fetch: Callable[[], Any]) -> None:
        """Fetch in a worker thread; unless somebody is at it, or too many are at other things."""
        lead = shelf.begin(key)
        if lead is None:
            return
        if self._workers is None:
            self._workers = Workers(self._label, _MOST)
        context = copy_context()
        try:
            begun = self._workers.start(lambda: context.run(self._fetch, lead, fetch))
        except RuntimeError as error:  # the system has no thread left for us
            self._in_vain(lead, error)
        else:
            if begun is None:
                lead.gone()

    def in_task(self, shelf: Shelf, key: Hashable, fetch: Callable[[], Awaitable[Any]]) -> None:
        """Fetch in a task of the running loop; unless somebody is at it."""
        lead = shelf.begin(key)
        if lead is not None:
            shelf.send_off(partial(self._afetch, lead, fetch))

    def _fetch(self, lead: Lead, fetch: Callable[[], Any]) -> None:
        self._start(lead)
        try:
            result = fetch()
        except Exception as error:  # noqa: BLE001 - nobody waits for it who could be told otherwise
            self._in_vain(lead, error)
        except BaseException:
            lead.gone()
            raise
        else:
            lead.arrived(result)

    async def _afetch(self, lead: Lead, fetch: Callable[[], Awaitable[Any]]) -> None:
        self._start(lead)
        try:
            result = await fetch()
        except Exception as error:  # noqa: BLE001 - see above
            self._in_vain(lead, error)
        except BaseException:
            lead.gone()
            raise
        else:
            await lead.aarrived(result)

    def _start(self, lead: Lead) -> None:
        ambient.set(None)
        lead.start()

    def _in_vain(self, lead: Lead, error: Exception) -> None:
        lead.failed(error)
        emit(RefreshFailed(self._label, error))
