"""Spans, seen through the real SDK: nothing missed, nothing twice, nothing where nobody listens."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import opentelemetry.trace as api
import pytest
from opentelemetry.sdk import environment_variables as sdk_environment
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NoOpTracerProvider, StatusCode

from resilience import (
    Bulkhead,
    BulkheadFull,
    CircuitBreaker,
    CircuitOpen,
    Pipeline,
    Rejected,
    TimedOut,
    _gate,
    fallback,
    retry,
    timeout,
)
from resilience._telemetry import _Scope
from resilience.testing import sandbox
from tests.sdk import Sdk, forget_providers

TWICE = retry(on=OSError, attempts=2, wait=0, budget=None)


@pytest.fixture(autouse=True)
def no_provider() -> Iterator[None]:
    """Each test begins and ends without an SDK."""
    forget_providers()
    yield
    forget_providers()


@pytest.fixture
def sdk() -> Sdk:
    return Sdk().install()


def user_span(name: str) -> Any:
    """What a user's own instrumentation does inside a call."""
    return api.get_tracer("user").start_as_current_span(name)


# The gate


def test_an_sdk_that_comes_after_decoration_misses_nothing_and_its_end_is_noticed() -> None:
    guarded = Pipeline(name="late")(divmod)
    guarded(7, 2)
    first = Sdk().install()
    guarded(7, 2)
    assert first.tree == ["late"]
    guarded(7, 2)
    assert len(first.spans) == 2

    forget_providers()
    guarded(7, 2)
    assert len(first.spans) == 2

    second = Sdk().install()
    guarded(7, 2)
    assert (len(first.spans), len(second.spans)) == (2, 1)

    first.install()
    guarded(7, 2)
    assert (len(first.spans), len(second.spans)) == (3, 1)


def test_an_async_function_misses_nothing_either() -> None:
    @Pipeline(name="late")
    async def guarded() -> None:
        await anyio.lowlevel.checkpoint()

    asyncio.run(guarded())
    sdk = Sdk().install()
    asyncio.run(guarded())
    assert sdk.tree == ["late"]


def test_a_provider_that_is_silent_is_left_alone() -> None:
    api.set_tracer_provider(NoOpTracerProvider())
    guarded = Pipeline(name="silent")(divmod)
    guarded(7, 2)
    assert _gate.gate.listeners() is None is not api._TRACER_PROVIDER
    sdk = Sdk().install()
    guarded(7, 2)
    assert sdk.tree == ["silent"]


@pytest.mark.skipif(not hasattr(sdk_environment, "OTEL_SDK_DISABLED"), reason="this SDK is too old to be disabled")
def test_a_disabled_sdk_is_silent() -> None:
    program = """
import opentelemetry.trace as api
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, ConsoleSpanExporter
from resilience import Pipeline, _gate
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
api.set_tracer_provider(provider)
assert Pipeline(name="x")(divmod)(7, 2) == (3, 1)
assert _gate.gate.listeners() is None is not api._TRACER_PROVIDER
print("silent")
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"OTEL_SDK_DISABLED": "true"}
    )
    assert done.stdout == "silent\n"


def test_a_provider_named_by_the_environment_is_loaded() -> None:
    program = """
import opentelemetry.trace as api
from resilience import Pipeline
Pipeline(name="x")(divmod)
print(type(api._TRACER_PROVIDER).__module__)
"""
    environment = os.environ | {"OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "opentelemetry.sdk.trace\n"


def test_it_works_where_the_api_hides_its_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gate, "tracing", _gate._PublicDoor())
    monkeypatch.setattr("resilience._compose.tracing", _gate._PublicDoor())
    guarded = Pipeline(name="public", fuse=False)(divmod)
    guarded(7, 2)
    assert _gate.tracing._TRACER_PROVIDER is None  # nobody listens: no span is even begun
    sdk = Sdk().install()
    guarded(7, 2)
    assert sdk.tree == ["public"]


# Trees


@pytest.mark.law(66)
def test_nested_pipelines_are_one_span_and_stacked_ones_two(sdk: Sdk) -> None:
    Pipeline(Pipeline(Pipeline(name="innermost"), name="inner"), name="outer").call(divmod, 7, 2)
    assert sdk.tree == ["outer"]
    sdk.exporter.clear()

    @Pipeline(name="a")
    @Pipeline(name="b")
    def function() -> None:
        with user_span("work"):
            pass

    function()
    assert sdk.tree == ["a", ["b", ["work"]]]


def test_a_span_without_a_name_of_its_own_has_the_functions(sdk: Sdk) -> None:
    Pipeline()(Sdk.install)
    Pipeline().call(divmod, 7, 2)
    CircuitBreaker("the-breaker").call(divmod, 7, 2)
    assert sdk.tree == ["divmod", "the-breaker"]
    assert [dict(span.attributes or {}) for span in sdk.spans] == [
        {
            "resilience.policy.name": "divmod",
            "resilience.policy.type": "pipeline",
            "resilience.outcome": "success",
        },
        {
            "resilience.policy.name": "the-breaker",
            "resilience.policy.type": "circuit_breaker",
            "resilience.circuit_breaker.state": "closed",
            "resilience.outcome": "success",
        },
    ]


class Flaky:
    """A function that fails so many times, with the user's own span inside each attempt."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    def sync(self) -> str:
        self.calls += 1
        with user_span(f"work {self.calls}"):
            if self.calls <= self.failures:
                raise ConnectionError("it is down")
        return "done"

    async def awaited(self) -> str:
        await anyio.lowlevel.checkpoint()
        return self.sync()


def both_ways(policy: Any, flaky: Flaky, way: str) -> Any:
    if way == "sync":
        return policy.call(flaky.sync)
    return anyio.run(policy.acall, flaky.awaited, backend=way)


every_way = pytest.mark.parametrize("way", ["sync", "asyncio", "trio"])


@every_way
@pytest.mark.law(66)
def test_attempts_are_children_and_the_users_spans_are_theirs(sdk: Sdk, way: str) -> None:
    pipeline = Pipeline(TWICE, CircuitBreaker(), name="payments")
    assert both_ways(pipeline, Flaky(1), way) == "done"
    assert sdk.tree == ["payments", ["attempt 1", ["work 1"], "attempt 2", ["work 2"]]]

    call, first, second = sdk.named("payments"), sdk.named("attempt 1"), sdk.named("attempt 2")
    assert call.attributes == {
        "resilience.policy.name": "payments",
        "resilience.policy.type": "pipeline",
        "resilience.attempt.count": 2,
        "resilience.outcome": "success",
    }
    assert call.status.status_code is StatusCode.UNSET  # the logical call succeeded
    assert first.attributes == {
        "resilience.attempt.number": 1,
        "resilience.circuit_breaker.state": "closed",
        "resilience.outcome": "error",
        "error.type": "ConnectionError",
    }
    assert (first.status.status_code, first.status.description) == (StatusCode.ERROR, "it is down")
    assert second.attributes == {
        "resilience.attempt.number": 2,
        "resilience.circuit_breaker.state": "closed",
        "resilience.outcome": "success",
    }
    assert second.status.status_code is StatusCode.UNSET
    assert [span.events for span in (call, first, second)] == [(), (), ()]  # no exception is recorded


@every_way
def test_a_call_that_failed_is_an_error(sdk: Sdk, way: str) -> None:
    with pytest.raises(ConnectionError):
        both_ways(Pipeline(TWICE, name="payments"), Flaky(9), way)
    call = sdk.named("payments")
    assert (call.status.status_code, call.status.description) == (StatusCode.ERROR, "it is down")
    assert call.attributes == {
        "resilience.policy.name": "payments",
        "resilience.policy.type": "pipeline",
        "resilience.attempt.count": 2,
        "resilience.outcome": "error",
        "error.type": "ConnectionError",
    }
    assert sdk.tree == ["payments", ["attempt 1", ["work 1"], "attempt 2", ["work 2"]]]


@every_way
def test_a_fallback_that_answers_leaves_no_error(sdk: Sdk, way: str) -> None:
    both_ways(Pipeline(fallback("stale", on=OSError), name="prices"), Flaky(9), way)
    assert sdk.named("prices").status.status_code is StatusCode.UNSET
    assert sdk.tree == ["prices", ["work 1"]]


@every_way
@pytest.mark.law(66)
def test_two_layers_that_repeat_show_each_attempt_once(sdk: Sdk, way: str) -> None:
    with pytest.warns(UserWarning, match="two retries"):
        pipeline = Pipeline(retry(on=OSError, attempts=2, wait=0, again=True), TWICE, name="payments")
    both_ways(pipeline, Flaky(3), way)
    works = [part for number in range(1, 5) for part in (f"attempt {number}", [f"work {number}"])]
    assert sdk.tree == ["payments", works]
    assert (sdk.named("payments").attributes or {})["resilience.attempt.count"] == 4


@pytest.mark.law(66)
def test_a_stacked_retry_has_attempts_of_its_own(sdk: Sdk) -> None:
    flaky = Flaky(1)
    outer = Pipeline(retry(on=OSError, attempts=2, wait=0), name="outer")
    outer.call(Pipeline(TWICE, name="inner")(flaky.sync))
    attempts = ["attempt 1", ["work 1"], "attempt 2", ["work 2"]]
    assert sdk.tree == ["outer", ["attempt 1", ["inner", attempts]]]


def refuse(kind: Any) -> Callable[[], None]:
    def function() -> None:
        raise kind

    return function


@pytest.mark.parametrize(
    ("error", "outcome", "kind"),
    [
        (ValueError("text"), "error", "ValueError"),
        (TimedOut("slow", 2.0), "timeout", "resilience.errors.TimedOut"),
        (CircuitOpen("breaker", 3.0), "rejected", "resilience.errors.CircuitOpen"),
        (ExceptionGroup("several", [ValueError()]), "error", "ExceptionGroup"),
        (subprocess.TimeoutExpired("ls", 3), "error", "subprocess.TimeoutExpired"),
    ],
    ids=["error", "timeout", "rejected", "group", "of-a-module"],
)
def test_outcomes_and_error_types(sdk: Sdk, error: Exception, outcome: str, kind: str) -> None:
    with pytest.raises(type(error)) as caught:
        Pipeline(name="x").call(refuse(error))
    assert caught.value is error
    attributes = sdk.named("x").attributes or {}
    assert (attributes["resilience.outcome"], attributes["error.type"]) == (outcome, kind)
    assert attributes.get("resilience.rejected_by") == ("breaker" if isinstance(error, Rejected) else None)
    assert sdk.named("x").status.status_code is StatusCode.ERROR
    assert sdk.named("x").status.description == str(error)


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_cancelled_is_no_error(sdk: Sdk, error: type[BaseException]) -> None:
    with pytest.raises(error):
        Pipeline(name="x").call(refuse(error))
    span = sdk.named("x")
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes == {
        "resilience.policy.name": "x",
        "resilience.policy.type": "pipeline",
        "resilience.outcome": "cancelled",
    }


@pytest.mark.anyio
async def test_a_cancelled_task_is_no_error(sdk: Sdk) -> None:
    started = anyio.Event()

    @Pipeline(TWICE, name="x")
    async def hangs() -> None:
        started.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hangs)
        await started.wait()
        tasks.cancel_scope.cancel()
    assert sdk.tree == ["x", ["attempt 1"]]
    assert {span.status.status_code for span in sdk.spans} == {StatusCode.UNSET}
    assert {(span.attributes or {})["resilience.outcome"] for span in sdk.spans} == {"cancelled"}


@pytest.mark.anyio
async def test_a_timeout_that_cuts_is_an_error_of_its_own_kind(sdk: Sdk) -> None:
    @Pipeline(timeout(5), name="x")
    async def hangs() -> None:
        await anyio.sleep_forever()

    with sandbox(), pytest.raises(TimedOut):
        await hangs()
    assert (sdk.named("x").attributes or {})["resilience.outcome"] == "timeout"


def test_an_error_without_a_text_changes_nothing(sdk: Sdk) -> None:
    class UnspeakableError(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    with pytest.raises(UnspeakableError):
        Pipeline(name="x").call(refuse(UnspeakableError()))
    assert sdk.named("x").status.status_code is StatusCode.ERROR


def test_a_call_that_is_refused_names_who_refused(sdk: Sdk) -> None:
    bulkhead = Bulkhead(1, name="narrow")
    with bulkhead.guard(), pytest.raises(BulkheadFull):
        Pipeline(bulkhead, name="x").call(divmod, 7, 2)
    assert (sdk.named("x").attributes or {})["resilience.rejected_by"] == "narrow"


def test_a_result_is_the_same_object_with_and_without_a_listener(sdk: Sdk) -> None:
    marker = object()
    assert Pipeline(TWICE).call(lambda: marker) is marker
    with pytest.raises(TypeError, match="is a coroutine function"):
        Pipeline(TWICE, name="x").call(lambda: Flaky(0).awaited())


def test_for_an_unsampled_call_nothing_is_worked_out() -> None:
    sdk = Sdk()
    sdk.provider.sampler = ALWAYS_OFF
    sdk.install()
    asked: list[str] = []

    class AskedError(Exception):
        def __str__(self) -> str:
            asked.append("for its text")
            return "text"

    with pytest.raises(AskedError):
        Pipeline(timeout(5, sync="deadline"), name="x").call(refuse(AskedError()))
    assert (sdk.spans, asked) == ([], [])


# Parents


@pytest.mark.law(66)
def test_the_callers_span_is_the_parent_and_is_current_again(sdk: Sdk) -> None:
    with user_span("request") as request:
        Pipeline(TWICE, name="x").call(Flaky(1).sync)
        assert api.get_current_span() is request
    assert sdk.tree == ["request", ["x", ["attempt 1", ["work 1"], "attempt 2", ["work 2"]]]]


def expected(number: int) -> list[Any]:
    return [f"request {number}", ["x", ["attempt 1", [f"work {number}"], "attempt 2", [f"work {number}"]]]]


class Crowd:
    """Calls that are all under way at once; each fails its first attempt."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def work(self, number: int) -> None:
        with user_span(f"work {number}"):
            if number not in self.seen:
                self.seen.add(number)
                raise ConnectionError


def trees_by_request(sdk: Sdk) -> list[Any]:
    tree = sdk.tree
    return sorted(([tree[at], tree[at + 1]] for at in range(0, len(tree), 2)), key=lambda pair: pair[0])


@pytest.mark.law(66, 79)
@pytest.mark.anyio
async def test_concurrent_tasks_do_not_mix_parents(sdk: Sdk) -> None:
    crowd = Crowd()
    inside, everybody = [0], anyio.Event()

    @Pipeline(TWICE, name="x")
    async def guarded(number: int) -> None:
        inside[0] += 1
        if inside[0] == 6:
            everybody.set()
        await everybody.wait()
        crowd.work(number)

    async def request(number: int) -> None:
        with user_span(f"request {number}"):
            await guarded(number)

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(request, number)
    assert trees_by_request(sdk) == [expected(number) for number in range(6)]


@pytest.mark.law(66, 79)
def test_concurrent_threads_do_not_mix_parents(sdk: Sdk) -> None:
    crowd, everybody = Crowd(), threading.Barrier(6)

    @Pipeline(TWICE, name="x")
    def guarded(number: int) -> None:
        if number not in crowd.seen:
            everybody.wait()
        crowd.work(number)

    def request(number: int) -> None:
        with user_span(f"request {number}"):
            guarded(number)

    threads = [threading.Thread(target=request, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trees_by_request(sdk) == [expected(number) for number in range(6)]


@pytest.mark.law(66)
def test_work_in_a_worker_thread_is_below_its_attempt(sdk: Sdk) -> None:
    pipeline = Pipeline(retry(on=(OSError,), attempts=2, wait=0), timeout(60, sync="abandon"), name="x")
    pipeline.call(Flaky(1).sync)
    assert sdk.tree == ["x", ["attempt 1", ["work 1"], "attempt 2", ["work 2"]]]


# What a policy of one's own must not see


def test_bind_knows_nothing_of_spans(sdk: Sdk) -> None:
    bound: Callable[..., Any] = Pipeline(TWICE, name="x").bind(Flaky(1).sync)
    assert bound() == "done"
    abound: Callable[..., Awaitable[Any]] = Pipeline(TWICE, name="x").abind(Flaky(1).awaited)

    async def main() -> None:
        assert await abound() == "done"

    asyncio.run(main())
    assert sdk.tree == ["work 1", "work 2"] * 2


@every_way
@pytest.mark.law(93)
def test_an_observed_call_leaves_nothing_for_the_collector(sdk: Sdk, way: str) -> None:
    pipeline = Pipeline(TWICE, CircuitBreaker(), name="x")
    gc.collect()
    gc.disable()
    try:
        assert both_ways(pipeline, Flaky(1), way) == "done"
        assert [one for one in gc.get_objects() if isinstance(one, _Scope)] == []
    finally:
        gc.enable()
