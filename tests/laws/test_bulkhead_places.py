"""The laws of places and of the queue for them, driven through every order of events that a machine can dream up.

Waiters here are tokens that never run: the test looks, takes up and leaves for them, so that each interleaving of a
grant with a cancellation, a timeout or a resize is a sequence of plain calls.
"""

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from resilience._core.slots import GRACE
from resilience._pool import Pool
from resilience._waiters import Waiter
from resilience.testing import sandbox


class Token:
    """A waiter of a loop that runs, or of one that is closed."""

    def __init__(self, name: int, home: str, *, reachable: bool = True) -> None:
        self.name = name
        self.home = home
        self.number = -1
        self.reachable = reachable

    def wake(self) -> bool:
        return self.reachable

    def __repr__(self) -> str:
        return f"{self.home}-{self.name}"


def token(name: int, home: str = "here", *, reachable: bool = True) -> Waiter:
    return cast("Waiter", Token(name, home, reachable=reachable))


class Places(RuleBasedStateMachine):
    """A pool beside a model of it: who holds a place, and who waits in which order."""

    @initialize(limit=st.integers(1, 4))
    def start(self, limit: int) -> None:
        self.sandbox = sandbox()
        self.time = self.sandbox.__enter__()
        self.pool = Pool(limit)
        self.holding = 0
        self.arrived: list[Waiter] = []  # accepted and still waiting, in the order of arrival
        self.away: set[Waiter] = set()  # unreachable, and found to be so
        self.names = 0

    def teardown(self) -> None:
        if not hasattr(self, "pool"):
            return
        for waiter in self.arrived:
            self.pool.leave(waiter)
        for _ in range(self.holding):
            self.pool.give()
        assert len(self.pool.free) == self.pool.limit, "places were lost or made"
        assert not self.pool.granted
        assert not self.pool.contended
        self.sandbox.__exit__(None, None, None)

    @rule()
    def come_in(self) -> None:
        places_before, queue_before = self.pool.limit - self.pool.in_use, len(self.pool.queue)
        if self.pool.seize():
            self.holding += 1
            assert self.pool.in_use <= self.pool.limit, "more were let in than the limit allows"
            assert not queue_before, "a newcomer overtook the queue"
        else:
            assert places_before <= 0 or queue_before, "refused beside a free place"

    @rule(home=st.sampled_from(["here", "there"]), reachable=st.booleans(), most=st.integers(1, 4))
    def queue_up(self, home: str, reachable: bool, most: int) -> None:
        self.names += 1
        waiter = token(self.names, home, reachable=reachable)
        waiting = len(self.pool.queue)
        entered = self.pool.enter(waiter, most)
        assert entered == (waiting < most)
        if entered:
            self.arrived.append(waiter)

    @precondition(lambda self: self.arrived)
    @rule(data=st.data())
    def look(self, data: Any) -> None:
        waiter = data.draw(st.sampled_from(self.arrived))
        if self.pool.has(waiter):
            self.arrived.remove(waiter)
            self.holding += 1

    @precondition(lambda self: self.arrived)
    @rule(data=st.data())
    def give_up(self, data: Any) -> None:
        waiter = data.draw(st.sampled_from(self.arrived))
        self.pool.leave(waiter)
        self.arrived.remove(waiter)
        assert waiter not in self.pool.queue
        assert waiter not in self.pool.granted

    @precondition(lambda self: self.holding)
    @rule()
    def give_back(self) -> None:
        self.pool.give()
        self.holding -= 1

    @rule(limit=st.integers(1, 5))
    def resize(self, limit: int) -> None:
        self.pool.resize(limit)
        assert self.pool.limit == limit
        assert self.pool.minted == max(limit, self.pool.in_use), "the resize did not converge"

    @rule(seconds=st.sampled_from([0.1, GRACE / 2, GRACE, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.time.advance(seconds)

    @invariant()
    def every_place_is_accounted_for(self) -> None:
        if hasattr(self, "pool"):
            assert self.pool.in_use == self.holding + len(self.pool.granted)
            assert self.pool.in_use + len(self.pool.free) == self.pool.minted >= self.pool.limit

    @invariant()
    def nobody_waits_beside_a_free_place(self) -> None:
        if hasattr(self, "pool"):
            assert not (self.pool.queue and self.pool.free)
            assert self.pool.minted == self.pool.limit or not self.pool.free
            assert self.pool.contended == (bool(self.pool.queue) or self.pool.minted > self.pool.limit)

    @invariant()
    def the_queue_is_in_order_of_arrival(self) -> None:
        if hasattr(self, "pool"):
            numbers = [waiter.number for waiter in self.pool.queue]
            assert numbers == sorted(numbers)
            granted = [waiter.number for waiter in self.pool.granted]
            assert granted == sorted(granted) or self.time.elapsed >= GRACE

    @invariant()
    def nobody_is_thrown_out(self) -> None:
        if hasattr(self, "pool"):
            for waiter in self.arrived:
                known = waiter in self.pool.queue or waiter in self.pool.granted
                assert known or not cast("Any", waiter).reachable or self.time.elapsed >= GRACE


TestPlaces = pytest.mark.law(25, 26, 27, 30, 96)(Places.TestCase)


def full(limit: int = 1) -> Pool:
    pool = Pool(limit)
    for _ in range(limit):
        assert pool.seize()
    return pool


@pytest.mark.law(26)
def test_a_grant_to_someone_who_leaves_goes_to_the_next() -> None:
    pool, first, second = full(), token(1), token(2)
    assert pool.enter(first, 2)
    assert pool.enter(second, 2)
    pool.give()
    pool.leave(first)  # granted, and cancelled before it could look
    assert pool.has(second)


@pytest.mark.law(27)
def test_nobody_overtakes_the_queue() -> None:
    pool, first = full(), token(1)
    assert pool.enter(first, 1)
    pool.free.append(True)  # a place comes back, and its giver has not looked at the queue yet
    assert not pool.seize(), "a newcomer took the place of the one who waits"
    assert pool.has(first)


@pytest.mark.law(27)
@given(awakening=st.permutations([0, 1, 2]))
def test_those_who_slept_through_their_grants_stand_again_where_they_stood(awakening: list[int]) -> None:
    with sandbox() as time:
        pool, sleepers = full(3), [token(1), token(2), token(3)]
        for waiter in sleepers:
            assert pool.enter(waiter, 3)
        for _ in sleepers:
            pool.give()
        time.advance(GRACE)
        for _ in sleepers:
            assert pool.seize()  # newcomers reclaim the places that nobody took up
        for index in awakening:
            assert not pool.has(sleepers[index])
        assert list(pool.queue) == sleepers


@pytest.mark.law(96)
def test_a_grant_that_cannot_be_delivered_passes_on() -> None:
    pool, gone, here = full(), token(1, "closed loop", reachable=False), token(2)
    assert pool.enter(gone, 2)
    assert pool.enter(here, 2)
    pool.give()
    assert pool.has(here)


@pytest.mark.law(96)
def test_a_thousand_dead_waiters_are_passed_over_at_once() -> None:
    pool, here = full(), token(0)
    for name in range(1, 2_000):
        assert pool.enter(token(name, "closed loop", reachable=False), 3_000)
    assert pool.enter(here, 3_000)
    pool.give()
    assert pool.has(here)


@pytest.mark.law(96)
def test_a_newcomer_reclaims_what_nobody_took_up() -> None:
    with sandbox() as time:
        pool = full()
        assert pool.enter(token(1, "stopped loop"), 1)
        pool.give()
        assert not pool.seize()
        time.advance(GRACE)
        assert pool.seize()


class Interruptible(Pool):
    """A pool that a finalizer or signal handler interrupts at the worst moment: a place in hand, and nobody chosen."""

    __slots__ = ("interruptions",)

    def pop(self) -> bool:
        taken = super().pop()
        if taken and self.interruptions:
            self.interruptions.pop()()
        return taken


@pytest.mark.law(25)
def test_what_interrupts_our_own_lines_neither_waits_for_them_nor_is_forgotten() -> None:
    pool, first, second = Interruptible(3), token(1), token(2)
    pool.interruptions = []
    for _ in range(3):
        assert pool.seize()
    assert pool.enter(first, 2)
    assert pool.enter(second, 2)

    def interrupt() -> None:
        pool.give()
        pool.leave(first)
        pool.resize(4)
        assert not pool.enter(token(3), 9)

    pool.interruptions.append(interrupt)
    pool.give()
    assert pool.has(second)
    assert (pool.in_use, len(pool.free), pool.limit) == (2, 2, 4)
    assert not pool.contended
