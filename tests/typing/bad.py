"""Uses that both checkers must refuse: each line marked with `E:` and no other. It is checked, never run."""

from collections.abc import Callable

from resilience import (
    Bulkhead,
    CircuitBreaker,
    FailureRate,
    RetryBudget,
    deadline,
    fallback,
    find,
    listen,
    remaining,
    retry,
    timeout,
)

breaker = CircuitBreaker("prices")


def plain(article: str) -> int:
    return len(article)


async def fetched(article: str) -> int:
    return len(article)


# The guarded function is as strict as the function.

guarded = breaker(plain)
guarded(5)  # E: the argument must be a string
guarded("tea", 5)  # E: one argument too many
guarded("tea") + "!"  # E: the result is a number
guarded.cache_clear()  # E: the function has no such attribute
breaker(fetched)("tea") + 1  # E: a coroutine is no number
not_awaited: Callable[[str], int] = breaker(fetched)  # E: a coroutine function stays one

breaker.call(plain, 5)  # E: the argument must be a string
breaker.call(plain)  # E: an argument is missing
breaker.call(plain, name="tea")  # E: there is no such parameter


async def async_calls() -> None:
    await breaker.acall(plain, "tea")  # E: a plain function cannot be awaited
    await breaker.acall(fetched, 5)  # E: the argument must be a string
    (await breaker.acall(fetched, "tea")).upper()  # E: the result is a number


# A policy guards functions.

breaker(5)  # E: a number is no function


# A fallback changes the type, so it stands outermost.

maybe = fallback(None, on=OSError)(plain)
maybe("tea") + 1  # E: it may be None
fallback(None)  # E: nobody knows for which errors
fallback(on=OSError)  # E: there is no answer
fallback(0, to=plain, on=OSError)  # E: two answers


# Options are keywords, and each has its type.

retry()  # E: `on` has no default
retry(OSError)  # E: `on` is a keyword
retry(on="OSError")  # E: a name is no exception type
retry(on=OSError, attempts=2.5)  # E: half an attempt
retry(on=OSError, attempts="3")  # E: text is no number
retry(on=OSError, retries=3)  # E: there is no such option
retry(on=OSError, budget=0.2)  # E: a budget is shared, so it is an object
timeout()  # E: how long?
timeout("2s")  # E: text is no duration
timeout(2, sync="kill")  # E: there is no such way
deadline()  # E: how long?
remaining(1.0, 2.0)  # E: one bound is enough
Bulkhead()  # E: how many?
Bulkhead("10")  # E: text is no number
Bulkhead(10, 5)  # E: the rest is keywords
Bulkhead(10).resize("5")  # E: text is no number
CircuitBreaker("prices", 5)  # E: the rest is keywords
CircuitBreaker(trip="5")  # E: text is no rule
CircuitBreaker(trip=(5, 0.5))  # E: a share needs a window: FailureRate(0.5, ...)
CircuitBreaker(cooldown=None)  # E: an open circuit needs an end
breaker.configure(colour="red")  # E: there is no such option
breaker.configure(cooldown="60")  # E: text is no duration
breaker.state = "closed"  # E: the state is computed; say `reset()`
FailureRate(ratio="half")  # E: text is no share
RetryBudget("0.2")  # E: text is no share
listen()  # E: who listens?
listen(lambda: None)  # E: a listener takes the event
find(Bulkhead, 5)  # E: a name is text
find(plain, "prices")  # E: a function is no kind of policy

for attempt in breaker:  # E: only a retry repeats a block
    pass
with retry(on=OSError):  # E: a retry repeats: `for attempt in retry(...)`
    pass
with breaker:  # E: a block is guarded by `breaker.guard()`
    pass
