"""`priority`: tell everything that runs inside how much it matters. Who has to shed something sheds the least first.

What decides is not here: an `AdaptiveThrottle` reads the announcement.
"""

from contextvars import ContextVar, Token
from types import TracebackType
from typing import Literal, Self, get_args

Level = Literal["background", "low", "normal", "high", "critical"]
"""How much something matters, from the least to the most."""

LEVELS: tuple[Level, ...] = get_args(Level)

_NORMAL = LEVELS.index("normal")

_level: ContextVar[int] = ContextVar("resilience_priority", default=_NORMAL)

level_now = _level.get
"""The level in force, as a place in `LEVELS`."""


class priority:
    """Announce to the block how much it matters.

    Use it with a plain `with`, in sync and async functions alike, each object once. Of nested ones the inner counts.

    ```python
    with priority("background"):
        rebuild_index()
    ```

    Args:
        level: "background" (nobody waits for it), "low", "normal" (what is not announced), "high", or "critical" (shed
            last: the purchase, not the page).

    Raises:
        ValueError: There is no such level.
        RuntimeError: It was entered before.
    """

    __slots__ = ("_announced", "_place", "level")

    def __init__(self, level: Level, /) -> None:
        if level not in LEVELS:
            raise ValueError(f"level must be one of {', '.join(map(repr, LEVELS))}, got {level!r}")
        self.level: Level = level
        self._place = LEVELS.index(level)
        self._announced: Token[int] | None = None

    def __enter__(self) -> Self:
        if self._announced is not None:
            raise RuntimeError(f"this priority was entered before; write 'with priority({self.level!r}):' anew")
        self._announced = _level.set(self._place)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._announced is not None:
            try:
                _level.reset(self._announced)
            except ValueError:  # another context than it was made in: there is nothing of ours to take back
                pass
