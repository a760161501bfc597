"""Timeout: no call takes longer than so many seconds.

An async call is cut off: its own task is cancelled, and what waits shielded is waited for. Python cannot stop a thread,
so for a plain function there is no such thing; its two substitutes are a choice that has to be written out:
`sync="deadline"` only tells the function how much time it has, `sync="abandon"` runs it in a worker thread, and leaves
that behind.

Every timeout announces itself to what runs inside, and cuts no later than the nearest deadline outside. How a call is
cut is in `_expiry`, how one is left behind in `_abandon`.
"""

from collections.abc import Awaitable, Callable
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from . import _checks
from ._abandon import Abandoning
from ._ambient import Deadline, ambient, nearest, require_time, withdraw
from ._clock import clock
from ._events import Overran, emit
from ._policy import Recipe
from ._traits import Role, Traits
from ._waiters import current_task
from .errors import BulkheadFull, OutOfTime, ResilienceError, TimedOut

if TYPE_CHECKING:
    from ._expiry import Limits, Running

_WORKERS = 32


class timeout(Recipe):
    """Cut a call off after so many seconds.

    ```python
    @timeout(2.0)
    async def fetch(): ...

    async with timeout(2.0).guard():
        ...
    ```

    What runs inside sees the limit in `remaining()`. A `TimeoutError` of the function's own comes through unchanged. A
    tie goes to the limit.

    Async: the task is cancelled, but not inside an `anyio.CancelScope(shield=True)` that the call entered: the limit
    waits until it is left. A function that swallows the cancellation keeps its outcome, and an `Overran` event says so.

    Args:
        seconds: The limit: seconds or a `timedelta`, greater than 0. A nearer deadline outside counts instead.
        sync: What to do for a plain function, whose thread nobody can stop. "deadline": tell it how much time it has; a
            late outcome is passed on, and an `Overran` event says so. "abandon": run it in a worker thread, with the
            caller's context variables; at the limit raise `TimedOut`, whose `work` is the future of what runs on, and
            emit `Abandoned`. Default `None`: only for coroutine functions.
        workers: With `sync="abandon"`, the most threads this one timeout may have, those left behind included: make it
            once and share it. Default 32.
        name: For messages and events.

    Raises:
        TypeError: An argument is of the wrong type, `workers` is given without `sync="abandon"`, or (at decoration) the
            function is a plain one and `sync` was not chosen.
        ValueError: An argument is out of its range.
        TimedOut: (from the guarded call) The limit expired.
        OutOfTime: (from the guarded call) The deadline was past, and nothing was started.
        BulkheadFull: (from the guarded call) With `sync="abandon"`, every worker is busy, and nothing was started.
    """

    __slots__ = ("_abandoning", "_limits", "_seconds", "_sync")

    kind = "timeout"

    def __init__(
        self,
        seconds: _checks.Seconds,
        *,
        sync: Literal["deadline", "abandon"] | None = None,
        workers: int = _WORKERS,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self._recall(seconds, sync=sync, workers=workers, name=name)
        self._seconds = _checks.seconds("seconds", seconds)
        if sync not in (None, "deadline", "abandon"):
            raise ValueError(f'sync must be "deadline", "abandon" or None, got {sync!r}')
        self._sync = sync
        most = _checks.whole("workers", workers)
        if most != _WORKERS and sync != "abandon":
            raise TypeError(f'workers={most} is for sync="abandon" only, and sync is {sync!r}')
        self._limits: Limits | None = None  # made with the first coroutine function: it brings asyncio along
        self._abandoning = Abandoning(self.label, self._seconds, most) if sync == "abandon" else None

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Wrap a plain function."""
        self._need_choice()
        return self._bind_announcing(fn) if self._abandoning is None else self._abandoning.bind(fn)

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        """Wrap a coroutine function."""
        begin = self._cutting().begin

        async def call(*args: Any, **kwargs: Any) -> Any:
            limit = begin()
            try:
                result = await fn(*args, **kwargs)
            except BaseException as error:
                limit.leave(error)
                raise
            limit.leave(None)
            return result

        return call

    def guard(self) -> "TimeoutGuard":
        """Guard a block: `async with timeout(2).guard():` cuts it off, on asyncio and trio.

        With `sync="deadline"` also `with timeout(2, sync="deadline").guard():`, which announces.
        """
        announced = _Announced(self.label, self._seconds) if self._sync == "deadline" else None
        return TimeoutGuard(self.label, self._cutting(), announced)

    def close(self) -> None:
        """End the worker threads of `sync="abandon"`: idle ones now, the others when their work has ended.

        It waits for nothing. Further plain calls are a `RuntimeError`; async calls go on as before.
        """
        if self._abandoning is not None:
            self._abandoning.close()

    def traits(self) -> Traits:
        """What a pipeline needs to know."""
        raises: tuple[type[ResilienceError], ...] = (TimedOut, OutOfTime)
        how = {None: "cancels", "deadline": "cancels async, tells sync", "abandon": "cancels async, abandons sync"}
        return Traits(
            role=Role.TIMEOUT,
            summary=f"timeout: at most {self._seconds:g} s ({how[self._sync]})",
            seconds=self._seconds,
            cuts=self._sync != "deadline",
            raises=(*raises, BulkheadFull) if self._sync == "abandon" else raises,
        )

    def _bind_announcing(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        label, seconds = self.label, self._seconds

        def call(*args: Any, **kwargs: Any) -> Any:
            with _Announced(label, seconds):
                result = fn(*args, **kwargs)
            return result

        return call

    def _cutting(self) -> "Limits":
        """What cuts async calls off."""
        from ._expiry import Limits  # noqa: PLC0415 - a program without coroutines does without asyncio

        if self._limits is None:
            self._limits = Limits(self.label, self._seconds)
        return self._limits

    def _need_choice(self) -> None:
        if self._sync is None:
            raise TypeError(
                f"{self!r} cannot cut off a plain function: Python cannot stop a thread. Choose "
                'sync="deadline" (the function is told how much time it has, and a late result is returned) or '
                'sync="abandon" (it runs in a worker thread that is left behind), or make it a coroutine function'
            )


class _Announced:
    """The block of `sync="deadline"`: it sees the limit, and an overrun is told when it ends."""

    __slots__ = ("_began", "_expires", "_label", "_seconds", "_token")

    def __init__(self, label: str, seconds: float) -> None:
        self._label = label
        self._seconds = seconds
        self._began = self._expires = 0.0
        self._token: Token[Deadline | None] | None = None

    def __enter__(self) -> None:
        require_time(self._label)
        self._began = clock.now()
        limit = nearest(self._began + self._seconds, enforced=False)
        self._expires = limit.expires
        self._token = ambient.set(limit)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            withdraw(self._token)
        now = clock.now()
        if now > self._expires:
            emit(Overran(self._label, self._expires - self._began, now - self._began))


class TimeoutGuard:
    """A block under a timeout: `async with timeout(2).guard():`. Single use.

    Unlike other guards it must be left in the task that entered it: that is the task it cuts off.

    Raises:
        TypeError: (from `with`) A plain block cannot be cut off; only `sync="deadline"` takes one.
        RuntimeError: It was entered before, or is left in another task than it was entered in.
        TimedOut: The limit expired.
        OutOfTime: The deadline was past, and the block was not entered.
    """

    __slots__ = ("_announced", "_label", "_limit", "_limits", "_task")

    def __init__(self, label: str, limits: "Limits", announced: _Announced | None) -> None:
        self._label = label
        self._limits = limits
        self._announced = announced
        self._limit: Running | None = None
        self._task: object = None

    def __enter__(self) -> None:
        if self._announced is None:
            raise TypeError(
                f"{self._label}: a plain block cannot be cut off, nor run in a worker. Write "
                "'with timeout(seconds, sync=\"deadline\").guard():', which tells the block how much time it has, or "
                "'async with' in a coroutine function"
            )
        self._announced.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._announced is not None:
            self._announced.__exit__(kind, error, trace)

    async def __aenter__(self) -> None:
        if self._limit is not None:
            raise RuntimeError(f"{self._label}: this guard was entered before; call guard() for each block")
        self._task = current_task()
        self._limit = self._limits.begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._limit is None:
            return
        if current_task() is not self._task:
            self._limit.desert()
            raise RuntimeError(
                f"{self._label}: this guard is left in another task than it was entered in, and that is the only one "
                "it can cut off. Guard the calls inside instead (a fixture or dependency that yields, and an async "
                "generator, may go on in another task)"
            )
        self._limit.leave(error)
