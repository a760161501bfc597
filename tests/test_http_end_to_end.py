"""Each client inside retry and breaker, against a real service: what reaches the service is what was promised."""

from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest

from resilience import CircuitBreaker, Pipeline, retry, timeout
from resilience.errors import CircuitOpen, TimedOut
from resilience.http import transient, unhealthy
from resilience.testing import VirtualClock, sandbox
from tests.http_clients import IMPATIENT, Client, every_client
from tests.http_server import Service


@pytest.fixture(name="service")
def _service() -> Any:
    with Service() as running:
        yield running


@pytest.fixture(name="time", autouse=True)
def _time() -> Any:
    with sandbox() as virtual:
        yield virtual


@pytest.fixture(name="breaker")
def _breaker(request: pytest.FixtureRequest) -> CircuitBreaker:
    return CircuitBreaker(request.node.name, trip=3, on=unhealthy, on_result=unhealthy)


@pytest.fixture(name="guarded")
def _guarded(breaker: CircuitBreaker) -> Pipeline:
    return Pipeline(retry(on=transient, on_result=transient, wait=0, attempts=4), breaker)


def status_of(outcome: Any) -> int:
    for name in ("status_code", "status", "code"):
        if isinstance(value := getattr(outcome, name, None), int):
            return value
    raise AssertionError(outcome)


@every_client
def test_a_passing_trouble_is_got_over(
    client: Client, service: Service, guarded: Pipeline, breaker: CircuitBreaker
) -> None:
    service.script.extend([503, 429, 500, 200])
    assert status_of(client(service.url("/script"), by=guarded)) == 200
    assert len(service.hits) == 4
    assert breaker.state == "closed"


@every_client
def test_an_ill_service_is_left_alone_and_the_caller_gets_its_last_answer(
    client: Client, service: Service, guarded: Pipeline, breaker: CircuitBreaker
) -> None:
    outcome = client(service.url("/status/503"), by=guarded)
    assert status_of(outcome) == 503
    assert len(service.hits) == 3
    assert breaker.state == "open"
    assert isinstance(client(service.url("/status/503"), by=guarded), CircuitOpen)
    assert len(service.hits) == 3


@every_client
def test_a_busy_service_is_asked_again_and_never_called_ill(
    client: Client, service: Service, guarded: Pipeline, breaker: CircuitBreaker
) -> None:
    for _ in range(3):
        assert status_of(client(service.url("/status/429"), by=guarded)) == 429
    assert len(service.hits) == 12
    assert breaker.state == "closed"


@every_client
@pytest.mark.parametrize("status", [404, 501])
def test_an_answer_that_stands_is_asked_for_once(
    client: Client, service: Service, guarded: Pipeline, breaker: CircuitBreaker, status: int
) -> None:
    for _ in range(5):
        assert status_of(client(service.url(f"/status/{status}"), by=guarded)) == status
    assert len(service.hits) == 5
    assert breaker.state == "closed"


@every_client
@pytest.mark.parametrize("path", ["/drop", "/truncated"])
def test_a_broken_connection_counts_and_comes_out_as_the_client_raised_it(
    client: Client, service: Service, guarded: Pipeline, breaker: CircuitBreaker, path: str
) -> None:
    bare = client(service.url(path))
    hits_of_one_call = len(service.hits)  # aiohttp asks twice by itself after a disconnect
    outcome = client(service.url(path), by=guarded)
    assert type(outcome) is type(bare)
    assert len(service.hits) == 4 * hits_of_one_call
    assert breaker.state == "open"
    assert any("gave up" in note for note in outcome.__notes__)


@every_client
def test_silence_counts_and_comes_out_as_the_client_raised_it(
    client: Client, service: Service, guarded: Pipeline, breaker: CircuitBreaker
) -> None:
    bare = client(service.url("/stall"), IMPATIENT)
    outcome = client(service.url("/stall"), IMPATIENT, by=guarded)
    assert type(outcome) is type(bare)
    assert breaker.state == "open"
    assert breaker.stats.failures == 3


@every_client
def test_the_caller_s_own_fault_reaches_nobody(client: Client, guarded: Pipeline, breaker: CircuitBreaker) -> None:
    for _ in range(4):
        outcome = client("nothing://127.0.0.1/", by=guarded)
        assert isinstance(outcome, Exception)
        assert not isinstance(outcome, CircuitOpen)
    assert breaker.state == "closed"


WAITS = {
    "seconds": {"Retry-After": "7"},
    "date": {"Retry-After": "Mon, 04 May 2026 12:00:07 GMT", "Date": "Mon, 04 May 2026 12:00:00 GMT"},
}


@every_client
@pytest.mark.law(91)
@pytest.mark.parametrize("headers", WAITS.values(), ids=WAITS)
def test_no_attempt_starts_before_the_service_allows_it(
    client: Client, service: Service, time: VirtualClock, headers: dict[str, str]
) -> None:
    guarded = retry(on=transient, on_result=transient, wait=0, attempts=3)
    before = time.elapsed
    client(service.url(f"/status/429?{urlencode(headers)}"), by=guarded)
    assert len(service.hits) == 3
    assert time.elapsed - before == pytest.approx(14.0)


@every_client
@pytest.mark.law(43)
def test_a_wait_that_is_too_long_ends_the_retrying_at_once(
    client: Client, service: Service, time: VirtualClock
) -> None:
    guarded = retry(on=transient, on_result=transient, max_wait=60)
    outcome = client(service.url("/status/503?Retry-After=61"), by=guarded)
    assert status_of(outcome) == 503
    assert len(service.hits) == 1
    assert time.elapsed == 0.0


@pytest.mark.anyio
async def test_our_own_timeout_is_tried_again_and_counts_against_the_service(
    service: Service, breaker: CircuitBreaker
) -> None:
    guarded = Pipeline(retry(on=transient, wait=0), breaker, timeout(5))
    async with httpx2.AsyncClient(timeout=None, trust_env=False) as client:
        with pytest.raises(TimedOut):
            await guarded.acall(client.get, service.url("/stall"))
    assert breaker.state == "open"
    assert breaker.stats.failures == 3
