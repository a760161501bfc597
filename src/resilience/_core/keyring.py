"""Which keys are kept, and in which order they may be forgotten: bookkeeping without a lock, a clock, or a thread.

It is the clock algorithm (Corbató, 1968), an old approximation of "the one that was not asked for longest": a key that
was asked for since the last look is passed over once. So finding a key moves nothing, and needs no lock.

What may be forgotten at all is not decided here. One call looks at a few keys and not at all of them: a search through
ten thousand keys, none of which can be spared, would be made again for each newcomer.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

LOOKS = 16
"""The most keys that are looked at to make room for one."""


class Entry(Protocol):
    """What is kept for a key."""

    def asked_since(self) -> bool:
        """Whether it was asked for since the last look, which is this."""
        ...


E = TypeVar("E", bound=Entry)


class Keyring(Generic[E]):
    """At most so many keys, and what is kept for each.

    Attributes:
        entries: What is kept, by key; the next to be looked at comes first. Anybody may look a key up; all else
            happens one at a time.
        most: The most keys.

    Args:
        most: The most keys.
    """

    __slots__ = ("entries", "most")

    def __init__(self, most: int) -> None:
        self.entries: OrderedDict[Hashable, E] = OrderedDict()
        self.most: int = most

    def make_room(self, let_go: Callable[[Hashable], object]) -> bool:
        """See to it that there is room for one more key, if a few looks find one that can be forgotten.

        Args:
            let_go: Takes a key off, if it can be spared.

        Returns:
            Whether there is room.
        """
        passed: list[Hashable] = []
        for _ in range(min(LOOKS, len(self.entries))):
            if len(self.entries) < self.most:
                break
            key = next(iter(self.entries))
            if self._second_chance(key):
                passed.append(key)
            else:
                let_go(key)
        for key in passed:
            if len(self.entries) < self.most:
                break
            let_go(key)
        return len(self.entries) < self.most

    def _second_chance(self, key: Hashable) -> bool:
        """Whether the first key is passed over; it comes last then, and so does one that cannot be spared."""
        self.entries.move_to_end(key)
        return self.entries[key].asked_since()
