"""The circuit breaker as a machine: who may pass, what is learned from it, and where that leads.

It moves by the graph in `states`, from one `Period` to the next; a call carries the period that let it in, and an
outcome whose book is not the current one changes nothing.

Every method of `Circuit` is called under its owner's lock; what it wants told to the world it hands over as `News`. The
machine knows no threads, no chance and no user code: the time and a roll of the dice are arguments.
"""

from collections.abc import Callable
from math import inf
from typing import NamedTuple

from .period import Episode, Options, Period, Probe, Ramp
from .saved import Saved
from .states import TRANSITIONS, VERBS, Cause, Outcome, State
from .windows import Ledger, Rate, Tally


class Refusal(NamedTuple):
    """Why a call is not let in, and for how many seconds; `inf` if that is not known."""

    reason: str
    retry_after: float


class Change(NamedTuple):
    """One transition."""

    before: State
    after: State
    reason: str
    lasts: float | None


class WouldHaveOpened(NamedTuple):
    """In a dry run, the moment at which it would have opened."""

    reason: str


News = Change | WouldHaveOpened
"""What the world may want to know."""


class Circuit:
    """The machine.

    Attributes:
        options: What is configured now.
        period: The current period. Read without a lock, replaced under it.
        openings: How often it opened in a row without closing in between.

    Args:
        options: What the user chose.
        count: Called with what is to be counted: an `Outcome`, or the `State` that was entered.
        post: Called with what is to be told, in the order in which it happens.
    """

    __slots__ = ("_count", "_post", "openings", "options", "period")

    def __init__(self, options: Options, count: Callable[[str], object], post: Callable[[News], object]) -> None:
        self._count = count
        self._post = post
        self.options = options
        self.start()

    def start(self) -> None:
        """Begin anew: closed and calm, as if just made."""
        self.openings = 0
        self.period = self._counting(State.CLOSED, "")

    def shelve(self) -> Callable[[], None]:
        """Begin anew; returns what puts the present state back."""
        before = self.options, self.openings, self.period
        self.start()

        def put_back() -> None:
            self.options, self.openings, self.period = before

        return put_back

    def state(self, now: float) -> State:
        """The state as of now: one whose wait is over is half open, though no call has come to notice."""
        period = self.period
        return State.HALF_OPEN if period.state is State.OPEN and now >= period.until else period.state

    @property
    def run(self) -> int:
        """Failures in a row, up to now; 0 where they are not counted."""
        return self.period.book.run if isinstance(self.period.book, Ledger) else 0

    def tallies(self, now: float) -> list[tuple[Rate, Tally]]:
        """What each rate rule sees; nothing while outcomes are not counted."""
        return self.period.book.tallies(now) if isinstance(self.period.book, Ledger) else []

    def calm(self, now: float) -> bool:
        """Whether it is as if just made: closed, every call is let in, and no failure or slow call counts any more."""
        period = self.period
        if period.state is not State.CLOSED or (period.ramp is not None and period.ramp.left(now) > 0.0):
            return False
        counting = self.options.run is not None and self.run > 0
        return self.openings == 0 and not counting and not any(tally.bad for _, tally in self.tallies(now))

    # Who may pass

    def admit(self, now: float) -> Period | Refusal:
        """Let a call in, or not. The first one after the wait begins the half-open period."""
        period = self.period
        if now < period.until:
            return Refusal(period.refusal, period.until - now)
        if period.state is State.OPEN:
            self._move(Cause.COOLED, "the cooldown is over", book=Episode())
            period = self.period
        if isinstance(period.book, Episode):
            return self._probe(period, period.book, now)
        if period.ramp is not None:
            return self._ramp(period, period.ramp, now)
        if period.state is State.DRY_RUN and period.special and now >= period.quiet:
            period = self.period = self._counting(State.DRY_RUN, period.reason)
        return period

    def _probe(self, period: Period, episode: Episode, now: float) -> Probe | Refusal:
        for probe in [probe for probe in episode.live if now >= probe.expires]:
            del episode.live[probe]
        places = self.options.probes
        if len(episode.live) + episode.succeeded >= places:
            return Refusal(f"half open, and its {places} probe{'s are' if places > 1 else ' is'} under way", inf)
        probe = Probe(period.options, period.reason, episode, now + self.options.lease)
        episode.live[probe] = None
        return probe

    def _ramp(self, period: Period, ramp: Ramp, now: float) -> Period | Refusal:
        left = ramp.left(now)
        if left <= 0.0:
            period.ramp = None
            period.special = False
        elif not ramp.lets_in(now):
            return Refusal(f"closed a moment ago, and lets in {ramp.share(now):.0%} of the calls", left)
        return period

    # What is learned

    def record(self, admitted: Period, outcome: Outcome, *, now: float, started: float, roll: float, text: str) -> None:
        """Take note of how a call ended.

        Args:
            admitted: What the call carried.
            outcome: How it ended, apart from its duration.
            now: The time.
            started: The time when it started; of no meaning unless `admitted.timed`.
            roll: Chance, over [0, 1), for the wait if it opens now.
            text: What went wrong, in words.
        """
        took = now - started if admitted.timed else 0.0
        judged = outcome is Outcome.SUCCESS or outcome is Outcome.FAILURE
        slow = judged and admitted.timed and took > admitted.options.slow_after
        if slow or outcome is not Outcome.SUCCESS:
            self._count(Outcome.SLOW if slow else outcome)
        if admitted.book is not self.period.book:
            return
        if slow:
            text = f"{text or 'a call'}, after {took:.3g} s"
        if isinstance(admitted, Probe):
            self._decide(admitted, outcome, slow=slow, now=now, roll=roll, text=text)
        elif judged and isinstance(admitted.book, Ledger):
            self._weigh(admitted.book, failed=outcome is Outcome.FAILURE, took=took, now=now, roll=roll, text=text)

    def _weigh(self, ledger: Ledger, *, failed: bool, took: float, now: float, roll: float, text: str) -> None:
        limit = self.options.run
        met = ledger.record(now, failed=failed, took=took)
        self.period.lay_out()
        if failed and limit is not None and ledger.run >= limit:
            self._trip(f"{ledger.run} failure{'s' if ledger.run > 1 else ''} in a row, the last one {text}", now, roll)
        elif met is not None:
            self._trip(f"{met.rule}, the last one {text}", now, roll)

    def _decide(self, probe: Probe, outcome: Outcome, *, slow: bool, now: float, roll: float, text: str) -> None:
        episode = probe.episode
        if probe not in episode.live:
            return
        del episode.live[probe]
        if now >= probe.expires:
            return
        if slow or outcome is Outcome.FAILURE:
            self._open(Cause.RELAPSED, f"a probe failed: {text}", now, roll)
        elif outcome is Outcome.SUCCESS:
            episode.succeeded += 1
            self._close_if_proven(episode, now)

    def _close_if_proven(self, episode: Episode, now: float) -> None:
        if episode.succeeded >= self.options.probes:
            self.openings = 0
            self._move(
                Cause.RECOVERED, f"{episode.succeeded} probe{'s' if episode.succeeded > 1 else ''} succeeded", now=now
            )

    def _trip(self, reason: str, now: float, roll: float) -> None:
        if self.period.state is State.DRY_RUN:
            self._post(WouldHaveOpened(reason))
            self.period = Period(State.DRY_RUN, self.options, self.period.reason)
            self.period.quiet = now + self.options.wait(1, roll)
            self.period.special = True
        else:
            self._open(Cause.TRIPPED, reason, now, roll)

    def _open(self, cause: Cause, reason: str, now: float, roll: float) -> None:
        self.openings += 1
        lasts = self.options.wait(self.openings, roll)
        self._move(cause, reason, until=now + lasts, lasts=lasts)

    # Verbs

    def force(self, verb: Cause, reason: str) -> None:
        """Go where a verb leads; timers have no say there."""
        if verb is Cause.RESET:
            self.openings = 0
        self._move(verb, reason, until=inf if verb is Cause.ISOLATE else -inf)

    def save(self, now: float, wall: float) -> Saved:
        """What another process needs to go on from here."""
        state, period = self.state(now), self.period
        until = wall + period.until - now if state is State.OPEN else None
        return Saved(state, period.reason, until, self.openings, self.run)

    def restore(self, saved: Saved, now: float, wall: float) -> None:
        """Go on from there: a wait has as much left as it had, but never more than this configuration allows."""
        if saved.state in {State.OPEN, State.HALF_OPEN}:
            lasts = min(max((saved.until or wall) - wall, 0.0), self.options.longest_wait)
            self._move(Cause.RESTORE, saved.reason, until=now + lasts, lasts=lasts)
        else:
            self.force(next(verb for verb, state in VERBS.items() if state is saved.state), saved.reason)
        self.openings = saved.openings
        if isinstance(self.period.book, Ledger) and self.options.run is not None:
            self.period.book.run = min(saved.run, self.options.run - 1)
            self.period.lay_out()

    def configure(self, options: Options, now: float) -> None:
        """Use other options from now on. Counts, waits and leases go on; calls under way are judged by the old ones."""
        old = self.period
        self.options = options
        if isinstance(old.book, Ledger):
            old.book.adopt(options.rates)
        new = Period(old.state, options, old.reason, book=old.book, until=old.until)
        new.ramp, new.special, new.quiet = old.ramp, old.special, old.quiet
        old.superseded = True
        old.lay_out()
        self.period = new
        if isinstance(old.book, Episode):
            self._close_if_proven(old.book, now)

    def orphan(self) -> None:
        """In a forked child: the parent's probes are not ours to wait for."""
        if isinstance(self.period.book, Episode):
            self.period.book.live.clear()

    # How it moves

    def _move(
        self,
        cause: Cause,
        reason: str,
        *,
        book: Episode | None = None,
        until: float = -inf,
        lasts: float | None = None,
        now: float | None = None,
    ) -> None:
        before = self.period.state
        after = TRANSITIONS[before, cause]
        if after in {State.CLOSED, State.DRY_RUN}:
            period = self._counting(after, reason)
            if now is not None and self.options.ramp is not None:
                period.ramp, period.special = Ramp(now, self.options.ramp), True
        else:
            period = Period(after, self.options, reason, book=book, until=until)
        self.period = period
        if after is not before:
            self._tell(Change(before, after, reason, lasts))

    def _counting(self, state: State, reason: str) -> Period:
        """A period with a fresh ledger."""
        return Period(state, self.options, reason, book=Ledger(self.options.rates))

    def _tell(self, change: Change) -> None:
        self._count(change.after)
        self._post(change)
