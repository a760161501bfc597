"""What an HTTP outcome says, of any client: `transient` (try again) and `unhealthy` (the service is ill).

Each is one predicate for exceptions *and* responses, so that one name serves `on=` and `on_result=`::

    from resilience import CircuitBreaker, Pipeline, retry
    from resilience.http import transient, unhealthy

    billing = Pipeline(
        retry(on=transient, on_result=transient),
        CircuitBreaker("billing", on=unhealthy, on_result=unhealthy),
    )

    @billing
    def invoices():
        return httpx2.get("https://billing.example/invoices", timeout=2)

The two ask different questions. A `429` is worth another try, but a service that says so is alive, and opening a
breaker would punish it for its good manners.

==============================================================  =========  =========
outcome                                                         transient  unhealthy
==============================================================  =========  =========
no connection: refused, reset, unreachable, name not resolved   yes        yes
timeout of connecting, reading or writing; `TimedOut`           yes        yes
disconnected, cut off in the body, not HTTP, TLS failed         yes        yes
500, 502, 503, 504 and all of 5xx but the two below             yes        yes
408, 425, 429                                                   yes        no
timeout of the client's own connection pool                     yes        no
501, 505; every other status                                    no         no
certificate not trusted; bad URL or scheme                      no         no
too many redirects; body that cannot be decoded                 no         no
our own `Rejected`                                              no         no
anything else, such as a `KeyError`                             no         no
==============================================================  =========  =========

* `500` means that something unexpected happened (RFC 9110, section 15.6.1), which another try may not meet.
  `501` and `505` say what the server will never do for this request: trying again is idle, and one odd caller must not
  open the breaker of all.
* `425` (RFC 8470) asks for the same request once more, when the TLS handshake is complete.
* The pool of connections is the client's own bulkhead: its timeout says nothing about the service.
* A certificate that is not trusted stays so until somebody acts. Other failures of TLS count as connection errors.
* `Rejected` is a refusal of our own, not a word of the service. Whoever wants to wait for it says so:
  `retry(on=(transient, RateLimited))`.
* An exception that carries a response (`HTTPStatusError`, `HTTPError`, `ClientResponseError`, ...) is judged by the
  status. A group of exceptions is judged by its mildest leaf: all of them must match.
* An exception of your own that wraps one of these (`raise Unavailable from error`) is judged as what you made of it.
  Name it beside: `on=(transient, Unavailable)`.

Neither asks whether repeating is *safe*: a `POST` that timed out may have taken effect. Put `retry` around what is
idempotent, by its method or by an idempotency key. Nor does `retry` close a response that it drops: where you stream,
call `raise_for_status()` inside the `with` block of the response, so that its connection goes back to the pool.

Clients are told by the names of their classes, so this module imports none of them, and knows nothing of policies.
Proven against httpx2, httpx, requests, urllib3, aiohttp and `urllib.request`. Switch off retries of the client's own,
such as urllib3's `Retry`: retries of two layers multiply. aiohttp has no switch for the one more request that it makes
when a service hangs up on a `GET`.
"""

import errno
from collections.abc import Iterator

from ._core.outcomes import leaves, peek

__all__ = ["transient", "unhealthy"]


def transient(outcome: object, /) -> bool:
    """Whether another try may succeed: connection errors, timeouts, 408, 425, 429, and 5xx without 501 and 505.

    For `retry(on=transient, on_result=transient)`. The wait that a response asks for (`Retry-After`) is read by
    `retry` itself.

    Args:
        outcome: An exception or a response of any HTTP client; anything else is not transient.

    Returns:
        The answer.
    """
    return _verdict(outcome) >= _PASSING


def unhealthy(outcome: object, /) -> bool:
    """Whether the service itself is ill: connection errors, timeouts, and 5xx without 501 and 505.

    For `CircuitBreaker(on=unhealthy, on_result=unhealthy)`. Everything unhealthy is also `transient`; 408, 425, 429
    and a full connection pool are transient only.

    Args:
        outcome: An exception or a response of any HTTP client; anything else is not unhealthy.

    Returns:
        The answer.
    """
    return _verdict(outcome) >= _ILL


# Verdicts, ordered so that the mildest of several is their `min`; plain numbers, for a success is judged too.
_FINAL = 0  # The answer stands, or the fault is the caller's.
_PASSING = 1  # Worth another try, and no evidence against the service.
_ILL = 2  # Evidence against the service, and worth another try.

_Names = dict[tuple[str, str], int]


def _names(verdict: int, roots: str, names: str) -> _Names:
    return {(root, name): verdict for root in roots.split() for name in names.split()}


# Top-level package and class name. The mildest of a class and its bases counts, so an exception from the rule needs
# only its own line: `PoolTimeout` is a `TimeoutException`, and is let off.
_KNOWN: _Names = {
    **_names(_ILL, "builtins", "ConnectionError TimeoutError"),
    **_names(_ILL, "socket", "gaierror herror"),
    **_names(_ILL, "ssl", "SSLError"),
    **_names(_FINAL, "ssl", "SSLCertVerificationError"),
    **_names(_ILL, "http", "BadStatusLine IncompleteRead LineTooLong UnknownProtocol"),
    **_names(_ILL, "trio", "TooSlowError"),
    **_names(
        _ILL,
        "httpx httpx2 httpcore httpcore2",
        "TimeoutException NetworkError RemoteProtocolError ProxyError",
    ),
    **_names(_PASSING, "httpx httpx2 httpcore httpcore2", "PoolTimeout"),
    **_names(_ILL, "requests", "ConnectionError Timeout ChunkedEncodingError"),
    **_names(_ILL, "urllib3", "TimeoutError ProtocolError ProxyError SSLError IncompleteRead"),
    **_names(_PASSING, "urllib3", "EmptyPoolError FullPoolError"),
    **_names(_ILL, "aiohttp", "ClientConnectionError ClientPayloadError HttpProcessingError"),
    **_names(_FINAL, "aiohttp", "ServerFingerprintMismatch ContentEncodingError DecompressSizeError"),
}
_CLIENTS = frozenset(root for root, _ in _KNOWN) - {"builtins"} | {"urllib"}
_UNREACHABLE = frozenset({errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH})
_PASSING_STATUSES = frozenset({408, 425, 429})
_ILL_STATUSES = frozenset(range(500, 600)) - {501, 505}
_DEEPEST = 16  # More wrappers than any client puts around an error; a cycle ends here too.


def _verdict(outcome: object) -> int:
    if isinstance(outcome, BaseException):
        return min(_of_error(leaf) for leaf in leaves(outcome) if isinstance(leaf, BaseException))
    return _of_status(_status(outcome))


def _of_error(error: BaseException) -> int:
    if not isinstance(error, Exception):
        return _FINAL  # A cancellation, or `SystemExit`, whose `code` is no status.
    wrapped = list(_unwrapped(error))
    named = [verdict for one in wrapped for verdict in _of_names(one)]
    # Names first: aiohttp reports an answer that is not HTTP with a status that no server sent.
    if named:
        return min(named)
    return _of_status(next((status for one in wrapped if (status := _status_of_error(one)) is not None), None))


def _unwrapped(error: BaseException) -> Iterator[BaseException]:
    """The error and what its client wrapped in it.

    Only the cause and the arguments: the context may be an earlier error that merely was being handled.
    """
    waiting = [error]
    for _ in range(_DEEPEST):
        if not waiting:
            return
        one = waiting.pop(0)
        yield one
        if not _CLIENTS.isdisjoint(_root(kind) for kind in type(one).__mro__):
            waiting.extend(inner for inner in (one.__cause__, *one.args) if isinstance(inner, BaseException))


def _root(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _of_names(error: BaseException) -> Iterator[int]:
    for kind in type(error).__mro__:
        verdict = _KNOWN.get((_root(kind), kind.__name__))
        if verdict is not None:
            yield verdict
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        yield _ILL


def _of_status(status: int | None) -> int:
    if status in _ILL_STATUSES:
        return _ILL
    return _PASSING if status in _PASSING_STATUSES else _FINAL


def _status_of_error(error: BaseException) -> int | None:
    own = _status(error)
    if own is None:
        own = _status(peek(error, "response"))
    return _status_in_text(error) if own is None else own


def _status(response: object) -> int | None:
    for name in ("status_code", "status", "code"):
        value = peek(response, name)
        if isinstance(value, int):
            return value
    return None


def _status_in_text(error: BaseException) -> int | None:
    # When urllib3's own retries end, the last status survives only in "too many 503 error responses".
    if type(error).__name__ != "ResponseError" or _root(type(error)) != "urllib3":
        return None
    return next((int(word) for word in str(error).split() if word.isdecimal()), None)
