"""Every door that a call can come in by, as one kind of function.

`door(policy, work)` makes one guarded call of the plain function `work` through that door, and returns or raises what
comes out. A law holds when it holds for all of them: `@pytest.mark.parametrize("door", DOORS)`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

Work = Callable[[], Any]


def decorator(policy: Any, work: Work) -> Any:
    """`@policy` on a plain function."""
    return policy(work)()


def call(policy: Any, work: Work) -> Any:
    """`policy.call(work)`."""
    return policy.call(work)


def guard(policy: Any, work: Work) -> Any:
    """`with policy.guard():`."""
    with policy.guard():
        return work()


def lease(policy: Any, work: Work) -> Any:
    """`policy.admit()`, then the outcome told by hand."""
    held = policy.admit()
    try:
        result = work()
    except BaseException as error:
        held.fail(error)
        raise
    held.succeed()
    return result


async def _adecorator(policy: Any, work: Work) -> Any:
    @policy
    async def guarded() -> Any:
        return work()

    return await guarded()


async def _acall(policy: Any, work: Work) -> Any:
    async def awaited() -> Any:
        return work()

    return await policy.acall(awaited)


async def _aguard(policy: Any, work: Work) -> Any:
    async with policy.guard():
        return work()


async def _alease(policy: Any, work: Work) -> Any:
    held = await policy.aadmit()
    try:
        result = work()
    except BaseException as error:
        held.fail(error)
        raise
    held.succeed()
    return result


def on_backend(backend: str, way: Callable[[Any, Work], Awaitable[Any]]) -> Callable[[Any, Work], Any]:
    """An async door, as one that plain test code can use."""

    def door(policy: Any, work: Work) -> Any:
        return anyio.run(way, policy, work, backend=backend)

    return door


def _params(**doors: Callable[[Any, Work], Any]) -> list[Any]:
    return [pytest.param(door, id=name) for name, door in doors.items()]


SYNC_DOORS = _params(decorator=decorator, call=call)
ASYNC_DOORS = _params(
    **{
        f"{name}-{backend}": on_backend(backend, way)
        for backend in ("asyncio", "trio")
        for name, way in (("adecorator", _adecorator), ("acall", _acall))
    }
)
BLOCK_DOORS = _params(
    guard=guard,
    lease=lease,
    **{
        f"{name}-{backend}": on_backend(backend, way)
        for backend in ("asyncio", "trio")
        for name, way in (("aguard", _aguard), ("alease", _alease))
    },
)

FUNCTION_DOORS = [*SYNC_DOORS, *ASYNC_DOORS]
"""For policies that may repeat or replace the call."""

DOORS = [*FUNCTION_DOORS, *BLOCK_DOORS]
"""For policies that admit: also guards and leases."""
