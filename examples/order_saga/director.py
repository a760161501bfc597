"""When the orchestrator is killed: at random moments, spread over the run, and never when it could get ready for it."""

import time
from pathlib import Path
from random import Random
from threading import Event

from .board import Board
from .processes import Orchestrator
from .script import Script

LOOK = 0.01
"""Seconds between two looks at the board."""

SPREAD = 0.3
"""The most seconds that a kill comes late."""

LONGEST = 180.0
"""Seconds after which the whole is given up."""


def direct(board: Board, script: Script, urls: list[str], folder: Path, kills: int, stop: Event) -> int:
    """Start the orchestrator, kill it that many times, start it again each time, and wait for the last one.

    Args:
        board: Where it stands.
        script: What is to be done.
        urls: Where the services listen.
        folder: Where the journal is.
        kills: How often.
        stop: Once it is set, everything ends at once.

    Returns:
        The last one's exit code.

    Raises:
        TimeoutError: It took too long.
    """
    dice = Random(f"{script.seed}/kills")
    for number in range(1, kills + 1):
        with Orchestrator(urls, script, folder, board.hear) as process:
            _until(board, script.count * number // (kills + 1), process, stop)
            stop.wait(dice.uniform(0, SPREAD))
            if process.code:  # it has ended by itself: something is wrong
                return process.code
            process.kill()
            board.killed(process.pid)
    with Orchestrator(urls, script, folder, board.hear) as process:
        _until(board, script.count + 1, process, stop)
        return process.code or 0


def _until(board: Board, ended: int, process: Orchestrator, stop: Event) -> None:
    while board.ended < ended and process.code is None and not stop.is_set():
        if time.time() - board.began > LONGEST:
            raise TimeoutError(f"{board.ended} orders have ended within {LONGEST:g} s; the rest is given up")
        stop.wait(LOOK)
