"""The doors of a retry, and a function whose outcomes are written down beforehand.

A retry has two doors more than other policies of functions: a loop over attempts, sync and async.
"""

from collections.abc import Callable
from typing import Any, Self

import pytest

from resilience import events, listen
from resilience.errors import BulkheadFull
from tests.doors import FUNCTION_DOORS, Work, on_backend


class Passing(Exception):
    """What a retry is made for."""


class Alien(Exception):
    """What no `on=` here names."""


class Quit(BaseException):
    """Asks the program to stop."""


POOR = "poor"
"""The result that `on_result=` is about, where it is given."""

OUTCOMES: dict[str, Callable[[], BaseException | str]] = {
    "ok": lambda: "ok",
    "poor": lambda: POOR,
    "passing": lambda: Passing("passing"),
    "alien": lambda: Alien("alien"),
    "refused": lambda: BulkheadFull("some bulkhead"),
    "quit": Quit,
}


class Script:
    """A function that ends as the script says, call by call, and with the last line from then on.

    Attributes:
        made: What each call so far ended with.
    """

    def __init__(self, *lines: str) -> None:
        self.lines = lines
        self.made: list[BaseException | str] = []

    @property
    def calls(self) -> int:
        return len(self.made)

    def __call__(self) -> str:
        line = self.lines[min(self.calls, len(self.lines) - 1)]
        outcome = OUTCOMES[line]()
        self.made.append(outcome)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


class Heard:
    """The events of a block."""

    def __init__(self) -> None:
        self.all: list[events.Event] = []
        self._listen = listen(self.all.append)

    def of(self, *kinds: type[events.Event]) -> list[Any]:
        return [event for event in self.all if isinstance(event, kinds)]

    @property
    def endings(self) -> list[Any]:
        """The events that end the retrying of a call."""
        return self.of(events.Recovered, events.GaveUp)

    def __enter__(self) -> Self:
        self._listen.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._listen.stop()


def outcome_of(door: Callable[[Any, Work], Any], policy: Any, work: Work) -> Any:
    """What comes out, returned or raised."""
    try:
        return door(policy, work)
    except BaseException as error:
        return error


def notes_of_ours(error: BaseException) -> list[str]:
    return [note for note in getattr(error, "__notes__", ()) if note.startswith("resilience: ")]


def loop(policy: Any, work: Work) -> Any:
    """`for attempt in retry(...): with attempt:`."""
    for attempt in policy:
        with attempt:
            return work()
    pytest.fail("the loop ended without an outcome")


async def _aloop(policy: Any, work: Work) -> Any:
    async for attempt in policy:
        with attempt:
            return work()
    pytest.fail("the loop ended without an outcome")


LOOP_DOORS = [
    pytest.param(loop, id="loop"),
    *(pytest.param(on_backend(backend, _aloop), id=f"aloop-{backend}") for backend in ("asyncio", "trio")),
]

RETRY_DOORS = [*FUNCTION_DOORS, *LOOP_DOORS]
"""Every door that a retry has."""
