"""The one look into anyio's cancel scopes on asyncio.

A native cancellation of a task breaks through `anyio.CancelScope(shield=True)`, which anyio's own deadlines respect. So
whoever cancels natively has to ask first, and anyio tells this nowhere in public. On trio nobody needs to ask.

Where anyio's asyncio backend is not loaded, nobody has entered a scope.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Any
from weakref import ref

BACKEND = "anyio._backends._asyncio"
"""The module that keeps the scopes. Ask nothing here unless it is in `sys.modules`."""

UNREADABLE: Any = object()
"""In place of a scope: this anyio keeps its scopes elsewhere, and cannot be asked."""

_modules = sys.modules


def scope_of(task: asyncio.Task[Any]) -> Any:
    """The innermost anyio scope that a task is in, or `None`; `UNREADABLE` if this anyio cannot be asked."""
    try:
        state = _state_of(ref(task))
        return None if state is None else state.cancel_scope
    except (AttributeError, KeyError):
        return UNREADABLE


def is_shielded(task: asyncio.Task[Any], since: Any) -> bool:
    """Whether a task is inside a shield that it entered after it was in the scope `since`."""
    scope = scope_of(task) if BACKEND in _modules else None
    while scope is not None and scope is not since:
        if getattr(scope, "_shield", False):
            return True
        scope = getattr(scope, "_parent_scope", None)
    return False


def _find_states(task: "ref[asyncio.Task[Any]]") -> Any:
    """The state of a task, looked up for the first time: from now on the look goes straight to anyio's table."""
    global _state_of
    _state_of = _modules[BACKEND]._task_states.data.get
    return _state_of(task)


_state_of: Callable[["ref[asyncio.Task[Any]]"], Any] = _find_states
