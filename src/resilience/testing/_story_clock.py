"""The virtual clock of a story, for as many processes as it has.

A thread that has not moved since before the story has no part in it: a test runner's watchdog, an exporter. The clock
need not look again and again whether it stands still, which would make each wait of plain code last for real.
"""

from collections.abc import Callable

from ._homes import current_home
from ._standstill import Standstill
from ._virtual import VirtualClock


class StoryClock(VirtualClock):
    """Virtual time; made where the story will be told."""

    def __init__(self) -> None:
        super().__init__()
        self._before = _places()

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call a function later, where the saga runs."""
        if current_home() is None:
            self._at(self.now() + seconds, function)
        else:
            self._at_home(seconds, function)

    def _asleep_threads(self) -> set[int]:
        places = _places()
        bystanders = {ident for ident, place in self._before.items() if places.get(ident) == place}
        return super()._asleep_threads() | bystanders


def _places() -> dict[int, tuple[int, int]]:
    """Where each thread is, but this one."""
    return Standstill(set[int])._positions()  # pyright: ignore[reportPrivateUsage]  # of the same package
