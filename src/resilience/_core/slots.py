"""The places of a bulkhead, and the queue for them: a machine without a lock, a clock, or a thread.

A free place is one object in the deque `free`, and taking it is one C-atomic `pop`: whoever finds `contended` false may
do that without a lock. Three things may happen at any moment, each by one atomic write: a place comes back
(`free.append`), a waiter gives up (`leaving.append`), the limit changes (`limit = ...`); steps follow until nothing is
`unsettled`. All else happens in the methods, one at a time: the caller brings the lock.

How many places are in use is not counted anywhere: it is `minted - len(free)`, so no path can forget to count.

No wake-up is lost. Whoever queues sets `contended` first and looks into `free` afterwards; whoever gives a place back
appends it first and looks at `contended` afterwards. Of two such pairs one always sees the other's first half: if the
look into `free` came too early to find the place, then `contended` had been set before the place was appended.

Nobody barges: while somebody waits, newcomers see `contended` and come by `take`, which leaves free places to the
queue. A newcomer that read `contended` before the queue began came before it.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from itertools import count, repeat
from typing import Generic, Protocol, TypeVar

GRACE = 2.5
"""Seconds after which a grant that was not taken up goes to the next: its event loop has stopped, or hangs."""


class Waiting(Protocol):
    """Who stands in the queue.

    Attributes:
        number: Its turn, given when it joins and kept until it leaves.
    """

    number: int

    @property
    def home(self) -> Hashable:
        """What runs it: an event loop, or the same for all threads."""
        ...


W = TypeVar("W", bound=Waiting)


class Slots(Generic[W]):
    """A number of places that can change, and a first-in-first-out queue for them.

    Attributes:
        free: The free places; `pop` takes one, `append` gives it back.
        contended: Whether free places are spoken for: somebody waits, or there are more places than there should be.
        limit: How many places there should be.
        minted: How many there are: more than `limit` until enough of them came back.
        queue: Who waits, in the order of their turns.
        granted: Who was given a place and has not taken it up yet, and when that was; the oldest first.
        leaving: Who wants to wait no more.
    """

    __slots__ = ("_homes", "_turns", "contended", "free", "granted", "leaving", "limit", "minted", "queue")

    def __init__(self, limit: int) -> None:
        self.free: deque[bool] = deque(repeat(True, limit))
        self.contended: bool = False
        self.limit: int = limit
        self.minted: int = limit
        self.queue: OrderedDict[W, None] = OrderedDict()
        self.granted: dict[W, float] = {}
        self.leaving: deque[W] = deque()
        self._turns = count()
        self._homes: set[int] = set()

    @property
    def in_use(self) -> int:
        """How many places are taken, or granted."""
        return self.minted - len(self.free)

    @property
    def mixed(self) -> bool:
        """Whether waiters of more than one home were seen: then one may stop, and the others have to look after it."""
        return len(self._homes) > 1

    @property
    def unsettled(self) -> bool:
        """Whether a step is due."""
        if self.leaving or self.minted < self.limit or self.contended != self._spoken_for:
            return True
        return self.contended and bool(self.free)

    def step(self, now: float) -> W | None:
        """Do what is due, and give a free place to the first in the queue: it is to be woken."""
        self._tidy()
        if not self.queue or not self.pop():
            return None
        waiter, _ = self.queue.popitem(last=False)
        self.granted[waiter] = now
        self.contended = self._spoken_for
        return waiter

    def take(self, now: float) -> bool:
        """Take a place that is not spoken for."""
        self._reclaim(now)
        self._tidy()
        return not self.queue and self.pop()

    def join(self, waiter: W, most: int | None) -> bool:
        """Queue at the end, unless `most` (default: `limit`) wait already."""
        self._tidy()
        if len(self.queue) >= (self.limit if most is None else most):
            return False
        waiter.number = next(self._turns)
        if not self.mixed:
            self._homes.add(id(waiter.home))
        self.queue[waiter] = None
        self.contended = True
        return True

    def look(self, waiter: W, now: float) -> bool:
        """Whether the waiter was granted a place: then it has it now.

        One that slept through its grant stands in the queue again, at its old place.
        """
        taken = self.granted.pop(waiter, None) is not None
        if not taken and waiter not in self.queue:
            self.queue = OrderedDict.fromkeys(sorted((waiter, *self.queue), key=_turn))
            self.contended = True
        self._reclaim(now)
        return taken

    def pop(self) -> bool:
        """Take a free place, whoever it is for."""
        try:
            return self.free.pop()
        except IndexError:
            return False

    def _tidy(self) -> None:
        """See off those who leave, and bring the number of places to the limit as far as they are free."""
        while self.leaving:
            waiter = self.leaving.popleft()
            self.queue.pop(waiter, None)
            if self.granted.pop(waiter, None) is not None:
                self.free.append(True)
        more = max(0, self.limit - self.minted)
        self.minted += more
        self.free.extend(repeat(True, more))
        while self.minted > self.limit and self.pop():
            self.minted -= 1
        self.contended = self._spoken_for

    @property
    def _spoken_for(self) -> bool:
        return bool(self.queue) or self.minted > self.limit

    def _reclaim(self, now: float) -> None:
        """Free the places that were granted so long ago that nobody will take them up."""
        while self.granted:
            waiter, since = next(iter(self.granted.items()))
            if now - since < GRACE:
                return
            del self.granted[waiter]
            self.free.append(True)


def _turn(waiter: Waiting) -> int:
    return waiter.number
