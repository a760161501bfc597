"""The laws of the hedge: the first success wins, a failure decides nothing, and of the losers nothing is left."""

import asyncio
import gc
import itertools
import math
import threading
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resilience import CircuitBreaker, Hedge, OutOfTime, Pipeline, RetryBudget, deadline, listen, remaining, retry
from resilience._clock import clock
from resilience._core.quantile import LEAST, SIZE, Quantile
from resilience.events import Hedged
from resilience.testing import sandbox
from tests.crowd import until

every_backend = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@dataclass(frozen=True)
class Plan:
    """What an attempt does: it ends after so many seconds, well or not."""

    takes: float
    fails: bool


@dataclass
class Expected:
    """What has to come of a call: which attempt answers (or `None`: the primary's error), when, and after how many."""

    winner: int | None
    at: float
    started: int
    cut: set[int]


def foretell(plans: list[Plan], after: float) -> Expected:
    """A race, played by hand."""
    starts, ended = [0.0], dict[int, bool]()
    while True:
        ends = {n: starts[n] + plans[n].takes for n in range(len(starts)) if n not in ended}
        next_end = min(ends.values())
        next_start = len(starts) * after if len(starts) < len(plans) else math.inf
        if next_start < next_end:
            starts.append(next_start)
            continue
        (number,) = (n for n, at in ends.items() if at == next_end)
        ended[number] = plans[number].fails
        running = set(ends) - {number}
        if not plans[number].fails:
            return Expected(number + 1, next_end, len(starts), {n + 1 for n in running})
        if not running:
            return Expected(None, next_end, len(starts), set())


# Distinct sums: no two things ever happen in the same moment.
LONGS = st.sampled_from([0.31, 0.73, 1.19, 1.57, 2.09, 2.83, 3.41, 5.03, 7.97])
PLANS = st.lists(st.builds(Plan, LONGS, st.booleans()), min_size=2, max_size=4)


def no_ties(plans: list[Plan], after: float) -> bool:
    ends = {round(n * after + plan.takes, 6) for n, plan in enumerate(plans)}
    return len(ends) == len(plans)


@pytest.mark.law(57, 60)
@every_backend
@given(plans=PLANS.filter(lambda plans: no_ties(plans, 1.0)))
@example([Plan(1.57, fails=False), Plan(0.31, fails=True)])
@example([Plan(1.57, fails=True), Plan(2.09, fails=False)])
def test_the_first_success_wins_and_a_failure_decides_nothing(backend: str, plans: list[Plan]) -> None:
    hedge, cut, begun = Hedge(1.0, attempts=len(plans), budget=None), set[int](), list[float]()

    @hedge
    async def work() -> int:
        begun.append(clock.now())
        number = len(begun)
        plan = plans[number - 1]
        try:
            await clock.asleep(plan.takes)
        except BaseException:
            cut.add(number)
            raise
        if plan.fails:
            raise ConnectionError(number)
        return number

    async def scene() -> tuple[object, float]:
        began = clock.now()
        try:
            found: object = await work()
        except ConnectionError as error:
            found = error
        took = clock.now() - began
        await clock.asleep(20)
        return found, took

    expected = foretell(plans, 1.0)
    with sandbox():
        found, took = anyio.run(scene, backend=backend)
        stats = hedge.stats
    assert took == pytest.approx(expected.at)
    assert len(begun) == expected.started
    assert cut == expected.cut
    assert (stats.won, stats.won + stats.lost) == (int((expected.winner or 1) > 1), expected.started - 1)
    if expected.winner is None:
        assert isinstance(found, ConnectionError)
        assert found.args == (1,)
        notes = getattr(found, "__notes__", [])
        assert len(notes) <= 1
        assert "".join(notes).count("failed too") == expected.started - 1
    else:
        assert found == expected.winner


@pytest.mark.law(60, 73)
@every_backend
@given(
    plans=PLANS.filter(lambda plans: no_ties(plans, 1.0)), when=st.sampled_from([0.05, 0.95, 1.05, 1.95, 2.55, 3.05])
)
def test_a_cancellation_reaches_all_attempts_at_once_and_is_not_swallowed(
    backend: str, plans: list[Plan], when: float
) -> None:
    hedge, running, begun = Hedge(1.0, attempts=len(plans), budget=None), set[int](), list[int]()
    expected = foretell(plans, 1.0)

    @hedge
    async def work() -> int:
        begun.append(1)
        number = len(begun)
        running.add(number)
        try:
            await clock.asleep(plans[number - 1].takes)
        finally:
            running.discard(number)
        if plans[number - 1].fails:
            raise ConnectionError
        return number

    async def scene() -> None:
        with anyio.CancelScope() as scope:
            clock.expire(cast("Any", scope), when)
            try:
                await work()
            except ConnectionError:
                pass
        assert scope.cancelled_caught == (when < expected.at)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        assert not running
        with anyio.fail_after(30):  # and the task is as it was: nothing is left to strike later
            await anyio.lowlevel.checkpoint()
            await clock.asleep(1)

    with sandbox():
        anyio.run(scene, backend=backend)


@pytest.mark.law(60)
@given(ticks=st.integers(0, 6), fails=st.booleans())
def test_a_native_cancellation_around_the_decision_is_either_delivered_or_was_too_late(ticks: int, fails: bool) -> None:
    hedge = Hedge(1.0, budget=None)
    begun: list[int] = []
    answer = Response("close")

    @hedge
    async def work() -> Response:
        begun.append(1)
        if len(begun) == 1:
            await clock.asleep(9)
        await clock.asleep(1)
        if fails:
            raise ConnectionError
        given.append(answer)
        return answer

    given: list[Response] = []

    async def scene() -> None:
        task = asyncio.ensure_future(work())
        await clock.asleep(2)
        for _ in range(ticks):
            await asyncio.sleep(0)
        late = task.done()
        task.cancel()
        try:
            found: object = await task
        except (asyncio.CancelledError, ConnectionError) as error:
            found = error
        if late and not fails:
            assert found is answer
        elif not late:
            assert isinstance(found, asyncio.CancelledError)
        await clock.asleep(20)
        assert answer.closed == (bool(given) and found is not answer)

    with sandbox():
        asyncio.run(scene())


@pytest.mark.law(60)
@every_backend
@pytest.mark.parametrize("fails", [True, False])
def test_a_primary_that_ends_in_the_moment_of_the_hedge_leaves_no_rival_behind(backend: str, fails: bool) -> None:
    hedge, begun, ended = Hedge(1.0, budget=None), list[int](), list[int]()

    @hedge
    async def work() -> None:
        begun.append(1)
        number = len(begun)
        await clock.asleep(1.0 if number == 1 else 5.0)
        ended.append(number)
        if fails:
            raise ConnectionError

    async def scene() -> None:
        with suppress(ConnectionError):
            await work()
        if not fails:
            assert clock.now() == 1001.0
        await clock.asleep(20)

    with sandbox():
        anyio.run(scene, backend=backend)
    assert ended == ([1, 2] if fails and len(begun) == 2 else [1])


@pytest.mark.law(57)
@every_backend
def test_no_rival_is_begun_for_a_call_that_has_failed(backend: str) -> None:
    begun: list[int] = []

    @Hedge(1.0, attempts=3, budget=None)
    async def work() -> None:
        begun.append(1)
        await clock.asleep(0.5)
        raise ConnectionError

    async def scene() -> None:
        with pytest.raises(ConnectionError):
            await work()
        await clock.asleep(20)

    with sandbox():
        anyio.run(scene, backend=backend)
    assert len(begun) == 1


@pytest.mark.law(60)
def test_what_losers_raise_is_observed() -> None:
    hedge, begun, unheard = Hedge(1.0, budget=None), list[int](), list[Any]()

    @hedge
    async def work() -> str:
        begun.append(1)
        if len(begun) == 1:
            try:
                await clock.asleep(9)
            except asyncio.CancelledError:
                raise ConnectionError("while it was cancelled") from None
        await clock.asleep(1)
        return "answer"

    async def scene() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
        assert await work() == "answer"
        begun.clear()
        await clock.asleep(1)
        gc.collect()

    with sandbox():
        asyncio.run(scene())
    assert not unheard


class Response:
    """Something that has to be closed."""

    def __init__(self, kind: str) -> None:
        self.closed = False
        self.kind = kind
        if kind in {"close", "raises"}:
            self.close = self._close
        elif kind == "aclose":
            self.aclose = self._aclose
        else:
            self.close = self._aclose  # type: ignore[assignment]

    def _close(self) -> None:
        self.closed = True
        if self.kind == "raises":
            raise OSError

    async def _aclose(self) -> None:
        self.closed = True


@pytest.mark.law(60)
@every_backend
@pytest.mark.parametrize("kind", ["close", "aclose", "async close", "raises"])
@pytest.mark.parametrize("clings", ["primary", "rival"])
def test_a_result_that_comes_too_late_is_closed_and_delays_nobody(backend: str, kind: str, clings: str) -> None:
    hedge, made = Hedge(1.0, budget=None), dict[int, Response]()

    @hedge
    async def work() -> Response:
        number = len(made) + 1
        made[number] = response = Response(kind)
        clinging = number == (1 if clings == "primary" else 2)
        with anyio.CancelScope(shield=clinging):
            await clock.asleep(
                {"primary": 5.0, "rival": 2.0}[clings] if number == 1 else 0.5 if clings == "primary" else 8
            )
        return response

    async def scene() -> None:
        began = clock.now()
        found = await work()
        took = clock.now() - began
        # A rival that clings delays nobody; the caller's own task cannot leave a shield that it is in.
        assert took == pytest.approx(5.0 if clings == "primary" else 2.0)
        await clock.asleep(20)
        assert [made[number].closed for number in (1, 2)] == [found is made[2], found is made[1]]
        assert found is (made[2] if clings == "primary" and backend == "trio" else found)

    with sandbox():
        anyio.run(scene, backend=backend)


@pytest.mark.law(61)
@every_backend
def test_a_winner_ends_the_retries_around_and_inside_and_losers_are_no_failures_of_a_breaker(backend: str) -> None:
    breaker, begun = CircuitBreaker(trip=1), list[float]()
    guarded = Pipeline(retry(on=OSError, attempts=4, wait=2, budget=None), Hedge(1.0, budget=None), breaker)

    @guarded
    async def work() -> int:
        begun.append(clock.now())
        number = len(begun)
        if number == 1:
            await clock.asleep(9)
        return number

    inner_tries: list[int] = []

    @Hedge(1.0, budget=None)
    @retry(on=OSError, attempts=50, wait=0.3, budget=None)
    async def stubborn() -> str:
        if not inner_tries or (remaining() is None and len(inner_tries) < 4):
            inner_tries.append(1)
            raise OSError
        return "answer"

    async def scene() -> None:
        assert await work() == 2
        await clock.asleep(30)
        assert len(begun) == 2
        assert breaker.state == "closed"
        assert breaker.stats.failures == 0
        assert await stubborn() == "answer"
        tries = len(inner_tries)
        await clock.asleep(30)
        assert len(inner_tries) == tries

    with sandbox():
        anyio.run(scene, backend=backend)


@pytest.mark.law(59)
@every_backend
def test_a_budget_that_is_spent_begins_no_rival_and_ends_none(backend: str) -> None:
    budget = RetryBudget(0.0, minimum_per_second=0.2, window=10)  # two, and then one each five seconds
    hedge, begun = Hedge(1.0, budget=budget), list[int]()

    @hedge
    async def work() -> None:
        begun.append(1)
        await clock.asleep(3)

    async def scene() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(work)

    with sandbox():
        anyio.run(scene, backend=backend)
        assert len(begun) == 5 + 2
        assert (hedge.stats.refused, hedge.stats.lost, hedge.stats.won) == (3, 2, 0)


@pytest.mark.law(92)
@every_backend
def test_no_rival_begins_after_the_deadline_and_no_call_either(backend: str) -> None:
    hedge, begun = Hedge(1.0, budget=None), list[int]()

    @hedge
    async def work() -> int:
        begun.append(1)
        await clock.asleep(2)
        return len(begun)

    async def scene() -> None:
        with deadline(0.5):
            assert await work() == 1
        with deadline(0), pytest.raises(OutOfTime):
            await work()

    with sandbox():
        anyio.run(scene, backend=backend)
    assert len(begun) == 1


# When it is hedged.


@pytest.mark.law(58)
@given(
    values=st.lists(st.floats(0, 100), max_size=SIZE + 60),
    share=st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.995]),
)
def test_the_quantile_is_that_of_the_last_calls_and_none_while_there_are_too_few(
    values: list[float], share: float
) -> None:
    machine = Quantile(share)
    for value in values:
        machine.add(value)
    last = sorted(values[-SIZE:])
    if len(last) < LEAST or round(len(last) * (1 - share), 9) < 1:
        assert machine.value() is None
    else:
        found = machine.value()
        assert found in last
        assert sum(value <= found for value in last) >= share * len(last) - 1e-9
        assert sum(value < found for value in last) <= share * len(last)


@pytest.mark.law(58)
@every_backend
def test_without_samples_nothing_is_hedged_and_then_what_is_slow(backend: str) -> None:
    hedge, begun = Hedge(budget=None), list[float]()

    @hedge
    async def work(seconds: float) -> None:
        begun.append(seconds)
        await clock.asleep(seconds)

    async def scene() -> None:
        for _ in range(LEAST):
            assert hedge.stats.delay is None
            await work(1.0)
        assert len(begun) == LEAST
        assert hedge.stats.delay == pytest.approx(1.0)
        await work(5.0)
        assert len(begun) == LEAST + 2
        for _ in range(SIZE):
            await work(0.5)
        assert hedge.stats.delay == pytest.approx(0.5)

    with sandbox():
        anyio.run(scene, backend=backend)


@pytest.mark.law(58)
@every_backend
def test_a_failure_is_no_sample(backend: str) -> None:
    hedge = Hedge(budget=None)

    @hedge
    async def work() -> None:
        await clock.asleep(0.01)
        raise ConnectionError

    async def scene() -> None:
        for _ in range(2 * LEAST):
            with pytest.raises(ConnectionError):
                await work()

    with sandbox():
        anyio.run(scene, backend=backend)
        assert hedge.stats.delay is None


# Threads.


class Stage:
    """Attempts in threads, each ended by the test."""

    def __init__(self, hedge: Hedge) -> None:
        self.hedge = hedge
        self.ends: list[threading.Event] = [threading.Event() for _ in range(4)]
        self.outcomes: dict[int, Any] = {}
        self.begun: list[int] = []
        self.left: list[float | None] = []
        self.found: list[object] = []
        self.threads: set[int] = set()
        self._numbers = threading.Lock()

    def work(self) -> object:
        with self._numbers:
            self.begun.append(1)
            number = len(self.begun)
        self.threads.add(threading.get_ident())
        self.ends[number - 1].wait()
        self.left.append(remaining())
        outcome = self.outcomes.get(number, number)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def call(self) -> threading.Thread:
        def run() -> None:
            try:
                self.found.append(self.hedge.call(self.work))
            except BaseException as error:
                self.found.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread


@pytest.mark.law(57, 60)
@pytest.mark.parametrize("first", [1, 2])
def test_in_threads_too_the_first_success_wins_and_the_loser_is_told_that_its_time_is_over(first: int) -> None:
    stage = Stage(Hedge(1.0, budget=None))
    late = stage.outcomes[3 - first] = Response("close")
    with sandbox():
        thread = stage.call()
        until(lambda: len(stage.begun) == 2)
        stage.ends[first - 1].set()
        thread.join()
        assert stage.found == [first]
        stage.ends[2 - first].set()
        until(lambda: late.closed)
        assert stage.left == [None, 0.0]
        assert (stage.hedge.stats.won, stage.hedge.stats.lost) == (int(first == 2), int(first == 1))
    assert len(stage.threads) == 2


@pytest.mark.law(57)
@pytest.mark.parametrize("fails", [1, 2])
def test_in_threads_too_a_failure_decides_nothing_while_another_is_under_way(fails: int) -> None:
    stage = Stage(Hedge(1.0, budget=None))
    stage.outcomes[fails] = ConnectionError(fails)
    with sandbox():
        thread = stage.call()
        until(lambda: len(stage.begun) == 2)
        stage.ends[fails - 1].set()
        until(lambda: len(stage.left) == 1)
        assert not stage.found
        stage.ends[2 - fails].set()
        thread.join()
    assert stage.found == [3 - fails]


@pytest.mark.law(57)
def test_in_threads_too_the_primary_s_error_is_the_call_s_if_all_fail() -> None:
    stage = Stage(Hedge(1.0, budget=None))
    stage.outcomes |= {1: ConnectionError("one"), 2: ConnectionError("two")}
    with sandbox():
        thread = stage.call()
        until(lambda: len(stage.begun) == 2)
        for end in (stage.ends[1], stage.ends[0]):
            end.set()
        thread.join()
    (error,) = stage.found
    assert isinstance(error, ConnectionError)
    assert (error.args, error.__notes__) == (("one",), ["resilience: attempt 2 failed too: ConnectionError: two"])


class Interrupt(BaseException):
    """What no other attempt makes up for."""


class Broken:
    """What cannot be asked how to close it."""

    @property
    def close(self) -> None:
        raise OSError("no close")

    aclose = close


class Mute(OSError):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError


class Frozen(OSError):
    """An error that takes no note."""

    def add_note(self, note: str) -> None:
        raise TypeError


def hedged(backend: str, *plans: tuple[float, Any], clings: bool = False) -> Any:
    """One call, hedged each second; a plan says how many seconds an attempt takes, and what it returns or raises."""
    numbers = itertools.count()

    async def work() -> Any:
        seconds, outcome = plans[next(numbers)]
        with anyio.CancelScope(shield=clings):
            await clock.asleep(seconds)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    with sandbox():
        return anyio.run(Hedge(1.0, attempts=len(plans), budget=None).acall, work, backend=backend)


def staged(first: int, *outcomes: Any) -> Any:
    """One call in threads, hedged at once; what its attempts come to, and which of them ends first."""
    stage = Stage(Hedge(1.0, attempts=len(outcomes), budget=None))
    stage.outcomes |= dict(enumerate(outcomes, 1))
    with sandbox():
        thread = stage.call()
        until(lambda: len(stage.begun) == len(outcomes))
        stage.ends[first - 1].set()
        until(lambda: stage.left if isinstance(outcomes[first - 1], Exception) else stage.found)
        for end in stage.ends:
            end.set()
        thread.join()
        until(lambda: len(stage.left) == len(outcomes))
    return stage.found[0]


@pytest.mark.law(60, 68)
@every_backend
@pytest.mark.parametrize("clings", [False, True])
@pytest.mark.parametrize(("takes", "outcome"), [(9.0, "late"), (9.0, OSError()), (1.2, OSError())])
def test_what_is_no_exception_ends_the_race_and_is_the_caller_s(
    backend: str, takes: float, outcome: Any, clings: bool
) -> None:
    with pytest.raises(Interrupt):
        hedged(backend, (takes, outcome), (0.5, Interrupt()), clings=clings)


@pytest.mark.law(60, 68)
@every_backend
@pytest.mark.parametrize("takes", [1.2, 9.0], ids=["the primary has failed", "the primary runs"])
def test_what_is_no_exception_stops_the_others_at_once(backend: str, takes: float) -> None:
    begun = list[float]()

    async def work() -> None:
        number = len(begun)
        begun.append(time.elapsed)
        await clock.asleep((takes, 1.5, 99.0, 99.0)[number])
        raise Interrupt if number == 1 else OSError

    with sandbox() as time, pytest.raises(Interrupt):
        anyio.run(Hedge(1.0, attempts=4, budget=None).acall, work, backend=backend)
    assert (begun, time.elapsed) == ([0.0, 1.0, 2.0], 2.5)


@pytest.mark.law(60, 68)
@pytest.mark.parametrize("primary", ["late", OSError()], ids=["succeeds", "fails"])
def test_in_threads_too_what_is_no_exception_ends_the_race(primary: Any) -> None:
    assert isinstance(staged(2, primary, Interrupt()), Interrupt)


@pytest.mark.law(95)
@every_backend
def test_one_error_that_is_raised_again_and_again_has_one_note(backend: str) -> None:
    error = OSError("down")
    for _ in range(3):
        with pytest.raises(OSError, match="down"):
            hedged(backend, (2.5, error), (2.5, error), (2.5, error))
    told = "attempt 2 failed too: OSError: down; attempt 3 failed too: OSError: down"
    assert error.__notes__ == [f"resilience: {told}"]


@pytest.mark.law(57)
@every_backend
@pytest.mark.parametrize("error", [OSError("down"), Frozen("down")], ids=["usual", "frozen"])
def test_an_error_that_cannot_be_told_does_not_take_the_primary_s_place(backend: str, error: Exception) -> None:
    with pytest.raises(OSError, match="down") as raised:
        hedged(backend, (1.5, error), (1.5, Mute()))
    assert raised.value is error
    assert staged(1, error, Mute()) is error


@pytest.mark.law(60)
@every_backend
def test_a_loser_that_cannot_be_asked_how_to_close_it_harms_nobody(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert hedged(backend, (1.5, Broken()), (0.2, "quick"), clings=True) == "quick"
    assert "after another attempt had won" in caplog.text
    caplog.clear()
    assert staged(2, Broken(), "quick") == "quick"
    until(lambda: "after another attempt had won" in caplog.text)


@pytest.mark.law(66, 72)
@every_backend
def test_every_attempt_has_the_caller_s_context_in_a_sandbox_too(backend: str) -> None:
    who, seen = ContextVar("who", default="nobody"), list[str]()

    async def work() -> None:
        seen.append(who.get())
        await clock.asleep(5.0)

    async def main() -> None:
        who.set("caller")
        await Hedge(1.0, attempts=4, budget=None).acall(work)

    with sandbox():
        anyio.run(main, backend=backend)
    assert seen == ["caller"] * 4


def test_a_plain_call_that_fails_before_it_is_hedged_has_failed() -> None:
    begun: list[int] = []

    @Hedge(50.0, budget=None)
    def work() -> None:
        begun.append(1)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        work()
    assert len(begun) == 1


def test_where_no_worker_is_free_the_call_is_made_here_and_unhedged() -> None:
    hedge = Hedge(1.0, budget=None, workers=2)
    stage = Stage(hedge)
    with sandbox():
        thread = stage.call()
        until(lambda: len(stage.begun) == 2)
        here: list[int] = []
        assert hedge.call(lambda: here.append(threading.get_ident())) is None
        assert here == [threading.get_ident()]
        for end in stage.ends:
            end.set()
        thread.join()


def test_a_rival_that_no_worker_is_free_for_is_not_begun() -> None:
    hedge = Hedge(1.0, budget=None, attempts=3, workers=2)
    stage = Stage(hedge)
    heard: list[Any] = []
    with sandbox(), listen(heard.append):
        thread = stage.call()
        until(lambda: len(stage.begun) == 2)
        stage.ends[1].set()
        thread.join()
        assert stage.found == [2]
        assert (hedge.stats.won, hedge.stats.lost) == (1, 0)
        stage.ends[0].set()
    assert [event.attempt for event in heard if isinstance(event, Hedged)] == [2]


@pytest.mark.law(66)
@every_backend
def test_every_attempt_sees_the_caller_s_context(backend: str) -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")
    seen: list[str] = []

    @Hedge(1.0, budget=None)
    async def work() -> None:
        seen.append(who.get())
        await clock.asleep(3 if len(seen) == 1 else 0.5)

    async def scene() -> None:
        who.set("ann")
        await work()

    with sandbox():
        anyio.run(scene, backend=backend)
    assert seen == ["ann", "ann"]


def test_an_interruption_of_the_waiting_thread_leaves_both_attempts_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    hedge = Hedge(1.0, budget=None)
    stage = Stage(hedge)
    real = clock.acquire

    def interrupted(lock: Any, seconds: float | None) -> bool:
        if seconds is None or len(stage.begun) < 2:
            if len(stage.begun) == 2:
                raise KeyboardInterrupt
            return real(lock, seconds)
        return real(lock, seconds)

    with sandbox():
        real = clock.acquire
        monkeypatch.setattr(clock, "acquire", interrupted)
        with pytest.raises(KeyboardInterrupt):
            hedge.call(stage.work)
        monkeypatch.undo()
        for end in stage.ends:
            end.set()
        until(lambda: len(stage.left) == 2)
        assert stage.left == [0.0, 0.0]


def test_what_asks_the_program_to_stop_is_made_up_for_by_nobody() -> None:
    stage = Stage(Hedge(1.0, budget=None))
    stage.outcomes[1] = SystemExit(3)
    late = stage.outcomes[2] = Response("close")
    raised: list[BaseException] = []

    def run() -> None:
        try:
            stage.hedge.call(stage.work)
        except SystemExit as error:
            raised.append(error)

    with sandbox():
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        until(lambda: len(stage.begun) == 2)
        stage.ends[0].set()
        thread.join()
        assert raised == [stage.outcomes[1]]
        stage.ends[1].set()
        until(lambda: late.closed)
        assert (stage.hedge.stats.won, stage.hedge.stats.lost) == (0, 1)


@pytest.mark.law(57, 59)
def test_a_rival_that_cannot_start_ends_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    hedge = Hedge(1.0, budget=None)
    stage = Stage(hedge)
    start, asked = type(hedge._workers).start, list[int]()

    def refuse_the_second(workers: Any, function: Any) -> Any:
        asked.append(1)
        if len(asked) == 2:
            raise RuntimeError("can't start new thread")
        return start(workers, function)

    monkeypatch.setattr(type(hedge._workers), "start", refuse_the_second)
    with sandbox():
        thread = stage.call()
        until(lambda: len(asked) == 2)
        stage.ends[0].set()
        thread.join()
        assert stage.found == [1]
        assert (hedge.stats.won, hedge.stats.lost) == (0, 0)


@pytest.mark.law(60)
@every_backend
def test_what_a_rival_brings_to_a_caller_that_has_gone_is_closed(backend: str) -> None:
    hedge, made = Hedge(1.0, budget=None), list[Response]()

    @hedge
    async def work() -> Response:
        if not made:
            made.append(Response("close"))
            await clock.asleep(2)
            raise ConnectionError
        made.append(Response("close"))
        with anyio.CancelScope(shield=True):
            await clock.asleep(5)
        return made[1]

    async def scene() -> None:
        with anyio.CancelScope() as scope:
            clock.expire(cast("Any", scope), 3)
            await work()
        await clock.asleep(20)
        assert made[1].closed

    with sandbox():
        anyio.run(scene, backend=backend)
        assert (hedge.stats.won, hedge.stats.lost) == (0, 1)


@pytest.mark.law(60)
@every_backend
def test_to_close_what_came_too_late_delays_nobody(backend: str) -> None:
    hedge, begun = Hedge(1.0, budget=None), list[int]()

    class Lingering:
        async def aclose(self) -> None:
            await clock.asleep(1_000)

    @hedge
    async def work() -> object:
        begun.append(1)
        with anyio.CancelScope(shield=len(begun) == 1):
            await clock.asleep(3.0 if len(begun) == 1 else 0.5)
        return Lingering()

    async def scene() -> float:
        began = clock.now()
        await work()
        return clock.now() - began

    with sandbox():
        assert anyio.run(scene, backend=backend) == pytest.approx(3.0)


@pytest.mark.law(58)
@every_backend
def test_calls_that_take_no_time_are_not_hedged_at_once(backend: str) -> None:
    hedge, begun = Hedge(budget=None), list[int]()

    @hedge
    async def work() -> None:
        begun.append(1)

    async def scene() -> None:
        for _ in range(3 * LEAST):
            await work()

    with sandbox():
        anyio.run(scene, backend=backend)
        assert len(begun) == 3 * LEAST
        assert hedge.stats.delay == 0.001


@pytest.mark.law(60, 73)
def test_a_native_cancellation_well_before_the_rival_ends_is_delivered_at_once() -> None:
    hedge, begun = Hedge(1.0, budget=None), list[int]()

    @hedge
    async def work() -> str:
        begun.append(1)
        await clock.asleep(9 if len(begun) == 1 else 6)
        return "answer"

    async def scene() -> None:
        task = asyncio.ensure_future(work())
        await clock.asleep(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert clock.now() == 1003.0

    with sandbox():
        asyncio.run(scene())


@pytest.mark.law(66, 92)
def test_threads_see_the_caller_s_context_and_none_begins_after_the_deadline() -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")
    stage = Stage(Hedge(1.0, budget=None))
    seen: list[str] = []

    def run() -> None:
        who.set("ann")
        stage.hedge.call(lambda: (seen.append(who.get()), stage.work()))

    with sandbox():
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        until(lambda: len(stage.begun) == 2)
        for end in stage.ends:
            end.set()
        thread.join()
        assert seen == ["ann", "ann"]
        with deadline(0), pytest.raises(OutOfTime):
            stage.hedge.call(stage.work)
