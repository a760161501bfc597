"""The laws of the protocol itself: they hold for every policy, through every door, watched or not."""

import functools
import gc
import inspect
import random
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import anyio
import opentelemetry.trace as api
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.util._once import Once

from resilience import Bulkhead, CircuitBreaker, Pipeline, Rejected, TimedOut, fallback, retry, timeout
from resilience.testing import sandbox
from tests.doors import FUNCTION_DOORS, SYNC_DOORS

Door = Callable[[Any, Callable[[], Any]], Any]

MAKERS: dict[str, Callable[[], Any]] = {
    "retry": lambda: retry(on=Exception, attempts=2, wait=0),
    "breaker": lambda: CircuitBreaker(trip=10_000),
    "bulkhead": lambda: Bulkhead(50, max_wait=None),
    "timeout": lambda: timeout(50, sync="deadline"),
    "abandoning": lambda: timeout(40, sync="abandon"),
    "identity": Pipeline,
}
ORDER = ["timeout", "retry", "breaker", "bulkhead", "abandoning"]
stacks = st.lists(st.sampled_from(ORDER), unique=True).map(lambda names: sorted(names, key=ORDER.index))

every_policy = pytest.mark.parametrize("make", [pytest.param(maker, id=name) for name, maker in MAKERS.items()])
every_door = pytest.mark.parametrize("door", FUNCTION_DOORS)


def stack(names: list[str]) -> Pipeline:
    return Pipeline(*(MAKERS[name]() for name in names))


@pytest.fixture(params=[False, True], ids=["unwatched", "watched"])
def watched(request: pytest.FixtureRequest) -> Iterator[bool]:
    """With and without an SDK that listens."""
    api._TRACER_PROVIDER, api._TRACER_PROVIDER_SET_ONCE = None, Once()
    if request.param:
        api.set_tracer_provider(TracerProvider())
    yield request.param
    api._TRACER_PROVIDER, api._TRACER_PROVIDER_SET_ONCE = None, Once()


class OwnError(Exception):
    """The function's own: a class that a weak reference can follow."""


class OwnStopError(BaseException):
    """One that asks the program to stop, and that no event loop has an opinion on."""


# The caller's own outcome comes through unchanged


@every_door
@given(names=stacks)
def test_the_result_is_the_very_object(door: Door, names: list[str]) -> None:
    result = object()
    assert door(stack(names), lambda: result) is result


@every_door
@given(names=stacks, kind=st.sampled_from([OwnError, OwnStopError, KeyboardInterrupt, SystemExit]))
@pytest.mark.law(68, 93)
def test_the_error_is_the_very_object_with_the_cause_it_had(door: Door, names: list[str], kind: Any) -> None:
    error, cause, calls = kind("text"), ValueError("cause"), []

    def raises() -> None:
        calls.append(1)
        raise error from cause

    with pytest.raises(kind) as caught, sandbox():
        door(stack(names), raises)
    assert caught.value is error
    assert error.__cause__ is cause
    assert error.__context__ is None
    assert error.args == ("text",)
    repeated = kind is OwnError and "retry" in names
    assert len(calls) == (2 if repeated else 1)
    assert len(getattr(error, "__notes__", ())) == repeated  # and one note, where there is something to tell


@every_door
@every_policy
@pytest.mark.law(68)
@pytest.mark.parametrize("kind", [OwnStopError, KeyboardInterrupt, SystemExit])
def test_no_policy_answers_for_what_stops_the_program(door: Door, make: Callable[[], Any], kind: Any) -> None:
    def stops() -> None:
        raise kind

    with pytest.raises(kind):
        door(Pipeline(fallback("x", on=Exception), Pipeline(make())), stops)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is dropped goes at once, or not at all."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.law(93)
@every_policy
@pytest.mark.usefixtures("watched", "no_collector")
@pytest.mark.parametrize("door", SYNC_DOORS)
def test_a_failure_leaves_no_cycle_behind(door: Door, make: Callable[[], Any]) -> None:
    """What a caller caught and dropped is gone at once, without the collector."""

    def raises() -> None:
        raise OwnError

    reference = None
    try:
        door(Pipeline(make()), raises)
    except OwnError as error:
        reference = weakref.ref(error)
    assert reference is not None
    assert reference() is None


@pytest.mark.law(93)
@pytest.mark.anyio
@every_policy
@pytest.mark.usefixtures("watched", "no_collector")
@pytest.mark.parametrize("door", ["decorator", "acall"])
async def test_an_async_failure_leaves_no_cycle_behind(door: str, make: Callable[[], Any]) -> None:
    async def raises() -> None:
        raise OwnError

    policy, reference = Pipeline(make()), None
    try:
        await (policy.acall(raises) if door == "acall" else policy(raises)())
    except OwnError as error:
        reference = weakref.ref(error)
    assert reference is not None
    assert reference() is None


# A coroutine is no result (law 86)


@every_policy
@pytest.mark.law(86)
@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("door", SYNC_DOORS)
@pytest.mark.parametrize("form", ["lambda", "partial", "method", "nested"])
def test_a_coroutine_is_never_a_result(door: Door, make: Callable[[], Any], form: str) -> None:
    calls: list[int] = []

    class Client:
        async def fetch(self) -> int:
            return 1

        def get(self) -> Any:
            calls.append(1)
            return self.fetch()

    client = Client()
    forms: dict[str, Callable[[], Any]] = {
        "lambda": lambda: client.get(),
        "partial": functools.partial(client.get),
        "method": client.get,
        "nested": Pipeline()(client.get),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TypeError, match=r"is a coroutine function, but it was called as a plain one"):
            door(Pipeline(fallback("hidden", on=Exception), Pipeline(make())), forms[form])
        gc.collect()  # a coroutine that was not closed would speak up here
    assert calls == [1]


@pytest.mark.law(86)
def test_what_is_known_to_be_a_coroutine_function_is_refused_before_the_call() -> None:
    async def fetch() -> int:
        return 1

    calls: list[int] = []

    class Fetch:
        async def __call__(self) -> None:
            calls.append(1)

    for fn in (fetch, functools.partial(fetch), Fetch(), functools.partial(functools.partial(Fetch()))):
        assert inspect.iscoroutinefunction(Pipeline()(fn))
        with pytest.raises(TypeError, match=r"await policy\.acall"):
            Pipeline().call(fn)
    assert calls == []


# Context (law 72), concurrency (laws 70, 79), places (law 85)

who: ContextVar[str] = ContextVar("who", default="nobody")


@every_door
@given(names=stacks)
@pytest.mark.law(72)
def test_the_function_sees_the_callers_context(door: Door, names: list[str]) -> None:
    seen: list[str] = []

    def look() -> None:
        seen.append(who.get())
        if len(seen) == 1:
            raise OwnError

    token = who.set("the caller")
    try:
        with sandbox():
            door(Pipeline(fallback(None, on=Exception), stack(names)), look)
    finally:
        who.reset(token)
    assert set(seen) == {"the caller"}
    assert len(seen) == (2 if "retry" in names else 1)


@given(names=stacks.filter(lambda names: "abandoning" not in names))
@pytest.mark.parametrize("door", SYNC_DOORS)
@pytest.mark.law(72)
def test_what_an_attempt_sets_is_seen_after_it(door: Door, names: list[str]) -> None:
    """A worker thread has a copy of the context, so what `sync="abandon"` runs is not heard of."""
    seen: list[str] = []

    def work() -> None:
        seen.append(who.get())
        who.set(f"attempt {len(seen)}")
        raise OwnError

    token = who.set("the caller")
    try:
        with sandbox():
            door(Pipeline(fallback(None, on=Exception), stack(names)), work)
        after = who.get()
    finally:
        who.reset(token)
    assert seen == ["the caller", "attempt 1"][: len(seen)]
    assert after == f"attempt {len(seen)}"


AT_IMPORT = Pipeline(
    retry(on=OwnError, attempts=3, wait=0, budget=None),
    CircuitBreaker(trip=10_000),
    Bulkhead(3, max_wait=None, queue=100),
)


class Crowd:
    """Counts who is inside; each caller fails once before it succeeds."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = self.most = 0
        self.failed: set[str] = set()

    def enter(self, key: str) -> None:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)

    def leave(self, key: str) -> str:
        with self.lock:
            self.inside -= 1
            if key not in self.failed:
                self.failed.add(key)
                raise OwnError(key)
        return key


def start_and_join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.law(70, 79, 85, 88)
def test_one_policy_made_at_import_serves_threads_and_loops_at_once() -> None:
    crowd, answers, everybody = Crowd(), dict[str, str](), threading.Barrier(4)

    @AT_IMPORT
    def plain(key: str) -> str:
        crowd.enter(key)
        return crowd.leave(key)

    @AT_IMPORT
    async def awaited(key: str) -> str:
        crowd.enter(key)
        for _ in range(random.randrange(4)):
            await anyio.lowlevel.checkpoint()
        return crowd.leave(key)

    def thread(place: str) -> None:
        everybody.wait()
        for number in range(20):
            answers[f"{place} {number}"] = plain(f"{place} {number}")

    async def ask(key: str) -> None:
        answers[key] = await awaited(key)

    async def loop(place: str) -> None:
        everybody.wait()
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(ask, f"{place} {number}")

    places = [
        threading.Thread(target=thread, args=("a thread",)),
        threading.Thread(target=thread, args=("another",)),
        threading.Thread(target=anyio.run, args=(loop, "asyncio")),
        threading.Thread(target=anyio.run, args=(loop, "trio"), kwargs={"backend": "trio"}),
    ]
    start_and_join(places)
    assert answers == {
        f"{place} {n}": f"{place} {n}" for place in ("a thread", "another", "asyncio", "trio") for n in range(20)
    }
    assert crowd.most <= 3
    _, breaker, bulkhead = AT_IMPORT.layers()
    assert isinstance(breaker, CircuitBreaker)
    assert isinstance(bulkhead, Bulkhead)
    assert (breaker.stats.failures, bulkhead.stats.in_use, bulkhead.stats.waiting) == (80, 0, 0)


# Refusals (law 89)


@every_door
@pytest.mark.law(89)
@given(started=st.booleans())
def test_a_refusal_comes_out_only_if_nothing_was_started(door: Door, started: bool) -> None:
    breaker = CircuitBreaker(trip=1)
    policy = Pipeline(retry(on=(OwnError, Rejected), attempts=3, wait=0, budget=None), breaker)
    calls: list[int] = []

    def raises() -> None:
        calls.append(1)
        raise OwnError

    with sandbox():
        if not started:
            breaker.isolate("for the test")
        with pytest.raises(OwnError if started else Rejected):
            door(policy, raises)
    assert len(calls) == started


def test_the_makers_are_as_many_as_the_pattern_names() -> None:
    """A new pattern belongs into the table above, so that these laws hold for it too."""
    assert {type(layer).__name__ for name in MAKERS for layer in MAKERS[name]().layers()} == {
        "retry",
        "CircuitBreaker",
        "Bulkhead",
        "timeout",
    }
    assert issubclass(TimedOut, TimeoutError)
