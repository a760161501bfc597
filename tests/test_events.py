"""Events: frozen values, one door, and listeners that cannot do harm."""

import dataclasses
import logging
import pickle
import threading
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience import Bulkhead, BulkheadFull, CircuitBreaker, CircuitOpen, events, fallback, listen, retry
from resilience import _events as machinery
from resilience.events import (
    Abandoned,
    CutOff,
    Event,
    FellBack,
    GaveUp,
    Hedged,
    Injected,
    Overran,
    Recovered,
    RefreshFailed,
    Refused,
    Retrying,
    SagaParked,
    ServedStale,
    StateChanged,
    StoreFailed,
    WouldOpen,
)
from resilience.testing import sandbox

ERROR = OSError("text")
EVENTS: list[Event] = [
    Retrying("p", 1, 0.5, ERROR),
    Recovered("p", 2),
    GaveUp("p", 3, "no more are allowed", ERROR),
    Refused("p", ERROR),
    StateChanged("p", "closed", "open", "5 failures", 60.0),
    WouldOpen("p", "5 failures"),
    CutOff("p", 2.0),
    Abandoned("p", 2.0, 1),
    Overran("p", 2.0, 3.0),
    FellBack("p", None),
    Injected("p", "fault", 0.1, ERROR),
    Hedged("p", 2, 0.1),
    ServedStale("p", 90.0, ERROR),
    RefreshFailed("p", ERROR),
    StoreFailed("p", "get", ERROR),
    SagaParked("p", "order-42", "charge", "undo-failed", "builtins.OSError: no route"),
]


@pytest.fixture(autouse=True)
def nobody_is_left_listening() -> Any:
    yield
    assert machinery._listeners == ()


def test_these_are_all_there_are() -> None:
    assert {type(event).__name__ for event in EVENTS} == set(events.__all__) - {"Event", "Listener"}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_events_are_frozen_values(event: Any) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.policy = "other"
    with pytest.raises((AttributeError, TypeError)):
        event.unknown = 1
    assert event == dataclasses.replace(event)
    assert repr(event).startswith(f"{type(event).__name__}(policy='p'")
    assert type(pickle.loads(pickle.dumps(event))) is type(event)


def test_an_event_says_when() -> None:
    with sandbox() as time:
        early = events.Recovered("payments", 2)
        time.advance(5)
        late = events.Recovered("payments", 2)
        assert late.at == time.now() == early.at + 5
    assert early == late


def test_what_is_told_and_by_whom() -> None:
    """The policies that there are, and what they tell of one story each."""
    heard: list[Event] = []
    failures = [ConnectionError(), ConnectionError()]

    def flaky() -> str:
        if failures:
            raise failures.pop()
        return "done"

    def fails() -> str:
        raise ConnectionError

    with sandbox(), listen(heard.append):
        retry(on=OSError, name="r").call(flaky)
        fallback("x", on=OSError, name="f").call(fails)
        with pytest.raises(ConnectionError):
            retry(on=OSError, attempts=2, name="g").call(fails)
        breaker = CircuitBreaker("told", trip=1)
        with pytest.raises(ConnectionError):
            breaker.call(fails)
        with pytest.raises(CircuitOpen):
            breaker.call(fails)
        bulkhead = Bulkhead(1, name="b")
        with bulkhead.guard(), pytest.raises(BulkheadFull):
            bulkhead.call(fails)
    assert [(type(event).__name__, event.policy) for event in heard] == [
        ("Retrying", "r"),
        ("Retrying", "r"),
        ("Recovered", "r"),
        ("FellBack", "f"),
        ("Retrying", "g"),
        ("GaveUp", "g"),
        ("StateChanged", "told"),
        ("Refused", "told"),
        ("Refused", "b"),
    ]


def test_an_event_knows_when_it_was() -> None:
    with sandbox() as time:
        first = Recovered("p", 2)
        time.advance(3)
        second = Recovered("p", 2)
    assert second.at - first.at == 3
    assert first == second


def test_a_call_that_succeeds_at_once_tells_nothing() -> None:
    heard: list[Event] = []
    with listen(heard.append):
        for policy in (retry(on=OSError), fallback(0, on=OSError), CircuitBreaker(), Bulkhead(1)):
            policy.call(divmod, 7, 2)
    assert heard == []


# Listeners


@given(st.lists(st.sampled_from(["good", "bad", "worse"]), max_size=5))
def test_a_listener_that_raises_harms_neither_the_call_nor_the_others(kinds: list[str]) -> None:
    heard: list[int] = []

    def listener(number: int, kind: str) -> Any:
        def hear(event: Event) -> None:
            heard.append(number)
            if kind == "bad":
                raise ZeroDivisionError
            if kind == "worse":
                raise ExceptionGroup("several", [ValueError()])

        return hear

    listening = [listen(listener(number, kind)).start() for number, kind in enumerate(kinds)]
    logging.disable()  # what it raises is logged, which the next test is about
    try:
        machinery.emit(Recovered("p", 2))
    finally:
        logging.disable(logging.NOTSET)
        for each in listening:
            each.stop()
    assert heard == list(range(len(kinds)))  # each once, in the order in which they began


def test_what_a_listener_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: Event) -> None:
        raise ZeroDivisionError("in the listener")

    with listen(broken):
        assert fallback("x", on=OSError, name="f").call(raises) == "x"
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("resilience", "ERROR")
    assert "broken" in record.getMessage()
    assert "FellBack(policy='f'" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)


def raises() -> str:
    raise OSError


def test_an_interrupt_in_a_listener_comes_through() -> None:
    def interrupted(event: Event) -> None:
        raise KeyboardInterrupt

    with listen(interrupted), pytest.raises(KeyboardInterrupt):
        machinery.emit(Recovered("p", 2))


def test_listening_ends_with_the_block_also_by_an_error() -> None:
    heard: list[Event] = []

    def block() -> None:
        with listen(heard.append):
            machinery.emit(Recovered("p", 1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block()
    machinery.emit(Recovered("p", 2))
    assert heard == [Recovered("p", 1)]


def test_start_and_stop() -> None:
    heard: list[Event] = []
    listening = listen(heard.append)
    machinery.emit(Recovered("p", 0))
    assert listening.start() is listening
    machinery.emit(Recovered("p", 1))
    listening.stop()
    listening.stop()  # harmless
    machinery.emit(Recovered("p", 2))
    assert heard == [Recovered("p", 1)]


def test_a_listener_may_begin_and_end_listening_while_it_hears() -> None:
    heard: list[str] = []
    late = listen(lambda event: heard.append("late"))

    def first(event: Event) -> None:
        heard.append("first")
        late.start()
        listening.stop()

    listening = listen(first).start()
    machinery.emit(Recovered("p", 1))
    machinery.emit(Recovered("p", 2))
    late.stop()
    assert heard == ["first", "late"]


def test_one_listener_heard_twice_is_stopped_once_at_a_time() -> None:
    heard: list[Event] = []
    with listen(heard.append):
        with listen(heard.append):
            machinery.emit(Recovered("p", 1))
        machinery.emit(Recovered("p", 2))
    assert heard == [Recovered("p", 1)] * 2 + [Recovered("p", 2)]


def test_what_cannot_hear_is_refused() -> None:
    async def later(event: Event) -> None: ...

    for function in (42, None, "print", Event, later, lambda: None, lambda a, b: None):
        with pytest.raises(TypeError, match="function must"):
            listen(function)  # type: ignore[arg-type]  # on purpose


def test_threads_may_begin_and_end_at_the_same_time() -> None:
    """Nothing is lost: each thread hears its own event, as often as it says it."""
    everybody = threading.Barrier(6)
    heard: dict[int, int] = {}

    def run(number: int) -> None:
        mine: list[Event] = []
        everybody.wait()
        for turn in range(200):
            with listen(mine.append):
                machinery.emit(Recovered(str(number), turn))
        heard[number] = sum(event.policy == str(number) for event in mine)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == dict.fromkeys(range(6), 200)


@pytest.mark.law(72)
@pytest.mark.anyio
async def test_listeners_run_in_the_task_and_context_of_the_call() -> None:
    from contextvars import ContextVar  # noqa: PLC0415 - only here

    request: ContextVar[int] = ContextVar("request")
    heard: list[tuple[int, int]] = []

    @retry(on=OSError, attempts=2, wait=0, budget=None)
    async def fails() -> None:
        await anyio.lowlevel.checkpoint()
        raise ConnectionError

    async def ask(number: int) -> None:
        request.set(number)
        with pytest.raises(ConnectionError):
            await fails()

    with listen(lambda event: heard.append((request.get(), threading.get_ident()))):
        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(ask, number)
    assert sorted(heard) == [(number, threading.get_ident()) for number in range(5) for _ in ("retrying", "gave up")]


# The default: a logger


@pytest.mark.parametrize(
    ("event", "level", "text"),
    [
        (
            StateChanged("p", "closed", "open", "5 failures", 60.0),
            "WARNING",
            "circuit breaker p: closed -> open, 5 failures",
        ),
        (
            StateChanged("p", "open", "isolated", "by hand", None),
            "WARNING",
            "circuit breaker p: open -> isolated, by hand",
        ),
        (
            StateChanged("p", "half_open", "closed", "1 probe", None),
            "INFO",
            "circuit breaker p: half_open -> closed, 1 probe",
        ),
        (Abandoned("p", 2.0, 3), "WARNING", "timeout p: work was left behind after 2 s; 3 such still run"),
    ],
)
def test_what_the_logger_says(event: Event, level: str, text: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "resilience")
    machinery.emit(event)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [(level, text)]


def test_the_logger_says_nothing_of_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "resilience")
    for event in EVENTS:
        if not isinstance(event, StateChanged | Abandoned | SagaParked):
            machinery.emit(event)
    machinery.emit(StateChanged("p", "open", "half_open", "the cooldown is over", None))
    assert caplog.records == []
