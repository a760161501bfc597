"""Starts the processes, hears what they say, and always ends them.

A process is bound to its `with` block, and ends when its input is closed, hence also when we die; one that does not
within `PATIENCE` is killed. What it complains of goes to a log beside its database.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .script import Script

PATIENCE = 5.0
"""Seconds that a process has to end by itself."""


class Process:
    """A module of this package, running; what it says line by line goes to `hear`."""

    def __init__(self, module: str, arguments: list[str], log: Path, hear: Callable[[dict[str, Any]], None]) -> None:
        self._command = [sys.executable, "-m", f"{__package__}.{module}", *arguments]
        self._log = log
        self._hear = hear

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        self._reader = threading.Thread(target=self._read, name=f"reads {self._command[2]}")
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
        self._reader.join()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code; `None` while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """End it with SIGKILL: it gets no chance to write anything down."""
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as lines:
            for line in lines:
                if line.endswith(b"\n"):  # a killed process may have said half of a word
                    self._hear(json.loads(line))


class ServiceProcess(Process):
    """One of the services.

    Attributes:
        url: Where it listens.
    """

    def __init__(self, name: str, script: Script, folder: Path) -> None:
        what = [name, f"--database={folder / name}.db", f"--orders={script.count}", f"--seed={script.seed}"]
        super().__init__("service", what, folder / f"{name}.log", self._listens)
        self._name = name
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        super().__enter__()
        while not self._ready.wait(0.05):
            if self.code is not None:
                raise RuntimeError(f"the service {self._name} did not start: exit code {self.code}")
        return self

    def _listens(self, facts: dict[str, Any]) -> None:
        self.url = f"http://127.0.0.1:{facts['port']}"
        self._ready.set()


class Orchestrator(Process):
    """The orchestrator, at work on the journal in the folder."""

    def __init__(self, urls: list[str], script: Script, folder: Path, hear: Callable[[dict[str, Any]], None]) -> None:
        what = [f"--journal={folder / 'journal.db'}", f"--orders={script.count}", f"--seed={script.seed}"]
        super().__init__("orchestrator", [*what, *urls], folder / "orchestrator.log", hear)
