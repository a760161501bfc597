"""The orchestrator of a saga: one generator that decides what happens next, and does nothing itself.

It yields a `Decision`: *write this down, then have that under way*. It is sent what arrives first: an effect that
ended, a wait that is over, a request from outside. Whoever drives it writes the records of a decision durably before
starting anything that the decision asks for; that is all there is to surviving a crash. What to do next depends on
nothing but the fold of the records (`progress`), so a process that takes a saga up goes on exactly where the journal
ends.

A saga goes forward until a step fails, or somebody cancels, or its time is over. Then it turns, once and for all, and
the undos run in reverse order. What cannot be settled either way is parked, and waits for an operator.

No clock, no chance, no I/O: the time comes in with each arrival.
"""

from collections.abc import Generator, Iterator
from typing import NamedTuple

from msgspec import Raw

from .effects import Arrival, Do, Done, Effect, Elapsed, Request, Sleep, Wait
from .entries import (
    NOTHING,
    Asked,
    End,
    Failed,
    Failure,
    Outcome,
    Parked,
    Record,
    Result,
    Start,
    Turn,
    TurnReason,
    Undone,
)
from .plan import Kind, Node, differences
from .progress import Progress
from .requests import answer
from .resting import again_in

WAITING = {Kind.MESSAGE, Kind.PAUSE}
"""Steps that have no effect of their own."""


class Decision(NamedTuple):
    """What is to be done now.

    Attributes:
        entries: Records to be written, durably and together, before anything else.
        effects: All that should be under way. A `Do` that is under way stays in here until its `Done` has been sent; a
            `Sleep` or `Wait` that is no longer in here is forgotten.
        stop: The keys of those `Do`s that are to be cancelled; their `Done` is awaited all the same. One that was not
            even started is answered with `unstarted`.
        status: What the journal says of the saga from now on: "open", "stuck", or how it ended.
        ended: How it ended; `None` while it is open. Nothing that is still under way matters any more then.
    """

    entries: tuple[Record, ...]
    effects: tuple[Effect, ...]
    stop: frozenset[str]
    status: str
    ended: str | None


def orchestrate(progress: Progress, now: float, salt: str = "") -> Generator[Decision, Arrival, None]:
    """The program of one saga.

    Args:
        progress: Where it stands: a `Start` has been applied at least. It is kept up to date.
        now: The time, on the wall clock.
        salt: Spreads the waits of different sagas: its id.

    Yields:
        What is to be done; each is answered with what arrived first. The last one says how the saga ended.
    """
    desk = Desk(progress, salt)
    desk.take_up(now)
    while True:
        desk.conclude(now)
        decision = desk.decision(now)
        arrival = yield decision
        if decision.ended is not None:
            return
        now = arrival.now
        desk.learn(arrival)


class Desk:
    """Where a saga is worked on: what is known of it, and what is about to be written.

    Attributes:
        plan: The steps.
        progress: The fold of all records, those about to be written included.
    """

    def __init__(self, progress: Progress, salt: str) -> None:
        self.progress = progress
        self.plan = progress.plan
        self._salt = salt
        self._new: list[Record] = []
        self._under_way: dict[str, Effect] = {}
        self._perhaps: tuple[str, ...] = ()  # what a run that is over may have begun
        self._rested: set[str] = set()

    def write(self, now: float, record: Record) -> None:
        """Write a record, and see things as it says from here on."""
        self._new.append(record)
        self.progress.apply(now, record)

    # Taking up

    def take_up(self, now: float) -> None:
        """Begin, or go on where another run has stopped."""
        if not self.progress.runs or self.progress.ended is not None:
            return
        if self.progress.turn is None:
            self._perhaps = tuple(name for name in self.progress.ready() if self.plan.by_name[name].kind not in WAITING)
        if not self._fits(now):
            return
        for name in self.progress.left_open():
            self.write(now, Result(name, "unknown"))
        if self.progress.turn is None:
            for name in list(self.progress.ready()):
                if not self.plan.by_name[name].rerun:
                    self._fail(self.plan.by_name[name], "unknown", None, now)

    def _fits(self, now: float) -> bool:
        """Whether the class still fits the journal; it parks if it does not."""
        wrong = self.misfits()
        if wrong and None not in self.progress.parked:
            self.write(now, Parked(None, "definition-changed", Failure("DefinitionChanged", "; ".join(wrong))))
        elif not wrong and None in self.progress.parked:
            self.write(now, Asked("matched", who="resilience", reason="the class fits the journal again"))
        return not wrong

    def misfits(self) -> list[str]:
        """How the class differs from what the journal says has run."""
        start = self.progress.start
        return [] if start is None else differences(start.shape, self.plan, self.progress.results)

    # What arrives

    def learn(self, arrival: Arrival) -> None:
        """Write down what an arrival means; one that nobody waits for any more means nothing."""
        if isinstance(arrival, Request):
            self._asked(arrival, arrival.now)
        elif self._under_way.pop(arrival.key, None) is None:
            return
        elif isinstance(arrival, Elapsed):
            self._elapsed(arrival.key, arrival.now)
        else:
            what, _, name = arrival.key.partition(":")
            (self._undone if what == "undo" else self._done)(self.plan.by_name[name], arrival)

    def _done(self, node: Node, done: Done) -> None:
        if done.outcome == "undecodable":
            self.write(done.now, Parked(node.name, "undecodable", done.error))
        elif done.outcome == "ok":
            value = NOTHING if done.value is None else Raw(done.value)
            self.write(done.now, Result(node.name, "ok", value, trace=done.trace or {}))
        else:
            certain = done.outcome == "no" or (done.outcome == "unstarted" and node.name not in self._perhaps)
            self._fail(node, "no" if certain else "unknown", done.error, done.now, done.trace)

    def _fail(
        self, node: Node, outcome: Outcome, error: Failure | None, now: float, trace: dict[str, str] | None = None
    ) -> None:
        """A step did not succeed: it turns the saga, unless it has to be found out, or to succeed in the end."""
        if node.kind is Kind.RETRIABLE or (node.kind is Kind.PIVOT and outcome == "unknown"):
            self._try_again(node, error, now)
            return
        self.write(now, Result(node.name, outcome, error=error, trace=trace or {}))
        if self.progress.turn is None:
            wish = self.progress.wish
            self._turn("failed" if wish is None else "cancelled", now, node.name, error)

    def _try_again(self, node: Node, error: Failure | None, now: float) -> None:
        self.write(now, Failed(node.name, error))
        self._rested.discard(f"again:do:{node.name}")
        if not node.rerun or self.progress.failures[f"do:{node.name}"] >= node.attempts:
            self.write(now, Parked(node.name, "step-failed", error))

    def _undone(self, node: Node, done: Done) -> None:
        if done.outcome == "undecodable":
            self.write(done.now, Parked(node.name, "undecodable", done.error))
        elif done.outcome == "ok":
            self.write(done.now, Undone(node.name))
        else:
            error = done.error or Failure("", "")
            self.write(done.now, Undone(node.name, error))
            self._rested.discard(f"again:undo:{node.name}")
            if self.progress.failures[f"undo:{node.name}"] >= node.undo_attempts:
                self.write(done.now, Parked(node.name, "undo-failed", error))

    def _elapsed(self, key: str, now: float) -> None:
        what, _, name = key.partition(":")
        if what == "again":
            self._rested.add(key)
        elif what == "deadline" and self._may_turn():
            self._turn("deadline", now, error=_timed_out(f"{name or self.plan.saga}: its time is over"))
        elif what == "pause":
            self.write(now, Result(name))
        elif what == "within":
            self._fail(self.plan.by_name[name], "no", _timed_out(f"no {name} came in time"), now)

    def _asked(self, request: Request, now: float) -> None:
        """Do what somebody outside asks for, or write down why not."""
        asked, *rest = answer(request, self)
        for record in (asked, *rest):
            self.write(now, record)
        if isinstance(asked, Asked) and asked.refused is None:
            if request.verb == "undo":
                self._turn("operator", now)
            elif request.verb == "cancel" and self._may_turn():
                self._turn("cancelled", now)

    # Turning

    def _may_turn(self) -> bool:
        """Whether it can go back now: not where the point of no return may have been passed unseen."""
        progress = self.progress
        return progress.turn is None and progress.ended is None and not progress.beyond and not self.pivot_open()

    def pivot_open(self) -> bool:
        """Whether the point of no return may have been passed, and nobody knows yet."""
        pivot, progress = self.plan.pivot, self.progress
        if pivot is None or pivot not in progress.ready():
            return False
        key = f"do:{pivot}"
        return bool(key in self._under_way or key in progress.failures or pivot in progress.parked or progress.runs)

    def _turn(self, reason: TurnReason, now: float, step: str | None = None, error: Failure | None = None) -> None:
        begun = [effect.step for effect in self._under_way.values() if isinstance(effect, Do)]
        left = [name for name in self._perhaps if name not in begun and name not in self.progress.results]
        self.write(now, Turn(reason, step, error, (*begun, *left)))
        for name in left:
            self.write(now, Result(name, "unknown"))

    # What follows

    def conclude(self, now: float) -> None:
        """Write the end, if this is it."""
        progress = self.progress
        if progress.ended is not None or progress.parked:
            return
        if progress.turn is None:
            if progress.complete:
                self.write(now, End("repaired" if progress.repaired else "completed"))
        elif not progress.left_open() and not progress.to_undo():
            self.write(now, End("repaired" if progress.repaired else "undone"))

    def decision(self, now: float) -> Decision:
        """What is to be done as things stand."""
        entries, self._new = tuple(self._new), []
        ended = self.progress.ended
        if ended is not None:
            return Decision(entries, (), frozenset(), ended, ended)
        effects = tuple(self._forward(now) if self.progress.turn is None else self._backward(now))
        self._under_way = {effect.key: effect for effect in effects}
        stuck = bool(self.progress.parked) and not effects
        return Decision(entries, effects, self._to_stop(), "stuck" if stuck else "open", None)

    def _to_stop(self) -> frozenset[str]:
        return frozenset(f"do:{name}" for name in self.progress.left_open() if self.plan.by_name[name].interrupt)

    def _forward(self, now: float) -> Iterator[Effect]:
        progress = self.progress
        if None in progress.parked:
            return
        for name in progress.ready():
            node = self.plan.by_name[name]
            key = f"do:{name}"
            if name not in progress.parked and (not progress.paused or key in self._under_way):
                yield from self._waits(node) if node.kind in WAITING else (self._does(key, name, now),)
        start = progress.start
        if ((start is not None and start.within is not None) or self.plan.limited) and self._may_turn():
            yield from self._deadlines(start)

    def _waits(self, node: Node) -> Iterator[Effect]:
        since = self.progress.ready_since(node.name)
        if node.kind is Kind.MESSAGE:
            yield Wait(f"wait:{node.name}", node.name)
        if node.seconds is not None:
            key = f"{'within' if node.kind is Kind.MESSAGE else 'pause'}:{node.name}"
            yield Sleep(key, since + node.seconds, node.seconds)

    def _deadlines(self, start: Start | None) -> Iterator[Effect]:
        limits = [("deadline", "start", start.within if start else None)]
        limits += [(f"deadline:{node.name}", node.name, node.opens) for node in self.plan.limited if self._inside(node)]
        for key, since, seconds in limits:
            if seconds is not None:
                yield Sleep(key, self.progress.moment(since) + seconds, seconds)

    def _inside(self, node: Node) -> bool:
        """Whether the nested saga that a step begins has begun and not ended."""
        inside = f"{node.name}."
        return self.progress.succeeded(node.name) and not all(
            self.progress.succeeded(other.name) for other in self.plan.nodes if other.name.startswith(inside)
        )

    def _backward(self, now: float) -> Iterator[Effect]:
        progress, plan = self.progress, self.plan
        left_open = progress.left_open()
        yield from (self._under_way[f"do:{name}"] for name in left_open if f"do:{name}" in self._under_way)
        if None in progress.parked:
            return
        waiting = {*left_open, *progress.to_undo()}
        for name in reversed(progress.to_undo()):
            later = waiting.intersection(plan.descendants[name])
            held_up = any(other not in progress.parked or name in plan.reasons[other] for other in later)
            if name not in progress.parked and not held_up:
                certain = progress.results[name].outcome == "ok"
                yield self._does(f"undo:{name}", name, now, undo=True, certain=certain)

    def _does(self, key: str, name: str, now: float, *, undo: bool = False, certain: bool = True) -> Effect:
        """Run it, or wait until it is tried again."""
        failures = self.progress.failures.get(key, 0)
        rest = f"again:{key}"
        if failures and rest not in self._rested and key not in self._under_way:
            seconds = again_in(failures, f"{self._salt}/{key}")
            due = self.progress.moment(key) + seconds
            if now < due:
                return Sleep(rest, due, seconds)
        return Do(key, name, undo, failures + 1, certain)


def _timed_out(text: str) -> Failure:
    return Failure("resilience.errors.TimedOut", text)
