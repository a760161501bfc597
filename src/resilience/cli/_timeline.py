"""`show`: all that has happened to one saga, and what may be done about it."""

from collections.abc import Iterator
from typing import Any

from ..saga import HistoryEntry
from ..saga._history import said
from ..saga._wording import plain
from ._hints import hints, situation
from ._listing import described
from ._output import Output
from ._story import Story, content
from ._words import counted, duration, iso, moment, shortened, table

_SIGNS = {
    "began": "●",
    "resumed": "»",
    "attempt": "✗",
    "turned": "↩",
    "parked": "■",
    "asked": "☞",
    "ended": "●",
    "unreadable": "?",
}
_OUTCOMES = {"ok": "✓", "no": "○"}


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
    for line in (*_head(story, now), "", *_lines(story), "", *_steps(story), *_letters(story, now)):
        output.line(line if full else shortened(line, output.width))
    for line in _advice(story):  # never shortened: a command is to be copied
        output.line(line)
    return 0


def _document(story: Story) -> dict[str, Any]:
    parked = [
        {"step": one.step, "reason": one.reason, "error": said(one.error) or None} for one in story.parked().values()
    ]
    return described(story.summary) | {
        "state": story.doing[0],
        "steps": [{"name": one.name, "kind": one.kind, "state": story.state(one.name)} for one in story.start.shape],
        "parked": parked,
        "records": [{"at": iso(row.at), "record": content(row)} for row in story.rows],
        "unheard": [
            {"row": one.row, "at": iso(one.at), "topic": one.topic, "who": one.who, "value": _text(one.value)}
            for one in story.unheard()
        ],
        "commands": [hint._asdict() for hint in hints(story)],
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
    rows: list[tuple[str, ...]] = []
    for one in story.history:
        since, after = duration(one.at - began), duration(one.at - before)
        detail = "" if one.kind == "undo" and not one.failed else one.detail  # the sign says that it is done
        rows.append((f"+{since}".rjust(10), after.rjust(10), _sign(one), one.what, detail))
        before = one.at
    yield from table(rows)


def _sign(one: HistoryEntry) -> str:
    return _SIGNS.get(one.kind) or _OUTCOMES.get(one.outcome, "✗")


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
    if story.summary.ended is not None:
        return
    yield ""
    yield from situation(story)
    yield ""
    yield from (f"  {line}" for line in table([(f"{hint.when}:", hint.command) for hint in hints(story)]))


def _text(value: bytes) -> str:
    return plain(value.decode(errors="backslashreplace"))
