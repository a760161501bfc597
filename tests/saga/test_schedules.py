"""Whatever is drawn, the ledger of what really happened and the journal agree: real drivers, one to three processes."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.saga.schedules import Fall, Fate, Part, Play, Scenario, scenarios


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Processes die by the hundred here, and each death is worth a warning."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.scenario(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 19, 20, 21, 31, 33)
@given(scenario=scenarios())
def test_any_schedule_ends_well_on_asyncio(scenario: Scenario) -> None:
    Play(scenario).on("asyncio").settled()


@pytest.mark.scenario(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 19, 20, 21, 31, 33)
@given(scenario=scenarios())
def test_any_schedule_ends_well_on_trio(scenario: Scenario) -> None:
    Play(scenario).on("trio").settled()


@pytest.mark.scenario(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 19, 20, 21, 31, 33)
@given(scenario=scenarios(plain=True))
def test_any_schedule_ends_well_in_threads(scenario: Scenario) -> None:
    Play(scenario, plain=True).in_threads().settled()


TWO = (Part(), Part())


@pytest.mark.scenario(3, 4, 5, 8, 9, 19, 20, 21)
@given(
    second=st.sampled_from(["ok", "refused", "dropped", "lost"]),
    falls=st.lists(st.tuples(st.integers(1, 16), st.sampled_from(["killed", "cut off"])), max_size=3),
    cancel=st.none() | st.integers(1, 16),
)
def test_two_processes_and_a_saga_of_two_steps(second: Fate, falls: list[tuple[int, Fall]], cancel: int | None) -> None:
    fates = (("s1", (second,)),)
    scenario = Scenario(TWO, fates, lasts=1.0, workers=2, falls=tuple(falls), cancel=cancel)
    Play(scenario).on("asyncio").settled()


@pytest.mark.scenario(2, 21)
def test_a_world_that_loses_an_effect_is_found_out() -> None:
    play = Play(Scenario(TWO)).on("asyncio")
    play.world.kept.discard("drawn/s0")
    with pytest.raises(AssertionError, match=r"\(I1\)"):
        play.settled()


@pytest.mark.scenario(11, 21)
def test_what_an_operator_has_asked_of_a_stuck_saga_outlives_whoever_took_it_up() -> None:
    fates: tuple[tuple[str, tuple[Fate, ...]], ...] = (("s0", ("dropped",)), ("s0/undo", ("dropped", "dropped")))
    for point in range(1, 25):
        scenario = Scenario((Part(),), fates, lasts=0.1, falls=((point, "killed"),))
        Play(scenario, plain=True).in_threads().settled()
