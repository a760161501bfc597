"""The laws of the circuit breaker, driven through every order of events that a machine can dream up.

Beside the breaker runs a model that is slow and plain: a number for each period of its life, a real ring buffer for
each window, a list for the probes. After every step the two must agree about everything that can be seen.
"""

import contextlib
from collections import deque
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from resilience._breaker import CircuitBreaker
from resilience._core.states import TRANSITIONS
from resilience._events import StateChanged, WouldOpen, listen
from resilience._lease import Lease
from resilience._rates import FailureRate, SlowRate
from resilience.errors import CircuitOpen
from resilience.testing import sandbox

SLOW = 2.0
EDGES = {(before.value, after.value) for (before, _), after in TRANSITIONS.items()}
RULES: list[tuple[Any, ...]] = [
    (3,),
    (1,),
    (FailureRate(0.5, calls=4),),
    (3, FailureRate(0.5, calls=6, minimum=3)),
    (2, SlowRate(0.5, slower_than=SLOW, calls=4, minimum=2)),
    (FailureRate(0.75, calls=5, minimum=4), SlowRate(1.0, slower_than=SLOW, calls=3)),
]

HOWS = ["success", "failure", "ignored", "cancelled"]
CHANGES: list[tuple[str, Any]] = [
    ("wall clock", -1.0),
    ("wall clock", 1.0),
    *(("verb", verb) for verb in ("isolate", "disable", "dry_run", "dry_run", "reset")),
    *(("trip", rules) for rules in RULES),
    *(("cooldown", seconds) for seconds in (5.0, 10.0)),
    *(("probes", number) for number in (1, 2, 3)),
]


def behave(how: str) -> None:
    if how != "success":
        raise OSError if how == "failure" else KeyError


@dataclass(eq=False)
class Call:
    """A call that was let in, as the model knows it."""

    life: int
    started: float
    rules: tuple[Any, ...]
    expires: float | None = None

    def took(self, now: float) -> float:
        timed = any(isinstance(one, SlowRate) for one in self.rules)
        return now - self.started if timed else 0.0


class Model:
    """What a circuit breaker is, without a thought for speed."""

    def __init__(self, rules: tuple[Any, ...], probes: int, cooldown: float, longest: float | None) -> None:
        self.rules, self.probes, self.cooldown, self.longest = rules, probes, cooldown, longest
        self.life = 0
        self.openings = 0
        self.changes = 0
        self.would_open = 0
        self.totals = dict.fromkeys(("failures", "slow", "ignored", "cancelled", "refused", "opened"), 0)
        self.state = "closed"
        self.quiet_until: float | None = None  # in a dry run: until when it would be open
        self.live: list[Call] = []
        self.calm()

    def calm(self) -> None:
        self.life += 1
        self.run = 0
        self.rings: dict[Any, deque[bool]] = {}
        self.adopt()

    def adopt(self) -> None:
        rates = [one for one in self.rules if not isinstance(one, int)]
        self.rings = {rate: self.rings.get(rate, deque(maxlen=rate.calls)) for rate in rates}

    def go(self, after: str) -> None:
        self.changes += after != self.state
        self.totals["opened"] += after == "open"
        self.state = after
        self.quiet_until = None
        self.live = []
        self.succeeded = 0
        self.calm()

    def seen(self, now: float) -> str:
        return "half_open" if self.state == "open" and now >= self.until else self.state

    def admit(self, now: float) -> Call | None:
        if self.seen(now) == "half_open" and self.state == "open":
            self.go("half_open")
        if self.state == "half_open":
            self.live = [call for call in self.live if call.expires is not None and now < call.expires]
            if len(self.live) + self.succeeded >= self.probes:
                self.totals["refused"] += 1
                return None
            self.live.append(Call(self.life, now, self.rules, now + self.cooldown))
            return self.live[-1]
        if self.state in ("open", "isolated"):
            self.totals["refused"] += 1
            return None
        if self.state == "dry_run" and self.quiet_until is not None:
            if now < self.quiet_until:
                return Call(-1, now, self.rules)
            self.quiet_until = None
            self.calm()
        return Call(-1 if self.state == "disabled" else self.life, now, self.rules)

    def end(self, call: Call, how: str, now: float) -> None:
        if call.life == -1:  # nothing is recorded for it
            return
        slow = how in ("success", "failure") and any(
            isinstance(one, SlowRate) and call.took(now) > one.slower_than for one in call.rules
        )
        label = "slow" if slow else {"failure": "failures"}.get(how, how)
        if label != "success":
            self.totals[label] += 1
        if call.life != self.life:
            return
        if call.expires is not None:
            self.end_probe(call, "failure" if slow else how, now)
        elif how in ("success", "failure"):
            self.count(how == "failure", call.took(now), now)

    def end_probe(self, call: Call, how: str, now: float) -> None:
        if call not in self.live:
            return
        self.live.remove(call)
        if now >= (call.expires or 0.0):
            return
        if how == "failure":
            self.open(now)
        elif how == "success":
            self.succeeded += 1
            self.close_if_proven()

    def close_if_proven(self) -> None:
        if self.state == "half_open" and self.succeeded >= self.probes:
            self.openings = 0
            self.go("closed")

    def count(self, failed: bool, took: float, now: float) -> None:
        self.run = self.run + 1 if failed else 0
        met = failed and any(isinstance(one, int) and self.run >= one for one in self.rules)
        for rate, ring in self.rings.items():
            bad = took > rate.slower_than if isinstance(rate, SlowRate) else failed
            ring.append(bad)
            met = met or (bad and len(ring) >= rate.minimum and sum(ring) / len(ring) >= rate.ratio)
        if met and self.state == "dry_run":
            self.would_open += 1
            self.calm()
            self.quiet_until = now + self.cooldown
        elif met:
            self.open(now)

    def open(self, now: float) -> None:
        self.openings += 1
        wait = self.cooldown
        for _ in range(self.openings - 1):
            wait = min(wait * 2, self.longest) if self.longest else wait
        self.go("open")
        self.until = now + wait

    def force(self, state: str) -> None:
        if state == "closed":
            self.openings = 0
        self.go(state)


class Breaker(RuleBasedStateMachine):
    """The breaker beside its model."""

    @initialize(
        rules=st.sampled_from(RULES),
        probes=st.integers(1, 3),
        longest=st.sampled_from([None, 10.0, 35.0]),
        dry=st.sampled_from([False, False, False, True]),
    )
    def start(self, rules: tuple[Any, ...], probes: int, longest: float | None, dry: bool) -> None:
        self.sandbox = sandbox()
        self.time = self.sandbox.__enter__()
        self.events: list[Any] = []
        self.listening = listen(self.hear).start()
        self.breaker = CircuitBreaker(
            trip=rules, cooldown=10.0, jitter=0.0, probes=probes, max_cooldown=longest, on=OSError
        )
        self.guarded = self.breaker(behave)
        self.model = Model(rules, probes, 10.0, longest)
        self.calls: list[tuple[Lease, Call]] = []
        if dry:
            self.breaker.dry_run()
            self.model.force("dry_run")

    def hear(self, event: Any) -> None:
        assert not self.breaker._lock.locked(), "a listener was called under the lock"
        self.events.append(event)

    def teardown(self) -> None:
        if hasattr(self, "sandbox"):
            self.listening.stop()
            self.sandbox.__exit__(None, None, None)

    @rule(hows=st.lists(st.sampled_from(["success", "failure", "failure", "ignored"]), min_size=1, max_size=6))
    def one_after_another(self, hows: list[str]) -> None:
        """Through the decorator, whose shell has a way of its own to count."""
        for how in hows:
            now = self.time.now()
            expected = self.model.admit(now)
            with contextlib.suppress(OSError, KeyError, CircuitOpen):
                self.guarded(how)
            if expected is not None:
                self.model.end(expected, how, now)

    @rule()
    def admit(self) -> None:
        expected = self.model.admit(self.time.now())
        if expected is not None:
            self.calls.append((self.breaker.admit(), expected))
            return
        with pytest.raises(CircuitOpen) as refused:
            self.breaker.admit()
        wait = refused.value.retry_after
        assert (wait is not None) == (self.model.state == "open")
        assert wait is None or wait > 0

    @precondition(lambda self: self.calls)
    @rule(pick=st.integers(0, 5), how=st.sampled_from(HOWS), twice=st.booleans())
    def end_one(self, pick: int, how: str, twice: bool) -> None:
        self.end(pick, how, twice)

    def end(self, pick: int, how: str, twice: bool) -> None:
        lease, call = self.calls.pop(pick % len(self.calls))
        self.model.end(call, how, self.time.now())
        for _ in range(2 if twice else 1):  # a lease counts once
            match how:
                case "success":
                    lease.succeed()
                case "failure":
                    lease.fail(OSError("down"))
                case "ignored":
                    lease.release()
                case _:
                    lease.fail(KeyboardInterrupt())

    @rule(seconds=st.sampled_from([0.5, 3.0, 9.0, 10.0]))
    def advance(self, seconds: float) -> None:
        self.time.advance(seconds)

    @precondition(lambda self: self.model.state == "open")
    @rule()
    def cool_down(self) -> None:
        self.time.advance(max(0.0, self.model.until - self.time.now()))

    @rule(what=st.sampled_from(CHANGES), luck=st.integers(0, 3))
    def change(self, what: tuple[str, Any], luck: int) -> None:
        if luck:  # seldom, or nothing would ever have a history
            return
        match what:
            case "wall clock", hours:
                self.time.wall_start += hours * 3600.0
            case "verb", verb:
                getattr(self.breaker, verb)()
                self.model.force({"isolate": "isolated", "disable": "disabled", "reset": "closed"}.get(verb, verb))
            case "trip", rules:
                self.breaker.configure(trip=rules)
                self.model.rules = rules
                self.model.adopt()
            case "cooldown", cooldown:
                self.breaker.configure(cooldown=cooldown)
                self.model.cooldown = cooldown
            case _, probes:
                self.breaker.configure(probes=probes)
                self.model.probes = probes
                self.model.close_if_proven()

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "breaker"):
            return
        stats, model = self.breaker.stats, self.model
        assert self.breaker.state == stats.state == model.seen(self.time.now())
        assert {name: getattr(stats, name) for name in model.totals} == model.totals
        assert stats.transitions == model.changes
        if model.state in ("closed", "dry_run") and model.quiet_until is None:
            assert stats.failures_in_row == model.run
            assert [(one.calls, one.bad) for one in stats.windows] == [
                (len(ring), sum(ring)) for ring in model.rings.values()
            ]

    @invariant()
    def told_every_transition_once_and_in_order(self) -> None:
        if not hasattr(self, "breaker"):
            return
        path = [event for event in self.events if isinstance(event, StateChanged)]
        assert len(path) == self.model.changes
        assert all((event.before, event.after) in EDGES for event in path)
        states = ["closed", *(event.after for event in path)]
        assert states[:-1] == [event.before for event in path]
        assert states[-1] == self.model.state
        assert sum(isinstance(event, WouldOpen) for event in self.events) == self.model.would_open


Breaker.TestCase.settings = settings(max_examples=settings().max_examples * 3, stateful_step_count=50)
TestBreaker = pytest.mark.law(1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 14, 22)(Breaker.TestCase)
