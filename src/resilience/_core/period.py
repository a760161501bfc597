"""What holds for one stretch of a circuit breaker's life.

A call reads the current `Period` once when it starts and brings it back with its outcome. By then another period may
have begun, and an outcome whose book is not the current one changes nothing: that is the whole fence against stale
outcomes, without generation numbers and without comparing times.

Nothing here decides; it is what the machine decides about, and what a call that passes through has to look at.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import Any

from .states import State
from .windows import Ledger, Rate, slow_limit

RAMP_FLOOR = 0.1
"""The share of calls let in at the first moment of a ramp."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chose, checked. Durations are in seconds.

    Attributes:
        run: Failures in a row that open it; `None` if they do not count.
        rates: Rates that open it.
        cooldown: How long it stays open, before growth and jitter.
        longest: What the cooldown may grow to; `None` if it does not grow.
        jitter: How much of the cooldown chance may add.
        probes: How many calls test the service before it closes.
        lease: How long a probe may take before its place is given to another.
        ramp: How long after a close it takes until all calls are let in; `None` to let all in at once.
        on: Whether an error is a failure.
        ignore: Whether it is none, whatever `on` says.
        judge: Whether a result is a failure, if anybody asks.
    """

    run: int | None
    rates: tuple[Rate, ...]
    cooldown: float
    longest: float | None
    jitter: float
    probes: int
    lease: float
    ramp: float | None
    on: Any
    ignore: Any
    judge: Callable[[Any], bool] | None

    @property
    def slow_after(self) -> float:
        """The seconds after which a call is slow; `inf` if no rule asks."""
        return slow_limit(self.rates)

    def rules(self) -> str:
        """What opens it, in words."""
        run = [] if self.run is None else [f"{self.run} in a row fail"]
        return " or ".join([*run, *map(str, self.rates)])

    def wait(self, openings: int, roll: float) -> float:
        """How long to stay open for the n-th time in a row: doubled each time up to `longest`, then jittered up."""
        grown = self.cooldown
        if self.longest is not None:
            grown = min(self.longest, self.cooldown * 2.0 ** min(openings - 1, 1_000))
        return grown * (1.0 + self.jitter * roll)

    @property
    def longest_wait(self) -> float:
        """The longest it can stay open at one go."""
        return (self.longest or self.cooldown) * (1.0 + self.jitter)


class Episode:
    """What is counted while half open: the probes under way, and how many succeeded."""

    __slots__ = ("live", "succeeded")

    def __init__(self) -> None:
        self.live: dict[Probe, None] = {}
        self.succeeded = 0


class Ramp:
    """Lets in a growing share of the calls: evenly spread and without chance, by carrying the fraction over."""

    __slots__ = ("_credit", "_seconds", "_since")

    def __init__(self, since: float, seconds: float) -> None:
        self._since = since
        self._seconds = seconds
        self._credit = 1.0 - RAMP_FLOOR  # so that the very first call is let in

    def left(self, now: float) -> float:
        """Seconds until all calls are let in."""
        return self._since + self._seconds - now

    def share(self, now: float) -> float:
        """The share of calls that is let in now."""
        return min(1.0, RAMP_FLOOR + (1.0 - RAMP_FLOOR) * (now - self._since) / self._seconds)

    def lets_in(self, now: float) -> bool:
        """Whether to let in the call at hand."""
        self._credit += self.share(now)
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True


class Period:
    """What holds for one stretch of a breaker's life, laid out for the calls that pass through it.

    The last eight attributes are all that most calls look at, so each is a plain value.

    Attributes:
        state: The state.
        reason: Why it began.
        options: What was configured then: a call is judged by what held when it started.
        book: What outcomes are counted in; `None` where they are not.
        ramp: How calls are let in after a close; `None` if all are.
        quiet: In a dry run, the time up to which it would be open; nothing is counted then.
        superseded: Whether other options hold by now, for the same book.
        free_until: The time from which a success needs the lock: a part of a time window ends; `inf` for never, `-inf`
            for always.
        refusal: What a refused call is told.
        until: The time up to which every call is refused; `-inf` where none is.
        special: Whether a call must ask before it starts.
        timed: Whether it matters when a call started.
        counts: Whether a success is to be counted, or looked at, at all.
        plain: Whether it can be counted by a number from `calls` and nothing else.
        edge: The same as `free_until`, but `-inf` also where results are to be looked at.
        slow_after: The seconds above which a call is slow; `inf` if none is.
        calls: Where a success takes its number.
    """

    __slots__ = (
        "book",
        "calls",
        "counts",
        "edge",
        "free_until",
        "options",
        "plain",
        "quiet",
        "ramp",
        "reason",
        "refusal",
        "slow_after",
        "special",
        "state",
        "superseded",
        "timed",
        "until",
    )

    def __init__(
        self, state: State, options: Options, reason: str, *, book: Ledger | Episode | None = None, until: float = -inf
    ) -> None:
        self.state = state
        self.options = options
        self.reason = reason
        self.book = book
        self.ramp: Ramp | None = None
        self.quiet = -inf
        self.superseded = False
        self.refusal = f"open: {reason}" if until < inf else f"isolated{reason and f': {reason}'}; reset() ends that"
        self.until = until
        self.special = state in {State.OPEN, State.HALF_OPEN, State.ISOLATED}
        self.slow_after = options.slow_after
        self.timed = self.slow_after < inf
        self.calls = book.calls if isinstance(book, Ledger) else _NO_CALLS
        self.lay_out()

    def lay_out(self) -> None:
        """Bring up to date what depends on the counts."""
        book = self.book
        lock_free = isinstance(book, Ledger) and book.run == 0 and not self.superseded
        looks = book is not None and (self.options.judge is not None or not lock_free)
        self.free_until = book.edge if isinstance(book, Ledger) and lock_free else -inf
        self.edge = -inf if looks else self.free_until
        self.plain = self.edge == inf and not self.timed
        self.counts = looks or (isinstance(book, Ledger) and bool(book.windows))

    def count_quickly(self, now: float, started: float) -> bool:
        """Count a success, whose result has been looked at, without the lock; false if that cannot be done."""
        if now >= self.free_until or now - started > self.slow_after:
            return False
        next(self.calls)
        return True


class Probe(Period):
    """A call that tests the service while half open: a period of its own, of one call.

    Attributes:
        episode: The half-open period it belongs to; the same as `book`.
        expires: When its place is given to another.
    """

    __slots__ = ("episode", "expires")

    def __init__(self, options: Options, reason: str, episode: Episode, expires: float) -> None:
        super().__init__(State.HALF_OPEN, options, reason, book=episode)
        self.episode = episode
        self.expires = expires


_NO_CALLS = count()
