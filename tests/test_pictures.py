"""The pictures show what is so: each experiment is run, and what its picture says of it is asserted."""

import re
from math import inf
from pathlib import Path

import pytest

from docs.pictures import (
    adaptive_limit,
    breaker_fleet,
    breaker_outage,
    breaker_states,
    bulkhead_slow_dependency,
    deadline_caller_gone,
    full_jitter,
    gallery,
    metastable,
    retries_multiply,
    retry_budget,
    retry_storm,
)
from resilience._core.states import TRANSITIONS, VERBS, State

DOCS = Path(__file__).parents[1] / "docs"
pytestmark = pytest.mark.filterwarnings("ignore::resilience.ResilienceWarning")


def test_a_breaker_spares_a_service_that_is_down_and_closes_soon_after() -> None:
    shown = breaker_outage.experiment()
    begin, end = breaker_outage.OUTAGE
    assert len(shown.plain.moments(breaker_outage.FAILED)) == (end - begin) * breaker_outage.PER_SECOND
    assert len(shown.guarded.moments(breaker_outage.FAILED)) < 10
    names = [name for _, _, name in shown.guarded.states]
    assert names == ["closed", *["open", "half_open"] * (names.count("open")), "closed"]
    assert shown.guarded.states[-1][0] < end + 1.1 * breaker_outage.COOLDOWN


def test_every_step_of_the_table_is_drawn_and_no_other() -> None:
    shown = breaker_states.experiment()
    own = {(edge.before, edge.cause): edge.after for edge in shown.own}
    forced = {(state, verb): after for state in State for verb, after in shown.forced.items()}
    assert own | forced == TRANSITIONS
    assert shown.forced == VERBS
    assert set(breaker_states.PLACES) == set(State)
    assert {words.replace("\n", " ") for words in breaker_states.WORDS.values()} == {edge.cause for edge in shown.own}


def test_an_adaptive_bulkhead_follows_what_its_service_can_do() -> None:
    limits = adaptive_limit.experiment().limits
    for since, until in ((30, 60), (85, 120), (145, 180)):
        some = limits[2 * since : 2 * until]
        assert sum(some) / len(some) == pytest.approx(adaptive_limit.capacity(since), rel=1 / 3)


def test_a_bulkhead_keeps_workers_for_the_others() -> None:
    shown = bulkhead_slow_dependency.experiment()
    whole = bulkhead_slow_dependency.PER_SECOND / 2
    last = range(10, bulkhead_slow_dependency.SECONDS - 1)
    assert {shown.guarded.answered[second] for second in last} == {whole}
    assert {shown.plain.answered[second] for second in last} == {0}
    assert max(shown.guarded.stuck.values()) == bulkhead_slow_dependency.SHARE
    assert max(shown.plain.stuck.values()) == bulkhead_slow_dependency.WORKERS


def test_with_a_deadline_nothing_is_done_for_a_caller_who_has_gone() -> None:
    shown = deadline_caller_gone.experiment()
    assert max(call.end for call in shown.together) == deadline_caller_gone.PATIENCE
    assert max(call.end for call in shown.each) > 2 * deadline_caller_gone.PATIENCE


def test_full_jitter_spreads_what_other_waits_keep_together() -> None:
    fixed, exponential, jitter = full_jitter.experiment().values()
    assert fixed.peak() == exponential.peak() == full_jitter.CLIENTS
    assert jitter.peak() < full_jitter.CLIENTS / 5
    assert len(fixed.moments) == len(jitter.moments) == full_jitter.CLIENTS * (full_jitter.ATTEMPTS - 1)


def test_retries_do_not_multiply() -> None:
    shown = retries_multiply.experiment()
    assert shown.each == (3, 9, 27, 81)
    assert shown.marked == (3, 3, 3, 3)


def test_a_budget_lets_a_service_recover_that_a_storm_keeps_down() -> None:
    shown = retry_budget.experiment()
    last = range(retry_budget.SECONDS - 10, retry_budget.SECONDS - 2)
    assert {shown.unbounded.answered[second] for second in last} == {0}
    assert {shown.budgeted.answered[second] for second in last} == {retry_budget.CALLS}
    assert min(shown.unbounded.requests[second] for second in last) > 2.5 * retry_budget.CALLS
    assert {shown.budgeted.requests[second] for second in last} == {retry_budget.CALLS}


def test_a_budget_in_every_process_ends_a_storm() -> None:
    shown = retry_storm.experiment()
    assert shown.unbounded.recovery(retry_storm.STALL[1]) is None
    assert (shown.budgeted.recovery(retry_storm.STALL[1]) or inf) < 12
    assert shown.unbounded.ticks[-2].requests > 2.5 * retry_storm.CALLS
    assert sum(tick.answered for tick in shown.unbounded.ticks[-10:]) == 0


def test_a_cold_cache_stays_cold_until_somebody_bounds_what_waits() -> None:
    shown = metastable.experiment()
    assert shown.left.recovery(metastable.CLEARED) is None
    assert shown.left.ticks[-1].goodput < 0.1 * metastable.CALLS
    assert shown.shed.recovery(metastable.SHED[1]) == 0.0
    assert (shown.bounded.recovery(metastable.CLEARED) or inf) < 30


def test_jitter_takes_a_fleet_out_of_step() -> None:
    shown = breaker_fleet.experiment()
    assert max(breaker_fleet.probes(shown.in_step)) > 5 * max(breaker_fleet.probes(shown.jittered))


def test_every_picture_is_on_a_page_in_both_styles_and_every_picture_of_a_page_is_drawn() -> None:
    shown = {name for page in DOCS.rglob("*.md") for name in re.findall(r"_pictures/([\w-]+)\.svg", page.read_text())}
    assert shown == {f"{name}-{style}" for name in gallery.PICTURES for style in ("light", "dark")}


def test_the_same_bytes_in_every_run(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for run in ("first", "second"):
        gallery.main(str(tmp_path / run), "breaker-states", "retries-multiply")
    first, second = (sorted((tmp_path / run).iterdir()) for run in ("first", "second"))
    assert [one.name for one in first] == [
        f"{name}-{style}.svg" for name in ("breaker-states", "retries-multiply") for style in ("dark", "light")
    ]
    assert [one.read_bytes() for one in first] == [one.read_bytes() for one in second]
