"""When a thousand clients come back that failed at the same moment."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from tenacity.wait import wait_exponential

from docs.pictures.style import SMALL, WIDTH, Style, heading, quiet, seconds_axis
from resilience import retry
from resilience.testing import sandbox

SIZE = (WIDTH, 4.4)

CLIENTS, ATTEMPTS = 1_000, 5
BIN = 0.01
LAST = 1.6
WAITS: dict[str, dict[str, Any]] = {
    "Fixed: 0.1 s": {"wait": 0.1},
    "Exponential: 0.1, 0.2, 0.4, 0.8 s": {"wait": wait_exponential(multiplier=0.1, max=5)},
    "Full jitter: the default": {},
}
"""What is compared, and the options of `retry` that make it."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """When the clients came back: seconds since they had failed together."""

    moments: tuple[float, ...]

    def per_bin(self) -> Counter[int]:
        """How many came in each hundredth of a second."""
        return Counter(int(moment / BIN + 1e-6) for moment in self.moments)

    def peak(self) -> int:
        """The most that came in a hundredth of a second."""
        return max(self.per_bin().values())


def experiment() -> dict[str, Crowd]:
    """Let the crowd come back by each way of waiting."""
    return {name: crowd(**options) for name, options in WAITS.items()}


def crowd(**options: Any) -> Crowd:
    """Let every client try again until it gives up.

    They share nothing, so one may run after the other, each counted from its own failure.
    """
    moments: list[float] = []
    with sandbox() as time:
        for _ in range(CLIENTS):
            began = time.elapsed
            try:
                for attempt in retry(on=ConnectionError, attempts=ATTEMPTS, **options):
                    with attempt:
                        if attempt.number > 1:
                            moments.append(time.elapsed - began)
                        raise ConnectionError("the service is down")
            except ConnectionError:
                pass
    return Crowd(tuple(moments))


def draw(figure: Any, shown: dict[str, Crowd], style: Style) -> None:
    """Draw it: one panel for each way of waiting, on the same scale."""
    panels = figure.subplots(len(shown), 1, sharex=True)
    figure.subplots_adjust(left=0.105, right=0.96, top=0.83, bottom=0.075, hspace=0.55)
    for axes, (name, crowd_) in zip(panels, shown.items(), strict=True):
        colour = style.good if crowd_.peak() < CLIENTS else style.bad
        bins = crowd_.per_bin()
        seconds_axis(axes, LAST, 0.4, style)
        axes.bar([BIN * (number + 0.5) for number in bins], list(bins.values()), width=BIN, color=colour, linewidth=0)
        axes.set_ylim(0, CLIENTS * 1.08)
        axes.set_yticks([0, CLIENTS // 2, CLIENTS], ["0", f"{CLIENTS // 2}", f"{CLIENTS:,}"])
        axes.grid(visible=True, axis="y", color=style.grid, linewidth=0.6)
        axes.tick_params(axis="y", length=0)
        quiet(axes, "left")
        heading(axes, name, style, rest=f"at most {crowd_.peak():,} at once")
    title = f"{CLIENTS:,} clients fail at 0 s. When do they come back?"
    figure.text(0.02, 0.985, title, fontsize=11.5, fontweight="bold", va="top")
    figure.text(0.02, 0.93, "retries per hundredth of a second", fontsize=SMALL, color=style.faint, va="top")
