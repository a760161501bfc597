"""What everything is measured in: a function that does nothing, and a decorator that adds nothing to it."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

Sync = Callable[[int], int]
Async = Callable[[int], Awaitable[int]]


def answer(x: int) -> int:
    """The work: none."""
    return x


async def aanswer(x: int) -> int:
    """The work: none."""
    return x


def passthrough(fn: Sync) -> Sync:
    """The unit of plain functions."""

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> int:
        return fn(*args, **kwargs)

    return call


def apassthrough(fn: Async) -> Async:
    """The unit of coroutine functions."""

    @functools.wraps(fn)
    async def call(*args: Any, **kwargs: Any) -> int:
        return await fn(*args, **kwargs)

    return call
