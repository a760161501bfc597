"""Which call of which saga is under way here: what `self.id`, `self.key` and `current_key()` answer.

It is kept beside the saga's object, not on it, so that one object may run any number of sagas at once, and be frozen.
A `ContextVar` follows the call into tasks, and into threads that are given its context.
"""

from contextvars import ContextVar, Token
from types import TracebackType
from typing import NamedTuple


class Call(NamedTuple):
    """One call of a step or an undo.

    Attributes:
        id: The saga's id; inside a nested saga "order-42/deliver".
        key: What the call is known by to those it calls: the same for every attempt, in every process.
    """

    id: str
    key: str


def call_of(id: str, step: str, *, undo: bool = False) -> Call:  # noqa: A002 - it is the saga's id
    """The call of a step, by the id of the saga as a whole and the step's name in its plan."""
    scope, dot, name = step.rpartition(".")
    inside = f"{id}/{scope.replace('.', '/')}" if dot else id
    return Call(inside, f"{inside}/{name}/undo" if undo else f"{inside}/{name}")


_current: ContextVar[Call] = ContextVar("resilience.saga.call")


class running:
    """`with running(call_of("order-42", "charge")):` around the call of a step or an undo."""

    __slots__ = ("_call", "_token")

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        self._token: Token[Call] = _current.set(self._call)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _current.reset(self._token)


def current(asked: str) -> Call:
    """The call under way.

    Raises:
        RuntimeError: There is none.
    """
    call = _current.get(None)
    if call is None:
        raise RuntimeError(
            f"{asked} is known only while a saga runs: inside its steps and undos, and what they call; in a test of a "
            "step, run the saga with a MemoryJournal"
        )
    return call


def current_key() -> str:
    """The idempotency key of the step or undo under way, for code that has no `self` at hand.

    Raises:
        RuntimeError: No saga runs here.
    """
    return current("current_key()").key
