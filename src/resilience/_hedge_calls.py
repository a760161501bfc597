"""An async call that may become a race.

Hardly any call is ever hedged. So a call is only written down at first: a `Call` holds what a race would have to know
of the moment in which the call began, the caller's context included. All calls of one delay come due in the order in
which they began. A `Table` keeps those of one loop in that order, and *one* timer of the loop waits for the first: a
call that is quick costs an entry in a dict, and never touches the loop. A call that comes due is made a race.

    begun: a Call in a Table ── it ends ──► taken out
       │ it comes due
       ▼
    an AsyncioRace, in the context in which the call began

Where the delay is a live quantile it moves now and then. Then a new table is begun, and the one before goes with its
last call. On trio a call is a race from its beginning: no cancel scope can be put around what runs already.
"""

import asyncio
import weakref
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from itertools import takewhile
from typing import Any, Protocol, cast

from ._ambient import ambient, require_time
from ._anyio_scopes import anyio_tasks, scope_of
from ._budget import NoBudget, RetryBudget
from ._clock import clock
from ._races import Starter
from ._task_races import AsyncioRace, TrioRace
from ._waiters import trio_here

_SAME = 1e-9
"""Seconds by which two moments may differ and be the same: a loop rings a timer that much early."""

# What every call uses, bound once: Python makes a method anew for each `imported.method()`.
_running_loop, _current_task = asyncio.get_running_loop, asyncio.current_task
_ambient_get = ambient.get


class Running(Protocol):
    """A call that is under way.

    Attributes:
        live: Where it is written down, as long as that is all.
        race: What has become of it; `None`: nothing yet.
    """

    live: "dict[Any, Any]"
    race: Any

    @property
    def began(self) -> float:
        """The moment."""
        ...

    @property
    def winner(self) -> Any:
        """What a rival has returned, where one has won."""
        ...

    def settle(self, result: object) -> Any:
        """The primary has returned, after a race: what the caller gets."""

    async def saved(self, error: BaseException) -> bool:
        """The primary has raised: whether a rival has won, or wins yet."""
        ...


class Patience(Protocol):
    """After how many seconds a call is hedged."""

    @property
    def delay(self) -> float | None:
        """It now; `None`: not at all."""
        ...


class Hedging(Starter, Protocol):
    """The policy, as its async calls need it."""

    @property
    def latencies(self) -> Patience:
        """Its patience; another one in a sandbox."""
        ...


class Unhedged:
    """A call that is not to be hedged."""

    __slots__ = ("began",)

    live: Any = None
    race: Any = True  # it is written down nowhere
    winner: Any = None

    def __init__(self, began: float) -> None:
        self.began = began

    def settle(self, result: object) -> Any:
        """See `Running.settle`."""
        return result

    async def saved(self, error: BaseException) -> bool:
        """See `Running.saved`."""
        return False


Record = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], asyncio.Task[Any], int, Any, Context]
"""What a race has to know of a call: the function, its arguments, and where, and in what scope and context, it began.

A bare tuple: every call makes one, and hardly any is ever opened.
"""


class Call:
    """One call on asyncio. `Calls.begin` fills it in; an `__init__` costs too much."""

    __slots__ = ("began", "live", "race")

    began: float
    live: "dict[Call, Record]"
    race: AsyncioRace | None

    @property
    def winner(self) -> Any:
        """See `Running.winner`."""
        return None if self.race is None else self.race.winner

    def settle(self, result: object) -> Any:
        """See `Running.settle`."""
        return cast("AsyncioRace", self.race).settle(result)

    async def saved(self, error: BaseException) -> bool:
        """See `Running.saved`."""
        if self.race is None:
            del self.live[self]
            return False
        return await self.race.saved(error)

    def come_due(self, table: "Table", record: Record) -> None:
        """Make a race of it; a rival sees the caller's context, and nothing that the primary has set since."""
        fn, args, kwargs, task, base, scope, context = record
        self.race = AsyncioRace(table.hedge, table.delay, partial(fn, *args, **kwargs), task, base, scope)
        context.run(self.race.ring)


_blank_call: Callable[[], Call] = cast("Any", Call)


class Table:
    """The calls of one hedge and one delay that run on one loop, in the order in which they come due."""

    __slots__ = ("armed", "delay", "hedge", "live", "loop", "now")

    def __init__(self, hedge: Starter, delay: float, loop: asyncio.AbstractEventLoop) -> None:
        self.hedge = hedge
        self.delay = delay
        self.loop = weakref.ref(loop)
        self.now = clock.now
        self.live: dict[Call, Record] = {}
        self.armed = False

    def arm(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Have `look` called later; only the loop holds the timer, so that no table holds a loop."""
        self.armed = True
        Context().run(clock.call_later, loop, seconds, partial(self.look, loop))  # it outlives the caller's context

    def look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make races of what is due, and wait for what comes first then."""
        self.armed = False
        due = self.now() + _SAME - self.delay
        # In one pass: asking a dict again and again for its first key is slow when the keys before it were deleted.
        for call in list(takewhile(lambda call: call.began <= due, self.live)):
            call.come_due(self, self.live.pop(call))
        first = next(iter(self.live), None)
        if first is not None:
            self.arm(loop, first.began + self.delay - self.now())


class Calls:
    """All async calls of one hedge: a table for each loop that it is used on."""

    __slots__ = ("_budget", "_hedge", "_recent", "_tables")

    def __init__(self, hedge: Hedging, budget: RetryBudget | NoBudget) -> None:
        self._hedge = hedge
        self._budget = budget
        self._recent: Table | None = None  # loop and calls in one object: between two reads, another thread could write
        self._tables: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Table] = weakref.WeakKeyDictionary()

    def begin(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Running:
        """Begin a call in the task that runs now.

        Raises:
            OutOfTime: The ambient deadline is past.
        """
        hedge = self._hedge
        if _ambient_get() is not None:
            require_time(hedge.label)
        if self._budget.pressed:
            self._budget.deposit()
        delay = hedge.latencies.delay
        if delay is None:
            return Unhedged(clock.now())
        try:
            loop = _running_loop()
        except RuntimeError:  # none of asyncio runs in this thread
            return TrioRace(hedge, delay, partial(fn, *args, **kwargs), _trio())
        task = _current_task(loop)
        if task is None:  # trio may be the guest of a loop
            return TrioRace(hedge, delay, partial(fn, *args, **kwargs), _trio())
        table, now = self._recent, clock.now
        if table is None or table.now is not now or table.delay != delay or table.loop() is not loop:
            table = self._table_for(loop, delay)
        call = _blank_call()
        call.began = now()
        call.live = live = table.live
        call.race = None
        scope = scope_of(task) if anyio_tasks.states else None
        live[call] = (fn, args, kwargs, task, task.cancelling(), scope, copy_context())
        if not table.armed:
            table.arm(loop, delay)
        return call

    def _table_for(self, loop: asyncio.AbstractEventLoop, delay: float) -> Table:
        table = self._tables.get(loop)
        if table is None or table.delay != delay or table.now is not clock.now:  # timers of another clock do not ring
            table = self._tables[loop] = Table(self._hedge, delay, loop)
        self._recent = table
        return table


def _trio() -> Any:
    trio = trio_here()
    if trio is None:
        raise RuntimeError("an async hedge needs a task of asyncio or trio, and none runs here")
    return trio
