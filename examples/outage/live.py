"""What one sees while it runs: a dashboard on a terminal, a line a second elsewhere.

A view is made from the record as it stands, again and again; it changes nothing and keeps nothing. Everything is on
one time axis: a column is a slice of time, and each row tells another part of the same story.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .palette import FAINT, OUTCOME, PHASE, STATE
from .records import Call, Outcome, Record, Side
from .schedule import Schedule
from .summary import quantile

FRAMES = 8
"""Pictures per second on a terminal."""

BARS = " ▁▂▃▄▅▆▇█"
PAST, AHEAD = "▄", "▁"

LABEL, VALUE, FRAME, WIDEST = 9, 9, 6, 100
"""Columns for a row's name, its value now, the frame around, and the most for the time axis."""

NEWS = 5
"""How many of the breaker's transitions are told."""


def watch(record: Record, schedule: Schedule, began: float, running: Callable[[], bool], console: Console) -> None:
    """Show what happens until it is over."""
    if console.is_terminal:
        _dashboard(record, schedule, began, running, console)
    else:
        _lines(record, schedule, began, running, console)


def _dashboard(record: Record, schedule: Schedule, began: float, running: Callable[[], bool], console: Console) -> None:
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while running():
            live.update(frame(record, schedule, time.monotonic() - began, console.width), refresh=True)
            time.sleep(1 / FRAMES)
    console.print(frame(record, schedule, time.monotonic() - began, console.width))


def _lines(record: Record, schedule: Schedule, began: float, running: Callable[[], bool], console: Console) -> None:
    second = 0
    while running():
        if time.monotonic() - began >= second:
            console.print(line(record, schedule, float(second)), highlight=False)
            second += 1
        time.sleep(0.05)


def line(record: Record, schedule: Schedule, now: float) -> str:
    """The state of things in one line."""
    ended = record.outcomes()
    refused = sum(count for outcome, count in ended.items() if outcome.refused)
    cells = (
        f"{now:5.0f} s",
        f"service {schedule.at(now).name:<9}",
        f"circuit {_state(record):<10}",
        f"answered {ended[Outcome.OK]:4}",
        f"failed {ended[Outcome.FAILED]:3}",
        f"timed out {ended[Outcome.TIMED_OUT]:3}",
        f"refused {refused:4}",
        f"requests {len(record.requests):4}",
    )
    return "  ".join(cells)


def frame(record: Record, schedule: Schedule, now: float, width: int) -> RenderableType:
    """The dashboard at one moment."""
    axis = Axis(schedule.seconds, max(20, min(WIDEST, width - LABEL - VALUE - FRAME)), now)
    calls = list(record.calls)
    strips = Table.grid(padding=(0, 1))
    strips.add_column(width=LABEL, justify="right", style=FAINT)
    strips.add_column(width=axis.columns, no_wrap=True)
    strips.add_column(width=VALUE, no_wrap=True)
    for label, strip, value in _strips(record, calls, schedule, axis):
        strips.add_row(label, strip, value)
    title = f"an outage, live · {min(max(now, 0.0), schedule.seconds):4.1f} of {schedule.seconds:g} s"
    body = Group(strips, "", _counters(calls), "", _news(record))
    return Panel(body, title=title, width=axis.columns + LABEL + VALUE + FRAME)


class Axis:
    """Time, cut into as many slices as there are columns."""

    def __init__(self, seconds: float, columns: int, now: float) -> None:
        self.columns = columns
        self.slice = seconds / columns
        self.now = now

    def column(self, moment: float) -> int:
        """The column that a moment falls into."""
        return max(0, min(self.columns - 1, int(moment / self.slice)))

    def band(self, spans: Iterable[tuple[float, float, str]]) -> Text:
        """A band of colours: thick up to now, thin for what lies ahead."""
        colours = [""] * self.columns
        for begin, end, colour in spans:
            covered = range(self.column(begin), self.column(end) + 1)
            colours[covered.start : covered.stop] = [colour] * len(covered)
        past = self.column(self.now)
        return Text.assemble(*((PAST if at <= past else AHEAD, colour) for at, colour in enumerate(colours) if colour))

    def counts(self, moments: Iterable[float], colour: str) -> Text:
        """A row of bars: how many moments fall into each slice."""
        counted = Counter(map(self.column, moments))
        return self.bars([counted[column] for column in range(self.columns)], colour)

    def bars(self, values: Sequence[float], colour: str) -> Text:
        """A row of bars, the largest of them full."""
        most = max(values)
        return Text("".join(BARS[math.ceil((len(BARS) - 1) * value / most) if most else 0] for value in values), colour)


def _strips(record: Record, calls: list[Call], schedule: Schedule, axis: Axis) -> Iterator[tuple[str, Text, str]]:
    phases = [(begin, end, PHASE[phase.name]) for begin, end, phase in schedule.spans()]
    states = [(begin, end, STATE.get(state, FAINT)) for begin, end, state in record.states(axis.now)]
    requests, slow = [request.at for request in list(record.requests)], _p95(calls, axis)
    yield "service", axis.band(phases), schedule.at(axis.now).name
    yield "circuit", axis.band(states), _state(record)
    for outcome in (Outcome.OK, Outcome.FAILED, Outcome.TIMED_OUT):
        moments = [call.ended for call in calls if call.ended is not None and call.outcome is outcome]
        yield outcome.value, axis.counts(moments, OUTCOME[outcome]), str(len(moments))
    moments = [call.started for call in calls if call.outcome and call.outcome.refused]
    yield "refused", axis.counts(moments, OUTCOME[Outcome.CIRCUIT_OPEN]), str(len(moments))
    yield "requests", axis.counts(requests, FAINT), str(len(requests))
    yield "p95", axis.bars(slow, OUTCOME[Outcome.BULKHEAD_FULL]), f"{max(slow[: axis.column(axis.now) + 1][-3:]):.3f} s"


def _p95(calls: list[Call], axis: Axis) -> list[float]:
    slices: list[list[float]] = [[] for _ in range(axis.columns)]
    for call in calls:
        if call.ended is not None and call.attempts:
            slices[axis.column(call.ended)].append(call.seconds)
    return [quantile(values, 0.95) for values in slices]


def _counters(calls: list[Call]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=LABEL, justify="right", style=FAINT)
    for title in ("calls", "in flight", *Outcome):
        colour = OUTCOME[title] if isinstance(title, Outcome) else ""
        table.add_column(Text(title.replace(" ", "\n", 1), colour), justify="right", no_wrap=True)
    table.show_header = True
    for side in Side:
        mine = Counter(call.outcome for call in calls if call.side is side)
        table.add_row(side, *map(str, (mine.total(), mine[None], *(mine[outcome] for outcome in Outcome))))
    return table


def _news(record: Record) -> Text:
    lines = [
        Text.assemble(
            (f"{change.at:{LABEL - 2}.2f} s ", FAINT),
            (f"{change.state:<10}", STATE.get(change.state, FAINT)),
            " " + change.reason.partition("\n")[0],
        )
        for change in record.transitions[-NEWS:]
    ]
    return Text("\n", no_wrap=True, overflow="ellipsis").join([*lines, *[Text("")] * (NEWS - len(lines))])


def _state(record: Record) -> str:
    return record.transitions[-1].state if record.transitions else "closed"
