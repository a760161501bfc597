"""Retry: call again what failed for a passing reason.

The shell makes the first attempt and is done when it succeeds: no state, no lock, no look at the clock. From the first
failure on, a `Rounds` keeps the count, and tenacity's strategies say how long to wait and when to stop. It decides in
one place for all three doors: sync calls, async calls, and `for attempt in retry(...)`.

What keeps a retry from doing harm: a budget (`RetryBudget`), the caller's deadline, the server's own `Retry-After` as a
floor, and a mark on the exception that was given up on, so that an outer retry does not begin all over again.
"""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from . import _checks
from ._ambient import ambient, require_time
from ._budget import RetryBudget, budget_from
from ._clock import clock
from ._core.retry_after import retry_after_of
from ._matching import Matcher, On, Predicate
from ._policy import Recipe
from ._raising import lean, reraise
from ._telemetry import Waiting
from ._traits import Role, Traits
from ._waiters import warn_if_blocking
from .errors import OutOfTime

if TYPE_CHECKING:
    from ._rounds import Plan, Rounds
    from ._strategies import Stop, Wait


class _Default(int):
    """A default that can be told from the same number written out."""


_THREE = _Default(3)


class retry(Recipe):
    """Call again what failed, up to `attempts` calls in all.

    ```python
    @retry(on=ConnectionError)
    def fetch(): ...

    copying = retry(on=OSError, attempts=5)  # made once: a retry made anew in each call has a full budget each time

    for attempt in copying:
        with attempt:
            copy_file()
    ```

    The outcome of the last attempt comes through unchanged, with a note that says how many attempts were made, how long
    they took, and why there is no further one. A refusal (`Rejected`) that ends a call which had been attempted before
    is told in that note; it does not take the place of the attempt's own exception.

    Args:
        on: Which exceptions to call again for: types, predicates, or a tuple of them. There is no default: only you
            know what is safe to repeat. `()`, with `on_result`: only for results.
        attempts: The most calls in all, the first included. Default 3; `None` for no limit.
        wait: Time between attempts: seconds, a `timedelta`, a tenacity strategy, or a function of tenacity's
            `RetryCallState`; a negative number, NaN or `None` from it ends the retrying, and so does one longer than
            `max_wait`. Default: full-jitter exponential, evenly spread up to 0.1 s, 0.2 s, 0.4 s ... 5 s.
        max_wait: The longest single wait, whoever asks for it. Default 60 s; `None` for no limit. A longer one is not
            shortened: it ends the retrying.
        max_elapsed: No attempt begins later than this after the start of the call. Default `None`: no limit.
        stop: A tenacity strategy or a function of `RetryCallState`, in place of `attempts` and `max_elapsed`.
        on_result: A predicate: which results to call again for. The last result is returned, wanted or not.
        retry_after: Given the exception or result, the seconds the server asked to wait, or `None`. It is a floor: no
            attempt starts earlier. Default: reads `.retry_after` and a `Retry-After` header.
        budget: A `RetryBudget` to share with other policies; "own" (default) makes one; `None` for none.
        again: Repeat also what an inner retry has given up on. Default false: retries do not multiply.
        name: For messages, events and the registry.

    Raises:
        TypeError: An argument is of the wrong type, or `stop` is given together with `attempts` or `max_elapsed`.
        ValueError: An argument is out of its range.
        OutOfTime: (from the guarded call) The deadline was past before the first attempt.
    """

    __slots__ = ("_most", "_plan", "_rounds")

    kind = "retry"

    def __init__(
        self,
        *,
        on: On,
        attempts: int | None = _THREE,
        wait: "_checks.Seconds | Wait | None" = None,
        max_wait: _checks.Seconds | None = 60.0,
        max_elapsed: _checks.Seconds | None = None,
        stop: "Stop | None" = None,
        on_result: Predicate | None = None,
        retry_after: Callable[[Any], float | None] | None = None,
        budget: RetryBudget | Literal["own"] | None = "own",
        again: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self._recall(
            on=on,
            attempts=attempts,
            wait=wait,
            max_wait=max_wait,
            max_elapsed=max_elapsed,
            stop=stop,
            on_result=on_result,
            retry_after=retry_after,
            budget=budget,
            again=again,
            name=name,
        )
        # tenacity is loaded with the first retry that is made, not with the package.
        from . import _rounds, _strategies  # noqa: PLC0415

        if stop is not None and (attempts is not _THREE or max_elapsed is not None):
            raise TypeError("stop takes the place of attempts and max_elapsed; give either stop or those")
        most = None if attempts is None else int(_checks.whole("attempts", attempts))
        elapsed = _checks.seconds_or_none("max_elapsed", max_elapsed)
        shared = budget_from(budget)
        self._rounds = _rounds
        self._most = math.inf if stop is not None or most is None else most
        self._plan = _rounds.Plan(
            label=self.label,
            matches=Matcher("on", on, required=on_result is None),
            strategies=_strategies.strategies_from(wait, stop, most, elapsed),
            max_wait=math.inf if max_wait is None else _checks.seconds("max_wait", max_wait, zero=True),
            unwanted=None if on_result is None else _checks.takes_one("on_result", on_result),
            retry_after=_asked_wait if retry_after is None else _checks.takes_one("retry_after", retry_after),
            budget=shared,
            # Only those who might ask for the time since the start pay for a look at the clock at the start.
            timed=stop is not None or elapsed is not None or callable(wait),
            again=_checks.flag("again", again),
        )

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Wrap a plain function."""
        label, unwanted, repeat, timed = self.label, self._plan.unwanted, self._repeat, self._plan.timed
        deadline, budget, marks = ambient.get, self._plan.budget, self._rounds.marks

        def call(*args: Any, **kwargs: Any) -> Any:
            if deadline() is not None:
                require_time(label)
            if budget.pressed:
                budget.deposit()
            seen, started = marks.made, clock.now() if timed else None
            failure = result = None
            try:
                result = fn(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - `on=` decides which
                failure = error
            if failure is not None or (unwanted is not None and unwanted(result)):
                try:
                    result = repeat(seen, started, failure, result, fn, args, kwargs)
                except BaseException as error:  # noqa: BLE001 - it is raised again
                    raise lean(error)  # noqa: B904
                finally:
                    failure = None  # no cycle through this frame
            return result

        return call

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        """Wrap a coroutine function."""
        label, unwanted, repeat, timed = self.label, self._plan.unwanted, self._arepeat, self._plan.timed
        deadline, budget, marks = ambient.get, self._plan.budget, self._rounds.marks

        async def call(*args: Any, **kwargs: Any) -> Any:
            if deadline() is not None:
                require_time(label)
            if budget.pressed:
                budget.deposit()
            seen, started = marks.made, clock.now() if timed else None
            failure = result = None
            try:
                result = await fn(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - `on=` decides which
                failure = error
            if failure is not None or (unwanted is not None and unwanted(result)):
                try:
                    result = await repeat(seen, started, failure, result, fn, args, kwargs)
                except BaseException as error:  # noqa: BLE001 - it is raised again
                    raise lean(error)  # noqa: B904
                finally:
                    failure = None  # no cycle through this frame
            return result

        return call

    def traits(self) -> Traits:
        """What a pipeline needs to know."""
        plan = self._plan
        most = "any number of" if math.isinf(self._most) else str(self._most)
        return Traits(
            role=Role.RETRY,
            summary=f"retry: up to {most} calls on {plan.matches!r}",
            most_calls=self._most,
            waits=(self._most - 1) * plan.max_wait if self._most > 1 and plan.max_wait > 0 else 0.0,
            raises=(OutOfTime,),
            handles=plan.matches,
        )

    def __iter__(self) -> "Iterator[Attempt]":
        """`for attempt in retry(...): with attempt:` repeats a block.

        Leave the loop from inside the block, by `return` or `break`: between two attempts, a failure is under way that
        would get lost.
        """
        return self._loop()

    def __aiter__(self) -> "AsyncIterator[Attempt]":
        """`async for attempt in retry(...): with attempt:` repeats a block with awaits in it."""
        return self._loop()

    def _loop(self) -> "_Loop":
        if self._plan.unwanted is not None:
            raise TypeError(
                "on_result judges what a function returns, and a block returns nothing; leave it out, or "
                "decorate a function"
            )
        return _Loop(self._rounds.Rounds, self._plan)

    def _repeat(
        self, seen: int, started: float | None, failure: Exception | None, result: Any, fn: Any, args: Any, kwargs: Any
    ) -> Any:
        """Go on after a first attempt that was no success."""
        rounds = self._rounds.Rounds(self._plan, seen, started, fn, args, kwargs)
        try:
            with rounds:
                while (wait := rounds.after(failure, result)) is not None:
                    failure = result = None
                    _sleep(self.label, wait)
                    if not rounds.begin():
                        break
                    try:
                        result = fn(*args, **kwargs)
                    except Exception as error:  # noqa: BLE001 - `on=` decides which
                        failure = error
        finally:
            failure = None  # no cycle through this frame
        return rounds.outcome()

    async def _arepeat(
        self, seen: int, started: float | None, failure: Exception | None, result: Any, fn: Any, args: Any, kwargs: Any
    ) -> Any:
        """The async twin of `_repeat`."""
        rounds = self._rounds.Rounds(self._plan, seen, started, fn, args, kwargs)
        try:
            with rounds:
                while (wait := rounds.after(failure, result)) is not None:
                    failure = result = None
                    await _asleep(self.label, wait)
                    if not rounds.begin():
                        break
                    try:
                        result = await fn(*args, **kwargs)
                    except Exception as error:  # noqa: BLE001 - `on=` decides which
                        failure = error
        finally:
            failure = None  # no cycle through this frame
        return rounds.outcome()


class Attempt:
    """One attempt at a block: `with attempt:`.

    Attributes:
        number: Which attempt it is, from 1.
    """

    __slots__ = ("_loop", "number")

    def __init__(self, loop: "_Loop", number: int) -> None:
        self._loop = loop
        self.number: int = number

    def __enter__(self) -> Self:
        self._loop.entered()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return self._loop.left(error)


class _Loop:
    """The attempts of one `for` or `async for` over a retry: the same rounds, the block between them."""

    __slots__ = ("_make", "_pending", "_plan", "_rounds", "_seen", "_started", "_wait")

    def __init__(self, make: "type[Rounds]", plan: "Plan") -> None:
        self._make = make
        self._plan = plan
        self._rounds: Rounds | None = None
        self._wait: float | None = 0.0
        self._pending = False  # an attempt was handed out, and its block was not left yet
        self._seen = 0
        self._started: float | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Attempt:
        wait = self._next_wait()
        if wait is None:
            raise StopIteration
        with self._rounds or nullcontext():
            _sleep(self._plan.label, wait)
        return self._attempt()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt:
        wait = self._next_wait()
        if wait is None:
            raise StopAsyncIteration
        if self._rounds is not None:
            with self._rounds:
                await _asleep(self._plan.label, wait)
        return self._attempt()

    def entered(self) -> None:
        """A block begins."""
        if not self._pending:
            raise RuntimeError("an attempt is good for one block, and this one was used; take the next from the loop")

    def left(self, error: BaseException | None) -> bool:
        """The block ended; whether its exception is swallowed because another attempt follows."""
        self._pending = False
        self._wait = None
        if error is None:
            if self._rounds is not None:
                self._rounds.after(None, None)
                self._rounds.settle()
            return False
        if not isinstance(error, Exception):
            if self._rounds is not None:
                self._rounds.interrupted(error)
            return False
        rounds = self._rounds = self._rounds or self._make(self._plan, self._seen, self._started, None, (), {})
        with rounds:
            self._wait = rounds.after(error, None)
        if self._wait is None:
            self._let_out(rounds, error)
        return self._wait is not None

    def _next_wait(self) -> float | None:
        if self._pending:
            raise RuntimeError(
                "an attempt was not used: write 'for attempt in retry(...):' and below it 'with attempt:'"
            )
        return self._wait

    def _attempt(self) -> Attempt:
        if self._rounds is None:
            self._seen, self._started = self._plan.open_call()
        elif not self._rounds.begin():
            self._wait = None
            self._let_out(self._rounds, None)
        self._pending = True
        return Attempt(self, 1 if self._rounds is None else self._rounds.attempts)

    def _let_out(self, rounds: "Rounds", error: Exception | None) -> None:
        """Raise what the caller gets, unless that is the very exception that is on its way."""
        final, _ = rounds.settle()
        try:
            if isinstance(final, StopIteration | StopAsyncIteration) and error is None:
                raise RuntimeError("the block raised what would end the loop as if all were well") from final
            if final is not None and final is not error:
                reraise(final)
        finally:
            final = None  # no cycle through this frame


def _sleep(label: str, wait: float) -> None:
    if wait > 0:
        warn_if_blocking(label, "decorate a coroutine function, or write 'async for attempt in retry(...)'")
        with Waiting("retry.wait", label):
            clock.sleep(wait)


async def _asleep(label: str, wait: float) -> None:
    if wait > 0:
        with Waiting("retry.wait", label):
            await clock.asleep(wait)
    else:
        await clock.asleep(0)  # a chance for others, and for a cancellation


def _asked_wait(outcome: object) -> float | None:
    """The default `retry_after=`: what the exception or response itself says."""
    return retry_after_of(outcome, clock.wall())
