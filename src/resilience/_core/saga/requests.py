"""What may be asked of a saga from outside, and when: cancel, pause, resume, and the operator's verbs.

Each request is written down with what became of it, also one that is refused.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Raw

from .effects import Request
from .entries import NOTHING, Asked, End, Record, Result
from .plan import Plan
from .progress import Progress

ALREADY_BACK = "it is being undone already; only abort stops that"
TOO_LATE = "too late: it is past the point of no return, and goes forward only"


class State(Protocol):
    """What a request is judged by."""

    plan: Plan
    progress: Progress

    def misfits(self) -> list[str]:
        """How the class differs from what the journal says has run."""
        ...

    def pivot_open(self) -> bool:
        """Whether the point of no return may have been passed, and nobody knows yet."""
        ...


def answer(request: Request, state: State) -> list[Record]:
    """What is to be written for a request: that it was asked, whether it was refused, and what follows at once."""
    progress = state.progress
    step = request.step if request.step is not None or request.verb != "skip" else _only(list(progress.parked))
    request = request._replace(step=step)
    refused = _ENDED.format(progress.ended) if progress.ended else _RULES[request.verb](request, state)
    value = NOTHING if request.value is None else Raw(request.value)
    asked = Asked(request.verb, request.row, request.who, step, request.reason, value, refused)
    return [asked] if refused else [asked, *_consequences(request, value, state)]


def _consequences(request: Request, value: Raw, state: State) -> list[Record]:
    progress, pivot = state.progress, state.plan.pivot
    if request.verb == "abort":
        return [End("repaired")]
    if request.verb == "skip" and progress.turn is None and request.step is not None:
        return [Result(request.step, "ok", value)]
    if request.verb == "undo" and pivot is not None and pivot in progress.parked:
        return [Result(pivot, "unknown", error=progress.parked[pivot].error)]
    return []


_ENDED = "it has ended: {}"


def _cancel(_: Request, state: State) -> str | None:
    return ALREADY_BACK if state.progress.turn else TOO_LATE if state.progress.beyond else None


def _pause(_: Request, state: State) -> str | None:
    return ALREADY_BACK if state.progress.turn else None


def _resume(_: Request, state: State) -> str | None:
    return None if state.progress.paused else "it is not paused"


def _retry(request: Request, state: State) -> str | None:
    parked = state.progress.parked
    if not parked and request.step is None and state.progress.matched:
        return None  # the class that it was parked for has come
    if not parked or (request.step is not None and request.step not in parked):
        return f"nothing of it is parked{_named(request)}"
    return _still(state) if None in parked else None


def _skip(request: Request, state: State) -> str | None:
    parked = state.progress.parked
    if not request.reason:
        return "a skip needs a reason"
    if request.step is None or request.step not in parked:
        return f"name the one step that is parked: {_names(list(parked))}"
    if state.progress.turn is None and request.value is None and state.plan.by_name[request.step].wanted:
        return f"other steps take the result of {request.step!r}: give one to go on with"
    return None


def _undo(_: Request, state: State) -> str | None:
    progress = state.progress
    if progress.turn:
        return ALREADY_BACK
    if progress.beyond:
        return TOO_LATE
    if state.pivot_open() and state.plan.pivot not in progress.parked:
        return f"step {state.plan.pivot!r} decides it just now; ask again when that has ended"
    gone = sorted(name for name in progress.results if name not in state.plan.by_name)
    return f"the class has no step {_names(gone)} any more, so it cannot undo it" if gone else None


def _abort(request: Request, _: State) -> str | None:
    return None if request.reason else "an abort needs a reason"


_RULES: dict[str, Callable[[Request, State], str | None]] = {
    "cancel": _cancel,
    "pause": _pause,
    "resume": _resume,
    "retry": _retry,
    "skip": _skip,
    "undo": _undo,
    "abort": _abort,
}


def _still(state: State) -> str | None:
    wrong = state.misfits()
    return f"the class still does not fit: {'; '.join(wrong)}" if wrong else None


def _named(request: Request) -> str:
    return "" if request.step is None else f" under {request.step!r}"


def _only(names: Sequence[str | None]) -> str | None:
    return names[0] if len(names) == 1 else None


def _names(names: Sequence[str | None]) -> str:
    return ", ".join(repr(name) if name is not None else "all of it" for name in names) or "none is"
