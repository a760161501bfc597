"""The one look into anyio's cancel scopes on asyncio.

A native cancellation of a task breaks through `anyio.CancelScope(shield=True)`, which anyio's own deadlines respect. So
whoever cancels natively has to ask first, and anyio tells this nowhere in public. On trio nobody needs to ask.

Where anyio's asyncio backend is not loaded, nobody has entered a scope.
"""

import asyncio
import sys
from typing import Any
from weakref import ref

BACKEND = "anyio._backends._asyncio"
"""The module that keeps the scopes."""

UNREADABLE: Any = object()
"""In place of a scope: this anyio keeps its scopes elsewhere, and cannot be asked."""

_modules = sys.modules


def scope_of(task: asyncio.Task[Any]) -> Any:
    """The innermost anyio scope that a task is in, or `None`; `UNREADABLE` if this anyio cannot be asked."""
    try:
        state = anyio_tasks.states.get(ref(task))
        return None if state is None else state.cancel_scope
    except (AttributeError, KeyError):
        return UNREADABLE


def is_shielded(task: asyncio.Task[Any], since: Any) -> bool:
    """Whether a task is inside a shield that it entered after it was in the scope `since`."""
    scope = scope_of(task) if anyio_tasks.states else None
    while scope is not None and scope is not since:
        if getattr(scope, "_shield", False):
            return True
        scope = getattr(scope, "_parent_scope", None)
    return False


class _Unfound:
    """In place of anyio's table of tasks until there is one: from then on a look goes straight to that."""

    def __bool__(self) -> bool:
        return BACKEND in _modules

    def get(self, task: "ref[asyncio.Task[Any]]") -> Any:
        """See `dict.get`."""
        anyio_tasks.states = _modules[BACKEND]._task_states.data
        return anyio_tasks.states.get(task)


class _Tasks:
    """What anyio knows of tasks.

    Attributes:
        states: What it keeps for each; empty where no task has ever entered a scope, so that nothing need be asked.
    """

    __slots__ = ("states",)

    def __init__(self) -> None:
        self.states: Any = _Unfound()


anyio_tasks = _Tasks()
