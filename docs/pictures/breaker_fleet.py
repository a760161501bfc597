"""Five hundred breakers find out that a service is well again: in step, or each in its own time."""

from dataclasses import dataclass
from typing import Any

from docs.pictures.style import LARGE, SMALL, WIDTH, Style, heading, ill, quiet, seconds_axis
from resilience import CircuitBreaker
from resilience.simulate import Brownout, Report, Service, simulate

SIZE = (WIDTH, 4.1)

SECONDS, TICK = 75, 0.5
CLIENTS, THINK = 500, 0.1
OUTAGE = (5.0, 55.0)
COOLDOWN = 10.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """The same outage for two fleets."""

    in_step: Report
    jittered: Report


def experiment() -> Fleet:
    """Let both meet it."""
    return Fleet(run(0.0), run(1.0))


def run(jitter: float) -> Report:
    """A fleet whose every client has a breaker of its own."""
    service = Service(200, 0.02, brownouts=[Brownout(*OUTAGE, failing=1.0)])
    return simulate(
        service,
        lambda _: CircuitBreaker(cooldown=COOLDOWN, jitter=jitter),
        think=THINK,
        clients=CLIENTS,
        seconds=SECONDS,
        tick=TICK,
    )


def probes(report: Report) -> list[float]:
    """Requests a second while the service is down and the breakers have opened, by the tick."""
    return [tick.load for tick in report.ticks if OUTAGE[0] + 5.0 <= tick.begin < OUTAGE[1]]


def draw(figure: Any, shown: Fleet, style: Style) -> None:
    """Draw what reaches the service."""
    rows = figure.subplots(2, 1, sharex=True)
    figure.subplots_adjust(left=0.13, right=0.97, top=0.79, bottom=0.085, hspace=0.5)
    for axes, words, one, colour in (
        (rows[0], "jitter=0", shown.in_step, style.bad),
        (rows[1], "jitter=1.0", shown.jittered, style.good),
    ):
        seconds_axis(axes, SECONDS, 15, style)
        ill(axes, *OUTAGE, style)
        edges = [TICK * number for number in range(len(one.ticks) + 1)]
        axes.stairs([tick.load for tick in one.ticks], edges, color=colour, linewidth=1.6, baseline=None)
        axes.set_ylim(0, 700)
        axes.set_yticks([0, 250, 500])
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=True, axis="y", color=style.grid, linewidth=0.6)
        quiet(axes, "left")
        heading(axes, words, style, rest=f"up to {max(probes(one)):.0f} probes a second at once")
    figure.text(0.02, 0.985, "A fleet looks whether the service is back", fontsize=LARGE, fontweight="bold", va="top")
    words = f"Requests a second, up to 700; {CLIENTS} clients, each with a CircuitBreaker"
    figure.text(0.02, 0.925, words, fontsize=SMALL,
                color=style.faint, va="top")  # fmt: skip
