"""The tables at the end: what became of the orders, what went wrong on the way, and the audit's findings."""

from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .audit import Finding
from .books import Books
from .script import Fault

OFFENDERS = 3
"""How many offenders of a broken promise are named."""


def tables(books: Books, findings: Sequence[Finding]) -> RenderableType:
    """The summary and the audit, as the terminal shows them."""
    return Group(_summary(books), "", _audit(findings))


def rows(books: Books) -> list[tuple[str, str]]:
    """What there is to tell, each with its figure."""
    ends, faults = Counter(books.statuses.values()), Counter(call.fault for call in books.arrivals)
    verdicts = Counter(call.verdict for call in books.arrivals)
    entries = [entry for found in books.journal.values() for entry in found]
    unknown = sum(entry.kind == "result" and entry.outcome == "unknown" for entry in entries)
    return [
        ("orders", str(len(books.script.orders))),
        ("  placed", str(ends["completed"])),
        ("  undone", str(ends["undone"])),
        ("the orchestrator was killed", _times(len(books.kills))),
        ("  orders that it left in the middle", str(sum(len(kill.under_way) for kill in books.kills))),
        ("calls that reached a service", str(len(books.arrivals))),
        ("  turned away with a 503", str(faults[Fault.UNAVAILABLE])),
        ("  handled when nobody waited any more", str(faults[Fault.STALL])),
        ("  handled, the answer lost", str(faults[Fault.LOST])),
        ("  refused for good", str(verdicts["refused"])),
        ("absorbed by the services' barriers", ""),
        ("  calls that had come before", str(verdicts["repeated"])),
        ("  calls that came after their undo", str(verdicts["too late"])),
        ("  undos of what was never done", str(verdicts["nothing to undo"])),
        ("steps whose outcome stayed unknown", str(unknown)),
    ]


def _summary(books: Books) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, title="What happened", title_justify="left", title_style="bold", show_header=False
    )
    table.add_column("")
    table.add_column("", justify="right")
    for row in rows(books):
        table.add_row(*row)
    return table


def _audit(findings: Sequence[Finding]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="No order is half-done", title_justify="left", title_style="bold")
    for title in ("", "", "promise", "figures, from three databases and a journal"):
        table.add_column(title)
    for finding in findings:
        mark = Text("✓", "bold green") if finding.kept else Text("✗", "bold red")
        table.add_row(mark, finding.name, finding.promise, Text("\n".join((finding.figures, *_named(finding)))))
    return table


def _named(finding: Finding) -> list[str]:
    more = len(finding.offenders) - OFFENDERS
    return [*finding.offenders[:OFFENDERS], *([f"and {more} more"] if more > 0 else [])]


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
