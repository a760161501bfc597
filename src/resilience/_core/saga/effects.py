"""What the program of a saga asks for, and what comes back to it.

An effect is named by a key that stays the same over crashes, whatever else changes: an engine may remember what became
of it under that key.
"""

from typing import NamedTuple

from .entries import Failure, Outcome, Verb


class Do(NamedTuple):
    """Run a step, or its undo.

    Attributes:
        key: "do:charge" or "undo:charge".
        step: The step.
        undo: Whether to undo it.
        attempt: The how-maniest time this is tried, from 1.
        certain: For an undo: whether the step certainly had its effect.
    """

    key: str
    step: str
    undo: bool = False
    attempt: int = 1
    certain: bool = True


class Sleep(NamedTuple):
    """Wait, over a crash as well.

    Attributes:
        key: "pause:cooling", "within:approval", "deadline", "again:do:charge", "again:undo:charge".
        due: When the wait is over, on the wall clock.
        seconds: How long it was to be in all: however the wall clock jumps, nobody waits longer.
    """

    key: str
    due: float
    seconds: float


class Wait(NamedTuple):
    """Wait for a message from outside.

    Attributes:
        key: "wait:approval".
        topic: What the message is sent to: the step's name.
    """

    key: str
    topic: str


Effect = Do | Sleep | Wait


class Done(NamedTuple):
    """A `Do` or `Wait` has ended.

    Attributes:
        key: Whose.
        outcome: How; `undecodable`: it was not started, for a value in the journal cannot be read; `unstarted`: it was
            stopped before it began here.
        value: What came of it, as JSON.
        error: What was raised.
        now: The time, on the wall clock.
        trace: The trace context of its span.
    """

    key: str
    outcome: Outcome | str
    value: bytes | None
    error: Failure | None
    now: float
    trace: dict[str, str] | None = None


class Elapsed(NamedTuple):
    """A `Sleep` is over.

    Attributes:
        key: Whose.
        now: The time, on the wall clock.
    """

    key: str
    now: float

    @property
    def for_message(self) -> bool:
        """Whether a message was waited for so long; one that has come meanwhile is to be told first."""
        return self.key.startswith("within:")


class Request(NamedTuple):
    """Somebody outside asks for something; see `entries.Asked`."""

    verb: Verb
    now: float
    row: int = 0
    who: str = ""
    step: str | None = None
    reason: str = ""
    value: bytes | None = None


Arrival = Done | Elapsed | Request
