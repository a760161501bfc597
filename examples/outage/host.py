"""Starts the service's process, hears what reaches it, and always ends it.

The process is bound to the `with` block: leaving it closes the process's input, which ends it; one that does not end
within `PATIENCE` is killed. Either way it is waited for, and its last lines are read.
"""

import json
import subprocess
import sys
import threading
from types import TracebackType
from typing import IO, Self

from .records import Request

PATIENCE = 5.0
"""Seconds that the service has to end by itself."""


class ServiceProcess:
    """The service, running.

    Attributes:
        url: Where it listens.
        starts: The moment its schedule begins, on the machine's monotonic clock.
    """

    def __init__(self, seconds: float, seed: int, heard: list[Request]) -> None:
        self._command = [sys.executable, "-m", "examples.outage.service", f"--seconds={seconds}", f"--seed={seed}"]
        self._heard = heard

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin
        assert self._process.stdout
        self._input, self._output = self._process.stdin, self._process.stdout
        hello = self._output.readline()
        if not hello:
            self._reap()
            raise RuntimeError(f"the service did not start: exit code {self._process.returncode}")
        facts = json.loads(hello)
        self.url: str = f"http://127.0.0.1:{facts['port']}"
        self.starts: float = facts["starts"]
        self._reader = threading.Thread(target=self._read, args=(self._output,), name="outage-service-log")
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reap()
        self._reader.join()
        self._output.close()

    def _read(self, lines: IO[bytes]) -> None:
        for line in lines:
            self._heard.append(Request(**json.loads(line)))

    def _reap(self) -> None:
        self._input.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
