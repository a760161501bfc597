"""Beside an instrumented HTTP client: it describes each request, we describe the call, and nothing is said twice."""

from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import opentelemetry.instrumentation.httpx as of_httpx
import pytest
import requests
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.trace import SpanKind, StatusCode

from resilience import CircuitBreaker, Pipeline, retry
from resilience.http import transient
from resilience.testing import VirtualClock, sandbox
from tests.http_clients import TLS
from tests.http_server import Service, unused_port
from tests.sdk import Sdk, facts, forget_providers


@pytest.fixture
def sdk() -> Iterator[Sdk]:
    sdk = Sdk(metrics=True).install()
    instrumentors: list[Any] = [of_httpx.HTTPXClientInstrumentor(), RequestsInstrumentor()]
    for instrumentor in instrumentors:
        instrumentor.instrument(tracer_provider=sdk.provider, meter_provider=sdk.meters)
    yield sdk
    for instrumentor in instrumentors:
        instrumentor.uninstrument()
    forget_providers()


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as running:
        yield running


@pytest.fixture(autouse=True)
def time() -> Iterator[VirtualClock]:
    with sandbox() as virtual:
        yield virtual


def by_httpx(policy: Pipeline, url: str) -> Any:
    with httpx.Client(verify=TLS, trust_env=False) as client:
        return policy.call(client.get, url)


def by_requests(policy: Pipeline, url: str) -> Any:
    with requests.Session() as session:
        session.trust_env = False
        return policy.call(session.get, url)


def by_httpx_on(backend: str) -> Any:
    async def get(policy: Pipeline, url: str) -> Any:
        async with httpx.AsyncClient(verify=TLS, trust_env=False) as client:
            return await policy.acall(client.get, url)

    def run(policy: Pipeline, url: str) -> Any:
        return anyio.run(get, policy, url, backend=backend)

    return run


EVERY_CLIENT = pytest.mark.parametrize(
    "get",
    [by_httpx, by_requests, by_httpx_on("asyncio"), by_httpx_on("trio")],
    ids=["httpx", "requests", "httpx-asyncio", "httpx-trio"],
)


def guarded(request: pytest.FixtureRequest) -> Pipeline:
    patient = retry(on=transient, on_result=transient, attempts=3, wait=1)
    return Pipeline(patient, CircuitBreaker(), name=request.node.name)


def check_nothing_twice(sdk: Sdk, name: str) -> None:
    """The client's spans are of kind CLIENT, one below each attempt; ours say nothing of HTTP and have no events."""
    ours = [span for span in sdk.spans if span.instrumentation_scope.name == "resilience"]
    clients = [span for span in sdk.spans if span not in ours]
    attempts = {span.context.span_id for span in ours if span.name.startswith("attempt ")}
    assert {span.kind for span in clients} == {SpanKind.CLIENT}
    assert sorted(span.parent.span_id for span in clients if span.parent) == sorted(attempts)
    assert all(span.events == () for span in ours)
    assert not [key for span in ours for key in span.attributes or () if not key.startswith(("resilience.", "error."))]
    assert sum(point.count for point in sdk.points("resilience.call.duration").values()) == 1
    assert {metric for metric in sdk.metrics() if metric.startswith("resilience.http")} == set()


@EVERY_CLIENT
def test_each_send_is_one_client_span_below_its_attempt(
    sdk: Sdk, service: Service, get: Any, request: pytest.FixtureRequest, time: VirtualClock
) -> None:
    service.script.extend([503, 503])
    before = time.now()
    assert get(guarded(request), service.url("/script")).status_code == 200
    assert time.now() - before == pytest.approx(2)
    name = request.node.name
    sends = [span.name for span in sdk.spans if span.kind is SpanKind.CLIENT]
    first, second, third = ([send] for send in sends)
    attempts = ["attempt 1", first, "retry.wait", "attempt 2", second, "retry.wait", "attempt 3", third]
    assert sdk.tree == [name, attempts]
    assert len(service.hits) == 3
    check_nothing_twice(sdk, name)
    assert sdk.named(name).status.status_code is StatusCode.UNSET
    assert (sdk.named(name).attributes or {})["resilience.attempt.count"] == 3


@EVERY_CLIENT
def test_the_wait_that_a_service_asks_for_is_a_span_of_that_length(
    sdk: Sdk, service: Service, get: Any, request: pytest.FixtureRequest
) -> None:
    assert get(guarded(request), service.url("/status/503?Retry-After=7")).status_code == 503
    waits = [span for span in sdk.spans if span.name == "retry.wait"]
    assert [(span.end_time - span.start_time) / 1e9 for span in waits] == pytest.approx([7, 7])
    assert len(service.hits) == 3
    check_nothing_twice(sdk, request.node.name)


@EVERY_CLIENT
def test_an_exception_is_not_recorded_by_us(sdk: Sdk, get: Any, request: pytest.FixtureRequest) -> None:
    with pytest.raises((httpx.ConnectError, requests.ConnectionError)) as caught:
        get(guarded(request), f"http://127.0.0.1:{unused_port()}/")
    check_nothing_twice(sdk, request.node.name)
    kind = f"{type(caught.value).__module__}.{type(caught.value).__qualname__}"
    call = sdk.named(request.node.name)
    assert (call.status.status_code, (call.attributes or {})["error.type"]) == (StatusCode.ERROR, kind)
    recorded = [span.name for span in sdk.spans for event in span.events if event.name == "exception"]
    assert len(recorded) in {0, 3}  # the client's own, at most one for each send
    assert sdk.points("resilience.attempts")[facts(policy=request.node.name, outcome="error")] == 3
