"""A service loses two thirds of its places, and gets them back. What an adaptive bulkhead makes of it."""

import asyncio
import random
from dataclasses import dataclass
from typing import Any

from docs.pictures.style import SMALL, WIDTH, Style, ill, quiet, seconds_axis
from resilience import AdaptiveBulkhead
from resilience.testing import VirtualClock, sandbox

SIZE = (WIDTH, 3.1)

SECONDS, CLIENTS, TAKES = 180, 60, 0.1
FEWER = (60.0, 120.0)
PLACES, LEFT = 30, 10


@dataclass(frozen=True, slots=True)
class Course:
    """What happened.

    Attributes:
        limits: The limit, at each half second.
    """

    limits: list[int]


def capacity(at: float) -> int:
    """How many calls the service does at once, so many seconds after the beginning."""
    return LEFT if FEWER[0] <= at < FEWER[1] else PLACES


def experiment() -> Course:
    """Let many clients ask for more than the service can do, all the time."""
    course = Course([])
    with sandbox() as time:
        asyncio.run(_ask(time, course))
    return course


async def _ask(time: VirtualClock, course: Course) -> None:
    bulkhead = AdaptiveBulkhead(initial=4, max_wait=None, queue=CLIENTS)
    luck, inside = random.Random(1), 0
    changed = asyncio.Condition()

    @bulkhead
    async def serve() -> None:
        nonlocal inside
        async with changed:
            await changed.wait_for(lambda: inside < capacity(time.elapsed))
            inside += 1
        await time.asleep(TAKES * luck.expovariate(1))
        async with changed:
            inside -= 1
            changed.notify_all()

    async def client() -> None:
        while time.elapsed < SECONDS:
            await serve()

    async def look() -> None:
        while time.elapsed < SECONDS:
            course.limits.append(bulkhead.limit)
            await time.asleep(0.5)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(look())
        for _ in range(CLIENTS):
            tasks.create_task(client())


def draw(figure: Any, shown: Course, style: Style) -> None:
    """Draw it: what the service can do, and what is let in."""
    axes = figure.subplots()
    figure.subplots_adjust(left=0.105, right=0.97, top=0.78, bottom=0.1)
    seconds_axis(axes, SECONDS, 30, style)
    ill(axes, *FEWER, style)
    axes.grid(visible=True, axis="y", color=style.grid, linewidth=0.6)
    axes.tick_params(axis="y", length=0)
    quiet(axes, "left")
    times = [index / 2 for index in range(len(shown.limits))]
    axes.step([0, *FEWER, SECONDS], [PLACES, LEFT, PLACES, PLACES], where="post", color=style.neutral, linewidth=2)
    axes.step(times, shown.limits, where="post", color=style.good, linewidth=1.6)
    axes.set_ylim(0, PLACES * 1.8)
    axes.set_yticks([0, LEFT, PLACES])
    axes.text(SECONDS - 1, PLACES * 1.55, "the limit", ha="right", fontsize=SMALL, color=style.good)
    axes.text(SECONDS - 1, PLACES * 0.45, "what the service can do", ha="right", fontsize=SMALL, color=style.faint)
    figure.text(0.02, 0.985, "Calls at once", fontsize=11.5, fontweight="bold", va="top")
    words = f"{CLIENTS} clients; a service of {PLACES} places, for {FEWER[1] - FEWER[0]:g} s of {LEFT}"
    figure.text(0.02, 0.9, words, fontsize=SMALL, color=style.faint, va="top")
