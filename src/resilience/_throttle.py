"""`AdaptiveThrottle`: send a service no more than it takes, and what matters least not at all.

The thinking is in `_core.throttle`; here are the lock, the options, the judging of outcomes and the two shells. A call
is counted when it asks to be let in, and as accepted until it fails: so a success costs nothing once it is there.

All that is mutable is in one `_Gauge`, read once per call, so that what a call says in the end is said to the counts
that let it in, even if a fork or a sandbox has put others in their stead meanwhile.
"""

import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from . import _checks, _live, _totals
from ._ambient import ambient, require_time
from ._clock import clock
from ._core.states import Outcome
from ._core.throttle import Part, Throttle
from ._events import refused
from ._evidence import judged
from ._lease import Ending, Guard, Lease
from ._locks import let_go
from ._matching import Matcher, On, Predicate
from ._metrics import POLICY_NAME, Instrument, Reading, declare
from ._policy import Shared
from ._priority import LEVELS, level_now
from ._results import refuse_coroutine, values
from ._traits import Role, Traits
from .errors import OutOfTime, Throttled


@dataclass(frozen=True, slots=True)
class ThrottleStats:
    """A throttle at one moment.

    Attributes:
        asked: How many calls were asked for within the window, also those refused here.
        accepted: How many of them were let in and have not failed.
        refusing: The share of calls that are refused now, from 0 to `most`.
        refused: How many calls were refused since the throttle was made; it never falls.
    """

    asked: int
    accepted: int
    refusing: float
    refused: int


class AdaptiveThrottle(Shared):
    """Refuse here what the service would refuse there, at the rate at which it does.

    A service that is overloaded spends what it has left on refusing. As soon as less than one in `k` calls of the last
    `window` is accepted, the throttle refuses a share of them itself, more the fewer are accepted, and never all: what
    still gets through finds out when the service is well again. The least important go first, see `priority`. State is
    per process.

    Args:
        k: How many times what is accepted may be asked for; at least 1. Default 2.0, the SRE book's: half of the calls
            may fail before one is refused. Less is stricter.
        window: The seconds (or a `timedelta`) that count; longer than nearly every call takes. Default 120.0.
        minimum: The fewest calls in the window by which anything is judged. Default 10.
        most: The largest share that is refused, below 1. Default 0.9.
        on: Which exceptions mean that the service did not accept. Default `Exception`.
        ignore: Which of them say nothing about it.
        on_result: Which results mean it.
        name: What errors, events and telemetry call it.

    Raises:
        TypeError: A parameter is of the wrong kind.
        ValueError: A parameter makes no sense.

    Example:
        ```python
        search = AdaptiveThrottle(name="search")

        @search
        def find(words): ...
        ```
    """

    __slots__ = ("_ignore", "_judge", "_k", "_on", "_options", "_totals", "gauge")

    kind = "throttle"

    def __init__(
        self,
        *,
        k: float = 2.0,
        window: _checks.Seconds = 120.0,
        minimum: int = 10,
        most: float = 0.9,
        on: On = Exception,
        ignore: On = (),
        on_result: Predicate | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self._options = (
            _checks.number("k", k, least=1.0),
            _checks.seconds("window", window),
            _checks.whole("minimum", minimum),
            _share("most", most),
        )
        self._on = Matcher("on", on, required=on_result is None)
        self._ignore = Matcher("ignore", ignore, required=False)
        self._judge = None if on_result is None else _checks.takes_one("on_result", on_result)
        self.gauge: _Gauge = _Gauge(Throttle(*self._options))
        self._totals = _totals.Totals("refused")
        _totals.file(self, self._totals)
        _live.enrol(self)

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Wrap a plain function; most users want the decorator."""
        throttle, label, deadline, refuse = self, self.label, ambient.get, self._refuse
        failed, judge, returned = self._failed, self._judge, self._returned

        def call(*args: Any, **kwargs: Any) -> Any:
            if deadline() is not None:
                require_time(label)
            gauge, level = throttle.gauge, level_now()
            part = gauge.ask(level)
            if part is None:
                refuse(gauge, level)
            try:
                result = fn(*args, **kwargs)
                if type(result) not in values:
                    refuse_coroutine(result)
            except BaseException as error:
                failed((gauge, part, level), error)
                raise
            if judge is not None:
                returned((gauge, part, level), result)
            return result

        return call

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        """Wrap a coroutine function; most users want the decorator."""
        throttle, label, deadline, refuse = self, self.label, ambient.get, self._refuse
        failed, judge, returned = self._failed, self._judge, self._returned

        async def call(*args: Any, **kwargs: Any) -> Any:
            if deadline() is not None:
                require_time(label)
            gauge, level = throttle.gauge, level_now()
            part = gauge.ask(level)
            if part is None:
                refuse(gauge, level)
            try:
                result = await fn(*args, **kwargs)
            except BaseException as error:
                failed((gauge, part, level), error)
                raise
            if judge is not None:
                returned((gauge, part, level), result)
            return result

        return call

    def admit(self) -> Lease:
        """Let a call in, in two steps: say on the lease how it ended.

        Raises:
            Throttled: The call is not let in.
            OutOfTime: The deadline is past.
        """
        return Lease(partial(self._end, self._enter()))

    async def aadmit(self) -> Lease:
        """The same as `admit`: a throttle never waits."""
        return self.admit()

    def guard(self) -> Guard:
        """Guard a block: `with throttle.guard():` or `async with throttle.guard():`."""
        return Guard(self)

    def traits(self) -> Traits:
        """What a pipeline needs to know about this policy."""
        k, window, _, most = self._options
        return Traits(
            Role.THROTTLE,
            f"throttle: refuses what goes beyond {k:g} times what was accepted in {window:g} s, at most {most:.0%}",
            raises=(Throttled, OutOfTime),
            handles=self._on,
        )

    @property
    def stats(self) -> ThrottleStats:
        """How things stand at this moment."""
        return ThrottleStats(*self.gauge.figures(), self._totals.read()["refused"])

    @property
    def calm(self) -> bool:
        """Whether every call within the window was accepted."""
        asked, accepted, _ = self.gauge.figures()
        return asked == accepted

    def _enter(self) -> "_Entry":
        """Ask to be let in."""
        if ambient.get() is not None:
            require_time(self.label)
        gauge, level = self.gauge, level_now()
        part = gauge.ask(level)
        if part is None:
            self._refuse(gauge, level)
        return gauge, part, level

    def _refuse(self, gauge: "_Gauge", level: int) -> None:
        self._totals.add("refused")
        asked, accepted, refusing = gauge.figures()
        refusal = Throttled(
            self.label,
            None,
            f"the service accepted {accepted} of {asked} calls within {self._options[1]:g} s, so {refusing:.0%} are "
            f"not sent; this one was of {LEVELS[level]} priority",
        )
        refused(self.label, refusal)
        raise refusal

    def _failed(self, entry: "_Entry", error: BaseException) -> None:
        """Take note of a call that raised. If judging it raises, the call ends with that, and has taught us nothing."""
        gauge, part, level = entry
        try:
            outcome = judged(error, self._on, self._ignore)
        except BaseException:
            gauge.retract(part, level)
            raise
        if outcome is Outcome.FAILURE:
            gauge.fail(part)
        else:
            gauge.retract(part, level)

    def _returned(self, entry: "_Entry", result: object) -> None:
        """Take note of a result that must be looked at."""
        gauge, part, level = entry
        try:
            bad = self._judge is not None and self._judge(result)
        except BaseException:
            gauge.retract(part, level)
            raise
        if bad:
            gauge.fail(part)

    def _end(self, entry: "_Entry", ending: Ending, error: BaseException | None) -> None:
        """Take note of how the holder of a lease says it ended."""
        gauge, part, level = entry
        if error is not None:
            self._failed(entry, error)
        elif ending is Ending.FAILURE:
            gauge.fail(part)
        elif ending is Ending.RELEASED:
            gauge.retract(part, level)

    def _shelve(self) -> Callable[[], None]:
        put_totals_back, shelved = self._totals.shelve(), self.gauge
        self.gauge = _Gauge(Throttle(*self._options))

        def put_back() -> None:
            put_totals_back()
            self.gauge = shelved

        return put_back

    def _after_fork(self) -> None:
        self.gauge.disown()


class _Gauge:
    """The counts of one throttle for one stretch of its life, with the lock that they ask for."""

    __slots__ = ("_counts", "_lock")

    def __init__(self, counts: Throttle) -> None:
        self._counts = counts
        # A lock that its own thread may take again: a lease may also be ended in a finalizer or a signal handler.
        self._lock = threading.RLock()

    def ask(self, level: int) -> Part | None:
        """Count a call; `None`: it is refused."""
        lock = self._lock
        try:
            lock.acquire()  # not `with`: see `_locks`
            part = self._counts.ask(level, clock.random, clock.now())
        except BaseException:
            let_go(lock)
            raise
        lock.release()
        return part

    def fail(self, part: Part) -> None:
        """A call was not accepted."""
        with self._lock:
            self._counts.fail(part)

    def retract(self, part: Part, level: int) -> None:
        """A call says nothing."""
        with self._lock:
            self._counts.retract(part, level)

    def figures(self) -> tuple[int, int, float]:
        """Asked, accepted, and the share that is refused, at one moment."""
        with self._lock:
            now = clock.now()
            return self._counts.asked(now), self._counts.accepted, self._counts.refusing(now)

    def disown(self) -> None:
        """In a forked child: a lock of its own."""
        self._lock = threading.RLock()


_Entry = tuple[_Gauge, Any, int]  # the counts that let a call in, the part of the window, its level


def _share(name: str, value: float) -> float:
    found = _checks.number(name, value, least=0.0)
    if found >= 1.0:
        raise ValueError(
            f"{name} must be below 1, got {value!r}: where nothing gets through, nobody finds out that the service is "
            "well again"
        )
    return found


def _readings(figure: str) -> Callable[[], list[Reading]]:
    """One figure of every throttle there is."""
    return lambda: [(getattr(one.stats, figure), {POLICY_NAME: one.label}) for one in _live.living("throttle")]


for _name, _description, _figure in (
    ("resilience.throttle.asked", "Calls asked for within the window of a throttle", "asked"),
    ("resilience.throttle.accepted", "Calls within the window that were let in and have not failed", "accepted"),
):
    declare(Instrument(_name, "up_down_counter", "{call}", _description, (POLICY_NAME,), _readings(_figure)))
