"""What has happened to a saga, for people: each record of its journal in words, and nothing of how it is kept."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from .._core.saga.entries import (
    NOTHING,
    Asked,
    End,
    Failed,
    Failure,
    Parked,
    Record,
    Result,
    Resumed,
    Start,
    Turn,
    Undone,
    read,
)
from ._journal import Row
from ._wording import plain

_OUTCOMES = {"no": "no effect", "unknown": "nobody knows whether it had its effect"}
_TURNS = {"deadline": "its time is up", "operator": "an operator said so"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One thing that has happened to a saga. `str()` of it is a line for people.

    Attributes:
        at: When, in seconds since 1970.
        kind: What: it "began", or was "resumed" by a process; a "step" ended, or an "attempt" at one failed that is
            repeated; it "turned" back; an "undo" ended; something is "parked"; somebody "asked" for something; it
            "ended". A record that this version cannot read is "unreadable".
        step: The step that it is about; `None`: the saga as a whole.
        outcome: Of a step "ok", "no" or "unknown"; of an undo or an attempt "ok" or "failed"; of what was asked "done"
            or "refused"; or why it turned or is parked, or how it ended.
        error: What was raised, as in "ConnectionError: stock is down", or why a request was refused.
        value: The input, or a result, as JSON; "" where there is none.
        attempt: Which attempt has failed, from 1; 0 where none has.
        under_way: The steps that were under way when it turned.
        verb: What was asked for: "cancel", "retry" and so on; "matched": the class fits what has run again.
        who: Who asked, or which process took it up.
        reason: Why, as whoever asked has put it.
    """

    at: float
    kind: str
    step: str | None = None
    outcome: str = ""
    error: str = ""
    value: str = ""
    attempt: int = 0
    under_way: tuple[str, ...] = ()
    verb: str | None = None
    who: str = ""
    reason: str = ""

    def __str__(self) -> str:
        at = datetime.fromtimestamp(self.at, UTC).isoformat(" ", "milliseconds").removesuffix("+00:00")
        return " · ".join(filter(None, [f"{at} UTC", self.what, self.detail]))

    @property
    def what(self) -> str:
        """What has happened, in a word or two: "charge", "undo charge", "turns back"."""
        names = {
            "resumed": "taken up",
            "turned": "turns back",
            "undo": f"undo {self.step}",
            "parked": f"parked: {self.step or 'all of it'}",
            "asked": f"{self.verb} {self.step or ''}".rstrip(),
            "ended": self.outcome,
            "unreadable": "a record that cannot be read",
        }
        return plain(names.get(self.kind, self.step or self.kind))

    @property
    def detail(self) -> str:
        """The rest of it, in one line: the value, or what went wrong, or who and why."""
        return plain(" · ".join(filter(None, self._details())))

    @property
    def failed(self) -> bool:
        """Whether it is an attempt that failed, at a step or at an undo."""
        return self.outcome == "failed" and self.kind in {"attempt", "undo"}

    def _details(self) -> Iterator[str]:
        match self.kind:
            case "began":
                yield self.value
            case "resumed":
                yield f"by {self.who}"
            case "step":
                yield self.value if self.outcome == "ok" else _OUTCOMES[self.outcome]
            case "attempt" | "undo":
                yield f"attempt {self.attempt} failed" if self.failed else "done"
            case "turned":
                yield f"{self.step} failed" if self.outcome == "failed" else _TURNS.get(self.outcome, self.outcome)
            case "parked":
                yield self.outcome
            case "asked":
                yield from (f"by {self.who or 'somebody'}", self.reason, self.value and f"with {self.value}")
            case _:
                return
        yield f"refused: {self.error}" if self.outcome == "refused" else self.error
        yield f"under way: {', '.join(self.under_way)}" if self.under_way else ""


def history_of(rows: Iterable[Row]) -> tuple[HistoryEntry, ...]:
    """What the records of a saga say."""
    attempts: Counter[str] = Counter()
    found: list[HistoryEntry] = []
    for row in rows:
        entry = _read(row)
        if entry.failed:
            attempts[entry.what] += 1
            entry = replace(entry, attempt=attempts[entry.what])
        found.append(entry)
    return tuple(found)


def said(failure: Failure | None) -> str:
    """An exception that a journal remembers: "ConnectionError: stock is down"."""
    return "" if failure is None else f"{failure.type.rpartition('.')[2]}: {failure.message}".removesuffix(": ")


def _read(row: Row) -> HistoryEntry:
    try:
        return _entry(row.at, read(row.body))
    except ValueError:
        return HistoryEntry(at=row.at, kind="unreadable")


def _entry(at: float, record: Record) -> HistoryEntry:  # noqa: PLR0911 - one for each kind of record
    match record:
        case Start():
            return HistoryEntry(at=at, kind="began", value=_json(record.input))
        case Resumed(who):
            return HistoryEntry(at=at, kind="resumed", who=who)
        case Result(step, outcome, value, error):
            shown = _json(value) if outcome == "ok" else ""
            return HistoryEntry(at=at, kind="step", step=step, outcome=outcome, value=shown, error=said(error))
        case Failed(step, error):
            return HistoryEntry(at=at, kind="attempt", step=step, outcome="failed", error=said(error))
        case Turn(why, step, error, begun):
            return HistoryEntry(at=at, kind="turned", step=step, outcome=why, error=said(error), under_way=begun)
        case Undone(step, error):
            ended = "ok" if error is None else "failed"
            return HistoryEntry(at=at, kind="undo", step=step, outcome=ended, error=said(error))
        case Parked(step, why, error):
            return HistoryEntry(at=at, kind="parked", step=step, outcome=why, error=said(error))
        case Asked():
            return _asked(at, record)
        case End(outcome):
            return HistoryEntry(at=at, kind="ended", outcome=outcome)


def _asked(at: float, asked: Asked) -> HistoryEntry:
    return HistoryEntry(
        at=at,
        kind="asked",
        step=asked.step,
        outcome="done" if asked.refused is None else "refused",
        error=asked.refused or "",
        value="" if bytes(asked.value) == bytes(NOTHING) else _json(asked.value),
        verb=asked.verb,
        who=asked.who,
        reason=asked.reason,
    )


def _json(value: bytes | memoryview) -> str:
    return bytes(value).decode(errors="backslashreplace")
