"""What this process runs on a journal, and how it begins and ends: the part that plain code and event loops share.

Each journal has one engine in a process. It knows which sagas run here, so that none runs twice and letters find them.
"""

import os
import socket
import threading
from typing import Protocol, cast

from .._core.saga.effects import Request
from ._journal import Journal, checked_journal


class Running(Protocol):
    """A saga that runs here."""

    def mail(self) -> None:
        """Letters have come."""
        ...

    def leave(self) -> None:
        """Let go of it as it is."""
        ...

    def request(self, request: Request) -> None:
        """Ask for something."""
        ...


class Engine:
    """The sagas that this process runs on one journal.

    Whoever wants to run one reserves its place first, before the journal is asked how it stands: what was read without
    a place may be out of date by the time there is one.
    """

    def __init__(self, journal: Journal) -> None:
        self._places: dict[str, object] = {}
        self._running: dict[str, Running | None] = {}
        self._early: set[str] = set()
        self.unwatch = journal.watch(self._mail)

    def reserve(self, id: str) -> bool:  # noqa: A002 - it is the saga's id
        """Take the place of a saga; false if somebody here has it. Of two that come at once, one gets it."""
        mine = object()
        return self._places.setdefault(id, mine) is mine

    def free(self, id: str) -> None:  # noqa: A002
        """Give the place back."""
        self._running.pop(id, None)
        self._early.discard(id)
        self._places.pop(id, None)

    def enter(self, id: str, running: Running | None) -> None:  # noqa: A002
        """Who is at work in a place that was reserved; `None`: nobody any more."""
        self._running[id] = running
        if running is not None and id in self._early:
            self._early.discard(id)
            running.mail()

    def _mail(self, ids: set[str]) -> None:
        for id_ in self._places.keys() & ids:
            running = self._running.get(id_)
            if running is not None:
                running.mail()
            else:
                self._early.add(id_)


_making = threading.Lock()


def engine_of(journal: Journal) -> Engine:
    """The engine of a journal in this process.

    Raises:
        TypeError: It is no journal.
    """
    engine = checked_journal(journal).engine
    if engine is None:
        with _making:
            engine = journal.engine
            if engine is None:
                engine = journal.engine = Engine(journal)
    return cast("Engine", engine)


def this_process() -> str:
    """This process, for people."""
    return f"{socket.gethostname()} {os.getpid()}"
