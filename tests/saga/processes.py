"""Other processes, for tests: they say when they are ready, do what they are told line by line, and can be killed."""

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from textwrap import dedent


class Process:
    """A Python process that runs a script. The script prints what it has to say and reads what it is told."""

    def __init__(self, script: str, *arguments: object) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-u", "-c", dedent(script), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def says(self) -> str:
        """Its next line; "" when it has ended."""
        assert self._popen.stdout is not None
        return self._popen.stdout.readline().rstrip("\n")

    def tell(self, line: str = "") -> None:
        """Send it a line."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(line + "\n")
        self._popen.stdin.flush()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def die(self) -> None:
        """Take away its power, and wait until it is gone; its children live on, and hear and speak for it."""
        self._popen.kill()
        self._popen.wait()

    def kill(self) -> None:
        """Take away its power, and forget it."""
        self.die()
        self.end()

    def end(self) -> int:
        """Wait until it has ended."""
        with self._popen:
            assert self._popen.stdin is not None
            self._popen.stdin.close()
        return self._popen.returncode


@contextmanager
def running(script: str, *arguments: object) -> Generator[Process]:
    """A process that is gone afterwards, whatever happens."""
    process = Process(script, *arguments)
    try:
        yield process
    finally:
        process.kill()


def forked(work: Callable[[], str]) -> str:
    """What a function answers in a forked child, which ends at once afterwards."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the threads that the child does not have
        child = os.fork()
    if child == 0:
        try:
            os.write(writing, work().encode())
        except BaseException as error:
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said
