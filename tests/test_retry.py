"""`retry`: what it is given, tenacity's vocabulary, and the loop over attempts."""

import copy
import math
import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st

from resilience import CircuitBreaker, Pipeline, RetryBudget, deadline, events, listen, retry
from resilience.errors import OutOfTime, Rejected, ResilienceWarning
from resilience.testing import sandbox
from tests.doors import Work, call
from tests.retry_doors import (
    RETRY_DOORS,
    Alien,
    Heard,
    Passing,
    Script,
    loop,
    notes_of_ours,
    outcome_of,
)

Door = Callable[[Any, Work], Any]


async def answers_late(_: object) -> float:
    return 1.0


class AnswersLate:
    async def __call__(self, _: object) -> float:
        return 1.0


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        *(("on", value, TypeError) for value in (None, "OSError", [OSError], int, BaseException, KeyboardInterrupt)),
        *(
            ("on", value, TypeError)
            for value in ((OSError, int), (OSError, 7), lambda: True, answers_late, AnswersLate())
        ),
        ("on", (), ValueError),
        *(("attempts", value, TypeError) for value in ("3", 2.0, True)),
        *(("attempts", value, ValueError) for value in (0, -1)),
        *(("wait", value, TypeError) for value in ("1", True, [1], answers_late, AnswersLate(), lambda: 1.0)),
        *(("wait", value, ValueError) for value in (-1, math.nan, math.inf, timedelta(seconds=-1))),
        *(("max_wait", value, TypeError) for value in ("1", True)),
        *(("max_wait", value, ValueError) for value in (-1, math.nan, math.inf)),
        *(("max_elapsed", value, TypeError) for value in ("1", True)),
        *(("max_elapsed", value, ValueError) for value in (0, -1, math.nan, math.inf)),
        *(("stop", value, TypeError) for value in (3, "text", lambda: True, answers_late)),
        *(("on_result", value, TypeError) for value in (None.__class__, 3, lambda: True, answers_late, AnswersLate())),
        *(("retry_after", value, TypeError) for value in (3, lambda: 1.0, answers_late)),
        *(("again", value, TypeError) for value in (1, None, "yes")),
        ("name", 7, TypeError),
        ("name", "", ValueError),
    ],
)
def test_senseless_options_are_told_by_name(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        retry(**{"on": OSError} | {name: value})


def test_on_has_no_default() -> None:
    with pytest.raises(TypeError, match="on"):
        retry()  # type: ignore[call-arg]  # the point of this test


@pytest.mark.parametrize("other", [{"attempts": 3}, {"attempts": None}, {"max_elapsed": 3}])
def test_stop_takes_the_place_of_attempts_and_max_elapsed(other: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="stop takes the place of"):
        retry(on=OSError, stop=tenacity.stop_after_attempt(2), **other)


def test_it_shows_itself_as_it_is_written() -> None:
    assert repr(retry(on=OSError)) == "retry(on=OSError)"
    assert repr(retry(on=(OSError, KeyError), attempts=5, name="mine")) == (
        "retry(on=(OSError, KeyError), attempts=5, name='mine')"
    )


class stubborn(retry):  # noqa: N801 - used like a function, as `retry` is
    """A recipe of a user's own."""

    def __init__(self, times: int) -> None:
        super().__init__(on=Passing, attempts=times, wait=0.0)


def test_a_recipe_may_be_given_a_name_of_ones_own() -> None:
    work = Script("passing")
    outcome_of(call, stubborn(5), work)
    assert work.calls == 5


def test_unbounded_attempts_without_waits_are_explained() -> None:
    assert "nan" not in Pipeline(retry(on=OSError, attempts=None, max_wait=0)).explain()
    assert "unbounded" in Pipeline(retry(on=OSError, attempts=None)).explain()


def waits_of(wait: Any, attempts: int) -> list[float]:
    """The waits between attempts, which must also be what passes on the clock."""
    with sandbox() as time, Heard() as heard:
        outcome_of(call, retry(on=Passing, wait=wait, attempts=attempts), Script("passing"))
        waits = [event.wait for event in heard.of(events.Retrying)]
        assert time.elapsed == pytest.approx(sum(waits))
    return waits


def test_tenacity_says_how_long_to_wait() -> None:
    assert waits_of(tenacity.wait_none(), 3) == [0, 0]
    assert waits_of(tenacity.wait_fixed(timedelta(seconds=2)), 3) == [2, 2]
    assert waits_of(tenacity.wait_incrementing(start=1, increment=2), 4) == [1, 3, 5]
    assert waits_of(tenacity.wait_exponential(multiplier=1, max=10), 7) == [1, 2, 4, 8, 10, 10]
    assert waits_of(tenacity.wait_chain(*map(tenacity.wait_fixed, (1, 5, 9))), 6) == [1, 5, 9, 9, 9]
    if hasattr(tenacity, "wait_exception"):  # younger than the oldest tenacity we work with
        assert waits_of(tenacity.wait_exception(lambda _: 4.0), 3) == [4, 4]


@given(least=st.integers(0, 10), spread=st.integers(0, 10))
def test_tenacitys_chance_and_its_sums(least: int, spread: int) -> None:
    for wait in (
        tenacity.wait_random(least, least + spread),
        tenacity.wait_fixed(least) + tenacity.wait_random(0, spread),
        tenacity.wait_combine(tenacity.wait_fixed(least), tenacity.wait_random(0, spread)),
    ):
        assert all(least <= one <= least + spread for one in waits_of(wait, 4))
    assert all(0 <= one <= spread for one in waits_of(tenacity.wait_random_exponential(max=spread), 9))


@pytest.mark.parametrize(
    ("stop", "calls", "seconds"),
    [
        (tenacity.stop_after_attempt(4), 4, 6.0),
        (tenacity.stop_after_delay(5), 4, 6.0),
        (tenacity.stop_after_delay(timedelta(seconds=6)), 4, 6.0),
        (tenacity.stop_before_delay(5), 3, 4.0),
        (tenacity.stop_before_delay(6), 3, 4.0),
        (tenacity.stop_any(tenacity.stop_after_attempt(2), tenacity.stop_after_delay(99)), 2, 2.0),
        (tenacity.stop_all(tenacity.stop_after_attempt(2), tenacity.stop_after_delay(7)), 5, 8.0),
        (tenacity.stop_after_attempt(9) | tenacity.stop_before_delay(3), 2, 2.0),
    ],
)
@pytest.mark.parametrize("door", RETRY_DOORS)
def test_tenacity_says_when_to_stop_on_our_clock(door: Door, stop: Any, calls: int, seconds: float) -> None:
    work = Script("passing")
    with sandbox() as time:
        outcome_of(door, retry(on=Passing, wait=2.0, stop=stop), work)
        assert time.elapsed == pytest.approx(seconds)
    assert work.calls == calls


@pytest.mark.parametrize("door", RETRY_DOORS)
def test_the_time_that_attempts_take_counts(door: Door) -> None:
    work = Script("passing")
    with sandbox() as time:

        def slow() -> str:
            time.advance(3.0)
            return work()

        outcome_of(door, retry(on=Passing, wait=1.0, attempts=None, max_elapsed=10), slow)
        assert time.elapsed == 11.0, "attempts begin after 0, 4 and 8 seconds"
    assert work.calls == 3


def test_a_strategy_sees_the_whole_state_of_the_call() -> None:
    seen: list[Any] = []

    def wait(state: tenacity.RetryCallState) -> float:
        assert state.outcome is not None
        assert state.outcome_timestamp is not None
        seen.append((state.attempt_number, state.idle_for, state.seconds_since_start, state.args, state.kwargs))
        assert isinstance(state.outcome.exception(), Passing)
        assert getattr(state.fn, "__qualname__", "").endswith("work")
        return 2.0

    def work(one: int, *, two: int) -> None:
        raise Passing

    with sandbox():
        outcome_of(lambda policy, work: policy.call(work, 1, two=2), retry(on=Passing, wait=wait), work)
    assert seen == [(number, idle, idle, (1,), {"two": 2}) for number, idle in ((1, 0.0), (2, 2.0), (3, 4.0))]


def test_a_strategy_sees_an_exception_that_counts_as_nothing() -> None:
    class Empty(Passing):
        def __len__(self) -> int:
            return 0

    seen: list[Any] = []

    def wait(state: tenacity.RetryCallState) -> float:
        assert state.outcome is not None
        seen.append((state.outcome, state.outcome.attempt_number, state.outcome.failed))
        assert state.outcome is seen[-1][0]
        return 1.0

    def work() -> None:
        raise Empty

    with sandbox():
        outcome_of(call, retry(on=Passing, wait=wait), work)
    assert [(number, failed) for _, number, failed in seen] == [(1, True), (2, True), (3, True)]


def test_a_strategy_sees_an_unwanted_result() -> None:
    def wait(state: tenacity.RetryCallState) -> float:
        assert state.outcome is not None
        return float(state.outcome.result())

    with sandbox() as time:
        assert retry(on=Passing, on_result=lambda result: result == 3, wait=wait).call(lambda: 3) == 3
        assert time.elapsed == 6.0


def test_the_note_says_how_often_how_long_and_why() -> None:
    with sandbox():
        outcome = outcome_of(call, retry(on=Passing, wait=1.5, name="fetch", max_elapsed=60), Script("passing"))
    assert notes_of_ours(outcome) == [
        "resilience: fetch gave up after 3 attempts, 3 s since the start: no more are allowed"
    ]


def test_an_unasked_retry_says_nothing() -> None:
    outcome = outcome_of(call, retry(on=Passing), Script("alien"))
    assert notes_of_ours(outcome) == []


def test_a_mended_call_is_told() -> None:
    with sandbox(), Heard() as heard:
        assert retry(on=Passing, name="fetch").call(Script("passing", "passing", "ok")) == "ok"
    assert heard.endings == [events.Recovered("fetch", 3)]


class TestLoop:
    """`for attempt in retry(...): with attempt:`."""

    def test_it_counts_the_attempts(self) -> None:
        numbers = []
        with sandbox():
            for attempt in retry(on=Passing, attempts=5):
                with attempt:
                    numbers.append(attempt.number)
                    if attempt.number < 3:
                        raise Passing
        assert numbers == [1, 2, 3]

    @pytest.mark.parametrize("leave", ["return", "break", "continue", "end"])
    def test_it_ends_with_the_first_success_however_that_leaves_the_block(self, leave: str) -> None:
        calls = 0

        def run() -> None:
            nonlocal calls
            for attempt in retry(on=Passing):
                with attempt:
                    calls += 1
                    if attempt.number == 1:
                        raise Passing
                    if leave == "return":
                        return
                    if leave == "break":
                        break
                    if leave == "continue":
                        continue

        with sandbox(), Heard() as heard:
            run()
        assert calls == 2
        assert heard.endings == [events.Recovered("retry", 2)]

    def test_loops_nest_and_do_not_multiply(self) -> None:
        inner = outer = 0
        with sandbox(), pytest.raises(Passing):  # noqa: PT012 - the loop is the point
            for attempt in retry(on=Passing, attempts=4):
                with attempt:
                    outer += 1
                    for again in retry(on=Passing, attempts=3):
                        with again:
                            inner += 1
                            raise Passing
        assert (outer, inner) == (1, 3)

    def test_one_retry_serves_many_loops_at_once(self) -> None:
        policy = retry(on=Passing, attempts=3, again=True)
        pairs = []
        with sandbox(), pytest.raises(Passing):  # noqa: PT012 - the loop is the point
            for attempt in policy:
                with attempt:
                    for again in policy:
                        with again:
                            pairs.append((attempt.number, again.number))
                            raise Passing
        assert pairs == [(one, two) for one in (1, 2, 3) for two in (1, 2, 3)]

    def test_a_block_without_with_is_told(self) -> None:
        with pytest.raises(RuntimeError, match="below it 'with attempt:'"):
            for _ in retry(on=Passing):
                pass

    def test_an_attempt_is_good_for_one_block(self) -> None:
        attempt = next(iter(retry(on=Passing)))
        with attempt:
            pass
        with pytest.raises(RuntimeError, match="good for one block"), attempt:
            pass

    def test_a_finished_loop_stays_finished(self) -> None:
        attempts = iter(retry(on=Passing))
        with next(attempts):
            pass
        assert list(attempts) == []

    def test_on_result_is_for_functions(self) -> None:
        policy = retry(on=Passing, on_result=lambda _: False)
        with pytest.raises(TypeError, match="a block returns nothing"):
            iter(policy)
        with pytest.raises(TypeError, match="a block returns nothing"):
            policy.__aiter__()

    @pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration])
    def test_a_block_that_raises_what_ends_loops_does_not_end_it_silently(self, kind: type[Exception]) -> None:
        def work() -> None:
            raise kind("from the block")

        with sandbox(), Heard():
            assert type(outcome_of(loop, retry(on=Exception), work)) is kind
        with sandbox() as time, deadline(5.0), listen(lambda _: time.advance(9.0)):
            outcome = outcome_of(loop, retry(on=Exception, wait=1.0), work)
        assert type(outcome) is RuntimeError
        assert "as if all were well" in str(outcome)
        assert isinstance(outcome.__cause__, kind)

    def test_nothing_starts_when_no_time_is_left(self) -> None:
        with sandbox(), deadline(0), pytest.raises(OutOfTime):  # noqa: PT012 - the loop is the point
            for _ in retry(on=Passing):
                pytest.fail("an attempt began")


@pytest.mark.parametrize("door", RETRY_DOORS)
@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration])
def test_a_function_may_raise_what_ends_loops(door: Door, kind: type[Exception]) -> None:
    calls = 0

    def work() -> None:
        nonlocal calls
        calls += 1
        raise kind("mine")

    with sandbox():
        outcome = outcome_of(door, retry(on=Exception), work)
    assert calls == 3
    assert type(outcome) in {kind, RuntimeError}
    assert kind in {type(outcome), type(outcome.__cause__)}


@pytest.mark.anyio
async def test_a_plain_wait_on_an_event_loop_warns_once_and_says_what_to_write(anyio_backend: str) -> None:
    with sandbox():
        policy = retry(on=Passing, name=f"blocks {anyio_backend}")
        with pytest.warns(ResilienceWarning, match="async for attempt in retry"):
            outcome_of(call, policy, Script("passing"))
        outcome_of(call, policy, Script("passing"))
        free = retry(on=Passing, name="does not wait", wait=0.0)
        outcome_of(call, free, Script("passing"))


@pytest.mark.law(73)
def test_strategies_travel_with_the_recipe() -> None:
    policy = retry(on=Passing, wait=tenacity.wait_fixed(2), stop=tenacity.stop_after_attempt(2), retry_after=_nothing)
    for twin in (pickle.loads(pickle.dumps(policy)), copy.copy(policy), copy.deepcopy(policy)):
        work = Script("passing")
        with sandbox() as time:
            outcome_of(call, twin, work)
            assert (work.calls, time.elapsed) == (2, 2.0)


def _nothing(_: object) -> None:
    return None


@pytest.mark.parametrize("door", RETRY_DOORS)
def test_a_refusal_that_nothing_came_before_comes_out(door: Door) -> None:
    work = Script("refused")
    with sandbox():
        outcome = outcome_of(door, retry(on=Rejected), work)
    assert outcome is work.made[-1]
    assert "gave up after 3 attempts" in notes_of_ours(outcome)[0]


@pytest.mark.parametrize("door", RETRY_DOORS)
def test_an_isolated_breaker_says_when_not_to_come_back(door: Door) -> None:
    """A wait that is not known is no floor: the strategy decides."""
    work = Script("ok")
    with sandbox():
        breaker = CircuitBreaker()
        breaker.isolate()

        def guarded() -> Any:
            return breaker.call(work)

        assert isinstance(outcome_of(door, retry(on=Exception, wait=0.0), guarded), Rejected)
    assert work.calls == 0


@given(numbers=st.lists(st.sampled_from([0, 1, 2, 3]), min_size=1, max_size=5))
def test_a_budget_is_shared_by_all_that_name_it(numbers: list[int]) -> None:
    with sandbox():
        budget = RetryBudget(0.0, minimum_per_second=0.5, window=10)
        for number in numbers:
            outcome_of(call, retry(on=Passing, attempts=number + 1, wait=0.0, budget=budget), Script("passing"))
        assert budget.stats.granted == min(5, sum(numbers))


def test_what_is_not_named_is_not_repeated() -> None:
    work = Script("alien")
    outcome = outcome_of(call, retry(on=(Passing, lambda error: "never" in str(error))), work)
    assert isinstance(outcome, Alien)
    assert work.calls == 1
