"""What a story is: what breaks, what comes from outside, and when.

A call is refused, never arrives, or its answer is lost; a message comes early, again and again, too late, or never; the
caller cancels; and in each of these the power goes before or after any call, any commit and in the middle of any wait,
after which another process goes on.
"""

from dataclasses import dataclass
from typing import Literal

Fault = Literal["refused", "dropped", "lost"]
FAULTS: tuple[Fault, ...] = ("refused", "dropped", "lost")

Coming = Literal["early", "again and again", "too late", "never"]
"""When a message comes, if not once, and while it is waited for."""


@dataclass(frozen=True, slots=True)
class Story:
    """What goes wrong.

    Attributes:
        faults: Which calls break, and how: "do:charge" or "undo:charge".
        mail: Which messages come otherwise than once, while they are waited for.
        cancel: At which point the caller cancels, counted from the beginning; `None`: never.
        cuts: At which points the power goes.
    """

    faults: tuple[tuple[str, Fault], ...] = ()
    mail: tuple[tuple[str, Coming], ...] = ()
    cancel: int | None = None
    cuts: tuple[int, ...] = ()

    def __str__(self) -> str:
        broken = [f"{key} is {fault}" for key, fault in self.faults]
        mail = [f"message {name!r} comes {coming}" for name, coming in self.mail]
        cancelled = [] if self.cancel is None else [f"the caller cancels at point {self.cancel}"]
        cut = [f"the power goes at point {point}" for point in self.cuts]
        return ", ".join([*broken, *mail, *cancelled, *cut]) or "nothing goes wrong"


@dataclass(frozen=True, slots=True)
class Stories:
    """What `check_saga` has seen.

    Attributes:
        told: How many stories.
        ends: How many of them ended in which way.
    """

    told: int
    ends: dict[str, int]

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        return f"{self.told} stories: {ends}"
