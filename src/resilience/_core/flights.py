"""One fetch for all who want the same: a machine without a lock, a clock, or a thread.

Who asks for what nobody is fetching begins a `Flight` and leads it; whoever asks meanwhile follows. The flight lands
once, and all have the one outcome::

    in the air, led -- lands --> landed: a value, or an error
       |        ^
       | leader gives up
       v        | a follower takes over
    in the air, not led

A leader that is cancelled knows nothing of the answer, so it does not speak for the others: all that follow are woken,
the first to come leads on, the rest go on waiting. That nobody in particular is chosen means that nobody in particular
can be missing.

What is forgotten while it is in the air still lands for those who asked before. It is only kept for nobody after them.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

W = TypeVar("W")


class Flight(Generic[W]):
    """One fetch, and who waits for it.

    Attributes:
        key: What is fetched.
        leader: Who is at it, if anybody is.
        landed: Whether it is over.
        value: What was fetched, once it has `landed` well.
        error: What it failed with, if it did.
        followers: Who waits.
        current: Whether what it brings is still worth keeping: false once the key was forgotten.
    """

    __slots__ = ("current", "error", "followers", "key", "landed", "leader", "value")

    def __init__(self, key: Hashable) -> None:
        self.key: Hashable = key
        self.leader: object = None
        self.landed: bool = False
        self.value: object = None
        self.error: Exception | None = None
        self.followers: list[W] = []
        self.current: bool = True


class Flights(Generic[W]):
    """All that is being fetched, by what it is."""

    __slots__ = ("_air",)

    def __init__(self) -> None:
        self._air: dict[Hashable, Flight[W]] = {}

    def __len__(self) -> int:
        return len(self._air)

    @property
    def following(self) -> int:
        """How many wait for what others fetch."""
        return sum(len(flight.followers) for flight in self._air.values())

    def find(self, key: Hashable) -> Flight[W] | None:
        """What is under way for a key, if anything is."""
        return self._air.get(key)

    def begin(self, flight: Flight[W]) -> None:
        """Fetch what nobody is fetching."""
        self._air[flight.key] = flight

    def land(self, flight: Flight[W], value: object, error: Exception | None) -> list[W]:
        """It is over. Who is to be woken."""
        followers = self._off(flight)
        flight.value, flight.error, flight.leader, flight.landed = value, error, None, True
        return followers

    def give_up(self, flight: Flight[W]) -> list[W]:
        """The leader is gone. Who is to be woken, so that one of them leads on."""
        flight.leader = None
        return flight.followers.copy() or self._off(flight)

    def leave(self, flight: Flight[W], follower: W) -> None:
        """One waits no more."""
        if follower in flight.followers:
            flight.followers.remove(follower)
        if not flight.followers and flight.leader is None:
            self._off(flight)

    def forget(self, key: Hashable) -> None:
        """Keep nothing of what is under way for a key; who asks from now on fetches anew."""
        flight = self._air.pop(key, None)
        if flight is not None:
            flight.current = False

    def forget_all(self) -> None:
        """Keep nothing of what is under way."""
        for key in list(self._air):
            self.forget(key)

    def _off(self, flight: Flight[W]) -> list[W]:
        if self._air.get(flight.key) is flight:
            del self._air[flight.key]
        return flight.followers.copy()
