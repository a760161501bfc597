"""`CircuitBreaker`: stop calling what fails, and find out gently when it is well again.

The machine in `_core.breaker` decides; here is what it must not know: the lock, the clock, chance, the user's
predicates, the listeners, and two short shells. A call that succeeds while the breaker is closed takes no lock, and no
code of the user's (predicates, listeners, the call itself) runs under one. Of other policies it knows nothing: what
they refuse reaches it as a `Rejected`, which is no evidence about any service.
"""

import threading
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from math import inf
from typing import Any, Unpack

from . import _checks, _totals
from ._breaking import COUNTED, STATE, BreakerOptions, BreakerStats, Rule, announce, checked, stats_of
from ._clock import clock
from ._core.breaker import Circuit, Refusal
from ._core.period import Period
from ._core.saved import pack, unpack
from ._core.states import Cause, Outcome
from ._events import StateChanged, WouldOpen, refused
from ._evidence import described, judged
from ._lease import Ending, Guard, Lease
from ._live import enrol
from ._matching import On, Predicate
from ._outbox import Outbox
from ._policy import Shared
from ._results import COROUTINE, refuse_coroutine
from ._traits import Role, Traits
from .errors import CircuitOpen


class CircuitBreaker(Shared):
    """Stops calling a service that fails, and lets a few probes find out when it is well again.

    Five failures in a row are a rule for low traffic. Under load some calls always succeed, and a hiccup of
    milliseconds can fail five: say `trip=FailureRate(0.5, seconds=10)`. A tuple of rules is for traffic that is both.

    Closed, it lets every call through and counts. When a rule is met it opens, and refuses every call for
    `cooldown * (1 + jitter * U[0, 1))` seconds, so that a fleet does not come back in step. The next call then makes it
    half open: `probes` calls are let through; if all succeed it closes; the first that fails or is slow opens it again.

    A call counts only in the period that let it in: what comes back after the state has changed changes nothing. An
    error that `on` does not match says nothing about the service; it is neither failure nor success, so a probe that
    ends so leaves its place to another (a service is not called well on no evidence). So do a cancellation, a coroutine
    nobody awaited, and a `Rejected` of another policy, unless `on` names it.

    Args:
        name: What errors, events and telemetry call it. Share one breaker per name.
        trip: What opens it: so many failures in a row (default 5), a `FailureRate`, a `SlowRate`, or a tuple, any of
            which does.
        cooldown: How long it stays open, in seconds (a number or `timedelta`). Default 60.
        on: Which errors are failures: exception types, predicates, or a tuple of both. Default `Exception`.
        ignore: Which of them are not; it beats `on`. Default none.
        on_result: A predicate: a result it says yes to is a failure, and is returned all the same. Default none.
        probes: How many calls test the service before it closes, in all and at once. Default 1.
        probe_lease: How long a probe may take, in seconds, before its place is given to another and its outcome means
            nothing. Default: the cooldown.
        jitter: How much of the cooldown chance may add: 0 adds nothing, 1 up to doubles it. Default 0.1.
        max_cooldown: The cooldown doubles each time it opens again without having closed, up to this many seconds; the
            jitter is added on top. Default `None`: it does not grow.
        ramp: After it closes, the share of calls let in grows evenly from 10 % to all over this many seconds; the rest
            is refused. Default `None`: all at once.

    Raises:
        TypeError: A parameter is of the wrong kind.
        ValueError: A parameter is out of its range.

    Example:
        ```python
        payments = CircuitBreaker("payments", on=(OSError, TimeoutError))

        @payments
        def charge(order): ...
        ```
    """

    __slots__ = ("_circuit", "_given", "_lock", "_outbox", "_totals")

    kind = "circuit_breaker"

    def __init__(
        self,
        name: str | None = None,
        *,
        trip: Rule | tuple[Rule, ...] = 5,
        cooldown: _checks.Seconds = 60.0,
        on: On = Exception,
        ignore: On = (),
        on_result: Predicate | None = None,
        probes: int = 1,
        probe_lease: _checks.Seconds | None = None,
        jitter: float = 0.1,
        max_cooldown: _checks.Seconds | None = None,
        ramp: _checks.Seconds | None = None,
    ) -> None:
        super().__init__(name)
        self._given = BreakerOptions(
            trip=trip, cooldown=cooldown, on=on, ignore=ignore, on_result=on_result, probes=probes,
            probe_lease=probe_lease, jitter=jitter, max_cooldown=max_cooldown, ramp=ramp,
        )  # fmt: skip
        self._totals = _totals.Totals(*COUNTED)
        self._outbox: Outbox[StateChanged | WouldOpen] = Outbox()
        self._circuit = Circuit(checked(**self._given), self._totals.add, partial(announce, self._outbox, self.label))
        self._lock = threading.Lock()
        _totals.file(self, self._totals)
        enrol(self)

    # The shells

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """See `Policy.bind`."""
        circuit, admit, settle, fail = self._circuit, self._admit, self._settle, self._fail

        def call(*args: Any, **kwargs: Any) -> Any:
            period = circuit.period
            if period.special:
                period = admit()
            started = clock.now() if period.timed else 0.0
            try:
                result = fn(*args, **kwargs)
                if type(result) is COROUTINE:
                    refuse_coroutine(result)
            except BaseException as error:
                fail(period, error, started)
                raise
            if period.counts:
                if period.plain or (
                    (now := clock.now()) < period.edge and not (period.timed and now - started > period.slow_after)
                ):
                    next(period.calls)
                else:
                    settle(period, result, started)
            return result

        return call

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        """See `Policy.abind`."""
        circuit, admit, settle, fail = self._circuit, self._admit, self._settle, self._fail

        async def call(*args: Any, **kwargs: Any) -> Any:
            period = circuit.period
            if period.special:
                period = admit()
            started = clock.now() if period.timed else 0.0
            try:
                result = await fn(*args, **kwargs)
            except BaseException as error:
                fail(period, error, started)
                raise
            if period.counts:
                if period.plain or (
                    (now := clock.now()) < period.edge and not (period.timed and now - started > period.slow_after)
                ):
                    next(period.calls)
                else:
                    settle(period, result, started)
            return result

        return call

    def admit(self) -> Lease:
        """Let a call in, in two steps: say on the lease how it ended.

        A probe's lease expires after `probe_lease`; any other may be held for as long as it takes.

        Raises:
            CircuitOpen: The call is not let in.
        """
        period = self._circuit.period
        if period.special:
            period = self._admit()
        return Lease(partial(self._end, period, clock.now()))

    async def aadmit(self) -> Lease:
        """The same as `admit`: a breaker never waits."""
        return self.admit()

    def guard(self) -> Guard:
        """Guard a block: `with breaker.guard():` or `async with breaker.guard():`."""
        return Guard(self)

    # What it tells

    @property
    def state(self) -> str:
        """The state now: "closed", "open", "half_open", "isolated", "disabled" or "dry_run".

        It is computed from the clock: a breaker whose cooldown is over is "half_open", also before a call comes.
        """
        return self._circuit.state(clock.now()).value

    @property
    def calm(self) -> bool:
        """See `Layer.calm`: closed, and nothing counts against it."""
        with self._lock:
            return self._circuit.calm(clock.now())

    @property
    def stats(self) -> BreakerStats:
        """All figures, as of now."""
        with self._lock:
            return stats_of(self._circuit, self._totals.read(), clock.now())

    def traits(self) -> Traits:
        """See `Policy.traits`."""
        options = self._circuit.options
        return Traits(
            Role.CIRCUIT_BREAKER,
            f"circuit breaker: opens when {options.rules()}; "
            f"stays open {_span(options.cooldown, options.longest_wait)}, then "
            f"{options.probes} probe{'s decide' if options.probes > 1 else ' decides'}",
            raises=(CircuitOpen,),
            handles=options.on,
            lease=options.lease,
        )

    def span_attributes(self) -> Mapping[str, str]:
        """See `Layer.span_attributes`."""
        return {STATE: self.state}

    # Verbs

    def isolate(self, reason: str = "") -> None:
        """Refuse every call until `reset`; no timer ends it.

        Args:
            reason: What the refusals say.
        """
        self._force(Cause.ISOLATE, reason if reason == "" else _checks.text("reason", reason))

    def disable(self) -> None:
        """Let every call through and record nothing, until `reset`."""
        self._force(Cause.DISABLE, "disable() was called")

    def dry_run(self) -> None:
        """Let every call through and count, until `reset`; a `WouldOpen` event says where it would have opened.

        After each, nothing is counted for as long as it would have stayed open.
        """
        self._force(Cause.DRY_RUN, "dry_run() was called")

    def reset(self) -> None:
        """Close, and forget every outcome. Calls under way change nothing any more."""
        self._force(Cause.RESET, "reset() was called")

    def configure(self, **changes: Unpack[BreakerOptions]) -> None:
        """Change options while calls are under way.

        Those calls are judged by the options they started with. Counts are kept, but for rate rules that are new;
        a breaker that is open stays so for the time it had left.

        Args:
            **changes: Any option of the constructor but `name`.

        Raises:
            TypeError: There is no such option, or its value is of the wrong kind.
            ValueError: A value is out of its range; nothing has changed then.
        """
        if unknown := changes.keys() - self._given.keys():
            raise TypeError(f"configure takes {', '.join(self._given)}; got {', '.join(sorted(unknown))}")
        while not self._changed(self._given, changes):
            pass  # another thread changed something meanwhile: begin again from there
        self._outbox.tell()

    def snapshot(self) -> dict[str, Any]:
        """The state as plain data that JSON can hold, for `restore` elsewhere: wall-clock times, no windows."""
        with self._lock:
            saved = self._circuit.save(clock.now(), wall := clock.wall())
        return pack(self.name, saved, wall)

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot.

        An open breaker keeps the wait it had left, but never more than its own configuration allows, however the clocks
        differ. A half-open one begins its probes anew.

        Args:
            snapshot: What `snapshot` returned, in this process or another.

        Raises:
            ValueError: It is something else; nothing has changed then.
        """
        saved = unpack(snapshot)
        with self._lock:
            self._circuit.restore(saved, clock.now(), clock.wall())
        self._outbox.tell()

    # Inside

    def _changed(self, before: BreakerOptions, changes: BreakerOptions) -> bool:
        after = before.copy()
        after.update(changes)
        options = checked(**after)  # it may look into the user's functions, so not under the lock
        with self._lock:
            if self._given is not before:
                return False
            self._circuit.configure(options, clock.now())
            self._given = after
        return True

    def _admit(self) -> Period:
        """Let a call in that must ask: anything but closed and calm.

        Raises:
            CircuitOpen: The call is not let in.
        """
        circuit, now = self._circuit, clock.now()
        period = circuit.period
        if now < period.until:  # the usual refusal: nothing is decided, so it needs no lock
            raise self._refused(period.refusal, period.until - now)
        with self._lock:
            verdict = circuit.admit(now)
        self._outbox.tell()
        if isinstance(verdict, Refusal):
            raise self._refused(verdict.reason, verdict.retry_after)
        return verdict

    def _refused(self, reason: str, wait: float) -> CircuitOpen:
        self._totals.add("refused")
        error = CircuitOpen(self.label, None if wait == inf else wait, reason)
        refused(self.label, error)
        return error

    def _settle(self, admitted: Period, result: object, started: float) -> None:
        """Take note of a result that must be looked at, or of a success that needs the lock."""
        judge = admitted.options.judge
        try:
            bad = judge is not None and judge(result)
        except BaseException:
            self._record(admitted, Outcome.IGNORED, started)
            raise
        if bad:
            text = f"a {type(result).__name__} that {getattr(judge, '__name__', 'on_result')} calls a failure"
            self._record(admitted, Outcome.FAILURE, started, text)
        else:
            self._succeed(admitted, started)

    def _succeed(self, admitted: Period, started: float) -> None:
        if not admitted.count_quickly(clock.now(), started):
            self._record(admitted, Outcome.SUCCESS, started)

    def _fail(self, admitted: Period, error: BaseException, started: float) -> None:
        """Take note of a call that raised. If judging it raises, the call ends with that, and has taught us nothing."""
        if admitted.book is None:  # nothing is recorded, so nobody needs to be asked
            return
        try:
            outcome = judged(error, admitted.options.on, admitted.options.ignore)
        except BaseException:
            self._record(admitted, Outcome.IGNORED, started)
            raise
        self._record(admitted, outcome, started, described(error) if outcome is Outcome.FAILURE else "")

    def _end(self, admitted: Period, started: float, ending: Ending, error: BaseException | None) -> None:
        """Take note of how the holder of a lease says it ended."""
        if admitted.book is None:
            return
        if error is not None:
            self._fail(admitted, error, started)
        elif ending is Ending.FAILURE:
            self._record(admitted, Outcome.FAILURE, started, "reported without an error")
        elif ending is Ending.RELEASED:
            self._record(admitted, Outcome.IGNORED, started)
        else:
            self._succeed(admitted, started)

    def _record(self, admitted: Period, outcome: Outcome, started: float, text: str = "") -> None:
        now, roll = clock.now(), clock.random()
        with self._lock:
            self._circuit.record(admitted, outcome, now=now, started=started, roll=roll, text=text)
        self._outbox.tell()

    def _force(self, verb: Cause, reason: str) -> None:
        with self._lock:
            self._circuit.force(verb, reason)
        self._outbox.tell()

    def _shelve(self) -> Callable[[], None]:
        with self._lock:
            given, put_totals_back, put_circuit_back = self._given, self._totals.shelve(), self._circuit.shelve()

        def put_back() -> None:
            with self._lock:
                put_totals_back()
                put_circuit_back()
                self._given = given

        return put_back

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._outbox.after_fork()
        self._circuit.orphan()


def _span(least: float, most: float) -> str:
    return f"{least:g} s" if least == most else f"{least:g} to {most:g} s"
