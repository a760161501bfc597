"""`Hedge`: where a call takes longer than it usually does, make it once more, and take the answer that comes first.

How attempts race is in `_races`, and for tasks and threads in `_task_races` and `_thread_races`; how an async call
becomes a race, in `_hedge_calls`; when a call has taken too long, in `_core.quantile`. Here are the options, the
budget and the two shells.
"""

import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from . import _checks, _live, _totals
from ._ambient import require_time
from ._budget import NoBudget, RetryBudget, budget_from
from ._clock import clock
from ._core.quantile import Quantile
from ._metrics import POLICY_NAME, Instrument, Reading, declare
from ._policy import Shared
from ._thread_races import ThreadRace
from ._traits import Role, Traits
from ._waiters import warn_if_blocking
from ._workers import Workers
from .errors import OutOfTime

if TYPE_CHECKING:
    from ._hedge_calls import Calls

_WORKERS = 64

_USUAL = 0.95

_SOONEST = 0.001
"""Seconds after which a call is hedged at the earliest by a quantile, as in Finagle: a coarse clock may say 0."""

HEDGE_RESULT = "resilience.hedge.result"
RESULTS = ("won", "lost", "refused")


@dataclass(frozen=True, slots=True)
class HedgeStats:
    """A hedge at one moment; the counts never fall.

    Attributes:
        delay: Seconds after which a call is hedged now; `None`: not at all, there were too few calls.
        won: How many rivals have answered first.
        lost: How many have not.
        refused: How many were not begun, for the budget was spent.
    """

    delay: float | None
    won: int
    lost: int
    refused: int


class Hedge(Shared):
    """Make a call that takes long once more, and take the first success: it may run the function twice at once.

    For what is safe to repeat, and slow only now and then: reads, look-ups, calls with an idempotency key. With the
    default, the slowest 5 % of the calls are made twice, and are as quick as the quicker of the two.

    The first *success* wins: a failure decides nothing while another attempt is under way. A call that fails before it
    is hedged has failed; to repeat it is a retry's. Who has lost is cancelled, what it raises is observed, what it
    returns too late is closed. Plain functions run in worker threads, and a loser is left behind there.

    Args:
        after: Seconds (or a `timedelta`) after which another attempt is made. Default `None`: the `quantile` of the
            last 200 calls that succeeded; until there are enough of them, nothing is hedged.
        quantile: Which one, above 0 and at most 0.995. Default 0.95: one call in twenty is hedged.
        attempts: The most attempts for one call, its own included. Default 2.
        budget: A `RetryBudget` to share with retries and other hedges; `"own"`: one of its own; `None`: without limit.
            It is asked for each further attempt.
        workers: For plain functions: the most threads. Where all are busy, calls are made unhedged in the caller's own
            thread. Default 64.
        name: What events and telemetry call it.

    Raises:
        TypeError: A parameter is of the wrong kind.
        ValueError: A parameter makes no sense, among them a `quantile` beside `after`.

    Example:
        ```python
        lookup = Hedge(name="lookup")

        @lookup
        async def find(words): ...
        ```
    """

    __slots__ = ("_after", "_budget", "_calls", "_share", "_totals", "_workers", "attempts", "latencies")

    kind = "hedge"

    def __init__(
        self,
        after: _checks.Seconds | None = None,
        *,
        quantile: float = _USUAL,
        attempts: int = 2,
        budget: RetryBudget | Literal["own"] | None = "own",
        workers: int = _WORKERS,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self._after = None if after is None else _checks.seconds("after", after)
        self._share = _checks.number("quantile", quantile, above=0.0, most=0.995)
        if after is not None and quantile != _USUAL:
            raise ValueError(f"quantile={quantile!r} has no effect beside after={after!r}; leave one of them out")
        self.attempts: int = _checks.whole("attempts", attempts, least=2)
        self._budget: RetryBudget | NoBudget = budget_from(budget)
        self._workers = Workers(self.label, _checks.whole("workers", workers, least=2))
        self.latencies: _Latencies = _Latencies(self._share, self._after)
        self._calls: Calls | None = None  # made with the first coroutine function: it brings asyncio along
        self._totals = _totals.Totals(*RESULTS)
        _totals.file(self, self._totals)
        _live.enrol(self)

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Wrap a plain function; most users want the decorator."""
        run = self._run

        def call(*args: Any, **kwargs: Any) -> Any:
            result = run(partial(fn, *args, **kwargs))
            return result

        return call

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        """Wrap a coroutine function; most users want the decorator."""
        begin, live, succeeded = self._calling().begin, self._after is None, self._succeeded

        async def call(*args: Any, **kwargs: Any) -> Any:
            running = begin(fn, args, kwargs)
            try:
                result = await fn(*args, **kwargs)
            except BaseException as error:
                if not await running.saved(error):
                    raise
                result = running.winner
            else:
                if running.race is None:  # as with nearly all
                    del running.live[running]
                else:
                    result = running.settle(result)
            if live:
                succeeded(running.began)
            return result

        return call

    def traits(self) -> Traits:
        """What a pipeline needs to know about this policy."""
        when = f"{self._after:g} s" if self._after is not None else f"what {self._share:.4g} of the calls take"
        return Traits(
            Role.HEDGE,
            f"hedge: up to {self.attempts} calls at once, one more after each {when}",
            most_calls=self.attempts,
            raises=(OutOfTime,),
        )

    @property
    def stats(self) -> HedgeStats:
        """How things stand at this moment."""
        counts = self._totals.read()
        return HedgeStats(self.latencies.delay, counts["won"], counts["lost"], counts["refused"])

    @property
    def calm(self) -> bool:
        """Always: how long calls take is soon found out anew."""
        return True

    def close(self) -> None:
        """End the worker threads: idle ones now, the others when their work has ended. Nothing is waited for.

        Further plain calls are a `RuntimeError`; async calls go on as before.
        """
        self._workers.close()

    def afford(self) -> bool:
        """Take leave for one more attempt from the budget."""
        if self._budget.take():
            return True
        self._totals.add("refused")
        return False

    def count(self, what: str) -> None:
        """Count an attempt that has "won" or "lost"."""
        self._totals.add(what)

    def _calling(self) -> "Calls":
        """What begins async calls."""
        from ._hedge_calls import Calls  # noqa: PLC0415 - a program without coroutines does without asyncio

        if self._calls is None:
            self._calls = Calls(self, self._budget)
        return self._calls

    def _run(self, attempt: Callable[[], Any]) -> Any:
        """One call of a plain function."""
        require_time(self.label)
        if self._budget.pressed:
            self._budget.deposit()
        began, delay = clock.now(), self.latencies.delay
        race = None if delay is None else ThreadRace(self, delay, attempt, self._workers)
        if race is None or not race.start():
            result = attempt()
        else:
            warn_if_blocking(self.label, "guard a coroutine function, which is hedged without threads")
            result = race.outcome()
        if self._after is None:
            self._succeeded(began)
        return result

    def _succeeded(self, began: float) -> None:
        """Take note of how long a call has taken: its own attempt, or as long as that was waited for."""
        self.latencies.add(clock.now() - began)

    def _shelve(self) -> Callable[[], None]:
        put_totals_back, shelved = self._totals.shelve(), self.latencies
        self.latencies = _Latencies(self._share, self._after)

        def put_back() -> None:
            put_totals_back()
            self.latencies = shelved

        return put_back

    def _after_fork(self) -> None:
        self.latencies.disown()


class _Latencies:
    """How long the last calls took, with the lock that they ask for.

    Attributes:
        delay: The delay that follows from them. It changes with a sample, so it is found then: each call reads it.
    """

    __slots__ = ("_lock", "_machine", "delay")

    def __init__(self, share: float, after: float | None) -> None:
        self._machine = Quantile(share)
        self._lock = threading.Lock()
        self.delay: float | None = after

    def add(self, seconds: float) -> None:
        """One more."""
        with self._lock:
            usual = self._machine.add(seconds)
            self.delay = usual if usual is None or usual > _SOONEST else _SOONEST

    def disown(self) -> None:
        """In a forked child: a lock of its own."""
        self._lock = threading.Lock()


def _readings() -> list[Reading]:
    return [
        (value, {POLICY_NAME: label, HEDGE_RESULT: result})
        for label, counts in _totals.totals_of("hedge").items()
        for result, value in counts.items()
    ]


declare(
    Instrument(
        "resilience.hedges",
        "counter",
        "{hedge}",
        "Further attempts at calls that took long, by what became of them",
        (POLICY_NAME, HEDGE_RESULT),
        _readings,
    )
)
