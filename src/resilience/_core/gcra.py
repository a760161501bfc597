"""The rates of a limiter, and the queue for them: a machine without a lock, a clock, or a thread.

It is the generic cell rate algorithm (ITU-T I.371, annex A), its one number kept in permits rather than in seconds, so
that whole costs stay whole: `spent` permits at the moment `since`, of which `speed` a second come back. A cost conforms
from the moment on at which, with it, no more than `burst` are spent::

    due = since + (spent + cost - burst) / speed

That moment depends on what was admitted, never on when somebody asks: so it is both what decides and what a refused
caller is told, and whoever comes back exactly then is admitted. Several rates are several such numbers: the latest
`due` counts, and a cost is taken from all of them or from none.

Who waits has taken nothing. A place in the queue is a cost and a turn; the first in the queue takes when it is due. So
one that leaves has nothing to give back, and those behind it move up by themselves.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import count, islice
from math import inf, nextafter
from typing import Generic, NamedTuple, Protocol, TypeVar

TICK = 1e-9
"""Seconds that no clock tells apart: what is due within them is due now, whatever rounding did to the last digit."""

GRACE = 2.5
"""Seconds after which one that was due and did not take goes out of the way: its event loop has stopped, or hangs."""


class Flow(NamedTuple):
    """One rate: `speed` permits a second, of which `burst` are there at once."""

    speed: float
    burst: float


class Gauge:
    """How much of one rate is spent.

    Attributes:
        speed: Permits that come back each second.
        burst: The most that may be spent at a time.
        spent: Permits spent at the moment `since`; more than `burst`: a debt.
        since: A moment.
    """

    __slots__ = ("burst", "since", "speed", "spent")

    def __init__(self, flow: Flow, spent: float, now: float) -> None:
        self.speed: float = flow.speed
        self.burst: float = flow.burst
        self.spent: float = spent
        self.since: float = now

    def due(self, cost: float) -> float:
        """The moment from which on `cost` conforms; the beginning of time if it does already."""
        over = self.spent + cost - self.burst
        return self.since + over / self.speed if over > 0.0 else -inf

    def at(self, now: float) -> float:
        """How much is spent at a moment."""
        return max(0.0, self.spent - max(0.0, now - self.since) * self.speed)

    def set(self, spent: float, now: float) -> None:
        """Write down how much is spent at a moment."""
        self.spent = spent
        self.since = max(now, self.since)


_SHUT = Gauge(Flow(1.0, -inf), 0.0, 0.0)
"""A rate that nothing conforms to."""


class Home(Protocol):
    """Who waits."""

    @property
    def home(self) -> Hashable:
        """What runs it: an event loop, or the same for all threads."""
        ...


W = TypeVar("W", bound=Home)


class Stage(Enum):
    """Where one who waits stands."""

    WAITS = "waits"
    TAKEN = "taken"
    HOPELESS = "hopeless"
    """What it waits for cannot arrive any more before it has to end."""
    PASSED = "passed"
    """It was due and did not come: it gets its turn back when it does."""


@dataclass(slots=True, eq=False)
class Place(Generic[W]):
    """A place in the queue.

    Attributes:
        waiter: Whose it is.
        cost: What it will take.
        ends: The last moment at which that may be.
        turn: Its number in the order of arrival, once it has arrived.
        stage: What became of it.
        mark: Once taken, the `total` at that moment.
        called: When it came to stand first.
    """

    waiter: W
    cost: float
    ends: float
    turn: int = -1
    stage: Stage = Stage.WAITS
    mark: float = 0.0
    called: float = inf


class Gcra(Generic[W]):
    """Several rates that hold together, and a first-in-first-out queue for them.

    Attributes:
        gauges: The rates.
        door: The rate that a newcomer may take from without further ado: where there is one, and nobody waits. Else one
            that has nothing to give. So the free path asks one question: is there enough?
        total: All that was ever taken: what was taken since a mark is a difference.
        queue: Who waits, by turns.
        dismissed: Whom a change has left without hope, to be woken.
    """

    __slots__ = ("_ahead", "_homes", "_turns", "dismissed", "door", "gauges", "queue", "total")

    def __init__(self, flows: Iterable[Flow], now: float) -> None:
        self.total: float = 0.0
        self.queue: OrderedDict[int, Place[W]] = OrderedDict()
        self._install(tuple(Gauge(flow, 0.0, now) for flow in flows))
        self.dismissed: list[Place[W]] = []
        self._ahead = 0.0  # what the queue will take, kept so that joining does not take longer in a long queue
        self._turns = count()
        self._homes: set[int] = set()

    @property
    def mixed(self) -> bool:
        """Whether waiters of more than one home were seen: then one may stop, and the others have to look after it."""
        return len(self._homes) > 1

    def take(self, cost: float, now: float) -> float | None:
        """Take `cost`, if it conforms and nobody waits. The mark to give it back by; `None` if it was not taken."""
        if self.queue and not self._empty(now):
            return None
        for gauge in self.gauges:
            over = gauge.spent + cost - gauge.burst  # `due` and `at`, written out for speed
            if over > 0.0 and (cost > gauge.burst or gauge.since + over / gauge.speed > now + TICK):
                return None
        for gauge in self.gauges:
            left = gauge.spent - (now - gauge.since) * gauge.speed
            gauge.spent = left + cost if left > 0.0 else cost
            gauge.since = now
        self.total += cost
        return self.total

    def due(self, cost: float) -> float:
        """The moment at which `cost` would conform, for one who came now; `inf` if never."""
        if self._never(cost):
            return inf
        return self._due(self._ahead + cost)

    def delay(self, cost: float, now: float) -> float:
        """Seconds until `due`, such that `now` and they add up to no less; `inf` if never."""
        due = self.due(cost)
        seconds = max(0.0, due - now)
        while now + seconds < due:
            seconds = nextafter(seconds, inf)
        return seconds

    def join(self, place: Place[W], now: float) -> bool:
        """Queue at the end, if that leads to anything before it `ends`."""
        self._pass_over(now)
        if self._never(place.cost) or self.due(place.cost) > place.ends + TICK:
            return False
        place.turn = next(self._turns)
        if not self.mixed:
            self._homes.add(id(place.waiter.home))
        self._enqueue(place)
        return True

    def look(self, place: Place[W], now: float) -> float:
        """Take what it waits for if it is its turn and due. The moment to look again at, unless it is decided."""
        if place.stage is Stage.PASSED:
            self._return(place)
        self._pass_over(now, place)
        if place.stage is not Stage.WAITS or self._first() is not place:
            return min(place.ends, self._look_after_the_first(place, now))
        due = self._due(place.cost)
        if due <= now + TICK:
            self._drop(place, Stage.TAKEN)
            self._spend(place.cost, now)
            place.mark = self.total
        elif due > place.ends + TICK:
            self._drop(place, Stage.HOPELESS)
        return due

    def leave(self, place: Place[W]) -> None:
        """Wait no more."""
        if place.turn in self.queue:
            self._drop(place, Stage.HOPELESS)

    def charge(self, cost: float, now: float) -> None:
        """Take `cost` whether it conforms or not: what is not there is a debt."""
        self._spend(cost, now)
        self._review()

    def refund(self, cost: float, mark: float, now: float) -> None:
        """Give back what was taken at `mark`.

        As if it had never been taken, as far as that is certain: what came back by itself meanwhile does not come back
        twice. Others that took since then may have done so on a full burst, but never more than they took.
        """
        since = self.total - mark
        for gauge in self.gauges:
            spent = gauge.at(now)
            gauge.set(max(spent - cost, min(spent, since)), now)
        self._recall()

    def change(self, flows: Iterable[Flow], now: float) -> None:
        """Other rates from now on. Nothing is forgiven and nothing is given: what was left is left.

        As many rates as before go on each from its predecessor; else each from the one that had the least left.
        """
        left = [gauge.burst - gauge.at(now) for gauge in self.gauges]
        new = tuple(flows)
        if len(new) != len(left):
            left = [min(left)] * len(new)
        pairs = zip(new, left, strict=True)
        self._install(tuple(Gauge(flow, max(0.0, flow.burst - rest), now) for flow, rest in pairs))
        self._review()
        self._recall()

    def call(self, now: float) -> list[Place[W]]:
        """Whom to wake: who came to stand first, and who has lost hope."""
        woken, self.dismissed = self.dismissed, []
        first = self._first()
        if first is not None and first.called == inf:
            first.called = now
            woken.append(first)
        return woken

    def available(self, now: float) -> float:
        """Permits there are; negative: a debt."""
        return min(gauge.burst - gauge.at(now) for gauge in self.gauges)

    def _install(self, gauges: tuple[Gauge, ...]) -> None:
        self.gauges: tuple[Gauge, ...] = gauges
        self._tend()

    def _tend(self) -> None:
        """Open the door or shut it."""
        self.door: Gauge = self.gauges[0] if len(self.gauges) == 1 and not self.queue else _SHUT

    def _due(self, cost: float) -> float:
        """As `due`, for a sum of costs: of some that may each conform, however much it is together."""
        return max([gauge.due(cost) for gauge in self.gauges])  # a list: of one or two, quicker than a generator

    def _never(self, cost: float) -> bool:
        """Whether it is more than can ever be there."""
        return cost > min([gauge.burst for gauge in self.gauges])

    def _spend(self, cost: float, now: float) -> None:
        for gauge in self.gauges:
            gauge.set(gauge.at(now) + cost, now)
        self.total += cost

    def _first(self) -> Place[W] | None:
        return next(iter(self.queue.values()), None)

    def _enqueue(self, place: Place[W]) -> None:
        place.stage = Stage.WAITS
        place.called = inf
        self.queue[place.turn] = place
        self._ahead += place.cost
        self._tend()

    def _drop(self, place: Place[W], stage: Stage) -> None:
        del self.queue[place.turn]
        place.stage = stage
        self._ahead = self._ahead - place.cost if self.queue else 0.0
        self._tend()

    def _return(self, place: Place[W]) -> None:
        """One that was passed over stands in the queue again, at its old place."""
        self._recall()
        self._enqueue(place)
        self.queue = OrderedDict(sorted(self.queue.items()))

    def _look_after_the_first(self, place: Place[W], now: float) -> float:
        """The next in line has the first woken when that is due: its event loop may be closed, and nobody else look."""
        first, second = (*islice(self.queue.values(), 2), None, None)[:2]
        if first is None or second is not place or not self.mixed:
            return inf
        due = self._due(first.cost)
        if due > now + TICK:
            return due
        first.called = inf
        return inf

    def _recall(self) -> None:
        """The first is to look again: what it waits for may be due earlier, or it is not the first any more."""
        first = self._first()
        if first is not None:
            first.called = inf

    def _empty(self, now: float) -> bool:
        """Whether nobody waits who would come."""
        self._pass_over(now)
        return not self.queue

    def _pass_over(self, now: float, looking: Place[W] | None = None) -> None:
        """Who stands first, is due, and has not come for so long, is not waited for; who looks now has come."""
        while (first := self._first()) is not None and first is not looking:
            if now - max(first.called, self._due(first.cost)) < GRACE:
                return
            self._drop(first, Stage.PASSED)

    def _review(self) -> None:
        """See off those who wait for what cannot arrive any more before they have to end."""
        ahead = 0.0
        for place in list(self.queue.values()):
            if self._never(place.cost) or self._due(ahead + place.cost) > place.ends + TICK:
                self._drop(place, Stage.HOPELESS)
                self.dismissed.append(place)
            else:
                ahead += place.cost
