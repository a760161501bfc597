"""The laws of the retry budget: what a storm of failures may cost, and that nobody is refused without need."""

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from resilience import Pipeline, RetryBudget, retry
from resilience._core.budget import Budget
from resilience.testing import sandbox
from tests.doors import Work
from tests.retry_doors import RETRY_DOORS, Heard, Passing, Script, notes_of_ours, outcome_of

Door = Callable[[Any, Work], Any]

RATIOS = st.integers(0, 8).map(lambda quarter: quarter / 4)
MINIMA = st.sampled_from([0, 0.5, 1, 10])
WINDOWS = st.sampled_from([2.0, 10.0, 60.0])


class Purses(RuleBasedStateMachine):
    """The arithmetic, under any schedule of calls, retries and waits: what is granted is bounded over any stretch."""

    @initialize(ratio=RATIOS, per_second=MINIMA, window=WINDOWS)
    def start(self, ratio: float, per_second: float, window: float) -> None:
        self.ratio, self.per_second, self.window = ratio, per_second, window
        self.now = 0.0
        self.calls = 0
        self.granted = 0
        self.budget = Budget(ratio, per_second, window, self.now)
        # Each look: when it was, how many calls and grants there had been, and what the balance was.
        self.looks = [(0.0, 0, 0, per_second * window)]

    @rule(calls=st.integers(1, 50))
    def call(self, calls: int) -> None:
        self.calls += calls

    @rule(seconds=st.integers(0, 400).map(lambda eighth: eighth / 8))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def clock_steps_back(self) -> None:
        self.budget.balance(self.now - 1.0, self.calls)

    @rule(times=st.integers(1, 30))
    def retry(self, times: int) -> None:
        for _ in range(times):
            afforded = self.budget.balance(self.now, self.calls) >= 1.0
            granted = self.budget.take(self.now, self.calls)
            assert granted == afforded, "refused without need, or granted without cover"
            self.granted += granted

    @rule()
    def be_calm(self) -> None:
        """After a window without calls only the reserve is left, and it holds no more than a window's worth."""
        self.budget.balance(self.now, self.calls)
        self.now += self.window
        assert self.budget.balance(self.now, self.calls) <= self.per_second * self.window + 1e-9

    @rule()
    def look(self) -> None:
        self.looks.append((self.now, self.calls, self.granted, self.budget.balance(self.now, self.calls)))

    @invariant()
    def over_any_stretch_what_is_granted_was_there_or_came_in(self) -> None:
        for when, calls, granted, balance in getattr(self, "looks", ()):
            earned = self.ratio * (self.calls - calls) + self.per_second * (self.now - when)
            assert self.granted - granted <= balance + earned + 1e-6

    @invariant()
    def what_was_promised(self) -> None:
        if hasattr(self, "budget"):
            promised = self.ratio * self.calls + self.per_second * (self.now + self.window)
            assert self.granted <= promised + 1e-6

    @invariant()
    def the_balance_has_its_bounds(self) -> None:
        if hasattr(self, "budget"):
            balance = self.budget.balance(self.now, self.calls)
            assert -1e-9 <= balance <= self.per_second * self.window + self.ratio * self.calls + 1e-6


class TestPurses(Purses.TestCase):
    """Law 49."""

    pytestmark = pytest.mark.law(49)


CALLS = st.lists(
    st.tuples(
        st.integers(0, 80).map(lambda eighth: eighth / 8),
        st.lists(st.sampled_from(["ok", "passing"]), min_size=1, max_size=4).map(tuple),
    ),
    max_size=30,
)


@pytest.mark.law(49)
@pytest.mark.parametrize("door", RETRY_DOORS)
@given(schedule=CALLS, ratio=RATIOS, minimum=MINIMA, window=WINDOWS)
def test_the_load_on_a_service_is_bounded_whatever_it_does(
    door: Door, schedule: list[tuple[float, tuple[str, ...]]], ratio: float, minimum: float, window: float
) -> None:
    attempts = 0
    with sandbox() as time:
        budget = RetryBudget(ratio, minimum_per_second=minimum, window=window)
        policies = [retry(on=Passing, attempts=5, wait=0.0, budget=budget) for _ in range(2)]
        for number, (pause, script) in enumerate(schedule, 1):
            time.advance(pause)
            work = Script(*script)
            outcome_of(door, policies[number % 2], work)
            attempts += work.calls
            assert attempts <= number * (1 + ratio) + minimum * (time.elapsed + window) + 1e-6
        stats = budget.stats
    assert stats.granted == attempts - len(schedule)


@pytest.mark.law(49)
def test_in_an_outage_the_load_grows_by_the_ratio_and_no_more() -> None:
    work = Script("passing")
    with sandbox() as time:
        guarded = retry(on=Passing, attempts=4, wait=0.0)(work)
        for _ in range(10_000):
            time.advance(0.01)
            with pytest.raises(Passing):
                guarded()
    assert 10_000 * 1.2 + 1_000 <= work.calls <= 10_000 * 1.2 + 10 * (100 + 10)


@pytest.mark.law(49)
@pytest.mark.parametrize("minimum", [0, 10])
def test_a_lone_failure_is_retried_with_and_without_a_reserve(minimum: float) -> None:
    with sandbox() as time:
        budget = RetryBudget(0.2, minimum_per_second=minimum)
        policy = retry(on=Passing, wait=0.0, budget=budget)
        for _ in range(100):
            policy.call(Script("ok"))
            time.advance(1.0)
        assert policy.call(Script("passing", "ok")) == "ok"


@pytest.mark.law(49)
def test_the_layers_multiply_in_the_explanation() -> None:
    assert "at most 3" in Pipeline(retry(on=Passing)).explain()
    assert "unbounded" in Pipeline(retry(on=Passing, attempts=None)).explain()


@pytest.mark.law(48)
@pytest.mark.parametrize("door", RETRY_DOORS)
def test_who_is_not_afforded_gets_the_original_failure_and_is_told(door: Door) -> None:
    work = Script("passing")
    with sandbox(), Heard() as heard:
        budget = RetryBudget(0.0, minimum_per_second=0.5, window=2.0)
        outcome = outcome_of(door, retry(on=Passing, attempts=9, wait=0.0, budget=budget), work)
        stats = budget.stats
    assert outcome is work.made[-1]
    assert work.calls == 2
    assert "the retry budget is spent" in notes_of_ours(outcome)[0]
    assert (stats.granted, stats.refused) == (1, 1)
    assert len(heard.endings) == 1


@pytest.mark.law(48)
@pytest.mark.usefixtures("hectic")
@pytest.mark.parametrize("minimum", [1, 50, 150])
def test_no_two_threads_get_the_same_token(minimum: int) -> None:
    budget = RetryBudget(0.0, minimum_per_second=minimum, window=10.0)
    together = threading.Barrier(4, timeout=20)

    def take(_: int) -> int:
        together.wait()
        return sum(budget.take() for _ in range(500))

    with sandbox(), ThreadPoolExecutor(4) as pool:
        granted = sum(pool.map(take, range(4)))
        assert granted == min(10 * minimum, 2_000)
        assert budget.stats.granted == granted
        assert budget.stats.refused == 2_000 - granted


@pytest.mark.law(48)
def test_checking_and_taking_are_one_step() -> None:
    """Seen from inside: whoever counts holds the lock."""
    budget = RetryBudget()
    held: list[bool] = []

    class Watched(Budget):
        def _earn(self, now: float, calls: int) -> None:
            held.append(budget._lock.locked())
            super()._earn(now, calls)

    budget._machine = Watched(0.2, 10, 10, 0.0)
    budget.take()
    assert budget.stats.granted == 1
    assert held == [True, True]


@pytest.fixture
def hectic() -> Iterator[None]:
    """Threads take turns every microsecond."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.law(48)
@pytest.mark.usefixtures("hectic")
def test_no_deposit_is_lost_between_threads() -> None:
    budget = RetryBudget(1.0, minimum_per_second=0)
    policy = retry(on=Passing, budget=budget)

    def calls(_: int) -> None:
        for _ in range(500):
            policy.call(Script("ok"))
            assert budget.stats.calls <= 2_000

    with sandbox(), ThreadPoolExecutor(4) as pool:
        list(pool.map(calls, range(4)))
        assert budget.stats.calls == 2_000


@given(before=st.integers(0, 5), inside=st.integers(0, 5), boxes=st.integers(1, 3))
def test_a_sandbox_leaves_a_budget_as_it_was(before: int, inside: int, boxes: int) -> None:
    with sandbox():
        budget = RetryBudget(1.0, minimum_per_second=1)
        budget.take()
        for _ in range(before):
            budget.deposit()
        stats = budget.stats
        for _ in range(boxes):
            with sandbox():
                assert budget.stats.balance == 10.0
                assert budget.stats.calls == 0
                for _ in range(inside):
                    budget.take()
                    budget.deposit()
                assert budget.stats.calls == inside
        assert budget.stats == stats
