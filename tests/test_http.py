"""What the predicates say about each client as it is: real sockets, real responses, real exceptions."""

import asyncio
import errno
import http.client
import socket
import ssl
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import aiohttp
import httpx
import httpx2
import pytest
import requests
import trio
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from resilience._core.retry_after import retry_after_of
from resilience.errors import CircuitOpen, OutOfTime, Rejected, TimedOut
from resilience.http import transient, unhealthy
from tests.http_clients import IMPATIENT, PATIENT, Client, every_client
from tests.http_server import Service, unused_port


def wraps(error: BaseException, kind: type[BaseException]) -> bool:
    inside = (error.__cause__, error.__context__, *error.args)
    return isinstance(error, kind) or any(wraps(one, kind) for one in inside if isinstance(one, BaseException))


def verdicts(outcome: object) -> tuple[bool, bool]:
    return transient(outcome), unhealthy(outcome)


NEITHER, PASSING, ILL = (False, False), (True, False), (True, True)

STATUSES = {
    **dict.fromkeys([200, 202, 204, 400, 401, 403, 404, 409, 410, 418, 422, 423, 451], NEITHER),
    **dict.fromkeys([408, 425, 429], PASSING),
    **dict.fromkeys([500, 502, 503, 504, 507, 520, 599], ILL),
    **dict.fromkeys([501, 505], NEITHER),
}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service() as running:
        yield running


@pytest.fixture(scope="module")
def untrusted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose certificate nobody trusts."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    make_certificate(certificate, key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with Service(tls=tls) as running:
        yield running


def make_certificate(certificate: Path, key: Path) -> None:
    subject = ["-subj", "/CN=127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl command to make a certificate with")


@every_client
@pytest.mark.parametrize(("status", "expected"), STATUSES.items())
def test_a_response_is_judged_by_its_status(
    client: Client, service: Service, status: int, expected: tuple[bool, bool]
) -> None:
    outcome = client(service.url(f"/status/{status}"))
    assert verdicts(outcome) == expected
    if hasattr(outcome, "raise_for_status") and status >= 400:
        with pytest.raises(Exception) as caught:
            outcome.raise_for_status()
        assert verdicts(caught.value) == expected


@every_client
@pytest.mark.parametrize("path", ["/drop", "/reset", "/garbage", "/truncated", "/truncated-chunks"])
def test_a_broken_answer_is_the_service_s_illness(client: Client, service: Service, path: str) -> None:
    outcome = client(service.url(path))
    assert isinstance(outcome, Exception)
    assert verdicts(outcome) == ILL


@every_client
@pytest.mark.parametrize("path", ["/stall", "/stall-body"])
def test_silence_is_the_service_s_illness(client: Client, service: Service, path: str) -> None:
    outcome = client(service.url(path), IMPATIENT)
    assert isinstance(outcome, Exception)
    assert verdicts(outcome) == ILL


@every_client
def test_no_connection_is_the_service_s_illness(client: Client, service: Service) -> None:
    nobody_listens = client(f"http://127.0.0.1:{unused_port()}/")
    no_such_name = client("http://does-not-exist.invalid/")
    no_tls_there = client(f"https://{service.netloc}/status/200")
    assert verdicts(nobody_listens) == verdicts(no_such_name) == verdicts(no_tls_there) == ILL


@every_client
def test_a_certificate_that_is_not_trusted_stays_so(client: Client, untrusted: Service) -> None:
    outcome = client(untrusted.url("/status/200"))
    assert wraps(outcome, ssl.SSLCertVerificationError)
    assert verdicts(outcome) == NEITHER
    assert untrusted.hits == []


@every_client
@pytest.mark.parametrize("url", ["nothing://127.0.0.1/", "http://[::1/", "no scheme at all"])
def test_a_url_that_is_none_is_the_caller_s_fault(client: Client, url: str) -> None:
    outcome = client(url)
    assert isinstance(outcome, Exception)
    assert verdicts(outcome) == NEITHER


@every_client
@pytest.mark.parametrize("path", ["/loop", "/undecodable"])
@pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning")  # httpx leaves them to the collector
def test_an_answer_that_stays_useless_is_not_asked_for_again(client: Client, service: Service, path: str) -> None:
    assert verdicts(client(service.url(path))) == NEITHER


@every_client
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Mon, 04 May 2026 12:00:40 GMT", "Date": "Mon, 04 May 2026 12:00:00 GMT"}, 40.0),
        ({"Retry-After": "Mon, 04 May 2026 12:00:40 GMT"}, 10.0),
        ({"Retry-After": "later"}, None),
        ({}, None),
    ],
    ids=["seconds", "date", "date without Date", "unreadable", "none"],
)
def test_the_wait_that_a_response_asks_for_is_found(
    client: Client, service: Service, headers: dict[str, str], seconds: float | None
) -> None:
    wall_now = 1_777_896_030.0  # 12:00:30 of that day
    outcome = client(service.url(f"/status/503?{urlencode(headers)}"))
    assert retry_after_of(outcome, wall_now) == seconds
    if hasattr(outcome, "raise_for_status"):
        with pytest.raises(Exception) as caught:
            outcome.raise_for_status()
        assert retry_after_of(caught.value, wall_now) == seconds


@pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])
def test_a_full_pool_of_httpx_says_nothing_about_the_service(library: Any, service: Service) -> None:
    limits, timeout = library.Limits(max_connections=1), library.Timeout(PATIENT, pool=IMPATIENT)
    with (
        library.Client(limits=limits, timeout=timeout, trust_env=False) as client,
        client.stream("GET", service.url("/stall-body")),
        pytest.raises(library.PoolTimeout) as caught,
    ):
        client.get(service.url("/status/200"))
    assert verdicts(caught.value) == PASSING


def test_a_full_pool_of_urllib3_says_nothing_about_the_service(service: Service) -> None:
    with urllib3.connectionpool.connection_from_url(service.url("/"), maxsize=1, block=True, retries=False) as pool:
        held = pool.urlopen("GET", "/stall-body", preload_content=False)
        with pytest.raises(urllib3.exceptions.EmptyPoolError) as caught:
            pool.urlopen("GET", "/status/200", pool_timeout=IMPATIENT)  # type: ignore[arg-type] # a float works
        held.close()
    assert verdicts(caught.value) == PASSING


@pytest.mark.parametrize(("status", "expected"), [(503, ILL), (429, PASSING), (404, NEITHER)])
def test_the_status_is_found_when_the_client_s_own_retries_end(
    service: Service, status: int, expected: tuple[bool, bool]
) -> None:
    retries = urllib3.Retry(total=1, status_forcelist=[status])
    with requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retries))
        with pytest.raises(requests.exceptions.RetryError) as caught:
            session.get(service.url(f"/status/{status}"))
    assert verdicts(caught.value) == expected


BARE = [
    *(library.ReadTimeout("") for library in (httpx2, httpx)),
    *(library.ConnectError("") for library in (httpx2, httpx)),
    *(library.RemoteProtocolError("") for library in (httpx2, httpx)),
    *(library.ProxyError("") for library in (httpx2, httpx)),
    *(requests.Timeout(), requests.ConnectionError(), requests.exceptions.ChunkedEncodingError()),
    *(urllib3.exceptions.ProtocolError(), urllib3.exceptions.SSLError(), urllib3.exceptions.TimeoutError()),
    *(aiohttp.ServerDisconnectedError(), aiohttp.ClientPayloadError(), aiohttp.ServerTimeoutError()),
    *(http.client.RemoteDisconnected(), http.client.IncompleteRead(b""), http.client.BadStatusLine("")),
    *(socket.gaierror(), ssl.SSLError(), ssl.SSLEOFError(), trio.TooSlowError()),
]


@pytest.mark.parametrize("error", BARE, ids=lambda error: f"{type(error).__module__}.{type(error).__name__}")
def test_an_error_that_wraps_nothing_is_known_by_its_name(error: Exception) -> None:
    """As tools that mock a client raise it."""
    assert verdicts(error) == ILL


def test_every_connection_error_and_timeout_of_python_is_meant() -> None:
    unreachable = OSError(errno.EHOSTUNREACH, "No route to host")
    for error in (ConnectionResetError(), BrokenPipeError(), TimeoutError(), unreachable):
        assert verdicts(error) == ILL
        assert verdicts(urllib.error.URLError(error)) == ILL


def test_other_errors_are_not_meant() -> None:
    for error in (KeyError("status"), ValueError(503), OSError(errno.ENOENT, "No such file"), RuntimeError()):
        assert verdicts(error) == NEITHER
        assert verdicts(urllib.error.URLError(error)) == NEITHER
    assert verdicts(httpx2.LocalProtocolError("mine")) == NEITHER
    assert verdicts(requests.HTTPError("without a response")) == NEITHER


def test_our_own_timeout_is_one_and_our_own_refusals_are_not_the_service_s() -> None:
    assert verdicts(TimedOut("timeout", 2.0)) == ILL
    for refusal in (Rejected("policy"), CircuitOpen("breaker", 5.0), OutOfTime("deadline")):
        assert verdicts(refusal) == NEITHER


def test_what_asks_the_program_to_stop_has_no_status() -> None:
    for stop in (SystemExit(503), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()):
        assert verdicts(stop) == NEITHER
        assert verdicts(BaseExceptionGroup("stop", [stop, TimeoutError()])) == NEITHER


def test_a_group_is_judged_by_its_mildest_leaf() -> None:
    ill, passing, other = httpx2.ConnectError("no"), httpx2.PoolTimeout("full"), KeyError()
    assert verdicts(ExceptionGroup("", [ill, ExceptionGroup("", [TimeoutError()])])) == ILL
    assert verdicts(ExceptionGroup("", [ill, ExceptionGroup("", [passing])])) == PASSING
    assert verdicts(ExceptionGroup("", [ill, passing, ExceptionGroup("", [other])])) == NEITHER


def test_an_exception_s_context_is_not_its_cause() -> None:
    try:
        raise ssl.SSLCertVerificationError  # noqa: TRY301 - an earlier call, that is being handled
    except ssl.SSLCertVerificationError:
        with pytest.raises(httpx2.ConnectError) as caught:
            raise httpx2.ConnectError("another service") from None
        assert caught.value.__context__ is not None
        assert verdicts(caught.value) == ILL


def test_what_the_caller_made_of_an_error_is_not_looked_through() -> None:
    class UnavailableError(Exception):
        pass

    mine = UnavailableError(TimeoutError())
    mine.__cause__ = httpx2.ConnectError("no")
    assert verdicts(mine) == NEITHER


def test_a_subclass_of_a_client_s_error_is_one() -> None:
    class MineError(requests.ConnectionError):
        pass

    assert verdicts(MineError()) == ILL


def test_errors_that_cause_one_another_come_to_an_end() -> None:
    first, second = urllib.error.URLError("first"), urllib.error.URLError("second")
    first.__cause__, second.__cause__ = second, first
    assert verdicts(first) == NEITHER


def test_a_fingerprint_that_does_not_match_stays_so() -> None:
    assert verdicts(aiohttp.ServerFingerprintMismatch(b"a", b"b", "localhost", 443)) == NEITHER


@pytest.mark.parametrize("name", ["status_code", "status", "code"])
@given(status=st.integers())
def test_any_object_with_a_status_is_a_response(name: str, status: int) -> None:
    answer = SimpleNamespace(**{name: status})
    expected = STATUSES.get(status, ILL if 500 <= status <= 599 else NEITHER)
    assert verdicts(answer) == expected
    error = RuntimeError()
    error.response = answer  # type: ignore[attr-defined] # the way clients attach it
    assert verdicts(error) == expected


@pytest.mark.parametrize("result", [None, 503, "status 503", {"status": 503}, [], True, object(), OSError])
def test_what_is_no_response_is_neither(result: object) -> None:
    assert verdicts(result) == NEITHER


@pytest.mark.parametrize("status", ["503", 503.0, None, True, [503]])
def test_a_status_is_a_whole_number(status: object) -> None:
    assert verdicts(SimpleNamespace(status_code=status)) == NEITHER


def test_a_property_that_raises_is_no_status() -> None:
    class Lazy:
        status = 503

        @property
        def status_code(self) -> int:
            raise RuntimeError

    assert verdicts(Lazy()) == ILL


def test_no_client_is_imported() -> None:
    look = "import sys, resilience.http as h; h.unhealthy(OSError()); print(*sys.modules)"
    python = [sys.executable, "-c", look]
    loaded = subprocess.run(python, check=True, capture_output=True, text=True).stdout.split()
    assert "resilience.http" in loaded
    assert {"httpx", "httpx2", "requests", "urllib3", "aiohttp", "trio"}.isdisjoint(loaded)
