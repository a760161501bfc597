"""Several attempts at one call, of which the first to succeed wins: what is the same for threads and for tasks.

The first attempt, the *primary*, is the call itself; a *rival* is begun when the primary has taken so long. While one
of them is under way, a failure decides nothing: only when all have failed does the caller get the primary's error. Who
has lost is told to stop; what it raises is looked at by nobody, and what it returns, too late, is closed.

    begun ── a success ─────────────────────────► decided: the losers are told to stop
       │ so long                     ▲
       ▼                             │
    a rival is begun, if the budget  │
    and the time allow ──────────────┘
       │ all have failed
       ▼
    decided: the primary's error

What is no `Exception` (Ctrl-C, `SystemExit`), raised by any of them, ends the race: no other attempt makes up for it.
"""

import inspect
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any, Protocol

from ._ambient import seconds_left
from ._events import Hedged, emit, report
from ._raising import annotate

_UNDECIDED: Any = object()


class Starter(Protocol):
    """The policy, as a race needs it."""

    @property
    def label(self) -> str:
        """Its name."""
        ...

    @property
    def attempts(self) -> int:
        """The most attempts, the primary included."""
        ...

    def afford(self) -> bool:
        """Take leave for one rival from the budget."""
        ...

    def count(self, what: str) -> None:
        """Count a rival that has "won" or "lost"."""
        ...


class Race(ABC):
    """One call.

    Args:
        hedge: The policy.
        delay: After how many seconds the next rival is begun.
    """

    __slots__ = ("delay", "end", "errors", "hedge", "running", "started", "winner")

    def __init__(self, hedge: Starter, delay: float) -> None:
        self.hedge = hedge
        self.delay = delay
        self.started = 1
        self.running = 1
        self.winner: Any = _UNDECIDED
        self.errors: dict[int, BaseException] = {}
        self.end: BaseException | None = None  # what no attempt can make up for

    @property
    def decided(self) -> bool:
        """Whether an attempt has succeeded."""
        return self.winner is not _UNDECIDED

    @property
    def open(self) -> bool:
        """Whether another rival may be begun."""
        return not self.decided and self.end is None and self.started < self.hedge.attempts

    def fire(self) -> bool:
        """Begin a rival, if that is allowed now."""
        if not self.open or seconds_left() == 0.0 or not self.hedge.afford():
            return False
        number = self.begin()
        if number is None:
            return False
        emit(Hedged(self.hedge.label, number, self.delay))
        return True

    @abstractmethod
    def begin(self) -> int | None:
        """Begin a rival: its number; `None` if there is nobody to run it."""

    def win(self, number: int, result: object) -> bool:
        """An attempt has succeeded; false if another one had before, or the race was over."""
        self.running -= 1
        if self.decided or self.end is not None:
            return False
        self.winner = result
        for rival in range(2, self.started + 1):
            self.hedge.count("won" if rival == number else "lost")
        return True

    def fail(self, number: int, error: BaseException) -> None:
        """An attempt has failed."""
        self.running -= 1
        self.errors[number] = error
        if not (self.decided or isinstance(error, Exception)):
            self.end = self.end or error

    def void(self) -> None:
        """Nobody has won, and nobody wins any more: what still comes is closed."""
        self.winner = None
        for _ in range(2, self.started + 1):
            self.hedge.count("lost")

    def verdict(self) -> BaseException:
        """What the caller gets when nobody has won: the primary's error, and what became of the others."""
        self.void()
        if self.end is not None:
            return self.end
        error = self.errors[1]
        others = [f"attempt {number} failed too: {_told(self.errors[number])}" for number in sorted(self.errors)[1:]]
        if others:
            annotate(error, "; ".join(others))
        return error


def _told(error: BaseException) -> str:
    """An error as one line; one that cannot say what it is must not take another one's place."""
    kind = type(error).__name__
    with suppress(Exception):
        return f"{kind}: {error}"
    return kind


def close_now(result: object) -> None:
    """Close what a plain attempt has returned too late: a response, a connection."""
    try:
        close = getattr(result, "close", None)
        if callable(close) and not inspect.iscoroutinefunction(close):
            close()
    except Exception as error:  # noqa: BLE001 - it is the user's, and nobody waits for it
        _report(error, result)


async def aclose_now(result: object) -> None:
    """Close what an attempt has returned too late, also where that has to be awaited."""
    try:
        close = getattr(result, "aclose", None)
        if not inspect.iscoroutinefunction(close):
            close = getattr(result, "close", None)
        if inspect.iscoroutinefunction(close):
            await close()
        else:
            close_now(result)
    except Exception as error:  # noqa: BLE001 - see above
        _report(error, result)


def _report(error: Exception, result: object) -> None:
    report(error, "%r raised when it was closed, after another attempt had won", result)
