"""The laws of fallback: what it answers for, and that nothing gets lost when the answer fails too."""

import itertools
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience import Pipeline, events, fallback, retry
from resilience.errors import Rejected
from resilience.testing import sandbox
from tests.doors import ASYNC_DOORS, FUNCTION_DOORS, SYNC_DOORS, Work
from tests.retry_doors import POOR, Alien, Heard, Passing, Quit, Script, outcome_of

Door = Callable[[Any, Work], Any]


class Failing(Exception):
    """What the answer raises."""


@pytest.mark.law(68, 89)
@pytest.mark.parametrize("door", FUNCTION_DOORS)
@given(line=st.sampled_from(["ok", "poor", "passing", "alien", "refused", "quit"]), by_value=st.booleans())
def test_it_answers_for_what_it_names_and_for_nothing_else(door: Door, line: str, by_value: bool) -> None:
    options: dict[str, Any] = {"on": (Passing, Rejected), "on_result": lambda result: result == POOR}
    policy = fallback("instead", **options) if by_value else fallback(to=lambda: "instead", **options)
    work = Script(line)
    with Heard() as heard:
        outcome = outcome_of(door, policy, work)
    answered = line in {"poor", "passing", "refused"}
    assert work.calls == 1
    assert outcome == "instead" if answered else outcome is work.made[0]
    told = [event.error for event in heard.of(events.FellBack)]
    assert told == ([work.made[0] if line != "poor" else None] if answered else [])


@pytest.mark.law(65)
@pytest.mark.parametrize("door", FUNCTION_DOORS)
@pytest.mark.parametrize("kind", [Failing, Quit])
def test_an_answer_that_fails_keeps_the_original_and_its_chain(door: Door, kind: type[BaseException]) -> None:
    cause = ValueError("the cause")

    def work() -> None:
        raise Passing("original") from cause

    def to() -> None:
        raise kind("answer")

    outcome = outcome_of(door, fallback(to=to, on=Passing), work)
    assert type(outcome) is kind
    assert type(outcome.__context__) is Passing
    assert outcome.__context__.__cause__ is cause
    assert outcome.__cause__ is None
    assert not outcome.__suppress_context__


@pytest.mark.law(65)
@pytest.mark.parametrize("door", FUNCTION_DOORS)
def test_the_answer_sees_the_original_and_may_raise_it_again(door: Door) -> None:
    work = Script("passing")
    seen: list[BaseException | None] = []

    def to() -> None:
        seen.append(sys.exception())
        raise  # noqa: PLE0704 - the policy runs it inside the handler

    outcome = outcome_of(door, fallback(to=to, on=Passing), work)
    assert outcome is work.made[0]
    assert seen == [work.made[0]]
    assert outcome.__context__ is None


@pytest.mark.law(65)
@pytest.mark.parametrize("door", FUNCTION_DOORS)
def test_around_a_retry_it_answers_for_the_last_failure_with_its_note(door: Door) -> None:
    work = Script("passing")
    seen: list[Any] = []

    def to() -> str:
        seen.append(sys.exception())
        return "instead"

    with sandbox():
        assert outcome_of(door, Pipeline(fallback(to=to, on=Passing), retry(on=Passing)), work) == "instead"
    assert work.calls == 3
    assert seen == [work.made[-1]]
    assert "gave up after 3 attempts" in seen[0].__notes__[0]


@pytest.mark.law(46)
@pytest.mark.parametrize("door", FUNCTION_DOORS)
@pytest.mark.parametrize("option", ["on", "on_result"])
@pytest.mark.parametrize("kind", [ZeroDivisionError, Passing, Quit])
def test_a_predicate_that_raises_ends_the_call_with_that(door: Door, option: str, kind: type[BaseException]) -> None:
    problem = kind("the predicate")
    asked = itertools.count()

    def predicate(_: object) -> bool:
        next(asked)
        raise problem

    options: dict[str, Any] = {"on": Passing, option: predicate}
    work = Script("passing" if option == "on" else "ok")
    outcome = outcome_of(door, fallback("instead", **options), work)
    assert outcome is problem
    assert next(asked) == 1
    assert outcome.__context__ is (work.made[0] if option == "on" else None)


@pytest.mark.law(74)
@pytest.mark.parametrize("door", FUNCTION_DOORS)
@given(kinds=st.lists(st.sampled_from([Passing, Alien]), min_size=1, max_size=3))
def test_a_group_is_answered_for_when_all_its_leaves_are_meant(door: Door, kinds: list[type[Exception]]) -> None:
    group = ExceptionGroup("a group", [ExceptionGroup("inside", [kind() for kind in kinds])])

    def work() -> None:
        raise group

    outcome = outcome_of(door, fallback("instead", on=Passing), work)
    assert outcome == "instead" if Alien not in kinds else outcome is group


def test_the_answer_is_given_the_calls_own_arguments() -> None:
    @fallback(to=lambda *args, **kwargs: (args, kwargs), on=ZeroDivisionError)
    def divide(a: int, /, b: int, *rest: int, scale: int = 1, **more: int) -> object:
        return a / b * scale

    assert divide(1, 0, 2, scale=3, extra=4) == ((1, 0, 2), {"scale": 3, "extra": 4})
    assert divide(6, b=3) == 2.0


@pytest.mark.parametrize("door", ASYNC_DOORS)
def test_an_async_call_may_be_answered_by_a_coroutine_function(door: Door) -> None:
    async def to() -> str:
        assert isinstance(sys.exception(), Passing)
        return "instead"

    assert door(fallback(to=to, on=Passing), Script("passing")) == "instead"
    assert door(fallback(to=to, on=Passing), Script("ok")) == "ok"


@pytest.mark.parametrize("door", SYNC_DOORS)
def test_a_plain_call_may_not(door: Door) -> None:
    async def to() -> str:
        return "instead"

    with pytest.raises(TypeError, match="is a coroutine function, and a plain function cannot await it"):
        door(fallback(to=to, on=Passing), Script("ok"))
