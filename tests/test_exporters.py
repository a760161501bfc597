"""What arrives elsewhere: at a collector over OTLP, in a process of its own, and at a scrape by Prometheus."""

import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio
import opentelemetry.metrics as metrics_api
import opentelemetry.trace as api
import prometheus_client
import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client.parser import text_string_to_metric_families

from resilience import Bulkhead, CircuitBreaker, CircuitOpen, Pipeline, TimedOut, _metrics, retry, timeout
from resilience._clock import clock
from resilience.saga import Saga, SagaFailed, step
from resilience.testing import VirtualClock, sandbox
from tests.sdk import forget_providers

SCOPE = ["resilience", version("resilience-patterns")]
UNSET, ERROR = 0, 2
HOUR = 3_600_000.0


@pytest.fixture(autouse=True)
def no_provider() -> Iterator[None]:
    """Each test begins and ends without an SDK; and no proxy stands between it and this host."""
    forget_providers()
    yield
    forget_providers()


class Story:
    """A service that misbehaves in every way that is told of; the names are of one test alone: counters never fall."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.breaker = CircuitBreaker(f"{name} bank", trip=2, cooldown=300, jitter=0)
        self.narrow = Bulkhead(1, max_wait=60, name=f"{name} narrow")
        self.payments = Pipeline(
            retry(on=ConnectionError, attempts=2, wait=1, name=f"{name} again"), self.breaker, name=f"{name} payments"
        )
        self.cut = Pipeline(timeout(5, sync="abandon", name=f"{name} cut"), name=f"{name} report")

    def tell(self, time: VirtualClock) -> None:
        """All of it, in no time."""
        answers: Iterator[Any] = iter([ConnectionError("reset by peer"), "paid", ConnectionError(), ConnectionError()])

        def pay() -> str:
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return str(answer)

        assert self.payments.call(pay) == "paid"
        with pytest.raises(ConnectionError):
            self.payments.call(pay)
        with pytest.raises(CircuitOpen):
            self.payments.call(pay)
        hang, ended = threading.Event(), threading.Event()
        with pytest.raises(TimedOut) as caught:
            self.cut.call(hang.wait)
        time.advance(30)
        assert caught.value.work is not None
        caught.value.work.add_done_callback(lambda _: ended.set())
        hang.set()
        ended.wait()
        anyio.run(self.queue)
        with pytest.raises(SagaFailed):
            self.deal().run_sync("a house", id="house")

    def deal(self) -> Saga[str, str]:
        """Two steps: the second fails, and the first is undone."""

        class Deal(Saga[str, str], name=f"{self.name} deal"):
            @step
            def ask(self, what: str) -> str:
                return what

            @ask.undo
            def unask(self, ask: str | None) -> None: ...

            @step
            def sign(self, what: str) -> str:
                raise ConnectionError

        return Deal()

    async def queue(self) -> None:
        """One holds the place for four seconds, and another waits for it."""
        queue = Pipeline(self.narrow, name=f"{self.name} queue")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(queue.acall, clock.asleep, 4)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(queue.acall, clock.asleep, 0)


@pytest.fixture
def story(request: pytest.FixtureRequest) -> Story:
    return Story(request.node.name.removeprefix("test_").split("_")[0])


class Receiver:
    """The collector, seen from here."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stdout is not None
        self.endpoint = f"http://127.0.0.1:{int(process.stdout.readline())}"
        self._lines: list[str] = []
        # At once, not at the end: a pipe that is full would hold the collector up in the middle of an answer.
        self._reader = threading.Thread(target=self._lines.extend, args=(process.stdout,))
        self._reader.start()

    def received(self) -> list[dict[str, Any]]:
        """Everything, once nothing more is coming: it ends."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._reader.join(timeout=30)
        return [json.loads(line) for line in self._lines]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    command = [sys.executable, str(Path(__file__).with_name("otlp_receiver.py"))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            yield Receiver(process)
        finally:
            process.kill()


def tree_of(spans: list[dict[str, Any]], parent: str = "") -> list[Any]:
    """Names as nested lists; siblings in the order in which they ended, which is that of their export."""
    return [
        part
        for span in spans
        if span["parent"] == parent
        for part in (span["name"], tree_of(spans, span["id"]))
        if part
    ]


# OTLP


def test_otlp_brings_the_tree_and_the_metrics_to_another_process(receiver: Receiver, story: Story) -> None:
    tracers = TracerProvider(resource=Resource.create({"service.name": "shop"}), shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{receiver.endpoint}/v1/traces")))
    exporter = OTLPMetricExporter(f"{receiver.endpoint}/v1/metrics")
    meters = MeterProvider([PeriodicExportingMetricReader(exporter, HOUR)], shutdown_on_exit=False)
    api.set_tracer_provider(tracers)
    metrics_api.set_meter_provider(meters)
    with sandbox() as time:
        story.tell(time)
        tracers.shutdown()
        meters.shutdown()
    received = receiver.received()
    deals = [each for each in received if "resilience.saga.id" in each.get("attributes", ())]
    spans = [each for each in received if each["is"] == "span" and each not in deals]
    metrics = {each["name"]: each for each in received if each["is"] == "metric"}

    assert tree_of(spans) == [
        "otlp payments",
        ["attempt 1", "retry.wait", "attempt 2"],
        "otlp payments",
        ["attempt 1", "retry.wait", "attempt 2"],
        "otlp payments",
        ["attempt 1"],
        "otlp report",
        ["timeout.abandoned"],
        "otlp queue",
        "otlp queue",
        ["bulkhead.wait"],
    ]
    assert tree_of(deals) == ["otlp deal", ["step ask", "step sign", "undo ask", "run 1"]]
    assert {(*each["scope"], each["service"], each["kind"]) for each in spans} == {
        (*SCOPE, "shop", "SPAN_KIND_INTERNAL")
    }
    assert {tuple(each["events"]) for each in spans} == {()}
    assert len({each["trace"] for each in spans}) == 6

    paid, failed, refused, report, _, queued = (each for each in spans if not each["parent"])
    about = {"resilience.policy.name": "otlp payments", "resilience.policy.type": "pipeline"}
    assert paid["attributes"] == {**about, "resilience.outcome": "success", "resilience.attempt.count": 2}
    assert failed["attributes"] == {
        **about,
        "resilience.outcome": "error",
        "resilience.attempt.count": 2,
        "error.type": "ConnectionError",
    }
    assert refused["attributes"] == {
        **about,
        "resilience.outcome": "rejected",
        "resilience.rejected_by": "otlp bank",
        "resilience.attempt.count": 1,
        "error.type": "resilience.errors.CircuitOpen",
    }
    assert [each["status"][0] for each in (paid, failed, refused, report, queued)] == [
        UNSET,
        ERROR,
        ERROR,
        ERROR,
        UNSET,
    ]
    first = next(each for each in spans if each["parent"] == paid["id"])
    assert (first["name"], first["status"]) == ("attempt 1", [ERROR, "reset by peer"])
    assert first["attributes"] == {
        "resilience.attempt.number": 1,
        "resilience.circuit_breaker.state": "closed",
        "resilience.outcome": "error",
        "error.type": "ConnectionError",
    }
    lengths = {each["name"]: each["seconds"] for each in spans if "." in each["name"]}
    assert lengths == pytest.approx({"retry.wait": 1, "timeout.abandoned": 30, "bulkhead.wait": 4})

    assert {tuple(each["scope"]) for each in metrics.values()} == {tuple(SCOPE)}
    assert {each["cumulative"] for each in metrics.values()} == {True}
    # Others may be there as well: those of policies that other tests have left.
    assert set(metrics) <= {instrument.name for instrument in _metrics.declared()}
    assert {
        name: (each["kind"], each["unit"], each["monotonic"]) for name, each in metrics.items() if of_story(name)
    } == {
        "resilience.call.duration": ("histogram", "s", None),
        "resilience.attempts": ("sum", "{attempt}", True),
        "resilience.rejections": ("sum", "{rejection}", True),
        "resilience.circuit_breaker.status": ("sum", "1", False),
        "resilience.circuit_breaker.transitions": ("sum", "{transition}", True),
        "resilience.circuit_breaker.verdicts": ("sum", "{call}", True),
        "resilience.bulkhead.usage": ("sum", "{call}", False),
        "resilience.bulkhead.limit": ("sum", "{call}", False),
        "resilience.bulkhead.queue.usage": ("sum", "{call}", False),
        "resilience.bulkhead.wait.duration": ("histogram", "s", None),
        "resilience.timeout.abandoned": ("sum", "{call}", False),
        "resilience.saga.duration": ("histogram", "s", None),
        "resilience.saga.step.duration": ("histogram", "s", None),
        "resilience.saga.compensations": ("sum", "{compensation}", True),
        "resilience.saga.stuck": ("sum", "{saga}", False),
    }

    def points(name: str, policy: str) -> dict[tuple[Any, ...], Any]:
        own = [point for point in metrics[name]["points"] if point[0].get("resilience.policy.name") == f"otlp {policy}"]
        return {
            tuple(text for key, text in sorted(facts.items()) if key != "resilience.policy.name"): number
            for facts, number in own
        }

    assert points("resilience.attempts", "payments") == {("success",): 1, ("error",): 3, ("rejected",): 1}
    assert points("resilience.rejections", "bank") == {("resilience.errors.CircuitOpen",): 1}
    assert points("resilience.circuit_breaker.transitions", "bank")["open",] == 1
    assert points("resilience.circuit_breaker.status", "bank")["open",] == 1
    assert points("resilience.circuit_breaker.status", "bank")["closed",] == 0
    assert points("resilience.circuit_breaker.verdicts", "bank")["failure",] == 3
    assert points("resilience.bulkhead.limit", "narrow") == {(): 1}
    assert points("resilience.bulkhead.usage", "narrow") == {(): 0}
    assert points("resilience.timeout.abandoned", "cut") == {(): 0}
    assert points("resilience.bulkhead.wait.duration", "narrow") == {("success",): [1, pytest.approx(4)]}
    assert points("resilience.call.duration", "payments") == {
        ("success",): [1, pytest.approx(1)],
        ("ConnectionError", "error"): [1, pytest.approx(1)],
        ("resilience.errors.CircuitOpen", "rejected"): [1, pytest.approx(0)],
    }


SERVICE = """
import opentelemetry.metrics as metrics
import opentelemetry.trace as trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from resilience import CircuitBreaker

guarded = CircuitBreaker("stock")(divmod)  # decorated before there is an SDK

tracers = TracerProvider()
tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(tracers)
metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())]))

guarded(7, 2)
"""


def test_a_service_that_ends_has_sent_everything(receiver: Receiver) -> None:
    environment = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_SERVICE_NAME": "warehouse"}
    subprocess.run([sys.executable, "-c", SERVICE], check=True, timeout=60, env=environment)
    received = receiver.received()
    (span,) = (each for each in received if each["is"] == "span")
    assert (span["service"], span["name"], span["scope"]) == ("warehouse", "stock", SCOPE)
    (took,) = (each for each in received if each["name"] == "resilience.call.duration")
    ((facts, (count, _)),) = took["points"]
    assert (facts, count) == ({"resilience.policy.name": "stock", "resilience.outcome": "success"}, 1)


# Prometheus

OTHERS = re.compile(r"resilience[._](rate_limiter|cache|hedges|throttle|chaos|keyed)")
"""Metrics of patterns that the story has none of."""


def of_story(name: str) -> bool:
    """Whether the story has to show a metric."""
    return not OTHERS.match(name)


NAMES = {
    "resilience_call_duration_seconds": "histogram",
    "resilience_attempts": "counter",
    "resilience_rejections": "counter",
    "resilience_circuit_breaker_status": "gauge",
    "resilience_circuit_breaker_transitions": "counter",
    "resilience_circuit_breaker_verdicts": "counter",
    "resilience_bulkhead_usage": "gauge",
    "resilience_bulkhead_limit": "gauge",
    "resilience_bulkhead_queue_usage": "gauge",
    "resilience_bulkhead_wait_duration_seconds": "histogram",
    "resilience_rate_limiter_available": "gauge",
    "resilience_rate_limiter_queue_usage": "gauge",
    "resilience_rate_limiter_wait_duration_seconds": "histogram",
    "resilience_cache_lookups": "counter",
    "resilience_cache_usage": "gauge",
    "resilience_cache_wait_duration_seconds": "histogram",
    "resilience_hedges": "counter",
    "resilience_throttle_asked": "gauge",
    "resilience_throttle_accepted": "gauge",
    "resilience_chaos_injections": "counter",
    "resilience_keyed_usage": "gauge",
    "resilience_keyed_shared": "counter",
    "resilience_timeout_abandoned": "gauge",
    "resilience_saga_duration_seconds": "histogram",
    "resilience_saga_step_duration_seconds": "histogram",
    "resilience_saga_compensations": "counter",
    "resilience_saga_stuck": "gauge",
}
"""The families; a counter's samples end in `_total`."""

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "telemetry.md"


@contextmanager
def scraped() -> Iterator[Any]:
    """A function that scrapes this process over HTTP."""
    reader = PrometheusMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    metrics_api.set_meter_provider(meters)
    server, thread = prometheus_client.start_http_server(0, addr="127.0.0.1")

    def scrape() -> dict[str, Any]:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"http://127.0.0.1:{server.server_port}/metrics", timeout=30
        ) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        ours = [family for family in families if family.name.startswith("resilience_")]
        assert len({family.name for family in ours}) == len(ours)
        return {family.name: family for family in ours}

    try:
        yield scrape
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        meters.shutdown()


def samples(family: Any, policy: str) -> dict[tuple[str, ...], float]:
    """Values by the labels that tell them apart."""
    hidden = {"resilience_policy_name", "otel_scope_name", "otel_scope_version", "otel_scope_schema_url"}
    return {
        (
            sample.name.removeprefix(family.name),
            *(text for key, text in sorted(sample.labels.items()) if text and key not in hidden),
        ): (sample.value)
        for sample in family.samples
        if sample.labels.get("resilience_policy_name") == policy and not sample.name.endswith("_bucket")
    }


def test_the_page_has_these_names() -> None:
    rows = re.findall(r"^\| `(resilience_\w+)`.*\| (\w+) \| `([\w.]+)` \|$", PAGE.read_text(), re.MULTILINE)
    assert {name.removesuffix("_total"): kind for name, kind, _ in rows} == NAMES
    assert all(name.endswith("_total") == (kind == "counter") for name, kind, _ in rows)
    assert [metric for _, _, metric in rows] == [instrument.name for instrument in sorted_as_promised()]


def sorted_as_promised() -> list[_metrics.Instrument]:
    """Every metric there is, in the order of the promise."""
    promise = (PAGE.parents[1] / "telemetry.md").read_text()
    return sorted(_metrics.declared(), key=lambda instrument: promise.index(f"| `{instrument.name}` |"))


def test_prometheus_reads_the_promised_names(story: Story) -> None:
    with scraped() as scrape, sandbox() as time:
        story.tell(time)
        found = scrape()
        story.breaker.reset()
        again = scrape()
    if "resilience_attempts__attempt_" in found:
        pytest.skip("this exporter is so old that it writes a unit in braces into the name")
    seen = {name: family.type for name, family in found.items()}
    assert seen.items() <= NAMES.items()
    assert {name for name in NAMES if of_story(name)} <= set(seen)
    assert all(family.documentation for family in found.values())
    assert samples(found["resilience_attempts"], "prometheus payments") == {
        ("_total", "error"): 3,
        ("_total", "rejected"): 1,
        ("_total", "success"): 1,
    }
    assert samples(found["resilience_rejections"], "prometheus bank") == {
        ("_total", "resilience.errors.CircuitOpen"): 1
    }
    status = samples(found["resilience_circuit_breaker_status"], "prometheus bank")
    assert [state for (_, state), value in status.items() if value] == ["open"]
    assert len(status) == 6
    status = samples(again["resilience_circuit_breaker_status"], "prometheus bank")
    assert [state for (_, state), value in status.items() if value] == ["closed"]
    transitions = samples(again["resilience_circuit_breaker_transitions"], "prometheus bank")
    assert (transitions["_total", "open"], transitions["_total", "closed"]) == (1, 1)
    took = samples(found["resilience_call_duration_seconds"], "prometheus payments")
    assert took["_count", "success"] == took["_count", "ConnectionError", "error"] == 1
    assert took["_sum", "success"] == pytest.approx(1)
    waited = samples(found["resilience_bulkhead_wait_duration_seconds"], "prometheus narrow")
    assert waited == {("_count", "success"): 1, ("_sum", "success"): pytest.approx(4)}
    assert samples(found["resilience_bulkhead_limit"], "prometheus narrow") == {("",): 1}
    assert samples(found["resilience_timeout_abandoned"], "prometheus cut") == {("",): 0}
