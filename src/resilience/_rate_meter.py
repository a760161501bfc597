"""The rates of a limiter, with the lock that their machine asks for.

`_core.gcra` thinks, this module sees to it that it thinks one thing at a time, and wakes whom it names, outside the
lock. It knows neither the policy nor its options.
"""

import threading
from collections.abc import Iterable

from ._clock import clock
from ._core.gcra import GRACE, Flow, Gcra, Place, Stage
from ._waiters import Waiter


class Meter(Gcra[Waiter]):
    """The rates of one limiter for one stretch of its life, and who waits for them.

    Attributes:
        lock: Its own thread may take it again: giving back may also happen in a finalizer or a signal handler.
    """

    __slots__ = ("lock",)

    total: float

    def __init__(self, flows: Iterable[Flow]) -> None:
        super().__init__(flows, clock.now())
        self.lock: threading.RLock = threading.RLock()

    def seize(self, cost: float) -> float | None:
        """Take `cost` without waiting, if it conforms: the mark to give it back by, else `None`."""
        with self.lock:
            return self.take(cost, clock.now())

    def enter(self, place: Place[Waiter]) -> bool:
        """Queue, if that leads to anything in time."""
        with self.lock:
            entered = self.join(place, clock.now())
        self._wake(place)
        return entered

    def has(self, place: Place[Waiter]) -> float | None:
        """See whether one who waits may go on (or has to give up): `None`; else how many seconds to sleep first."""
        with self.lock:
            now = clock.now()
            again = self.look(place, now)
            waits, mixed = place.stage is Stage.WAITS, self.mixed
        if self._wake(place):
            return self.has(place)  # who was before it is gone
        if not waits:
            return None
        return max(0.0, min(again - now, GRACE) if mixed else again - now)

    def give_up(self, place: Place[Waiter]) -> None:
        """Wait no more. What was taken in the same moment goes back."""
        with self.lock:
            if place.stage is Stage.TAKEN:
                self.refund(place.cost, place.mark, clock.now())
            self.leave(place)
        self._wake()

    def debit(self, cost: float) -> None:
        """Take `cost` whether it conforms or not."""
        with self.lock:
            self.charge(cost, clock.now())
        self._wake()

    def give_back(self, cost: float, mark: float) -> None:
        """Give back what was taken and not used."""
        with self.lock:
            self.refund(cost, mark, clock.now())
        self._wake()

    def alter(self, flows: Iterable[Flow]) -> None:
        """Have other rates from now on."""
        with self.lock:
            self.change(flows, clock.now())
        self._wake()

    def seconds(self, cost: float) -> float:
        """Seconds until `cost` would conform; `inf` if never."""
        with self.lock:
            return self.delay(cost, clock.now())

    def figures(self) -> tuple[float, int]:
        """The permits there are, and how many wait, at one moment."""
        with self.lock:
            return self.available(clock.now()), len(self.queue)

    def calm(self) -> bool:
        """Whether every permit of every rate is there, and nobody waits."""
        with self.lock:
            now = clock.now()
            return not self.queue and all(gauge.at(now) == 0.0 for gauge in self.gauges)

    def disown(self) -> None:
        """In a forked child: whoever waits does so in the parent, and the lock may be held there."""
        self.lock = threading.RLock()
        self.queue.clear()
        self.dismissed.clear()
        self._ahead = 0.0
        self._homes.clear()
        self._tend()

    def _wake(self, awake: Place[Waiter] | None = None) -> bool:
        """Wake whom the machine names. One whose loop is closed leaves, and the next is named: whether any has left."""
        left = False
        while True:
            with self.lock:
                named = self.call(clock.now()) if self.queue or self.dismissed else []
            lost = [place for place in named if place is not awake and not place.waiter.wake()]
            if not lost:
                return left
            left = True
            with self.lock:
                for place in lost:
                    self.leave(place)
