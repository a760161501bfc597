"""Telling what happened in the order in which it happened, with many threads and without a lock held meanwhile.

Who changes something under a lock posts the news in there; afterwards, outside, whoever comes first tells all of it.
News that arises meanwhile, also from a listener that changes something itself, is told by the same thread, after the
rest; each in the context of the call it is about.
"""

import threading
from collections import deque
from contextvars import Context, copy_context
from typing import Generic, TypeVar

from ._events import Event, emit

E = TypeVar("E", bound=Event)


class Outbox(Generic[E]):
    """Events that wait to be told."""

    __slots__ = ("_lock", "_telling", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[tuple[Context, E]] = deque()
        self._lock = threading.Lock()
        self._telling = False

    def post(self, event: E) -> None:
        """Add an event; to be called under the lock that makes the order."""
        self._waiting.append((copy_context(), event))

    def tell(self) -> None:
        """Tell everything that waits, unless another thread, or a frame further out, is at it."""
        if not self._waiting or not self._begin():
            return
        try:
            while (news := self._next()) is not None:
                context, event = news
                context.run(emit, event)
        except BaseException:  # an interrupt in a listener: what is left is told with the next news
            self._telling = False
            raise

    def after_fork(self) -> None:
        """In a forked child: the parent's news is not ours to tell."""
        self._waiting.clear()
        self._lock = threading.Lock()
        self._telling = False

    def _begin(self) -> bool:
        with self._lock:
            began, self._telling = not self._telling, True
        return began

    def _next(self) -> tuple[Context, E] | None:
        """The oldest news; with none left, the telling ends. One look decides both: posts come in at any moment."""
        with self._lock:
            self._telling = bool(self._waiting)
            return self._waiting.popleft() if self._telling else None
