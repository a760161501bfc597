"""`Chaos`: break calls on purpose, to see what holds.

It is off until it is started, and while it is off a call pays for one look. While it is on, each call has a number, and
its fate is a matter of the seed and that number alone: no state to lock, and the same seed breaks the same calls again,
in whichever threads they run. Of two runs with one seed, the higher rate breaks what the lower one broke, and more.

What it does stands for what the service would do: an injected latency is not cut short by a deadline that is only
announced, an injected fault is evidence to every policy outside.
"""

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import iscoroutinefunction
from itertools import count
from operator import itemgetter
from types import TracebackType
from typing import Any, Self, cast

from . import _checks, _live, _totals
from ._clock import clock
from ._core.windows import peek
from ._events import Injected, emit, logger
from ._metrics import POLICY_NAME, Instrument, declare
from ._policy import Shared
from ._standing_in import stands_in
from ._telemetry import described
from ._traits import Role, Traits
from ._waiters import warn_if_blocking

Fault = type[Exception] | Callable[[], Exception]
"""What `fault=` takes: an exception type, or a function that makes an exception."""

ChaosRate = float | Mapping[_checks.Seconds, float]
"""What `rate=` takes: a share of the calls, or shares by the second since the start from which each is in force."""

INJECTED = "resilience.chaos.injected"

_KINDS = ("fault", "latency", "result")
_UNTOUCHED = object()


@dataclass(frozen=True, slots=True)
class ChaosStats:
    """A chaos at one moment.

    Attributes:
        running: Whether it is on.
        seed: What decides which calls are broken; `None` while it is off.
        calls: How many calls it has decided about since it was started; 0 while it is off.
        injected: How many calls were broken since it was made; it never falls.
    """

    running: bool
    seed: int | None
    calls: int
    injected: int


class Chaos(Shared):
    """Break a share of the calls on purpose: with a fault, a latency, a result of its own.

    Off until it is started; it stands innermost, in the place of the service. State is per process.

    ```python
    chaos = Chaos(rate=0.1, fault=ConnectionError, latency=(0.1, 2.0))
    payments = Pipeline(retry(on=ConnectionError), chaos)

    with chaos:  # or chaos.start(), chaos.stop()
        ...
    ```

    Args:
        rate: The share of calls to break, from 0 to 1. Or a schedule: a mapping from the second (or `timedelta`) since
            the start to the rate from then on; before its first entry, none. `{60: 0.5, 120: 0.0}` breaks every other
            call of the second minute.
        fault: What they raise: an exception type, or a function without arguments that makes an exception. The
            function that is guarded is not called.
        latency: By how many seconds (or a `timedelta`) they are delayed, or a pair: somewhere between the two. With a
            fault or result, that comes after it.
        result: What they return, or a function that is given the call's own arguments and makes that. The function
            that is guarded is not called.
        when: A predicate of the call's own arguments: which calls may be broken at all. Default: all.
        seed: The same seed breaks the same calls, by their numbers since the start. Default: drawn anew at each start,
            and logged.
        name: What events and telemetry call it.

    Raises:
        TypeError: A parameter is of the wrong kind, nothing is to be injected, or both a fault and a result.
        ValueError: A parameter makes no sense.
    """

    __slots__ = ("_fault", "_latency", "_rates", "_result", "_seed", "_totals", "_when", "run")

    kind = "chaos"

    def __init__(
        self,
        *,
        rate: ChaosRate,
        fault: Fault | None = None,
        latency: _checks.Seconds | tuple[_checks.Seconds, _checks.Seconds] | None = None,
        result: object = None,
        when: Callable[..., bool] | None = None,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if fault is None and latency is None and result is None:
            raise TypeError("a Chaos needs something to inject: fault=, latency= or result=")
        if fault is not None and result is not None:
            raise TypeError("a call raises or returns: give fault= or result=, or make two Chaos")
        self._rates = _rates(rate)
        self._fault = None if fault is None else _maker(fault, self.label)
        self._latency = None if latency is None else _span(latency)
        self._result = None if result is None else _answer(result)
        self._when = None if when is None else _plain("when", when)
        self._seed = None if seed is None else _checks.whole("seed", seed, least=0)
        self.run: _Run | None = None
        self._totals = _totals.Totals(*_KINDS)
        _totals.file(self, self._totals)
        _live.enrol(self)

    @property
    def calm(self) -> bool:
        """Whether it is off."""
        return self.run is None

    def start(self) -> Self:
        """Begin to break calls; started again, it begins its schedule and its numbers anew."""
        run = _Run(int(clock.random() * 2**32) if self._seed is None else self._seed)
        self.run = run
        logger.warning("%s is on: it breaks calls on purpose, seed=%d", self.label, run.seed)
        return self

    def stop(self) -> None:
        """Break no more; harmless when it is off. What waits for a latency goes on waiting."""
        was_on, self.run = self.run is not None, None
        if was_on:
            logger.info("%s is off", self.label)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Wrap a plain function; most users want the decorator."""
        untouched, strike = _UNTOUCHED, self._strike

        def call(*args: Any, **kwargs: Any) -> Any:
            run = self.run
            result = untouched if run is None else strike(run, args, kwargs)
            if result is untouched:
                result = fn(*args, **kwargs)
            return result

        return call

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        """Wrap a coroutine function; most users want the decorator."""
        untouched, strike = _UNTOUCHED, self._astrike

        async def call(*args: Any, **kwargs: Any) -> Any:
            run = self.run
            result = untouched if run is None else await strike(run, args, kwargs)
            if result is untouched:
                result = await fn(*args, **kwargs)
            return result

        return call

    def traits(self) -> Traits:
        """What a pipeline needs to know about this policy.

        A latency is no wait of its own: it stands for the function's own duration.
        """
        what = [kind for kind in _KINDS if getattr(self, f"_{kind}") is not None]
        shares = ", ".join(f"{rate:.4g}" + (f" from {since:g} s on" if since else "") for since, rate in self._rates)
        return Traits(Role.CHAOS, f"chaos: while it is on, injects {' and '.join(what)}, at a rate of {shares}")

    @property
    def stats(self) -> ChaosStats:
        """How things stand at this moment."""
        run, injected = self.run, sum(self._totals.read().values())
        seed, calls = (None, 0) if run is None else (run.seed, peek(run.numbers))
        return ChaosStats(run is not None, seed, calls, injected)

    def _strike(self, run: "_Run", args: Any, kwargs: Any) -> Any:
        """Break a call, if that is its fate."""
        blow = self._fate(run, args, kwargs)
        if blow.latency:
            warn_if_blocking(self.label, "guard a coroutine function, where an injected latency is awaited")
            clock.sleep(blow.latency)
        return blow.land()

    async def _astrike(self, run: "_Run", args: Any, kwargs: Any) -> Any:
        """The async twin of `_strike`."""
        blow = self._fate(run, args, kwargs)
        if blow.latency:
            await clock.asleep(blow.latency)
        return blow.land()

    def _fate(self, run: "_Run", args: Any, kwargs: Any) -> "_Blow":
        """What happens to the next call."""
        if self._when is not None and not self._when(*args, **kwargs):
            return _Blow()
        number = next(run.numbers)
        if _roll(run.seed, 2 * number) >= self._rate_at(clock.now() - run.began):
            return _Blow()
        latency = 0.0 if self._latency is None else _between(*self._latency, _roll(run.seed, 2 * number + 1))
        if self._fault is not None:
            blow = _Blow("fault", latency, error=self._fault())
        elif self._result is not None:
            blow = _Blow("result", latency, result=self._result(*args, **kwargs))
            stands_in()
        else:
            blow = _Blow("latency", latency)
        self._tell(blow)
        return blow

    def _tell(self, blow: "_Blow") -> None:
        self._totals.add(blow.kind)
        event = Injected(self.label, blow.kind, blow.latency, blow.error)
        described(lambda: {INJECTED: event.kind}, partial(emit, event))()

    def _rate_at(self, elapsed: float) -> float:
        entry = bisect_right(self._rates, elapsed, key=itemgetter(0)) - 1
        return self._rates[entry][1] if entry >= 0 else 0.0

    def _shelve(self) -> Callable[[], None]:
        put_totals_back, shelved = self._totals.shelve(), self.run
        self.run = None

        def put_back() -> None:
            put_totals_back()
            self.run = shelved

        return put_back

    def _after_fork(self) -> None:
        """Nothing is to be done: there is no lock, and the child goes on where it was."""


class _Run:
    """A chaos from a start to its end: read once per call, so that a stop or a new start changes no call under way."""

    __slots__ = ("began", "numbers", "seed")

    def __init__(self, seed: int) -> None:
        self.seed: int = seed
        self.began: float = clock.now()
        self.numbers: count[int] = count()


@dataclass(slots=True)
class _Blow:
    """What is injected into one call: by default nothing."""

    kind: str = "nothing"
    latency: float = 0.0
    error: Exception | None = None
    result: object = _UNTOUCHED

    def land(self) -> Any:
        """Raise or return it."""
        error, self.error = self.error, None
        if error is None:
            return self.result
        try:
            raise error
        finally:
            del error  # this frame is in the traceback of the error: do not let it hold the error


def _roll(seed: int, number: int) -> float:
    """A number evenly spread over [0, 1), a matter of both arguments alone.

    It is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014), entered anywhere.
    """
    word = (seed + (number + 1) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    word = ((word ^ word >> 30) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    word = ((word ^ word >> 27) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return ((word ^ word >> 31) >> 11) / 2**53


def _between(low: float, high: float, roll: float) -> float:
    return low + (high - low) * roll


def _rates(rate: object) -> tuple[tuple[float, float], ...]:
    """From which second on which rate is in force."""
    if not isinstance(rate, Mapping):
        if isinstance(rate, bool) or not isinstance(rate, int | float):
            raise TypeError(
                "rate must be a number from 0 to 1, or a mapping of seconds to such numbers, got "
                f"{rate!r} ({type(rate).__name__})"
            )
        return ((0.0, _checks.number("rate", rate, least=0.0, most=1.0)),)
    if not rate:
        raise ValueError("rate must not be an empty schedule; a rate that is always the same is a number")
    entries = sorted(
        (_checks.seconds("rate's seconds", since, zero=True), _checks.number("each rate", share, least=0.0, most=1.0))
        for since, share in cast("Mapping[object, object]", rate).items()
    )
    if len({since for since, _ in entries}) < len(entries):
        raise ValueError(f"rate has two entries for one second, {rate!r}; leave one out")
    return tuple(entries)


def _span(latency: object) -> tuple[float, float]:
    if not isinstance(latency, tuple):
        try:
            seconds = _checks.seconds("latency", latency)
        except TypeError:
            raise TypeError(
                "latency must be seconds (a number or a timedelta), or a pair of them, a tuple of the least and the "
                f"most, got {latency!r} ({type(latency).__name__})"
            ) from None
        return seconds, seconds
    pair = cast("tuple[object, ...]", latency)
    if len(pair) != 2:  # noqa: PLR2004 - a pair
        raise ValueError(f"latency must be seconds or a pair of them, the least and the most, got {latency!r}")
    low, high = _checks.seconds("latency", pair[0], zero=True), _checks.seconds("latency", pair[1])
    if low > high:
        raise ValueError(f"latency must name the least first and the most second, got {latency!r}")
    return low, high


def _maker(fault: object, label: str) -> Callable[[], Exception]:
    """A function that makes a new exception for each call: one that all share would grow a traceback with each."""
    if isinstance(fault, BaseException):
        raise TypeError(
            f"fault must be an exception type or a function that makes an exception, got {fault!r}, which all calls "
            f"would share; write fault=lambda: {fault!r}"
        )
    if isinstance(fault, type):
        return _maker_of(cast("type[Any]", fault), f"injected by {label}")
    make = _plain("fault", fault, "an exception type or a function that makes an exception")

    def made() -> Exception:
        error = make()
        if not isinstance(error, Exception):
            raise TypeError(f"fault={make!r} must return an exception, and returned {error!r}")
        return error

    return made


def _maker_of(kind: type[Any], text: str) -> Callable[[], Exception]:
    if not issubclass(kind, Exception):
        raise TypeError(f"fault must be a type of Exception, got {kind.__name__}: no service raises that")
    try:
        kind(text)
    except Exception:  # noqa: BLE001 - it is the user's class
        raise TypeError(
            f"fault={kind.__name__} cannot be made of a text alone; give a function: fault=lambda: {kind.__name__}(...)"
        ) from None
    return lambda: kind(text)


def _answer(result: object) -> Callable[..., Any]:
    if callable(result):
        return _plain("result", result)
    try:
        hash(result)
    except TypeError:
        raise ValueError(
            f"the result {result!r} is mutable, and all calls would share it; give a function that makes a new one: "
            f"result=lambda *args, **kwargs: {result!r}"
        ) from None
    return lambda *_, **__: result


def _plain(name: str, function: object, allowed: str = "a function") -> Callable[..., Any]:
    if not callable(function):
        raise TypeError(f"{name} must be {allowed}, got {function!r}")
    if iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__):
        raise TypeError(f"{name} must be a plain function, got the coroutine function {function!r}")
    return function


declare(
    Instrument(
        "resilience.chaos.injections",
        "counter",
        "{call}",
        "Calls that a chaos broke on purpose",
        (POLICY_NAME, INJECTED),
        lambda: [
            (value, {POLICY_NAME: label, INJECTED: kind})
            for label, totals in _totals.totals_of("chaos").items()
            for kind, value in totals.items()
        ],
    )
)
