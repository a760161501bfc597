"""How a step's function is called: within its time, and a plain one, on an event loop, in a worker thread."""

import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import anyio.to_thread

from .._clock import elsewhere
from .._timeout import timeout
from ._function import Function


def limited(function: Function, call: Callable[[], Any]) -> Any:
    """Make a call in this thread; past its time it is left behind, and what comes of it then is nobody's.

    Raises:
        TimedOut: Its time is over.
    """
    return call() if function.within is None else _limit(function.label, function.within).call(call)


async def alimited(function: Function, call: Callable[[], Any]) -> Any:
    """Make a call in this task; a plain function has a worker thread, and a virtual clock stands still meanwhile.

    Raises:
        TimedOut: Its time is over.
    """
    if function.is_async:
        return await (call() if function.within is None else _limit(function.label, function.within).acall(call))
    waiting, gone = object(), False

    def work() -> Any:
        elsewhere[waiting] = threading.get_ident()
        try:
            return limited(function, call)
        finally:
            if gone:
                elsewhere.pop(waiting, None)

    elsewhere[waiting] = None
    try:
        return await anyio.to_thread.run_sync(work)
    finally:
        gone = True  # a coroutine may be closed before its thread has begun
        elsewhere.pop(waiting, None)


@cache
def _limit(label: str, seconds: float) -> timeout:
    return timeout(seconds, sync="abandon", name=label)
