"""One order that lived through a kill, drawn: an effect that nobody had written down, and how it was found again.

A kill is worst between an effect and its record: the service has acted, and the orchestrator that asked for it is gone
and has not written down that it did. The next one asks again, under the same key, and is answered the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .books import UNDO, Books, Entry, Move
from .participants import PARTICIPANTS
from .script import Fault

COLUMNS = 64
"""The width of the drawing."""

LANES = (*PARTICIPANTS, "journal")

_VERDICTS = {
    "nothing": "turned away with a 503",
    "done": "comes",
    "undone": "comes",
    "repeated": "known already, answered the same",
}
_FAULTS: dict[str, str] = {Fault.STALL: ", long after the caller hung up", Fault.LOST: ", and its answer is lost"}

EFFECT, REPEAT, FAULT, RECORD, KILL = "●", "○", "✗", "▪", "┃"


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened to an order.

    Attributes:
        at: When, on the wall clock.
        lane: Where: a service, the journal, or "" for a kill.
        sign: How it is drawn.
        words: What it was.
    """

    at: float
    lane: str
    sign: str
    words: str


def interesting(books: Books) -> tuple[str, Move] | None:
    """An order with an effect that a kill came right after, before it was written down; the later in it the better."""
    found = [
        (move.verb in UNDO.values(), move.verb == "charge", kill.at - move.at, move)
        for kill in books.kills
        for move in books.moves
        if move.at < kill.at < _recorded(books, move)
    ]
    return (found[0][3].order, found[0][3]) if (found := sorted(found, key=lambda one: (-one[1], one[2]))) else None


def marks(books: Books, order: str) -> list[Mark]:
    """Everything that happened to an order, as it happened."""
    entries = books.journal[order]
    begin, end = entries[0].at, entries[-1].at
    found = [
        *(Mark(entry.at, "journal", RECORD, _record(entry)) for entry in entries),
        *_effects(books, order),
        *_calls(books, order),
        *(Mark(kill.at, "", KILL, "SIGKILL") for kill in books.kills if begin < kill.at < end),
    ]
    return sorted(found, key=lambda mark: mark.at)


def draw(books: Books) -> RenderableType:
    """The drawing, and the story in words; a line that says so if no kill met such a moment."""
    found = interesting(books)
    if found is None:
        return Text("No kill came between an effect and its record this time; another --seed may have one.", "dim")
    order, move = found
    story = marks(books, order)
    title = f"{order}: killed after {move.verb}, before it was written down; it ended {books.statuses[order]}"
    return Group(Text(title, "bold"), "", *_lanes(story), "", _story(story), _legend())


def _recorded(books: Books, move: Move) -> float:
    """When the journal knew of an effect."""
    step = next((do for do, undo in UNDO.items() if undo == move.verb), move.verb)
    kind = "undone" if move.verb in UNDO.values() else "result"
    times = [entry.at for entry in books.journal[move.order] if (entry.kind, entry.step) == (kind, step)]
    return min(times, default=0.0)


def _effects(books: Books, order: str) -> Iterator[Mark]:
    for move in books.moves:
        if move.order == order:
            yield Mark(move.at, move.service, EFFECT, f"{move.verb}: done")


def _calls(books: Books, order: str) -> Iterator[Mark]:
    """The calls that had no effect, or whose caller did not learn of it."""
    for call in books.arrivals:
        had_effect = call.verdict in {"done", "undone"}
        if call.order == order and not (had_effect and call.fault == Fault.NONE):
            words = f"{_VERDICTS.get(call.verdict, call.verdict)}{_FAULTS.get(call.fault, '')}"
            sign = FAULT if had_effect or call.fault == Fault.UNAVAILABLE else REPEAT
            yield Mark(call.at, call.service, sign, f"{call.key.removeprefix(order + '/')}, call {call.nth}: {words}")


def _record(entry: Entry) -> str:
    words = {"resumed": "taken up by another process", "end": entry.outcome}.get(entry.kind)
    return words or " ".join(word for word in (entry.kind, entry.step, entry.outcome) if word)


def _lanes(story: list[Mark]) -> Iterator[Text]:
    placed = list(zip(_places([mark.at for mark in story]), story, strict=True))
    for lane in LANES:
        cells = [Text("─", "dim") for _ in range(COLUMNS)]
        for place, mark in placed:
            if mark.sign == KILL:
                cells[place] = Text(KILL, "bold red")
            elif mark.lane == lane:
                cells[place] = Text(mark.sign, "bold")
        yield Text.assemble(f"{lane:>10}  ", *cells)
    yield Text(f"{'':>10}  {'0 s':<{COLUMNS - 8}}{story[-1].at - story[0].at:6.2f} s", "dim")


def _places(times: list[float]) -> Iterator[int]:
    """Columns, in proportion to time, but for a little room that each mark has for itself."""
    begin, lasted = times[0], max(times[-1] - times[0], 1e-9)
    room = min(2, (COLUMNS - 1) // len(times))
    scale = (COLUMNS - 1 - room * (len(times) - 1)) / lasted
    yield from (int((at - begin) * scale) + room * number for number, at in enumerate(times))


def _story(story: list[Mark]) -> Table:
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(justify="right", style="dim")
    for _ in range(2):
        table.add_column()
    for mark in story:
        table.add_row(
            f"{mark.at - story[0].at:.3f} s", mark.lane, Text(mark.words, "bold red" if mark.sign == KILL else "")
        )
    return table


def _legend() -> Text:
    signs = (
        (EFFECT, "effect"),
        (REPEAT, "call without effect"),
        (FAULT, "turned away, stalled or lost"),
        (RECORD, "record"),
        (KILL, "kill"),
    )
    return Text("   ".join(f"{sign} {words}" for sign, words in signs), "dim")
