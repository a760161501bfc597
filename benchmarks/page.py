"""Writes `docs/performance.md` from what was measured."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.hot_path import UNIT, WAYS, Cell, goal_of
from benchmarks.rows import FAILURE, NESTED, REFUSAL, SUCCESS, WRITTEN

UNITS = {
    ("sync", SUCCESS): "a plain function in an empty `functools.wraps` decorator",
    ("asyncio", SUCCESS): "a coroutine function in an empty decorator, on asyncio",
    ("trio", SUCCESS): "the same on trio",
}
TITLES = {SUCCESS: "All is well", FAILURE: "The function fails", REFUSAL: "The call is refused"}

HEAD = """# Performance

*Written by `nox -s bench`; nobody edits this page.*

What a guarded call costs, as a multiple of the same function in an empty `functools.wraps` decorator: **S** for plain
functions, **A** for coroutine functions on asyncio, **T** on trio. Ratios carry over from machine to machine,
nanoseconds do not. Every candidate is measured in every round, in one process that is pinned to one core, with the
garbage collector off while the clock runs; the figures are the minimum, with the median in brackets. Each adapter of
another library has first been seen to do the work: the right result or error, after the right number of calls.

*Nested* is the plain composition of the policies, *one function* what [is written](one-function.md) at the first call.
Goals are this project's own; one that is missed is set in bold. The telemetry gate is part of every figure of ours.
"""
FOOT = """
## How to measure

`nox -s bench` takes some ten minutes. `python -m benchmarks.hot_path --rounds 5 --ours` is quick.
"""


def write(found: Sequence[dict[str, Any]], folder: Path) -> None:
    """The page, and its pictures."""
    (folder / "performance.md").write_text("\n".join(_page(found)).rstrip() + "\n", encoding="utf-8")
    draw(_cells(found[0]), folder / "_static")


def _page(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield HEAD
    for figures in found:
        yield f"* CPython {figures['version']}, {figures['date']}: {figures['machine']}"
    others = ", ".join(f"{name} {version or '(not installed)'}" for name, version in found[0]["peers"].items())
    yield f"* Beside it: {others}\n"
    yield from _picture()
    for way in WAYS:
        yield f"## {'Plain functions' if way == 'sync' else 'Coroutine functions on ' + way}\n"
        for path in TITLES:
            yield from _table(found, way, path)
    yield from _verdict(found)
    yield from _said(found[0])
    yield FOOT


def _cells(figures: dict[str, Any]) -> list[Cell]:
    return [Cell(*cell) for cell in figures["hot_path"]["cells"]]


def _picture() -> Iterator[str]:
    for name in ("light", "dark"):
        yield "```{image} _static/performance-" + name + ".svg"
        yield f":class: only-{name}"
        yield ":alt: What a call costs, as a multiple of an empty decorator, on a logarithmic scale"
        yield "```\n"


def _table(found: Sequence[dict[str, Any]], way: str, path: str) -> Iterator[str]:
    letter = WAYS[way]
    yield f"### {TITLES[path]}\n"
    units = [f"{figures['version']}: {letter} = {_one(figures, way, path, UNIT, '').least:.0f} ns" for figures in found]
    what = UNITS.get((way, path)) or {
        FAILURE: "the failing function in an empty decorator, and the `try` around it"
    }.get(path, "an empty decorator that raises what a refusal raises, and the `try` around it")
    yield f"The unit is {what}. CPython {'; '.join(units)}.\n"
    heads = [f"{short} {who}" for figures in found for short in [_short(figures)] for who in ("nested", "one")]
    yield f"| | {' | '.join(heads)} | goals | others, CPython {_short(found[0])} |"
    yield f"|---|{'---|' * (len(heads) + 2)}"
    first = [cell for cell in _cells(found[0]) if (cell.way, cell.path) == (way, path)]
    patterns = [pattern for pattern, _ in groupby(first, key=lambda cell: cell.pattern) if pattern != UNIT]
    for pattern in dict.fromkeys(patterns):
        mine = [_cell_text(_maybe(figures, way, path, pattern, who)) for figures in found for who in (NESTED, WRITTEN)]
        others = [cell for cell in first if cell.pattern == pattern and cell.who not in (NESTED, WRITTEN)]
        beside = ", ".join(f"{cell.who} {cell.ratio:.3g}" for cell in sorted(others, key=lambda cell: cell.ratio))
        goals = [goal_of(cell) for who in (NESTED, WRITTEN) if (cell := _maybe(found[0], way, path, pattern, who))]
        wanted = " / ".join("-" if goal is None else f"{goal:g}" for goal in goals) if any(goals) else ""
        yield f"| {pattern} | {' | '.join(mine)} | {wanted} | {beside} |"
    yield ""


def _short(figures: dict[str, Any]) -> str:
    return ".".join(figures["version"].split(".")[:2])


def _maybe(figures: dict[str, Any], way: str, path: str, pattern: str, who: str) -> Cell | None:
    wanted = way, path, pattern, who
    return next((cell for cell in _cells(figures) if (cell.way, cell.path, cell.pattern, cell.who) == wanted), None)


def _one(figures: dict[str, Any], way: str, path: str, pattern: str, who: str) -> Cell:
    found = _maybe(figures, way, path, pattern, who)
    assert found is not None, (way, path, pattern, who)
    return found


def _cell_text(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    goal = goal_of(cell)
    figure = f"{cell.ratio:.2f}"
    return f"{f'**{figure}**' if goal is not None and cell.ratio > goal else figure} ({cell.middle:.2f})"


def _verdict(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "## Where we lose\n"
    lost = list(_losses(found[0]))
    yield f"To another library, on CPython {_short(found[0])}: " + ("nowhere.\n" if not lost else "\n")
    yield from lost
    yield ""
    yield "To our own goals:\n"
    missed = [line for figures in found for line in _misses(figures)]
    yield from missed or ["* none is missed."]
    yield ""
    left_out = found[0]["hot_path"]["left_out"]
    if left_out:
        yield "Left out, for they could not be run or did not do the work:\n"
        yield from (f"* {way}: {what} ({why})" for way, what, why in left_out)
        yield ""


def _losses(figures: dict[str, Any]) -> Iterator[str]:
    cells = _cells(figures)
    for cell in cells:
        if cell.who in (NESTED, WRITTEN) or cell.pattern == UNIT:
            continue
        ours = _maybe(figures, cell.way, cell.path, cell.pattern, WRITTEN)
        if ours is not None and cell.ratio < ours.ratio:
            yield (
                f"* {cell.way}, {cell.path}, {cell.pattern}: {cell.who} {cell.ratio:.2f}, ours {ours.ratio:.2f} "
                f"({(ours.least - cell.least) / 1e3:.2f} µs more)"
            )


def _misses(figures: dict[str, Any]) -> Iterator[str]:
    for cell in _cells(figures):
        goal = goal_of(cell)
        if goal is not None and cell.ratio > goal:
            yield (
                f"* CPython {_short(figures)}, {cell.way}, {cell.pattern}, {cell.who}: {cell.ratio:.2f}, "
                f"wanted {goal:g}"
            )


SAID = {
    "crowds": "Threads, tasks, memory, and many functions",
    "keys": "A million keys",
    "telemetry": "Telemetry: nobody listens, not sampled, sampled",
    "import_time": "Import",
    "sagas": "Sagas",
}


def _said(figures: dict[str, Any]) -> Iterator[str]:
    for part, title in SAID.items():
        if part in figures["said"]:
            yield f"## {title}\n\n```text\n{figures['said'][part].strip()}\n```\n"


def draw(cells: Sequence[Cell], folder: Path) -> None:
    """The dearest and the cheapest ways to guard a plain function, on a logarithmic scale."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from docs.pictures.style import DARK, LIGHT, WIDTH, settings

    shown = [cell for cell in cells if (cell.way, cell.path) == ("sync", SUCCESS) and cell.pattern in _PATTERNS]
    shown = sorted(
        (cell for cell in shown if cell.who != NESTED), key=lambda cell: (_PATTERNS.index(cell.pattern), cell.ratio)
    )
    labels = [f"{cell.pattern}: {'ours' if cell.who == WRITTEN else cell.who}" for cell in shown]
    for style in (LIGHT, DARK):
        with mpl.rc_context(settings(style)):
            figure = Figure(figsize=(WIDTH, 0.24 * len(shown) + 0.7))
            axes = figure.add_subplot()
            colours = [style.good if cell.who == WRITTEN else style.neutral for cell in shown]
            axes.barh(range(len(shown)), [cell.ratio for cell in shown], color=colours)
            axes.set_yticks(range(len(shown)), labels)
            axes.invert_yaxis()
            axes.set_xscale("log")
            axes.axvline(1, color=style.ink, linewidth=0.8)
            axes.set_xlabel("multiples of an empty decorator")
            for row, cell in enumerate(shown):
                axes.text(cell.ratio * 1.06, row, f"{cell.ratio:.3g}", va="center")
            figure.tight_layout()
            file = folder / f"performance-{style.name}.svg"
            figure.savefig(file, format="svg", transparent=True, metadata={"Creator": None, "Date": None})


_PATTERNS = ("retry", "circuit breaker", "bulkhead", "rate limiter", "cache, hit", "pipeline of 3")
