"""How a saga stands, in a sentence or two, and what an operator may type now: whole commands, for each case one."""

import os
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from .._core.saga.entries import Parked
from ..saga._history import said
from ..saga._wording import plain
from ._story import Story

_PROGRAM = ("python", "-m", "resilience", "saga")


class Hint(NamedTuple):
    """Something that may be typed.

    Attributes:
        when: In which case.
        command: What.
    """

    when: str
    command: str


def hints(story: Story) -> list[Hint]:
    """What may be asked of a saga as it stands."""
    return [Hint(when, command(story, *words)) for when, *words in _choices(story)]


def command(story: Story, *words: str) -> str:
    """A command about a saga; it names the journal if the environment does not."""
    known = os.path.realpath(os.environ.get("RESILIENCE_JOURNAL") or ".") == story.journal
    return shlex.join((*_PROGRAM, *words, *(() if known else ("--journal", story.journal))))


def situation(story: Story) -> Iterator[str]:
    """How it stands, where it has not ended: what it waits for, and who hears what is asked of it."""
    one = story.summary
    if one.ended is not None:
        return
    for parked in story.parked().values():
        why = " · ".join(filter(None, [parked.reason, said(parked.error)]))
        yield plain(f"{parked.step or 'all of it'} waits for an operator: {why}")
    if one.status == "open":
        yield plain(_doing(story))
    if one.owner is None:
        does = "takes it up" if one.status == "open" else "hears what is asked"
        yield plain(f"no process has it; a SagaRunner of {one.saga!r} {does}, where one runs")
        yield "where none does, add --app MODULE, and what is asked is done here"


def _doing(story: Story) -> str:
    state, steps = story.doing
    at = ", ".join(steps)
    match state:
        case "paused":
            return "it is paused: what was under way ends, and nothing else begins"
        case "undoing":
            return f"it is being undone, {at} is left; an undo that fails is tried again, and parked in the end"
        case "waiting":
            kinds = {step.name: step.kind for step in story.start.shape}
            return "it waits for " + ", ".join(
                f"the message {step!r}, which the application sends"
                if kinds[step] == "message"
                else f"the time {step!r}"
                for step in steps
            )
        case _:
            return f"it goes on: {at}"


def _choices(story: Story) -> Iterator[tuple[str, ...]]:
    """In which case, which verb and words."""
    id_, progress = story.summary.id, story.progress
    if story.summary.ended is not None:
        return
    parked = story.parked()
    for one in [parked[None]] if None in parked else parked.values():
        yield from _settling(story, one)
    if progress.turn is None:
        if progress.paused:
            yield "to let it go on", "resume", id_
        elif not parked:
            yield "to hold it up", "pause", id_
        if not progress.beyond:
            yield "to undo what it has done", "undo" if parked else "cancel", id_
    yield "to end it as it is", "abort", id_, "--reason", "WHY"


def _settling(story: Story, one: Parked) -> Iterator[tuple[str, ...]]:
    """What is done about something that is parked."""
    id_ = story.summary.id
    if one.step is None:
        yield "to see what does not fit", "check", "--app", "MODULE"
        yield "when the code fits again", "retry", id_
        return
    cause = "when the code can read it again" if one.reason == "undecodable" else "when the cause is gone"
    yield cause, "retry", id_, "--step", one.step
    if story.progress.turn is not None:
        yield "if it was undone by hand", "skip", id_, "--step", one.step, "--reason", "WHY"
    else:
        words = ("--step", one.step, "--reason", "WHY", "--value", "JSON")
        yield "if it was done by hand, with this result", "skip", id_, *words
