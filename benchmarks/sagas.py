"""How many durable sagas of three steps a second: one after another, and 64 side by side; beside DBOS.

    python -m benchmarks.sagas               # about a minute
    python -m benchmarks.sagas --seconds 5   # calmer figures
    python -m benchmarks.sagas --dbos        # DBOS too, in the same run (pip install dbos)

Every saga commits a START and a RESULT for each step, with fsync (`synchronous=FULL`), before its caller goes on; the
steps themselves do nothing, so this is what the engine and the disk cost. The floor is the same disk under a bare
SQLite connection that commits one such row after another, or 64 together. All files lie in one fresh folder, and all
begin to count when the log has its full size.

DBOS is measured as it comes, on SQLite: a workflow of three steps, one after another and 32 side by side.
"""

import argparse
import asyncio
import gc
import itertools
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resilience.saga import Saga, SQLiteJournal, step

GOALS = {1: 500, 64: 8_000}
"""Sagas a second, by how many run side by side."""
FINISHED, OPEN = 100_000, 1_000
FULL_LOG = 4_000 * 4_096
"""Bytes of the write-ahead log when it is emptied."""


@dataclass
class Trip(Saga[str, str]):
    """Three steps that do nothing."""

    @step
    async def flight(self, traveller: str) -> str:  # noqa: ARG002 - as a real one does
        """Book."""
        return "LH 1"

    @flight.undo
    async def cancel_flight(self, flight: str | None) -> None:
        """Take it back."""

    @step
    async def hotel(self, traveller: str) -> str:  # noqa: ARG002 - as a real one does
        """Book."""
        return "room 7"

    @hotel.undo
    async def cancel_hotel(self, hotel: str | None) -> None:
        """Take it back."""

    @step
    async def confirm(self, traveller: str, flight: str, hotel: str) -> str:
        """Confirm."""
        return f"{traveller}: {flight}, {hotel}"


@dataclass
class PlainTrip(Saga[str, str]):
    """The same in plain code."""

    @step
    def flight(self, traveller: str) -> str:  # noqa: ARG002 - as a real one does
        """Book."""
        return "LH 1"

    @flight.undo
    def cancel_flight(self, flight: str | None) -> None:
        """Take it back."""

    @step
    def hotel(self, traveller: str) -> str:  # noqa: ARG002 - as a real one does
        """Book."""
        return "room 7"

    @hotel.undo
    def cancel_hotel(self, hotel: str | None) -> None:
        """Take it back."""

    @step
    def confirm(self, traveller: str, flight: str, hotel: str) -> str:
        """Confirm."""
        return f"{traveller}: {flight}, {hotel}"


async def rate(one: Callable[[str], Awaitable[object]], abreast: int, seconds: float) -> float:
    """Runs a second, with so many side by side, over so many seconds."""
    numbers = itertools.count()
    began = time.perf_counter()
    ends = began + seconds

    async def lane() -> int:
        done = 0
        while time.perf_counter() < ends:
            await one(f"trip-{abreast}-{next(numbers)}")
            done += 1
        return done

    done = await asyncio.gather(*(lane() for _ in range(abreast)))
    return sum(done) / (time.perf_counter() - began)


async def ours(folder: Path, seconds: float) -> dict[int, float]:
    """This library, on an event loop."""
    path = folder / "ours.db"
    with closing(SQLiteJournal(path)) as journal:

        async def one(name: str) -> None:
            await Trip().run("ann", id=name, journal=journal)

        warming = itertools.count()
        while not is_warm(path):
            await rate(lambda name: one(f"warm-{next(warming)}-{name}"), 64, 0.5)
        found = {}
        for abreast in GOALS:
            gc.collect()
            found[abreast] = await rate(one, abreast, seconds)
        return found


def plain(folder: Path, seconds: float) -> float:
    """This library in plain code, one after another."""
    path = folder / "plain.db"
    with closing(SQLiteJournal(path)) as journal:
        saga, numbers = PlainTrip(), itertools.count()

        def run() -> None:
            saga.run_sync("ann", id=f"trip-{next(numbers)}", journal=journal)

        while not is_warm(path):
            run()
        done, began = 0, time.perf_counter()
        while time.perf_counter() < began + seconds:
            run()
            done += 1
        return done / (time.perf_counter() - began)


def is_warm(path: Path) -> bool:
    """Whether the log has come to its full size: while it grows, each commit costs the file system more."""
    return path.with_name(f"{path.name}-wal").stat().st_size >= FULL_LOG


def floor(folder: Path, together: int, seconds: float) -> float:
    """Rows a second that SQLite can take here with FULL, so many in one commit."""
    with closing(sqlite3.connect(folder / f"floor-{together}.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE IF NOT EXISTS rows (n INTEGER PRIMARY KEY, body BLOB)")
        database.execute("PRAGMA wal_autocheckpoint=4000")
        body, written, began = b"x" * 200, 0, 0.0
        while not began or time.perf_counter() < began + seconds:
            if not began and is_warm(folder / f"floor-{together}.db"):
                written, began = 0, time.perf_counter()
            database.execute("BEGIN IMMEDIATE")
            database.executemany("INSERT INTO rows (body) VALUES (?)", [(body,)] * together)
            database.execute("COMMIT")
            written += together
        return written / (time.perf_counter() - began)


def dbos(folder: Path, seconds: float) -> dict[int, float]:
    """DBOS on SQLite, as it comes."""
    from dbos import DBOS, SetWorkflowID  # type: ignore[import-not-found]  # only with --dbos

    config: Any = {"name": "trips", "system_database_url": f"sqlite:///{folder / 'dbos.sqlite'}", "log_level": "ERROR"}
    DBOS(config=config)

    @DBOS.step()
    async def book(what: str) -> str:
        return what

    @DBOS.workflow()
    async def trip(traveller: str) -> str:
        flight = await book("LH 1")
        hotel = await book("room 7")
        return f"{await book(traveller)}: {flight}, {hotel}"

    async def one(name: str) -> None:
        with SetWorkflowID(name):
            await trip("ann")

    DBOS.launch()
    try:
        return asyncio.run(_both(one, seconds))
    finally:
        DBOS.destroy()


async def _both(one: Callable[[str], Awaitable[object]], seconds: float) -> dict[int, float]:
    return {abreast: await rate(one, abreast, seconds) for abreast in (1, 32)}


def opening(folder: Path) -> float:
    """Seconds to open a journal with 100,000 finished and 1,000 open sagas, and to list the open ones."""
    path = folder / "large.db"

    async def fill() -> None:
        with closing(SQLiteJournal(path)) as journal:
            numbers = iter(range(FINISHED))

            async def lane() -> None:
                for number in numbers:
                    await Trip().run("ann", id=f"trip-{number}", journal=journal)

            await asyncio.gather(*(lane() for _ in range(128)))
            start = (await journal.read("trip-0"))[0].body  # type: ignore[index]  # it is there
            for number in range(OPEN):
                await journal.start(f"open-{number}", "Trip", start)

    asyncio.run(fill())
    began = time.perf_counter()
    with closing(SQLiteJournal(path)) as journal:
        found = journal.list(status={"open"}).wait()
        took = time.perf_counter() - began
    assert len(found) == OPEN
    return took


def report(name: str, abreast: int, found: float, folder: Path, seconds: float) -> None:
    """Print a row: what was reached, and how much of the floor that is."""
    most = floor(folder, abreast, seconds)
    rows = found * 5  # START, three RESULTs, END
    commits = found * 4 if abreast == 1 else rows
    print(f"{name:34}{found:10,.0f}{GOALS[abreast]:8,}{rows:10,.0f}{most:10,.0f}{commits / most:8.0%}")


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each figure (default: %(default)s)")
    parser.add_argument("--dbos", action="store_true", help="measure DBOS too")
    parser.add_argument("--large", action="store_true", help="open a journal of 101,000 sagas (some 20 s to fill)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sagas-", dir="."))
    try:
        print(f"CPython {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}\n")
        print(f"{'':34}{'sagas/s':>10}{'goal':>8}{'rows/s':>10}{'floor':>10}{'share':>8}")
        report("this library, plain code", 1, plain(folder, options.seconds), folder, options.seconds)
        for abreast, found in asyncio.run(ours(folder, options.seconds)).items():
            report(f"this library, {abreast} side by side", abreast, found, folder, options.seconds)
        if options.dbos:
            for abreast, found in dbos(folder, options.seconds).items():
                print(f"{f'DBOS on SQLite, {abreast} side by side':34}{found:10,.0f}")
        if options.large:
            print(f"\nopening {FINISHED:,} finished and {OPEN:,} open, listing the open ones: {opening(folder):.3f} s")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
