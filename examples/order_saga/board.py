"""What has become of the orders so far, as the orchestrator tells it, and how often it was killed.

For the screen and for the director; the audit believes none of it.
"""

import time
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """How an order stands."""

    WAITING = "waiting"
    UNDER_WAY = "under way"
    COMPLETED = "completed"
    UNDONE = "undone"
    STUCK = "stuck"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self in {State.COMPLETED, State.UNDONE}


_EVENTS = {"began": State.UNDER_WAY, "resumed": State.UNDER_WAY}


@dataclass(frozen=True, slots=True)
class Kill:
    """The orchestrator's end.

    Attributes:
        at: When, on the wall clock.
        pid: Which process it was.
        under_way: The orders that it left in the middle.
    """

    at: float
    pid: int
    under_way: tuple[str, ...]


@dataclass
class Board:
    """The orders, in the order in which they come in.

    Attributes:
        states: How each stands.
        resumed: The orders that a later process has taken up.
        kills: The orchestrator's ends.
        began: When it began, on the wall clock.
    """

    states: dict[str, State]
    resumed: set[str] = field(default_factory=set[str])
    kills: list[Kill] = field(default_factory=list[Kill])
    began: float = field(default_factory=time.time)

    @classmethod
    def of(cls, orders: list[str]) -> "Board":
        """Nothing has happened yet."""
        return cls(dict.fromkeys(orders, State.WAITING))

    def hear(self, told: dict[str, Any]) -> None:
        """Take in a line of the orchestrator's."""
        if told["event"] == "resumed":
            self.resumed.add(told["order"])
        self.states[told["order"]] = _EVENTS.get(told["event"]) or State(told["event"])

    def killed(self, pid: int) -> None:
        """Write down an end."""
        under_way = tuple(order for order, state in self.states.items() if state is State.UNDER_WAY)
        self.kills.append(Kill(time.time(), pid, under_way))

    @property
    def counts(self) -> Counter[State]:
        """How many orders stand how."""
        return Counter(self.states.values())

    @property
    def ended(self) -> int:
        """How many orders have ended."""
        return sum(state.ended for state in list(self.states.values()))
