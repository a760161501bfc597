"""How many records a second the SQLite journal makes durable, beside the bare disk; and how fast a large one opens.

    python -m benchmarks.journal               # about half a minute
    python -m benchmarks.journal --rounds 10   # calmer figures on a busy machine

The floor is a bare SQLite connection with `synchronous=FULL` that commits one row of 200 bytes after another, or 64
together. The journal writes what a saga of three steps does, without the saga: START, two RESULTs, the third together
with END; five records in four commits, each awaited before the next. Floor and journal take turns, so that what
disturbs one disturbs both; the table shows the best round and the median.
"""

import argparse
import asyncio
import itertools
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from resilience.saga._sqlite import SQLiteJournal

ABREAST = (1, 64, 256)
GOAL = 30_000
"""Records a second at 64."""
FINISHED, OPEN = 100_000, 1_000
LIMIT = 1.0
"""Seconds to open such a journal and list the open ones."""

START = b'{"kind":"start","saga":"Trip","input":"' + b"x" * 150 + b'"}'
RESULT = b'{"kind":"result","step":"flight","value":"' + b"x" * 150 + b'"}'
END = b'{"kind":"end","outcome":"completed"}'
ROWS, COMMITS = 5, 4
"""Of one saga."""


def floor(folder: Path, together: int, seconds: float) -> float:
    """Rows a second under a bare connection."""
    with closing(sqlite3.connect(folder / f"floor-{together}.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE IF NOT EXISTS rows (n INTEGER PRIMARY KEY, body BLOB)")
        rows = [(b"x" * 200,)] * together
        written, began = 0, time.perf_counter()
        while time.perf_counter() < began + seconds:
            database.execute("BEGIN IMMEDIATE")
            database.executemany("INSERT INTO rows (body) VALUES (?)", rows)
            database.execute("COMMIT")
            written += together
        return written / (time.perf_counter() - began)


def ours(folder: Path, abreast: int, seconds: float) -> float:
    """Records a second through the journal."""
    with closing(SQLiteJournal(folder / f"ours-{abreast}.db")) as journal:
        return asyncio.run(_records(journal, abreast, seconds))


async def _records(journal: SQLiteJournal, abreast: int, seconds: float) -> float:
    began = time.perf_counter()
    names = (f"trip-{began}-{number}" for number in itertools.count())

    async def lane() -> int:
        done = 0
        while time.perf_counter() < began + seconds:
            name = next(names)
            await journal.start(name, "Trip", START)
            await journal.append(name, [RESULT], "open")
            await journal.append(name, [RESULT], "open")
            await journal.append(name, [RESULT, END], "completed")
            done += ROWS
        return done

    done = await asyncio.gather(*(lane() for _ in range(abreast)))
    return sum(done) / (time.perf_counter() - began)


def fill(path: Path) -> None:
    """Make a large journal."""
    with closing(SQLiteJournal(path)) as journal:
        for begin in range(0, FINISHED + OPEN, 1_000):
            names = [f"trip-{number}" for number in range(begin, begin + 1_000)]
            owed = [journal.start(name, "Trip", START) for name in names]
            for pending in owed:
                pending.wait()
            if begin < FINISHED:
                ends = [journal.append(name, [RESULT, RESULT, RESULT, END], "completed") for name in names]
                for end in ends:
                    end.wait()


def opening(path: Path, *, check: bool) -> float:
    """Seconds to open it and list the open ones."""
    began = time.perf_counter()
    with closing(SQLiteJournal(path, check=check)) as journal:
        found = journal.list(status={"open"}).wait()
        took = time.perf_counter() - began
    assert len(found) == OPEN
    return took


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of one second for each figure (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk to be measured (default: this one)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="journal-", dir=options.folder))
    try:
        print(f"CPython {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}, {options.rounds} rounds of 1 s\n")
        print(f"{'records a second':28}{'best':>10}{'median':>10}{'goal':>10}")
        found: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            for name, measure in _candidates(folder).items():
                found.setdefault(name, []).append(measure())
        for name, rates in found.items():
            goal = f"{GOAL:,}" if name == "the journal, 64 abreast" else ""
            print(f"{name:28}{max(rates):10,.0f}{statistics.median(rates):10,.0f}{goal:>10}")
        fill(folder / "large.db")
        size = (folder / "large.db").stat().st_size / 1e6
        print(f"\nopening {FINISHED:,} finished and {OPEN:,} open sagas ({size:,.0f} MB), listing the open ones:")
        for check in (True, False):
            took = min(opening(folder / "large.db", check=check) for _ in range(3))
            print(f"  check={check!s:5}  {took:.3f} s (limit {LIMIT:g} s)")
    finally:
        shutil.rmtree(folder)


def _candidates(folder: Path) -> dict[str, Callable[[], float]]:
    floors = {f"the floor, {n} together": lambda n=n: floor(folder, n, 1.0) for n in (1, 64)}
    return floors | {f"the journal, {n} abreast": lambda n=n: ours(folder, n, 1.0) for n in ABREAST}


if __name__ == "__main__":
    main()
