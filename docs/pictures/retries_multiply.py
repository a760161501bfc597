"""How many calls one failing call becomes when several layers retry."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from docs.pictures.style import SMALL, WIDTH, Style, quiet
from resilience import retry
from resilience.testing import sandbox

SIZE = (WIDTH, 2.9)

LAYERS, ATTEMPTS = 4, 3


@dataclass(frozen=True, slots=True)
class Calls:
    """What reached the service, by the number of layers that retry, from 1.

    Attributes:
        each: Every layer retries for itself: `again=True`, or layers that know nothing of one another.
        marked: The default: what a layer has given up on, no other repeats.
    """

    each: tuple[int, ...]
    marked: tuple[int, ...]


def experiment() -> Calls:
    """Let one call fail below more and more layers."""
    depths = range(1, LAYERS + 1)
    return Calls(
        each=tuple(calls(depth, again=True) for depth in depths),
        marked=tuple(calls(depth, again=False) for depth in depths),
    )


def calls(layers: int, *, again: bool) -> int:
    """How often the service is called for one call from outside."""
    made = 0

    def ask() -> None:
        nonlocal made
        made += 1
        raise ConnectionError("the service is down")

    stacked = ask
    for _ in range(layers):
        stacked = retry(on=ConnectionError, attempts=ATTEMPTS, budget=None, again=again)(stacked)
    with sandbox(), suppress(ConnectionError):
        stacked()
    return made


def draw(figure: Any, shown: Calls, style: Style) -> None:
    """Draw it: a pair of bars for each number of layers."""
    axes = figure.subplots()
    figure.subplots_adjust(left=0.03, right=0.98, top=0.72, bottom=0.1)
    for layers, (each, marked) in enumerate(zip(shown.each, shown.marked, strict=True), 1):
        for at, value, colour in ((layers - 0.2, each, style.bad), (layers + 0.2, marked, style.good)):
            axes.bar(at, value, width=0.36, color=colour, linewidth=0)
            axes.annotate(f"{value}", (at, value), (0, 3), textcoords="offset points", ha="center", va="bottom",
                          color=colour, fontsize=SMALL, fontweight="bold")  # fmt: skip
    axes.set_xticks(range(1, LAYERS + 1), ["one layer", *(f"{layers} layers" for layers in range(2, LAYERS + 1))])
    axes.tick_params(axis="x", length=0)
    axes.set_yticks([])
    axes.set_ylim(0, max(shown.each) * 1.12)
    quiet(axes, "left")
    for line, (words, colour) in enumerate((
        ("each retries for itself", style.bad),
        ("as here: what one has given up on, no other repeats", style.good),
    )):  # fmt: skip
        axes.annotate(words, (0, 1), (0, 2 - 14 * line), xycoords="axes fraction", textcoords="offset points",
                      color=colour, fontweight="bold", fontsize=SMALL, va="bottom")  # fmt: skip
    title = f"One call fails. Every layer retries, {ATTEMPTS} attempts each"
    figure.text(0.02, 0.97, title, fontsize=11.5, fontweight="bold", va="top")
    figure.text(0.02, 0.885, "calls that reach the service", fontsize=SMALL, color=style.faint, va="top")
