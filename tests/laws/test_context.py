"""The laws of context: an attempt runs as if it were the first, and what comes out looks as it would without us."""

import asyncio
import contextlib
import gc
import itertools
import sys
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from typing import Any, Self

import anyio
import anyio.lowlevel
import opentelemetry.trace as api
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from resilience import Pipeline, deadline, fallback, listen, retry
from resilience.errors import BulkheadFull, Rejected
from resilience.testing import sandbox
from tests.doors import FUNCTION_DOORS, SYNC_DOORS, Work, call
from tests.retry_doors import RETRY_DOORS, Alien, Passing, Quit, Script, loop, outcome_of

Door = Callable[[Any, Work], Any]

who: ContextVar[str] = ContextVar("who", default="nobody")
trail: ContextVar[tuple[int, ...]] = ContextVar("trail", default=())


@pytest.mark.law(66, 72)
@pytest.mark.parametrize("door", RETRY_DOORS)
def test_attempts_options_and_listeners_see_what_the_caller_set(door: Door) -> None:
    seen: dict[str, list[str]] = {}

    def look(place: str, answer: Any) -> Callable[[object], Any]:
        def function(_: object) -> Any:
            seen.setdefault(place, []).append(who.get())
            return answer

        return function

    def work() -> None:
        look("attempt", None)(None)
        raise Passing

    policy = retry(on=look("on", True), wait=look("wait", 0.0), retry_after=look("retry_after", None), attempts=3)
    token = who.set("me")
    try:
        with sandbox(), listen(look("listener", None)):
            outcome_of(door, policy, work)
    finally:
        who.reset(token)
    assert seen == {place: ["me"] * 3 for place in ("attempt", "on", "wait", "retry_after", "listener")}


@pytest.mark.law(66, 72)
@pytest.mark.parametrize("door", FUNCTION_DOORS)
def test_so_does_a_fallback(door: Door) -> None:
    seen: list[str] = []
    token = who.set("me")
    try:
        with listen(lambda _: seen.append(who.get())):
            assert outcome_of(door, fallback(to=who.get, on=Passing), Script("passing")) == "me"
    finally:
        who.reset(token)
    assert seen == ["me"]


@pytest.mark.law(72)
@pytest.mark.parametrize("policy", [retry(on=Passing), Pipeline(fallback("instead", on=Alien), retry(on=Passing))])
@pytest.mark.parametrize("door", [*SYNC_DOORS, pytest.param(loop, id="loop")])
def test_what_an_attempt_sets_is_seen_by_the_next_and_by_the_caller(door: Door, policy: Any) -> None:
    if door is loop and isinstance(policy, Pipeline):
        policy = retry(on=Passing)
    token = trail.set(())
    try:
        with sandbox():
            assert outcome_of(door, policy, leave_a_trail()) == "ok"
        assert trail.get() == (1, 2, 3)
    finally:
        trail.reset(token)


def leave_a_trail() -> Work:
    numbers = itertools.count(1)

    def work() -> str:
        number = next(numbers)
        assert trail.get() == tuple(range(1, number))
        trail.set((*trail.get(), number))
        if number < 3:
            raise Passing
        return "ok"

    return work


@pytest.mark.law(72)
@pytest.mark.anyio
@pytest.mark.parametrize("way", ["decorator", "acall", "loop"])
async def test_the_same_holds_on_an_event_loop(way: str) -> None:
    policy = retry(on=Passing)
    work = leave_a_trail()

    async def awork() -> str:
        await anyio.lowlevel.checkpoint()
        return work()

    with sandbox():
        if way == "decorator":
            await policy(awork)()
        elif way == "acall":
            await policy.acall(awork)
        else:
            async for attempt in policy:
                with attempt:
                    await awork()
    assert trail.get() == (1, 2, 3)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    provider, memory = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    monkeypatch.setattr(api, "_TRACER_PROVIDER", provider)
    yield memory
    provider.shutdown()


@pytest.mark.law(66)
@pytest.mark.parametrize("door", FUNCTION_DOORS)
def test_the_current_span_is_the_attempts_a_child_of_the_callers(door: Door, spans: InMemorySpanExporter) -> None:
    inside: list[int] = []

    def work() -> None:
        inside.append(api.get_current_span().get_span_context().span_id)
        raise Passing

    def to() -> str:
        inside.append(api.get_current_span().get_span_context().span_id)
        return "instead"

    policy = Pipeline(fallback(to=to, on=Passing), retry(on=Passing), name="both")
    with sandbox(), api.get_tracer("test").start_as_current_span("caller") as caller:
        assert outcome_of(door, policy, work) == "instead"
        assert api.get_current_span() is caller
    *inner, whole, outer = spans.get_finished_spans()
    attempts = [span for span in inner if span.name != "retry.wait"]
    assert [span.name for span in attempts] == ["attempt 1", "attempt 2", "attempt 3"]
    assert inside == [number(span) for span in (*attempts, whole)]
    assert [parent(span) for span in attempts] == [number(whole)] * 3
    assert (whole.name, parent(whole)) == ("both", number(outer))
    assert {span.context.trace_id for span in (*attempts, whole, outer) if span.context} == {
        caller.get_span_context().trace_id
    }


@pytest.mark.law(66)
@pytest.mark.usefixtures("spans")
def test_a_coroutine_that_is_closed_elsewhere_just_ends(caplog: pytest.LogCaptureFixture) -> None:
    """As the collector does: in whatever context it runs."""

    async def hang() -> None:
        await asyncio.Future()

    async def main() -> None:
        coroutine = retry(on=Passing)(hang)()
        copy_context().run(coroutine.send, None)
        coroutine.close()

    asyncio.run(main())
    assert "Failed to detach" not in caplog.text


def number(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


def parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


@pytest.mark.law(93)
@pytest.mark.parametrize("door", RETRY_DOORS)
@pytest.mark.parametrize("handling", [None, KeyError("outside")], ids=["calm", "in-a-handler"])
@given(script=st.lists(st.sampled_from(["passing", "refused", "alien", "ok"]), min_size=1, max_size=4).map(tuple))
def test_an_attempt_runs_as_if_it_were_the_first(
    door: Door, handling: Exception | None, script: tuple[str, ...]
) -> None:
    seen: list[BaseException | None] = []
    work = Script(*script)

    def looking() -> str:
        seen.append(sys.exception())
        return work()

    def run() -> tuple[object, BaseException | None]:
        with sandbox():
            outcome = outcome_of(door, retry(on=(Passing, Rejected)), looking)
        return outcome, getattr(outcome, "__context__", None)

    if handling is None:
        outcome, context = run()
    else:
        try:
            raise handling
        except KeyError:
            outcome, context = run()
    assert len(set(map(id, seen))) == 1
    if door.__module__ == "tests.retry_doors" or door in {value.values[0] for value in SYNC_DOORS}:
        assert seen[0] is handling
        assert context is (handling if isinstance(outcome, Exception) else None)


@pytest.mark.law(93)
@pytest.mark.parametrize("door", RETRY_DOORS)
@pytest.mark.parametrize("line", ["passing", "alien"])
def test_chains_come_out_as_they_were_made(door: Door, line: str) -> None:
    cause, before = ValueError("cause"), LookupError("before")
    kind = {"passing": Passing, "alien": Alien}[line]
    made: list[BaseException] = []

    def work() -> None:
        error = kind()
        made.append(error)
        try:
            raise before
        except LookupError:
            if len(made) % 2:
                raise error from cause
            raise error from None

    with sandbox():
        outcome = outcome_of(door, retry(on=Passing), work)
    assert outcome is made[-1]
    assert outcome.__cause__ is (cause if len(made) % 2 else None)
    assert outcome.__context__ is before
    assert outcome.__suppress_context__


@pytest.mark.law(93)
@pytest.mark.parametrize("door", [*SYNC_DOORS, pytest.param(loop, id="loop")])
def test_a_traceback_leads_from_the_caller_to_the_function_and_does_not_grow(door: Door) -> None:
    lengths = set[int]()
    for attempts in (2, 3, 9):
        with sandbox():
            outcome = outcome_of(door, retry(on=Passing, attempts=attempts), Script("passing"))
        frames = traceback.extract_tb(outcome.__traceback__)
        lengths.add(len(frames))
        assert frames[0].name == "outcome_of"
        assert frames[-1].name == "__call__"
        assert frames[-1].filename.endswith("retry_doors.py")
        assert len([frame for frame in frames if frame.filename.endswith("_rounds.py")]) <= 1
    assert len(lengths) == 1


class Garbage:
    """Nothing that was made inside may be left to the collector."""

    def __init__(self) -> None:
        self.made: list[weakref.ref[BaseException]] = []

    def raising(self, make: Callable[[], BaseException]) -> BaseException:
        error = make()
        self.made.append(weakref.ref(error))
        return error

    def __enter__(self) -> Self:
        gc.collect()
        gc.disable()
        return self

    def __exit__(self, *raised: object) -> None:
        gc.enable()


ENDINGS: dict[str, list[Callable[[], BaseException]]] = {
    "given up": [Passing],
    "another error": [Passing, Passing, Alien],
    "refused": [Passing, lambda: BulkheadFull("b")],
    "refused, and refused": [lambda: BulkheadFull("b")],
    "to stop": [Passing, Passing, Quit],
}


def works(garbage: Garbage, makes: list[Callable[[], BaseException]]) -> Callable[[], None]:
    numbers = itertools.count()

    def work() -> None:
        raise garbage.raising(makes[min(next(numbers), len(makes) - 1)])

    return work


def options(case: str, garbage: Garbage) -> dict[str, Any]:
    asked = itertools.count(1)

    def problem(_: object) -> Any:
        if next(asked) == 2:
            raise garbage.raising(Alien)
        return True

    return {
        "plain": {"on": (Passing, Rejected)},
        "predicate raises": {"on": problem},
        "stop raises": {"on": Passing, "stop": lambda state: not problem(state)},
        "no wait": {"on": (Passing, Rejected), "wait": lambda _: None},
        "too long": {"on": (Passing, Rejected), "wait": 100.0},
        "no budget": {"on": (Passing, Rejected), "attempts": None, "wait": 0.0},
        "late": {"on": (Passing, Rejected), "wait": 1.0, "attempts": None, "max_elapsed": 20},
    }[case]


CASES = ["plain", "predicate raises", "stop raises", "no wait", "too long", "no budget", "late"]


@pytest.mark.law(93)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("door", [*SYNC_DOORS, pytest.param(loop, id="loop")])
def test_nothing_is_left_to_the_collector(door: Door, ending: str, case: str) -> None:
    with sandbox(), Garbage() as garbage:
        policy = retry(**options(case, garbage))
        work = works(garbage, ENDINGS[ending])
        outcome_of(door, policy, work)
        del policy
        assert garbage.made
        assert not [kept() for kept in garbage.made if kept() is not None]


@pytest.mark.law(93)
@pytest.mark.anyio
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("way", ["acall", "loop"])
async def test_nor_on_an_event_loop(way: str, ending: str, case: str) -> None:
    with sandbox(), Garbage() as garbage:
        policy = retry(**options(case, garbage))
        work = works(garbage, ENDINGS[ending])

        async def awork() -> None:
            work()

        async def run() -> None:
            if way == "acall":
                await policy.acall(awork)
            async for attempt in policy:
                with attempt:
                    await awork()

        with contextlib.suppress(BaseException):
            await run()
        assert garbage.made
        assert not [kept() for kept in garbage.made if kept() is not None]


@pytest.mark.law(41, 93)
@pytest.mark.anyio
@pytest.mark.parametrize("way", ["acall", "loop"])
async def test_nor_when_a_wait_is_cancelled(way: str) -> None:
    with sandbox(), Garbage() as garbage:
        policy = retry(on=Passing, wait=10.0)
        work = works(garbage, [Passing])

        async def awork() -> None:
            work()

        async def run() -> None:
            if way == "acall":
                await policy.acall(awork)
            async for attempt in policy:
                with attempt:
                    await awork()

        with anyio.CancelScope() as scope, listen(lambda _: scope.cancel()):
            await run()
        assert scope.cancelled_caught
        assert len(garbage.made) == 1
        assert garbage.made[0]() is None


def instead() -> str:
    return "instead"


def failing() -> str:
    raise Alien


@pytest.mark.law(93)
@pytest.mark.parametrize("door", SYNC_DOORS)
@pytest.mark.parametrize("to", [instead, failing])
def test_nor_by_a_fallback(door: Door, to: Any) -> None:
    with Garbage() as garbage:
        outcome_of(door, fallback(to=to, on=Passing), works(garbage, [Passing]))
        assert garbage.made[0]() is None


@pytest.mark.law(93)
def test_nor_when_the_deadline_passes_while_waiting() -> None:
    for door in (call, loop):
        with sandbox() as time, Garbage() as garbage, deadline(5.0), listen(lambda _, time=time: time.advance(10.0)):
            outcome_of(door, retry(on=Passing, wait=1.0), works(garbage, [Passing]))
            assert len(garbage.made) == 1
            assert garbage.made[0]() is None


@pytest.mark.law(93)
def test_collecting_finds_nothing_after_many_calls() -> None:
    with sandbox(), Garbage():
        guarded = retry(on=Passing, budget=None)(Script("passing"))
        for _ in range(3):
            _drop(guarded)
        gc.collect()
        for _ in range(20):
            _drop(guarded)
        assert gc.collect() == 0


def _drop(work: Work) -> None:
    with contextlib.suppress(Passing):
        work()
