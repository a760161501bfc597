"""What a guarded call costs: when all is well, when it fails, and when it is refused; ours and theirs, side by side.

    python -m benchmarks.hot_path                  # this interpreter, some minutes
    python -m benchmarks.hot_path --rounds 5 --ours
    python -m benchmarks.hot_path --json hot.json

The unit is a `functools.wraps` decorator that adds nothing: S for plain functions, A for coroutine functions on
asyncio, T on trio; around a function that fails, and around one that raises what a refusal raises, for the other two
paths. Ratios carry over from machine to machine; nanoseconds do not.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, NamedTuple

import anyio

from benchmarks import clocking, peers
from benchmarks.rows import (
    FAILURE,
    GOALS,
    NESTED,
    REFUSAL,
    SUCCESS,
    WRITTEN,
    Row,
    Work,
    aquiet,
    ours,
    problem_of,
    quiet,
)
from benchmarks.units import aanswer, answer, apassthrough, passthrough
from resilience import CircuitOpen

WAYS = {"sync": "S", "asyncio": "A", "trio": "T"}
UNIT = "an empty decorator"


class Cell(NamedTuple):
    """One figure: nanoseconds per call, at least and in the median, and the same as multiples of the unit."""

    way: str
    path: str
    pattern: str
    who: str
    least: float
    median: float
    ratio: float
    middle: float


class Report(NamedTuple):
    """What was measured, and what was left out for which reason."""

    cells: list[Cell]
    left_out: list[tuple[str, str, str]]


def measure(rounds: int, *, only_ours: bool = False) -> Report:
    """Everything, one way after the other."""
    cells: list[Cell] = []
    left_out: list[tuple[str, str, str]] = []
    for way in WAYS:
        print(f"{way}:", file=sys.stderr)
        rows = [*_units(), *ours(waits=way != "sync")]
        for row, who, why in () if only_ours else peers.theirs(way):
            problem = why if row is None else _problem(row, way)
            if row is not None and problem is None:
                rows.append(row)
            else:
                left_out.append((way, who if row is None else f"{who}: {row.path}, {row.pattern}", problem or why))
        for row in rows:
            if row.who in (NESTED, WRITTEN):
                problem = _problem(row, way)
                assert problem is None, f"{row.path}, {row.pattern}, {row.who}: {problem}"
        cells.extend(_cells(way, rows, rounds))
    return Report(cells, sorted(set(left_out)))


def _units() -> Iterator[Row]:
    def refuse(_: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            raise CircuitOpen("payments", None, "")

        return call

    def arefuse(fn: Any) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            raise CircuitOpen("payments", None, "")

        return call if iscoroutinefunction(fn) else refuse(fn)

    for path in (SUCCESS, FAILURE):
        yield Row(path, UNIT, "", lambda fn: apassthrough(fn) if iscoroutinefunction(fn) else passthrough(fn))
    yield Row(REFUSAL, UNIT, "", arefuse, calls=0)


def _problem(row: Row, way: str) -> str | None:
    if way == "sync":
        return problem_of(row, lambda work: row.make(work.plain))

    def run(work: Work) -> Callable[[int], Any]:
        guarded = row.make(work.awaited)
        return lambda x: anyio.run(guarded, x, backend=way)

    return problem_of(row, run)


def _cells(way: str, rows: Iterable[Row], rounds: int) -> Iterator[Cell]:
    made: dict[tuple[str, str, str], Callable[[int], Any]] = {}
    for row in rows:
        plain, awaited = (answer, aanswer) if row.path == SUCCESS else (Work(row).plain, Work(row).awaited)
        guarded = row.make(plain if way == "sync" else awaited)
        made[row.path, row.pattern, row.who] = (quiet if way == "sync" else aquiet)(row, guarded)
    took = clocking.clocked(made, rounds) if way == "sync" else clocking.aclocked(made, rounds, way)
    for (path, pattern, who), (least, median) in took.items():
        unit = took[path, UNIT, ""]
        yield Cell(way, path, pattern, who, least, median, least / unit.least, median / unit.median)


def goal_of(cell: Cell) -> float | None:
    """What was set out for, if anything."""
    goals = GOALS.get((cell.path, cell.pattern))
    if goals is None or cell.way == "trio" or cell.who not in (NESTED, WRITTEN):
        return None
    return goals[(0 if cell.way == "sync" else 1) + (0 if cell.who == NESTED else 2)]


def tables(report: Report) -> Iterator[str]:
    """The figures, as text."""
    for way, letter in WAYS.items():
        for path in (SUCCESS, FAILURE, REFUSAL):
            cells = [cell for cell in report.cells if (cell.way, cell.path) == (way, path)]
            unit = next(cell for cell in cells if cell.pattern == UNIT)
            yield f"\n{way}, {path}: {letter} = {unit.least:.0f} ns (median {unit.median:.0f})"
            for cell in sorted(cells, key=lambda cell: (_rank(cells, cell.pattern), cell.ratio)):
                if cell is not unit:
                    goal = goal_of(cell)
                    verdict = "" if goal is None else f"  goal {goal:.2f}{'' if cell.ratio <= goal else ' missed'}"
                    yield f"  {cell.pattern:<46}{cell.who:<24}{cell.least:>9.0f}{cell.ratio:>9.2f}{verdict}"
    for way, what, why in report.left_out:
        yield f"left out, {way}: {what}: {why}"


def _rank(cells: list[Cell], pattern: str) -> int:
    return [cell.pattern for cell in cells].index(pattern)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="how often everything is measured (default: 20)")
    parser.add_argument("--ours", action="store_true", help="leave the other libraries out")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    clocking.pin()
    logging.disable()  # some tell of each failure, and so do we of a change of state
    report = measure(options.rounds, only_ours=options.ours)
    print(f"CPython {sys.version.split()[0]}, {options.rounds} rounds")
    print(*tables(report), sep="\n")
    if options.json:
        options.json.write_text(json.dumps(report._asdict()), encoding="utf-8")


if __name__ == "__main__":
    main()
