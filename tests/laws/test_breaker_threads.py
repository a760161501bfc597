"""The laws of the circuit breaker with eight threads that are interrupted at every chance."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import pytest

from resilience._breaker import CircuitBreaker
from resilience._core.states import TRANSITIONS
from resilience._events import StateChanged, listen
from resilience._rates import FailureRate, SlowRate
from resilience.errors import CircuitOpen
from resilience.testing import sandbox

THREADS = 8
EDGES = {(before.value, after.value) for (before, _), after in TRANSITIONS.items()}


@contextmanager
def restless() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def torn() -> Iterator[None]:
    """Threads begun in here may be interrupted between any two steps of the machine, not only where CPython likes."""

    def step(frame: Any, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.endswith(("_core/breaker.py", "_core/windows.py", "_core/period.py")):
            return None
        frame.f_trace_opcodes = True
        return step

    threading.settrace(step)
    try:
        with restless():
            yield
    finally:
        threading.settrace(None)  # type: ignore[arg-type]  # None takes it back, whatever the stubs say


def together(*works: Callable[[], object]) -> None:
    """Run each in a thread of its own, all at once; what one raises comes out."""
    barrier = threading.Barrier(len(works))
    errors: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        barrier.wait()
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def down() -> None:
    raise ConnectionError


@pytest.mark.law(24, 75)
@pytest.mark.parametrize("rate", [None, FailureRate(1.0, calls=10**6), FailureRate(1.0, seconds=10**6)], ids=str)
def test_no_failure_and_no_success_is_lost(rate: FailureRate | None) -> None:
    calls = 300
    with sandbox(), restless():
        breaker = CircuitBreaker(trip=(10**6, rate) if rate else 10**6, jitter=0.0)
        up, broken = breaker(lambda: None), breaker(down)
        up()  # with one success no rate comes to 1

        def mixed() -> None:
            for _ in range(calls):
                up()
                with suppress(OSError):
                    broken()

        def failing() -> None:
            for _ in range(calls):
                with suppress(OSError):
                    broken()

        together(*[mixed] * (THREADS // 2), *[failing] * (THREADS // 2))
        stats = breaker.stats
        assert stats.failures == THREADS * calls
        for window in stats.windows:
            assert (window.calls, window.bad) == (1 + THREADS * calls + THREADS // 2 * calls, THREADS * calls)


@pytest.mark.law(24, 75)
def test_failures_are_counted_one_by_one_wherever_a_thread_is_interrupted() -> None:
    calls = 25
    rates = (FailureRate(1.0, calls=10**6), FailureRate(1.0, seconds=10**6))
    with sandbox(), torn():
        breaker = CircuitBreaker(trip=(10**6, *rates), jitter=0.0)
        breaker.admit().succeed()

        def failing() -> None:
            for _ in range(calls):
                breaker.admit().fail()

        together(*[failing] * THREADS)
        stats = breaker.stats
    assert stats.failures_in_row == stats.failures == THREADS * calls
    assert {(window.calls, window.bad) for window in stats.windows} == {(1 + THREADS * calls, THREADS * calls)}


@pytest.mark.law(75)
def test_failures_in_a_row_open_it_at_exactly_the_limit() -> None:
    with sandbox(), restless():
        for limit in (1, 7, THREADS * 20):
            breaker = CircuitBreaker(trip=limit, jitter=0.0)
            broken = breaker(down)

            def failing(broken: Callable[[], None] = broken) -> None:
                for _ in range(20):
                    with suppress(OSError, CircuitOpen):
                        broken()

            together(*[failing] * THREADS)
            assert breaker.stats.opened == 1
            assert breaker.stats.failures >= limit
            assert breaker.stats.failures + breaker.stats.refused == THREADS * 20


@pytest.mark.law(4, 75)
def test_no_extra_probe_is_let_in() -> None:
    with sandbox() as time, restless():
        for probes in (1, 3):
            breaker = CircuitBreaker(trip=1, cooldown=10.0, jitter=0.0, probes=probes)
            for _ in range(20):
                breaker.admit().fail()
                time.advance(10.0)
                held: list[Any] = []

                def rush(breaker: CircuitBreaker = breaker, held: list[Any] = held) -> None:
                    for _ in range(5):
                        with suppress(CircuitOpen):
                            held.append(breaker.admit())

                together(*[rush] * THREADS)
                assert len(held) == probes
                together(*[lease.succeed for lease in held])
                assert breaker.state == "closed"


@pytest.mark.law(10, 75)
def test_transitions_are_told_once_each_and_in_an_order_that_can_be() -> None:
    events: list[StateChanged] = []

    def hear(event: Any) -> None:
        if isinstance(event, StateChanged):
            events.append(event)

    with sandbox() as time, restless(), listen(hear):
        breaker = CircuitBreaker(trip=2, cooldown=1.0, jitter=0.0)
        up, broken = breaker(lambda: None), breaker(down)

        def storm() -> None:
            for number in range(60):
                with suppress(OSError, CircuitOpen):
                    broken() if number % 3 else up()
                if number % 5 == 0:
                    time.advance(1.0)
                if number % 20 == 0:
                    breaker.isolate()
                if number % 20 == 1:
                    breaker.reset()

        together(*[storm] * THREADS)
        breaker.reset()
    assert len(events) == len(breaker_changes(events)) > 20
    states = ["closed", *(event.after for event in events)]
    assert states[:-1] == [event.before for event in events]
    assert states[-1] == "closed"


def breaker_changes(events: list[StateChanged]) -> list[StateChanged]:
    return [event for event in events if (event.before, event.after) in EDGES]


@pytest.mark.law(10)
def test_two_transitions_by_two_threads_are_told_in_their_order() -> None:
    """The first is held up in a listener while the second happens, in another thread."""
    told: list[tuple[str, str]] = []
    inside, happened = threading.Event(), threading.Event()

    def hear(event: Any) -> None:
        if event.after == "isolated":
            inside.set()
            assert happened.wait(10.0)
        told.append((event.before, event.after))

    def second() -> None:
        assert inside.wait(10.0)
        breaker.reset()
        happened.set()

    with sandbox(), listen(hear):
        breaker = CircuitBreaker()
        together(breaker.isolate, second)
    assert told == [("closed", "isolated"), ("isolated", "closed")]


@pytest.mark.law(9, 10)
def test_a_listener_may_change_the_breaker_itself() -> None:
    told: list[str] = []

    def hear(event: Any) -> None:
        told.append(event.after)
        if event.after == "open":
            breaker.isolate()
            assert told == ["open"], "the news of a listener comes after what it was told"
            raise ValueError("and a listener that raises changes nothing")

    with sandbox(), listen(hear):
        breaker = CircuitBreaker(trip=1)
        with pytest.raises(ConnectionError):
            breaker.call(down)
    assert told == ["open", "isolated"]


@pytest.mark.law(22, 24)
def test_nothing_is_lost_while_it_is_configured() -> None:
    calls = 200
    rate = FailureRate(1.0, calls=10**6)
    with sandbox(), restless():
        breaker = CircuitBreaker(trip=(10**6, rate), jitter=0.0)
        up, broken = breaker(lambda: None), breaker(down)
        up()

        def busy() -> None:
            for _ in range(calls):
                up()
                with suppress(OSError):
                    broken()

        def restyle() -> None:
            for number in range(calls):
                others = [SlowRate(1.0, slower_than=number + 1, seconds=10)] if number % 2 else []
                breaker.configure(trip=(10**6, rate, *others), cooldown=float(number + 1))

        together(restyle, restyle, *[busy] * (THREADS - 2))
        kept = breaker.stats.windows[0]
        assert (kept.calls, kept.bad) == (1 + 2 * (THREADS - 2) * calls, (THREADS - 2) * calls)


@pytest.mark.law(24, 75)
def test_threads_and_event_loops_are_counted_together() -> None:
    calls = 100
    with sandbox(), restless():
        breaker = CircuitBreaker(trip=(10**6, FailureRate(1.0, calls=10**6)), jitter=0.0)

        @breaker
        async def adown() -> None:
            await anyio.lowlevel.checkpoint()
            raise OSError

        @breaker
        async def aup() -> None:
            await anyio.lowlevel.checkpoint()

        up, broken = breaker(lambda: None), breaker(down)
        up()

        def plain() -> None:
            for _ in range(calls):
                up()
                with suppress(OSError):
                    broken()

        async def tasks() -> None:
            async def one() -> None:
                for _ in range(calls // 10):
                    await aup()
                    with suppress(OSError):
                        await adown()

            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(one)

        loops = [lambda name=name: anyio.run(tasks, backend=name) for name in ("asyncio", "trio") * 2]
        together(*loops, *[plain] * 4)
        window = breaker.stats.windows[0]
        assert (window.calls, window.bad) == (1 + THREADS * 2 * calls, THREADS * calls)
