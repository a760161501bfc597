"""The laws of the circuit breaker's life: waits, ramps, what outlives it, and what it must not keep."""

import gc
import json
import multiprocessing
import os
import threading
import weakref
from contextlib import suppress
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience._breaker import CircuitBreaker
from resilience._events import StateChanged, WouldOpen, listen
from resilience._rates import FailureRate, SlowRate
from resilience._totals import _live, totals_of
from resilience.errors import CircuitOpen
from resilience.testing import sandbox


def opened(**options: Any) -> CircuitBreaker:
    breaker = CircuitBreaker(**{"trip": 1, "cooldown": 10.0, "jitter": 0.0, **options})
    breaker.admit().fail()
    return breaker


@pytest.mark.law(11)
@given(seconds=st.floats(0.0, 1e9))
def test_no_timer_ends_an_isolation(seconds: float) -> None:
    with sandbox() as time:
        breaker = opened()
        time.advance(9.0)
        breaker.isolate("maintenance")
        time.advance(seconds)
        assert breaker.state == "isolated"
        with pytest.raises(CircuitOpen, match="maintenance") as refused:
            breaker.admit()
        assert refused.value.retry_after is None
        breaker.reset()
        breaker.admit().succeed()


@pytest.mark.law(12)
@given(hours=st.floats(-1e5, 1e5))
def test_stepping_the_wall_clock_changes_nothing(hours: float) -> None:
    with sandbox() as time:
        breaker = opened(trip=(1, FailureRate(0.5, seconds=60)))
        time.advance(4.0)
        time.wall_start += hours * 3_600.0
        assert (breaker.state, breaker.stats.retry_after) == ("open", 6.0)
        time.advance(6.0)
        assert breaker.state == "half_open"


@pytest.mark.law(12)
def test_a_state_is_never_stale() -> None:
    with sandbox() as time:
        breaker = opened()
        time.advance(9.999)
        assert breaker.state == breaker.stats.state == "open"
        time.advance(0.002)
        assert breaker.state == breaker.stats.state == breaker.snapshot()["state"] == "half_open"
        assert breaker.stats.transitions == 1, "looking at it is not a transition"


@pytest.mark.law(15)
@given(
    ramp=st.floats(1.0, 100.0),
    bursts=st.lists(st.tuples(st.floats(0.0, 0.3), st.integers(1, 200)), min_size=1, max_size=20),
)
def test_after_a_close_calls_come_back_bit_by_bit(ramp: float, bursts: list[tuple[float, int]]) -> None:
    with sandbox() as time:
        breaker = opened(ramp=ramp)
        time.advance(10.0)
        breaker.admit().succeed()
        assert breaker.state == "closed"
        start, due, let_in = time.now(), 0.0, 0
        for pause, callers in bursts:
            time.advance(pause * ramp)
            share = 0.1 + 0.9 * (time.now() - start) / ramp
            if share >= 1.0:
                break
            for _ in range(callers):
                due += share
                let_in += admitted(breaker, start + ramp - time.now())
            assert abs(let_in - due) <= 1.0 + 1e-6, "the share, to within one call: no herd, and nobody is starved"
        time.advance(ramp)
        for _ in range(1_000):
            breaker.admit().succeed()


def admitted(breaker: CircuitBreaker, all_in: float) -> bool:
    try:
        breaker.admit().succeed()
    except CircuitOpen as refused:
        return refused.retry_after != pytest.approx(all_in)
    return True


@pytest.mark.law(16)
@given(jitter=st.floats(0.0, 3.0), cooldown=st.floats(0.1, 1e4), seed=st.integers(0, 2**32))
def test_a_fleet_does_not_come_back_in_step(jitter: float, cooldown: float, seed: int) -> None:
    with sandbox(seed):
        waits = [opened(jitter=jitter, cooldown=cooldown).stats.retry_after or 0.0 for _ in range(60)]
    parts = [(wait / cooldown - 1.0) / jitter for wait in waits] if jitter > 1e-3 else []
    assert all(cooldown <= wait * (1 + 1e-9) for wait in waits)
    assert all(-1e-6 <= part <= 1.0 + 1e-6 for part in parts)
    if parts:
        assert max(parts) - min(parts) > 0.5, "spread over all of the jitter"
        assert 0.25 < fmean(parts) < 0.75


@pytest.mark.law(16)
def test_the_cooldown_doubles_up_to_its_limit_until_it_closes() -> None:
    with sandbox() as time:
        breaker = opened(max_cooldown=35.0)
        waits = []
        for _ in range(5):
            waits.append(breaker.stats.retry_after)
            time.advance(waits[-1] or 0.0)
            breaker.admit().fail()
        assert waits == [10.0, 20.0, 35.0, 35.0, 35.0]
        time.advance(35.0)
        breaker.admit().succeed()
        breaker.admit().fail()
        assert breaker.stats.retry_after == 10.0


@pytest.mark.law(18)
@given(passed=st.floats(0.0, 12.0), down=st.floats(-100.0, 100.0), cooldown=st.sampled_from([10.0, 3.0, 50.0]))
def test_a_restored_open_keeps_the_wait_it_had_left(passed: float, down: float, cooldown: float) -> None:
    """`down` is how long the process was away, by the wall clock: which may also have gone back."""
    with sandbox() as time:
        old = opened()
        time.advance(passed)
        saved = json.loads(json.dumps(old.snapshot()))
        time.wall_start += down
        new = CircuitBreaker(trip=1, cooldown=cooldown, jitter=0.0)
        new.restore(saved)
        left = min(max(10.0 - passed - down, 0.0), cooldown) if old.state == "open" else 0.0
        assert (new.stats.retry_after or 0.0) == pytest.approx(left, abs=1e-6)
        time.advance(left + 1e-6)
        assert new.state == "half_open"
        new.admit().succeed()
        assert new.state == "closed"


@pytest.mark.law(18)
@pytest.mark.parametrize("verb", ["isolate", "disable", "dry_run", "reset"])
def test_every_state_survives_a_restart(verb: str) -> None:
    with sandbox():
        old = CircuitBreaker(trip=3)
        getattr(old, verb)()
        new = CircuitBreaker(trip=3)
        new.restore(old.snapshot())
        assert new.state == old.state
        again = new.snapshot()
        new.restore(again)
        assert new.snapshot() == again


@pytest.mark.law(18)
def test_a_run_of_failures_and_the_growth_survive_a_restart() -> None:
    with sandbox() as time:
        old, new = (CircuitBreaker(trip=3, jitter=0.0, cooldown=10.0, max_cooldown=40.0) for _ in range(2))
        old.admit().fail()
        old.admit().fail()
        new.restore(old.snapshot())
        new.admit().fail()
        assert new.state == "open"
        newest = CircuitBreaker(trip=3, jitter=0.0, cooldown=10.0, max_cooldown=40.0)
        newest.restore(new.snapshot())
        time.advance(10.0)
        newest.admit().fail()
        assert newest.stats.retry_after == 20.0
        short = CircuitBreaker(trip=2)
        short.restore(old.snapshot())
        assert short.stats.failures_in_row == 1, "one short of opening: a state to start from is not an outcome"


@pytest.mark.law(19)
def test_there_is_nothing_to_shut_down() -> None:
    """No thread, no timer: dropping the last reference frees a breaker in any state, without the garbage collector."""
    threads = threading.active_count()
    gc.disable()
    try:
        with sandbox() as time:
            for verb in ("open", "half_open", "reset", "isolate", "disable", "dry_run"):
                breaker = opened(trip=(1, SlowRate(0.5, slower_than=1, seconds=10)), ramp=5.0)
                if verb == "half_open":
                    time.advance(10.0)
                    breaker.admit()
                elif verb != "open":
                    getattr(breaker, verb)()
                breaker.call(lambda: None) if breaker.state in ("disabled", "dry_run") else None
                assert time._timers == []
                gone = weakref.ref(breaker)
                del breaker
                assert gone() is None, verb
    finally:
        gc.enable()
    assert threading.active_count() == threads


@pytest.mark.law(21)
def test_no_error_is_kept_only_its_text() -> None:
    class HeavyError(Exception):
        def __init__(self) -> None:
            super().__init__("the disk is full " + "x" * 10_000)
            errors.append(weakref.ref(self))

    def down() -> None:
        raise HeavyError

    errors: list[Any] = []
    gc.disable()
    try:
        with sandbox():
            breaker = CircuitBreaker(trip=(3, FailureRate(0.5, seconds=60, minimum=3)))
            for _ in range(3):
                with suppress(HeavyError):
                    breaker.call(down)
            assert [error() for error in errors] == [None] * 3
            with pytest.raises(CircuitOpen, match="HeavyError: the disk is full") as refused:
                breaker.call(down)
            assert len(str(refused.value)) < 500
            assert refused.value.__cause__ is refused.value.__context__ is None
    finally:
        gc.enable()


@pytest.mark.law(21)
def test_an_error_without_a_text_wedges_nothing() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    with sandbox():
        breaker = CircuitBreaker(trip=1)
        with pytest.raises(MuteError):
            breaker.call(raise_it, MuteError())
        assert breaker.state == "open"
        with pytest.raises(CircuitOpen, match="MuteError"):
            breaker.admit()


def raise_it(error: Exception) -> None:
    raise error


@pytest.mark.law(10)
def test_a_dry_run_says_where_it_would_have_opened_and_for_how_long_it_would_have_been() -> None:
    heard: list[Any] = []
    with sandbox() as time, listen(heard.append):
        breaker = CircuitBreaker(trip=3, cooldown=10.0, jitter=0.0)
        breaker.dry_run()
        guarded = breaker(raise_it)
        for _ in range(10):
            with pytest.raises(KeyError):
                guarded(KeyError())
        assert (breaker.state, breaker.stats.failures) == ("dry_run", 3)
        time.advance(10.0)
        for _ in range(3):
            with pytest.raises(KeyError):
                guarded(KeyError())
    assert [type(event) for event in heard] == [StateChanged, WouldOpen, WouldOpen]


@pytest.mark.law(94)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # 3.12 warns of a fork beside threads, which is the point
def test_a_forked_child_waits_for_no_lock_and_no_probe_of_its_parent() -> None:
    with sandbox() as time:
        breaker = opened(trip=(1, FailureRate(0.5, calls=10)))
        time.advance(10.0)
        probe = breaker.admit()
        answers = multiprocessing.get_context("fork").SimpleQueue()

        def child() -> None:
            probe.succeed()  # the parent's: it means nothing here
            answers.put((breaker.state, breaker.stats.failures))
            breaker.admit().succeed()
            answers.put(breaker.state)

        with breaker._lock:
            process = multiprocessing.get_context("fork").Process(target=child)
            process.start()
        process.join(30)
        assert process.exitcode == 0
        assert answers.get() == ("half_open", 1)
        assert answers.get() == "closed"
        assert breaker.state == "half_open"


@pytest.mark.law(97)
@pytest.mark.filterwarnings("ignore::resilience.errors.ResilienceWarning")
@given(lives=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12))
def test_totals_outlive_the_policy_and_are_summed_by_name(lives: list[tuple[int, bool]]) -> None:
    name = f"law 97 {object()!r} {lives}"
    held: list[CircuitBreaker] = []
    expected = 0
    with sandbox():
        for failures, dies in lives:
            breaker = CircuitBreaker(name, trip=100)
            for _ in range(failures):
                breaker.admit().fail()
            expected += failures
            if not dies:
                held.append(breaker)
            del breaker
            assert totals_of("circuit_breaker")[name]["failure"] == expected
        held.clear()
        assert totals_of("circuit_breaker").get(name, {"failure": 0})["failure"] == expected


@pytest.mark.law(21, 97)
def test_what_is_kept_of_the_dead_is_one_sum() -> None:
    label = f"one sum {object()!r}"
    with sandbox():
        for _ in range(500):
            CircuitBreaker(label).admit().fail()
        assert len(_live["circuit_breaker", label]) < 50
        assert totals_of("circuit_breaker")[label]["failure"] == 500


@pytest.mark.law(97)
def test_no_total_falls_whatever_is_done() -> None:
    with sandbox() as time:
        breaker = opened()
        before = breaker.stats
        for act in (
            breaker.reset,
            breaker.isolate,
            breaker.disable,
            breaker.dry_run,
            lambda: breaker.configure(trip=9),
        ):
            act()
            time.advance(10.0)
            now = breaker.stats
            for total in ("failures", "slow", "ignored", "cancelled", "refused", "opened", "transitions"):
                assert getattr(now, total) >= getattr(before, total)
            before = now
