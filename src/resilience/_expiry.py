"""How an async call is cut off when its time is over.

All calls of one timeout last equally long, so on one loop they expire in the order in which they began. A `Table` keeps
them in that order, and *one* timer of the loop waits for the first: a call that ends in time costs an entry in a dict,
and never touches the loop. A `Limit` is one call in such a table. It cancels the call's own task, and tells this
cancellation from all others by the task's count of them.

On trio, and where anyio's scopes cannot be asked (see `_anyio_scopes`), a `ScopeLimit` does the same with a cancel
scope. Both are themselves the deadline that they announce to what runs inside.

A tie goes to the limit: once it has cut, a result that was ready in the same turn of the loop is not looked at. Of
`CutOff` and `Overran` an expired call emits one, and never both. This module knows nothing of functions and policies.
"""

import asyncio
import contextlib
import math
import sys
import weakref
from collections.abc import Callable
from contextvars import Token
from itertools import takewhile
from typing import Any, Protocol, cast

import anyio

from ._ambient import Deadline, ambient, require_time, withdraw
from ._anyio_scopes import UNREADABLE, anyio_tasks, is_shielded, scope_of
from ._clock import clock
from ._events import CutOff, Overran, emit
from ._waiters import current_task
from .errors import TimedOut

_SAME = 1e-9
"""Seconds by which two moments may differ and be the same: a loop rings a timer that much early."""

_SHIELD_GLANCE = 0.01
"""Seconds between two looks at whether a shield has been left that is in the way of an expiry."""


# What every call uses, bound once: Python makes a method anew for each `imported.method()`.
_current_task = asyncio.current_task
_ambient_get, _ambient_set, _ambient_reset = ambient.get, ambient.set, ambient.reset


class Running(Protocol):
    """A call that runs under a limit."""

    def leave(self, error: BaseException | None) -> None:
        """The call ended, with a result or with `error`.

        Raises:
            TimedOut: The limit cut it off; or it had expired inside a shield, and then the call ended.
        """

    def desert(self) -> None:
        """Never cut: the block was left where it cannot be ended properly."""


class Limit(Deadline):
    """One call that is cut off by cancelling its task. `Limits.begin` fills it in; an `__init__` costs too much."""

    __slots__ = ("again", "base", "cut", "expired", "outer", "scope", "table", "task", "token")

    task: asyncio.Task[Any] | None
    base: int
    table: "Table"
    scope: Any
    outer: "Limit | None"
    token: Token[Deadline | None]
    expired: bool
    cut: bool  # these two mean something only once it expired
    again: Callable[[], None] | None

    __init__ = object.__init__  # pyright: ignore[reportAssignmentType] - it is made blank

    def leave(self, error: BaseException | None) -> None:
        """See `Running.leave`."""
        try:  # it is `withdraw`, without the call
            _ambient_reset(self.token)
        except ValueError:
            pass
        task, self.task = self.task, None  # a context copied inside may hold this limit long after the call
        self.enforced = False
        if not self.expired:
            del self.table.live[self]
        elif task is not None:
            self._settle(task, error)

    def desert(self) -> None:
        """See `Running.desert`."""
        self.task = None
        self.enforced = False
        if not self.expired:
            del self.table.live[self]
        elif self.again is not None:
            self.again()

    def expire(self) -> None:
        """Cut the call off; if it is inside a shield, or is itself what moves the clock, try again a little later."""
        if self.outer is not None:
            self.outer._go_first()
        task = self.task
        if task is None:
            return
        self.expired, self.cut, self.again = True, False, None
        loop = task.get_loop()
        if asyncio.current_task() is task:
            self.again = loop.call_soon(self.expire).cancel
        elif is_shielded(task, self.scope):
            self.again = clock.call_later(loop, _SHIELD_GLANCE, self.expire)
        else:
            self.cut = True
            task.cancel()

    def _go_first(self) -> None:
        """A limit inside expires, and this one is due no later: it has to be the one that is reported."""
        if not self.expired and self.task is not None:
            del self.table.live[self]
            self.expire()

    def _settle(self, task: asyncio.Task[Any], error: BaseException | None) -> None:
        """Tell our cancellation from another's: with ours taken back, the task's count is what it was before."""
        if self.again is not None:
            self.again()
        ours = error is None
        if self.cut:
            ours = task.uncancel() <= self.base and isinstance(error, asyncio.CancelledError)
        table = self.table
        _conclude(table.label, table.seconds, self.expires, error, cut=ours)


_blank_limit: Callable[[], Limit] = cast("Any", Limit)


class Table:
    """The calls of one timeout that run on one loop, in the order in which they expire."""

    __slots__ = ("__weakref__", "armed", "label", "live", "loop", "now", "seconds")

    def __init__(self, label: str, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self.label = label
        self.seconds = seconds
        self.loop = weakref.ref(loop)
        self.now = clock.now
        self.live: dict[Limit, None] = {}
        self.armed = False

    def arm(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Have `look` called later."""
        self.armed = True
        _Alarm(self, loop, seconds)

    def look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Expire what is due, and wait for what comes first then."""
        self.armed = False
        due = self.now() + _SAME
        # In one pass: asking a dict again and again for its first key is slow when the keys before it were deleted.
        for limit in list(takewhile(lambda limit: limit.expires <= due, self.live)):
            del self.live[limit]
            limit.expire()
        first = next(iter(self.live), None)
        if first is not None:
            self.arm(loop, first.expires - self.now())


class _Alarm:
    """The timer of a table. Only the loop holds it, so that no table holds a loop; it is called off with its table."""

    __slots__ = ("__weakref__", "_call_off", "_loop", "_table")

    def __init__(self, table: Table, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._table: weakref.ref[Table] | None = weakref.ref(table, self._orphaned)
        self._call_off = clock.call_later(loop, seconds, self._ring)

    def _ring(self) -> None:
        table = None if self._table is None else self._table()
        self._table = None
        if table is not None:
            table.look(self._loop)

    def _orphaned(self, _: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and its timers gone
            self._loop.call_soon_threadsafe(self._call_off)


class Limits:
    """All limits of one timeout: a table for each loop that it is used on."""

    __slots__ = ("_label", "_recent", "_seconds", "_tables")

    def __init__(self, label: str, seconds: float) -> None:
        self._label = label
        self._seconds = seconds
        self._recent: Table | None = None  # loop and calls in one object: between two reads, another thread could write
        self._tables: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Table] = weakref.WeakKeyDictionary()

    def begin(self) -> Running:
        """Begin a call in the task that runs now.

        Raises:
            OutOfTime: The ambient deadline is past.
        """
        try:
            task = _current_task()
        except RuntimeError:  # no asyncio loop runs in this thread
            task = None
        if task is None:
            return ScopeLimit(self._label, self._seconds, _trio_scope())
        scope = scope_of(task) if anyio_tasks.states else None
        if scope is UNREADABLE:
            return ScopeLimit(self._label, self._seconds, anyio.CancelScope())
        table, loop = self._recent, task.get_loop()
        if table is None or table.loop() is not loop or table.now is not clock.now:
            table = self._table_for(loop)
        limit = _blank_limit()
        limit.expires = table.now() + self._seconds
        limit.enforced = True
        limit.task = task
        limit.base = task.cancelling()
        limit.table = table
        limit.scope = scope
        limit.expired = False
        limit.outer = None
        announced: Deadline = limit
        outer = _ambient_get()
        if outer is not None and outer.expires <= limit.expires:
            announced = self._under(outer, limit, loop)
            table = limit.table
        table.live[limit] = None
        if not table.armed:
            table.arm(loop, table.seconds)
        limit.token = _ambient_set(announced)  # after the arming: a timer of the loop keeps the context it was made in
        return limit

    def _table_for(self, loop: asyncio.AbstractEventLoop) -> Table:
        table = self._tables.get(loop)
        if table is None or table.now is not clock.now:  # on another clock, timers of the one before do not ring
            table = self._tables[loop] = Table(self._label, self._seconds, loop)
        self._recent = table
        return table

    def _under(self, outer: Deadline, limit: Limit, loop: asyncio.AbstractEventLoop) -> Deadline:
        """Begin under a nearer deadline: whoever enforces it cuts first; if nobody does, we cut at that moment."""
        left = _time_left(self._label, outer)
        if outer.enforced:
            if isinstance(outer, Limit) and outer.task is limit.task:
                limit.outer = outer
            return outer
        limit.expires = outer.expires
        limit.table = Table(self._label, left, loop)  # of its own, as it is out of the order of the others
        return limit


class ScopeLimit(Deadline):
    """One call that is cut off by a cancel scope of trio or anyio."""

    __slots__ = ("_call_off", "_label", "_scope", "_seconds", "_token")

    def __init__(self, label: str, seconds: float, scope: Any) -> None:
        outer = ambient.get()
        announced = True
        self.expires = clock.now() + seconds
        self.enforced = True
        if outer is not None and outer.expires <= self.expires:
            left = _time_left(label, outer)
            announced = not outer.enforced
            if announced:
                self.expires, seconds = outer.expires, left
        self._label = label
        self._seconds = seconds
        self._scope = scope
        scope.__enter__()
        self._call_off = clock.expire(scope, seconds)
        self._token = ambient.set(self) if announced else None

    def leave(self, error: BaseException | None) -> None:
        """See `Running.leave`."""
        if self._token is not None:
            withdraw(self._token)
        self.enforced = False
        self._call_off()
        caught = self._scope.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)
        if self._scope.cancel_called:
            _conclude(self._label, self._seconds, self.expires, error, cut=caught or error is None)

    def desert(self) -> None:
        """See `Running.desert`."""
        self.enforced = False
        self._call_off()
        self._scope.deadline = math.inf


def _trio_scope() -> Any:
    trio = sys.modules.get("trio")
    if trio is None or current_task() is None:
        raise RuntimeError("an async timeout needs a task of asyncio or trio to cut off, and none runs here")
    return trio.CancelScope()


def _time_left(label: str, outer: Deadline) -> float:
    require_time(label)
    return outer.expires - clock.now()


def _conclude(label: str, seconds: float, expires: float, error: BaseException | None, *, cut: bool) -> None:
    """Report an expiry: as `TimedOut`, or, if the call ended in its own way all the same, as an event only."""
    if cut:
        emit(CutOff(label, seconds))
        raise TimedOut(label, seconds) from error
    if error is None or isinstance(error, Exception):
        emit(Overran(label, seconds, seconds + clock.now() - expires))
