"""How things are written for people: times, durations, values, tables."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

_UNITS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))

_ASCII = str.maketrans(
    {"●": "*", "»": ">", "✓": "+", "○": "o", "✗": "x", "↩": "<", "■": "#", "☞": "!", "✉": "@", "…": "...", "·": "-"}
)


def shortened(text: str, most: int) -> str:
    """At most so many characters of a text."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def ascii_only(text: str) -> str:
    """The same for a terminal that knows no other characters."""
    return text.translate(_ASCII).encode("ascii", "backslashreplace").decode()


def duration(seconds: float) -> str:
    """As in "3 min 12 s"."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1_000:.0f} ms"
    for unit, name, part, part_name in _UNITS:
        if seconds >= unit:
            whole, rest = divmod(seconds, unit)
            return f"{whole:.0f} {name} {rest // part:.0f} {part_name}"
    return f"{seconds:.1f} s"


def moment(at: float) -> str:
    """As in "2026-03-01 12:00:00", of UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def iso(at: float | None) -> str | None:
    """The same for programs."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")


def counted(number: int, noun: str) -> str:
    """As in "1 saga", "2 sagas"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Rows with their columns below one another."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
