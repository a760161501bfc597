"""Spans of what is over: waits and work left behind, and what else a span tells of a policy. Lengths are virtual."""

import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import anyio
import opentelemetry.trace as api
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, StatusCode, TraceFlags

from resilience import Bulkhead, CircuitBreaker, CircuitOpen, Pipeline, TimedOut, events, listen, retry, timeout
from resilience._clock import clock
from resilience.testing import sandbox
from tests.sdk import Sdk, facts, forget_providers

EVERY_WAY = pytest.mark.parametrize("way", ["sync", "asyncio", "trio"])


@pytest.fixture
def sdk() -> Iterator[Sdk]:
    yield Sdk(metrics=True).install()
    forget_providers()


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def since(earlier: ReadableSpan, later: ReadableSpan) -> float:
    """From the start of one to the start of the other."""
    assert earlier.start_time is not None
    assert later.start_time is not None
    return (later.start_time - earlier.start_time) / 1e9


def run(way: str, policy: Any, work: Callable[[], Any]) -> Any:
    async def awork() -> Any:
        return work()

    return policy.call(work) if way == "sync" else anyio.run(policy.acall, awork, backend=way)


def failing(times: int) -> Callable[[], str]:
    left = iter(range(times))

    def work() -> str:
        if next(left, None) is not None:
            raise ConnectionError("it is down")
        return "done"

    return work


# Waits


@EVERY_WAY
@pytest.mark.law(66)
def test_a_wait_between_attempts_is_a_span_of_its_length_between_them(sdk: Sdk, way: str) -> None:
    with sandbox():
        run(way, Pipeline(retry(on=OSError, wait=7, name="again"), name="x"), failing(1))
    assert sdk.tree == ["x", ["attempt 1", "retry.wait", "attempt 2"]]
    wait = sdk.named("retry.wait")
    assert wait.attributes == {"resilience.policy.name": "again", "resilience.outcome": "success"}
    assert wait.status.status_code is StatusCode.UNSET
    assert (seconds(wait), seconds(sdk.named("x"))) == pytest.approx((7, 7))
    assert since(sdk.named("x"), sdk.named("attempt 2")) == pytest.approx(7)


@EVERY_WAY
def test_where_nobody_waits_there_is_no_span_of_it(sdk: Sdk, way: str) -> None:
    run(way, Pipeline(retry(on=OSError, wait=0), Bulkhead(1), name="x"), failing(1))
    assert sdk.tree == ["x", ["attempt 1", "attempt 2"]]


@pytest.mark.anyio
async def test_a_wait_that_is_cancelled_is_no_error(sdk: Sdk) -> None:
    with sandbox(autojump=False) as time:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Pipeline(retry(on=OSError, wait=30), name="x").acall, afailing)
            await anyio.wait_all_tasks_blocked()
            time.advance(3)
            tasks.cancel_scope.cancel()
    wait = sdk.named("retry.wait")
    assert seconds(wait) == pytest.approx(3)
    assert wait.attributes == {"resilience.policy.name": "retry", "resilience.outcome": "cancelled"}
    assert wait.status.status_code is StatusCode.UNSET


async def afailing() -> None:
    raise ConnectionError


def test_the_waits_of_a_loop_are_below_the_users_span_and_nowhere_else(sdk: Sdk) -> None:
    work = failing(1)
    with sandbox(), api.get_tracer("user").start_as_current_span("mine"):
        for attempt in retry(on=OSError, wait=2):
            with attempt:
                work()
    assert sdk.tree == ["mine", ["retry.wait"]]
    sdk.exporter.clear()
    work = failing(1)
    with sandbox():
        for attempt in retry(on=OSError, wait=2):
            with attempt:
                work()
    assert sdk.tree == []


@pytest.mark.anyio
async def test_a_wait_in_a_queue_is_below_the_attempt_that_queued(sdk: Sdk) -> None:
    with sandbox(autojump=False) as time:
        bulkhead = Bulkhead(1, max_wait=60, name="narrow")
        pipeline = Pipeline(retry(on=OSError), bulkhead, name="x")
        async with anyio.create_task_group() as tasks:
            lease = await bulkhead.aadmit()
            tasks.start_soon(pipeline.acall, clock.asleep, 0)
            await anyio.wait_all_tasks_blocked()
            time.advance(4)
            lease.release()
    assert sdk.tree == ["x", ["attempt 1", ["bulkhead.wait"]]]
    assert seconds(sdk.named("bulkhead.wait")) == pytest.approx(4)
    assert (sdk.named("bulkhead.wait").attributes or {})["resilience.policy.name"] == "narrow"


# Work left behind


@pytest.mark.law(66)
def test_work_left_behind_is_a_span_from_then_until_it_ends(sdk: Sdk) -> None:
    hang, ended = threading.Event(), threading.Event()

    def work() -> None:
        with api.get_tracer("user").start_as_current_span("mine"):
            hang.wait()
        raise ValueError("too late")

    with sandbox() as time:
        with pytest.raises(TimedOut) as caught:
            Pipeline(timeout(5, sync="abandon", name="cut"), name="x").call(work)
        time.advance(30)
        assert caught.value.work is not None
        caught.value.work.add_done_callback(lambda _: ended.set())
        hang.set()
        ended.wait()
    assert sorted(sdk.tree[1]) == ["mine", "timeout.abandoned"]
    left = sdk.named("timeout.abandoned")
    assert left.attributes == {
        "resilience.policy.name": "cut",
        "resilience.outcome": "error",
        "error.type": "ValueError",
    }
    assert (seconds(left), since(sdk.named("x"), left)) == pytest.approx((30, 5))
    assert (sdk.named("x").attributes or {})["resilience.outcome"] == "timeout"


@pytest.mark.law(66)
def test_attempts_of_work_left_behind_stay_below_the_call(sdk: Sdk) -> None:
    hang, ended = threading.Event(), threading.Event()
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        if len(calls) == 1:
            hang.wait()
            raise ConnectionError

    pipeline = Pipeline(timeout(5, sync="abandon"), retry(on=ConnectionError, wait=0), name="x")
    with sandbox():
        with pytest.raises(TimedOut) as caught:
            pipeline.call(work)
        assert caught.value.work is not None
        caught.value.work.add_done_callback(lambda _: ended.set())
        hang.set()
        ended.wait()
    # The deadline is past, so there is no second attempt; the first ended after the call, and is below it all the same.
    assert sdk.tree == ["x", ["attempt 1", "timeout.abandoned"]]
    assert calls == [1]


def test_work_left_behind_by_nobodys_call_has_no_span(sdk: Sdk) -> None:
    hang, ended = threading.Event(), threading.Event()
    with sandbox():
        with pytest.raises(TimedOut) as caught:
            timeout(5, sync="abandon").bind(hang.wait)()
        assert caught.value.work is not None
        caught.value.work.add_done_callback(lambda _: ended.set())
        hang.set()
        ended.wait()
    assert sdk.tree == []


# The state of a breaker


def test_a_span_says_which_state_the_breaker_was_in_when_it_was_asked(sdk: Sdk) -> None:
    with sandbox() as time:
        pipeline = Pipeline(CircuitBreaker("told", trip=1, cooldown=10, jitter=0), name="x")
        for work in (failing(1), failing(0)):
            with pytest.raises((ConnectionError, CircuitOpen)):
                pipeline.call(work)
        time.advance(10)
        pipeline.call(failing(0))
        pipeline.call(failing(0))
    told = [(span.attributes or {}) for span in sdk.spans]
    assert sorted(one["resilience.circuit_breaker.state"] for one in told) == ["closed", "closed", "half_open", "open"]
    (refused,) = (one for one in told if one["resilience.outcome"] == "rejected")
    assert (refused["resilience.circuit_breaker.state"], refused["resilience.rejected_by"]) == ("open", "told")


# Sampling


class Asked(Sampler):
    """A sampler that remembers what it was asked."""

    def __init__(self, inner: Sampler) -> None:
        self.inner = inner
        self.names: list[str] = []

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        self.names.append(args[2] if len(args) > 2 else kwargs["name"])
        return self.inner.should_sample(*args, **kwargs)

    def get_description(self) -> str:
        return self.inner.get_description()


def unsampled(*, remote: bool) -> Any:
    context = SpanContext(trace_id=7, span_id=7, is_remote=remote, trace_flags=TraceFlags(0))
    return api.use_span(NonRecordingSpan(context))


@pytest.mark.parametrize("remote", [False, True])
def test_below_an_unsampled_parent_no_span_is_begun_and_the_call_is_timed(remote: bool) -> None:
    sdk = Sdk(metrics=True)
    sampler = sdk.provider.sampler = Asked(ParentBased(ALWAYS_ON))
    sdk.install()
    guarded = Pipeline(retry(on=OSError, wait=0), name="unsampled")(failing(1))
    with unsampled(remote=remote):
        guarded()
    assert sampler.names == []
    assert [point.count for point in sdk.points("resilience.call.duration").values()] == [1]
    guarded()
    assert sdk.tree == ["unsampled", ["attempt 1"]]
    forget_providers()


def test_a_sampler_that_does_not_follow_the_parent_is_asked() -> None:
    sdk = Sdk()
    sampler = sdk.provider.sampler = Asked(ALWAYS_ON)
    sdk.install()
    with unsampled(remote=False):
        Pipeline(name="x").call(divmod, 7, 2)
    assert sampler.names == ["x"]
    for remote in (False, True):
        side = "remote" if remote else "local"
        sdk = Sdk()
        sampler = sdk.provider.sampler = Asked(ParentBased(ALWAYS_ON, **{f"{side}_parent_not_sampled": ALWAYS_ON}))
        sdk.install()
        with unsampled(remote=remote):
            Pipeline(name="x").call(divmod, 7, 2)
        assert sampler.names == ["x"]
    forget_providers()


def test_a_call_that_is_not_sampled_has_no_spans_of_attempts_and_counts_them() -> None:
    sdk = Sdk(metrics=True)
    sampler = sdk.provider.sampler = Asked(ALWAYS_OFF)
    sdk.install()
    Pipeline(retry(on=OSError, wait=0), name="dropped").call(failing(1))
    assert sampler.names == ["dropped"]
    counted = sdk.points("resilience.attempts")
    assert counted[facts(policy="dropped", outcome="error")] == 1
    assert counted[facts(policy="dropped", outcome="success")] == 1
    forget_providers()


# Who is told in which context

request: ContextVar[str] = ContextVar("request", default="none")


@pytest.mark.law(66, 72)
def test_a_transition_is_told_in_the_context_of_the_call_that_caused_it() -> None:
    """Also when another thread, busy telling, tells it."""
    breaker = CircuitBreaker("told in context", trip=1)
    heard: list[tuple[str, str]] = []
    telling, go_on = threading.Event(), threading.Event()

    def hear(event: events.Event) -> None:
        if isinstance(event, events.StateChanged):
            heard.append((event.after, request.get()))
            if event.after == "open":
                telling.set()
                go_on.wait()

    def open_it() -> None:
        request.set("the opener")
        breaker.admit().fail()

    with listen(hear):
        opener = threading.Thread(target=open_it)
        opener.start()
        telling.wait()
        request.set("the resetter")
        breaker.reset()
        go_on.set()
        opener.join()
    assert heard == [("open", "the opener"), ("closed", "the resetter")]
