"""Where a saga stands: the fold of its records. Nothing is known here that the journal does not say.

Names are today's: what a step was called before is mapped as records come in.
"""

from collections.abc import Iterable, Iterator

from .entries import Asked, End, Failed, Failure, Parked, Record, Result, Resumed, Start, Turn, Undone
from .plan import Plan


def fold(plan: Plan, rows: Iterable[tuple[float, Record]]) -> "Progress":
    """Where a saga stands.

    Args:
        plan: The steps as the class has them today.
        rows: What its journal holds, with the times at which it was written.
    """
    progress = Progress(plan)
    for at, record in rows:
        progress.apply(at, record)
    return progress


class Progress:
    """The fold. `apply` takes one record after another; the rest reads.

    Attributes:
        plan: The steps as the class has them today.
        start: The record that it began with; `None` before that.
        results: How each step ended.
        turn: The decision to go back; `None` while it goes forward.
        undone: The steps whose undo has succeeded.
        skipped: The steps whose undo an operator has settled by hand.
        failures: How often an effect failed in a row, by its key.
        parked: What waits for an operator, by step; `None` stands for all of the saga.
        undo_errors: What undos have raised.
        wish: A cancellation that waits for the point of no return to be decided.
        paused: Whether steps to come are held back.
        matched: Whether its class has come to fit again after it did not.
        repaired: Whether an operator has settled something by hand.
        heard: The last letter that was taken note of.
        runs: How often it was taken up again.
        ended: How it ended; `None` while it is open.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.start: Start | None = None
        self.results: dict[str, Result] = {}
        self.turn: Turn | None = None
        self.undone: set[str] = set()
        self.skipped: set[str] = set()
        self.failures: dict[str, int] = {}
        self.parked: dict[str | None, Parked] = {}
        self.undo_errors: list[Failure] = []
        self.wish: Asked | None = None
        self.paused = False
        self.matched = False
        self.repaired = False
        self.heard = 0
        self.runs = 0
        self.ended: str | None = None
        self._moments: dict[str, float] = {}

    def apply(self, at: float, record: Record) -> None:
        """Take note of the next record, written at this time on the wall clock."""
        match record:
            case Result():
                self._end_step(self.plan.current(record.step), record, at)
            case Start():
                self.start = record
                self._moments["start"] = at
            case Resumed():
                self.runs += 1
            case Failed(step):
                self._count(f"do:{self.plan.current(step)}", at)
            case Turn():
                self.turn = record
            case Undone(step, error):
                self._end_undo(self.plan.current(step), error, at)
            case Parked(step):
                self.parked[None if step is None else self.plan.current(step)] = record
            case Asked():
                self._obey(record)
            case End(outcome):
                self.ended = outcome

    def moment(self, key: str) -> float:
        """When a step ended, an effect last failed, or the saga began ("start"), on the wall clock."""
        return self._moments[key]

    def succeeded(self, name: str) -> bool:
        """Whether a step has ended well."""
        result = self.results.get(name)
        return result is not None and result.outcome == "ok"

    @property
    def complete(self) -> bool:
        """Whether every step has ended well."""
        return len(self.results) == len(self.plan.nodes) and all(map(self.succeeded, self.results))

    def ready(self) -> Iterator[str]:
        """The steps that have not ended, and whose turn it is: any of them may have begun."""
        for node in self.plan.nodes:
            if node.name not in self.results and all(map(self.succeeded, node.before)):
                yield node.name

    def ready_since(self, name: str) -> float:
        """When a step's turn came."""
        return max(map(self.moment, self.plan.by_name[name].before), default=self.moment("start"))

    def left_open(self) -> list[str]:
        """The steps that were under way at the turn and have not ended."""
        if self.turn is None or not self.turn.begun:
            return []
        return [name for name in map(self.plan.current, self.turn.begun) if name not in self.results]

    def to_undo(self) -> list[str]:
        """The steps that may have had an effect which is not taken back yet."""
        return [
            node.name
            for node in self.plan.nodes
            if node.undoes
            and node.name not in self.undone | self.skipped
            and (result := self.results.get(node.name)) is not None
            and result.outcome != "no"
        ]

    @property
    def beyond(self) -> bool:
        """Whether the saga is past the point of no return."""
        plan = self.plan
        if plan.pivot is not None:
            return self.succeeded(plan.pivot)
        return bool(plan.forward_only) and all(
            self.succeeded(node.name) for node in plan.nodes if node.name not in plan.forward_only
        )

    def _end_step(self, name: str, result: Result, at: float) -> None:
        self.results[name] = result
        self._moments[name] = at
        self.failures.pop(f"do:{name}", None)

    def _end_undo(self, name: str, error: Failure | None, at: float) -> None:
        if error is None:
            self.undone.add(name)
        else:
            self.undo_errors.append(error)
            self._count(f"undo:{name}", at)

    def _count(self, key: str, at: float) -> None:
        self.failures[key] = self.failures.get(key, 0) + 1
        self._moments[key] = at

    def _obey(self, asked: Asked) -> None:
        self.heard = max(self.heard, asked.row)
        if asked.refused is not None:
            return
        step = None if asked.step is None else self.plan.current(asked.step)
        match asked.verb:
            case "cancel":
                self.wish = asked
                self.paused = False
            case "pause" | "resume":
                self.paused = asked.verb == "pause"
            case "skip":
                self.repaired = True
                self._unpark(step)
                if self.turn is not None and step is not None:
                    self.skipped.add(step)
            case "abort":
                self.repaired = True
            case "retry" | "undo":
                self._unpark(step)
            case "matched":
                self.matched = True
                self.parked.pop(None, None)

    def _unpark(self, step: str | None) -> None:
        for name in [step] if step is not None else list(self.parked):
            self.parked.pop(name, None)
            for key in (f"do:{name}", f"undo:{name}"):
                self.failures.pop(key, None)
