"""The laws of rates: any window, exact answers, several rates, debts, changes, and what is given back."""

import threading
import time
from contextlib import suppress
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from resilience import Rate, RateLimiter
from resilience._clock import clock
from resilience._core.gcra import Place
from resilience._lease import Lease
from resilience._waiters import ThreadWaiter, Waiter
from resilience.errors import RateLimited
from resilience.testing import VirtualClock, sandbox
from tests.crowd import nothing
from tests.doors import DOORS, FUNCTION_DOORS

every_door = pytest.mark.parametrize("door", DOORS)
every_function_door = pytest.mark.parametrize("door", FUNCTION_DOORS)

SLACK = 1e-6
"""Permits that rounding may make of some hundred steps."""

rates = st.builds(
    Rate,
    st.sampled_from([0.5, 1, 3, 10, 100 / 7]),
    per=st.sampled_from([0.1, 1, 60]),
    burst=st.none() | st.sampled_from([1, 2.5, 5]),
)
pauses = st.sampled_from([0.0, 0.0, 0.01, 0.1, 1 / 3, 1.0, 7.0, 3600.0]) | st.floats(0, 30)


def holds(taken: list[tuple[float, float]], rate: Rate) -> bool:
    """Whether no window, from one admission to another, has more than it may."""
    for first, (begin, _) in enumerate(taken):
        total = 0.0
        for end, cost in taken[first:]:
            total += cost
            if total > rate.burst + rate.limit / rate.per * (end - begin) + SLACK:
                return False
    return True


@pytest.mark.law(39)
@given(limits=st.lists(rates, min_size=1, max_size=3), steps=st.lists(pauses, min_size=1, max_size=40))
def test_no_window_has_more_than_burst_and_rate_allow_of_any_rate(limits: list[Rate], steps: list[float]) -> None:
    limiter = RateLimiter(*limits)
    taken = list[tuple[float, float]]()
    with sandbox() as time:
        for pause in steps:
            time.advance(pause)
            for _ in range(20):
                try:
                    limiter.call(nothing)
                except RateLimited:
                    break
                taken.append((time.elapsed, 1.0))
    assert all(holds(taken, rate) for rate in limits)


@pytest.mark.law(39)
@every_door
def test_after_any_rest_there_is_one_burst_and_no_more(door: Any) -> None:
    limiter = RateLimiter(10, burst=3)
    with sandbox() as time:
        for rest in (0.0, 1000.0, 1e6):
            time.advance(rest)
            for _ in range(3):
                door(limiter, nothing)
            with pytest.raises(RateLimited):
                door(limiter, nothing)


@pytest.mark.law(40)
@given(
    limits=st.lists(rates, min_size=1, max_size=3),
    steps=st.lists(st.tuples(pauses, st.sampled_from([0.25, 0.5, 1.0])), min_size=1, max_size=30),
    debt=st.sampled_from([0.0, 0.5, 4.0, 50.0]),
)
def test_who_comes_back_exactly_when_told_is_admitted_and_a_moment_earlier_is_not(
    limits: list[Rate], steps: list[tuple[float, float]], debt: float
) -> None:
    limiter = RateLimiter(*limits)
    with sandbox() as time:
        limiter.charge(debt)
        for pause, cost in steps:
            time.advance(pause)
            wait = refusal_of(limiter, cost)
            if wait is None:
                continue
            assert wait > 0.0
            if wait > 1e-3:
                time.advance(wait - 1e-3)
                left = refusal_of(limiter, cost)
                assert left is not None
                assert left == pytest.approx(1e-3, abs=1e-6)
                wait = left
            time.advance(wait)
            assert refusal_of(limiter, cost) is None


def refusal_of(limiter: RateLimiter, cost: float) -> float | None:
    """Take; else seconds to wait."""
    try:
        limiter.admit(cost)
    except RateLimited as refusal:
        return refusal.retry_after
    return None


@pytest.mark.law(40)
@every_door
def test_every_door_tells_when_to_come_back(door: Any) -> None:
    limiter = RateLimiter(Rate(2), Rate(3, per=60))
    with sandbox() as time:
        for _ in range(2):
            door(limiter, nothing)
        with pytest.raises(RateLimited) as caught:
            door(limiter, nothing)
        assert caught.value.retry_after == 0.5
        time.advance(0.5)
        door(limiter, nothing)
        with pytest.raises(RateLimited) as caught:
            door(limiter, nothing)
        assert caught.value.retry_after == pytest.approx(19.5)  # of the minute's rate now, which is the later


@pytest.mark.law(40)
@pytest.mark.parametrize("max_wait", [0.0, 5.0, None])
def test_a_cost_above_the_burst_is_refused_at_once_and_takes_nothing(max_wait: float | None) -> None:
    limiter = RateLimiter(Rate(100), Rate(5, per=10), max_wait=max_wait)
    with sandbox() as time:
        with pytest.raises(RateLimited, match="above the burst") as caught:
            limiter.admit(6)
        assert caught.value.retry_after is None
        assert time.elapsed == 0.0
        assert limiter.stats.available == 5


@pytest.mark.parametrize("door", FUNCTION_DOORS)
def test_a_debt_keeps_everybody_out_until_it_is_paid(door: Any) -> None:
    tokens = RateLimiter(100, cost=0)
    with sandbox() as time:
        door(tokens, nothing)
        tokens.charge(350)
        assert tokens.stats.available == -250
        with pytest.raises(RateLimited) as caught:
            door(tokens, nothing)
        assert caught.value.retry_after == 2.5
        time.advance(2.5)
        door(tokens, nothing)


@pytest.mark.law(24)
def test_threads_together_get_no_more_than_there_is() -> None:
    limiter = RateLimiter(Rate(500, per=1e6))
    admitted = list[int]()

    def client() -> None:
        for _ in range(200):
            try:
                limiter.call(nothing)
            except RateLimited:
                continue
            admitted.append(1)

    crowd = [threading.Thread(target=client) for _ in range(8)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert len(admitted) == 500
    assert limiter.stats.refused == 1100


@pytest.mark.law(24)
@every_function_door
def test_a_free_call_reads_the_time_and_takes_under_the_lock(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    limiter, held = RateLimiter(3), list[bool]()
    lock: Any = limiter.meter.lock

    def now() -> float:
        held.append(lock._is_owned())
        return time.monotonic()

    with monkeypatch.context() as patch:
        patch.setattr(clock, "now", now)
        door(limiter, nothing)
    assert held == [True]
    assert not lock._is_owned()


class Life(RuleBasedStateMachine):
    """A limiter that is used, charged, given back to, and changed, beside a record of what was really taken."""

    def __init__(self) -> None:
        super().__init__()
        self._sandbox = sandbox()
        self.time: VirtualClock = self._sandbox.__enter__()
        self.taken = list[list[float]]()
        self.leases = list[tuple[Lease, list[float]]]()

    @initialize(rate=rates)
    def begin(self, rate: Rate) -> None:
        self.limiter = RateLimiter(rate)
        self.rate = rate

    @rule(seconds=pauses)
    def pass_time(self, seconds: float) -> None:
        self.time.advance(seconds)

    @rule(cost=st.sampled_from([0.0, 0.5, 1.0, 2.5]))
    def take(self, cost: float) -> None:
        try:
            lease = self.limiter.admit(cost)
        except RateLimited:
            return
        entry = [self.time.elapsed, cost]
        self.taken.append(entry)
        self.leases.append((lease, entry))

    @rule()
    def call(self) -> None:
        with suppress(RateLimited):
            self.limiter.call(nothing)
            self.taken.append([self.time.elapsed, 1.0])

    @precondition(lambda self: self.leases)
    @rule(which=st.integers(0, 100), used=st.booleans())
    def end(self, which: int, used: bool) -> None:
        lease, entry = self.leases.pop(which % len(self.leases))
        if used:
            lease.succeed()
        else:
            lease.release()
            lease.release()
            self.taken.remove(entry)

    @rule(rate=rates)
    def change(self, rate: Rate) -> None:
        before = self.limiter.stats.available
        self.limiter.configure(rate)
        assert self.limiter.stats.available <= min(before, rate.burst) + SLACK
        self.rate = rate
        self.taken.clear()  # another rate: what it promises, it promises from now on
        self.leases.clear()

    @invariant()
    def no_window_has_too_much(self) -> None:
        assert holds([(at, cost) for at, cost in self.taken], self.rate)

    @invariant()
    def never_more_than_the_burst(self) -> None:
        assert self.limiter.stats.available <= self.rate.burst

    def teardown(self) -> None:
        self._sandbox.__exit__(None, None, None)


TestLife = pytest.mark.law(22, 28, 38, 39)(Life.TestCase)


@pytest.mark.law(38)
def test_what_is_released_is_there_again_at_once_and_only_once() -> None:
    limiter = RateLimiter(Rate(2, per=100))
    with sandbox():
        kept, back = limiter.admit(), limiter.admit()
        back.release()
        back.release()
        limiter.admit()
        with pytest.raises(RateLimited):
            limiter.admit()
        kept.succeed()
        kept.release()
        with pytest.raises(RateLimited):
            limiter.admit()


@pytest.mark.law(84)
def test_no_lock_is_held_while_the_function_or_its_cost_runs() -> None:
    def from_another_thread(*_: object) -> float:
        thread = threading.Thread(target=limiter.charge, args=(0.5,), daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
        return 1.0

    limiter = RateLimiter(10, cost=from_another_thread)
    with sandbox():
        limiter.call(from_another_thread)
    with pytest.raises(ZeroDivisionError):
        RateLimiter(10, cost=lambda: 1 / 0).call(nothing)


@pytest.mark.law(12)
def test_only_the_monotonic_clock_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = RateLimiter(1)
    with sandbox():
        limiter.call(nothing)
        monkeypatch.setattr(clock, "wall", lambda: 1e12)
        with pytest.raises(RateLimited) as caught:
            limiter.call(nothing)
        assert caught.value.retry_after == 1.0
        monkeypatch.undo()


@pytest.mark.law(94)
def test_a_forked_child_has_what_was_left_and_nobody_waits() -> None:
    limiter = RateLimiter(Rate(3, per=1e6))
    limiter.call(nothing)
    assert limiter.meter.enter(Place[Waiter](ThreadWaiter(), 3.0, inf))
    with limiter.meter.lock:  # as another thread of the parent may hold it
        limiter._after_fork()
    assert limiter.stats.waiting == 0
    assert limiter.meter.door is limiter.meter.gauges[0]
    assert limiter.stats.available == pytest.approx(2, abs=1e-3)


@pytest.mark.law(38, 39)
@every_door
def test_what_came_back_by_itself_meanwhile_does_not_come_back_twice(door: Any) -> None:
    limiter = RateLimiter(Rate(1, per=10, burst=2))
    with sandbox() as time:
        early = limiter.admit()
        time.advance(9)
        door(limiter, nothing)
        early.release()
        time.advance(1)
        limiter.admit()
        with pytest.raises(RateLimited):  # it would be the third in a second
            limiter.admit()
