"""The rate limiter as its users meet it: what it takes, says and tells."""

import copy
import gc
import pickle
from datetime import timedelta
from math import inf, nan
from typing import Any

import pytest

from resilience import Rate, RateLimiter, RateLimiterStats
from resilience._ambient import Deadline, ambient
from resilience._clock import clock
from resilience._events import Event, Refused, listen
from resilience._live import living
from resilience._totals import totals_of
from resilience._traits import Role
from resilience.errors import OutOfTime, RateLimited, Rejected, ResilienceWarning
from resilience.testing import sandbox
from tests.crowd import nothing
from tests.doors import DOORS, FUNCTION_DOORS

every_door = pytest.mark.parametrize("door", DOORS)


async def aprice(*_: object) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("rates", "options", "error", "text"),
    [
        ((), {}, TypeError, "at least one rate must be given"),
        ((0,), {}, ValueError, "rates must be greater than 0, got 0"),
        ((-1,), {}, ValueError, "rates must be greater than 0, got -1"),
        ((nan,), {}, ValueError, "rates must be a finite number, got nan"),
        ((inf,), {}, ValueError, "rates must be a finite number, got inf"),
        (("10",), {}, TypeError, "rates must be a number, got '10'"),
        ((True,), {}, TypeError, "rates must be a number"),
        ((10,), {"per": 0}, ValueError, "per must be greater than 0, got 0"),
        ((10,), {"per": "1"}, TypeError, "per must be seconds"),
        ((10,), {"per": timedelta(seconds=-1)}, ValueError, "per must be greater than 0"),
        ((10,), {"burst": 0.5}, ValueError, "burst must be at least 1, got 0.5"),
        ((10,), {"burst": "5"}, TypeError, "burst must be a number"),
        ((Rate(10),), {"per": 60}, ValueError, "no effect where every rate is a Rate"),
        ((Rate(10),), {"burst": 5}, ValueError, "no effect where every rate is a Rate"),
        ((10,), {"cost": -1}, ValueError, "cost must be at least 0, got -1"),
        ((10,), {"cost": nan}, ValueError, "cost must be a finite number"),
        ((10,), {"cost": 11}, ValueError, "cost must be at most the burst (10), got 11"),
        ((10,), {"cost": "1"}, TypeError, "cost must be a number or a function of the call's arguments, got '1'"),
        ((10,), {"cost": int}, TypeError, "cost must be a number or a function"),
        ((10,), {"cost": True}, TypeError, "cost must be a number"),
        ((10,), {"cost": aprice}, TypeError, "cost must be a plain function, got the coroutine function"),
        ((10,), {"max_wait": -0.1}, ValueError, "max_wait must be at least 0, got -0.1"),
        ((10,), {"max_wait": inf}, ValueError, "None says so"),
        ((10,), {"max_wait": "1"}, TypeError, "max_wait must be seconds"),
        ((10,), {"name": ""}, ValueError, "name must not be empty"),
        ((10,), {"queue": 1}, TypeError, "unexpected keyword argument 'queue'"),
    ],
)
def test_senseless_options_are_refused_with_their_name_and_value(
    rates: tuple[Any, ...], options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as caught:
        RateLimiter(*rates, **options)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("limit", "options", "error", "text"),
    [
        (0, {}, ValueError, "limit must be greater than 0, got 0"),
        ("1", {}, TypeError, "limit must be a number"),
        (1, {"per": nan}, ValueError, "per must be a finite number"),
        (1, {"burst": 0}, ValueError, "burst must be at least 1"),
    ],
)
def test_a_senseless_rate_is_refused(limit: Any, options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        Rate(limit, **options)
    assert text in str(caught.value)


def test_a_rate_is_a_value() -> None:
    assert Rate(100, per=60) == Rate(100, per=timedelta(minutes=1)) != Rate(100, per=60, burst=5)
    assert len({Rate(1), Rate(1), Rate(2)}) == 2
    assert repr(Rate(100, per=60)) == "Rate(100, per=60, burst=100)"
    assert Rate(0.5).burst == 1
    assert pickle.loads(pickle.dumps(Rate(3))) == Rate(3)


@pytest.mark.parametrize(
    ("permits", "error"), [(-1, ValueError), (nan, ValueError), ("1", TypeError), (True, TypeError)]
)
def test_a_senseless_charge_is_refused_and_changes_nothing(permits: Any, error: type[Exception]) -> None:
    limiter = RateLimiter(2)
    with pytest.raises(error, match="permits must be"):
        limiter.charge(permits)
    assert limiter.stats.available == 2


@pytest.mark.parametrize(("rates", "error"), [((), TypeError), ((0,), ValueError), ((2,), ValueError)])
def test_a_senseless_change_is_refused_and_changes_nothing(rates: Any, error: type[Exception]) -> None:
    limiter = RateLimiter(10, cost=3)
    with pytest.raises(error):
        limiter.configure(*rates)
    assert limiter.rates == (Rate(10),)


@every_door
def test_over_the_rate_it_refuses_and_says_the_rate_when_to_come_back_and_what_to_do(door: Any) -> None:
    limiter = RateLimiter(2)
    with sandbox():
        for _ in range(2):
            door(limiter, nothing)
        with pytest.raises(RateLimited) as caught:
            door(limiter, nothing)
    assert str(caught.value) == (
        "RateLimiter: over the rate of 2 per 1 s (burst 2); send fewer calls, or let callers wait (longer) with "
        "max_wait=; try again in 0.5 s"
    )
    assert isinstance(caught.value, Rejected)
    assert (caught.value.policy, caught.value.retry_after) == ("RateLimiter", 0.5)
    assert caught.value.__context__ is None


@pytest.mark.law(82)
def test_a_refusal_survives_pickling_twice() -> None:
    limiter = RateLimiter(1)
    limiter.admit()
    with pytest.raises(RateLimited) as caught:
        limiter.admit()
    twin = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(caught.value))))
    assert (type(twin), str(twin), twin.retry_after) == (RateLimited, str(caught.value), caught.value.retry_after)


@pytest.mark.law(73)
@pytest.mark.parametrize("make_copy", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_refuses_to_be_copied(make_copy: Any) -> None:
    with pytest.raises(TypeError, match=r"<RateLimiter 'not copied'> holds live state"):
        make_copy(RateLimiter(1, name="not copied"))


@every_door
def test_every_refusal_is_counted_and_told_once(door: Any) -> None:
    limiter = RateLimiter(1)
    heard: list[Event] = []
    with sandbox(), listen(heard.append):
        limiter.admit()
        with pytest.raises(RateLimited) as over:
            door(limiter, nothing)
        token = ambient.set(Deadline(clock.now(), enforced=False))
        with pytest.raises(OutOfTime) as late:
            door(limiter, nothing)
        ambient.reset(token)
        assert limiter.stats.refused == 2
    assert heard == [Refused("RateLimiter", over.value), Refused("RateLimiter", late.value)]


@pytest.mark.law(97)
def test_refusals_stay_counted_under_the_name_when_the_limiter_is_gone() -> None:
    def refuse_once() -> None:
        limiter = RateLimiter(1, name="mortal rate")
        limiter.admit()
        with pytest.raises(RateLimited):
            limiter.call(nothing)

    for _ in range(2):
        refuse_once()
        gc.collect()  # the refusal's traceback still knows the frame that knows the limiter
    assert totals_of("rate_limiter")["mortal rate"] == {"refused": 2}


@pytest.mark.parametrize("door", FUNCTION_DOORS)
def test_the_cost_may_be_a_number(door: Any) -> None:
    limiter = RateLimiter(10, cost=4)
    with sandbox():
        door(limiter, nothing)
        assert limiter.stats == RateLimiterStats(available=6, waiting=0, refused=0)


@pytest.mark.anyio
async def test_the_cost_may_be_a_function_of_the_arguments() -> None:
    limiter = RateLimiter(10, cost=lambda words, *, each=1.0: len(words) * each)

    @limiter
    def say(words: str, *, each: float = 1.0) -> str:
        return words

    @limiter
    async def asay(words: str, *, each: float = 1.0) -> str:
        return words

    with sandbox():
        assert say("abc") == "abc"
        assert await asay("ab", each=2.0) == "ab"
        assert limiter.stats.available == 3
        with pytest.raises(RateLimited, match="above the burst"):
            say("abcdefghijkl")
        with pytest.raises(ValueError, match="what cost= returned must be at least 0, got -1"):
            say("a", each=-1.0)
        assert limiter.stats.available == 3


def test_a_block_has_no_arguments_so_it_says_its_cost() -> None:
    limiter = RateLimiter(10, cost=len)
    with sandbox():
        for ask in (limiter.admit, limiter.guard):
            with pytest.raises(TypeError, match=r"a block has no arguments; say guard\(cost=\.\.\.\)"):
                ask()
            with pytest.raises(ValueError, match="cost must be at least 0"):
                ask(-1)
        with limiter.guard(cost=7):
            assert limiter.stats.available == 3


@pytest.mark.parametrize(
    ("options", "summary", "waits"),
    [
        ({}, "rate limiter: at most 2 per 1 s (burst 2), refuses at once", 0.0),
        ({"max_wait": 1.5}, "rate limiter: at most 2 per 1 s (burst 2), waits up to 1.5 s", 1.5),
        ({"max_wait": None, "burst": 9}, "at most 2 per 1 s (burst 9), waits as long as the deadline allows", inf),
    ],
)
def test_its_traits_tell_a_pipeline_what_it_does(options: dict[str, Any], summary: str, waits: float) -> None:
    traits = RateLimiter(2, **options).traits()
    assert summary in traits.summary
    assert (traits.role, traits.waits, traits.raises) == (Role.RATE_LIMITER, waits, (RateLimited, OutOfTime))


@pytest.mark.anyio
async def test_a_blocking_wait_in_an_event_loop_warns_and_says_what_to_write(anyio_backend_name: str) -> None:
    limiter = RateLimiter(1, max_wait=1.0, name=f"rate that blocks {anyio_backend_name}")
    with sandbox():
        limiter.admit()
        with pytest.warns(ResilienceWarning, match=r"write 'await limiter\.acall"):
            limiter.call(nothing)


def test_the_sandbox_makes_it_calm_and_puts_it_back() -> None:
    limiter = RateLimiter(Rate(2, per=1e6))
    held = limiter.admit()
    with sandbox():
        assert limiter.stats.available == 2
        limiter.charge(2)
        limiter.configure(5)
        held.release()  # reaches only the state outside
        assert limiter.stats.available <= 0
    assert limiter.rates == (Rate(2, per=1e6),)
    assert limiter.stats.available == 2


def test_it_is_found_among_the_living_and_kept_alive_by_nobody() -> None:
    limiter = RateLimiter(1, name="alive rate")
    assert limiter in living()
    del limiter
    assert "alive rate" not in [policy.name for policy in living()]


def test_its_repr_says_its_kind_and_name() -> None:
    assert repr(RateLimiter(1, name="search")) == "<RateLimiter 'search'>"
