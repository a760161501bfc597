"""Fifty processes retry what a stall of three seconds has made late: with a budget for it, and without."""

from dataclasses import dataclass
from typing import Any

from docs.pictures.style import LARGE, SMALL, WIDTH, Style, heading, ill, quiet, seconds_axis
from resilience import Pipeline, RetryBudget, TimedOut, retry, timeout
from resilience.simulate import Brownout, Report, Service, lognormal, simulate

SIZE = (WIDTH, 4.3)

SECONDS = 40
PROCESSES, CALLS = 50, 500
WORKERS, LATENCY = 50, lognormal(0.06, 0.15)
STALL = (10.0, 13.0)
PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class Storm:
    """The same calls with and without a budget for retries."""

    unbounded: Report
    budgeted: Report


def experiment() -> Storm:
    """Let the same calls meet the same stall twice."""
    return Storm(run(lambda _: client(None)), run(lambda _: client(RetryBudget(0.2, minimum_per_second=0.1))))


def client(budget: RetryBudget | None) -> Pipeline:
    """What guards the calls of one process."""
    return Pipeline(retry(on=(ConnectionError, TimedOut), budget=budget), timeout(PATIENCE))


def run(policy: Any) -> Report:
    """Forty seconds of it."""
    service = Service(WORKERS, LATENCY, brownouts=[Brownout(*STALL, slower=float("inf"))])
    return simulate(service, policy, rate=CALLS, clients=PROCESSES, seconds=SECONDS)


def draw(figure: Any, shown: Storm, style: Style) -> None:
    """Draw it: the load above, what the callers get of it below."""
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.4, 1])
    figure.subplots_adjust(left=0.13, right=0.97, top=0.81, bottom=0.08, hspace=0.42)
    for axes in (above, below):
        seconds_axis(axes, SECONDS, 10, style)
        ill(axes, *STALL, style)
        axes.grid(visible=True, axis="y", color=style.grid, linewidth=0.6)
        axes.tick_params(axis="y", length=0)
        quiet(axes, "left")
    edges = range(SECONDS + 1)
    for one, colour in ((shown.unbounded, style.bad), (shown.budgeted, style.good)):
        above.stairs([tick.load for tick in one.ticks], edges, color=colour, linewidth=2, baseline=None)
        below.stairs([tick.goodput for tick in one.ticks], edges, color=colour, linewidth=2, baseline=None)
    above.set_ylim(0, 1_850)
    above.set_yticks([0, 500, 1_000, 1_500], ["0", "500", "1,000", "1,500"])
    below.set_ylim(-30, 850)
    below.set_yticks([0, 500], ["0", "500"])
    right = {"ha": "right", "fontsize": SMALL}
    above.text(SECONDS - 0.4, 1_580, "without a budget", va="bottom", color=style.bad, **right)
    above.text(SECONDS - 0.4, 420, "with a RetryBudget in each", va="top", color=style.good, **right)
    heading(above, "Requests a second at the service", style)
    heading(below, "Calls answered a second", style)
    figure.text(0.02, 0.985, "A service stalls for 3 s, and its callers retry", fontsize=LARGE, fontweight="bold",
                va="top")  # fmt: skip
    figure.text(0.02, 0.925, f"{PROCESSES} processes, {CALLS:,} calls a second; it can do about 750", fontsize=SMALL,
                color=style.faint, va="top")  # fmt: skip
