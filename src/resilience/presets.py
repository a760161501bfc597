"""Pipelines to begin with: `http`, `database` and `llm`.

Each is a function that puts public policies together, and nothing else: no policy of its own, no hidden state. Read
its few lines, print `explain()` of what it gives, and copy the lines where your case is another one::

    from resilience import presets

    billing = presets.http("billing", idempotent=True)

    @billing
    async def invoices(client: httpx.AsyncClient) -> httpx.Response:
        return await client.get("/invoices", timeout=None)

What only you can know has no default. Every other figure has one, with its source beside it. Call a preset once for
each service that you call, in a module: its breaker and its places are made with it, and `find(CircuitBreaker,
"billing")` gets hold of them.
"""

from typing import Literal

from . import _checks
from ._breaker import CircuitBreaker
from ._budget import RetryBudget
from ._bulkhead import Bulkhead
from ._matching import Matcher, On
from ._pipeline import Pipeline
from ._rate_limiter import RateLimiter
from ._rates import FailureRate
from ._retry import retry
from ._timeout import timeout
from .http import transient, unhealthy

__all__ = ["database", "http", "llm"]

Sync = Literal["deadline", "abandon"] | None
"""What `timeout` does for plain functions."""


def http(
    name: str,
    *,
    idempotent: bool,
    total: _checks.Seconds = 30.0,
    attempt: _checks.Seconds = 10.0,
    attempts: int = 3,
    limit: int = 100,
    rate: RateLimiter | None = None,
    sync: Sync = None,
) -> Pipeline:
    """Calls of an HTTP service, by any client: a total limit, retry, breaker, places, and a limit for each attempt.

    Sources of the figures: 30 s and 10 s are the limits of .NET's standard HTTP handler
    (`Microsoft.Extensions.Http.Resilience`); 3 calls in all those of the AWS SDKs ("standard" retry mode) and of the
    SRE book (chapter "Handling Overload"); 100 places are the connections that a client of httpx or aiohttp has by
    default, so that callers queue where they are seen. The breaker opens on 5 failures in a row, its own default, for
    little traffic, or on half of the last 10 s, the ratio of resilience4j, for much.

    Args:
        name: Of the service: in spans, errors, events, `find`.
        idempotent: Whether a request may be sent twice. Only you know: a `POST` that timed out may have taken effect.
            False: no retry.
        total: The longest for a whole call, waits included: seconds or a `timedelta`. Default 30.
        attempt: The longest for one request: seconds or a `timedelta`, less than `total`. Default 10.
        attempts: The most requests for one call. Default 3; no effect unless `idempotent`.
        limit: The most requests at once. One more waits for a tenth of `attempt`. Default 100.
        rate: A limiter of what the service allows, to count each request. Default: none.
        sync: For plain functions, what `timeout` shall do; see there. Default `None`: coroutine functions only.

    Returns:
        The pipeline.

    Raises:
        TypeError: A parameter is of the wrong kind.
        ValueError: A parameter makes no sense.
    """
    _checks.text("name", name)
    whole, each = _limits(total, attempt)
    again = (
        [retry(on=transient, on_result=transient, attempts=attempts)] if _checks.flag("idempotent", idempotent) else []
    )
    return Pipeline(
        timeout(whole, sync=sync, name=name),
        *again,
        *_limiters(rate=rate),
        CircuitBreaker(
            name,
            trip=(5, FailureRate(0.5, seconds=10)),
            on=unhealthy,
            on_result=unhealthy,
            probe_lease=max(60.0, 2 * each),
        ),
        Bulkhead(limit, max_wait=each / 10, name=name),
        timeout(each, sync=sync, name=f"{name} attempt"),
        name=name,
    )


def database(
    name: str,
    *,
    conflict: On,
    connections: int,
    down: On | None = None,
    total: _checks.Seconds = 30.0,
    attempts: int = 5,
    max_wait: _checks.Seconds = 1.0,
    sync: Sync = None,
) -> Pipeline:
    """Transactions of a database: a total limit, retry of conflicts, a breaker if wanted, and the pool's places.

    Guard a function that is one transaction, from `BEGIN` to `COMMIT`, and never a single statement. There is no limit
    for each attempt: the database has one of its own, which also frees the locks (`statement_timeout` of PostgreSQL).
    And a call that was cut off is not repeated: its `COMMIT` may have arrived.

    Sources of the figures: 30 s is what SQLAlchemy (`pool_timeout`) and HikariCP let a caller wait for a connection. 5
    calls and 1 s are judgement: a conflict is over when the other transaction is, so another try is cheap, and who has
    waited for a second in front of a full pool is better told.

    Args:
        name: Of the database: in spans, errors, events, `find`.
        conflict: Which errors say that another transaction was in the way and nothing has happened: types, predicates,
            or a tuple of them. It is the driver's word: `40001` and `40P01` of PostgreSQL, `1213` of MySQL,
            `SQLITE_BUSY` of SQLite. Not its whole `OperationalError`.
        connections: How many the pool has, and so the most transactions at once; SQLAlchemy's has 15 by default
            (`pool_size` 5 + `max_overflow` 10).
        down: Which errors say that the database is gone; a breaker opens after 5 of them in a row. Default: no breaker.
        total: The longest for a whole call, waits included: seconds or a `timedelta`. Default 30.
        attempts: The most transactions for one call. Default 5.
        max_wait: The longest wait for a connection: seconds or a `timedelta`. Default 1.
        sync: For plain functions, what `timeout` shall do; see there. Default `None`: coroutine functions only.

    Returns:
        The pipeline.

    Raises:
        TypeError: A parameter is of the wrong kind.
        ValueError: A parameter makes no sense.
    """
    _checks.text("name", name)
    Matcher("conflict", conflict)  # so that the error names what was given here
    return Pipeline(
        timeout(_checks.seconds("total", total), sync=sync, name=name),
        retry(on=conflict, attempts=attempts),
        *([] if down is None else [CircuitBreaker(name, on=down)]),
        Bulkhead(_checks.whole("connections", connections), max_wait=max_wait, name=name),
        name=name,
    )


def llm(
    name: str,
    *,
    tokens: RateLimiter | None,
    requests: RateLimiter | None = None,
    also: type[Exception] | tuple[type[Exception], ...] = (),
    total: _checks.Seconds = 600.0,
    attempt: _checks.Seconds = 120.0,
    attempts: int = 3,
    max_wait: _checks.Seconds = 120.0,
    limit: int = 16,
    sync: Sync = None,
) -> Pipeline:
    """Calls of a language model: long limits, patient retries, breaker, places, the quota in requests and tokens.

    What an answer costs is known when it is there. So a call is let in for nothing as long as there is no debt, and
    you `charge` what the answer says it was; the next one waits until that is paid off::

        tokens = RateLimiter(Rate(30_000, per=60), Rate(1_000_000, per=86_400), cost=0, max_wait=None, name="tokens")
        model = presets.llm("model", tokens=tokens, requests=RateLimiter(Rate(50, per=60), max_wait=None))

        @model
        async def ask(prompt: str) -> str:
            answer = await client.messages.create(...)  # with max_retries=0: retries of two layers multiply
            tokens.charge(answer.usage.input_tokens + answer.usage.output_tokens)
            return answer.content[0].text

    Sources of the figures: 600 s is how long the SDKs of OpenAI and Anthropic wait for one answer by default, here it
    is for the whole call; 3 calls in all are theirs too (`max_retries=2`). The rest is judgement: 120 s for an attempt,
    for what takes longer is better streamed; 120 s for a wait, since quotas are counted by the minute; 16 places; at
    most one retry for ten calls, and one every 2 s, for each is paid for.

    Args:
        name: Of the model: in spans, errors, events, `find`.
        tokens: The limiter of your quota in tokens, one or several rates, that you `charge`; `None`: no such quota. Let
            it have `max_wait=None`: a call waits as long as `total` allows.
        requests: The same in requests. Default: none.
        also: Exceptions of an SDK that stand for a lost connection and carry no status: `APIConnectionError`.
        total: The longest for a whole call, waits included: seconds or a `timedelta`. Default 600.
        attempt: The longest for one request: seconds or a `timedelta`, less than `total`. Default 120.
        attempts: The most requests for one call. Default 3.
        max_wait: The longest single wait between two requests, whoever asks for it. A longer one ends the call at once:
            seconds or a `timedelta`. Default 120.
        limit: The most requests at once. Others wait as long as `total` allows. Default 16.
        sync: For plain functions, what `timeout` shall do; see there. Default `None`: coroutine functions only.

    Returns:
        The pipeline.

    Raises:
        TypeError: A parameter is of the wrong kind.
        ValueError: A parameter makes no sense.
    """
    _checks.text("name", name)
    whole, each = _limits(total, attempt)
    others = Matcher("also", also, required=False).types
    return Pipeline(
        timeout(whole, sync=sync, name=name),
        retry(
            on=(transient, *others),
            on_result=transient,
            attempts=attempts,
            max_wait=max_wait,
            budget=RetryBudget(0.1, minimum_per_second=0.5, name=name),
        ),
        CircuitBreaker(
            name,
            trip=(5, FailureRate(0.5, seconds=60)),
            cooldown=30.0,
            on=(unhealthy, *others),
            on_result=unhealthy,
            probe_lease=2 * each,
        ),
        Bulkhead(limit, max_wait=None, queue=10 * limit, name=name),
        # Inside the places: whoever waits for one must not have passed the quota before it was charged.
        *_limiters(requests=requests, tokens=tokens),
        timeout(each, sync=sync, name=f"{name} attempt"),
        name=name,
    )


def _limits(total: _checks.Seconds, attempt: _checks.Seconds) -> tuple[float, float]:
    """Both in seconds, the shorter within the longer."""
    whole, each = _checks.seconds("total", total), _checks.seconds("attempt", attempt)
    if each >= whole:
        raise ValueError(f"attempt must be less than total ({whole:g} s), got {each:g}: it could never expire")
    return whole, each


def _limiters(**given: object) -> list[RateLimiter]:
    for option, limiter in given.items():
        if not isinstance(limiter, RateLimiter | None):
            raise TypeError(f"{option} must be a RateLimiter, which you keep to charge and to ask it, got {limiter!r}")
    return [limiter for limiter in given.values() if isinstance(limiter, RateLimiter)]
