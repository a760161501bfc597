"""What is done for a caller who has gone, with a limit for each call and with a deadline for all."""

from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from docs.pictures.style import SMALL, WIDTH, Style, heading, quiet, seconds_axis
from resilience import OutOfTime, deadline, remaining, retry
from resilience.testing import VirtualClock, sandbox

SIZE = (WIDTH, 3.3)

PATIENCE, LIMIT = 1.5, 1.0
SERVICES = {"stock": 0.8, "price": 2.0, "reviews": 0.6}
"""What a page asks, and how long each needs today."""

LAST = 4.0


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a service: when it began and ended, in seconds, and whether there was an answer."""

    service: str
    begin: float
    end: float
    answered: bool


@dataclass(frozen=True, slots=True)
class Pages:
    """The same page twice, with how long a call may take decided call by call, or by what is left."""

    each: tuple[Call, ...]
    together: tuple[Call, ...]


def experiment() -> Pages:
    """Make the page twice."""
    return Pages(each=page(announced=False), together=page(announced=True))


def page(*, announced: bool) -> tuple[Call, ...]:
    """Make the page for a caller who waits for `PATIENCE` seconds."""
    calls: list[Call] = []
    with sandbox() as time:
        limit = deadline(PATIENCE) if announced else nullcontext()
        with suppress(TimeoutError, OutOfTime), limit:
            _ask_all(time, calls)
    return tuple(calls)


def _ask_all(time: VirtualClock, calls: list[Call]) -> None:
    @retry(on=TimeoutError, attempts=2, wait=0.1)
    def ask(service: str) -> None:
        began, limit = time.elapsed, remaining(at_most=LIMIT)
        time.advance(min(SERVICES[service], limit))
        answered = SERVICES[service] <= limit
        calls.append(Call(service, began, time.elapsed, answered))
        if not answered:
            raise TimeoutError(service)

    for service in SERVICES:
        try:
            ask(service)
        except TimeoutError:
            if remaining() == 0.0:
                raise  # else the page does without


def draw(figure: Any, shown: Pages, style: Style) -> None:
    """Draw it: the calls as bars over time, and the moment at which the caller goes."""
    above, below = figure.subplots(2, 1, sharex=True)
    figure.subplots_adjust(left=0.145, right=0.97, top=0.78, bottom=0.1, hspace=0.5)
    for axes, calls, words in (
        (above, shown.each, f"{LIMIT:g} s for each call"),
        (below, shown.together, f"deadline({PATIENCE:g}): what is left, for each call"),
    ):
        seconds_axis(axes, LAST, 0.5, style)
        _bars(axes, calls, style)
        wasted = sum(max(0.0, call.end - max(call.begin, PATIENCE)) for call in calls)
        heading(axes, words, style, rest=f"{wasted:.1f} s of work for nobody")
    figure.text(0.02, 0.98, f"The caller waits for {PATIENCE:g} s", fontsize=11.5, fontweight="bold", va="top")
    figure.text(0.02, 0.905, "full: answered; hollow: timed out; one retry each", fontsize=SMALL, color=style.faint,
                va="top")  # fmt: skip


def _bars(axes: Any, calls: tuple[Call, ...], style: Style) -> None:
    rows = list(reversed(SERVICES))
    for call in calls:
        for begin, end, colour in ((call.begin, min(call.end, PATIENCE), style.good),
                                   (max(call.begin, PATIENCE), call.end, style.bad)):  # fmt: skip
            if end > begin:
                axes.barh(rows.index(call.service), end - begin, left=begin, height=0.56, linewidth=1.4,
                          edgecolor=colour, facecolor=colour if call.answered else "none")  # fmt: skip
    axes.axvline(PATIENCE, color=style.ink, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(axis="y", length=0)
    quiet(axes, "left")
