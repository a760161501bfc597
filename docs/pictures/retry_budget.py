"""A stall of three seconds, and what retries make of it: an outage without an end, or a dent.

The service is one queue: it works on every request, also on those whose caller has stopped waiting. That is how a storm
feeds itself. Late answers are retried, and the retries make the next answers late.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

from docs.pictures.style import SMALL, WIDTH, Style, heading, ill, quiet, seconds_axis
from resilience import RetryBudget, TimedOut, retry, timeout
from resilience.testing import VirtualClock, sandbox

SIZE = (WIDTH, 4.1)

SECONDS = 40
CALLS, CAPACITY = 60, 100
STALL = (8.0, 11.0)
PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """What came of the calls of a run.

    Attributes:
        requests: How many requests reached the service, by the second.
        answered: How many of the calls that began in a second were answered in the end.
    """

    requests: Counter[int]
    answered: Counter[int]


@dataclass(frozen=True, slots=True)
class Storm:
    """The same calls with and without a budget for retries."""

    unbounded: Load
    budgeted: Load


def experiment() -> Storm:
    """Let the same calls meet the same stall twice."""
    return Storm(unbounded=load(None), budgeted=load(RetryBudget()))


def load(budget: RetryBudget | None) -> Load:
    """Run the calls of all clients at an even pace."""
    shown = Load(Counter(), Counter())
    with sandbox() as time:
        asyncio.run(_clients(time, budget, shown))
    return shown


async def _clients(time: VirtualClock, budget: RetryBudget | None, shown: Load) -> None:
    free = 0.0

    @retry(on=TimedOut, budget=budget)
    @timeout(PATIENCE)
    async def ask() -> None:
        nonlocal free
        now = time.elapsed
        shown.requests[int(now)] += 1
        begins = max(now, free)
        if STALL[0] <= begins < STALL[1]:
            begins = STALL[1]
        free = begins + 1 / CAPACITY
        await time.asleep(free - now)

    async def client(second: int) -> None:
        try:
            await ask()
        except TimedOut:
            return
        shown.answered[second] += 1

    async with asyncio.TaskGroup() as clients:
        for number in range(SECONDS * CALLS):
            await time.asleep(number / CALLS - time.elapsed)
            clients.create_task(client(int(number / CALLS + 1e-6)))


def draw(figure: Any, shown: Storm, style: Style) -> None:
    """Draw it: the load above, what the callers get of it below."""
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.5, 1])
    figure.subplots_adjust(left=0.105, right=0.97, top=0.81, bottom=0.08, hspace=0.42)
    for axes in (above, below):
        seconds_axis(axes, SECONDS, 10, style)
        ill(axes, *STALL, style)
        axes.grid(visible=True, axis="y", color=style.grid, linewidth=0.6)
        axes.tick_params(axis="y", length=0)
        quiet(axes, "left")
    for one, colour in ((shown.unbounded, style.bad), (shown.budgeted, style.good)):
        _steps(above, one.requests, 1.0, colour)
        _steps(below, one.answered, 100 / CALLS, colour)
    above.axhline(CAPACITY, color=style.ink, linewidth=1.2, linestyle=(0, (4, 3)))
    above.set_ylim(0, CALLS * 4)
    above.set_yticks([0, CALLS, CAPACITY, CALLS * 3])
    below.set_ylim(-4, 108)
    below.set_yticks([0, 50, 100], ["0 %", "50 %", "100 %"])
    _words(above, below, style)
    heading(above, "Requests per second at the service", style)
    heading(below, "Calls that get an answer", style)
    figure.text(
        0.02, 0.985, "A service stalls for 3 s, and its callers retry", fontsize=11.5, fontweight="bold", va="top"
    )
    figure.text(
        0.02, 0.925, f"{CALLS} calls a second; it can do {CAPACITY}", fontsize=SMALL, color=style.faint, va="top"
    )


def _steps(axes: Any, counts: Counter[int], scale: float, colour: str) -> None:
    axes.stairs([counts[second] * scale for second in range(SECONDS)], range(SECONDS + 1), color=colour, linewidth=2,
                baseline=None)  # fmt: skip


def _words(above: Any, below: Any, style: Style) -> None:
    right = {"ha": "right", "fontsize": SMALL}
    above.text(SECONDS - 0.3, CALLS * 3 + 16, "without a budget", va="bottom", color=style.bad, **right)
    above.text(SECONDS - 0.3, CALLS - 6, "with a RetryBudget", va="top", color=style.good, **right)
    above.text(SECONDS - 0.3, CAPACITY + 4, "what it can do", va="bottom", color=style.ink, **right)
    below.text(SECONDS - 0.3, 5, "without", va="bottom", color=style.bad, **right)
    below.text(SECONDS - 0.3, 94, "with", va="top", color=style.good, **right)
