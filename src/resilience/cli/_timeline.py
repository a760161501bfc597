"""`show`: all that has happened to one saga, and what may be done about it."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from .._core.saga.entries import (
    Asked,
    Failed,
    Failure,
    Parked,
    Record,
    Result,
    Resumed,
    Start,
    Turn,
    Undone,
)
from ._listing import described
from ._output import Output
from ._story import Story, content
from ._words import counted, duration, iso, moment, plain, shortened, table


class Mark(NamedTuple):
    """One line of the timeline."""

    sign: str
    what: str
    detail: str = ""


def show(story: Story, output: Output, now: float, *, full: bool) -> int:
    """Show a saga.

    Args:
        story: The saga.
        output: Where to show it.
        now: The time.
        full: Whether values and errors are shown at full length.

    Returns:
        The exit code.
    """
    if output.as_json:
        output.document(_document(story))
        return 0
    for line in (*_head(story, now), "", *_lines(story), "", *_steps(story), *_letters(story, now), *_advice(story)):
        output.line(line if full else shortened(line, output.width))
    return 0


def _document(story: Story) -> dict[str, Any]:
    parked = [
        {"step": one.step, "reason": one.reason, "error": _error(one.error) or None} for one in story.parked().values()
    ]
    return described(story.summary) | {
        "steps": [{"name": one.name, "kind": one.kind, "state": story.state(one.name)} for one in story.start.shape],
        "parked": parked,
        "records": [{"at": iso(row.at), "record": content(row)} for row in story.rows],
        "unheard": [
            {"row": one.row, "at": iso(one.at), "topic": one.topic, "who": one.who, "value": _text(one.value)}
            for one in story.unheard()
        ],
    }


def _head(story: Story, now: float) -> Iterator[str]:
    one = story.summary
    yield f"{plain(one.id)} · {plain(one.saga)} · {one.status}"
    if one.ended is not None:
        yield f"began {moment(one.started)} UTC, and ended {duration(one.ended - one.started)} later"
        return
    owner = "nobody works on it" if one.owner is None else f"owner {one.owner} works on it"
    yield f"began {moment(one.started)} UTC, {duration(now - one.started)} ago; {owner}"


def _lines(story: Story) -> Iterator[str]:
    """One line for each record: when, how long after the one before, and what."""
    began = before = story.rows[0].at
    attempts: Counter[str] = Counter()
    rows: list[tuple[str, ...]] = []
    for at, record in story.records:
        mark = Mark("?", "a record that cannot be read") if record is None else _mark(record, attempts)
        rows.append(
            (
                f"+{duration(at - began)}".rjust(10),
                duration(at - before).rjust(10),
                mark.sign,
                plain(mark.what),
                mark.detail,
            )
        )
        before = at
    yield from table(rows)


def _mark(record: Record, attempts: Counter[str]) -> Mark:
    match record:
        case Start():
            mark = Mark("●", "began", _text(bytes(record.input)))
        case Resumed():
            mark = Mark("»", "taken up", f"by {plain(record.who)}")
        case Result():
            mark = _ended(record)
        case Failed():
            mark = _attempt(record.step, record.error, attempts)
        case Turn():
            mark = Mark("↩", "turns back", _turn(record))
        case Undone():
            undo = f"undo {record.step}"
            mark = Mark("✓", undo) if record.error is None else _attempt(undo, record.error, attempts)
        case Parked():
            mark = Mark("■", f"parked: {record.step or 'all of it'}", _joined(record.reason, _error(record.error)))
        case Asked():
            mark = _asked(record)
        case _:  # it has ended
            mark = Mark("●", record.outcome)
    return mark


def _ended(result: Result) -> Mark:
    if result.outcome == "ok":
        return Mark("✓", result.step, _text(bytes(result.value)))
    sign, said = ("○", "no effect") if result.outcome == "no" else ("✗", "nobody knows whether it had its effect")
    return Mark(sign, result.step, _joined(said, _error(result.error)))


def _attempt(what: str, error: Failure | None, attempts: Counter[str]) -> Mark:
    attempts[what] += 1
    return Mark("✗", what, _joined(f"attempt {attempts[what]} failed", _error(error)))


def _asked(asked: Asked) -> Mark:
    what = f"{asked.verb} {asked.step}" if asked.step else asked.verb
    refused = f"refused: {plain(asked.refused)}" if asked.refused is not None else ""
    value = bytes(asked.value)
    given = "" if value == b"null" else f"with {_text(value)}"
    return Mark("☞", what, _joined(f"by {plain(asked.who) or 'somebody'}", plain(asked.reason), given, refused))


def _turn(turn: Turn) -> str:
    why = {"failed": f"{turn.step} failed", "deadline": "its time is up", "operator": "an operator said so"}
    begun = f"under way: {', '.join(turn.begun)}" if turn.begun else ""
    return _joined(plain(why.get(turn.reason, turn.reason)), _error(turn.error), begun)


def _steps(story: Story) -> Iterator[str]:
    yield "steps"
    yield from (
        f"  {line}" for line in table([(plain(one.name), one.kind, story.state(one.name)) for one in story.start.shape])
    )


def _letters(story: Story, now: float) -> Iterator[str]:
    waiting = list(story.unheard())
    if waiting:
        yield ""
        yield f"{counted(len(waiting), 'letter')} that nobody has heard"
    for one in waiting:
        about = f"{duration(now - one.at)} ago by {plain(one.who) or 'somebody'}"
        yield f"  ✉ {plain(one.topic)}, {about}: {_text(one.value)}"


def _advice(story: Story) -> Iterator[str]:
    if not story.parked():
        return
    yield ""
    for one in story.parked().values():
        yield f"{plain(one.step or 'all of it')} waits for an operator: {_joined(one.reason, _error(one.error))}"
    yield f"when the cause is gone: saga retry {plain(story.summary.id)}"
    yield "settled by hand: saga skip --step ... --reason ...; turn back: saga undo; leave it: saga abort --reason ..."


def _error(error: Failure | None) -> str:
    return "" if error is None else plain(f"{error.type.rpartition('.')[2]}: {error.message}")


def _text(value: bytes) -> str:
    return plain(value.decode(errors="backslashreplace"))


def _joined(*texts: str) -> str:
    return " · ".join(text for text in texts if text)
