"""A world for sagas to happen in: steps with real consequences, a journal, and a power switch.

The driver here is the smallest there can be. It does one thing at a time and may lose its power before and after each;
what it has not written down by then is forgotten, what it has done stays done.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from hypothesis import strategies as st
from msgspec import Raw

from resilience._core.saga.effects import Arrival, Do, Done, Effect, Elapsed, Request, Sleep, Wait
from resilience._core.saga.entries import Failure, Record, Result, Resumed, Start, Turn, read, write
from resilience._core.saga.plan import Kind, Node, Plan
from resilience._core.saga.program import Decision, orchestrate
from resilience._core.saga.progress import Progress
from resilience._core.saga.progress import fold as folded

Fate = Literal["ok", "no", "lost", "dropped"]
"""How a call ends: it works; it is refused; it works and the answer is lost; it is lost on the way there."""


class PowerCut(BaseException):
    """The process is gone."""


@dataclass
class World:
    """What has really happened, whatever the journal says.

    Attributes:
        fates: How the calls of each effect end, one after another; when they are used up, all is well.
        cuts: At which points the power goes, counted from the beginning; at most one cut for each run.
        calls: Every call, in order: the effect's key.
        done: The steps whose effect took place.
        undone: The steps whose effect was taken back, or was forestalled.
        journal: What is written down.
        now: The time.
    """

    fates: dict[str, list[Fate]] = field(default_factory=dict)
    cuts: set[int] = field(default_factory=set)
    calls: list[Do] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    undone: set[str] = field(default_factory=set)
    journal: list[tuple[float, bytes]] = field(default_factory=list)
    now: float = 1_000.0
    points: int = 0

    def point(self) -> None:
        """Here the power may go."""
        self.points += 1
        if self.points in self.cuts:
            raise PowerCut

    def write(self, records: tuple[Record, ...]) -> None:
        if records:
            self.point()
            self.journal += [(self.now, write(record)) for record in records]
            self.point()

    def rows(self) -> list[tuple[float, Record]]:
        return [(at, read(body)) for at, body in self.journal]

    @property
    def records(self) -> list[Record]:
        return [record for _, record in self.rows()]

    def perform(self, do: Do) -> Done:
        """A call, with its consequences."""
        self.point()
        self._look(do)
        self.calls.append(do)
        left = self.fates.get(do.key, [])
        fate: Fate = left.pop(0) if left else "ok"
        if fate in {"ok", "lost"}:
            (self.undone if do.undo else self.done).add(do.step)
        self.point()
        if fate == "ok":
            return Done(do.key, "ok", b'"done"', None, self.now)
        outcome = "no" if fate == "no" else "unknown"
        return Done(do.key, outcome, None, Failure("builtins.ConnectionError", fate), self.now)

    def _look(self, do: Do) -> None:
        """What must hold whenever a call is made, going by what is durable at that moment."""
        turn = next((record for record in self.records if isinstance(record, Turn)), None)
        if do.undo:
            assert turn is not None, "an undo ran before the decision to go back was durable"
        else:
            assert not any(isinstance(one, Result) and one.step == do.step for one in self.records), "it ran again (I4)"
            assert turn is None or do.step in turn.begun, "a step began after the turn (I2)"


Choose = Callable[[int], int]
"""Which of so many."""


def run(plan: Plan, world: World, choose: Choose, requests: list[Request] | None = None, most: int = 2_000) -> Progress:
    """Drive a saga to its end, or until it can go no further; the power comes back after each cut."""
    left = list(requests or [])
    if not world.journal:
        world.journal.append((world.now, write(Start(plan.saga, Raw(b'"order"'), plan.shape, plan.within))))
    for _ in range(most):
        try:
            _drive(plan, world, choose, left)
        except PowerCut:
            world.now += 1.0
            if fold(plan, world).ended is None:
                world.journal.append((world.now, write(Resumed())))
        else:
            return fold(plan, world)
    raise AssertionError("it never ends")


def fold(plan: Plan, world: World) -> Progress:
    return folded(plan, world.rows())


def decisions(plan: Plan, rows: list[tuple[float, Record]], now: float) -> Decision:
    """What would be done next, going by these rows."""
    return next(orchestrate(folded(plan, rows), now, "order-42"))


def _drive(plan: Plan, world: World, choose: Choose, requests: list[Request]) -> None:
    program = orchestrate(folded(plan, world.rows()), world.now, "order-42")
    decision = next(program)
    for _ in range(1_000):
        world.write(decision.entries)
        _compare(plan, world, decision)
        if decision.ended is not None:
            return
        arrival = _arrival(decision, world, choose, requests)
        if arrival is None:
            return
        decision = program.send(arrival)
    raise AssertionError("it goes round in circles")


def _compare(plan: Plan, world: World, decision: Decision) -> None:
    """Whoever reads the journal now would do the same next (I7)."""
    rows = world.rows()
    if any(isinstance(record, Resumed) for _, record in rows):
        return
    again = decisions(plan, rows, world.now)
    assert not again.entries
    assert {effect.key.removeprefix("again:") for effect in again.effects} >= {
        effect.key.removeprefix("again:") for effect in decision.effects if effect.key not in decision.stop
    } - {f"do:{name}" for name in fold(plan, world).left_open()}


def _arrival(decision: Decision, world: World, choose: Choose, requests: list[Request]) -> Arrival | None:
    options: list[Effect | Request] = [*decision.effects, *requests[:1]]
    if not options:
        return None
    # Nobody waits for a time that lies behind another one: sleeps come last, the nearest first.
    awake = [option for option in options if not isinstance(option, Sleep)]
    option = awake[choose(len(awake))] if awake else min(decision.effects, key=lambda sleep: getattr(sleep, "due", 0.0))
    match option:
        case Request():
            requests.pop(0)
            return option._replace(now=world.now)
        case Sleep(key, due):
            world.now = max(world.now, due)
            return Elapsed(key, world.now)
        case Wait(key):
            return Done(key, "ok", b'"yes"', None, world.now)
        case Do(key) if key in decision.stop and choose(2):
            return Done(key, "unknown", None, Failure("asyncio.CancelledError", ""), world.now)
        case Do():
            world.now += 0.01
            return world.perform(option)


@st.composite
def plans(draw: st.DrawFn, most: int = 5) -> Plan:
    """Sagas of all shapes: in a row, side by side, with a pivot and what comes after it, with waits."""
    size = draw(st.integers(1, most))
    turning = draw(st.none() | st.integers(0, size - 1))
    pivot = draw(st.booleans()) if turning is not None else False
    nodes: list[Node] = []
    for number in range(size):
        names = [node.name for node in nodes]
        forward = turning is not None and number >= turning
        if forward and pivot and number == turning:
            kind = Kind.PIVOT
        elif forward:
            kind = Kind.RETRIABLE
        else:
            kind = draw(st.sampled_from([Kind.COMPENSATABLE] * 4 + [Kind.MESSAGE, Kind.PAUSE]))
        row = not forward and draw(st.booleans())
        chosen = st.sets(st.sampled_from(names)) if names and row else st.just(names if forward else names[-1:])
        before = tuple(draw(chosen))
        needs = tuple(name for name in before if draw(st.booleans()))
        wait = kind in {Kind.MESSAGE, Kind.PAUSE}
        nodes.append(
            Node(
                chr(ord("a") + number),
                kind,
                before,
                needs,
                undoes=kind is Kind.COMPENSATABLE and draw(st.integers(0, 3)) > 0,
                rerun=kind is Kind.RETRIABLE or draw(st.integers(0, 3)) > 0,
                interrupt=draw(st.booleans()),
                attempts=draw(st.integers(1, 3)),
                undo_attempts=draw(st.integers(1, 3)),
                seconds=draw(st.sampled_from([5.0, 100.0])) if wait else None,
            )
        )
    return Plan("PlaceOrder", tuple(nodes), within=draw(st.none() | st.sampled_from([1.0, 50.0])))


def fates(plan: Plan) -> st.SearchStrategy[dict[str, list[Fate]]]:
    """How each call ends."""
    ends = st.lists(st.sampled_from(["ok", "ok", "no", "lost", "dropped"]), max_size=4)
    keys = [f"{what}:{node.name}" for node in plan.nodes for what in ("do", "undo")]
    return st.fixed_dictionaries({}, optional=dict.fromkeys(keys, ends))  # type: ignore[return-value]  # the literals
