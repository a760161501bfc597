"""`list`: what is stuck, what is open, and what has ended, the last first."""

from collections import Counter
from collections.abc import Collection
from typing import Any

from ..saga import Journal, Summary
from ..saga._wording import plain
from ._output import Output
from ._story import CURRENT
from ._words import counted, duration, iso, moment, table

STATUSES = (*CURRENT, "completed", "undone", "repaired")


def list_sagas(
    journal: Journal, output: Output, now: float, *, status: Collection[str], saga: str | None, limit: int
) -> int:
    """List sagas.

    Args:
        journal: Where they are kept.
        output: Where to list them.
        now: The time.
        status: Only those with one of these; none: all.
        saga: Only those of this class.
        limit: How many at most.

    Returns:
        The exit code.
    """
    found = _sorted(journal.list(status=tuple(status) or None, saga=saga).wait())
    shown = found[:limit]
    if output.as_json:
        output.document([described(one) for one in shown])
        return 0
    if not found:
        output.line("no such sagas" if status or saga else "no sagas")
        return 0
    heads = ("ID", "SAGA", "STATUS", "BEGAN (UTC)", "TOOK", "OWNER")
    for line in table([heads, *(_row(one, now) for one in shown)]):
        output.line(line)
    output.line()
    output.line(_counts(found, len(shown)))
    return 0


def described(summary: Summary) -> dict[str, Any]:
    """A saga, for programs."""
    return {
        "id": summary.id,
        "saga": summary.saga,
        "status": summary.status,
        "began": iso(summary.started),
        "ended": iso(summary.ended),
        "owner": summary.owner,
    }


def _sorted(found: list[Summary]) -> list[Summary]:
    """Stuck ones first, then open ones, the oldest first; then the others, which ended last first."""
    current = [one for status in reversed(CURRENT) for one in found if one.status == status]
    ended = sorted((one for one in found if one.ended is not None), key=lambda one: -(one.ended or 0.0))
    return [*current, *ended]


def _row(one: Summary, now: float) -> tuple[str, ...]:
    took = duration(one.ended - one.started) if one.ended is not None else f"{duration(now - one.started)} so far"
    owner = "" if one.ended is not None else "nobody" if one.owner is None else str(one.owner)
    return plain(one.id), plain(one.saga), one.status, moment(one.started), took, owner


def _counts(found: list[Summary], shown: int) -> str:
    counts = Counter(one.status for one in found)
    each = ", ".join(f"{counts[status]:,} {status}" for status in ("stuck", "open", *STATUSES[2:]) if counts[status])
    more = f"; {shown:,} shown, see --limit" if shown < len(found) else ""
    return f"{counted(len(found), 'saga')}: {each}{more}"
