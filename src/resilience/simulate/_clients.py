"""Who calls, and when: at a rate, whatever becomes of it, or each client when it has thought about its last answer."""

from collections.abc import Callable, Sequence
from heapq import heappush
from math import log
from typing import Any

from ._ledger import Ledger
from ._loop import START, Place
from ._world import Caller, World

_GLANCE = 0.01
"""Seconds between two looks at a rate that is 0."""

Call = Callable[[], Any]


class Arrivals:
    """Calls that come by themselves, each independently of the others (a Poisson process).

    Args:
        world: Where.
        ledger: Who counts them.
        calls: What each client calls; it is one client's turn as likely as another's.
        rate: Calls a second, or a function that says it for a second.
    """

    __slots__ = ("_calls", "_clients", "_ended", "_even", "_random", "_rate", "_world", "turn")

    def __init__(
        self, world: World, ledger: Ledger, calls: Sequence[Call], rate: float | Callable[[float], float]
    ) -> None:
        self._world = world
        self._ended = ledger.ended
        self._calls = calls
        self._clients = len(calls)
        self._even = None if callable(rate) else rate
        self._rate: Callable[[float], float] = rate if callable(rate) else float
        self._random = world.stream()
        self.turn = 0
        first = self._even or self._rate(0.0)
        world.at(START + (-log(1.0 - self._random()) / first if first > 0.0 else _GLANCE), self)

    def wake(self) -> Place:
        """Here is one."""
        world, random = self._world, self._random
        rate = self._even or self._rate(world.moment - START)
        if rate > 0.0:
            place = Caller(world, self._calls[int(random() * self._clients)](), self._ended).wake()
            if place is not None:
                heappush(world.heap, place)
            then = world.moment - log(1.0 - random()) / rate
        else:
            then = world.moment + _GLANCE
        turn = self.turn = world.turns = world.turns + 1
        return then, turn, self


class Client:
    """Somebody who waits for each answer, thinks, and calls again.

    Args:
        world: Where.
        ledger: Who counts the calls.
        call: What it calls.
        think: Seconds of thought, in the mean; they are distributed exponentially.
        random: Chance.
    """

    __slots__ = ("_call", "_ledger", "_random", "_think", "_world", "turn")

    def __init__(self, world: World, ledger: Ledger, call: Call, think: float, random: Callable[[], float]) -> None:
        self._world = world
        self._ledger = ledger
        self._call = call
        self._think = think
        self._random = random
        self.turn = 0
        self._ponder()

    def wake(self) -> None:
        """It calls."""
        Caller(self._world, self._call(), self._ended).go()

    def _ended(self, caller: Caller, error: BaseException | None) -> None:
        self._ledger.ended(caller, error)
        self._ponder()

    def _ponder(self) -> None:
        self._world.at(self._world.moment - log(1.0 - self._random()) * self._think, self)
