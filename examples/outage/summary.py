"""The table at the end, and the audit's findings: figures from the record, for people.

The table is a list of rows of text; `tables` dresses it for the terminal.
"""

from collections.abc import Callable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .audit import Finding
from .records import Call, Outcome, Record, Side

OFFENDERS = 3
"""How many offenders of a broken promise are named."""


def quantile(values: Sequence[float], share: float) -> float:
    """The nearest-rank quantile; 0.0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def rows(record: Record) -> list[tuple[str, ...]]:
    """A row of the table: its title, then the figures of threads, tasks, and both."""
    columns = [[call for call in record.calls if call.side is side] for side in Side] + [record.calls]
    return [(title, *(figure(column) for column in columns)) for title, figure in _ROWS]


def tables(record: Record, findings: Sequence[Finding]) -> RenderableType:
    """The summary and the audit, as the terminal shows them."""
    return Group(_summary(record), "", _audit(findings))


def _ended(*outcomes: Outcome) -> Callable[[list[Call]], str]:
    return lambda calls: str(sum(call.outcome in outcomes for call in calls))


def _latency(share: float) -> Callable[[list[Call]], str]:
    return lambda calls: _readable(quantile([call.seconds for call in calls if call.attempts], share))


def _readable(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"


_ROWS: tuple[tuple[str, Callable[[list[Call]], str]], ...] = (
    ("calls", lambda calls: str(len(calls))),
    ("  answered", _ended(Outcome.OK)),
    ("    of these, saved by a retry", lambda calls: str(sum(call.recovered for call in calls))),
    ("  failed", _ended(Outcome.FAILED)),
    ("  timed out", _ended(Outcome.TIMED_OUT)),
    ("  refused: circuit open", _ended(Outcome.CIRCUIT_OPEN)),
    ("  refused: bulkhead full", _ended(Outcome.BULKHEAD_FULL)),
    ("  refused: out of time", _ended(Outcome.OUT_OF_TIME)),
    ("requests sent", lambda calls: str(sum(len(call.attempts) for call in calls))),
    ("  of these, retries", lambda calls: str(sum(call.retries for call in calls))),
    ("latency of calls that were sent: p50", _latency(0.5)),
    ("  p95", _latency(0.95)),
    ("  longest", _latency(1.0)),
    ("latency of refusals: p50", lambda calls: _readable(quantile([c.seconds for c in calls if not c.attempts], 0.5))),
)


def _summary(record: Record) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="What the callers saw", title_justify="left", title_style="bold")
    table.add_column("")
    for title in (*Side, "both"):
        table.add_column(title, justify="right")
    for row in rows(record):
        table.add_row(*row)
    return table


def _audit(findings: Sequence[Finding]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="What was promised", title_justify="left", title_style="bold")
    for title in ("", "", "promise", "figures, from both sides' records"):
        table.add_column(title)
    for finding in findings:
        mark = Text("✓", "bold green") if finding.kept else Text("✗", "bold red")
        table.add_row(mark, finding.name, finding.promise, Text("\n".join((finding.figures, *_named(finding)))))
    return table


def _named(finding: Finding) -> list[str]:
    more = len(finding.offenders) - OFFENDERS
    return [*finding.offenders[:OFFENDERS], *([f"and {more} more"] if more > 0 else [])]
