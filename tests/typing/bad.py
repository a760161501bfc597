"""What must not pass a type checker: each marked line is refused by mypy and by pyright; never run."""

from collections.abc import Callable

from resilience import (
    Bulkhead,
    CircuitBreaker,
    FailureRate,
    Pipeline,
    Policy,
    deadline,
    fallback,
    find,
    listen,
    policies,
    remaining,
    retry,
    timeout,
)
from resilience.events import Retrying
from resilience.testing import sandbox

again = retry(on=OSError)
breaker = CircuitBreaker("payments")
pipeline = Pipeline(again, breaker)
answer = fallback("stale", on=OSError)


def plain(a: int, *, key: str = "") -> float:
    return 1.0


async def awaited(a: int) -> float:
    return 1.0


# Wrong and missing arguments come to light through every door

again.call(plain)  # E: an argument is missing
again.call(plain, "text")  # E: it is an int
again.call(plain, 1, 2)  # E: one too many
again.call(plain, 1, key=2)  # E: it is a str
again.call(plain, 1, other=2)  # E: there is no such keyword
pipeline.call(plain, "text")  # E: the same through a pipeline
answer.call(plain, "text")  # E: and through a fallback
Pipeline(answer, again).call(plain, "text")  # E: and through both
again(plain)("text")  # E: it is decorated, and still takes an int
pipeline(plain)()  # E: an argument is missing
answer(plain)("text")  # E: it is an int
Pipeline(answer)(plain)("text")  # E: it is an int

# Results are what they are

text: str = again.call(plain, 1)  # E: it answers a float
number: float = answer.call(plain, 1)  # E: or a str, says the fallback
same: float = Pipeline(answer, again)(plain)(1)  # E: or a str, also at the head of a pipeline
nested: float = Pipeline(Pipeline(answer), again)(plain)(1)  # E: or a str, also in a nested one
optional: float = fallback(None, on=OSError)(plain)(1)  # E: or None
decorated: Callable[[str], float] = again(plain)  # E: it takes an int
told: int = pipeline.admit()  # E: it is a lease


async def colours() -> None:
    await again.acall(plain, 1)  # E: a plain function has nothing to await
    await again.call(plain, 1)  # E: nor has its answer
    await answer.acall(plain, 1)  # E: nor through a fallback
    await pipeline.acall(awaited, "text")  # E: it is an int
    await pipeline(plain)(1)  # E: a plain function stays one
    result: float = again.acall(awaited, 1)  # E: it was not awaited
    called: float = again.call(awaited, 1)  # E: a coroutine function needs acall
    waited: float = pipeline(awaited)(1)  # E: nor was this
    both: float = await answer(awaited)(1)  # E: or a str, says the fallback
    at_head: float = await Pipeline(answer).acall(awaited, 1)  # E: or a str
    again.acall(awaited, 1)  # E: nobody awaits it
    pipeline(awaited)(1)  # E: nor this
    print(result, called, waited, both, at_head)


# Only functions can be guarded

again(42)  # E: a number
pipeline("text")  # E: a string
answer(42)  # E: a number
again.call(None)  # E: nothing


class Service:
    @again  # E: a property is no function
    @property
    def total(self) -> int:
        return 3


# A pipeline is made of policies, and a fallback can only be the first

Pipeline(42)  # E: a number
Pipeline(plain)  # E: a function
Pipeline(again, plain)  # E: a function further in
Pipeline(again, answer)  # E: a fallback is outermost
Pipeline(pipeline, answer)  # E: also around a pipeline
Pipeline(again, fallback(None, on=OSError), breaker)  # E: nor can it be in the middle
Pipeline(again, nam="payments")  # E: no such option
Pipeline(again, name=3)  # E: a name is a str
annotated: Policy = answer  # E: it changes the type of what it guards, which a Policy does not


class OnlyBind:
    """Half a policy."""

    def bind(self, fn: Callable[..., int], /) -> Callable[..., int]:
        return fn


Pipeline(OnlyBind())  # E: it has no abind

# Options

retry()  # E: `on` has no default
retry(OSError)  # E: options are written by name
retry(on="OSError")  # E: a string is no exception type
retry(on=(OSError, "text"))  # E: nor is it inside a tuple
retry(on=KeyboardInterrupt)  # E: that one asks the program to stop
retry(on=BaseException)  # E: so does this
retry(on=[OSError])  # E: it reads like except: a tuple
retry(on=OSError())  # E: the class, not an instance
retry(on=OSError, attempts=2.5)  # E: a whole number
retry(on=OSError, retries=3)  # E: no such option
retry(on=OSError, budget="shared")  # E: no such word
retry(on=OSError, max_wait="1 s")  # E: seconds or a timedelta
fallback("stale")  # E: `on` has no default
fallback(on=OSError)  # E: an answer is missing
fallback("stale", to=plain, on=OSError)  # E: two answers
fallback(to=3, on=OSError)  # E: a value is given by position
timeout()  # E: how long?
timeout("2 s")  # E: seconds or a timedelta
timeout(2, sync="abort")  # E: no such word
CircuitBreaker(3)  # E: a name is a str
CircuitBreaker(trip="often")  # E: a number or a rate
CircuitBreaker(cooldown=None)  # E: seconds or a timedelta
CircuitBreaker(threshold=3)  # E: no such option
CircuitBreaker().configure(threshold=3)  # E: no such option here either
FailureRate(0.5, window=3)  # E: no such option
Bulkhead()  # E: how many?
Bulkhead("10")  # E: a whole number
Bulkhead(10, 5)  # E: options are written by name
breaker.state = "open"  # E: it is told, not set
breaker.admit().fail("text")  # E: what was raised, if anything

with timeout(2):  # E: a block needs guard()
    pass

for attempt in breaker:  # E: only a retry repeats a block
    pass

with deadline():  # E: how long?
    pass

# Time, events, registry


def hear_nothing() -> None: ...


def hear_some(event: Retrying) -> None: ...


listen(hear_nothing)  # E: it is given the event
listen(hear_some)  # E: it is given every kind of event
remaining("1 s")  # E: seconds or a timedelta
left: float = remaining()  # E: or None
policies(int)  # E: no class of policies
breakers: list[Bulkhead] = policies(CircuitBreaker)  # E: another class
find(CircuitBreaker, 3)  # E: a name is a str

with sandbox(autojump="yes"):  # E: true or false
    pass
