"""What goes into a `CircuitBreaker` and what comes out of it: its options, checked, its figures, news, metrics.

Kept apart from the policy so that each can be read alone. Nothing here runs while a call does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

from . import _checks
from ._core.breaker import Change, Circuit, News, WouldHaveOpened
from ._core.period import Options
from ._core.states import Outcome, State
from ._core.windows import Rate
from ._events import StateChanged, WouldOpen
from ._live import living
from ._matching import Matcher, On, Predicate
from ._metrics import POLICY_NAME, Instrument, Reading, declare
from ._outbox import Outbox
from ._rates import FailureRate, SlowRate
from ._totals import totals_of

VERDICTS = (Outcome.FAILURE, Outcome.SLOW, Outcome.IGNORED, Outcome.CANCELLED)
"""How a call that was let in can end, but for a plain success, which is not counted."""

COUNTED = (*VERDICTS, *State, "refused")
"""What a breaker keeps running totals of: verdicts, states entered, refusals."""

STATE = "resilience.circuit_breaker.state"
VERDICT = "resilience.circuit_breaker.verdict"

Rule = int | FailureRate | SlowRate
"""One thing that opens a breaker: so many failures in a row, or a rate."""


class BreakerOptions(TypedDict, total=False):
    """What `CircuitBreaker.configure` can change; the meanings are the constructor's."""

    trip: Rule | tuple[Rule, ...]
    cooldown: _checks.Seconds
    on: On
    ignore: On
    on_result: Predicate | None
    probes: int
    probe_lease: _checks.Seconds | None
    jitter: float
    max_cooldown: _checks.Seconds | None
    ramp: _checks.Seconds | None


@dataclass(frozen=True, slots=True)
class WindowStats:
    """What one rate rule sees now.

    Attributes:
        rule: The rule, a `FailureRate` or `SlowRate`.
        calls: Calls in its window.
        bad: How many of them failed, or were slow, whichever the rule is about.
    """

    rule: Rate
    calls: int
    bad: int

    @property
    def rate(self) -> float | None:
        """The share of bad calls; `None` while the window holds fewer calls than the rule's minimum."""
        return self.bad / self.calls if self.calls >= self.rule.minimum else None


@dataclass(frozen=True, slots=True)
class BreakerStats:
    """A circuit breaker at one moment.

    Every call that was let in ends as exactly one of success, failure, slow, ignored and cancelled. Successes are not
    counted in all, because a breaker that is closed and calm writes nothing when a call succeeds; the windows know how
    many calls they hold. The totals count from the making of the breaker and never fall.

    Attributes:
        state: The state, as `CircuitBreaker.state`.
        failures_in_row: Failures since the last success.
        windows: What each rate rule sees.
        retry_after: Seconds until the next call can be let in; `None` unless it is open.
        failures: Calls that failed, and were not slow.
        slow: Calls that a `SlowRate` calls slow, whether they succeeded or failed.
        ignored: Calls that say nothing about the service: unmatched or ignored errors, refusals, leases given back.
        cancelled: Calls that were cancelled or interrupted.
        refused: Calls that were not let in.
        opened: How often it opened.
        transitions: How often it changed its state.
    """

    state: str
    failures_in_row: int
    windows: tuple[WindowStats, ...]
    retry_after: float | None
    failures: int
    slow: int
    ignored: int
    cancelled: int
    refused: int
    opened: int
    transitions: int


def checked(
    *,
    trip: Rule | tuple[Rule, ...],
    cooldown: _checks.Seconds,
    on: On,
    ignore: On,
    on_result: Predicate | None,
    probes: int,
    probe_lease: _checks.Seconds | None,
    jitter: float,
    max_cooldown: _checks.Seconds | None,
    ramp: _checks.Seconds | None,
) -> Options:
    """The constructor's arguments, checked."""
    rules = trip if isinstance(trip, tuple) else (trip,)
    if not rules:
        raise ValueError("trip must hold at least one rule, got (); disable() makes a breaker that never opens")
    rates = tuple(dict.fromkeys(rule for rule in rules if isinstance(rule, FailureRate | SlowRate)))
    runs = [_checks.whole("trip", rule) for rule in rules if not isinstance(rule, FailureRate | SlowRate)]
    shortest = _checks.seconds("cooldown", cooldown)
    longest = _checks.seconds_or_none("max_cooldown", max_cooldown)
    if longest is not None and longest < shortest:
        raise ValueError(f"max_cooldown must be at least cooldown={shortest:g}, got {max_cooldown!r}")
    return Options(
        run=min(runs, default=None),
        rates=rates,
        cooldown=shortest,
        longest=longest,
        jitter=_checks.number("jitter", jitter, least=0.0),
        probes=_checks.whole("probes", probes),
        lease=_checks.seconds_or_none("probe_lease", probe_lease) or shortest,
        ramp=_checks.seconds_or_none("ramp", ramp),
        on=Matcher("on", on, required=on_result is None and not any(isinstance(rule, SlowRate) for rule in rules)),
        ignore=Matcher("ignore", ignore, required=False),
        judge=None if on_result is None else _checks.takes_one("on_result", on_result),
    )


def stats_of(circuit: Circuit, totals: dict[str, int], now: float) -> BreakerStats:
    """The figures of a breaker; to be called under its lock."""
    state = circuit.state(now)
    return BreakerStats(
        state=state.value,
        failures_in_row=circuit.run,
        windows=tuple(WindowStats(rule, *tally) for rule, tally in circuit.tallies(now)),
        retry_after=circuit.period.until - now if state is State.OPEN else None,
        failures=totals[Outcome.FAILURE],
        slow=totals[Outcome.SLOW],
        ignored=totals[Outcome.IGNORED],
        cancelled=totals[Outcome.CANCELLED],
        refused=totals["refused"],
        opened=totals[State.OPEN],
        transitions=sum(totals[state] for state in State),
    )


def announce(outbox: Outbox[StateChanged | WouldOpen], policy: str, news: News) -> None:
    """Post what the machine says happened; to be called under the breaker's lock."""
    match news:
        case Change(before, after, reason, lasts):
            outbox.post(StateChanged(policy, before.value, after.value, reason, lasts))
        case WouldHaveOpened(reason):
            outbox.post(WouldOpen(policy, reason))


def _status() -> Iterator[Reading]:
    for breaker in living("circuit_breaker"):
        now = breaker.state
        for state in State:
            yield int(state == now), {POLICY_NAME: breaker.label, STATE: state.value}


def _transitions() -> Iterator[Reading]:
    for label, totals in totals_of("circuit_breaker").items():
        for state in State:
            yield totals[state], {POLICY_NAME: label, STATE: state.value}


def _verdicts() -> Iterator[Reading]:
    for label, totals in totals_of("circuit_breaker").items():
        for verdict in VERDICTS:
            yield totals[verdict], {POLICY_NAME: label, VERDICT: verdict.value}


declare(
    Instrument(
        "resilience.circuit_breaker.status",
        "up_down_counter",
        "1",
        "1 for the state a circuit breaker is in, 0 for the others",
        (POLICY_NAME, STATE),
        _status,
    )
)
declare(
    Instrument(
        "resilience.circuit_breaker.transitions",
        "counter",
        "{transition}",
        "Changes of state, by the state that was entered",
        (POLICY_NAME, STATE),
        _transitions,
    )
)
declare(
    Instrument(
        "resilience.circuit_breaker.verdicts",
        "counter",
        "{call}",
        "Calls that a circuit breaker let in and judged as anything but a plain success",
        (POLICY_NAME, VERDICT),
        _verdicts,
    )
)
