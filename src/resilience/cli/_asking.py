"""`cancel`, `pause`, `resume`, `retry`, `skip`, `undo`, `abort`: a request to a saga, and what becomes of it.

The request is a letter in the journal, and its answer a record there; both say who asked. If another process has the
saga, it answers. If nobody has, and the application's classes are given, the saga is taken up here, alone, until it has
ended or waits for something.
"""

import getpass
import os
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import anyio

from .._clock import clock
from .._core.saga.entries import Asked, Verb
from ..saga import Journal, Saga, SagaHandle, SagaRunner
from ..saga._letters import write_request
from ..saga._wording import plain
from ._app import App, UsageError
from ._hints import command
from ._output import Output
from ._story import CONTROL, Story, story_of
from ._words import duration

_LOOK = 0.05
"""Seconds between two looks at the journal."""

_RESTING = ("waiting", "paused")
"""What a saga does that goes on by itself, later."""


class Wish(NamedTuple):
    """What is asked for.

    Attributes:
        verb: What.
        step: For which step; `None`: whichever it concerns.
        reason: Why.
        value: A result to go on with, as JSON.
    """

    verb: Verb
    step: str | None
    reason: str
    value: bytes | None

    def words(self, id_: str) -> Iterator[str]:
        """As they are typed."""
        yield from (self.verb, id_)
        for option, text in ("--step", self.step), ("--reason", self.reason), ("--value", self.value):
            if text:
                yield from (option, text if isinstance(text, str) else text.decode())

    @property
    def letter(self) -> bytes:
        """As it is sent."""
        return write_request(self.verb, step=self.step, reason=self.reason, value=self.value)


def ask(journal: Journal, id_: str, wish: Wish, app: App, output: Output, wait: float) -> int:
    """Ask for something, and tell what became of it.

    Args:
        journal: Where the saga is kept.
        id_: Its id.
        wish: What is asked for.
        app: The application's classes.
        output: Where to tell it.
        wait: Seconds for which the answer of another process is waited for.

    Returns:
        The exit code.
    """
    story = story_of(journal, id_)
    _check_value(story, wish, app)
    saga = None if story.summary.owner is not None else app.object(story.summary.saga)
    row = _sent(journal, story, wish)
    if saga is None:
        _await_answer(journal, id_, row, wait, goes_on=wish.verb == "resume")
    else:
        anyio.run(_settle, journal, saga, id_, row)
    story = story_of(journal, id_)
    return _told(story, wish, story.answer(row), app, output, wait)


def operator() -> str:
    """Who asks, for the record: "ann@host 4711"."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # an account without a name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()} {os.getpid()}"


def _check_value(story: Story, wish: Wish, app: App) -> None:
    """A result that a step of today's class could not have returned would park the saga again."""
    blueprint = app.blueprint(story.summary.saga)
    parked = [one.step for one in story.parked().values()]
    step = wish.step or (parked[0] if len(parked) == 1 else None)
    if wish.value is None or blueprint is None or step is None or step not in blueprint.codecs:
        return
    try:
        blueprint.codecs[step].decode(wish.value)
    except ValueError as error:
        raise UsageError(f"--value is no result of step {step!r}: {error}") from error


def _sent(journal: Journal, story: Story, wish: Wish) -> int:
    """The row of the letter; one that says the same and that nobody has heard yet will do."""
    waiting = (one.row for one in story.unheard() if (one.topic, one.value) == (CONTROL, wish.letter))
    row = next(waiting, None)
    return journal.send(story.summary.id, CONTROL, wish.letter, operator()).wait() if row is None else row


def _await_answer(journal: Journal, id_: str, row: int, wait: float, *, goes_on: bool) -> None:
    """Wait until a request was answered, and the saga rests then or `goes_on`; but for so many seconds at most."""
    end = clock.now() + wait
    while clock.now() < end:
        story = story_of(journal, id_)
        asked = story.answer(row)
        if asked is not None and (asked.refused is not None or goes_on or story.rests):
            return
        clock.sleep(_LOOK)


async def _settle(journal: Journal, saga: Saga[Any, Any], id_: str, row: int) -> None:
    """Run this saga here until the request is answered, and it has ended or waits for something."""
    handle = type(saga).handle(id_, journal=journal)
    async with SagaRunner(journal, saga, only={id_}):
        while True:
            story = await anyio.to_thread.run_sync(partial(story_of, journal, id_))
            asked = story.answer(row)
            if asked is not None and (asked.refused is not None or await _rests(story, handle)):
                return
            await clock.asleep(_LOOK)


async def _rests(story: Story, handle: SagaHandle[Any]) -> bool:
    return story.summary.status != "open" or (await handle.status()).state in _RESTING


def _told(story: Story, wish: Wish, asked: Asked | None, app: App, output: Output, wait: float) -> int:
    done = asked is not None and asked.refused is None
    one = story.summary
    if output.as_json:
        answer = "done" if done else "refused" if asked is not None else "unheard"
        refused = None if asked is None else asked.refused
        found = {"status": one.status, "state": story.doing[0]}
        output.document({"id": one.id, "verb": wish.verb, "answer": answer, "refused": refused, **found})
    elif asked is None:
        for line in _unheard(story, wish, app, wait):
            output.line(line)
    elif asked.refused is not None:
        output.line(f"{plain(one.id)}: {wish.verb} was refused: {plain(asked.refused)}")
    else:
        output.line(f"{plain(one.id)}: {wish.verb} was done; {_stands(story)}")
    return 0 if done else 1


def _stands(story: Story) -> str:
    state, steps = story.doing
    if state == "stuck":
        return f"it is stuck now: {', '.join(plain(name or 'all of it') for name in story.parked())}"
    if state == "waiting":
        return f"it waits now: {plain(', '.join(steps))}"
    return {"running": "it goes on", "undoing": "it is being undone"}.get(state, f"it is {state} now")


def _unheard(story: Story, wish: Wish, app: App, wait: float) -> list[str]:
    one = story.summary
    left = f"{plain(one.id)}: the request to {wish.verb} is in the journal, and nobody has answered it"
    if one.owner is not None:
        return [f"{left} within {duration(wait)}; owner {one.owner} has the saga, and hears it when it can"]
    lacks = f"--app {app.name} has no {plain(one.saga)}" if app.name else "no --app was given"
    return [
        f"{left}: no process has the saga, and {lacks}",
        f"it will be heard when the application runs a SagaRunner for {plain(one.saga)}; or have it done here:",
        f"  {command(story, *wish.words(one.id), '--app', 'MODULE')}",
    ]
