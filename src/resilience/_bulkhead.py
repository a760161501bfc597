"""`Bulkhead`: at most so many calls at once.

A ship has bulkheads so that one leak does not sink it; here, one slow service must not hold every thread, connection
and task of the process. The thinking is in `_core.slots`, the lock in `_pool`, the waiting in `_waiters`; here are
the options, the errors and the two shells.

A free place costs no lock: one `pop`, one `append`. All that is mutable is in one `Pool`, read once per call, so that a
place goes back to the pool it came from, even if a fork or a sandbox has put another in its stead meanwhile.

This module must not know what is called, and holds no lock meanwhile.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from typing import Any, NoReturn

from . import _checks, _live, _totals
from ._ambient import ambient, require_time, seconds_left
from ._clock import clock
from ._core.slots import GRACE
from ._events import refused
from ._lease import Ending, Guard, Lease
from ._metrics import ERROR_TYPE, OUTCOME, POLICY_NAME, Instrument, Reading, declare
from ._policy import Shared
from ._pool import Pool
from ._telemetry import Waiting
from ._traits import Role, Traits
from ._waiters import ThreadWaiter, Waiter, task_waiter, warn_if_blocking
from .errors import BulkheadFull, OutOfTime, Rejected


@dataclass(frozen=True, slots=True)
class BulkheadStats:
    """A bulkhead at one moment.

    Attributes:
        limit: How many calls may run at once.
        in_use: How many places are taken; more than `limit` for a while after a `resize` below it.
        waiting: How many callers wait for a place.
        queue: How many may wait.
        refused: How many calls were refused since the bulkhead was made; it never falls.
    """

    limit: int
    in_use: int
    waiting: int
    queue: int
    refused: int

    @property
    def available(self) -> int:
        """How many places are free."""
        return max(0, self.limit - self.in_use)


class Bulkhead(Shared):
    """Let at most `limit` calls run at once; refuse the others, or let some of them wait.

    One bulkhead counts threads, asyncio tasks and trio tasks together, over any number of event loops, and they wait in
    one queue: first in, first out, and no newcomer overtakes. A place is held until the work really ends: also work
    that `timeout(..., sync="abandon")` inside has left behind in its worker. State is per process.

    Args:
        limit: How many calls may run at once; at least 1.
        max_wait: The longest that one call waits for a place: seconds or a `timedelta`. Default 0.0: it is refused at
            once. `None`: as long as the deadline allows.
        queue: How many may wait at the same time; whoever comes then is refused at once. Default: as many as `limit`.
        name: What errors, events and telemetry call it.

    Raises:
        TypeError: A parameter is of the wrong kind.
        ValueError: A parameter makes no sense, among them a `queue` where nobody waits (`max_wait=0.0`).

    Example:
        ```python
        database = Bulkhead(10, max_wait=0.5, name="database")

        @database
        def query(sql): ...
        ```
    """

    __slots__ = ("_max_wait", "_queue", "_totals", "pool")

    kind = "bulkhead"

    def __init__(
        self,
        limit: int,
        *,
        max_wait: _checks.Seconds | None = 0.0,
        queue: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.pool: Pool = Pool(_checks.whole("limit", limit))
        self._max_wait = inf if max_wait is None else _checks.seconds("max_wait", max_wait, zero=True)
        self._queue = None if queue is None else _checks.whole("queue", queue)
        if queue is not None and self._max_wait == 0.0:
            raise ValueError(f"queue={queue!r} has no effect: nobody waits while max_wait is 0.0; give max_wait= too")
        self._totals = _totals.Totals("refused")
        _totals.file(self, self._totals)
        _live.enrol(self)

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Wrap a plain function; most users want the decorator."""
        bulkhead, take, deadline = self, self._take, ambient.get

        def call(*args: Any, **kwargs: Any) -> Any:
            pool = bulkhead.pool
            try:
                place = None if pool.contended or (deadline() and seconds_left() == 0.0) else pool.free.pop()
            except IndexError:
                place = None
            if place is None:
                take(pool)
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                pool.end(error)
                raise
            pool.free.append(True)
            if pool.contended:
                pool.settle()
            return result

        return call

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        """Wrap a coroutine function; most users want the decorator."""
        bulkhead, take, deadline = self, self._atake, ambient.get

        async def call(*args: Any, **kwargs: Any) -> Any:
            pool = bulkhead.pool
            try:
                place = None if pool.contended or (deadline() and seconds_left() == 0.0) else pool.free.pop()
            except IndexError:
                place = None
            if place is None:
                await take(pool)
            try:
                result = await fn(*args, **kwargs)
            except BaseException as error:
                pool.end(error)
                raise
            pool.free.append(True)
            if pool.contended:
                pool.settle()
            return result

        return call

    def traits(self) -> Traits:
        """What a pipeline needs to know about this policy."""
        limit = "as long as the deadline allows" if self._max_wait == inf else f"up to {self._max_wait:g} s"
        patience = f"{self.stats.queue} may wait {limit}" if self._max_wait else "refuses at once"
        return Traits(
            Role.BULKHEAD,
            f"bulkhead: at most {self.limit} at once, {patience}",
            waits=self._max_wait,
            raises=(BulkheadFull, OutOfTime),
        )

    @property
    def limit(self) -> int:
        """How many calls may run at once."""
        return self.pool.limit

    @property
    def calm(self) -> bool:
        """See `Layer.calm`: every place is free, and nobody waits."""
        _, in_use, waiting = self.pool.figures()
        return in_use == waiting == 0

    @property
    def stats(self) -> BulkheadStats:
        """How things stand at this moment."""
        limit, in_use, waiting = self.pool.figures()
        return BulkheadStats(limit, in_use, waiting, self._most(limit), self._totals.read()["refused"])

    def resize(self, limit: int) -> None:
        """Change how many calls may run at once. It never blocks.

        Raised, those who wait come in at once; lowered, calls that run go on, and their places vanish as they end.

        Args:
            limit: The new limit; at least 1.

        Raises:
            TypeError: `limit` is no whole number.
            ValueError: `limit` is less than 1.
        """
        self.pool.resize(_checks.whole("limit", limit))

    def admit(self) -> Lease:
        """Take a place for a call that you make yourself; end the lease when it is done.

        Raises:
            BulkheadFull: Every place is taken, and no (further) waiting is allowed.
            OutOfTime: The deadline is past, or was while waiting.
        """
        pool = self.pool
        self._take(pool)
        return _lease(pool)

    async def aadmit(self) -> Lease:
        """Take a place, as `admit` does, without blocking the event loop."""
        pool = self.pool
        await self._atake(pool)
        return _lease(pool)

    def guard(self) -> Guard:
        """Guard a block: `with bulkhead.guard():` or `async with bulkhead.guard():`."""
        return Guard(self)

    def _take(self, pool: Pool) -> None:
        """All but the free path: the deadline, the queue, the refusal."""
        try:
            require_time(self.label)
            if not pool.seize():
                self._wait(pool)
        except Rejected:
            self._totals.add("refused")
            raise

    async def _atake(self, pool: Pool) -> None:
        """The async twin of `_take`."""
        try:
            require_time(self.label)
            if not pool.seize():
                await self._await(pool)
        except Rejected:
            self._totals.add("refused")
            raise

    def _wait(self, pool: Pool) -> None:
        ends = self._patience()
        warn_if_blocking(self.label, "write 'await bulkhead.acall(...)' or 'async with bulkhead.guard():'")
        waiter = ThreadWaiter()
        try:
            self._enter(pool, waiter)
            with Waiting("bulkhead.wait", self.label, _WAIT):
                while not pool.has(waiter):
                    waiter.wait(self._nap(pool, waiter, ends))
        except BaseException:
            pool.leave(waiter)
            raise

    async def _await(self, pool: Pool) -> None:
        ends = self._patience()
        waiter = task_waiter()
        try:
            self._enter(pool, waiter)
            with Waiting("bulkhead.wait", self.label, _WAIT):
                while not pool.has(waiter):
                    await waiter.wait(self._nap(pool, waiter, ends))
        except BaseException:
            pool.leave(waiter)
            raise

    def _patience(self) -> float:
        """The moment to stop waiting at. Refuses where waiting is not allowed at all."""
        if self._max_wait == 0.0:
            self._refuse("raise limit=, or let callers wait with max_wait=")
        deadline = ambient.get()
        ends = clock.now() + self._max_wait
        return ends if deadline is None else min(ends, deadline.expires)

    def _enter(self, pool: Pool, waiter: Waiter) -> None:
        if not pool.enter(waiter, self._queue):
            self._refuse("raise limit= or queue=, or send fewer calls")

    def _nap(self, pool: Pool, waiter: Waiter, ends: float) -> float | None:
        """How long to sleep until the next look: to the end, but where others might not take up their grants, less."""
        left = ends - clock.now()
        if left <= 0.0:
            pool.leave(waiter)  # first, so that the refusal does not count it among those who wait
            require_time(self.label)
            self._refuse(f"no place came free within max_wait={self._max_wait:g} s; raise limit= or max_wait=")
        nap = min(left, GRACE) if pool.mixed else left
        return None if nap == inf else nap

    def _refuse(self, advice: str) -> NoReturn:
        limit, in_use, waiting = self.pool.figures()
        queue = f", and {waiting} wait of at most {self._most(limit)}" if self._max_wait else ""
        reason = f"{in_use} of {limit} places are in use{queue}; {advice}"
        refusal = BulkheadFull(self.label, None, reason)
        refused(self.label, refusal)
        try:
            raise refusal
        finally:
            del refusal  # its traceback refers to this frame: together they would keep the policy in use

    def _most(self, limit: int) -> int:
        """How many may wait."""
        return limit if self._queue is None else self._queue

    def _shelve(self) -> Callable[[], None]:
        put_totals_back, shelved = self._totals.shelve(), self.pool
        self.pool = Pool(shelved.limit)

        def put_back() -> None:
            put_totals_back()
            self.pool = shelved

        return put_back

    def _after_fork(self) -> None:
        self.pool.disown()
        self.pool = Pool(self.pool.limit)


def _readings(figure: str) -> Callable[[], list[Reading]]:
    """One figure of every bulkhead there is."""
    return lambda: [
        (getattr(one.stats, figure), {POLICY_NAME: one.label}) for one in _live.living() if isinstance(one, Bulkhead)
    ]


_WAIT = declare(
    Instrument(
        "resilience.bulkhead.wait.duration",
        "histogram",
        "s",
        "Time in the queue of a bulkhead, of those who had to wait",
        (POLICY_NAME, OUTCOME, ERROR_TYPE),
    )
)
for _name, _description, _figure in (
    ("resilience.bulkhead.usage", "Places in use", "in_use"),
    ("resilience.bulkhead.limit", "Places there are", "limit"),
    ("resilience.bulkhead.queue.usage", "Callers that wait for a place", "waiting"),
):
    declare(Instrument(_name, "up_down_counter", "{call}", _description, (POLICY_NAME,), _readings(_figure)))


def _lease(pool: Pool) -> Lease:
    def end(_: Ending, error: BaseException | None) -> None:
        pool.end(error)

    return Lease(end)
