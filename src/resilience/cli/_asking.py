"""`retry`, `skip`, `undo`, `abort`: a request to a saga, and what becomes of it.

The request is a letter in the journal, and its answer a record there; both say who asked. If another process has the
saga, it answers. If nobody has, and the application's classes are given, the saga is taken up here, alone, until it has
ended or waits for something.
"""

import getpass
import os
import socket
from collections.abc import Collection
from functools import partial
from typing import Any, NamedTuple, cast

import anyio

from .._clock import clock
from .._core.saga.entries import Asked, Verb
from ..saga import Journal, Pending, Saga, SagaHandle, SagaRunner
from ..saga._letters import write_request
from ._app import App, UsageError
from ._output import Output
from ._story import CONTROL, Story, story_of
from ._words import duration, plain

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
        _await_answer(journal, id_, row, wait)
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


def _await_answer(journal: Journal, id_: str, row: int, wait: float) -> None:
    """Wait until a request was answered, and until the saga rests then, but no longer than so many seconds."""
    end = clock.now() + wait
    while clock.now() < end:
        story = story_of(journal, id_)
        asked = story.answer(row)
        if asked is not None and (asked.refused is not None or story.summary.status != "open"):
            return
        clock.sleep(_LOOK)


async def _settle(journal: Journal, saga: Saga[Any, Any], id_: str, row: int) -> None:
    """Run this saga here until the request is answered, and it has ended or waits for something."""
    handle = type(saga).handle(id_, journal=journal)
    async with SagaRunner(cast("Journal", _Alone(journal, id_)), saga):
        while True:
            story = await anyio.to_thread.run_sync(partial(story_of, journal, id_))
            asked = story.answer(row)
            if asked is not None and (asked.refused is not None or await _rests(story, handle)):
                return
            await clock.asleep(_LOOK)


async def _rests(story: Story, handle: SagaHandle[Any]) -> bool:
    return story.summary.status != "open" or (await handle.status()).state in _RESTING


class _Alone:
    """A journal in which one saga waits to be taken up, and no other: an operator asked about that one."""

    def __init__(self, journal: Journal, id_: str) -> None:
        self._journal = journal
        self._id = id_

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def orphans(self, sagas: Collection[str]) -> Pending[list[str]]:
        """See `Journal.orphans`."""
        pending: Pending[list[str]] = Pending()
        pending.settle([one for one in self._journal.orphans(sagas).wait() if one == self._id])
        return pending


def _told(story: Story, wish: Wish, asked: Asked | None, app: App, output: Output, wait: float) -> int:
    done = asked is not None and asked.refused is None
    one = story.summary
    if output.as_json:
        answer = "done" if done else "refused" if asked is not None else "unheard"
        refused = None if asked is None else asked.refused
        output.document({"id": one.id, "verb": wish.verb, "answer": answer, "refused": refused, "status": one.status})
    elif asked is None:
        for line in _unheard(story, wish, app, wait):
            output.line(line)
    elif asked.refused is not None:
        output.line(f"{plain(one.id)}: {wish.verb} was refused: {plain(asked.refused)}")
    else:
        output.line(f"{plain(one.id)}: {wish.verb} was done; {_stands(story)}")
    return 0 if done else 1


def _stands(story: Story) -> str:
    parked = ", ".join(plain(name or "all of it") for name in story.parked())
    if story.summary.status == "stuck":
        return f"it is stuck now: {parked}"
    if story.summary.status != "open":
        return f"it is {story.summary.status} now"
    return "it goes on"


def _unheard(story: Story, wish: Wish, app: App, wait: float) -> list[str]:
    one = story.summary
    left = f"{plain(one.id)}: the request to {wish.verb} is in the journal, and nobody has answered it"
    if one.owner is not None:
        return [f"{left} within {duration(wait)}; owner {one.owner} has the saga, and hears it when it can"]
    lacks = f"--app {app.name} has no {plain(one.saga)}" if app.name else "no --app was given"
    return [
        f"{left}: no process has the saga, and {lacks}",
        f"it will be heard when the application runs a SagaRunner for {plain(one.saga)}; or have it done here:",
        f"  python -m resilience saga {wish.verb} {plain(one.id)} --app module:name ... (and the rest as it was)",
    ]
