"""The laws of a sync timeout: told how much time there is, or run by a worker that can be left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from resilience._ambient import remaining
from resilience._bulkhead import Bulkhead
from resilience._clock import clock
from resilience._deadline import deadline
from resilience._events import Abandoned, CutOff, Overran, Refused
from resilience._pipeline import Pipeline
from resilience._timeout import timeout
from resilience._workers import Work, _Crew
from resilience.errors import BulkheadFull, OutOfTime, TimedOut
from resilience.testing import VirtualClock, sandbox
from tests.virtual import ENDINGS, MOMENTS, heard


class Hung:
    """Work that hangs until it is let go. It moves the clock past any limit here, so that its caller leaves."""

    def __init__(self, time: VirtualClock) -> None:
        self._time = time
        self.started, self.let_go = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.started.set()
        self._time.advance(10.0)
        assert self.let_go.wait(60)
        return "late"


@pytest.mark.law(53, 55, 76, 92)
@given(
    limit=MOMENTS, announced=st.none() | MOMENTS, takes=MOMENTS, error=st.sampled_from([None, ValueError, TimeoutError])
)
def test_an_abandoning_timeout_cuts_at_the_nearest_moment(
    limit: float, announced: float | None, takes: float, error: type[Exception] | None
) -> None:
    cut = min(limit, announced or limit)
    own = None if error is None else error("its own")
    policy = timeout(limit, sync="abandon")

    def work() -> str:
        assert remaining() == pytest.approx(cut)
        clock.sleep(takes)
        if own is not None:
            raise own
        return "done"

    with sandbox(), heard() as events:
        try:
            if announced is None:
                outcome: Any = policy.call(work)
            else:
                with deadline(announced):
                    outcome = policy.call(work)
        except Exception as raised:
            outcome = raised
    if takes < cut:
        assert outcome is own or outcome == "done"
        assert events == []
    else:  # a tie goes to the limit
        assert isinstance(outcome, TimedOut)
        assert outcome.seconds == pytest.approx(cut)
        assert [event for event in events if isinstance(event, CutOff)] == [CutOff("timeout", outcome.seconds)]


@pytest.mark.law(53)
def test_what_is_left_behind_runs_on_and_says_so() -> None:
    policy = timeout(1.0, sync="abandon", name="report")
    with sandbox() as time, heard() as events:
        work = Hung(time)
        with pytest.raises(TimedOut, match="report: no answer within 1 s; the work was left behind") as caught:
            policy.call(work)
        assert events == [Abandoned("report", 1.0, 1), CutOff("report", 1.0)]
        future = caught.value.work
        assert future is not None
        assert future.running()
        assert not future.cancel()
        work.let_go.set()
        assert future.result(60) == "late"
        assert policy._abandoning._workers.left_behind == 0


@pytest.mark.law(54)
def test_of_equal_limits_in_workers_the_outer_one_is_reported() -> None:
    inner, outer = (timeout(1.0, sync="abandon", name=name) for name in ("inner", "outer"))
    with sandbox() as time:
        work = Hung(time)
        with pytest.raises(TimedOut) as caught:
            outer.call(lambda: inner.call(work))
        work.let_go.set()
    assert caught.value.policy == "outer"


@pytest.mark.law(29)
def test_a_bulkhead_outside_holds_the_place_until_the_work_ends() -> None:
    with sandbox() as time:
        bulkhead = Bulkhead(1)
        guarded = Pipeline(bulkhead, timeout(1.0, sync="abandon"))
        work = Hung(time)
        with pytest.raises(TimedOut) as caught:
            guarded.call(work)
        assert bulkhead.stats.in_use == 1
        with pytest.raises(BulkheadFull):
            guarded.call(lambda: "no place")
        work.let_go.set()
        future = caught.value.work
        assert future is not None
        assert future.result(60) == "late"
        ended = threading.Event()
        future.add_done_callback(lambda _: ended.set())  # called after the bulkhead's own
        assert ended.wait(60)
        assert guarded.call(lambda: "a place") == "a place"


@pytest.mark.law(68, 77)
@pytest.mark.parametrize("sync", ["deadline", "abandon"])
@pytest.mark.parametrize("ending", [*ENDINGS, StopIteration])
def test_what_the_function_raises_is_the_callers(sync: Any, ending: type[BaseException]) -> None:
    raised = ending("its own")
    policy = timeout(60.0, sync=sync)

    def work() -> None:
        raise raised

    with heard() as events:
        for _ in range(3):
            with pytest.raises(ending) as caught:
                policy.bind(work)()
            assert caught.value is raised
    assert events == []


@pytest.mark.law(68)
def test_ctrl_c_while_waiting_leaves_the_work_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = timeout(1.0, sync="abandon")
    go = threading.Event()

    def interrupted(lock: object, seconds: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(clock, "acquire", interrupted)
    with heard() as events, pytest.raises(KeyboardInterrupt):
        policy.call(lambda: go.wait(60))
    assert events == [Abandoned("timeout", 1.0, 1)]
    go.set()


@pytest.mark.law(72, 77)
@given(calls=st.lists(st.text(max_size=3), min_size=1, max_size=5))
def test_the_worker_sees_the_callers_context_and_keeps_its_own(calls: list[str]) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    policy = timeout(60.0, sync="abandon")

    def work() -> str:
        seen = tenant.get()
        tenant.set("the worker's")
        return seen

    for name in calls:
        token = tenant.set(name)
        assert policy.call(work) == name
        assert tenant.get() == name
        tenant.reset(token)
        assert policy.call(work) == "nobody"


@pytest.mark.law(77)
@given(most=st.integers(1, 4), hung=st.integers(0, 4))
def test_a_full_pool_refuses_and_a_hung_neighbour_times_nobody_out(most: int, hung: int) -> None:
    hung = min(hung, most)
    started, go = threading.Semaphore(0), threading.Event()
    threads = []

    def hangs() -> None:
        started.release()
        go.wait(60)

    with sandbox(autojump=False):
        policy = timeout(1.0, sync="abandon", workers=most)
        for _ in range(hung):
            threads.append(threading.Thread(target=policy.call, args=(hangs,)))
            threads[-1].start()
            started.acquire()
        ran: list[bool] = []
        with heard() as events:
            for _ in range(3):
                if hung < most:
                    policy.call(ran.append, True)
                else:
                    with pytest.raises(BulkheadFull, match=f"all {most} workers are busy") as refused:
                        policy.call(ran.append, True)
                    assert events[-1] == Refused("timeout", refused.value)
        assert len(ran) == (3 if hung < most else 0)
        go.set()
        for thread in threads:
            thread.join()


@pytest.mark.law(77)
def test_one_worker_serves_any_number_of_calls_one_after_another() -> None:
    policy = timeout(60.0, sync="abandon", workers=1)
    assert len({policy.call(threading.get_ident) for _ in range(100)}) == 1


@pytest.mark.law(77)
def test_a_worker_is_free_before_its_caller_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    make, rest = Work.__init__, _Crew.rest

    class Told:
        def __init__(self, lock: Any) -> None:
            self.acquire, self._lock = lock.acquire, lock

        def release(self) -> None:
            order.append("the caller is told")
            self._lock.release()

    def made(work: Any, *arguments: Any) -> None:
        make(work, *arguments)
        work._done = Told(work._done)

    def rests(crew: _Crew, worker: Any) -> None:
        order.append("the worker is free")
        rest(crew, worker)

    monkeypatch.setattr(Work, "__init__", made)
    monkeypatch.setattr(_Crew, "rest", rests)
    timeout(60.0, sync="abandon").call(lambda: None)
    assert order == ["the worker is free", "the caller is told"]


@pytest.mark.law(77)
def test_a_hung_worker_does_not_keep_the_process_from_exiting() -> None:
    program = textwrap.dedent("""
        import threading
        from resilience import TimedOut, timeout

        policy = timeout(0.001, sync="abandon")
        try:
            policy.call(threading.Event().wait)
        except TimedOut as error:
            print(error)
    """)
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "timeout: no answer within 0.001 s; the work was left behind and still runs\n"


@pytest.mark.law(77)
def test_idle_workers_end_with_their_policy_and_with_close() -> None:
    for end in (lambda policy: policy.close(), lambda policy: None):
        policy = timeout(60.0, sync="abandon")
        worker = policy.call(threading.current_thread)
        assert worker.daemon
        end(policy)
        del policy
        worker.join(60)
        assert not worker.is_alive()


@pytest.mark.law(92)
@given(limit=MOMENTS, announced=st.none() | MOMENTS, takes=MOMENTS, fails=st.booleans())
def test_a_cooperative_timeout_never_cuts(limit: float, announced: float | None, takes: float, fails: bool) -> None:
    nearest = min(limit, announced or limit)

    @timeout(limit, sync="deadline")
    def work() -> str:
        assert remaining() == pytest.approx(nearest)
        clock.sleep(takes)
        assert remaining() == pytest.approx(max(0.0, nearest - takes))
        if fails:
            raise LookupError
        return "done"

    def call() -> None:
        if fails:
            with pytest.raises(LookupError):
                work()
        else:
            assert work() == "done"

    with sandbox(), heard() as events:
        if announced is None:
            call()
        else:
            with deadline(announced):
                call()
        assert remaining() is None
    late = [Overran("timeout", pytest.approx(nearest), pytest.approx(takes))]
    assert events == (late if takes > nearest else [])


@pytest.mark.law(92)
@pytest.mark.parametrize("sync", ["deadline", "abandon"])
def test_nothing_starts_without_time(sync: Any) -> None:
    policy = timeout(1.0, sync=sync, name="inner")
    ran: list[bool] = []
    with sandbox() as time, heard() as events, deadline(1.0):
        time.advance(1.0)
        with pytest.raises(OutOfTime) as refused:
            policy.call(ran.append, True)
    assert not ran
    assert events == [Refused("inner", refused.value)]


@pytest.mark.law(94)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_workers_and_timers_of_its_own() -> None:
    policy = timeout(60.0, sync="abandon", workers=1)

    async def work() -> str:
        await checkpoint()
        return "done"

    async def acall() -> str:
        return await policy.acall(work)

    hung, go = threading.Event(), threading.Event()

    def hangs() -> None:
        hung.set()
        go.wait(60)

    def in_child() -> bool:
        return policy.call(lambda: "done") == "done" and anyio.run(acall) == "done"

    anyio.run(acall)
    caller = threading.Thread(target=policy.call, args=(hangs,), daemon=True)
    caller.start()
    hung.wait()
    locked, unlock = threading.Event(), threading.Event()

    def holds_the_lock() -> None:
        with policy._abandoning._workers._crew.lock:
            locked.set()
            unlock.wait(60)

    holder = threading.Thread(target=holds_the_lock)
    holder.start()
    locked.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there are threads: that is the point
        child = os.fork()
    if child == 0:
        signal.alarm(30)  # a deadlock ends the child, not the test run
        ok = False
        try:
            ok = in_child()
        finally:
            os._exit(0 if ok else 1)
    unlock.set()
    holder.join()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    with pytest.raises(BulkheadFull):  # the parent's only worker hangs as before
        policy.call(lambda: None)
    go.set()
    caller.join()


@pytest.mark.law(70)
@given(threads=st.integers(2, 4), each=st.integers(1, 20))
def test_threads_share_the_pool(threads: int, each: int) -> None:
    policy = timeout(60.0, sync="abandon", workers=threads)
    outcomes: list[int] = []
    together = threading.Barrier(threads)

    def call(first: int) -> None:
        together.wait()
        outcomes.extend([policy.call(abs, number) for number in range(first, first + each)])

    callers = [threading.Thread(target=call, args=(number * each,)) for number in range(threads)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert sorted(outcomes) == list(range(threads * each))


def test_work_that_ends_in_the_very_moment_of_the_limit_is_not_lost() -> None:
    with sandbox() as time, heard() as told:

        def work() -> str:
            time.advance(5)
            return "in the very moment"

        with pytest.raises(TimedOut) as caught:
            timeout(5, sync="abandon").call(work)
    assert caught.value.work is not None
    assert caught.value.work.result(timeout=0) == "in the very moment"
    assert "still runs" not in str(caught.value)
    assert [type(event) for event in told] == [CutOff]
