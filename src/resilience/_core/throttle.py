"""How much of the traffic a service refuses, and how much of it not to send: a machine without a lock or a clock.

It is the client-side throttling of the SRE book (chapter "Handling Overload"). Of the calls of the last `window`
seconds, so many were asked for and so many accepted; what is asked beyond `k` times what is accepted is refused here,
at the same rate as it would be there::

    refusing = (asked - k * accepted) / (asked + 1)

A call counts when it is asked for, also one that is refused here, and as accepted until it has failed: what is still
under way says nothing against the service. What it says in the end is said of the moment at which it began.

Who is refused is decided by rank. All calls asked for, put in the order of their priority, fill the line from 0 to 1; a
call stands at a random place of its own priority's part, and those below `refusing` are refused::

    0        background        low              normal                 high   critical 1
    |--------------------|-----------|------------------------------|--------|--------|
    ░░░░░░░░░░░░░░░░░░░░░░░░░░░░ refusing

So the rate is the same whatever the mix, the least important go first, and a part of a priority can be shed.
"""

from collections import deque
from collections.abc import Callable
from math import inf

LEVELS = 5
"""Priorities, 0 the lowest."""

PARTS = 20
"""Into how many parts the window is cut: a call counts for at least 95 % of its seconds, and never longer."""


class Part:
    """What was asked for in one part of the window.

    Attributes:
        since: When the part began.
        asked: Calls asked for, by level.
        accepted: How many of them have not failed.
    """

    __slots__ = ("accepted", "asked", "since")

    def __init__(self, since: float) -> None:
        self.since: float = since
        self.asked: list[int] = [0] * LEVELS
        self.accepted: int = 0


class Throttle:
    """The counts of the last `window` seconds.

    Args:
        k: How many times what is accepted may be asked for.
        window: The seconds that count.
        minimum: The fewest calls in the window by which anything can be judged.
        most: The largest share that is refused.
    """

    __slots__ = ("_asked", "_k", "_minimum", "_most", "_part", "_parts", "_total", "_turns", "_window", "accepted")

    def __init__(self, k: float, window: float, minimum: int, most: float) -> None:
        self._k = k
        self._window = window
        self._minimum = minimum
        self._most = most
        self._parts: deque[Part] = deque()
        self._part: Part
        self._turns = -inf  # when the parts are to be looked at again; until then, `_part` is the last one
        self._asked = [0] * LEVELS
        self._total = 0
        self.accepted: int = 0

    def ask(self, level: int, roll: Callable[[], float], now: float) -> Part | None:
        """Count one call that is asked for; `None`: it is refused.

        Args:
            level: Its priority, 0 the lowest.
            roll: Gives a random number from 0 to 1, its place within its priority: asked only where that matters.
            now: The time.
        """
        if now >= self._turns:
            self._turn(now)
        part, asked = self._part, self._total
        part.asked[level] += 1
        self._asked[level] += 1
        self._total = asked + 1
        # The usual case is told by one comparison: nothing is to be refused.
        if asked > self._k * self.accepted and self._place(level, roll()) < self._share(asked):
            return None
        part.accepted += 1
        self.accepted += 1
        return part

    def fail(self, part: Part) -> None:
        """The service has refused a call of this part."""
        if self._counts(part):
            part.accepted -= 1
            self.accepted -= 1

    def retract(self, part: Part, level: int) -> None:
        """A call of this part says nothing about the service: as if it had not been asked for."""
        if self._counts(part):
            self.fail(part)
            part.asked[level] -= 1
            self._asked[level] -= 1
            self._total -= 1

    def refusing(self, now: float) -> float:
        """The share of calls that are refused now."""
        self._forget(now)
        return self._share(self._total)

    def asked(self, now: float) -> int:
        """How many calls were asked for within the window."""
        self._forget(now)
        return self._total

    def _place(self, level: int, roll: float) -> float:
        return (sum(self._asked[:level]) + roll * self._asked[level]) / self._total

    def _share(self, asked: int) -> float:
        if asked < self._minimum:
            return 0.0
        return min(self._most, max(0.0, (asked - self._k * self.accepted) / (asked + 1)))

    def _turn(self, now: float) -> None:
        """Forget the parts that are too old, begin one if it is time, and look again when either is due."""
        self._forget(now)
        parts, each = self._parts, self._window / PARTS
        if not parts or now - parts[-1].since >= each:
            parts.append(Part(now))
        self._part = parts[-1]
        self._turns = min(self._part.since + each, parts[0].since + self._window)

    def _counts(self, part: Part) -> bool:
        """Whether a part is in the window still."""
        return bool(self._parts) and part.since >= self._parts[0].since

    def _forget(self, now: float) -> None:
        while self._parts and now - self._parts[0].since >= self._window:
            self._parts.popleft()
            self._add_up()

    def _add_up(self) -> None:
        self._asked = [sum(asked) for asked in zip(*(part.asked for part in self._parts), strict=True)] or [0] * LEVELS
        self._total = sum(self._asked)
        self.accepted = sum(part.accepted for part in self._parts)
