"""What of flow control must not pass a type checker: each marked line is refused by mypy and by pyright; never run."""

from resilience import (
    AdaptiveBulkhead,
    AdaptiveThrottle,
    Cache,
    Chaos,
    Hedge,
    Keyed,
    Rate,
    RateLimiter,
    priority,
    record,
)

limiter = RateLimiter(10)
cache = Cache(60)


@cache
def plain(words: str) -> int:
    return len(words)


RateLimiter("10")  # E: a number or a Rate
Rate("10")  # E: a number
limiter.charge("3")  # E: a number
limiter.admit("3")  # E: a number
Cache()  # E: for how long?
Cache("60")  # E: seconds or a timedelta
Cache(60, key=3)  # E: a name or a function
Cache(60, store="redis")  # E: an object with four methods
Hedge(after="1")  # E: seconds or a timedelta
Hedge(budget=3)  # E: a RetryBudget, "own" or None
Keyed(3, key="tenant")  # E: a function that makes policies
Keyed(lambda tenant: Hedge())  # E: which key?
AdaptiveThrottle(k="2")  # E: a number
AdaptiveBulkhead(20)  # E: initial=20
Chaos(fault=OSError)  # E: at which rate?
Chaos(rate="often", fault=OSError)  # E: a number or a schedule
priority("urgent")  # E: one of five
record(3)  # E: a path
wrong: str = plain("tea")  # E: it answers an int
plain(3)  # E: it takes a str
limiter.stats.available = 3  # E: nobody sets it
