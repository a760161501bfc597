"""The retry budget: one purse for all retries (and hedges) that share it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import NoReturn

from . import _checks, _live
from ._clock import clock
from ._core.budget import Budget
from ._family import family_of


@dataclass(frozen=True, slots=True)
class BudgetStats:
    """A retry budget at one moment.

    Attributes:
        balance: How many retries could be afforded now.
        calls: How many calls have paid in; calm ones need not, see `RetryBudget.pressed`.
        granted: How many retries were afforded.
        refused: How many were not.
    """

    balance: float
    calls: int
    granted: int
    refused: int


class RetryBudget:
    """How many retries the calls that share it may make: a share of the calls, plus a few per second.

    When a service is down, every call fails and every caller retries: three attempts each are three times the load on a
    service that cannot carry one. A budget lets single failures be retried freely, and stops the storm. It is full at
    the start. In the time `t` since then, with `c` calls, at most `ratio * c + minimum_per_second * (t + window)`
    retries are made.

    Each `retry` has one of its own unless one is passed: `retry(on=..., budget=shared)`. Where two layers of a pipeline
    share it (a retry, and a hedge inside), each pays in for the calls that it sees: `c` counts an attempt of the outer
    one as a call of the inner one.

    Attributes:
        pressed: Whether a retry was asked for within the last `window`. Only then do calls pay in: what they would have
            paid before has faded by the time it could be needed, and the reserve is full. So calm costs one look at
            this. Always true of a budget without a reserve, which lives by what calls have paid in.

    Args:
        ratio: Retries per call, in the long run. Default 0.2: the load on the service stays below 120 %.
        minimum_per_second: Retries allowed per second whatever the traffic. Default 10.
        window: Seconds (or a `timedelta`) over which what calls have paid in fades. Default 10 s.
        name: For messages and the registry.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is negative, not finite, or senseless: a `minimum_per_second` that never saves up one
            whole retry within `window`.
    """

    __slots__ = (
        "__weakref__",
        "_asked",
        "_calls",
        "_granted",
        "_lock",
        "_machine",
        "_options",
        "_read",
        "_refused",
        "_saves",
        "name",
        "pressed",
    )

    kind = "retry_budget"

    def __init__(
        self,
        ratio: float = 0.2,
        *,
        minimum_per_second: float = 10,
        window: _checks.Seconds = 10.0,
        name: str | None = None,
    ) -> None:
        self.name: str | None = None if name is None else _checks.text("name", name)
        family_of(self, name)
        self._options = (
            _checks.number("ratio", ratio, least=0.0),
            _checks.number("minimum_per_second", minimum_per_second, least=0.0),
            _checks.seconds("window", window),
        )
        self._saves = _has_reserve(*self._options[1:])
        self._lock = threading.Lock()
        self._calls = count()
        self._read = 0
        self._granted = 0
        self._refused = 0
        self._asked = clock.now()
        self.pressed: bool = not self._saves
        self._machine = Budget(*self._options, clock.now())
        _live.enrol(self)

    def deposit(self) -> None:
        """One more call, while the budget is pressed. Takes no lock: the count is read only where a retry asks."""
        next(self._calls)
        if clock.now() - self._asked > self._options[2]:
            self.pressed = not self._saves

    def take(self) -> bool:
        """Ask for one retry: check and take in one step. False if the budget is spent."""
        now = clock.now()
        self._asked = now
        self.pressed = True
        with self._lock:
            granted = self._machine.take(now, self._paid_in())
            if granted:
                self._granted += 1
            else:
                self._refused += 1
            return granted

    @property
    def calm(self) -> bool:
        """See `Layer.calm`: for so long no retry was asked for that the reserve is full again."""
        return not self.pressed or clock.now() - self._asked > self._options[2]

    @property
    def stats(self) -> BudgetStats:
        """The budget at this moment."""
        now = clock.now()
        with self._lock:
            calls = self._paid_in()
            return BudgetStats(self._machine.balance(now, calls), calls, self._granted, self._refused)

    def _paid_in(self) -> int:
        """How many deposits there were. Looking at the counter moves it, so the looks are counted and taken off."""
        calls = next(self._calls) - self._read
        self._read += 1
        return calls

    def _shelve(self) -> Callable[[], None]:
        with self._lock:
            calls = self._paid_in()
            kept = (self._machine, self._granted, self._refused, self._asked, self.pressed)
            self._machine, self._granted, self._refused = Budget(*self._options, clock.now()), 0, 0
            self._asked, self.pressed = clock.now(), not self._saves
            self._read += calls

        def put_back() -> None:
            with self._lock:
                self._machine, self._granted, self._refused, self._asked, self.pressed = kept
                since = self._paid_in() - calls
                self._read += since

        return put_back

    def _after_fork(self) -> None:
        self._lock = threading.Lock()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} is a live count that cannot be copied; make one in each process and share it there")

    def __repr__(self) -> str:
        ratio, minimum, window = self._options
        named = f", name={self.name!r}" if self.name else ""
        return f"RetryBudget({ratio:g}, minimum_per_second={minimum:g}, window={window:g}{named})"


def _has_reserve(minimum: float, window: float) -> bool:
    """Whether there is a reserve at all; one that never holds a whole retry is no reserve."""
    if 0.0 < minimum * window < 1.0:
        raise ValueError(
            f"minimum_per_second must be 0, or save up at least one retry within window ({window:g} s), got "
            f"{minimum!r}: that is {minimum * window:.3g}; make window at least {1.0 / minimum:.4g}"
        )
    return minimum > 0.0


class NoBudget:
    """`budget=None`: every retry is afforded."""

    __slots__ = ()

    pressed = False

    def deposit(self) -> None:
        """Nothing is counted."""

    def take(self) -> bool:
        """Always."""
        return True


def budget_from(budget: object) -> RetryBudget | NoBudget:
    """What a policy's `budget=` means."""
    if budget is None:
        return NoBudget()
    if isinstance(budget, RetryBudget):
        return budget
    if budget == "own":
        return RetryBudget()
    raise TypeError(f"budget must be a RetryBudget, None, or 'own' for one of its own, got {budget!r}")
