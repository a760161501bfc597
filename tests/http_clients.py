"""Every HTTP client that the project is proven against, behind one face: a URL and a limit in, an outcome out."""

import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import anyio
import httpx
import httpx2
import pytest
import requests
import urllib3

IMPATIENT = 0.05
"""Seconds until a client gives up on a service that never answers."""

PATIENT = 30.0
"""Seconds that no test needs."""

TLS = ssl.create_default_context()
"""Made once: httpx would load every known authority for every client."""


@dataclass(frozen=True)
class Client:
    """One library, sync or on one event loop.

    Attributes:
        get: A plain or a coroutine function of a URL and the most seconds without an answer. Where a client tells the
            two apart, connecting has all the time it needs: on a busy machine it takes long, and that is another error.
        backend: The event loop of a coroutine function.
    """

    get: Callable[[str, float], Any]
    backend: str | None = None

    def __call__(self, url: str, seconds: float = PATIENT, by: Callable[[Any], Any] = lambda get: get) -> Any:
        """What a call ends with, the response or the exception; `by` may decorate the function first."""
        get = by(self.get)
        try:
            return get(url, seconds) if self.backend is None else anyio.run(get, url, seconds, backend=self.backend)
        except Exception as error:
            return error


def of_httpx(library: Any) -> Client:
    def get(url: str, seconds: float) -> Any:
        timeout = library.Timeout(PATIENT, read=seconds)
        with library.Client(verify=TLS, timeout=timeout, follow_redirects=True, trust_env=False) as client:
            return client.get(url)

    return Client(get)


def of_async_httpx(library: Any, backend: str) -> Client:
    async def get(url: str, seconds: float) -> Any:
        timeout = library.Timeout(PATIENT, read=seconds)
        async with library.AsyncClient(verify=TLS, timeout=timeout, follow_redirects=True, trust_env=False) as client:
            return await client.get(url)

    return Client(get, backend)


def of_requests() -> Client:
    def get(url: str, seconds: float) -> Any:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(url, timeout=(PATIENT, seconds))

    return Client(get)


def of_urllib3() -> Client:
    def get(url: str, seconds: float) -> Any:
        with urllib3.PoolManager() as pool:
            return pool.request("GET", url, timeout=urllib3.Timeout(connect=PATIENT, read=seconds), retries=False)

    return Client(get)


def of_urllib() -> Client:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(url: str, seconds: float) -> Any:
        try:
            with opener.open(url, timeout=seconds) as response:
                response.read()
                return response
        except urllib.error.HTTPError as error:
            error.close()
            raise

    return Client(get)


def of_aiohttp(limit: str) -> Client:
    async def get(url: str, seconds: float) -> Any:
        timeout = aiohttp.ClientTimeout(**{limit: seconds})
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            await response.read()
            return response

    return Client(get, "asyncio")


CLIENTS: dict[str, Client] = {
    "httpx2": of_httpx(httpx2),
    "httpx2-asyncio": of_async_httpx(httpx2, "asyncio"),
    "httpx2-trio": of_async_httpx(httpx2, "trio"),
    "httpx": of_httpx(httpx),
    "httpx-asyncio": of_async_httpx(httpx, "asyncio"),
    "httpx-trio": of_async_httpx(httpx, "trio"),
    "requests": of_requests(),
    "urllib3": of_urllib3(),
    "urllib": of_urllib(),
    "aiohttp": of_aiohttp("sock_read"),
    "aiohttp-total": of_aiohttp("total"),
}

every_client = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
