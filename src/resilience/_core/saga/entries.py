"""What the journal of a saga holds: one record for each thing that has happened, never changed and never reordered.

Everything else about a saga is a fold of these (`progress`). A record is one JSON object, told by its "kind". Values
are JSON inside JSON: they stay raw here, because only the step that takes one knows its type.

An unknown field is passed over, so a record may gain fields; an unknown kind is refused.
"""

from typing import Literal

import msgspec
from msgspec import Raw, Struct

NOTHING = Raw(b"null")
"""Where there is no value."""

FORMAT = 1
"""The version of what is written. A journal of a later one is refused."""

Outcome = Literal["ok", "no", "unknown"]
"""How a step ended: it had its effect, certainly had none, or nobody knows."""

Verb = Literal["cancel", "pause", "resume", "retry", "skip", "undo", "abort", "matched"]
"""What may be asked of a saga from outside; `matched`: the saga's class fits its journal again."""

TurnReason = Literal["failed", "cancelled", "deadline", "operator"]

ParkReason = Literal["undo-failed", "step-failed", "undecodable", "definition-changed"]


class Failure(Struct, frozen=True):
    """An exception, as it is remembered.

    Attributes:
        type: Its class, with the module: "builtins.ConnectionError".
        message: Its text.
    """

    type: str
    message: str


class Shape(Struct, frozen=True, array_like=True):
    """One step, as the class had it when the saga began.

    Attributes:
        name: The step's name.
        kind: See `plan.Kind`.
        undoes: Whether it has an undo.
        after: The names of the steps right before it.
    """

    name: str
    kind: str
    undoes: bool
    after: tuple[str, ...]


class Entry(Struct, frozen=True, tag_field="kind", omit_defaults=True):
    """One record."""


class Start(Entry, frozen=True, tag="start"):
    """The saga began.

    Attributes:
        saga: The name of its class.
        input: Its input.
        shape: Its steps then.
        within: Seconds it may take before it turns back; `None`: without limit.
        trace: The trace context of whoever began it, as a propagator writes it.
        format: The version of the records.
    """

    saga: str
    input: Raw
    shape: tuple[Shape, ...]
    within: float | None = None
    trace: dict[str, str] = {}
    format: int = FORMAT


class Resumed(Entry, frozen=True, tag="resumed"):
    """Another process, or the same one anew, took the saga up.

    Attributes:
        who: The process, for people.
        trace: The trace context of its run.
    """

    who: str = ""
    trace: dict[str, str] = {}


class Result(Entry, frozen=True, tag="result"):
    """A step has ended; it never runs again.

    Attributes:
        step: Its name.
        outcome: How.
        value: What it returned, if `ok`.
        error: What it raised.
        trace: The trace context of its span.
    """

    step: str
    outcome: Outcome = "ok"
    value: Raw = NOTHING
    error: Failure | None = None
    trace: dict[str, str] = {}


class Failed(Entry, frozen=True, tag="failed"):
    """A pivot or retriable step did not succeed this time, and is tried again.

    Attributes:
        step: Its name.
        error: What it raised.
    """

    step: str
    error: Failure | None = None


class Turn(Entry, frozen=True, tag="turn"):
    """The decision to go back: from here on no step starts.

    Attributes:
        reason: Why.
        step: The step that failed, if one did.
        error: The first cause.
        begun: The steps that were under way.
    """

    reason: TurnReason
    step: str | None = None
    error: Failure | None = None
    begun: tuple[str, ...] = ()


class Undone(Entry, frozen=True, tag="undone"):
    """An undo has ended.

    Attributes:
        step: The step that it undoes.
        error: What it raised; `None` if it succeeded.
    """

    step: str
    error: Failure | None = None


class Parked(Entry, frozen=True, tag="parked"):
    """Something waits for an operator; what does not depend on it goes on.

    Attributes:
        step: The step that waits; `None`: all of the saga.
        reason: Why.
        error: What went wrong.
    """

    step: str | None
    reason: ParkReason
    error: Failure | None = None


class Asked(Entry, frozen=True, tag="asked"):
    """Somebody outside asked for something: a caller that cancels, an operator that settles what is parked.

    Attributes:
        verb: What was asked for.
        row: Where the request stands in the journal's letters, so that none is heard twice; 0: it was no letter.
        who: Who asked.
        step: For which step; `None`: whichever it concerns.
        reason: Why.
        value: A result to go on with, in place of the step's own.
        refused: Why it was not done; `None`: it was.
    """

    verb: Verb
    row: int = 0
    who: str = ""
    step: str | None = None
    reason: str = ""
    value: Raw = NOTHING
    refused: str | None = None


class End(Entry, frozen=True, tag="end"):
    """It is over.

    Attributes:
        outcome: How.
    """

    outcome: Literal["completed", "undone", "repaired"]


Record = Start | Resumed | Result | Failed | Turn | Undone | Parked | Asked | End
"""All there are."""

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


def write(record: Record) -> bytes:
    """A record as the bytes that a journal keeps."""
    return _encoder.encode(record)


def read(body: bytes) -> Record:
    """The record again.

    Raises:
        ValueError: These bytes are no record of this format.
    """
    return _decoder.decode(body)
