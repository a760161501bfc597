"""Looks at the end of a story: whether all that had an effect is settled, in order, and its caller knows why.

What must hold is said in the project's scenarios as I1 to I8. Only the journal and the calls that were made are known.
"""

from collections.abc import Sequence
from itertools import combinations

from .._core.saga.entries import End, Record
from .._core.saga.plan import Plan
from .._core.saga.progress import Progress, fold
from ..errors import SagaFailed, SagaStuck


def settled(records: Sequence[Record], plan: Plan, effects: Sequence[str], error: BaseException | None) -> str:
    """Look at an end.

    Args:
        records: What is in the journal.
        plan: The saga's steps.
        effects: The calls that had their effect, in order: "do:charge", "undo:charge".
        error: What its caller got; `None`: a result.

    Returns:
        How it has ended: "completed", "undone", "repaired" or "stuck".

    Raises:
        AssertionError: It did not end well.
    """
    progress = fold(plan, [(0.0, record) for record in records])
    ends = [record for record in records if isinstance(record, End)]
    must(len(ends) <= 1 and (not ends or records[-1] == ends[0]), "END was not written once and last (I6)")
    must(progress.ended is not None or bool(progress.parked), "it has stopped for no reason (I1)")
    undone = [call.removeprefix("undo:") for call in effects if call.startswith("undo:")]
    _nothing_left(progress, [call.removeprefix("do:") for call in effects if call.startswith("do:")], undone)
    _obeyed(progress)
    _in_reverse(undone, progress)
    _first_cause(progress, error)
    return progress.ended or "stuck"


def _nothing_left(progress: Progress, done: list[str], undone: list[str]) -> None:
    plan = progress.plan
    for step in done if progress.turn is not None else ():
        held_up = {step, *plan.descendants[step]} & progress.parked.keys()
        taken_back = step in undone or step in progress.skipped or not plan.by_name[step].undoes
        must(taken_back or bool(held_up), f"step {step!r} had its effect, and was never undone (I1)")
    if progress.ended == "completed":
        must(not undone, f"it has completed, and {undone} were undone (I1)")


def _obeyed(progress: Progress) -> None:
    """A cancel that was not refused turns the saga, unless the point of no return was passed just then."""
    past = progress.turn is not None or progress.beyond or bool(progress.parked)
    must(progress.wish is None or past, "it was asked to turn back, did not refuse, and did not turn")


def _in_reverse(undone: list[str], progress: Progress) -> None:
    for earlier, later in combinations([node.name for node in progress.plan.nodes], 2):
        ordered = earlier in progress.plan.ancestors[later] and {earlier, later} <= set(undone)
        if ordered and later not in progress.parked:
            last = len(undone) - 1 - undone[::-1].index(later)
            must(last < undone.index(earlier), f"{earlier!r} was undone before {later!r}, which came after it (I3)")


def _first_cause(progress: Progress, error: BaseException | None) -> None:
    if progress.ended == "completed":
        must(error is None, f"it has completed, and its caller got {error!r}")
    elif progress.turn is not None and progress.turn.error is not None:
        cause = error.cause if isinstance(error, SagaFailed | SagaStuck) else None
        must(progress.turn.error.message in str(cause), f"the first cause is lost, its caller got {error!r} (I8)")


def must(holds: bool, otherwise: str) -> None:
    """Raise if something does not hold."""
    if not holds:
        raise AssertionError(otherwise)
