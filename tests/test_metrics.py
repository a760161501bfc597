"""Metrics, read through the real SDK: what is there, what it says, and that it is there once."""

import gc
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from inspect import signature
from typing import Any
from weakref import WeakKeyDictionary

import anyio
import anyio.lowlevel
import opentelemetry.metrics as api
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.metrics import NoOpMeterProvider

from resilience import (
    Bulkhead,
    BulkheadFull,
    CircuitBreaker,
    CircuitOpen,
    OutOfTime,
    Pipeline,
    SlowRate,
    TimedOut,
    _gate,
    _metrics,
    deadline,
    events,
    fallback,
    listen,
    retry,
    timeout,
)
from resilience._clock import clock
from resilience.testing import sandbox
from tests.sdk import Complaints, Sdk, facts, forget_providers

STATES = ("closed", "open", "half_open", "isolated", "disabled", "dry_run")


@pytest.fixture(autouse=True)
def no_provider() -> Iterator[None]:
    """Each test begins and ends without an SDK."""
    forget_providers()
    yield
    forget_providers()


@pytest.fixture
def sdk() -> Sdk:
    return Sdk(metrics=True).install()


def fail(error: BaseException) -> None:
    raise error


def names() -> Iterator[str]:
    """A name of its own for each example: counters never fall, also not between examples."""
    number = 0
    while True:
        number += 1
        yield f"metered {number}"


fresh = names()


# Who is heard


def test_a_breaker_made_before_the_sdk_and_never_called_is_seen() -> None:
    breaker = CircuitBreaker("early")
    breaker.isolate()
    sdk = Sdk(metrics=True).add()
    assert sdk.points("resilience.circuit_breaker.status")[facts(policy="early", state="isolated")] == 1


def test_a_call_after_a_late_sdk_is_timed_and_one_before_is_not() -> None:
    guarded = Pipeline(name="late")(divmod)
    guarded(7, 2)
    sdk = Sdk(traces=False, metrics=True).add()
    guarded(7, 2)
    assert [point.count for point in sdk.points("resilience.call.duration").values()] == [1]


def test_after_a_reset_the_next_provider_gets_everything_once() -> None:
    breaker, guarded = CircuitBreaker("again"), Pipeline(name="again")(divmod)
    with Complaints() as complaints:
        for _ in range(3):
            sdk = Sdk(metrics=True).install()
            guarded(7, 2)
            assert [point.count for point in sdk.points("resilience.call.duration").values()] == [1]
            assert sdk.points("resilience.circuit_breaker.status")[facts(policy="again", state=breaker.state)] == 1
    assert complaints == []


def test_a_provider_that_comes_back_is_known() -> None:
    first, second = Sdk(metrics=True), Sdk(metrics=True)
    guarded = Pipeline(name="back")(divmod)
    with Complaints() as complaints:
        for sdk in (first, second, first):
            sdk.install()
            guarded(7, 2)
    counts = [[point.count for point in sdk.points("resilience.call.duration").values()] for sdk in (first, second)]
    assert (counts, complaints) == ([[2], [1]], [])


def test_a_metric_declared_later_is_there_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_metrics, "_declared", _metrics._declared.copy())
    CircuitBreaker("first")
    sdk = Sdk(metrics=True).install()
    Pipeline().call(divmod, 7, 2)
    _metrics.declare(_metrics.Instrument("resilience.test.later", "counter", "1", "", (), lambda: [(3, {}), (4, {})]))
    assert sdk.points("resilience.test.later") == {facts(): 7}


def test_a_metric_declared_later_is_made_once_where_the_api_had_made_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_metrics, "_declared", _metrics._declared.copy())
    monkeypatch.setattr(_metrics, "_made", WeakKeyDictionary())  # providers of other tests may linger
    CircuitBreaker("first of all")
    sdk = Sdk(metrics=True).add()
    Pipeline().call(divmod, 7, 2)
    with Complaints() as complaints:
        _metrics.declare(_metrics.Instrument("resilience.test.once", "counter", "1", "", (), lambda: [(3, {})]))
    assert (sdk.points("resilience.test.once"), complaints) == ({facts(): 3}, [])


def test_each_reads_what_it_asked_for() -> None:
    guarded = Pipeline(retry(on=OSError), name="choice")(divmod)
    only_metrics = Sdk(traces=False, metrics=True).install()
    guarded(7, 2)
    assert (only_metrics.spans, len(only_metrics.points("resilience.call.duration"))) == ([], 1)
    only_traces = Sdk().install()
    before = _metrics.attempts.read()
    guarded(7, 2)
    assert only_traces.tree == ["choice", ["attempt 1"]]
    assert _metrics.attempts.read() == before


def test_a_silent_meter_provider_is_left_alone() -> None:
    api.set_meter_provider(NoOpMeterProvider())
    guarded = Pipeline(name="silent")(divmod)
    guarded(7, 2)
    assert _gate.gate.listeners() is None is not _gate.metering._METER_PROVIDER
    sdk = Sdk(traces=False, metrics=True).install()
    guarded(7, 2)
    assert len(sdk.points("resilience.call.duration")) == 1


def test_the_public_door_sees_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    door = _gate._PublicDoor()
    for place in ("resilience._gate.metering", "resilience._compose.metering"):
        monkeypatch.setattr(place, door)
    guarded = Pipeline(name="public", fuse=False)(divmod)
    guarded(7, 2)
    assert door._METER_PROVIDER is None
    sdk = Sdk(traces=False, metrics=True).install()
    guarded(7, 2)
    assert len(sdk.points("resilience.call.duration")) == 1


# How long, and how it ended


@pytest.mark.parametrize("way", ["sync", "asyncio", "trio"])
def test_a_call_is_timed_with_all_its_attempts_and_waits(sdk: Sdk, way: str) -> None:
    outcomes = iter([OSError(), OSError(), None])
    name = next(fresh)

    def work() -> None:
        time.advance(0.5)
        if (error := next(outcomes)) is not None:
            raise error

    async def awork() -> None:
        work()

    with sandbox() as time:
        policy = Pipeline(retry(on=OSError, wait=2), name=name)
        if way == "sync":
            policy.call(work)
        else:
            anyio.run(policy.acall, awork, backend=way)
    point = sdk.points("resilience.call.duration")[facts(policy=name, outcome="success")]
    assert (point.count, point.sum) == (1, 5.5)
    assert counted(sdk, "resilience.attempts", policy=name) == {"error": 2, "success": 1}


def counted(sdk: Sdk, name: str, **short: Any) -> dict[str, int]:
    """A counter's values by outcome, for one policy."""
    found = {frozenset(key): value for key, value in sdk.points(name).items() if key >= facts(**short)}
    return {dict(key)["resilience.outcome"]: value for key, value in found.items()}


def test_every_outcome_has_its_own_series(sdk: Sdk) -> None:
    breaker = CircuitBreaker("shut")
    breaker.isolate()
    name = "outcomes"
    ends: list[tuple[Pipeline, BaseException | None]] = [
        (Pipeline(name=name), None),
        (Pipeline(name=name), ValueError()),
        (Pipeline(name=name), TimedOut("inner", 1)),
        (Pipeline(name=name), KeyboardInterrupt()),
        (Pipeline(breaker, name=name), None),
        (Pipeline(fallback(1, on=KeyError), name=name), KeyError()),
    ]
    for policy, error in ends:
        try:
            policy.call((lambda: 1) if error is None else (lambda error=error: fail(error)))
        except (ValueError, TimedOut, KeyboardInterrupt, CircuitOpen):
            pass
    points = sdk.points("resilience.call.duration")
    assert {key: point.count for key, point in points.items() if key >= facts(policy=name)} == {
        facts(policy=name, outcome="success"): 1,
        facts(policy=name, outcome="error", error="ValueError"): 1,
        facts(policy=name, outcome="timeout", error="resilience.errors.TimedOut"): 1,
        facts(policy=name, outcome="cancelled"): 1,
        facts(policy=name, outcome="rejected", error="resilience.errors.CircuitOpen"): 1,
        facts(policy=name, outcome="fallback"): 1,
    }


def test_a_fallback_that_fails_is_a_failure(sdk: Sdk) -> None:
    with pytest.raises(ZeroDivisionError):
        Pipeline(fallback(to=lambda _: 1 / 0, on=OSError), name="both fail").call(fail, OSError())
    assert counted_calls(sdk, "both fail") == {"error": 1}


def test_a_fallback_of_an_inner_pipeline_is_not_the_outer_ones(sdk: Sdk) -> None:
    @Pipeline(name="outside")
    @fallback("answer", on=OSError)
    def inside() -> str:
        raise OSError

    assert inside() == "answer"
    assert counted_calls(sdk, "outside") == {"success": 1}


def counted_calls(sdk: Sdk, name: str) -> dict[str, int]:
    points = sdk.points("resilience.call.duration")
    return {dict(key)["resilience.outcome"]: point.count for key, point in points.items() if key >= facts(policy=name)}


def test_where_nothing_repeats_there_are_no_attempts(sdk: Sdk) -> None:
    Pipeline(CircuitBreaker(), name="once only").call(divmod, 7, 2)
    assert counted(sdk, "resilience.attempts", policy="once only") == {}


@pytest.mark.skipif(
    "explicit_bucket_boundaries_advisory" not in signature(api.Meter.create_histogram).parameters,
    reason="this API is too old to be advised",
)
def test_the_boundaries_suit_seconds(sdk: Sdk) -> None:
    Pipeline(name="bounds").call(divmod, 7, 2)
    (point,) = sdk.points("resilience.call.duration").values()
    assert tuple(point.explicit_bounds) == _metrics.BUCKETS


# Who refused


def test_refusals_are_counted_under_the_name_of_who_refused(sdk: Sdk) -> None:
    breaker, bulkhead = CircuitBreaker("refusing breaker", trip=1), Bulkhead(1, name="refusing bulkhead")
    pipeline = Pipeline(
        retry(on=Exception, attempts=3, wait=0, name="refusing retry"), breaker, name="refused pipeline"
    )
    with pytest.raises(OSError, match="down"):
        pipeline.call(fail, OSError("down"))
    with bulkhead.guard(), pytest.raises(BulkheadFull):
        bulkhead.admit()
    with sandbox() as time, deadline(1):
        time.advance(1)
        with pytest.raises(OutOfTime):
            pipeline.call(divmod, 7, 2)
    found = {key: value for key, value in sdk.points("resilience.rejections").items() if "refusing" in str(key)}
    assert found == {
        facts(policy="refusing breaker", error="resilience.errors.CircuitOpen"): 1,  # it asks to wait for too long
        facts(policy="refusing bulkhead", error="resilience.errors.BulkheadFull"): 1,
        facts(policy="refusing retry", error="resilience.errors.OutOfTime"): 1,
    }


# Breakers


VERBS = st.sampled_from(["fail", "succeed", "refuse", "cool", "isolate", "disable", "dry_run", "reset"])


@pytest.mark.law(97)
@given(st.lists(VERBS, max_size=12))
def test_a_breakers_metrics_say_what_it_says_of_itself(verbs: list[str]) -> None:
    name = next(fresh)
    sdk = Sdk(traces=False, metrics=True).install()
    breaker = CircuitBreaker(name, trip=2, cooldown=10)
    Pipeline().call(divmod, 7, 2)
    entries: Counter[str] = Counter()

    def hear(event: events.Event) -> None:
        if isinstance(event, events.StateChanged):
            entries[event.after] += 1

    with sandbox() as time, listen(hear):
        for verb in verbs:
            follow(breaker, verb, time)
            status = sdk.points("resilience.circuit_breaker.status")
            assert {state: status[facts(policy=name, state=state)] for state in STATES} == {
                state: int(state == breaker.state) for state in STATES
            }
        stats = breaker.stats
        entered = sdk.points("resilience.circuit_breaker.transitions")
        assert {state: entered[facts(policy=name, state=state)] for state in STATES} == {
            state: entries[state] for state in STATES
        }
        assert (entries.total(), entries["open"]) == (stats.transitions, stats.opened)
        verdicts = sdk.points("resilience.circuit_breaker.verdicts")
        assert verdicts[facts(policy=name, verdict="failure")] == stats.failures


def follow(breaker: CircuitBreaker, verb: str, time: Any) -> None:
    if verb == "cool":
        time.advance(timedelta(seconds=20))
    elif verb in {"fail", "succeed", "refuse"}:
        try:
            lease = breaker.admit()
        except CircuitOpen:
            return
        lease.fail() if verb == "fail" else lease.succeed()
    else:
        getattr(breaker, verb)()


@pytest.mark.law(97)
def test_counters_outlive_the_policy_and_the_present_does_not(sdk: Sdk) -> None:
    first, second = CircuitBreaker(), CircuitBreaker()  # without a name they count together
    before = verdicts_of(sdk, "CircuitBreaker")
    first.admit().fail()
    second.admit().fail()
    assert verdicts_of(sdk, "CircuitBreaker") == before + 2
    first = CircuitBreaker("mortal")
    first.admit().fail()
    assert facts(policy="mortal", state="closed") in sdk.points("resilience.circuit_breaker.status")
    del first
    gc.collect()
    assert verdicts_of(sdk, "mortal") == 1
    assert facts(policy="mortal", state="closed") not in sdk.points("resilience.circuit_breaker.status")


def verdicts_of(sdk: Sdk, name: str) -> int:
    value: int = sdk.points("resilience.circuit_breaker.verdicts").get(facts(policy=name, verdict="failure"), 0)
    return value


def test_each_verdict_is_counted(sdk: Sdk) -> None:
    name = next(fresh)
    breaker = CircuitBreaker(name, trip=SlowRate(0.5, seconds=10, slower_than=1, minimum=5), ignore=KeyError)
    with sandbox() as time:
        for error in (OSError(), KeyError(), KeyboardInterrupt()):
            lease = breaker.admit()
            lease.fail(error)
        lease = breaker.admit()
        time.advance(2)
        lease.succeed()
        breaker.admit().succeed()
        verdicts = sdk.points("resilience.circuit_breaker.verdicts")
        assert {verdict: verdicts[facts(policy=name, verdict=verdict)] for verdict in VERDICTS} == dict.fromkeys(
            VERDICTS, 1
        )


VERDICTS = ("failure", "slow", "ignored", "cancelled")


# Bulkheads


@pytest.mark.anyio
async def test_a_bulkhead_shows_its_use_its_limit_and_its_queue(sdk: Sdk) -> None:
    name = next(fresh)
    bulkhead = Bulkhead(2, max_wait=60, queue=5, name=name)
    release = anyio.Event()

    async def hold() -> None:
        async with bulkhead.guard():
            await release.wait()

    def figures() -> tuple[int, ...]:
        here = facts(policy=name)
        return tuple(sdk.points(f"resilience.bulkhead.{what}")[here] for what in ("usage", "limit", "queue.usage"))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(hold)
        await anyio.wait_all_tasks_blocked()
        assert figures() == (2, 2, 3)
        release.set()
    assert figures() == (0, 2, 0)


@pytest.mark.anyio
async def test_only_those_who_waited_have_waited(sdk: Sdk) -> None:
    name = next(fresh)
    with sandbox(autojump=False) as time:
        bulkhead = Bulkhead(1, max_wait=5, name=name)

        @bulkhead
        async def work(seconds: float) -> None:
            await clock.asleep(seconds)

        async def patient(seconds: float) -> None:
            try:
                await work(seconds)
            except BulkheadFull:
                pass

        for holds in (4, 9):
            async with anyio.create_task_group() as tasks:
                for task, seconds in ((work, holds), (patient, 3)):
                    tasks.start_soon(task, seconds)
                    await anyio.wait_all_tasks_blocked()
                for _ in range(12):
                    time.advance(1)
                    await anyio.wait_all_tasks_blocked()
    points = sdk.points("resilience.bulkhead.wait.duration")
    refused = facts(policy=name, outcome="rejected", error="resilience.errors.BulkheadFull")
    granted = facts(policy=name, outcome="success")
    assert {key: (point.count, point.sum) for key, point in points.items()} == {granted: (1, 4.0), refused: (1, 5.0)}


# Work left behind


def test_work_left_behind_is_counted_until_it_ends(sdk: Sdk) -> None:
    cutting = timeout(5, sync="abandon", name="hanging")
    hang, ended = threading.Event(), threading.Event()

    @cutting
    def work() -> None:
        hang.wait()

    with sandbox():
        with pytest.raises(TimedOut) as caught:
            work()
        assert sdk.points("resilience.timeout.abandoned")[facts(policy="hanging")] == 1
        assert caught.value.work is not None
        caught.value.work.add_done_callback(lambda _: ended.set())
        hang.set()
        ended.wait()
        assert sdk.points("resilience.timeout.abandoned")[facts(policy="hanging")] == 0
