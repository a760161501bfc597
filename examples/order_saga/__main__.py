"""Runs the order saga: `python -m examples.order_saga`.

Exit codes: 0 when every promise was kept, 1 when one was broken, 2 for wrong usage.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

from rich.console import Console

from .audit import audit
from .board import Board
from .books import Books, read
from .director import direct
from .participants import PARTICIPANTS
from .processes import ServiceProcess
from .sabotage import SABOTAGE
from .screen import watch
from .script import Script
from .summary import tables
from .timeline import draw

FAST = {"orders": 40, "kills": 2}
"""What `--fast` means."""

INTERRUPTED = 130
"""The exit code after ctrl-c, as shells have it."""

PLAIN_WIDTH = 120
"""Columns when the output is no terminal."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, tell about it, and say whether every promise was kept."""
    options = _options(arguments)
    console = Console() if Console().is_terminal else Console(width=PLAIN_WIDTH)
    try:
        with TemporaryDirectory() as temporary:
            folder = options.keep or Path(temporary)
            books = run(Script(options.orders, options.seed), options.kills, folder, console)
    except KeyboardInterrupt:
        return INTERRUPTED
    if options.sabotage:
        SABOTAGE[options.sabotage](books)
    findings = audit(books)
    console.print(draw(books), "", tables(books, findings))
    if options.keep:
        console.print(f"The databases, the journal and the logs are in {options.keep}.")
    return 0 if all(finding.kept for finding in findings) else 1


def run(script: Script, kills: int, folder: Path, console: Console) -> Books:
    """Start the services, let the director do its work, show what happens, and read the books."""
    board, stop = Board.of([order.id for order in script.orders]), Event()
    with ExitStack() as stack:
        services = [stack.enter_context(ServiceProcess(name, script, folder)) for name in PARTICIPANTS]
        with ThreadPoolExecutor(1) as pool:
            directed = pool.submit(direct, board, script, [service.url for service in services], folder, kills, stop)
            try:
                watch(board, lambda: not directed.done(), console)
            finally:
                stop.set()
        if code := directed.result():
            raise SystemExit((folder / "orchestrator.log").read_text() + f"\nthe orchestrator ended with code {code}")
    return read(folder, script, board.kills)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.order_saga", description=__doc__)
    parser.add_argument("--orders", type=_within(10, 2000), default=200, help="how many come in")
    parser.add_argument("--kills", type=_within(1, 20), default=6, help="how often the orchestrator is killed")
    parser.add_argument(
        "--fast", action="store_true", help="the same with {orders} orders and {kills} kills".format(**FAST)
    )
    parser.add_argument("--seed", type=int, default=1, help="for another day of the same kind")
    parser.add_argument("--keep", type=_empty, metavar="FOLDER", help="keep the databases and the journal there")
    parser.add_argument("--sabotage", choices=sorted(SABOTAGE), help="break this promise, to see it noticed")
    options = parser.parse_args(arguments)
    if options.fast:
        vars(options).update(FAST)
    return options


def _within(least: int, most: int) -> Callable[[str], int]:
    def number(given: str) -> int:
        if not least <= int(given) <= most:
            raise argparse.ArgumentTypeError(f"{given} is not between {least} and {most}")
        return int(given)

    return number


def _empty(given: str) -> Path:
    folder = Path(given)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise argparse.ArgumentTypeError(f"{given} is not empty")
    return folder


if __name__ == "__main__":
    sys.exit(main())
