"""The program of a saga, alone: whatever fails, and wherever the power goes, nothing is left half done."""

from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience._core.saga.effects import Request
from resilience._core.saga.entries import End, Parked, Result, Turn, Undone
from resilience._core.saga.plan import Kind, Node, Plan
from resilience._core.saga.progress import Progress
from tests.saga.worlds import Fate, World, fates, plans, run


def first(_: int) -> int:
    return 0


def in_a_row(*names: str, **options: Any) -> Plan:
    nodes = [
        Node(name, before=(names[number - 1],) if number else (), undoes=number < len(names) - 1)
        for number, name in enumerate(names)
    ]
    return Plan("PlaceOrder", tuple(nodes), **options)


ORDER = in_a_row("reserve", "charge", "confirm")


def settled(world: World, progress: Progress) -> None:
    """I1, I3, I6 and I8, by the ledger and the journal."""
    plan, records = progress.plan, world.records
    ends = [record for record in records if isinstance(record, End)]
    assert len(ends) == (progress.ended is not None), "written once (I6)"
    assert not ends or records[-1] == ends[0], "and last (I6)"
    assert len([record for record in records if isinstance(record, Turn)]) <= 1, "it turns once, for one cause (I8)"
    for name in world.done:
        node = plan.by_name[name]
        if progress.turn is not None and node.undoes:
            waits_for = {name, *plan.descendants[name]}
            assert name in world.undone | progress.skipped or waits_for & progress.parked.keys(), f"{name} leaks (I1)"
        elif progress.turn is None and progress.ended == "completed":
            assert progress.succeeded(name)
    if progress.ended == "completed":
        assert not world.undone
        assert {node.name for node in plan.nodes} == set(progress.results)
    if progress.ended is None:
        assert progress.parked or progress.paused, "it has stopped for no reason (I1)"
    in_reverse(world, plan)


def in_reverse(world: World, plan: Plan) -> None:
    """I3: nothing is taken back before what came after it, unless that was parked."""
    parked = {record.step for record in world.records if isinstance(record, Parked)}
    order = [do.step for do in world.calls if do.undo]
    for later, earlier in ((b, a) for a, b in combinations([node.name for node in plan.nodes], 2)):
        if earlier in plan.ancestors[later] and later not in parked and earlier in order and later in order:
            last_of_later = len(order) - order[::-1].index(later)
            assert last_of_later <= order.index(earlier), f"{earlier} was undone before {later} (I3)"


verbs = st.sampled_from(["cancel", "pause", "resume", "retry", "skip", "undo", "abort"])
requests = st.lists(
    st.builds(lambda verb, row: Request(verb, 0.0, row, "ann", reason="because", value=b"1"), verbs, st.integers(1, 9)),
    max_size=3,
)


@pytest.mark.scenario(2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 33)
@given(st.data())
def test_whatever_happens_everything_is_settled(data: st.DataObject) -> None:
    plan = data.draw(plans())
    world = World(fates=data.draw(fates(plan)), cuts=data.draw(st.sets(st.integers(1, 40), max_size=3)))
    progress = run(plan, world, lambda n: data.draw(st.integers(0, n - 1)), data.draw(requests))
    if not any(request == "abort" for request in [getattr(one, "verb", "") for one in world.records]):
        settled(world, progress)


SHORT = [
    in_a_row("a", "b", "c"),
    in_a_row("a"),
    in_a_row("a", "b"),
    in_a_row("a", "b", "c", "d"),
    Plan(
        "Wide",
        (Node("a", undoes=True), Node("b", undoes=True), Node("c", before=("a", "b"), needs=("a",), undoes=True)),
    ),
    Plan(
        "Pivoted",
        (
            Node("a", undoes=True),
            Node("b", Kind.PIVOT, before=("a",), attempts=2),
            Node("c", Kind.RETRIABLE, before=("b",), attempts=2),
        ),
    ),
]
TROUBLE: list[dict[str, list[Fate]]] = [
    {},
    {"do:a": ["no"]},
    {"do:b": ["lost"]},
    {"do:b": ["dropped"]},
    {"do:c": ["lost"], "undo:b": ["dropped", "lost"]},
    {"do:b": ["no"], "undo:a": ["dropped"] * 10},
    {"do:c": ["dropped"] * 10},
]


@pytest.mark.scenario(2, 3, 4, 5, 8, 9)
@pytest.mark.parametrize("plan", SHORT, ids=lambda plan: f"{plan.saga}-{len(plan.nodes)}")
@pytest.mark.parametrize("trouble", TROUBLE, ids=str)
def test_the_power_may_go_at_every_point_and_at_every_two(plan: Plan, trouble: dict[str, list[Fate]]) -> None:
    def story(*cuts: int) -> World:
        world = World(fates={key: list(ends) for key, ends in trouble.items()}, cuts=set(cuts))
        settled(world, run(plan, world, first))
        return world

    points = story().points
    for cut in range(1, points + 1):
        story(cut)
    for pair in combinations(range(1, points + 1, 2), 2):
        story(*pair)


@pytest.mark.scenario(4, 5)
def test_n_steps_take_n_plus_one_commits() -> None:
    world = World()
    run(ORDER, world, first)
    assert world.points == 2 * 3 + 2 * 3  # two around each call, two around each commit; the first commit is START
    assert [type(record).__name__ for record in world.records] == ["Start", "Result", "Result", "Result", "End"]


def calls(world: World) -> list[str]:
    return [do.key for do in world.calls]


@pytest.mark.scenario(6)
def test_a_lost_reply_is_undone_and_the_undo_knows_that_it_may_find_nothing() -> None:
    world = World(fates={"do:charge": ["lost"]})
    progress = run(ORDER, world, first)
    assert progress.ended == "undone"
    assert [(do.key, do.certain) for do in world.calls if do.undo] == [("undo:charge", False), ("undo:reserve", True)]


@pytest.mark.scenario(7)
def test_what_certainly_had_no_effect_is_not_undone() -> None:
    world = World(fates={"do:charge": ["no"]})
    assert run(ORDER, world, first).ended == "undone"
    assert calls(world) == ["do:reserve", "do:charge", "undo:reserve"]


@pytest.mark.scenario(10)
def test_an_undo_is_tried_again_after_a_rest_that_grows() -> None:
    world = World(fates={"do:confirm": ["no"], "undo:charge": ["dropped"] * 3})
    progress = run(ORDER, world, first)
    assert progress.ended == "undone"
    assert calls(world)[3:] == ["undo:charge"] * 4 + ["undo:reserve"]
    tries = [at for at, record in world.rows() if isinstance(record, Undone) and record.step == "charge"]
    rests = [later - earlier for earlier, later in pairwise(tries)]
    assert 0.1 <= rests[0] <= 0.21 <= rests[1] <= 0.41 <= rests[2] <= 0.81


@pytest.mark.scenario(11)
def test_an_undo_that_never_succeeds_is_parked_and_the_independent_ones_go_on() -> None:
    world = World(fates={"do:confirm": ["no"], "undo:charge": ["dropped"] * 11})
    progress = run(ORDER, world, first)
    assert progress.ended is None
    assert progress.parked.keys() == {"charge"}
    assert world.undone == {"reserve"}
    world.fates.clear()
    assert run(ORDER, world, first, [Request("retry", 0.0, 1, "ann")]).ended == "undone"
    assert calls(world)[-1] == "undo:charge"


@pytest.mark.scenario(11)
def test_an_undo_holds_up_what_it_has_a_reason_to_precede() -> None:
    nodes = (*ORDER.nodes[:1], Node("charge", before=("reserve",), needs=("reserve",), undoes=True), *ORDER.nodes[2:])
    plan = Plan("PlaceOrder", nodes)
    world = World(fates={"do:confirm": ["no"], "undo:charge": ["dropped"] * 11})
    assert run(plan, world, first).parked.keys() == {"charge"}
    assert not world.undone
    progress = run(plan, world, first, [Request("skip", 0.0, 1, "ann", "charge", "refunded by hand")])
    assert (progress.ended, world.undone) == ("repaired", {"reserve"})


@pytest.mark.scenario(14)
def test_a_second_cancellation_changes_nothing_and_only_an_abort_ends_an_undo() -> None:
    world = World(fates={"undo:reserve": ["dropped"] * 11})
    cancels = [Request("cancel", 0.0, row, "ann", reason="no more") for row in (1, 2)]
    plan = in_a_row("reserve", "charge")
    progress = run(plan, world, lambda n: n - 1, cancels)
    assert [record.refused for record in world.records if type(record).__name__ == "Asked"][1:] != [None]  # type: ignore[union-attr]
    assert progress.turn is not None
    assert progress.turn.reason == "cancelled"
    if progress.ended is None:
        assert run(plan, world, first, [Request("abort", 0.0, 3, "ann", reason="by hand")]).ended == "repaired"


@pytest.mark.scenario(15)
def test_after_the_point_of_no_return_a_cancellation_is_refused_out_loud() -> None:
    plan = SHORT[-1]
    world = World(fates={"do:c": ["dropped"]})
    program_points = iter([0, 0, 1, 0, 0, 0, 0])
    progress = run(plan, world, lambda n: min(next(program_points, 0), n - 1), [Request("cancel", 0.0, 1, "ann")])
    refusals = [getattr(record, "refused", None) for record in world.records if type(record).__name__ == "Asked"]
    assert progress.ended == "completed"
    assert refusals == [None] or "point of no return" in str(refusals)


@pytest.mark.scenario(4)
def test_a_step_that_must_not_run_twice_is_unknown_after_a_crash() -> None:
    plan = Plan("PlaceOrder", (Node("a", undoes=True, rerun=False), Node("b", before=("a",))))
    world = World(cuts={2})  # after the effect, before its record
    progress = run(plan, world, first)
    assert progress.ended == "undone"
    assert calls(world) == ["do:a", "undo:a"]
    assert not world.calls[1].certain


@pytest.mark.scenario(26, 27)
@pytest.mark.parametrize(
    ("after", "fits"),
    [
        (in_a_row("reserve", "charge", "ship"), True),  # a step to come is another one
        (in_a_row("reserve", "pack", "charge", "confirm"), False),  # one has come in before the cursor
        (in_a_row("charge", "reserve", "confirm"), False),
        (in_a_row("book", "charge", "confirm"), False),
        (in_a_row("book", "charge", "confirm", renamed={"reserve": "book"}), True),
        (Plan("PlaceOrder", tuple(Node(node.name, before=node.before) for node in ORDER.nodes)), False),
    ],
    ids=["to come", "inserted", "reordered", "renamed", "mapped", "undo gone"],
)
def test_a_class_that_has_changed_behind_the_cursor_parks_and_says_how(after: Plan, fits: bool) -> None:
    world = World(cuts={9})  # charge is recorded, and confirm has not begun
    with pytest.raises(AssertionError):  # the story stops at the cut
        run(ORDER, world, first, most=1)
    progress = run(after, world, first)
    assert (progress.ended == "completed") is fits
    if not fits:
        parked = progress.parked[None]
        assert parked.reason == "definition-changed"
        assert parked.error is not None
        assert parked.error.message


def test_a_parked_saga_goes_on_when_the_old_class_is_back() -> None:
    world = World(cuts={9})
    with pytest.raises(AssertionError):
        run(ORDER, world, first, most=1)
    assert None in run(in_a_row("x", "charge", "confirm"), world, first).parked
    assert run(ORDER, world, first).ended == "completed"


@pytest.mark.scenario(32)
def test_a_pause_lasts_until_its_moment_on_the_wall_clock_and_ends_once() -> None:
    plan = Plan(
        "Later", (Node("a"), Node("cool", Kind.PAUSE, before=("a",), seconds=100.0), Node("b", before=("cool",)))
    )
    for cut in range(1, 12):
        world = World(cuts={cut})
        run(plan, world, first)
        started = next(at for at, record in world.rows() if isinstance(record, Result) and record.step == "a")
        ended = [at for at, record in world.rows() if isinstance(record, Result) and record.step == "cool"]
        assert len(ended) == 1
        assert 100.0 <= ended[0] - started <= 101.0  # the power was gone for a second
