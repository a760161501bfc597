"""One dependency hangs. What becomes of the pages that do not need it, with and without a bulkhead around it."""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from docs.pictures.style import SMALL, WIDTH, Style, heading, ill, quiet, seconds_axis
from resilience import Bulkhead, BulkheadFull, Pipeline, Policy
from resilience.testing import VirtualClock, sandbox

SIZE = (WIDTH, 4.1)

SECONDS, PER_SECOND, WORKERS, SHARE = 30, 20, 20, 5
QUICK, HANG = 0.03, 30.0
ILL = (5.0, 20.0)
PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class Server:
    """What became of a server.

    Attributes:
        stuck: How many workers sat at the sick dependency, by the second.
        answered: How many requests that did not need it, begun in that second, were answered in time.
    """

    stuck: Counter[int]
    answered: Counter[int]


@dataclass(frozen=True, slots=True)
class Servers:
    """The same requests with and without a bulkhead."""

    plain: Server
    guarded: Server


def experiment() -> Servers:
    """Let the same requests meet the same hanging dependency twice."""
    return Servers(plain=server(Pipeline()), guarded=server(Bulkhead(SHARE)))


def server(policy: Policy) -> Server:
    """Serve requests, every second of which needs the dependency."""
    shown = Server(Counter(), Counter())
    with sandbox() as time:
        asyncio.run(_serve(time, policy, shown))
    return shown


async def _serve(time: VirtualClock, policy: Policy, shown: Server) -> None:
    workers, sitting = asyncio.Semaphore(WORKERS), 0

    @policy
    async def depend() -> None:
        nonlocal sitting
        sitting += 1
        await time.asleep(HANG if ILL[0] <= time.elapsed < ILL[1] else QUICK)
        sitting -= 1

    async def request(number: int) -> None:
        arrived = time.elapsed
        async with workers:
            if number % 2:
                await _or_nothing(depend)
                return
            await time.asleep(QUICK)
            shown.answered[int(arrived + 1e-6)] += time.elapsed - arrived <= PATIENCE

    async with asyncio.TaskGroup() as requests:
        for number in range(SECONDS * PER_SECOND):
            await time.asleep(number / PER_SECOND - time.elapsed)
            shown.stuck[int(time.elapsed + 1e-6)] = sitting
            requests.create_task(request(number))


async def _or_nothing(depend: Any) -> None:
    with suppress(BulkheadFull):  # the page goes without
        await depend()


def draw(figure: Any, shown: Servers, style: Style) -> None:
    """Draw it: the workers that sit there above, what the other pages get below."""
    above, below = figure.subplots(2, 1, sharex=True)
    figure.subplots_adjust(left=0.105, right=0.97, top=0.81, bottom=0.08, hspace=0.42)
    for axes in (above, below):
        seconds_axis(axes, SECONDS, 5, style)
        ill(axes, *ILL, style)
        axes.grid(visible=True, axis="y", color=style.grid, linewidth=0.6)
        axes.tick_params(axis="y", length=0)
        quiet(axes, "left")
    for one, colour in ((shown.plain, style.bad), (shown.guarded, style.good)):
        _steps(above, one.stuck, 1.0, colour)
        _steps(below, one.answered, 100 / (PER_SECOND / 2), colour)
    above.set_ylim(-1, WORKERS * 1.15)
    above.set_yticks([0, SHARE, WORKERS])
    below.set_ylim(-5, 112)
    below.set_yticks([0, 50, 100], ["0 %", "50 %", "100 %"])
    right = {"ha": "right", "fontsize": SMALL}
    above.text(SECONDS - 0.3, WORKERS - 1, "without", va="top", color=style.bad, **right)
    above.text(SECONDS - 0.3, SHARE + 0.7, f"Bulkhead({SHARE})", va="bottom", color=style.good, **right)
    below.text(SECONDS - 0.3, 6, "without", va="bottom", color=style.bad, **right)
    below.text(SECONDS - 0.3, 94, f"Bulkhead({SHARE})", va="top", color=style.good, **right)
    heading(above, "Workers that wait for it", style, rest=f"of {WORKERS}")
    heading(below, "Other pages that are answered", style, rest=f"within {PATIENCE:g} s")
    title = f"One service hangs for {ILL[1] - ILL[0]:g} s, {HANG:g} s for each answer"
    figure.text(0.02, 0.985, title, fontsize=11.5, fontweight="bold", va="top")
    words = f"a server of {WORKERS} workers, {PER_SECOND} requests a second; every second one needs that service"
    figure.text(0.02, 0.925, words, fontsize=SMALL, color=style.faint, va="top")


def _steps(axes: Any, counts: Counter[int], scale: float, colour: str) -> None:
    axes.stairs([counts[second] * scale for second in range(SECONDS)], range(SECONDS + 1), color=colour, linewidth=2,
                baseline=None)  # fmt: skip
