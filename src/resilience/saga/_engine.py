"""What this process runs on a journal, and how it begins and ends: the part that plain code and event loops share.

Each journal has one engine in a process. It knows which sagas run here, so that none runs twice and letters find them.
"""

import os
import socket
import threading
from typing import Protocol, cast

from .._core.saga.effects import Request
from ._journal import Journal


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
    """The sagas that this process runs on one journal."""

    def __init__(self, journal: Journal) -> None:
        self._running: dict[str, Running] = {}
        self._early: set[str] = set()
        self._unwatch = journal.watch(self._mail)

    def runs(self, id: str) -> bool:  # noqa: A002 - it is the saga's id
        """Whether it runs here."""
        return id in self._running

    def enter(self, id: str, running: Running) -> bool:  # noqa: A002
        """It runs here from now on; false if it does already. Of two that come at once, one enters."""
        if self._running.setdefault(id, running) is not running:
            return False
        if id in self._early:
            self._early.discard(id)
            running.mail()
        return True

    def leave(self, id: str) -> None:  # noqa: A002
        """It does not any more."""
        self._running.pop(id, None)

    def _mail(self, ids: set[str]) -> None:
        for id_ in ids:
            running = self._running.get(id_)
            if running is not None:
                running.mail()
            else:
                self._early.add(id_)


_making = threading.Lock()


def engine_of(journal: Journal) -> Engine:
    """The engine of a journal in this process."""
    engine = journal.engine
    if engine is None:
        with _making:
            engine = journal.engine
            if engine is None:
                engine = journal.engine = Engine(journal)
    return cast("Engine", engine)


def this_process() -> str:
    """This process, for people."""
    return f"{socket.gethostname()} {os.getpid()}"
