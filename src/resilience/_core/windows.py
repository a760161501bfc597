"""How outcomes are counted: failures in a row, and rates over the last calls or the last seconds.

All windows of one period share one counter, an `itertools.count`. A quick success takes a number from it and is done:
that is one atomic step in C, so it needs no lock. What went wrong takes a number too, under its owner's lock, and every
window keeps only what it needs of those:

* `CallWindow`: the numbers of the bad calls among the last n. This is the ring buffer's exact answer, with memory for
  the bad calls only.
* `TimeWindow`: at most 100 marks, each the counts as they stood at one moment. The oldest mark that is young enough is
  subtracted from the counts of now, so an outcome counts for at least 99 % of the window's seconds, never longer.

Both take constant (amortised) time, however many calls they hold. Locks, threads and the clock are their owner's; the
time comes in as an argument.
"""

from collections import deque
from collections.abc import Iterable
from itertools import count
from math import inf
from typing import NamedTuple, Protocol

MARKS = 100
"""Into how many parts a time window is cut: its precision is 1 / MARKS of its seconds."""


class Rate(Protocol):
    """The rule that a window is kept for: see `FailureRate` and `SlowRate`."""

    @property
    def ratio(self) -> float:
        """The share that is too much."""
        ...

    @property
    def calls(self) -> int | None:
        """The window in calls."""
        ...

    @property
    def seconds(self) -> float | None:
        """The window in seconds."""
        ...

    @property
    def minimum(self) -> int:
        """The fewest calls that can be judged."""
        ...

    @property
    def slower_than(self) -> float | None:
        """The seconds after which a call is slow; `None` if the rule is about failures."""
        ...


class Tally(NamedTuple):
    """What is in a window: how many calls, and how many of them were bad."""

    calls: int
    bad: int


def peek(counter: "count[int]") -> int:
    """The number that an `itertools.count` gives out next. Its text is the only place to see it without taking it."""
    return int(repr(counter)[len("count(") : -1])


class CallWindow:
    """The last `size` calls."""

    __slots__ = ("_bad", "_first", "_size", "rule")

    edge = inf
    """When a success must come by the lock again: never."""

    def __init__(self, rule: Rate, size: int, first: int) -> None:
        self.rule = rule
        self._size = size
        self._first = first
        self._bad: deque[int] = deque()

    def roll(self, _now: float, number: int) -> None:
        """Take note that this number was given out."""
        while self._bad and self._bad[0] <= number - self._size:
            self._bad.popleft()

    def add(self, number: int) -> None:
        """Count the call of this number as bad."""
        self._bad.append(number)

    def tally(self, _now: float, following: int) -> Tally:
        """What is in the window when `following` is the next number."""
        self.roll(_now, following - 1)
        return Tally(min(following - self._first, self._size), len(self._bad))


class _Mark(NamedTuple):
    since: float
    number: int
    bad: int


class TimeWindow:
    """The last so many seconds."""

    __slots__ = ("_bad", "_marks", "_seconds", "edge", "rule")

    def __init__(self, rule: Rate, seconds: float) -> None:
        self.rule = rule
        self._seconds = seconds
        self._marks: deque[_Mark] = deque()
        self._bad = 0
        self.edge = -inf

    def roll(self, now: float, number: int) -> None:
        """Take note that this number was given out now, and begin a new part of the window when one is due."""
        self._forget(now)
        if now >= self.edge:
            self._marks.append(_Mark(now, number, self._bad))
            self.edge = now + self._seconds / MARKS

    def add(self, _number: int) -> None:
        """Count the latest call as bad."""
        self._bad += 1

    def tally(self, now: float, following: int) -> Tally:
        """What is in the window when `following` is the next number."""
        self._forget(now)
        if not self._marks:
            return Tally(0, 0)
        oldest = self._marks[0]
        return Tally(following - oldest.number, self._bad - oldest.bad)

    def _forget(self, now: float) -> None:
        while self._marks and now - self._marks[0].since >= self._seconds:
            self._marks.popleft()


Window = CallWindow | TimeWindow


class Ledger:
    """All that is counted in one closed period. Everything but `calls` belongs to the owner's lock.

    Attributes:
        calls: Gives every counted call its number.
        run: Failures in a row, up to now.
        windows: One for each rate rule.
        edge: The time from which even a quick success must come by the lock, to begin a new part of a time window.
    """

    __slots__ = ("calls", "edge", "run", "windows")

    def __init__(self, rates: Iterable[Rate]) -> None:
        self.calls = count()
        self.run = 0
        self.windows: tuple[Window, ...] = ()
        self.adopt(rates)

    def adopt(self, rates: Iterable[Rate]) -> None:
        """Count by these rules from now on: a rule that was there before keeps its counts."""
        kept = {window.rule: window for window in self.windows}
        self.windows = tuple(kept.get(rule) or self._window(rule) for rule in rates)
        self._find_edge()

    def record(self, now: float, *, failed: bool, took: float) -> Window | None:
        """Count one call.

        Args:
            now: The time.
            failed: Whether it failed.
            took: How long it took, in seconds.

        Returns:
            A window whose rule this call brought to its limit, if there is one.
        """
        number = next(self.calls)
        self.run = self.run + 1 if failed else 0
        met = None
        for window in self.windows:
            window.roll(now, number)
            if _is_bad(window.rule, failed, took):
                window.add(number)
                met = window if _exceeded(window.rule, window.tally(now, number + 1)) else met
        if self.windows:
            self._find_edge()
        return met

    def tallies(self, now: float) -> list[tuple[Rate, Tally]]:
        """What each window holds now."""
        following = peek(self.calls)
        return [(window.rule, window.tally(now, following)) for window in self.windows]

    def _window(self, rule: Rate) -> Window:
        if rule.calls is not None:
            return CallWindow(rule, rule.calls, peek(self.calls))
        return TimeWindow(rule, rule.seconds or inf)

    def _find_edge(self) -> None:
        self.edge = min((window.edge for window in self.windows), default=inf)


def slow_limit(rates: Iterable[Rate]) -> float:
    """The seconds after which a call is slow by any of the rules; `inf` if none asks."""
    return min((rule.slower_than for rule in rates if rule.slower_than is not None), default=inf)


def _is_bad(rule: Rate, failed: bool, took: float) -> bool:
    return failed if rule.slower_than is None else took > rule.slower_than


def _exceeded(rule: Rate, tally: Tally) -> bool:
    # Division, not multiplication: 7 / 100 >= 0.07 holds in floats, 7 >= 0.07 * 100 does not.
    return tally.calls >= rule.minimum and tally.bad / tally.calls >= rule.ratio
