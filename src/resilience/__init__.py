"""Resilience patterns for sync code, threads, asyncio and trio. A policy turns a function into a function.

Lower case is a recipe, written anew where it is needed: `retry`, `timeout`, `fallback`, `deadline`. A capital letter
holds state that its callers share, and is made once: `CircuitBreaker`, `Bulkhead`, `RateLimiter`, `Cache`,
`RetryBudget`. `Pipeline` is several policies as one::

    payments = Pipeline(
        timeout(10),
        retry(on=(ConnectionError, TimedOut)),
        CircuitBreaker("payments"),
        timeout(2),
        name="payments",
    )

    @payments
    async def charge(order: Order) -> Receipt: ...

More: `resilience.saga` (classes whose steps survive a crash at any line), `resilience.http` (which answers are worth
another try), `resilience.presets` (pipelines to begin with), `resilience.testing` (a virtual clock for tests),
`resilience.simulate` (the same policies before thousands of clients), `resilience.events` (what `listen` hears).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

# What checkers and editors read; the same names are loaded by `__getattr__`.
if TYPE_CHECKING:
    from . import errors, events, http, presets, saga, simulate, testing
    from ._adaptive_bulkhead import AdaptiveBulkhead, AdaptiveStats
    from ._ambient import remaining
    from ._breaker import CircuitBreaker
    from ._breaking import BreakerStats
    from ._budget import BudgetStats, RetryBudget
    from ._bulkhead import Bulkhead, BulkheadStats
    from ._cache import Cache, CacheStats
    from ._chaos import Chaos, ChaosRate, ChaosStats
    from ._deadline import deadline
    from ._events import Event, listen
    from ._fallback import fallback
    from ._hedge import Hedge, HedgeStats
    from ._keyed import Keyed, KeyedStats
    from ._layer import SupportsBind
    from ._lease import Guard, Lease
    from ._pipeline import Pipeline
    from ._policy import Policy
    from ._priority import priority
    from ._rate import Rate
    from ._rate_limiter import RateLimiter, RateLimiterStats
    from ._rates import FailureRate, SlowRate
    from ._record import record
    from ._registry import find, policies
    from ._retry import Attempt, retry
    from ._store import AsyncStore, Entry, MemoryStore, Store
    from ._throttle import AdaptiveThrottle, ThrottleStats
    from ._timeout import timeout
    from ._traffic_file import RecordStats
    from .errors import (
        BulkheadFull,
        CircuitOpen,
        OutOfTime,
        RateLimited,
        Rejected,
        ResilienceError,
        ResilienceWarning,
        Throttled,
        TimedOut,
    )

__all__ = [
    "AdaptiveBulkhead",
    "AdaptiveStats",
    "AdaptiveThrottle",
    "AsyncStore",
    "Attempt",
    "BreakerStats",
    "BudgetStats",
    "Bulkhead",
    "BulkheadFull",
    "BulkheadStats",
    "Cache",
    "CacheStats",
    "Chaos",
    "ChaosRate",
    "ChaosStats",
    "CircuitBreaker",
    "CircuitOpen",
    "Entry",
    "Event",
    "FailureRate",
    "Guard",
    "Hedge",
    "HedgeStats",
    "Keyed",
    "KeyedStats",
    "Lease",
    "MemoryStore",
    "OutOfTime",
    "Pipeline",
    "Policy",
    "Rate",
    "RateLimited",
    "RateLimiter",
    "RateLimiterStats",
    "RecordStats",
    "Rejected",
    "ResilienceError",
    "ResilienceWarning",
    "RetryBudget",
    "SlowRate",
    "Store",
    "SupportsBind",
    "ThrottleStats",
    "Throttled",
    "TimedOut",
    "deadline",
    "errors",
    "events",
    "fallback",
    "find",
    "http",
    "listen",
    "policies",
    "presets",
    "priority",
    "record",
    "remaining",
    "retry",
    "saga",
    "simulate",
    "testing",
    "timeout",
]


_MODULES = ("errors", "events", "http", "presets", "saga", "simulate", "testing")
_NAMES = {
    "_adaptive_bulkhead": ("AdaptiveBulkhead", "AdaptiveStats"),
    "_ambient": ("remaining",),
    "_breaker": ("CircuitBreaker",),
    "_breaking": ("BreakerStats",),
    "_budget": ("BudgetStats", "RetryBudget"),
    "_bulkhead": ("Bulkhead", "BulkheadStats"),
    "_cache": ("Cache", "CacheStats"),
    "_chaos": ("Chaos", "ChaosRate", "ChaosStats"),
    "_deadline": ("deadline",),
    "_events": ("Event", "listen"),
    "_fallback": ("fallback",),
    "_hedge": ("Hedge", "HedgeStats"),
    "_keyed": ("Keyed", "KeyedStats"),
    "_layer": ("SupportsBind",),
    "_lease": ("Guard", "Lease"),
    "_pipeline": ("Pipeline",),
    "_policy": ("Policy",),
    "_priority": ("priority",),
    "_rate": ("Rate",),
    "_rate_limiter": ("RateLimiter", "RateLimiterStats"),
    "_rates": ("FailureRate", "SlowRate"),
    "_record": ("record",),
    "_registry": ("find", "policies"),
    "_retry": ("Attempt", "retry"),
    "_store": ("AsyncStore", "Entry", "MemoryStore", "Store"),
    "_throttle": ("AdaptiveThrottle", "ThrottleStats"),
    "_timeout": ("timeout",),
    "_traffic_file": ("RecordStats",),
    "errors": (
        "BulkheadFull",
        "CircuitOpen",
        "OutOfTime",
        "RateLimited",
        "Rejected",
        "ResilienceError",
        "ResilienceWarning",
        "Throttled",
        "TimedOut",
    ),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load each name with its first use: no program needs them all, and each brings something along."""
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _HOMES:
        found = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
