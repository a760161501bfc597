"""The laws of errors: they survive any journey, and exceptions that misbehave are never replaced by our own trouble."""

import copy
import itertools
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience import Pipeline, _rounds, errors, fallback, retry
from resilience._raising import annotate, follow
from resilience.testing import sandbox
from tests.doors import Work, call
from tests.retry_doors import RETRY_DOORS, Passing, notes_of_ours, outcome_of

Door = Callable[[Any, Work], Any]

REFUSALS = [
    errors.Rejected,
    errors.CircuitOpen,
    errors.BulkheadFull,
    errors.RateLimited,
    errors.Throttled,
    errors.OutOfTime,
]

WAYS: dict[str, Callable[[Any], Any]] = {
    **{
        f"pickle-{protocol}": lambda one, protocol=protocol: pickle.loads(pickle.dumps(one, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}

made = st.one_of(
    st.builds(
        lambda kind, *args: kind(*args),
        st.sampled_from(REFUSALS),
        st.text(min_size=1),
        st.none() | st.floats(0, 1e6),
        st.text(),
    ),
    st.builds(errors.TimedOut, st.text(min_size=1), st.floats(0.001, 1e6)),
    st.builds(errors.ResilienceError, st.text()),
    st.builds(errors.ResilienceWarning, st.text()),
)


def state_of(error: BaseException) -> dict[str, Any]:
    return {key: value for key, value in vars(error).items() if not key.startswith("__res")}


@pytest.mark.law(73, 82)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@given(error=made, note=st.none() | st.text())
def test_an_error_survives_any_number_of_journeys(way: Any, error: BaseException, note: str | None) -> None:
    if note is not None:
        error.add_note(note)
    once = way(error)
    twice = way(once)
    for traveller in (once, twice):
        assert type(traveller) is type(error)
        assert str(traveller) == str(error)
        assert repr(traveller) == repr(error)
        assert traveller.args == error.args
        assert state_of(traveller) == state_of(error)


@pytest.mark.law(82)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_work_that_was_left_behind_stays_here(way: Any) -> None:
    from concurrent.futures import Future  # noqa: PLC0415

    error = errors.TimedOut("slow", 1.0, Future())
    twin = way(error)
    assert twin.work is None
    assert (twin.policy, twin.seconds) == ("slow", 1.0)


@pytest.mark.law(73)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(
    "policy",
    [
        retry(on=Passing),
        retry(on=(OSError, Passing), attempts=None, wait=1.5, max_wait=None, max_elapsed=9, budget=None, name="mine"),
        Pipeline(retry(on=Passing), name="chain"),
        Pipeline(fallback(0, on=Passing), retry(on=Passing, wait=0)),
    ],
    ids=repr,
)
def test_recipes_survive_them_too(way: Any, policy: Any) -> None:
    twin = way(way(policy))
    assert type(twin) is type(policy)
    assert repr(twin) == repr(policy)


@pytest.mark.law(82, 90)
@pytest.mark.parametrize("way", [WAYS["pickle-2"], WAYS["pickle-5"], copy.deepcopy], ids=["old", "new", "deepcopy"])
def test_a_mark_means_nothing_elsewhere(way: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was given up on in another process, or in another life, is repeated here like anything else."""
    calls = itertools.count(1)
    with sandbox():
        given_up = outcome_of(call, retry(on=Passing), _fail)

        def arrive() -> None:
            next(calls)
            raise way(given_up)

        monkeypatch.setattr(_rounds.marks, "made", 0)  # a process that has not given up on anything yet
        outcome_of(call, retry(on=Passing), arrive)
    assert next(calls) - 1 == 3


def _fail() -> None:
    raise Passing


@dataclass(frozen=True)
class Frozen(Exception):
    code: int


class Slotted(Exception):
    __slots__ = ()


class Mute(Exception):
    def add_note(self, note: str, /) -> NoReturn:
        raise RuntimeError("no notes, please")


class TupleOfNotes(Exception):
    __notes__ = ()  # type: ignore[assignment]  # it is wrong on purpose


class HostileNotes(Exception):
    @property
    def __notes__(self) -> NoReturn:  # type: ignore[override]  # it is wrong on purpose
        raise RuntimeError("no notes, please")


class StrangeNotes(Exception):
    def __init__(self) -> None:
        super().__init__()
        self.__notes__ = [7, None, "resilience: an old one", b"x"]  # type: ignore[list-item]  # it is wrong on purpose


class Dictless(Exception):
    @property
    def __dict__(self) -> NoReturn:  # type: ignore[override]  # it is wrong on purpose
        raise RuntimeError("nothing to see here")


class NoDict(Exception):
    __dict__ = None  # type: ignore[assignment]  # it is wrong on purpose


class ReadOnly(Exception):
    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(name)


class Unhashable(Exception):
    __hash__ = None  # type: ignore[assignment]  # it is wrong on purpose

    def __eq__(self, other: object) -> NoReturn:
        raise RuntimeError("no comparing, please")


class Unprintable(Exception):
    def __str__(self) -> NoReturn:
        raise RuntimeError("no reading, please")


class False_(Exception):  # noqa: N801 - named by what is wrong with it
    def __bool__(self) -> bool:
        return False

    def __len__(self) -> int:
        return 0


MISBEHAVING: list[Callable[[], Exception]] = [
    lambda: Frozen(1),
    Slotted,
    Mute,
    TupleOfNotes,
    HostileNotes,
    StrangeNotes,
    Dictless,
    NoDict,
    ReadOnly,
    Unhashable,
    Unprintable,
    False_,
]


@pytest.mark.law(93, 95)
@pytest.mark.parametrize("door", RETRY_DOORS)
@pytest.mark.parametrize("make", MISBEHAVING, ids=lambda make: type(make()).__name__)
def test_an_exception_that_misbehaves_is_repeated_and_comes_out_itself(door: Door, make: Any) -> None:
    raised: list[BaseException] = []

    def work() -> None:
        raised.append(make())
        raise raised[-1]

    with sandbox():
        outcome = outcome_of(door, retry(on=Exception), work)
        assert outcome is raised[-1]
        assert outcome.__context__ is None
        assert len(raised) == 3
        group = outcome_of(door, retry(on=Exception), lambda: _raise(ExceptionGroup("all", [make()])))
        assert isinstance(group, ExceptionGroup)


@pytest.mark.law(93)
@pytest.mark.parametrize("make", MISBEHAVING, ids=lambda make: type(make()).__name__)
def test_also_when_it_is_the_option_that_raises_it(make: Any) -> None:
    problem = make()

    def on(_: object) -> bool:
        raise problem

    with sandbox():
        outcome = outcome_of(call, retry(on=on), _fail)
    assert outcome is problem
    assert type(outcome.__context__) is Passing


def _raise(error: BaseException) -> NoReturn:
    raise error


@pytest.mark.law(95)
@given(
    notes=st.lists(st.sampled_from(["mine", "resilience: old", "other", "resilience: older"])),
    ours=st.lists(st.text(max_size=5), min_size=1, max_size=3),
)
def test_one_note_of_ours_at_most_and_the_last(notes: list[str], ours: list[str]) -> None:
    error = Passing()
    for note in notes:
        error.add_note(note)
    for note in ours:
        annotate(error, note)
    assert notes_of_ours(error) == [f"resilience: {ours[-1]}"]
    assert [note for note in error.__notes__ if note in {"mine", "other"}] == [
        note for note in notes if note in {"mine", "other"}
    ]


@pytest.mark.law(93)
@given(
    links=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=6),
    pair=st.tuples(*[st.integers(0, 4)] * 2),
)
def test_a_chain_of_contexts_never_gets_a_loop_from_us(links: list[tuple[int, int]], pair: tuple[int, int]) -> None:
    chain = [Passing(number) for number in range(5)]
    for later, earlier in links:
        if later > earlier:  # what came before is the context
            chain[later].__context__ = chain[earlier]
    follow(chain[pair[0]], chain[pair[1]])
    for error in chain:
        passed, link = set[int](), error
        while link is not None:
            assert id(link) not in passed
            passed.add(id(link))
            link = link.__context__  # type: ignore[assignment]  # every link is one of the chain


@pytest.mark.law(95)
def test_what_an_inner_retry_gave_up_on_is_told_once_across_layers() -> None:
    with sandbox():
        inner = retry(on=Passing, name="inner")(_fail)
        outcome = outcome_of(call, retry(on=Passing, name="outer"), inner)
    (note,) = notes_of_ours(outcome)
    assert note.startswith("resilience: inner gave up after 3 attempts")
