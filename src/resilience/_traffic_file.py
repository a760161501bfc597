"""The file of a recording: lines of JSON, written in batches, read back one by one.

Lines wait in memory; whichever call finds enough of them writes them, and the others do not wait for it. Nothing that
goes wrong with the file reaches a call: lines are dropped, and counted. Before it writes, it looks whether the file is
still the one at its path, and else begins another: somebody has deleted it, or moved it away to rotate it.

A file may hold several runs, each begun by a header: a process goes on where the one before has stopped, if need be in
the middle of a line. All times are of the wall clock, so no line depends on another.
"""

import errno
import os
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, count
from pathlib import Path

import msgspec

from ._clock import clock
from ._core.replay import VERSION, Attempt, Call, Header, Line, Turn
from ._core.windows import peek
from ._events import report

_BATCH = 512
"""Lines that are written together."""

_AGE = 1.0
"""Seconds after which fewer are written too, once the next call ends."""

_MOST_WAITING = 50_000
"""Lines in memory, while the disk is slow; further ones are dropped."""

_LATEST = 1e11
"""Seconds since 1970, in the year 5138: what is later is no time, and far from the last one that a date can tell."""

_LONGEST = 1e9
"""Seconds, 31 years: what takes longer took no such time."""

_OUTCOMES = frozenset({"success", "fallback", "error", "timeout", "rejected", "cancelled"})

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, slots=True)
class RecordStats:
    """A recording at one moment.

    Attributes:
        lines: How many lines this process has had to write.
        lost: How many of them could not be written: the file is full, broken or too slow.
        size: How large the file is, in bytes, as far as it is known.
    """

    lines: int
    lost: int
    size: int


class TrafficFile:
    """Lines on their way to a file. It is opened when the first of them are written.

    Args:
        path: Where it is.
        most: How large it may become, in bytes; `None`: no limit.

    Attributes:
        zero: What makes seconds since 1970 of the monotonic clock: stepping the wall clock changes nothing.
    """

    __slots__ = (
        "__weakref__", "_closed", "_due", "_file", "_full", "_lost", "_most", "_path", "_size", "_taken", "_waiting",
        "_warned", "_writing", "zero",
    )  # fmt: skip

    def __init__(self, path: Path, most: int | None) -> None:
        self.zero: float = clock.wall() - clock.now()
        self._path = path
        self._most = most
        self._file: int | None = None
        self._closed = self._full = self._warned = False
        self._begin()
        _files.add(self)

    def stats(self) -> RecordStats:
        """All figures, as of now."""
        return RecordStats(peek(self._taken), peek(self._lost), self._size)

    def add(self, line: Line) -> None:
        """Take a line; write, if it is time to and nobody else does. Never raises."""
        if self._closed:
            return
        next(self._taken)
        if self._full or len(self._waiting) >= _MOST_WAITING:
            next(self._lost)
            return
        self._waiting.append(line)
        if (len(self._waiting) >= _BATCH or clock.now() >= self._due) and self._writing.acquire(blocking=False):
            try:
                problem = self._drain()
            finally:
                self._writing.release()
            self._tell(problem)

    def drain(self) -> None:
        """Write all that waits."""
        with self._writing:
            problem = self._drain()
        self._tell(problem)

    def close(self) -> None:
        """Write all that waits; take no more."""
        with self._writing:
            self._closed = True
            problem = self._drain()
            self._let_go()
        self._tell(problem)

    def after_fork(self) -> None:
        """In a forked child: what waits is the parent's to write, and so is its file."""
        self._let_go()
        self._path = self._path.with_suffix(f".{os.getpid()}{self._path.suffix}")
        self._full = self._warned = False
        self._begin()

    def _begin(self) -> None:
        self._writing = threading.Lock()
        self._waiting: deque[Line] = deque()
        self._taken, self._lost, self._size = count(), count(), 0
        self._due = clock.now() + _AGE

    def _drain(self) -> Exception | None:
        """Write all that waits, under the lock; what went wrong with that, to be told outside of it."""
        self._due = clock.now() + _AGE
        # Only those that are there now: others go on adding. Nobody else takes, for the lock is held.
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        written, problem = 0, None
        try:
            written = self._write(lines) if lines else 0
        except Exception as error:  # noqa: BLE001 - no fault of a disk, or of a name in a line, is the call's
            self._let_go()
            problem = error
        for _ in lines[written:]:
            next(self._lost)
        return OSError(errno.EFBIG, "it has reached max_bytes", str(self._path)) if self._full else problem

    def _write(self, lines: list[Line]) -> int:
        """Write lines; how many of them, the first ones, have found room."""
        encoded = [_encode(line) + b"\n" for line in lines]
        if self._file is not None and not _is_at(self._path, self._file):
            self._let_go()
        file = self._file
        if file is None:
            file = self._file = os.open(self._path, _FLAGS, 0o666)
            self._size = os.fstat(file).st_size
            # Whoever wrote last may have been cut off within a line.
            encoded[0] = (b"\n" if self._size else b"") + _HEADER + encoded[0]
        room = len(encoded)
        if self._most is not None:
            room = sum(size <= self._most for size in accumulate(map(len, encoded), initial=self._size)) - 1
        self._full = room < len(encoded)
        left = memoryview(b"".join(encoded[: max(room, 0)]))
        while left:
            size = os.write(file, left)
            self._size += size
            left = left[size:]
        return max(room, 0)

    def _let_go(self) -> None:
        """Close the file; the next lines open it anew."""
        file, self._file = self._file, None
        if file is not None:
            try:
                os.close(file)
            except OSError:
                pass  # it says once more what the write has said

    def _tell(self, problem: Exception | None) -> None:
        """Once: a disk that is full stays full for a while."""
        if problem is not None and not self._warned:
            self._warned = True
            report(problem, "traffic is lost, as long as %s cannot be written", self._path)


def _is_at(path: Path, file: int) -> bool:
    """Whether what is open is what has this path now."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except OSError:
        return False  # what is wrong with the path is told when it is opened


class NoRecording(ValueError):  # noqa: N818 - named by what was found, as our refusals are
    """A file is no recording, or one of a later version; the text says which."""


def read(path: Path) -> tuple[list[Call], list[Turn], list[int]]:
    """Read a recording.

    Args:
        path: The file.

    Returns:
        The calls, the turns of circuit breakers, and which lines are damaged, by number, from 1: the last one of a
        process that was killed, say.

    Raises:
        OSError: The file cannot be read.
        NoRecording: It holds something else, or was written by a later version of this library.
    """
    calls: list[Call] = []
    turns: list[Turn] = []
    damaged: list[int] = []
    with path.open("rb") as file:
        for number, line in _lines(file, path):
            if isinstance(line, Call):
                calls.append(line)
            elif isinstance(line, Turn):
                turns.append(line)
            elif line is None:
                damaged.append(number)
    return calls, turns, damaged


def _lines(file: Iterator[bytes], path: Path) -> Iterator[tuple[int, Line | None]]:
    """The lines that are not empty, with their numbers; `None` for a damaged one."""
    headed = False
    for number, text in enumerate(file, 1):
        if not text.strip():
            continue
        line = _read(text)
        if isinstance(line, Header) and line.version > VERSION:
            raise NoRecording(f"{path} is a recording of version {line.version}; this library reads up to {VERSION}")
        if not headed and not isinstance(line, Header):
            raise NoRecording(f"{path} is no recording: its first line is no header of one")
        headed = True
        yield number, line
    if not headed:
        raise NoRecording(f"{path} is empty: nothing was recorded")


def _read(text: bytes) -> Line | None:
    try:
        line = _decode(text)
    except ValueError:  # msgspec's errors are, and so is UTF-8's
        return None
    return line if _makes_sense(line) else None


def _makes_sense(line: Line) -> bool:
    """Whether what can be read can also have been."""
    if isinstance(line, Header):
        return True
    if isinstance(line, Turn):
        return 0.0 <= line.at <= _LATEST
    attempts = all(_has_been(one, one.outcome in _OUTCOMES or one.outcome == "running") for one in line.attempts)
    return attempts and _has_been(line, line.outcome in _OUTCOMES)


def _has_been(one: Call | Attempt, known: bool) -> bool:
    return known and 0.0 <= one.at <= _LATEST and 0.0 <= one.took <= _LONGEST


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode
_HEADER = _encode(Header(VERSION)) + b"\n"

_files: "weakref.WeakSet[TrafficFile]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for file in list(_files):
        file.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
