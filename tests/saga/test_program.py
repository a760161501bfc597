"""The program of a saga, alone: whatever fails, and wherever the power goes, nothing is left half done."""

from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from resilience._core.saga.effects import Done, Elapsed, Request
from resilience._core.saga.entries import End, Failure, Parked, Result, Resumed, Start, Turn, Undone
from resilience._core.saga.plan import Kind, Node, Plan
from resilience._core.saga.program import Decision, orchestrate
from resilience._core.saga.progress import Progress, fold
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


PIVOTED = Plan(
    "Pivoted",
    (
        Node("a", undoes=True),
        Node("b", Kind.PIVOT, before=("a",), attempts=2),
        Node("c", Kind.RETRIABLE, before=("b",), attempts=2),
    ),
)
SHORT = [
    in_a_row("a", "b", "c"),
    in_a_row("a"),
    in_a_row("a", "b"),
    in_a_row("a", "b", "c", "d"),
    Plan(
        "Wide",
        (Node("a", undoes=True), Node("b", undoes=True), Node("c", before=("a", "b"), needs=("a",), undoes=True)),
    ),
    PIVOTED,
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


def ask(plan: Plan, *rows: Any, now: float = 1_000.0) -> Any:
    """A program that has begun, with its first decision."""
    start = Start(plan.saga, Raw(b"1"), plan.shape, plan.within)
    program = orchestrate(fold(plan, [(1_000.0, start), *((1_000.0, row) for row in rows)]), now, "order-42")
    return program, next(program)


def done(key: str, outcome: str = "ok", now: float = 1_000.0) -> Done:
    return Done(key, outcome, b"1", None if outcome == "ok" else Failure("builtins.OSError", key), now)


def keys(decision: Decision) -> list[str]:
    return [effect.key for effect in decision.effects]


WIDE = Plan(
    "Wide",
    (
        Node("a", undoes=True),
        Node("b", undoes=True, interrupt=False),
        Node("c", undoes=True),
        Node("d", before=("a", "b", "c")),
    ),
)


@pytest.mark.scenario(33)
def test_siblings_under_way_are_stopped_or_awaited_and_the_first_cause_stays_the_first() -> None:
    program, decision = ask(WIDE)
    assert keys(decision) == ["do:a", "do:b", "do:c"]
    decision = program.send(done("do:a", "no"))
    assert decision.stop == {"do:c"}
    assert keys(decision) == ["do:b", "do:c"]
    turn = decision.entries[-1]
    assert (turn.step, turn.begun) == ("a", ("b", "c"))
    decision = program.send(done("do:c", "unknown"))
    assert [type(entry).__name__ for entry in decision.entries] == ["Result"]
    assert keys(decision) == ["do:b", "undo:c"]  # independent of one another
    decision = program.send(done("do:b"))
    assert keys(decision) == ["undo:c", "undo:b"]
    program.send(done("undo:b"))
    assert program.send(done("undo:c")).ended == "undone"


@pytest.mark.scenario(33, 8)
def test_after_a_crash_in_the_turn_what_was_under_way_is_unknown_and_what_had_not_begun_is_left_alone() -> None:
    turn = Turn("failed", "a", None, ("b",))
    _, decision = ask(WIDE, Result("a", "no"), turn, Resumed())
    assert keys(decision) == ["undo:b"]
    assert not decision.effects[0].certain


@pytest.mark.scenario(29)
def test_what_cannot_be_read_is_parked_and_tried_again_on_request() -> None:
    program, decision = ask(ORDER)
    decision = program.send(done("do:reserve", "undecodable"))
    assert (decision.status, keys(decision)) == ("stuck", [])
    assert decision.entries[-1].reason == "undecodable"
    decision = program.send(Request("retry", 1_000.0, 1, "ann"))
    assert (decision.status, keys(decision)) == ("open", ["do:reserve"])


@pytest.mark.scenario(29)
def test_an_undo_that_cannot_be_read_parks_alone() -> None:
    program, decision = ask(ORDER, Result("reserve"), Result("charge", "unknown"), Turn("failed", "charge"))
    assert keys(decision) == ["undo:charge"]
    decision = program.send(done("undo:charge", "undecodable"))
    assert keys(decision) == ["undo:reserve"]
    decision = program.send(done("undo:reserve"))
    assert (decision.status, decision.ended) == ("stuck", None)


@pytest.mark.parametrize("name", ["b", "c"])
def test_past_the_point_a_step_is_tried_so_often_with_rests_and_then_parked(name: str) -> None:
    before = [Result("a")] if name == "b" else [Result("a"), Result("b")]
    program, decision = ask(PIVOTED, *before)
    decision = program.send(done(f"do:{name}", "unknown"))
    assert keys(decision) == [f"again:do:{name}"]
    decision = program.send(Elapsed(f"again:do:{name}", 900.0))  # and the wall clock has stepped back
    assert keys(decision) == [f"do:{name}"]
    assert decision.effects[0].attempt == 2
    decision = program.send(done(f"do:{name}", "unknown"))
    assert (decision.status, keys(decision)) == ("stuck", [])
    assert keys(program.send(Request("retry", 1_000.0, 1, "ann", name))) == [f"do:{name}"]


def test_a_pivot_that_must_not_run_twice_parks_when_it_is_unknown() -> None:
    plan = Plan("Once", (Node("a", undoes=True), Node("b", Kind.PIVOT, before=("a",), rerun=False)))
    program, decision = ask(plan, Result("a"))
    assert program.send(done("do:b", "unknown")).status == "stuck"
    decision = program.send(Request("undo", 1_000.0, 1, "ann", reason="it did not happen"))
    assert keys(decision) == ["undo:a"]


@pytest.mark.scenario(15)
def test_a_cancellation_waits_for_the_pivot_to_decide() -> None:
    program, decision = ask(PIVOTED, Result("a"))
    decision = program.send(Request("cancel", 1_000.0, 1, "ann"))
    assert (decision.stop, keys(decision)) == (frozenset(), ["do:b"])
    decision = program.send(done("do:b", "no"))
    assert decision.entries[-1].reason == "cancelled"
    assert keys(decision) == ["undo:a"]


@pytest.mark.scenario(13, 14)
def test_a_cancellation_stops_the_step_under_way_and_undoes_it_too() -> None:
    program, _ = ask(ORDER, Result("reserve"))
    decision = program.send(Request("cancel", 1_000.0, 1, "ann"))
    assert (decision.stop, keys(decision)) == ({"do:charge"}, ["do:charge"])
    refused = program.send(Request("cancel", 1_000.0, 2, "bob")).entries[0]
    assert "already" in refused.refused
    decision = program.send(done("do:charge", "unknown"))
    assert [(effect.key, effect.certain) for effect in decision.effects] == [("undo:charge", False)]


@pytest.mark.scenario(17)
def test_a_deadline_turns_the_saga_and_does_not_hold_for_its_undo() -> None:
    plan = in_a_row("reserve", "charge", "confirm", within=10.0)
    program, decision = ask(plan)
    assert keys(decision) == ["do:reserve", "deadline"]
    assert decision.effects[1].due == 1_010.0
    decision = program.send(Elapsed("deadline", 1_010.0))
    assert decision.entries[-1].reason == "deadline"
    decision = program.send(done("do:reserve"))
    assert keys(decision) == ["undo:reserve"]


def test_a_nested_saga_has_a_deadline_of_its_own_from_where_it_begins_to_where_it_ends() -> None:
    plan = Plan(
        "Outer",
        (
            Node("deliver", undoes=False, opens=5.0),
            Node("deliver.load", before=("deliver",), undoes=True),
            Node("bill", before=("deliver.load",)),
        ),
    )
    program, decision = ask(plan)
    assert keys(decision) == ["do:deliver"]
    decision = program.send(done("do:deliver", now=1_001.0))
    assert [(effect.key, getattr(effect, "due", None)) for effect in decision.effects] == [
        ("do:deliver.load", None),
        ("deadline:deliver", 1_006.0),
    ]
    assert keys(program.send(done("do:deliver.load"))) == ["do:bill"]


def test_a_pause_holds_back_what_has_not_begun_and_a_resume_lets_it_go() -> None:
    program, decision = ask(ORDER)
    decision = program.send(Request("pause", 1_000.0, 1, "ann"))
    assert keys(decision) == ["do:reserve"]  # it has begun
    decision = program.send(done("do:reserve"))
    assert (decision.status, keys(decision)) == ("open", [])
    assert keys(program.send(Request("resume", 1_000.0, 2, "ann"))) == ["do:charge"]


@pytest.mark.scenario(31)
def test_a_message_that_does_not_come_in_time_turns_the_saga() -> None:
    plan = Plan("Ask", (Node("a", undoes=True), Node("yes", Kind.MESSAGE, before=("a",), seconds=60.0)))
    program, decision = ask(plan, Result("a"))
    assert keys(decision) == ["wait:yes", "within:yes"]
    assert keys(program.send(Elapsed("within:yes", 1_060.0))) == ["undo:a"]


@pytest.mark.scenario(11)
@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (Request("skip", 0.0, 1, "ann", "charge"), "reason"),
        (Request("skip", 0.0, 1, "ann", "reserve", "because"), "'charge'"),
        (Request("abort", 0.0, 1, "ann"), "reason"),
        (Request("retry", 0.0, 1, "ann", "reserve"), "'reserve'"),
        (Request("undo", 0.0, 1, "ann"), "already"),
        (Request("pause", 0.0, 1, "ann"), "already"),
        (Request("resume", 0.0, 1, "ann"), "not paused"),
    ],
    ids=["skip without a reason", "skip another", "abort", "retry another", "undo", "pause", "resume"],
)
def test_a_request_that_makes_no_sense_is_refused_and_written_down(request_: Request, why: str) -> None:
    rows = (Result("reserve"), Result("charge"), Turn("failed", "confirm"), Parked("charge", "undo-failed"))
    program, _ = ask(ORDER, *rows, Undone("reserve"))
    (asked,) = program.send(request_).entries
    assert why in asked.refused
    assert (asked.who, asked.row) == ("ann", 1)


def test_a_skip_forward_needs_a_result_where_one_is_taken() -> None:
    plan = Plan("Once", (Node("b", Kind.PIVOT, attempts=1, wanted=True), Node("c", Kind.RETRIABLE, before=("b",))))
    program, _ = ask(plan)
    program.send(done("do:b", "unknown"))
    assert "give one" in program.send(Request("skip", 0.0, 1, "ann", None, "seen at the bank")).entries[0].refused
    decision = program.send(Request("skip", 0.0, 2, "ann", None, "seen at the bank", b'"receipt"'))
    assert keys(decision) == ["do:c"]
    assert program.send(done("do:c")).ended == "repaired"


def test_an_abort_ends_it_wherever_it_is() -> None:
    program, _ = ask(ORDER, Result("reserve"))
    decision = program.send(Request("abort", 0.0, 1, "ann", reason="settled by hand"))
    assert (decision.ended, keys(decision)) == ("repaired", [])
