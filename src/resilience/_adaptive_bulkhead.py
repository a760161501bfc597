"""`AdaptiveBulkhead`: a bulkhead that finds out by itself how many calls at once its service is worth.

It is a `Bulkhead` whose limit somebody moves: `_core.adaptive`, which is told of every call how long it took and
whether it was answered. Here is what counts as an answer, and the lock around the telling. The two shells are those of
a bulkhead with the telling in them: one layer, and not two.
"""

import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from . import _checks
from ._ambient import ambient, seconds_left
from ._bulkhead import Bulkhead, BulkheadStats
from ._clock import clock
from ._core.adaptive import Finder
from ._core.states import Outcome
from ._evidence import judged
from ._lease import Ending, Lease
from ._locks import let_go
from ._matching import Matcher, On
from ._pool import Pool
from ._traits import Traits


@dataclass(frozen=True, slots=True)
class AdaptiveStats(BulkheadStats):
    """An adaptive bulkhead at one moment: what there is to say of a bulkhead, and what it has found out.

    Attributes:
        elasticity: By how many percent the answers changed for one percent more calls, lately: about 1 below what the
            service can do, about 0 above. `None`: not known yet.
    """

    elasticity: float | None


class AdaptiveBulkhead(Bulkhead):
    """Let as many calls run at once as the service is worth, and find out how many that is.

    It tries a few more and a few less, all the time, and watches the good answers a second: while more calls bring more
    answers in step, it lets in more; when they only take longer, fewer. So it follows a service that gets faster or
    slower, and holds at the knee: in its tests the limit's mean stays within a third of the service's real capacity,
    and no value strays below a third or above the double of it. Where the limit is never reached it stays as it
    is.

    Exceptions that `on` names are calls that were not answered; refusals of policies inside, what is ignored, and what
    is cancelled say nothing. All else is as in a `Bulkhead`.

    Args:
        initial: The limit at first. Default 20.
        minimum: The least that it may come to. Default 1.
        maximum: The most. Default 1000.
        max_wait: The longest that one call waits for a place: seconds or a `timedelta`. Default 0.0: it is refused at
            once. `None`: as long as the deadline allows.
        queue: How many may wait at the same time. Default: as many as the limit.
        on: Which exceptions mean that there was no answer. Default `Exception`.
        ignore: Which of them say nothing.
        name: What errors, events and telemetry call it.

    Raises:
        TypeError: A parameter is of the wrong kind.
        ValueError: A parameter makes no sense, among them an `initial` out of the bounds.

    Example:
        ```python
        search = AdaptiveBulkhead(name="search")

        @search
        async def find(words): ...
        ```
    """

    __slots__ = ("_bounds", "_finding", "_ignore", "_on")

    kind = "adaptive_bulkhead"

    def __init__(
        self,
        *,
        initial: int = 20,
        minimum: int = 1,
        maximum: int = 1000,
        max_wait: _checks.Seconds | None = 0.0,
        queue: int | None = None,
        on: On = Exception,
        ignore: On = (),
        name: str | None = None,
    ) -> None:
        self._bounds = _checks.whole("minimum", minimum), _checks.whole("maximum", maximum)
        _checks.whole("initial", initial)
        if not minimum <= initial <= maximum:
            raise ValueError(f"initial must be from minimum={minimum} to maximum={maximum}, got {initial}")
        self._on = Matcher("on", on)
        self._ignore = Matcher("ignore", ignore, required=False)
        self._finding = threading.RLock(), Finder(initial, *self._bounds, clock.now())
        super().__init__(initial, max_wait=max_wait, queue=queue, name=name)

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Wrap a plain function; most users want the decorator."""
        bulkhead, take, deadline, note, ended = self, self._take, ambient.get, self._note, self._ended

        def call(*args: Any, **kwargs: Any) -> Any:
            pool = bulkhead.pool
            try:
                place = None if pool.contended or (deadline() and seconds_left() == 0.0) else pool.free.pop()
            except IndexError:
                place = None
            if place is None:
                take(pool)
            began = None
            try:  # from here on, so that an interrupt at the clock loses no place
                began = clock.now()
                result = fn(*args, **kwargs)
                note(pool, began)
            except BaseException as error:
                ended(pool, began, error)
                raise
            pool.free.append(True)
            if pool.contended:
                pool.settle()
            return result

        return call

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        """Wrap a coroutine function; most users want the decorator."""
        bulkhead, take, deadline, note, ended = self, self._atake, ambient.get, self._note, self._ended

        async def call(*args: Any, **kwargs: Any) -> Any:
            pool = bulkhead.pool
            try:
                place = None if pool.contended or (deadline() and seconds_left() == 0.0) else pool.free.pop()
            except IndexError:
                place = None
            if place is None:
                await take(pool)
            began = None
            try:  # from here on, so that an interrupt at the clock loses no place
                began = clock.now()
                result = await fn(*args, **kwargs)
                note(pool, began)
            except BaseException as error:
                ended(pool, began, error)
                raise
            pool.free.append(True)
            if pool.contended:
                pool.settle()
            return result

        return call

    def admit(self) -> Lease:
        """Take a place for a call that you make yourself; say on the lease how it ended.

        Raises:
            BulkheadFull: Every place is taken, and no (further) waiting is allowed.
            OutOfTime: The deadline is past, or was while waiting.
        """
        return self._telling(super().admit())

    async def aadmit(self) -> Lease:
        """Take a place, as `admit` does, without blocking the event loop."""
        return self._telling(await super().aadmit())

    def traits(self) -> Traits:
        """What a pipeline needs to know about this policy."""
        plain = super().traits()
        least, most = self._bounds
        patience = plain.summary.rpartition(", ")[2]
        return Traits(
            plain.role,
            f"adaptive bulkhead: {least} to {most} at once, now {self.limit}, {patience}",
            waits=plain.waits,
            raises=plain.raises,
            handles=self._on,
        )

    @property
    def stats(self) -> AdaptiveStats:
        """How things stand at this moment."""
        now = super().stats
        return AdaptiveStats(now.limit, now.in_use, now.waiting, now.queue, now.refused, self._finding[1].elasticity)

    def resize(self, limit: int) -> None:
        """Go on from another limit, within the bounds. It never blocks.

        Args:
            limit: The limit to go on from.

        Raises:
            TypeError: `limit` is no whole number.
            ValueError: `limit` is out of the bounds.
        """
        least, most = self._bounds
        if not least <= _checks.whole("limit", limit) <= most:
            raise ValueError(f"limit must be from minimum={least} to maximum={most}, got {limit}")
        lock, finder = self._finding
        with lock:
            finder.adopt(limit)
        super().resize(limit)

    def _ended(self, pool: Pool, began: float | None, error: BaseException) -> None:
        """Take note of a call that began and raised, and give its place back even if judging it raises."""
        try:
            if began is not None:
                self._failed(pool, began, error)
        finally:
            pool.end(error)

    def _failed(self, pool: Pool, began: float, error: BaseException) -> None:
        """Take note of a call that raised, if that says something. If judging it raises, the call ends with that."""
        if judged(error, self._on, self._ignore) is Outcome.FAILURE:
            self._note(pool, began, good=False)

    def _note(self, pool: Pool, began: float, *, good: bool = True) -> None:
        (lock, finder), now = self._finding, clock.now()
        try:
            lock.acquire()  # not `with`: see `_locks`
            limit = finder.note(now - began, now, pool.in_use, good=good)
        except BaseException:
            let_go(lock)
            raise
        lock.release()
        if limit is not None and limit != pool.limit and pool is self.pool:
            pool.resize(limit)

    def _telling(self, lease: Lease) -> Lease:
        """The lease, and what it says is noted too."""
        pool, began = self.pool, clock.now()

        def end(ending: Ending, error: BaseException | None) -> None:
            try:
                if error is not None:
                    self._failed(pool, began, error)
                elif ending is not Ending.RELEASED:
                    self._note(pool, began, good=ending is Ending.SUCCESS)
            finally:
                lease.fail(error) if error is not None else lease.release()

        return Lease(end)

    def _shelve(self) -> Callable[[], None]:
        put_back, finding = super()._shelve(), self._finding
        self._finding = threading.RLock(), Finder(self.limit, *self._bounds, clock.now())

        def put_all_back() -> None:
            put_back()
            self._finding = finding

        return put_all_back

    def _after_fork(self) -> None:
        super()._after_fork()
        self._finding = threading.RLock(), self._finding[1]
