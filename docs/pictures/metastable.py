"""A cache goes cold, and the outage outlives its cause; two things end it."""

from dataclasses import dataclass
from typing import Any

from docs.pictures.style import LARGE, SMALL, WIDTH, Style, heading, ill, quiet, seconds_axis
from resilience import Bulkhead, Pipeline, Policy, timeout
from resilience.simulate import LookAside, Report, Service, simulate

SIZE = (WIDTH, 5.0)

SECONDS = 180
CALLS = 1_000
KEYS, TTL = 4_000, 300.0
WORKERS, TAKES, QUEUE = 10, 0.05, 400
PATIENCE = 0.5
CLEARED = 20.0
SHED, SHARE = (60.0, 120.0), 0.15


@dataclass(frozen=True, slots=True)
class Metastable:
    """The same cold cache three times.

    Attributes:
        left: Nothing is done.
        shed: Most calls stay away for a while.
        bounded: A bulkhead lets few calls wait for the database.
    """

    left: Report
    shed: Report
    bounded: Report


def experiment() -> Metastable:
    """Clear the cache of three services."""
    bulkhead = Pipeline(Bulkhead(20), timeout(PATIENCE))
    return Metastable(left=run(timeout(PATIENCE)), shed=run(timeout(PATIENCE), rate=_shedding), bounded=run(bulkhead))


def run(policy: Policy, rate: Any = CALLS) -> Report:
    """Clear a warm cache in front of a database that could not bear the load without it."""
    cache = LookAside(Service(WORKERS, TAKES, queue=QUEUE), keys=KEYS, ttl=TTL)
    return simulate(cache, policy, rate=rate, seconds=SECONDS, at=[(CLEARED, cache.clear)])


def _shedding(second: float) -> float:
    return CALLS * SHARE if SHED[0] <= second < SHED[1] else CALLS


def draw(figure: Any, shown: Metastable, style: Style) -> None:
    """Draw it: a row for each, what is asked for in grey and what is answered in colour."""
    rows = figure.subplots(3, 1, sharex=True)
    figure.subplots_adjust(left=0.13, right=0.97, top=0.82, bottom=0.07, hspace=0.5)
    panels = (
        ("Nothing is done", "it stays so", shown.left, style.bad),
        ("Most calls stay away for a minute", f"{SHARE:.0%} come", shown.shed, style.between),
        ("Bulkhead(20)", _recovered(shown.bounded), shown.bounded, style.good),
    )
    for axes, (words, rest, one, colour) in zip(rows, panels, strict=True):
        seconds_axis(axes, SECONDS, 30, style)
        edges = range(SECONDS + 1)
        axes.stairs([tick.calls for tick in one.ticks], edges, color=style.grid, fill=True)
        axes.stairs([tick.goodput for tick in one.ticks], edges, color=colour, linewidth=2, baseline=None)
        axes.axvline(CLEARED, color=style.ink, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.set_ylim(0, 1_250)
        axes.set_yticks([0, 1_000], ["0", "1,000"])
        axes.tick_params(axis="y", length=0)
        quiet(axes, "left")
        heading(axes, words, style, rest=rest)
    ill(rows[1], *SHED, style)
    rows[0].annotate("the cache is cleared", (CLEARED, 1_240), (4, 0), textcoords="offset points", va="top",
                     fontsize=SMALL, color=style.ink)  # fmt: skip
    figure.text(0.02, 0.985, "An outage that outlives its cause", fontsize=LARGE, fontweight="bold", va="top")
    figure.text(0.02, 0.935, "Calls answered a second; grey: calls made", fontsize=SMALL, color=style.faint, va="top")


def _recovered(report: Report) -> str:
    took = report.recovery(CLEARED)
    return "it stays so" if took is None else f"all is well after {took:.0f} s"
