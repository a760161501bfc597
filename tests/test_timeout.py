"""`timeout`: what it takes, what it refuses, and what it tells about itself."""

import asyncio
import copy
import math
import pickle
import threading
import traceback
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import anyio
import pytest

from resilience._clock import clock
from resilience._events import Abandoned, listen
from resilience._timeout import timeout
from resilience._traits import Role
from resilience.errors import BulkheadFull, OutOfTime, ResilienceWarning, TimedOut
from resilience.testing import sandbox


@pytest.mark.parametrize("seconds", [2, 2.0, timedelta(seconds=2)])
def test_a_limit_is_seconds_or_a_timedelta(seconds: Any) -> None:
    assert timeout(seconds).traits().seconds == 2.0


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"seconds": "2"}, TypeError, "seconds must be seconds .* or a timedelta, got '2'"),
        ({"seconds": True}, TypeError, "seconds must be seconds .* got True"),
        ({"seconds": None}, TypeError, "seconds must be seconds .* got None"),
        ({"seconds": 0}, ValueError, "seconds must be greater than 0, got 0"),
        ({"seconds": -1}, ValueError, "seconds must be greater than 0, got -1"),
        ({"seconds": math.nan}, ValueError, "seconds must be a finite number, got nan"),
        ({"seconds": math.inf}, ValueError, "seconds must be a finite number, got inf"),
        ({"seconds": timedelta(0)}, ValueError, "seconds must be greater than 0"),
        ({"seconds": 1, "sync": "thread"}, ValueError, "sync must be .* got 'thread'"),
        ({"seconds": 1, "sync": True}, ValueError, "sync must be .* got True"),
        ({"seconds": 1, "sync": []}, ValueError, r"sync must be .* got \[\]"),
        ({"seconds": 1, "sync": "abandon", "workers": 0}, ValueError, "workers must be at least 1, got 0"),
        ({"seconds": 1, "sync": "abandon", "workers": 1.5}, TypeError, "workers must be a whole number"),
        ({"seconds": 1, "sync": "deadline", "workers": 3}, TypeError, 'workers=3 is for sync="abandon" only'),
        ({"seconds": 1, "workers": 3}, TypeError, 'workers=3 is for sync="abandon" only'),
        ({"seconds": 1, "name": ""}, ValueError, "name must not be empty"),
        ({"seconds": 1, "limit": 2}, TypeError, "limit"),
    ],
)
def test_senseless_arguments_are_refused_by_name(arguments: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        timeout(**arguments)


def test_a_plain_function_needs_a_choice() -> None:
    with pytest.raises(TypeError, match=r'(?s)sync="deadline".*sync="abandon"'):

        @timeout(2.0)
        def work() -> None: ...

    with pytest.raises(TypeError, match=r"sync="):
        timeout(2.0).call(print)


@pytest.mark.parametrize(
    ("sync", "cuts", "raises"),
    [
        (None, True, (TimedOut, OutOfTime)),
        ("deadline", False, (TimedOut, OutOfTime)),
        ("abandon", True, (TimedOut, OutOfTime, BulkheadFull)),
    ],
)
def test_traits(sync: Any, cuts: bool, raises: tuple[type[Exception], ...]) -> None:
    traits = timeout(2.5, sync=sync).traits()
    assert (traits.role, traits.seconds, traits.cuts, traits.raises) == (Role.TIMEOUT, 2.5, cuts, raises)
    assert "2.5 s" in traits.summary


def _sent(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


@pytest.mark.law(73)
@pytest.mark.parametrize("sync", [None, "deadline", "abandon"])
def test_a_timeout_can_be_pickled_and_copied(sync: Any) -> None:
    policy = timeout(2.5, sync=sync, name="fetch")
    for other in (_sent(policy), copy.copy(policy), copy.deepcopy(policy)):
        assert repr(other) == repr(policy)
        assert other.traits() == policy.traits()
        if sync is not None:
            assert other.call(lambda: "done") == "done"


@pytest.mark.law(73, 82)
def test_timed_out_survives_pickling_without_its_work() -> None:
    error = TimedOut("fetch", 2.0, Future())
    error.add_note("seen")
    for _ in range(2):
        again = _sent(error)
        assert isinstance(again, TimeoutError)
        assert (again.policy, again.seconds, again.work) == ("fetch", 2.0, None)
        assert str(again) == "fetch: no answer within 2 s"
        assert again.__notes__ == ["seen"]
        error = again


def test_timed_out_tells_where_it_was_cut_off() -> None:
    async def slow() -> None:
        await clock.asleep(5)

    async def main() -> TimedOut:
        with pytest.raises(TimedOut) as caught:
            await timeout(1.0).acall(slow)
        return caught.value

    with sandbox():
        error = anyio.run(main)
    assert isinstance(error.__cause__, asyncio.CancelledError)
    assert "slow" in [frame.name for frame in traceback.extract_tb(error.__cause__.__traceback__)]


@pytest.mark.anyio
async def test_a_guard_cuts_a_block_off() -> None:
    with sandbox() as time:
        with pytest.raises(TimedOut, match="block: no answer within 2 s"):
            async with timeout(2.0, name="block").guard():
                await clock.asleep(5.0)
        assert time.elapsed == 2.0
        async with timeout(2.0).guard():
            await clock.asleep(1.0)


@pytest.mark.anyio
async def test_a_guard_is_for_one_block() -> None:
    guard = timeout(2.0).guard()
    async with guard:
        pass
    with pytest.raises(RuntimeError, match="entered before"):
        async with guard:
            pass


def test_a_plain_guard_only_announces() -> None:
    with sandbox() as time:
        with timeout(2.0, sync="deadline").guard():
            time.advance(5.0)
        for policy in (timeout(2.0), timeout(2.0, sync="abandon")):
            with pytest.raises(TypeError, match='sync="deadline"'), policy.guard():
                pass


def test_outside_of_a_loop_there_is_nobody_to_cut_off() -> None:
    async def work() -> None: ...

    coroutine = timeout(1.0).abind(work)()
    with pytest.raises(RuntimeError, match="asyncio or trio"):
        coroutine.send(None)


def test_a_closed_timeout_takes_no_plain_calls() -> None:
    policy = timeout(1.0, sync="abandon", name="report")
    assert policy.call(lambda: "done") == "done"
    policy.close()
    policy.close()
    with pytest.raises(RuntimeError, match="report is closed"):
        policy.call(lambda: "done")
    timeout(1.0).close()  # nothing to close


def test_close_waits_for_nothing_and_lets_work_end() -> None:
    started, go = threading.Event(), threading.Event()
    policy = timeout(60.0, sync="abandon")

    def work() -> threading.Thread:
        started.set()
        go.wait(60)
        return threading.current_thread()

    outcome: list[threading.Thread] = []
    caller = threading.Thread(target=lambda: outcome.append(policy.call(work)))
    caller.start()
    started.wait()
    policy.close()
    go.set()
    caller.join()
    outcome[0].join(60)
    assert not outcome[0].is_alive()


def test_a_thread_that_cannot_be_started_costs_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = timeout(60.0, sync="abandon", workers=1)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            with pytest.raises(RuntimeError, match="can't start new thread"):
                policy.call(lambda: "done")
    assert policy.call(lambda: "done") == "done"


def test_the_logger_warns_of_work_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    go = threading.Event()
    with sandbox() as time:

        def work() -> None:
            time.advance(5.0)
            go.wait(60)

        events: list[Any] = []
        with listen(events.append), pytest.raises(TimedOut):
            timeout(1.0, sync="abandon", name="report").call(work)
        go.set()
    assert isinstance(events[0], Abandoned)
    assert "timeout report: work was left behind after 1 s; 1 such still run" in caplog.text


def test_waiting_for_a_worker_in_an_event_loop_warns() -> None:
    policy = timeout(60.0, sync="abandon", name="blocking")

    async def main() -> None:
        with pytest.warns(ResilienceWarning, match="blocking is about to block a thread that runs an event loop"):
            policy.call(lambda: None)

    asyncio.run(main())


def test_a_sandbox_begins_with_workers_of_its_own() -> None:
    policy = timeout(60.0, sync="abandon")
    outside = policy.call(threading.current_thread)
    with sandbox():
        inside = policy.call(threading.current_thread)
        assert inside is not outside
    inside.join(60)
    assert not inside.is_alive()
    assert policy.call(threading.current_thread) is outside


@pytest.mark.anyio
async def test_a_policy_in_use_works_in_a_sandbox_and_after(anyio_backend_name: str) -> None:
    policy = timeout(3600.0)

    async def work(seconds: float) -> str:
        await clock.asleep(seconds)
        return "done"

    assert await policy.acall(work, 0) == "done"
    with sandbox(), pytest.raises(TimedOut):
        await policy.acall(work, 4000.0)
    assert await policy.acall(work, 0) == "done"
