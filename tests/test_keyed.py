"""Policies by key as their users meet them: options, bad input, doors, what a key may be."""

import pickle
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from resilience import (
    Bulkhead,
    CircuitBreaker,
    FailureRate,
    Keyed,
    KeyedStats,
    Pipeline,
    Rate,
    RateLimiter,
    RetryBudget,
    fallback,
    policies,
    retry,
    timeout,
)
from resilience.errors import BulkheadFull, CircuitOpen, ResilienceWarning
from resilience.testing import sandbox


def breaker(key: Any) -> CircuitBreaker:
    return CircuitBreaker(trip=1)


async def coroutine(key: str) -> CircuitBreaker:
    return CircuitBreaker()


@pytest.mark.parametrize(
    ("factory", "options", "error", "text"),
    [
        (None, {}, TypeError, "factory must be a function of one argument"),
        (lambda: None, {}, TypeError, "factory must take one argument"),
        (coroutine, {}, TypeError, "factory must be a plain function"),
        (CircuitBreaker, {}, TypeError, r"write factory=lambda key: CircuitBreaker\(\.\.\.\)"),
        (CircuitBreaker(), {}, TypeError, "one policy for all"),
        (breaker, {"key": ""}, ValueError, "key must not be empty"),
        (breaker, {"key": 3}, TypeError, "key must be the name of a parameter, or a plain function"),
        (breaker, {"key": None}, TypeError, "key must be the name of a parameter, or a plain function"),
        (breaker, {"key": coroutine}, TypeError, "key must be the name of a parameter, or a plain function"),
        (breaker, {"key": str}, TypeError, "key must be the name of a parameter, or a plain function"),
        (breaker, {"maxsize": 0}, ValueError, "maxsize must be at least 1"),
        (breaker, {"maxsize": 1.5}, TypeError, "maxsize must be a whole number"),
        (breaker, {"maxsize": None}, TypeError, "maxsize must be a whole number"),
        (breaker, {"name": ""}, ValueError, "name must not be empty"),
    ],
)
def test_bad_options_are_refused_when_it_is_made(
    factory: Any, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        Keyed(factory, **{"key": "tenant", **options})


def test_key_and_factory_must_be_said() -> None:
    with pytest.raises(TypeError, match="key"):
        Keyed(breaker)  # type: ignore[call-arg]  # that is the point


def test_a_parameter_that_is_not_there_is_refused_at_decoration() -> None:
    keyed = Keyed(breaker, key="tenant", name="tenants")

    def deliver(customer: str, *tenants: str) -> None: ...

    with pytest.raises(ValueError, match=r"tenants: key='tenant' names no parameter of .*deliver.*customer, tenants;"):
        keyed(deliver)
    with pytest.raises(ValueError, match="names no parameter"):
        Keyed(breaker, key="tenants")(deliver)


def test_a_parameter_may_be_given_in_any_way() -> None:
    asked: list[Any] = []

    def factory(key: Any) -> Bulkhead:
        asked.append(key)
        return Bulkhead(1)

    keyed = Keyed(factory, key="tenant")

    @keyed
    def deliver(message: str, tenant: str = "nobody", *, loud: bool = False) -> str:
        return tenant

    class Client:
        @keyed
        def send(self, tenant: str) -> str:
            return tenant

    @keyed
    def only(*, tenant: str) -> str:
        return tenant

    assert deliver("hi", "a") == "a"
    assert deliver("hi", tenant="b") == "b"
    assert deliver("hi") == "nobody"
    assert Client().send("c") == "c"
    assert only(tenant="d") == "d"
    assert keyed.call(lambda tenant: tenant, "e") == "e"
    assert partial(deliver, "hi")("f") == "f"
    assert asked == ["a", "b", "nobody", "c", "d", "e", "f"]
    with pytest.raises(TypeError, match="missing a required argument"):
        Client.send(Client())  # type: ignore[call-arg]  # that is the point


def test_the_key_may_be_worked_out() -> None:
    keyed = Keyed(breaker, key=lambda url, **_: url.split("/")[2])
    fetch = keyed(lambda url, **options: url)
    fetch("https://a.example/1")
    fetch("https://a.example/2", timeout=3)
    fetch("https://b.example/1")
    assert keyed.stats.keys == 2


def test_a_key_that_cannot_be_hashed_says_what_to_do() -> None:
    keyed = Keyed(breaker, key="tenant", name="tenants")
    for ask in (lambda: keyed(lambda tenant: tenant)(["acme"]), lambda: keyed[["acme"]]):
        with pytest.raises(TypeError, match="tenants: the key is a list, which cannot be hashed; give something"):
            ask()


def test_an_error_in_hashing_a_key_is_not_hidden() -> None:
    class Odd:
        def __hash__(self) -> int:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Keyed(breaker, key="tenant")[Odd()]


def test_a_factory_that_makes_no_policy_is_told_so() -> None:
    for wrong in (None, 3, CircuitBreaker, breaker):
        with pytest.raises(TypeError, match=r"tenants: factory must make a policy \(with bind and abind\), got"):
            Keyed(lambda key, wrong=wrong: wrong, key="tenant", name="tenants")["acme"]  # type: ignore[misc]  # as above


def test_what_the_function_raises_comes_through_unchanged() -> None:
    error = KeyError("the function's own")

    @Keyed(breaker, key="tenant")
    def deliver(tenant: str) -> None:
        raise error

    with pytest.raises(KeyError) as caught:
        deliver("acme")
    assert caught.value is error
    assert error.__context__ is None


@pytest.mark.anyio
async def test_one_serves_plain_and_coroutine_functions_at_once() -> None:
    keyed = Keyed(lambda key: Bulkhead(1), key="tenant")

    @keyed
    def now(tenant: str) -> str:
        return tenant

    @keyed
    async def later(tenant: str) -> str:
        with pytest.raises(BulkheadFull, match="Bulkhead: 1 of 1 places are in use"):
            now(tenant)
        return now("another")

    assert await later("acme") == "another"
    assert await keyed.acall(later.__wrapped__, "acme") == "another"  # type: ignore[attr-defined]  # a decorator's
    assert keyed.stats.keys == 2


def test_in_a_pipeline() -> None:
    tenants = Keyed(lambda key: CircuitBreaker(trip=2), key="tenant", name="piped")
    pipeline = Pipeline(retry(on=OSError, attempts=2), tenants, timeout(5, sync="deadline"))

    @pipeline
    def deliver(tenant: str) -> None:
        raise ConnectionError

    with sandbox():
        with pytest.raises(ConnectionError):
            deliver("acme")
        with pytest.raises(CircuitOpen) as caught:
            deliver("acme")
        assert caught.value.policy == "piped"
        assert tenants["acme"].state == "open"
        assert tenants["umbrella"].state == "closed"
    assert "keyed: a policy for each tenant, up to 10,000 of them" in str(pipeline.explain())


def test_a_pipeline_for_each_key_may_share_what_was_made_before() -> None:
    everybody = Bulkhead(2, name="everybody")
    keyed = Keyed(lambda key: Pipeline(Bulkhead(1), everybody), key="tenant", maxsize=2)
    with everybody.guard(), everybody.guard():
        for number in range(10):
            with suppress(BulkheadFull):  # an exception that is kept would keep what its traceback refers to
                keyed.call(lambda tenant: None, number)
    assert keyed.stats == KeyedStats(keys=2, maxsize=2, made=10, shared=0)


def test_a_policy_of_ones_own_says_whether_it_is_calm() -> None:
    class Counting(retry):
        calls = 0

        @property
        def calm(self) -> bool:
            return self.calls == 0

    keyed = Keyed(lambda key: Counting(on=OSError), key="tenant", maxsize=2)
    keyed["acme"].calls = 1
    for number in range(20):
        keyed[number]
    assert keyed["acme"].calls == 1


def test_a_keyed_of_keyeds() -> None:
    def inner(region: str) -> Keyed:
        return Keyed(lambda tenant: CircuitBreaker(trip=1), key="tenant", maxsize=5)

    keyed = Keyed(inner, key="region", maxsize=2)
    with sandbox():
        with pytest.raises(ZeroDivisionError):
            keyed.call(lambda region, tenant: 1 / 0, "eu", "acme")
        for number in range(20):
            keyed.call(lambda region, tenant: None, number, "acme")
        assert keyed["eu"]["acme"].state == "open"
        assert not keyed.calm


def test_it_tells_functions_apart_and_forgets_those_that_are_gone() -> None:
    keyed = Keyed(lambda key: fallback("none", on=OSError) if key == "b" else CircuitBreaker(), key="tenant")
    first, second = keyed(lambda tenant: f"first {tenant}"), keyed(lambda tenant: f"second {tenant}")
    assert (first("a"), second("a"), first("a")) == ("first a", "second a", "first a")
    for number in range(100):
        assert keyed.call(lambda tenant, number=number: number, "a") == number
    assert len(keyed.ring.entries["a"]._uses) <= 8


def test_what_is_calm() -> None:
    with sandbox() as time:
        broken = CircuitBreaker(trip=(3, FailureRate(0.9, seconds=10)), cooldown=5, jitter=0, ramp=4)
        assert broken.calm
        broken.admit().fail()
        assert not broken.calm
        broken.admit().succeed()
        assert not broken.calm  # the failure still counts in the window
        time.advance(11)
        assert broken.calm
        for _ in range(3):
            broken.admit().fail()
        assert not broken.calm
        time.advance(6)
        assert not broken.calm  # nobody knows whether it is well
        broken.admit().succeed()
        time.advance(3)
        assert not broken.calm  # not all are let in
        time.advance(9)
        assert broken.calm
        for verb in (broken.isolate, broken.disable, broken.dry_run):
            verb()
            assert not broken.calm
        broken.reset()
        assert broken.calm

        fading = CircuitBreaker(trip=FailureRate(0.5, seconds=10))
        fading.admit().fail()
        assert not fading.calm
        time.advance(10)
        assert fading.calm

        rates = RateLimiter(10, 100, per=10)
        rates.admit()
        time.advance(0.99)
        assert not rates.calm
        time.advance(0.1)
        assert rates.calm
        rates.charge(1_000)
        assert not rates.calm

        budget = RetryBudget()
        assert budget.calm
        budget.take()
        assert not budget.calm
        time.advance(11)
        assert budget.calm

        places = Bulkhead(2)
        with places.guard():
            assert not places.calm
        assert places.calm
    assert retry(on=OSError).calm


def test_of_several_rates_the_slowest_decides_what_is_calm() -> None:
    limiter = RateLimiter(Rate(5), Rate(100, per=1000))
    with sandbox() as time:
        limiter.admit()
        time.advance(5)
        assert not limiter.calm
        time.advance(6)
        assert limiter.calm


def test_it_is_one_to_be_shared() -> None:
    keyed = Keyed(breaker, key="tenant", name="just one")
    with pytest.raises(TypeError, match="holds live state"):
        pickle.dumps(keyed)
    assert repr(keyed) == "<Keyed 'just one'>"
    assert keyed in policies(Keyed)
    with pytest.warns(ResilienceWarning, match="a second Keyed named 'just one'"):
        Keyed(breaker, key="tenant", name="just one")


@pytest.mark.parametrize(
    "ask", [lambda keyed: keyed(lambda tenant: None), lambda keyed: keyed.__getitem__], ids=["a call", "a look"]
)
def test_what_was_asked_for_before_the_last_look_is_not_asked_for_any_more(ask: Any) -> None:
    keyed = Keyed(breaker, key="tenant", maxsize=2)
    asking, serving = ask(keyed), keyed(lambda tenant: None)
    for tenant in "aabb":
        asking(tenant)
    for tenant in "cd":  # room is made twice
        serving(tenant)
    assert set(keyed.ring.entries) == {"c", "d"}


def test_those_without_room_share_what_is_bound_once_until_there_is_room() -> None:
    bound = list[str]()

    class Noting:
        def __init__(self, key: str) -> None:
            self.key = key
            self.limit = Bulkhead(2)

        def bind(self, fn: Any) -> Any:
            bound.append(self.key)
            return self.limit.bind(fn)

        abind = bind

    keyed = Keyed(lambda tenant: Noting(tenant), key="tenant", maxsize=1)
    serve = keyed(lambda tenant: tenant)
    with keyed["busy"].limit.guard():
        for tenant in "abcab":
            serve(tenant)
    assert (bound, set(keyed.ring.entries)) == (["a"], {"busy"})
    for _ in range(2):
        serve("b")
    assert (bound, set(keyed.ring.entries)) == (["a", "b"], {"b"})


def test_a_sandbox_has_tables_of_its_own() -> None:
    keyed = Keyed(breaker, key="tenant")
    serve = keyed(lambda tenant: tenant)
    serve("before")
    with sandbox():
        serve("before")
        serve("inside")
        assert set(keyed.ring.entries) == {"before", "inside"}
    serve("inside")
    assert set(keyed.ring.entries) == {"before", "inside"}


def test_in_a_sandbox_it_starts_calm_and_is_as_before_afterwards() -> None:
    keyed = Keyed(breaker, key="tenant")
    before = keyed["acme"]
    before.isolate()
    with sandbox():
        assert keyed.stats == KeyedStats(keys=0, maxsize=10_000, made=0, shared=0)
        assert keyed.calm
        keyed["umbrella"].isolate()
    assert keyed["acme"] is before
    assert before.state == "isolated"
    assert keyed.stats.keys == 1
