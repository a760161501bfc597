"""The bulkhead as its users meet it: what it takes, says and tells."""

import copy
import gc
import pickle
from datetime import timedelta
from math import inf, nan
from typing import Any

import pytest

from resilience._ambient import Deadline, ambient
from resilience._bulkhead import Bulkhead, BulkheadStats
from resilience._clock import clock
from resilience._events import Event, Refused, listen
from resilience._live import living
from resilience._totals import totals_of
from resilience._traits import Role
from resilience.errors import BulkheadFull, OutOfTime, Rejected, ResilienceWarning
from resilience.testing import sandbox
from tests.doors import DOORS

every_door = pytest.mark.parametrize("door", DOORS)


def nothing() -> None:
    """Work that is done at once."""


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"limit": 0}, ValueError, "limit must be at least 1, got 0"),
        ({"limit": -1}, ValueError, "limit must be at least 1, got -1"),
        ({"limit": 2.0}, TypeError, "limit must be a whole number, at least 1, got 2.0"),
        ({"limit": True}, TypeError, "limit must be a whole number"),
        ({"limit": "3"}, TypeError, "limit must be a whole number"),
        ({"limit": 1, "max_wait": -0.1}, ValueError, "max_wait must be at least 0, got -0.1"),
        ({"limit": 1, "max_wait": nan}, ValueError, "max_wait must be a finite number, got nan"),
        ({"limit": 1, "max_wait": inf}, ValueError, "None says so"),
        ({"limit": 1, "max_wait": "1"}, TypeError, "max_wait must be seconds"),
        ({"limit": 1, "max_wait": timedelta(seconds=-1)}, ValueError, "max_wait must be at least 0"),
        ({"limit": 1, "max_wait": 1.0, "queue": 0}, ValueError, "queue must be at least 1, got 0"),
        ({"limit": 1, "max_wait": 1.0, "queue": 1.5}, TypeError, "queue must be a whole number"),
        ({"limit": 1, "queue": 5}, ValueError, "queue=5 has no effect: nobody waits while max_wait is 0.0"),
        ({"limit": 1, "name": ""}, ValueError, "name must not be empty"),
        ({"limit": 1, "name": 1}, TypeError, "name must be a string"),
        ({"limit": 1, "patience": 1}, TypeError, "unexpected keyword argument 'patience'"),
    ],
)
def test_senseless_options_are_refused_with_their_name_and_value(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as caught:
        Bulkhead(**options)
    assert text in str(caught.value)


@pytest.mark.parametrize(("limit", "error"), [(0, ValueError), (-3, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_senseless_resize_is_refused_and_changes_nothing(limit: Any, error: type[Exception]) -> None:
    bulkhead = Bulkhead(2)
    with pytest.raises(error, match="limit must be"):
        bulkhead.resize(limit)
    assert bulkhead.limit == 2


@every_door
def test_a_full_one_refuses_and_says_how_full_it_is_and_what_to_do(door: Any) -> None:
    bulkhead = Bulkhead(2)
    held = [bulkhead.admit(), bulkhead.admit()]
    with pytest.raises(BulkheadFull) as caught:
        door(bulkhead, nothing)
    assert str(caught.value) == ("Bulkhead: 2 of 2 places are in use; raise limit=, or let callers wait with max_wait=")
    assert isinstance(caught.value, Rejected)
    assert (caught.value.policy, caught.value.retry_after) == ("Bulkhead", None)
    assert caught.value.__context__ is None
    for lease in held:
        lease.release()
    door(bulkhead, nothing)


@pytest.mark.law(82)
def test_a_refusal_survives_pickling_twice() -> None:
    bulkhead = Bulkhead(1)
    bulkhead.admit()
    with pytest.raises(BulkheadFull) as caught:
        bulkhead.admit()
    twin = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(caught.value))))
    assert type(twin) is BulkheadFull
    assert str(twin) == str(caught.value)


@pytest.mark.law(73)
@pytest.mark.parametrize("make_copy", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_refuses_to_be_copied(make_copy: Any) -> None:
    with pytest.raises(
        TypeError, match=r"<Bulkhead 'not copied'> holds live state .* make one Bulkhead in each process"
    ):
        make_copy(Bulkhead(1, name="not copied"))


@every_door
def test_every_refusal_is_counted_and_told_once(door: Any) -> None:
    bulkhead = Bulkhead(1)
    heard: list[Event] = []
    with sandbox(), listen(heard.append):
        held = bulkhead.admit()
        with pytest.raises(BulkheadFull) as full:
            door(bulkhead, nothing)
        token = ambient.set(Deadline(clock.now(), enforced=False))
        with pytest.raises(OutOfTime) as late:
            door(bulkhead, nothing)
        ambient.reset(token)
        held.release()
        assert bulkhead.stats.refused == 2
    assert heard == [Refused("Bulkhead", full.value), Refused("Bulkhead", late.value)]


@pytest.mark.law(97)
def test_refusals_stay_counted_under_the_name_when_the_bulkhead_is_gone() -> None:
    def refuse_once() -> None:
        bulkhead = Bulkhead(1, name="mortal")
        bulkhead.admit()
        with pytest.raises(BulkheadFull):
            bulkhead.call(nothing)

    for _ in range(2):
        refuse_once()
        gc.collect()  # the refusal's traceback still knows the frame that knows the bulkhead
    assert totals_of("bulkhead")["mortal"] == {"refused": 2}


def test_its_stats_say_how_things_stand() -> None:
    bulkhead = Bulkhead(3, max_wait=1.0, queue=7)
    held = bulkhead.admit()
    assert bulkhead.stats == BulkheadStats(limit=3, in_use=1, waiting=0, queue=7, refused=0)
    assert bulkhead.stats.available == 2
    held.release()


def test_the_queue_is_as_long_as_the_limit_unless_told_otherwise() -> None:
    bulkhead = Bulkhead(3, max_wait=1.0)
    bulkhead.resize(5)
    assert bulkhead.stats.queue == 5


@pytest.mark.parametrize("wait", [2.5, timedelta(seconds=2.5)])
def test_max_wait_takes_seconds_and_timedelta(wait: Any) -> None:
    with sandbox() as time:
        bulkhead = Bulkhead(1, max_wait=wait)
        bulkhead.admit()
        with pytest.raises(BulkheadFull, match=r"no place came free within max_wait=2\.5 s; raise limit= or max_wait="):
            bulkhead.admit()
        assert time.elapsed == 2.5


@pytest.mark.parametrize(
    ("options", "summary", "waits"),
    [
        ({}, "bulkhead: at most 2 at once, refuses at once", 0.0),
        ({"max_wait": 1.5}, "bulkhead: at most 2 at once, 2 may wait up to 1.5 s", 1.5),
        ({"max_wait": None, "queue": 9}, "bulkhead: at most 2 at once, 9 may wait as long as the deadline allows", inf),
    ],
)
def test_its_traits_tell_a_pipeline_what_it_does(options: dict[str, Any], summary: str, waits: float) -> None:
    traits = Bulkhead(2, **options).traits()
    assert (traits.role, traits.summary, traits.waits) == (Role.BULKHEAD, summary, waits)
    assert traits.raises == (BulkheadFull, OutOfTime)


@pytest.mark.anyio
async def test_a_blocking_wait_in_an_event_loop_warns_and_says_what_to_write(anyio_backend_name: str) -> None:
    bulkhead = Bulkhead(1, max_wait=1.0, name=f"blocking on {anyio_backend_name}")
    with sandbox():
        held = bulkhead.admit()
        with pytest.warns(ResilienceWarning, match=r"write 'await bulkhead\.acall"), pytest.raises(BulkheadFull):
            bulkhead.call(nothing)
        held.release()


def test_the_sandbox_makes_it_calm_and_puts_it_back() -> None:
    bulkhead = Bulkhead(2)
    held = bulkhead.admit()
    with sandbox():
        assert bulkhead.stats.in_use == 0
        inside = [bulkhead.admit(), bulkhead.admit()]
        held.release()  # reaches only the state outside
        assert bulkhead.stats.in_use == 2
    assert bulkhead.stats.in_use == 0
    inside[0].release()
    assert len(bulkhead.pool.free) == 2


def test_it_is_found_among_the_living_and_kept_alive_by_nobody() -> None:
    bulkhead = Bulkhead(1, name="alive")
    assert bulkhead in living()
    del bulkhead
    assert "alive" not in [policy.name for policy in living()]


def test_its_repr_says_its_kind_and_name() -> None:
    assert repr(Bulkhead(1, name="database")) == "<Bulkhead 'database'>"


def test_who_waited_in_vain_is_not_counted_among_those_who_wait() -> None:
    with sandbox():
        bulkhead = Bulkhead(1, max_wait=2, queue=3)
        with bulkhead.guard(), pytest.raises(BulkheadFull, match="and 0 wait of at most 3"):
            bulkhead.admit()
