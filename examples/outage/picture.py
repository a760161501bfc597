"""The timeline as a picture: what the service did, what the circuit breaker did, and how every single call fared.

Pure: a record and a schedule in, an SVG document out. Everything is on one time axis, so that a column of the picture
is one moment: from above, the service's manner, the circuit's state, each call as a dot at the moment it began and as
high as it lasted, the refused ones as ticks, and the requests that really reached the service.
"""

import math
from collections import Counter
from collections.abc import Iterator

from . import svg
from .palette import FAINT, GRID, INK, OUTCOME, PAPER, PHASE, RECOVERED, STATE
from .records import Call, Outcome, Record, Side
from .schedule import Schedule

WIDTH, HEIGHT = 1200, 760
LEFT, RIGHT = 124, 1176

BANDS = {"service": 84, "circuit": 116}
BAND = 24
CALLS = (160, 470)
REFUSED = {Side.THREADS: 486, Side.TASKS: 504}
TICK = 12
REQUESTS = (548, 668)
LEGEND = 724

NOTE = (
    "a dot is a call, where it began and as high as it lasted; a bar counts requests that reached the service, "
    "retries in blue; the line counts calls"
)

FASTEST, SLOWEST = 0.005, 2.0
"""The ends of the logarithmic latency axis, in seconds."""

BIN = 0.1
"""Seconds per bar."""

NARROW = 46
"""A stretch of a band less wide than this has no room for its name."""


def draw(record: Record, schedule: Schedule, deadline: float) -> str:
    """The picture, as an SVG document.

    Args:
        record: What happened.
        schedule: What the service had in mind.
        deadline: The longest that a call may last, in seconds: drawn as a line.
    """
    scale = Scale(max(schedule.seconds, record.end))
    shapes = [
        *_title(record),
        svg.group("the service's phases", list(_phases(schedule, scale))),
        *_grid(scale),
        svg.group("what the service did", list(_service(schedule, scale))),
        svg.group("the circuit breaker's states", list(_circuit(record, scale))),
        *_latency_axis(deadline),
        svg.group("calls", [_dot(call, scale) for call in record.calls if call.attempts]),
        svg.group("refused calls", list(_refused(record, scale))),
        svg.group("requests that reached the service", list(_requests(record, scale))),
        *_legend(record.outcomes()),
    ]
    return svg.document(WIDTH, HEIGHT, PAPER, shapes)


class Scale:
    """Where a moment and a latency are on the picture."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def x(self, moment: float) -> float:
        """From seconds since the start."""
        return LEFT + (RIGHT - LEFT) * min(moment, self.seconds) / self.seconds

    @staticmethod
    def y(seconds: float) -> float:
        """From a latency; what is off the axis is put on its edge."""
        inside = min(max(seconds, FASTEST), SLOWEST)
        top, bottom = CALLS
        return bottom - (bottom - top) * math.log(inside / FASTEST) / math.log(SLOWEST / FASTEST)


def _title(record: Record) -> Iterator[str]:
    ended, sent = record.outcomes(), len(record.requests)
    refused = sum(count for outcome, count in ended.items() if outcome.refused)
    saved = sum(call.recovered for call in record.calls)
    yield svg.text(LEFT, 36, "An outage, and how the calls fared", INK, size=20, weight=600)
    told = (
        f"{len(record.calls)} calls from threads and tasks: "
        f"{ended[Outcome.OK]} answered, {saved} of them saved by a retry; "
        f"{refused} refused at once; {sent} requests reached the service"
    )
    yield svg.text(LEFT, 60, told, FAINT, size=13)


def _grid(scale: Scale) -> Iterator[str]:
    step = next(step for step in (1, 2, 5, 10, 30, 60) if scale.seconds / step <= 24)
    for second in range(0, int(scale.seconds) + 1, step):
        x = scale.x(second)
        yield svg.line(x, CALLS[0] - 8, x, REQUESTS[1], GRID)
        yield svg.text(x, REQUESTS[1] + 18, f"{second} s", FAINT, size=11, anchor="middle")


def _phases(schedule: Schedule, scale: Scale) -> Iterator[str]:
    top, bottom = CALLS[0] - 8, REQUESTS[1]
    for begin, end, phase in schedule.spans():
        x, width = scale.x(begin), scale.x(end) - scale.x(begin)
        yield svg.rect(x, top, width, bottom - top, PHASE[phase.name], opacity=0.06)


def _label(y: float, *words: str) -> list[str]:
    return [svg.text(LEFT - 10, y + 15 * number, word, INK, anchor="end") for number, word in enumerate(words)]


def _stretch(scale: Scale, y: float, begin: float, end: float, colour: str, name: str) -> Iterator[str]:
    x, width = scale.x(begin), scale.x(end) - scale.x(begin)
    yield svg.rect(x, y, width - 1, BAND, colour, opacity=0.85, corner=2)
    if width > NARROW:
        yield svg.text(x + width / 2, y + BAND - 8, name, PAPER, anchor="middle", weight=600)


def _service(schedule: Schedule, scale: Scale) -> Iterator[str]:
    y = BANDS["service"]
    yield from _label(y + 16, "service")
    for begin, end, phase in schedule.spans():
        yield from _stretch(scale, y, begin, end, PHASE[phase.name], phase.name)


def _circuit(record: Record, scale: Scale) -> Iterator[str]:
    y = BANDS["circuit"]
    yield from _label(y + 16, "circuit")
    for begin, end, state in record.states(scale.seconds):
        yield from _stretch(scale, y, begin, end, STATE.get(state, FAINT), state.replace("_", "-"))


def _latency_axis(deadline: float) -> Iterator[str]:
    yield from _label(CALLS[0] + 2, "latency")
    for seconds in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0):
        y = Scale.y(seconds)
        yield svg.line(LEFT, y, RIGHT, y, GRID)
        yield svg.text(
            LEFT - 10,
            y + 4,
            f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms",
            FAINT,
            size=11,
            anchor="end",
        )
    y = Scale.y(deadline)
    yield svg.line(LEFT, y, RIGHT, y, INK, dash="5 4")
    yield svg.text(RIGHT, y - 5, f"deadline {deadline:g} s", INK, size=11, anchor="end")


def _colour(call: Call) -> str:
    if call.recovered:
        return RECOVERED
    return FAINT if call.outcome is None else OUTCOME[call.outcome]


def _dot(call: Call, scale: Scale) -> str:
    return svg.dot(scale.x(call.started), Scale.y(call.seconds), _colour(call), hollow=call.side is Side.TASKS)


def _refused(record: Record, scale: Scale) -> Iterator[str]:
    for side, y in REFUSED.items():
        yield from _label(y + 10, f"refused, {side}")
    for call in record.calls:
        if not call.attempts:
            x, y = scale.x(call.started), REFUSED[call.side]
            yield svg.line(x, y, x, y + TICK, _colour(call), width=1.4)


def _requests(record: Record, scale: Scale) -> Iterator[str]:
    top, bottom = REQUESTS
    first = _per_bin(request.at for request in record.requests if request.attempt == 1)
    again = _per_bin(request.at for request in record.requests if request.attempt > 1)
    begun = _per_bin(call.started for call in record.calls)
    most = max([1, *begun.values(), *((first + again).values())])
    unit, width = (bottom - top) / most, scale.x(BIN) - scale.x(0)
    yield from _label(top + 12, "requests", "per 100 ms")
    for slot in sorted(first | again):
        x = scale.x(slot * BIN)
        yield svg.rect(x, bottom - unit * first[slot], width - 0.8, unit * first[slot], INK, opacity=0.55)
        yield svg.rect(x, bottom - unit * (first[slot] + again[slot]), width - 0.8, unit * again[slot], RECOVERED)
    yield svg.path(
        [
            (scale.x((slot + half) * BIN), bottom - unit * begun[slot])
            for slot in range(max(begun, default=0) + 1)
            for half in (0, 1)
        ],
        INK,
    )
    yield svg.line(LEFT, bottom, RIGHT, bottom, INK)


def _per_bin(moments: Iterator[float]) -> Counter[int]:
    return Counter(int(moment / BIN) for moment in moments)


def _legend(seen: Counter[Outcome]) -> Iterator[str]:
    x = float(LEFT)
    entries = [(Outcome.OK.value, OUTCOME[Outcome.OK]), ("saved by a retry", RECOVERED)]
    entries += [(outcome.value, OUTCOME[outcome]) for outcome in Outcome if seen[outcome] and outcome is not Outcome.OK]
    for name, colour in entries:
        yield svg.dot(x + 4, LEGEND - 4, colour, radius=4.5)
        yield svg.text(x + 13, LEGEND, name, INK)
        x += 30 + 6.8 * len(name)
    for name, hollow in (("from a thread", False), ("from a task", True)):
        yield svg.dot(x + 4, LEGEND - 4, INK, hollow=hollow, radius=4.5)
        yield svg.text(x + 13, LEGEND, name, INK)
        x += 30 + 6.8 * len(name)
    yield svg.text(LEFT, LEGEND + 22, NOTE, FAINT)
