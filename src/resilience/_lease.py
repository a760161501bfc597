"""Leases and guards: a call in two steps, for what no decorator can wrap.

A policy that admits (a breaker, a bulkhead, a limiter) hands out a `Lease`. It is single-use: the first of `succeed`,
`fail` and `release` counts, and whatever comes later changes nothing. A `Guard` is the same as a `with` block.
"""

from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Protocol, Self


class Ending(Enum):
    """How the holder of a lease says it ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    RELEASED = "released"


class Lease:
    """Leave to make one call. Say how it ended, once.

    It may be ended in any thread, task or context. Also a context manager: it succeeds when the block ends, and fails
    with what the block raises.
    """

    __slots__ = ("_end",)

    def __init__(self, end: Callable[[Ending, BaseException | None], None]) -> None:
        # A list of one: pop() is atomic, so that of two threads only one ends the lease.
        self._end = [end]

    def succeed(self) -> None:
        """The call succeeded."""
        self._finish(Ending.SUCCESS, None)

    def fail(self, error: BaseException | None = None) -> None:
        """The call failed.

        Args:
            error: What it raised: judged by the policy's `on=` and `ignore=`, and a cancellation stays one. Without an
                error it is a failure.
        """
        self._finish(Ending.FAILURE, error)

    def release(self) -> None:
        """Give the lease back: nothing was learned, or nothing was called."""
        self._finish(Ending.RELEASED, None)

    @property
    def ended(self) -> bool:
        """Whether its end was told already."""
        return not self._end

    def _finish(self, ending: Ending, error: BaseException | None) -> None:
        try:
            end = self._end.pop()
        except IndexError:
            return
        end(ending, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.succeed()
        else:
            self.fail(error)


class Admits(Protocol):
    """A policy that hands out leases."""

    def admit(self) -> Lease:
        """Get a lease, or be refused."""
        ...

    async def aadmit(self) -> Lease:
        """Get a lease, or be refused, without blocking the event loop."""
        ...


class Guard:
    """A block under a policy: `with policy.guard():` or `async with policy.guard():`. Single use.

    It holds nothing that belongs to a context or task, so it may be entered in one and left in another.
    """

    __slots__ = ("_lease", "_policy")

    def __init__(self, policy: Admits) -> None:
        self._policy: Admits | None = policy
        self._lease: Lease | None = None

    def __enter__(self) -> Lease:
        self._lease = self._take_policy().admit()
        return self._lease

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lease is not None:
            self._lease.__exit__(kind, error, trace)

    async def __aenter__(self) -> Lease:
        self._lease = await self._take_policy().aadmit()
        return self._lease

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _take_policy(self) -> Admits:
        """For one entry only: a second one would lose the lease of the first."""
        policy, self._policy = self._policy, None
        if policy is None:
            raise RuntimeError("this guard was entered before; call guard() for each block")
        return policy
