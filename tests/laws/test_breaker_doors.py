"""The laws of the circuit breaker through every door: decorator, `call`, `acall`, guard and lease, on both event loops.

A call that overlaps others is made by having its own work do what the others do: while it runs, they come and go.
"""

import asyncio
import functools
import json
import pickle
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from resilience._breaker import CircuitBreaker
from resilience._rates import FailureRate, SlowRate
from resilience.errors import BulkheadFull, CircuitOpen, OutOfTime, Rejected, TimedOut
from resilience.testing import sandbox
from tests.doors import DOORS, FUNCTION_DOORS, SYNC_DOORS, guard

Door = Callable[[Any, Callable[[], Any]], Any]
every_door = pytest.mark.parametrize("door", DOORS)


def raising(error: BaseException) -> Callable[[], Any]:
    def work() -> Any:
        raise error

    return work


def attempt(door: Door, breaker: CircuitBreaker, error: BaseException | None = None) -> BaseException | None:
    """One call that succeeds, or fails with the error; what came out."""
    return outcome(door, breaker, raising(error) if error else lambda: "ok")


def outcome(door: Door, breaker: CircuitBreaker, work: Callable[[], Any]) -> BaseException | None:
    """What comes out of one call, if it is an error."""
    try:
        door(breaker, work)
    except BaseException as raised:
        return raised
    return None


def breaker(**options: Any) -> CircuitBreaker:
    return CircuitBreaker(**{"trip": 2, "cooldown": 10.0, "jitter": 0.0, **options})


def trip(target: CircuitBreaker) -> None:
    """Open it, by calls of its own."""
    while target.state != "open":
        target.admit().fail()


@pytest.mark.law(1)
@every_door
def test_a_stale_success_never_closes(door: Door) -> None:
    with sandbox() as time:
        target = breaker()

        def meanwhile() -> str:
            trip(target)
            time.advance(10.0)
            target.admit()  # the probe, still under way
            return "ok"

        assert door(target, meanwhile) == "ok"
        assert target.state == "half_open"


@pytest.mark.law(2)
@every_door
def test_a_stale_failure_never_reopens_nor_discards_a_probe(door: Door) -> None:
    with sandbox() as time:
        target = breaker()
        probes: list[Any] = []

        def meanwhile() -> None:
            trip(target)
            time.advance(10.0)
            probes.append(target.admit())
            raise ConnectionError

        with pytest.raises(ConnectionError):
            door(target, meanwhile)
        assert target.state == "half_open"
        probes[0].succeed()
        assert target.state == "closed"


@pytest.mark.law(3, 4)
@every_door
def test_stale_calls_never_make_room_for_probes(door: Door) -> None:
    with sandbox() as time:
        target = breaker(probes=2)

        def meanwhile() -> None:
            trip(target)
            time.advance(10.0)
            target.admit()
            target.admit()
            raise KeyError  # an error like any other, of a call from before

        assert isinstance(outcome(door, target, meanwhile), KeyError)
        assert isinstance(attempt(door, target), CircuitOpen)


@pytest.mark.law(4)
@every_door
def test_at_most_so_many_probes_live_or_decided(door: Door) -> None:
    with sandbox() as time:
        target = breaker(probes=3)
        trip(target)
        time.advance(10.0)
        inside: list[int] = []

        def deeper() -> None:
            inside.append(1)
            outcome(guard, target, deeper)

        outcome(door, target, deeper)
        assert len(inside) == 3


@pytest.mark.law(5, 7, 8)
@every_door
@pytest.mark.parametrize(
    "error", [KeyError("not meant"), ConnectionResetError("ignored"), KeyboardInterrupt(), asyncio.CancelledError()]
)
def test_a_neutral_probe_decides_nothing_and_gives_its_place_back(door: Door, error: BaseException) -> None:
    with sandbox() as time:
        target = breaker(on=OSError, ignore=ConnectionResetError)
        trip(target)
        time.advance(10.0)
        for _ in range(3):
            assert attempt(door, target, error) is not None
            assert target.state == "half_open"
        assert attempt(door, target) is None
        assert target.state == "closed"


@pytest.mark.law(6)
@every_door
def test_a_hung_probe_is_reclaimed_and_its_late_outcome_changes_nothing(door: Door) -> None:
    with sandbox() as time:
        target = breaker(probe_lease=30.0)
        trip(target)
        time.advance(10.0)
        seen: list[Any] = []

        def hangs() -> str:
            time.advance(29.0)
            seen.append(attempt(guard, target))  # still its place
            time.advance(1.0)
            target.admit()  # the place is another's now
            return "late"

        assert door(target, hangs) == "late"
        assert isinstance(seen[0], CircuitOpen)
        assert seen[0].retry_after is None
        assert target.state == "half_open"


@pytest.mark.law(7)
@every_door
def test_a_slow_probe_does_not_close(door: Door) -> None:
    with sandbox() as time:
        target = breaker(trip=(1, SlowRate(1.0, slower_than=2.0, calls=10)))
        trip(target)
        time.advance(10.0)
        door(target, lambda: time.advance(2.5))
        assert target.state == "open"
        assert target.stats.slow == 1
        time.advance(10.0)
        door(target, lambda: time.advance(2.0))  # exactly at the limit is not slower than it
        assert target.state == "closed"


@pytest.mark.law(9)
@every_door
def test_a_predicate_that_raises_ends_the_call_with_that_and_wedges_nothing(door: Door) -> None:
    def confused(error: Exception) -> bool:
        raise LookupError("cannot tell")

    with sandbox() as time:
        target = breaker(trip=1, on=confused)
        error = attempt(door, target, OSError("down"))
        assert isinstance(error, LookupError)
        assert isinstance(error.__context__, OSError)
        assert target.stats.ignored == 1
        target.admit().fail()
        time.advance(10.0)
        assert isinstance(attempt(door, target, OSError()), LookupError)
        assert target.state == "half_open"
        assert attempt(door, target) is None
        assert target.state == "closed"


@pytest.mark.law(9, 46)
@pytest.mark.parametrize("door", FUNCTION_DOORS)
def test_a_result_predicate_that_raises_does_the_same(door: Door) -> None:
    def confused(result: object) -> bool:
        raise LookupError("cannot tell")

    with sandbox() as time:
        target = breaker(on_result=confused)
        trip(target)
        time.advance(10.0)
        assert isinstance(attempt(door, target), LookupError)
        assert target.state == "half_open"
        assert target.stats.ignored == 1
        target.configure(on_result=None)
        assert attempt(door, target) is None
        assert target.state == "closed"


@pytest.mark.law(17)
@every_door
@pytest.mark.parametrize("error", [BulkheadFull("inner"), CircuitOpen("inner", 3.0), OutOfTime("inner")])
def test_refusals_are_no_evidence(door: Door, error: Rejected) -> None:
    with sandbox():
        target = breaker(trip=(2, FailureRate(0.01, calls=10, minimum=1)))
        for refused in (error, ExceptionGroup("several", [error, error])):
            for _ in range(5):
                assert attempt(door, target, refused) is refused
        assert (target.state, target.stats.ignored) == ("closed", 10)
        assert target.stats.windows[0].calls == 0


@pytest.mark.law(17)
@every_door
def test_refusals_are_evidence_where_on_names_them(door: Door) -> None:
    with sandbox():
        target = breaker(on=(OSError, BulkheadFull))
        for _ in range(2):
            attempt(door, target, CircuitOpen("inner"))
            attempt(door, target, BulkheadFull("inner"))
        assert target.state == "open"


@pytest.mark.law(17)
@every_door
def test_a_timeout_is_evidence(door: Door) -> None:
    with sandbox():
        target = breaker()
        for _ in range(2):
            attempt(door, target, TimedOut("inner", 1.0))
        assert target.state == "open"


@pytest.mark.law(68)
@every_door
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_stops_the_program_is_no_failure_and_comes_through(door: Door, kind: type[BaseException]) -> None:
    with sandbox():
        target = breaker(trip=1)
        for _ in range(3):
            assert isinstance(attempt(door, target, kind()), kind)
        assert target.state == "closed"
        assert target.stats.cancelled == 3


@pytest.mark.law(84)
@every_door
@pytest.mark.parametrize("state", ["closed", "stirred", "half_open", "dry_run", "disable", "windows", "ramp"])
def test_no_lock_is_held_while_the_function_runs(door: Door, state: str) -> None:
    with sandbox() as time:
        target = breaker(
            trip=(3, SlowRate(0.5, slower_than=1.0, seconds=10.0)) if state == "windows" else 3,
            ramp=100.0,
            on_result=lambda _: not_locked(target),
            on=lambda _: not not_locked(target),
        )
        if state == "stirred":
            target.admit().fail()
        if state in ("half_open", "ramp"):
            trip(target)
            time.advance(10.0)
        if state == "ramp":
            target.admit().succeed()
        if state in ("dry_run", "disable"):
            getattr(target, state)()
        door(target, lambda: not_locked(target))
        assert isinstance(outcome(door, target, lambda: not_locked(target) or 1 / 0), ZeroDivisionError | CircuitOpen)


def not_locked(target: CircuitBreaker) -> bool:
    assert target._lock.acquire(blocking=False), "the lock is held"
    target._lock.release()
    return False


class Holder:
    """Hands out what a coroutine function makes, and does not look like one."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function

    def get(self) -> Any:
        return self.function()


@pytest.mark.law(86)
@pytest.mark.parametrize("door", SYNC_DOORS)
def test_a_coroutine_taken_for_a_result_is_neither_success_nor_failure(door: Door) -> None:
    async def fetch() -> str:
        return "never ran"

    with sandbox() as time:
        target = breaker(trip=1)
        hidden = Holder(fetch).get
        for work in (hidden, functools.partial(hidden)):
            with pytest.raises(TypeError, match=r"await policy\.acall"):
                door(target, work)
        trip(target)
        time.advance(10.0)
        with pytest.raises(TypeError):
            door(target, hidden)
        assert target.state == "half_open"
        assert target.stats.ignored == 3


@pytest.mark.law(81)
@pytest.mark.anyio
async def test_a_guard_may_be_left_in_another_task(anyio_backend: str) -> None:
    with sandbox() as time:
        target = breaker()
        trip(target)
        time.advance(10.0)
        block = target.guard()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(block.__aenter__)
        assert target.state == "half_open"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(block.__aexit__, None, None, None)
        assert target.state == "closed"


@pytest.mark.law(7, 68)
@pytest.mark.anyio
async def test_a_cancelled_probe_leaves_all_open(anyio_backend: str) -> None:
    with sandbox(autojump=False) as time:
        target = breaker()
        trip(target)
        time.advance(10.0)

        @target
        async def hangs() -> None:
            await anyio.sleep_forever()

        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hangs)
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
            assert target.state == "half_open"
        assert target.stats.cancelled == 3
        target.admit().succeed()
        assert target.state == "closed"


@pytest.mark.law(85)
def test_one_breaker_counts_for_plain_code_and_for_several_loops() -> None:
    with sandbox():
        target = breaker(trip=3)
        for way in (call_plain, call_on("asyncio"), call_on("trio")):
            assert target.state == "closed"
            with pytest.raises(ConnectionError):
                way(target)
        assert target.state == "open"


def call_plain(target: CircuitBreaker) -> None:
    target.call(raising(ConnectionError()))


def call_on(backend: str) -> Callable[[CircuitBreaker], None]:
    async def down() -> None:
        raise ConnectionError

    return lambda target: anyio.run(target.acall, down, backend=backend)


@pytest.mark.law(73)
def test_a_breaker_refuses_to_be_copied_and_its_values_do_not() -> None:
    target = breaker(name="payments")
    with pytest.raises(TypeError, match="in each process"):
        pickle.dumps(target)
    for rule in (FailureRate(0.5, seconds=10), SlowRate(0.5, slower_than=1.0, calls=30)):
        again = pickle.loads(pickle.dumps(rule))
        assert again == rule
        assert hash(again) == hash(rule)
    with sandbox():
        assert json.loads(json.dumps(target.snapshot())) == target.snapshot()
    assert pickle.loads(pickle.dumps(target.stats)) == target.stats
