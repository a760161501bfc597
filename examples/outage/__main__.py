"""Runs the outage: `python -m examples.outage`.

Exit codes: 0 when every promise was kept, 1 when one was broken, 2 for wrong usage.
"""

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from time import monotonic

from rich.console import Console

from resilience import events, listen

from . import client
from .audit import Limits, audit
from .host import ServiceProcess
from .live import watch
from .load import Load, plan
from .picture import draw
from .records import Record, Transition
from .sabotage import SABOTAGE
from .schedule import OUTAGE
from .summary import tables

FAST = 8.0
"""Seconds that `--fast` lasts."""

INTERRUPTED = 130
"""The exit code after ctrl-c, as shells have it."""

PLAIN_WIDTH = 120
"""Columns when the output is no terminal."""

PROMISED = Limits(
    deadline=client.DEADLINE,
    retry_ratio=client.RETRY_RATIO,
    retry_floor=client.RETRY_FLOOR,
    retry_window=client.RETRY_WINDOW,
    at_once=client.AT_ONCE,
    queued=client.QUEUED,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, tell about it, and say whether every promise was kept."""
    options = _options(arguments)
    console = _console()
    try:
        record = run(options.seconds, options.rate, options.seed, console)
    except KeyboardInterrupt:
        return INTERRUPTED
    if options.spoil:
        SABOTAGE[options.spoil](record, PROMISED)
    findings = audit(record, PROMISED)
    console.print(tables(record, findings))
    options.svg.write_text(draw(record, OUTAGE.lasting(options.seconds), client.DEADLINE), encoding="utf-8")
    console.print(f"The timeline is drawn in {options.svg}.")
    return 0 if all(finding.kept for finding in findings) else 1


def run(seconds: float, rate: float, seed: int, console: Console) -> Record:
    """Start the service, make the calls, show what happens, and bring the record home."""
    record, schedule, stop = Record(), OUTAGE.lasting(seconds), Event()
    client.breaker.reset()
    with ServiceProcess(seconds, seed, record.requests) as service, listen(partial(_hear, record, service.starts)):
        load = Load(service.url, service.starts, record, stop)
        with ThreadPoolExecutor(2) as streams:
            running: list[Future[None]] = [
                streams.submit(load.from_threads, plan(rate, seconds, seed)),
                streams.submit(asyncio.run, load.from_tasks(plan(rate, seconds, seed + 1))),
            ]
            try:
                watch(record, schedule, service.starts, lambda: not all(stream.done() for stream in running), console)
            finally:
                stop.set()
        for stream in running:
            stream.result()
    return record


def _console() -> Console:
    console = Console()
    if console.is_terminal:
        logging.getLogger("resilience").addHandler(logging.NullHandler())  # the dashboard tells the same
        return console
    return Console(width=PLAIN_WIDTH)


def _hear(record: Record, began: float, event: events.Event) -> None:
    if isinstance(event, events.StateChanged):
        record.transitions.append(Transition(monotonic() - began, event.after, event.reason))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.outage", description=__doc__)
    parser.add_argument("--seconds", type=_within(2, 120), default=OUTAGE.seconds, help="how long it lasts")
    parser.add_argument(
        "--fast", action="store_const", const=FAST, dest="seconds", help=f"the same in {FAST:g} seconds"
    )
    parser.add_argument(
        "--rate", type=_within(1, 200), default=40.0, help="calls per second, from threads and from tasks"
    )
    parser.add_argument("--seed", type=int, default=1, help="for another day of the same kind")
    parser.add_argument("--svg", type=Path, default=Path("outage.svg"), help="where to draw the timeline")
    parser.add_argument("--break", choices=sorted(SABOTAGE), dest="spoil", help="break this promise, to see it noticed")
    return parser.parse_args(arguments)


def _within(least: float, most: float) -> Callable[[str], float]:
    def number(given: str) -> float:
        value = float(given)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value:g} is not between {least:g} and {most:g}")
        return value

    return number


if __name__ == "__main__":
    sys.exit(main())
