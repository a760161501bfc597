"""`RateLimiter`: so many calls (or tokens, or bytes) per second, and not more.

The thinking is in `_core.gcra`, the lock in `_rate_meter`, the waiting in `_waiters`; here are the options, the errors
and the two shells. This module must not know what is called, and holds no lock meanwhile.

All that is mutable is in one `Meter`, read once per call, so that what a call gives back goes to the meter it was taken
from, even if a fork or a sandbox has put another in its stead meanwhile.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import floor, inf
from typing import Any, NoReturn, cast

from . import _checks, _live, _totals
from ._ambient import ambient, require_time
from ._clock import clock
from ._core.gcra import TICK, Place, Stage
from ._events import refused
from ._lease import Guard, Lease
from ._locks import let_go
from ._metrics import ERROR_TYPE, OUTCOME, POLICY_NAME, Instrument, Reading, declare
from ._policy import Shared
from ._rate import Rate, function_of, rates_of
from ._rate_meter import Meter
from ._rate_price import Priced, apriced, lease, priced
from ._telemetry import Waiting
from ._traits import Role, Traits
from ._waiters import ThreadWaiter, Waiter, task_waiter, warn_if_blocking
from .errors import OutOfTime, RateLimited, Rejected


@dataclass(frozen=True, slots=True)
class RateLimiterStats:
    """A rate limiter at one moment.

    Attributes:
        available: How many permits there are, of the rate that has the least; negative: a debt.
        waiting: How many callers wait.
        refused: How many calls were refused since the limiter was made; it never falls.
    """

    available: float
    waiting: int
    refused: int


class RateLimiter(Shared):
    """Let so many calls in per second; refuse the others and say when to come back, or let them wait their turn.

    In any stretch of `w` seconds, wherever it begins, at most `burst + limit * w / per` permits are taken, of each
    rate. One limiter counts threads, asyncio tasks and trio tasks together, over any number of event loops, and they
    wait in one queue: first in, first out, and no newcomer overtakes. State is per process.

    Args:
        rates: One or more numbers, or objects of `Rate`, which hold together:
            `RateLimiter(Rate(10), Rate(100, per=60))`.
        per: For rates given as numbers: in how many seconds (or a `timedelta`). Default 1.0.
        burst: For rates given as numbers: how many permits there are at once after a rest. Default: the number itself,
            or 1 where that is less.
        cost: Permits that a call takes: a number, or a function of the call's arguments that gives one. Default: 1.
            0 lets in whoever comes, as long as there is no debt; then `charge` what the answer says it was.
        max_wait: The longest that one call waits for its turn: seconds or a `timedelta`. Default 0.0: it is refused at
            once. `None`: as long as the deadline allows. Nobody waits whose turn cannot come in that time.
        name: What errors, events and telemetry call it.

    Raises:
        TypeError: A parameter is of the wrong kind, or no rate was given.
        ValueError: A parameter makes no sense, among them a `cost` above the burst.

    Example:
        ```python
        search = RateLimiter(10, name="search")

        @search
        def find(words): ...
        ```
    """

    __slots__ = ("_cost", "_fixed", "_law", "_max_wait", "_rates", "_totals", "meter")

    kind = "rate_limiter"

    def __init__(
        self,
        *rates: float | Rate,
        per: _checks.Seconds = 1.0,
        burst: float | None = None,
        cost: float | Callable[..., float] | None = None,
        max_wait: _checks.Seconds | None = 0.0,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self._adopt(rates_of(rates, per, burst))
        self._cost = function_of(cost)
        self._fixed: float | None = (
            None if self._cost else 1.0 if cost is None else _checks.number("cost", cost, least=0.0)
        )
        self._fits(self._rates)
        self._max_wait = inf if max_wait is None else _checks.seconds("max_wait", max_wait, zero=True)
        self.meter: Meter = Meter(rate.flow() for rate in self._rates)
        self._totals = _totals.Totals("refused")
        _totals.file(self, self._totals)
        _live.enrol(self)

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Wrap a plain function; most users want the decorator."""
        if self._cost is not None:
            return priced(self, self._cost, self._take, fn)
        limiter, cost, take, deadline = self, cast("float", self._fixed), self._take, ambient.get

        def call(*args: Any, **kwargs: Any) -> Any:
            meter = limiter.meter
            lock = meter.lock
            try:
                lock.acquire()  # not `with`: see `_locks`
                now = clock.now()  # inside the lock: who comes second must not bring the earlier time
                gauge = meter.door
                left = gauge.spent - (now - gauge.since) * gauge.speed
                spent = left + cost if left > 0.0 else cost
                free = spent <= gauge.burst and deadline() is None
                if free:
                    gauge.spent = spent
                    gauge.since = now
                    meter.total += cost
            except BaseException:
                let_go(lock)
                raise
            lock.release()
            if not free:
                take(meter, cost)
            result = fn(*args, **kwargs)
            return result

        return call

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        """Wrap a coroutine function; most users want the decorator."""
        if self._cost is not None:
            return apriced(self, self._cost, self._atake, fn)
        limiter, cost, take, deadline = self, cast("float", self._fixed), self._atake, ambient.get

        async def call(*args: Any, **kwargs: Any) -> Any:
            meter = limiter.meter
            lock = meter.lock
            try:
                lock.acquire()  # not `with`: see `_locks`
                now = clock.now()  # inside the lock: who comes second must not bring the earlier time
                gauge = meter.door
                left = gauge.spent - (now - gauge.since) * gauge.speed
                spent = left + cost if left > 0.0 else cost
                free = spent <= gauge.burst and deadline() is None
                if free:
                    gauge.spent = spent
                    gauge.since = now
                    meter.total += cost
            except BaseException:
                let_go(lock)
                raise
            lock.release()
            if not free:
                await take(meter, cost)
            result = await fn(*args, **kwargs)
            return result

        return call

    def traits(self) -> Traits:
        """What a pipeline needs to know about this policy."""
        limit = "as long as the deadline allows" if self._max_wait == inf else f"up to {self._max_wait:g} s"
        patience = f"waits {limit}" if self._max_wait else "refuses at once"
        return Traits(
            Role.RATE_LIMITER,
            f"rate limiter: at most {self._law}, {patience}",
            waits=self._max_wait,
            raises=(RateLimited, OutOfTime),
        )

    @property
    def rates(self) -> tuple[Rate, ...]:
        """The rates in force."""
        return self._rates

    @property
    def calm(self) -> bool:
        """See `Layer.calm`: every permit is there again, and nobody waits."""
        return self.meter.calm()

    @property
    def stats(self) -> RateLimiterStats:
        """How things stand at this moment."""
        return RateLimiterStats(*self.meter.figures(), self._totals.read()["refused"])

    def configure(self, *rates: float | Rate, per: _checks.Seconds = 1.0, burst: float | None = None) -> None:
        """Change the rates while it runs. It never blocks.

        Nothing is forgiven and nothing is given: what was left (or owed) is left, at most the new burst. Who waits
        keeps its turn; whoever's turn cannot come in time any more is refused at once. As many rates as before go on
        each from its predecessor, else each from the one that had the least left.

        Args:
            rates: As when it was made.
            per: As when it was made.
            burst: As when it was made.

        Raises:
            TypeError: A parameter is of the wrong kind, or no rate was given.
            ValueError: A parameter makes no sense; then nothing is changed.
        """
        new = rates_of(rates, per, burst)
        self._fits(new)
        self._adopt(new)
        self.meter.alter(rate.flow() for rate in new)

    def charge(self, permits: float) -> None:
        """Take permits afterwards, once it is known what a call has cost; what is not there becomes a debt.

        While there is a debt nobody is let in, so the rate holds in the long run, whatever a single answer cost.

        Args:
            permits: How many; 0 or more.

        Raises:
            TypeError: `permits` is no number.
            ValueError: It is negative, or not finite.
        """
        self.meter.debit(_checks.number("permits", permits, least=0.0))

    def admit(self, cost: float | None = None) -> Lease:
        """Take permits for a call that you make yourself. `release()` gives them back: nothing was called.

        Args:
            cost: How many permits. Default: the limiter's own `cost`, where that is a number.

        Raises:
            RateLimited: It is over the rate, and no waiting (so long) is allowed.
            OutOfTime: The deadline is past, or would be before its turn.
            TypeError: The limiter's `cost` is a function: then there are no arguments to ask it about.
        """
        meter, permits = self.meter, self._asked(cost)
        return lease(meter, permits, self._take(meter, permits))

    async def aadmit(self, cost: float | None = None) -> Lease:
        """Take permits, as `admit` does, without blocking the event loop."""
        meter, permits = self.meter, self._asked(cost)
        return lease(meter, permits, await self._atake(meter, permits))

    def guard(self, cost: float | None = None) -> Guard:
        """Guard a block: `with limiter.guard():` or `async with limiter.guard():`.

        Args:
            cost: How many permits. Default: the limiter's own `cost`, where that is a number.
        """
        return Guard(Priced(self, self._asked(cost)))

    def _take(self, meter: Meter, cost: float) -> float:
        """All but the free path: the deadline, the queue, the refusal. The mark of what was taken."""
        try:
            require_time(self.label)
            mark = meter.seize(cost)
            return self._wait(meter, cost) if mark is None else mark
        except Rejected:
            self._totals.add("refused")
            raise

    async def _atake(self, meter: Meter, cost: float) -> float:
        """The async twin of `_take`."""
        try:
            require_time(self.label)
            mark = meter.seize(cost)
            return await self._await(meter, cost) if mark is None else mark
        except Rejected:
            self._totals.add("refused")
            raise

    def _wait(self, meter: Meter, cost: float) -> float:
        ends, waiter = self._patience(meter, cost), ThreadWaiter()
        place = Place[Waiter](waiter, cost, ends)
        try:
            if not meter.enter(place):
                self._refuse(meter, cost)
            warn_if_blocking(self.label, "write 'await limiter.acall(...)' or 'async with limiter.guard():'")
            with Waiting("rate_limiter.wait", self.label, _WAIT):
                while (nap := self._nap(meter, place)) is not None:
                    waiter.wait(None if nap == inf else nap)
        except BaseException:
            meter.give_up(place)
            raise
        return place.mark

    async def _await(self, meter: Meter, cost: float) -> float:
        ends, waiter = self._patience(meter, cost), task_waiter()
        place = Place[Waiter](waiter, cost, ends)
        try:
            if not meter.enter(place):
                self._refuse(meter, cost)
            with Waiting("rate_limiter.wait", self.label, _WAIT):
                while (nap := self._nap(meter, place)) is not None:
                    await waiter.wait(None if nap == inf else nap)
        except BaseException:
            meter.give_up(place)
            raise
        return place.mark

    def _patience(self, meter: Meter, cost: float) -> float:
        """The last moment at which its turn may come: before the deadline, for at it there is no time left.

        Refuses where waiting is not allowed at all.
        """
        if not self._max_wait:
            self._refuse(meter, cost)
        deadline = ambient.get()
        ends = clock.now() + self._max_wait
        return ends if deadline is None else min(ends, deadline.expires - 2 * TICK)

    def _nap(self, meter: Meter, place: Place[Waiter]) -> float | None:
        """How long to sleep until the next look; `None` once it has its permits."""
        require_time(self.label)
        nap = meter.has(place)
        if place.stage is Stage.HOPELESS or (nap == 0.0 and clock.now() >= place.ends):
            meter.give_up(place)  # first, so that the refusal does not count it among those who wait
            self._refuse(meter, place.cost)
        return nap

    def _refuse(self, meter: Meter, cost: float) -> NoReturn:
        seconds, deadline = meter.seconds(cost), ambient.get()
        if seconds == inf:
            refusal: Rejected = RateLimited(
                self.label, None, f"a cost of {cost:g} is above the burst of {self._law}: it can never pass; split it"
            )
        elif (
            deadline is not None and seconds <= self._max_wait and clock.now() + seconds >= deadline.expires - 2 * TICK
        ):
            refusal = OutOfTime(self.label, seconds, f"its turn (at most {self._law}) would come after the deadline")
        else:
            wait = f"more than max_wait={self._max_wait:g} s; " if self._max_wait else ""
            advice = "send fewer calls, or let callers wait (longer) with max_wait="
            refusal = RateLimited(self.label, seconds, f"over the rate of {self._law}; {wait}{advice}")
        refused(self.label, refusal)
        try:
            raise refusal
        finally:
            del refusal  # its traceback refers to this frame: together they would keep the policy in use

    def _asked(self, cost: float | None) -> float:
        """What a block costs."""
        if cost is not None:
            return _checks.number("cost", cost, least=0.0)
        if self._fixed is None:
            raise TypeError(f"{self!r} asks a function for the cost, and a block has no arguments; say guard(cost=...)")
        return self._fixed

    def _adopt(self, rates: tuple[Rate, ...]) -> None:
        """Have these rates, and the words for them: refusing is what must stay cheap under overload."""
        self._rates = rates
        self._law = " and ".join(map(str, rates))

    def _fits(self, rates: tuple[Rate, ...]) -> None:
        """A cost that is always the same must be able to pass."""
        burst = min(rate.burst for rate in rates)
        if self._fixed is not None and self._fixed > burst:
            raise ValueError(f"cost must be at most the burst ({burst:g}), got {self._fixed:g}: it could never pass")

    def _shelve(self) -> Callable[[], None]:
        put_totals_back, shelved, rates = self._totals.shelve(), self.meter, self._rates
        self.meter = Meter(rate.flow() for rate in rates)

        def put_back() -> None:
            put_totals_back()
            self.meter = shelved
            self._adopt(rates)

        return put_back

    def _after_fork(self) -> None:
        self.meter.disown()


def _readings(figure: str) -> Callable[[], list[Reading]]:
    """One figure of every limiter there is."""
    return lambda: [
        (floor(getattr(one.stats, figure)), {POLICY_NAME: one.label}) for one in _live.living("rate_limiter")
    ]


_WAIT = declare(
    Instrument(
        "resilience.rate_limiter.wait.duration",
        "histogram",
        "s",
        "Time in the queue of a rate limiter, of those who had to wait",
        (POLICY_NAME, OUTCOME, ERROR_TYPE),
    )
)
for _name, _unit, _description, _figure in (
    ("resilience.rate_limiter.available", "{permit}", "Permits there are; below zero: a debt", "available"),
    ("resilience.rate_limiter.queue.usage", "{call}", "Callers that wait for their turn", "waiting"),
):
    declare(Instrument(_name, "up_down_counter", _unit, _description, (POLICY_NAME,), _readings(_figure)))
