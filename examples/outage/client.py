"""The calls and their policies: the module to copy from.

One service, called from two worlds at once: from threads (`fetch`) and from tasks on an event loop (`afetch`). Both
share one circuit breaker, one bulkhead and one retry budget, since what these know is about the service, not about
the caller. Timeouts and retries are recipes: each pipeline writes its own.

Read a pipeline from the outside in: the whole call may last `DEADLINE`; within that, what may pass is tried again,
unless the budget is spent; each attempt asks the breaker, then the bulkhead, and may last `ATTEMPT`.
"""

import httpx2

from resilience import Bulkhead, CircuitBreaker, FailureRate, Pipeline, RetryBudget, remaining, retry, timeout
from resilience.http import transient, unhealthy

from .records import Call

DEADLINE = 1.5
"""Seconds that a call may last, all its retries and waits included."""

ATTEMPT = 0.4
"""Seconds that one attempt may last."""

AT_ONCE = 12
"""Attempts in flight at the same time, threads and tasks together."""

QUEUED = 0.1
"""Seconds that an attempt may wait for its place."""

RETRY_RATIO, RETRY_FLOOR, RETRY_WINDOW = 0.2, 2.0, 5.0
"""Retries per call, retries per second that are always allowed, and the seconds over which both are reckoned."""

breaker = CircuitBreaker("shop", trip=FailureRate(0.5, seconds=2.0), cooldown=0.6, max_cooldown=1.0, on=unhealthy)
bulkhead = Bulkhead(AT_ONCE, max_wait=QUEUED, name="shop")
budget = RetryBudget(RETRY_RATIO, minimum_per_second=RETRY_FLOOR, window=RETRY_WINDOW)

from_threads = Pipeline(
    timeout(DEADLINE, sync="deadline"),
    retry(on=transient, budget=budget),
    breaker,
    bulkhead,
    name="shop.threads",
)

from_tasks = Pipeline(
    timeout(DEADLINE),
    retry(on=transient, budget=budget),
    breaker,
    bulkhead,
    timeout(ATTEMPT),
    name="shop.tasks",
)


@from_threads
def fetch(http: httpx2.Client, call: Call) -> httpx2.Response:
    """One call from a thread. Nobody can cut a thread off, so the HTTP client is told how much time is left."""
    with call.attempt() as headers:
        return http.get("/", headers=headers, timeout=remaining(at_most=ATTEMPT)).raise_for_status()


@from_tasks
async def afetch(http: httpx2.AsyncClient, call: Call) -> httpx2.Response:
    """One call from a task. The timeouts around it cut it off by themselves."""
    with call.attempt() as headers:
        return (await http.get("/", headers=headers)).raise_for_status()
