"""The laws of retry: what is repeated, when, how often, and what comes out in the end."""

import gc
import itertools
import math
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience import Bulkhead, CircuitBreaker, Pipeline, RetryBudget, deadline, events, listen, retry
from resilience._core.backoff import full_jitter
from resilience._strategies import MOST, wait_full_jitter
from resilience.errors import CircuitOpen, OutOfTime, RateLimited, Rejected, ResilienceWarning
from resilience.testing import sandbox
from tests.doors import FUNCTION_DOORS, SYNC_DOORS, Work, call
from tests.retry_doors import (
    LOOP_DOORS,
    POOR,
    RETRY_DOORS,
    Alien,
    Heard,
    Passing,
    Quit,
    Script,
    loop,
    notes_of_ours,
    outcome_of,
)

Door = Callable[[Any, Work], Any]

REPEATED = ("passing", "refused", "poor")


@dataclass
class Expected:
    """What a script must lead to, said in the plainest way."""

    calls: int = 0
    final: int = 0
    """The call whose outcome comes out."""
    ending: str | None = None
    events: list[str] = field(default_factory=list)


def expected(lines: tuple[str, ...], attempts: int) -> Expected:
    own = None
    for number, line in enumerate(itertools.islice(itertools.chain(lines, itertools.repeat(lines[-1])), attempts)):
        own = number if line != "refused" else own
        if line not in REPEATED or number == attempts - 1:
            final = number if line != "refused" or own is None else own
            untouched = number == 0 and line not in REPEATED
            ending = None if untouched else "Recovered" if line == "ok" else "GaveUp"
            return Expected(number + 1, final, ending)
    raise AssertionError


def lines(*choices: str) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(choices), min_size=1, max_size=5).map(tuple)


@pytest.mark.law(48, 51, 68, 89)
@pytest.mark.parametrize("door", FUNCTION_DOORS)
@given(script=lines("ok", "poor", "passing", "alien", "refused", "quit"), attempts=st.integers(1, 5))
def test_what_comes_out_is_the_last_outcome_of_the_function_itself(
    door: Door, script: tuple[str, ...], attempts: int
) -> None:
    policy = retry(on=(Passing, Rejected), on_result=lambda result: result == POOR, attempts=attempts)
    judge(door, policy, script, attempts)


@pytest.mark.law(48, 51, 68, 89)
@pytest.mark.parametrize("door", LOOP_DOORS)
@given(script=lines("ok", "passing", "alien", "refused", "quit"), attempts=st.integers(1, 5))
def test_the_same_holds_for_a_block(door: Door, script: tuple[str, ...], attempts: int) -> None:
    judge(door, retry(on=(Passing, Rejected), attempts=attempts), script, attempts)


def judge(door: Door, policy: retry, script: tuple[str, ...], attempts: int) -> None:
    work, wanted = Script(*script), expected(script, attempts)
    with sandbox(), Heard() as heard:
        outcome = outcome_of(door, policy, work)
    assert work.calls == wanted.calls
    assert outcome is work.made[wanted.final]
    assert len(heard.of(events.Retrying)) == wanted.calls - 1
    assert [type(event).__name__ for event in heard.endings] == ([wanted.ending] if wanted.ending else [])
    assert all(
        getattr(event, "attempts", None) or event.attempt in range(1, wanted.calls + 1)
        for event in heard.of(events.Retrying, events.Recovered, events.GaveUp)
    )
    assert [event.attempts for event in heard.endings] == [wanted.calls] * len(heard.endings)
    if isinstance(outcome, BaseException):
        told = wanted.ending == "GaveUp" and isinstance(outcome, Exception)
        assert len(notes_of_ours(outcome)) == told, "one note where it gave up, and none on what asks to stop"


@pytest.mark.law(68)
@pytest.mark.parametrize("door", [*SYNC_DOORS, LOOP_DOORS[0]])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit, Quit])
@pytest.mark.parametrize("before", [0, 1, 2])
def test_who_asks_the_program_to_stop_is_obeyed(door: Door, stop: type[BaseException], before: int) -> None:
    calls = itertools.count(1)

    def work() -> None:
        if next(calls) > before:
            raise stop
        raise Passing

    with sandbox(), Heard() as heard:
        outcome = outcome_of(door, retry(on=Exception, attempts=5), work)
    assert type(outcome) is stop
    assert next(calls) == before + 2
    assert len(heard.endings) == min(before, 1)


@pytest.mark.law(68)
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("answer", ["wait", "retry_after", "on", "stop"])
@pytest.mark.parametrize("door", [*SYNC_DOORS, LOOP_DOORS[0]])
def test_also_when_an_option_asks(door: Door, stop: type[BaseException], answer: str) -> None:
    def asks(_: object) -> Any:
        raise stop

    work = Script("passing")
    options: dict[str, Any] = {"on": Passing, answer: asks}
    with sandbox(), Heard() as heard:
        outcome = outcome_of(door, retry(**options), work)
    assert type(outcome) is stop
    assert work.calls == 1
    assert [type(event) for event in heard.endings] == [events.GaveUp]


@pytest.mark.law(31)
@pytest.mark.parametrize("door", FUNCTION_DOORS)
def test_who_waits_for_the_next_attempt_holds_no_place(door: Door) -> None:
    bulkhead = Bulkhead(1)
    in_use: list[int] = []

    def look(_: object) -> float:
        in_use.append(bulkhead.stats.in_use)
        return 1.0

    with sandbox():
        outcome_of(door, Pipeline(retry(on=Passing, wait=look), bulkhead), Script("passing"))
    assert in_use == [0, 0, 0]


@pytest.mark.law(31, 49)
def test_the_orders_that_multiply_or_hoard_are_told_when_built() -> None:
    with pytest.warns(ResilienceWarning, match="keeps its place"):
        Pipeline(Bulkhead(1), retry(on=Passing))
    with pytest.warns(ResilienceWarning, match="two retries"):
        both = Pipeline(retry(on=Passing, attempts=3), retry(on=Passing, attempts=4))
    assert "at most 12" in both.explain()


@pytest.mark.law(41)
@pytest.mark.anyio
@pytest.mark.parametrize("way", ["decorator", "loop"])
@pytest.mark.parametrize("at", range(1, 7))
async def test_a_cancellation_at_any_await_ends_it_there(way: str, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three attempts have five awaits: three of their own and two waits. The sixth never comes."""
    policy = retry(on=Passing, wait=1.0)
    bulkhead = Bulkhead(1)
    awaits = 0
    calls = 0
    moment: list[float] = []

    async def pause(seconds: float) -> None:
        nonlocal awaits
        awaits += 1
        if awaits == at:
            scope.cancel()
            moment.append(time.elapsed)
        await sleep(seconds)

    async def work() -> None:
        nonlocal calls
        calls += 1
        await pause(0.0)
        raise Passing

    async def run() -> None:
        if way == "decorator":
            await Pipeline(policy, bulkhead).acall(work)
        else:
            async for attempt in policy:
                with attempt:
                    await bulkhead.acall(work)

    with sandbox() as time, Heard() as heard:
        from resilience._clock import clock  # noqa: PLC0415 - the virtual one is in it now

        sleep = clock.asleep
        monkeypatch.setattr(clock, "asleep", pause)
        failed = None
        with anyio.CancelScope() as scope:
            try:
                await run()
            except Passing as error:
                failed = error
        monkeypatch.undo()
        assert scope.cancelled_caught == (at <= 5)
        assert (failed is None) == (at <= 5)
        assert time.elapsed == (moment[0] if moment else 2.0)
    assert calls == min((at + 1) // 2, 3)
    assert len(heard.endings) == (0 if at == 1 else 1)
    assert bulkhead.stats.in_use == 0


@pytest.mark.law(41)
@pytest.mark.anyio
@pytest.mark.parametrize("way", ["decorator", "loop"])
async def test_a_cancellation_in_the_middle_of_a_wait_ends_it_at_that_moment(way: str) -> None:
    policy = retry(on=Passing, wait=30.0)
    work = Script("passing")

    async def once() -> None:
        work()

    async def run() -> None:
        if way == "decorator":
            await policy.acall(once)
        else:
            async for attempt in policy:
                with attempt:
                    await once()

    async def later() -> None:
        from resilience._clock import clock  # noqa: PLC0415 - the virtual one is in it now

        await clock.asleep(10.0)
        tasks.cancel_scope.cancel()

    with sandbox() as time, Heard() as heard:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            tasks.start_soon(later)
        assert time.elapsed == 10.0
    assert work.calls == 1
    assert len(heard.endings) == 1


@pytest.mark.law(42)
@given(attempt=st.integers(1, 10**6), roll=st.floats(0.0, 1.0, exclude_max=True))
def test_the_default_wait_is_finite_and_below_its_ceiling(attempt: int, roll: float) -> None:
    wait = full_jitter(attempt, roll, 0.1, 5.0)
    assert 0.0 <= wait <= min(5.0, 0.1 * 2.0 ** min(attempt - 1, 1000))
    assert wait == pytest.approx(roll * min(5.0, 0.1 * 2.0 ** min(attempt - 1, 1000)))


@pytest.mark.law(42)
@pytest.mark.parametrize("door", RETRY_DOORS)
def test_every_default_wait_is_one_of_them(door: Door) -> None:
    with sandbox(), Heard() as heard:
        outcome_of(door, retry(on=Passing, attempts=40), Script("passing"))
    waits = [event.wait for event in heard.of(events.Retrying)]
    assert len(waits) == 39
    assert all(0.0 <= wait <= min(MOST, 0.1 * 2.0**number) for number, wait in enumerate(waits))
    assert max(waits) > 1.0
    assert len(set(waits)) == len(waits), "no jitter"


def eighths(least: int, most: int) -> st.SearchStrategy[float]:
    """Seconds that add up exactly, whatever the clock shows."""
    return st.integers(least * 8, most * 8).map(lambda eighth: eighth / 8)


WAITS = eighths(0, 100) | st.integers(0, 100)


@pytest.mark.law(43, 91)
@pytest.mark.parametrize("door", RETRY_DOORS)
@given(
    wait=WAITS,
    asked=st.none() | WAITS,
    most=st.none() | eighths(0, 80),
    left=st.none() | eighths(1, 120),
)
def test_a_wait_is_as_long_as_asked_or_is_not_begun(
    door: Door, wait: float, asked: float | None, most: float | None, left: float | None
) -> None:
    policy = retry(on=Passing, wait=lambda _: wait, retry_after=lambda _: asked, max_wait=most, attempts=2)
    started: list[float] = []
    work = Script("passing")

    def timed() -> str:
        started.append(time.elapsed)
        return work()

    due = max(wait, asked or 0.0)
    fits = due <= (math.inf if most is None else most) and due < (math.inf if left is None else left)
    with sandbox() as time:
        if left is None:
            outcome = outcome_of(door, policy, timed)
        else:
            with deadline(left):
                outcome = outcome_of(door, policy, timed)
        ended = time.elapsed
    assert outcome is work.made[-1]
    if fits:
        assert started == [0.0, due]
    else:
        assert started == [0.0]
        assert ended == 0.0
        assert "would have to wait" in notes_of_ours(outcome)[0]


@pytest.mark.law(43, 92)
@pytest.mark.parametrize("door", RETRY_DOORS)
def test_a_wait_that_takes_longer_than_meant_begins_nothing_after_the_deadline(door: Door) -> None:
    """The machine was asleep, say: the wait fitted when it began."""
    work = Script("passing")

    def overslept(_: object) -> float:
        return 1.0

    with sandbox() as time, Heard() as heard:

        def late(event: events.Event) -> None:
            if isinstance(event, events.Retrying):
                time.advance(5.0)

        with listen(late), deadline(2.0):
            outcome = outcome_of(door, retry(on=Passing, wait=overslept), work)
    assert outcome is work.made[0]
    assert work.calls == 1
    assert "the deadline passed while waiting" in notes_of_ours(outcome)[0]
    assert len(heard.endings) == 1


@pytest.mark.law(43, 92)
@pytest.mark.parametrize("door", RETRY_DOORS)
def test_nothing_starts_when_no_time_is_left(door: Door) -> None:
    work = Script("ok")
    with sandbox(), deadline(0):
        outcome = outcome_of(door, retry(on=Exception), work)
    assert type(outcome) is OutOfTime
    assert work.calls == 0


class Server:
    """Answers with a `Retry-After`, as a refusal or a response does, and is not to be asked before."""

    def __init__(self, time: Any, wishes: list[float], *, raises: bool) -> None:
        self.time = time
        self.wishes = iter(wishes)
        self.raises = raises
        self.closed_until = 0.0
        self.early = 0

    def __call__(self) -> Any:
        if self.time.elapsed < self.closed_until:
            self.early += 1
        wish = next(self.wishes, None)
        if wish is None:
            return "ok"
        self.closed_until = self.time.elapsed + wish
        answer = RateLimited("server", wish)
        if self.raises:
            raise answer
        return answer


@pytest.mark.law(50, 91)
@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize("door", FUNCTION_DOORS)
@given(wishes=st.lists(eighths(0, 90), max_size=4))
def test_nobody_comes_back_before_the_server_allows(door: Door, wishes: list[float], raises: bool) -> None:
    policy = retry(on=Rejected, on_result=lambda result: result != "ok", attempts=None)
    with sandbox() as time:
        server = Server(time, wishes, raises=raises)
        outcome = outcome_of(door, policy, server)
    assert server.early == 0
    assert (outcome == "ok") == all(wish <= 60.0 for wish in wishes)


@pytest.mark.law(50)
@pytest.mark.parametrize("door", FUNCTION_DOORS)
@given(cooldown=st.floats(0.5, 100.0), attempts=st.integers(2, 6))
def test_a_retry_never_spins_on_an_open_breaker(door: Door, cooldown: float, attempts: int) -> None:
    work = Script("passing")
    with sandbox() as time:
        breaker = CircuitBreaker(trip=1, cooldown=cooldown, jitter=0.0)
        with Heard() as heard:
            outcome = outcome_of(door, Pipeline(retry(on=Exception, attempts=attempts, wait=0.0), breaker), work)
        refusals = [event for event in heard.of(events.Retrying) if isinstance(event.error, CircuitOpen)]
        ended = time.elapsed
    assert type(outcome) is Passing
    assert work.calls <= 1 + ended / cooldown + 1e-9
    assert all(event.wait >= cooldown * 0.99 for event in refusals)


def raising(error: Exception) -> Callable[[object], Any]:
    def function(_: object) -> Any:
        raise error

    return function


BAD_WAITS: dict[str, Any] = {
    "nan": math.nan,
    "infinite": math.inf,
    "minus-infinite": -math.inf,
    "negative": -1,
    "hardly-negative": -1e-9,
    "beyond-any-sleep": 1e300,
    "beyond-any-float": 10**400,
    "beyond-any-text": 10**5000,
    "beyond-a-life": 2.0**32,
    "text": "1",
    "endless-text": "1" * 10_000,
    "list": [1.0],
    "complex": 1j,
    "timedelta": timedelta(seconds=1),
    "object": object(),
    "nothing": None,
}


@pytest.mark.law(45)
@pytest.mark.parametrize("door", FUNCTION_DOORS)
@pytest.mark.parametrize("line", ["passing", "poor"])
@pytest.mark.parametrize(
    ("option", "answer"),
    [
        pytest.param(option, answer, id=f"{option}-{name}")
        for option in ("wait", "retry_after")
        for name, answer in BAD_WAITS.items()
        if (option, name) != ("retry_after", "nothing")  # which says that the server asked for nothing
    ],
)
def test_what_is_no_wait_ends_the_retrying(door: Door, line: str, option: str, answer: Any) -> None:
    options: dict[str, Any] = {option: lambda _: answer}
    policy = retry(on=Passing, on_result=lambda result: result == POOR, max_wait=None, **options)
    work = Script(line)
    with sandbox() as time, Heard() as heard:
        outcome = outcome_of(door, policy, work)
        assert time.elapsed == 0.0
    assert work.calls == 1
    assert outcome is work.made[0]
    (ending,) = heard.endings
    assert "no wait" in ending.reason
    assert len(ending.reason) < 300


@pytest.mark.law(46)
@pytest.mark.parametrize("door", FUNCTION_DOORS)
@pytest.mark.parametrize("option", ["on", "on_result", "wait", "retry_after", "stop"])
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("kind", [ZeroDivisionError, StopIteration, Alien, Passing])
def test_an_option_that_raises_ends_the_call_with_that(
    door: Door, option: str, number: int, kind: type[Exception]
) -> None:
    asked = itertools.count(1)
    problem = kind("the option")

    def asks(_: object) -> Any:
        if next(asked) == number:
            raise problem
        return 0.0 if option in {"wait", "retry_after"} else option != "stop"

    options: dict[str, Any] = {"on": Passing, option: asks}
    work = Script("poor" if option == "on_result" else "passing")
    with sandbox():
        outcome = outcome_of(door, retry(**options), work)
    if kind is StopIteration and type(outcome) is RuntimeError:  # PEP 479, in an async function
        outcome = outcome.__cause__
    assert outcome is problem
    assert work.calls == number
    assert option == "on_result" or outcome.__context__ is work.made[-1]


@pytest.mark.law(46)
@pytest.mark.parametrize("door", FUNCTION_DOORS)
@given(script=lines("ok", "poor", "passing", "alien"))
def test_a_predicate_is_asked_once_about_each_outcome(door: Door, script: tuple[str, ...]) -> None:
    asked: list[object] = []

    def about(outcome: object) -> bool:
        asked.append(outcome)
        return outcome == POOR or isinstance(outcome, Passing)

    work = Script(*script)
    with sandbox():
        outcome_of(door, retry(on=about, on_result=about), work)
    assert asked == work.made


def after_three(state: Any) -> bool:
    return bool(state.attempt_number >= 3)


@pytest.mark.law(44)
@pytest.mark.parametrize(
    ("options", "line", "calls", "seconds"),
    [
        ({}, "passing", 3, None),
        ({"on": Alien}, "passing", 1, 0.0),
        ({"on": Exception}, "alien", 3, None),
        ({"attempts": 5}, "passing", 5, None),
        ({"attempts": None, "max_elapsed": 10.0, "wait": 3.0}, "passing", 4, 9.0),
        ({"wait": 2.0}, "passing", 3, 4.0),
        ({"wait": timedelta(seconds=2)}, "passing", 3, 4.0),
        ({"wait": lambda state: float(state.attempt_number)}, "passing", 3, 3.0),
        ({"wait": 2.0, "max_wait": 1.0}, "passing", 1, 0.0),
        ({"wait": 2.0, "max_wait": timedelta(seconds=1)}, "passing", 1, 0.0),
        ({"wait": 90.0}, "passing", 1, 0.0),
        ({"wait": 90.0, "max_wait": None}, "passing", 3, 180.0),
        ({"wait": 4.0, "max_elapsed": 5.0}, "passing", 2, 4.0),
        ({"stop": lambda state: state.attempt_number == 2}, "passing", 2, None),
        ({"wait": 1.0, "stop": lambda state: state.seconds_since_start >= 6.0}, "passing", 7, 6.0),
        ({"on_result": lambda result: result == POOR}, "poor", 3, None),
        ({}, "poor", 1, 0.0),
        ({"wait": 0.0, "retry_after": lambda _: 7.0}, "passing", 3, 14.0),
        ({"budget": RetryBudget(0.0, minimum_per_second=0)}, "passing", 1, 0.0),
        ({"budget": None, "attempts": 300, "wait": 0.0}, "passing", 300, 0.0),
        ({"budget": "own", "attempts": 300, "wait": 0.0}, "passing", 101, 0.0),
    ],
)
@pytest.mark.parametrize("door", FUNCTION_DOORS)
def test_every_option_changes_what_happens(
    door: Door, options: dict[str, Any], line: str, calls: int, seconds: float | None
) -> None:
    work = Script(line)
    with sandbox() as time:
        outcome_of(door, retry(**{"on": Passing} | options), work)
        assert seconds is None or time.elapsed == pytest.approx(seconds)
    assert work.calls == calls


@pytest.mark.law(44, 90)
@pytest.mark.parametrize(("again", "calls"), [(False, 3), (True, 9)])
def test_again_insists(again: bool, calls: int) -> None:
    work = Script("passing")
    inner = retry(on=Passing)(work)
    with sandbox():
        outcome_of(call, retry(on=Passing, again=again), inner)
    assert work.calls == calls


@pytest.mark.law(51)
@pytest.mark.parametrize(("door", "attempts"), [(call, 100_000), (loop, 10_000), (LOOP_DOORS[1].values[0], 10_000)])
def test_a_retry_without_end_stays_small(door: Door, attempts: int) -> None:
    calls, measured = itertools.count(1), list[int]()

    def work() -> None:
        number = next(calls)
        if number in {1_000, attempts}:
            gc.collect()
            measured.append(sys.getallocatedblocks())
        if number < attempts:
            raise Passing(number)

    policy = retry(on=Passing, attempts=None, wait=0.0, budget=None)
    with sandbox():
        outcome_of(door, policy, work)
    before, after = measured
    assert after - before < 500, "blocks of memory"


@pytest.mark.law(79)
def test_calls_at_the_same_time_share_nothing_but_the_budget() -> None:
    together = threading.Barrier(8, timeout=20)

    @retry(on=Passing, attempts=9, wait=0.0)
    def guarded(script: Iterator[str]) -> str:
        together.wait()
        line = next(script)
        if line == "passing":
            raise Passing
        return line

    def one(number: int) -> str:
        """Fails `number` times; every attempt of all eight is under way at once."""
        made = itertools.chain(["passing"] * number, [f"ok {number}"])
        result = guarded(made)
        for _ in range(7 - number):
            together.wait()
        return result

    with sandbox(), Heard() as heard, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(8))) == [f"ok {number}" for number in range(8)]
    assert sorted(event.attempts for event in heard.of(events.Recovered)) == [2, 3, 4, 5, 6, 7, 8]


leaf_errors = st.sampled_from([Passing, Alien]).map(lambda kind: kind())
groups = st.recursive(
    leaf_errors, lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda errors: ExceptionGroup("g", errors))
)


def leaves_of(error: Exception) -> list[Exception]:
    if isinstance(error, ExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves_of(inner)]
    return [error]


@pytest.mark.law(74)
@pytest.mark.parametrize("door", [*SYNC_DOORS, *LOOP_DOORS])
@given(error=groups)
def test_a_group_is_meant_when_all_its_leaves_are(door: Door, error: Exception) -> None:
    calls = itertools.count(1)

    def work() -> None:
        next(calls)
        raise error

    with sandbox():
        outcome_of(door, retry(on=Passing), work)
    assert next(calls) - 1 == (3 if all(isinstance(leaf, Passing) for leaf in leaves_of(error)) else 1)


@pytest.mark.law(74)
@pytest.mark.parametrize("door", [*SYNC_DOORS, *LOOP_DOORS])
@given(error=groups)
def test_a_predicate_is_asked_about_the_group_itself(door: Door, error: Exception) -> None:
    asked: list[Exception] = []

    def on(raised: Exception) -> bool:
        asked.append(raised)
        return False

    def work() -> None:
        raise error

    with sandbox():
        outcome_of(door, retry(on=on), work)
    assert len(asked) == 1
    assert asked[0] is error


def in_a_thread(work: Work) -> Work:
    def run() -> Any:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(work).result()

    return run


def in_a_group(work: Work) -> Work:
    def run() -> Any:
        try:
            return work()
        except Passing as error:
            raise ExceptionGroup("a group", [error]) from None

    return run


def split_by_hand(work: Work) -> Work:
    def run() -> Any:
        try:
            return work()
        except* Alien:
            raise AssertionError from None

    return run


def unchanged(work: Work) -> Work:
    return work


BETWEEN = [unchanged, in_a_thread, in_a_group, split_by_hand]


@pytest.mark.law(90)
@pytest.mark.parametrize("door", RETRY_DOORS)
@given(layers=st.lists(st.tuples(st.integers(1, 4), st.sampled_from(BETWEEN)), min_size=1, max_size=4))
def test_retries_do_not_multiply(door: Door, layers: list[tuple[int, Callable[[Work], Work]]]) -> None:
    """Only the innermost repeats, whatever lies between the layers."""
    work = Script("passing")
    run: Work = work
    for attempts, between in layers[:-1]:
        run = between(retry(on=Passing, attempts=attempts, wait=0.0)(run))
    outermost, _ = layers[-1]
    with sandbox():
        outcome_of(door, retry(on=Passing, attempts=outermost, wait=0.0), run)
    assert work.calls == layers[0][0]


@pytest.mark.law(90)
@pytest.mark.anyio
async def test_nor_do_they_in_a_child_task() -> None:
    work = Script("passing")

    @retry(on=Passing)
    async def inner() -> None:
        work()

    @retry(on=Passing)
    async def outer() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(inner)

    with sandbox(), pytest.raises(ExceptionGroup):
        await outer()
    assert work.calls == 3


@pytest.mark.law(90)
def test_nor_where_a_retry_gave_up_on_a_group() -> None:
    calls = itertools.count(1)

    def work() -> None:
        next(calls)
        raise ExceptionGroup("a group", [Passing(), Passing()])

    with sandbox():
        outcome_of(call, retry(on=Passing), retry(on=Passing)(work))
    assert next(calls) - 1 == 3


@pytest.mark.law(90)
@pytest.mark.parametrize("door", RETRY_DOORS)
@given(words=st.integers(1, 3))
def test_nor_where_a_failure_is_put_in_other_words(door: Door, words: int) -> None:
    """`raise Unavailable from error` is the same failure."""
    work = Script("passing")

    def reworded() -> None:
        try:
            retry(on=Passing, wait=0.0)(work)()
        except Passing as error:
            cause: Exception = error
            for word in range(words):
                wrapped = LookupError(word)
                wrapped.__cause__ = cause
                cause = wrapped
            raise cause from cause.__cause__

    with sandbox():
        outcome_of(door, retry(on=LookupError, wait=0.0), reworded)
    assert work.calls == 3


@pytest.mark.law(90, 95)
@pytest.mark.parametrize("door", RETRY_DOORS)
@given(rounds=st.integers(1, 4))
def test_an_exception_raised_again_later_is_repeated_and_does_not_grow(door: Door, rounds: int) -> None:
    singleton = Passing("made once")
    singleton.add_note("the user's own")
    calls = itertools.count(1)

    def work() -> None:
        next(calls)
        raise singleton

    with sandbox():
        for _ in range(rounds):
            assert outcome_of(door, retry(on=Passing), work) is singleton
            assert len(notes_of_ours(singleton)) == 1
            assert singleton.__notes__[0] == "the user's own"
            assert len(singleton.__notes__) == 2
    assert next(calls) - 1 == 3 * rounds


@pytest.mark.law(95)
def test_each_layer_replaces_the_note_of_the_one_inside() -> None:
    work = Script("passing")
    with sandbox():
        layered = retry(on=Passing, again=True, name="outer")(retry(on=Passing, name="inner")(work))
        outcome = outcome_of(call, retry(on=Passing, again=True, name="outermost"), layered)
    (note,) = notes_of_ours(outcome)
    assert "outermost gave up after 3 attempts" in note


@pytest.mark.law(89)
@pytest.mark.parametrize("door", FUNCTION_DOORS)
def test_the_refusal_that_ended_it_is_told_in_the_note(door: Door) -> None:
    work = Script("passing", "refused", "refused")
    with sandbox():
        outcome = outcome_of(door, retry(on=(Passing, Rejected)), work)
    assert outcome is work.made[0]
    assert "; the last try was refused: some bulkhead" in notes_of_ours(outcome)[0]


@pytest.mark.law(89)
@pytest.mark.parametrize("door", FUNCTION_DOORS)
def test_a_refusal_that_on_does_not_name_is_the_reason_and_the_error_that_comes_out_is_not(door: Door) -> None:
    work = Script("passing", "refused")
    with sandbox():
        outcome = outcome_of(door, retry(on=Passing), work)
    assert outcome is work.made[0]
    (note,) = notes_of_ours(outcome)
    assert "since the first failure: the last try was refused: some bulkhead" in note


@pytest.mark.law(89)
@pytest.mark.parametrize("door", FUNCTION_DOORS)
def test_a_breaker_that_opens_meanwhile_does_not_hide_what_opened_it(door: Door) -> None:
    work = Script("passing")
    with sandbox():
        policy = Pipeline(retry(on=Exception, wait=0.0, max_wait=1.0), CircuitBreaker(trip=2))
        outcome = outcome_of(door, policy, work)
        assert outcome is work.made[1]
        assert isinstance(outcome_of(door, policy, work), CircuitOpen), "never started in this call"
    assert work.calls == 2


def test_the_default_wait_draws_from_the_librarys_own_chance() -> None:
    with sandbox(seed=1), Heard() as first:
        outcome_of(call, retry(on=Passing), Script("passing"))
    with sandbox(seed=1), Heard() as second:
        outcome_of(call, retry(on=Passing, wait=wait_full_jitter()), Script("passing"))
    assert [event.wait for event in first.of(events.Retrying)] == [event.wait for event in second.of(events.Retrying)]
