"""What a circuit breaker does over an outage, call by call; and what the service bears without one."""

from dataclasses import dataclass
from typing import Any

from docs.pictures.style import SMALL, WIDTH, Style, heading, ill, quiet, seconds_axis
from resilience import CircuitBreaker, CircuitOpen, Pipeline, Policy, listen
from resilience.events import StateChanged
from resilience.testing import sandbox

SIZE = (WIDTH, 4.3)

SECONDS, PER_SECOND, TAKES = 60, 2, 0.2
OUTAGE = (10.0, 40.0)
COOLDOWN = 10.0

ANSWERED, FAILED, REFUSED = "answered", "failed", "refused"


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls that came at an even pace, and how each ended.

    Attributes:
        ended: The moment each call began, and how it ended.
        states: When a breaker was in which state: begin, end, name.
    """

    ended: tuple[tuple[float, str], ...]
    states: tuple[tuple[float, float, str], ...]

    def moments(self, ending: str) -> list[float]:
        """When the calls began that ended so."""
        return [moment for moment, how in self.ended if how == ending]


@dataclass(frozen=True, slots=True)
class Outage:
    """The same calls with and without a breaker."""

    guarded: Calls
    plain: Calls


def experiment() -> Outage:
    """Let the same calls meet the same outage twice."""
    return Outage(guarded=calls(CircuitBreaker(cooldown=COOLDOWN)), plain=calls(Pipeline()))


def calls(policy: Policy) -> Calls:
    """Call a service that is down for a while."""
    ended: list[tuple[float, str]] = []
    changes: list[tuple[float, str]] = [(0.0, "closed")]
    with sandbox() as time:

        @policy
        def ask() -> None:
            began = time.elapsed
            time.advance(TAKES)
            if OUTAGE[0] <= began < OUTAGE[1]:
                raise ConnectionError("the service is down")

        def note(event: object) -> None:
            if isinstance(event, StateChanged):
                changes.append((time.elapsed, event.after))

        with listen(note):
            for number in range(SECONDS * PER_SECOND):
                time.advance(number / PER_SECOND - time.elapsed)
                ended.append((time.elapsed, _ending(ask)))
    ends = [moment for moment, _ in changes[1:]] + [float(SECONDS)]
    return Calls(tuple(ended), tuple((begin, end, name) for (begin, name), end in zip(changes, ends, strict=True)))


def _ending(ask: Any) -> str:
    try:
        ask()
    except CircuitOpen:
        return REFUSED
    except ConnectionError:
        return FAILED
    return ANSWERED


def draw(figure: Any, shown: Outage, style: Style) -> None:
    """Draw it: the states, each call of the guarded client, each call of the other."""
    states, guarded, plain = figure.subplots(3, 1, sharex=True, height_ratios=[0.9, 3, 2])
    figure.subplots_adjust(left=0.145, right=0.975, top=0.855, bottom=0.075, hspace=0.5)
    for axes in (states, guarded, plain):
        seconds_axis(axes, SECONDS, 10, style)
        ill(axes, *OUTAGE, style)
        quiet(axes, "left")
        axes.tick_params(axis="y", length=0)
        if axes is not plain:
            quiet(axes, "bottom")
            axes.tick_params(axis="x", length=0)
    _states(states, shown.guarded, style)
    hits, more = (len(one.moments(FAILED)) for one in (shown.guarded, shown.plain))
    _rows(guarded, shown.guarded, (ANSWERED, FAILED, REFUSED), style)
    heading(guarded, "Calls with a circuit breaker", style, rest=f"{hits} reach the sick service")
    _rows(plain, shown.plain, (ANSWERED, FAILED), style)
    heading(plain, "Calls without", style, rest=f"{more} reach the sick service")
    figure.text(0.02, 0.985, "A service is down for 30 s", fontsize=11.5, fontweight="bold", va="top")


def _states(axes: Any, shown: Calls, style: Style) -> None:
    colours = {"closed": style.good, "open": style.bad, "half_open": style.between}
    for begin, end, name in shown.states:
        width = max(end - begin, 0.5)  # a probe is over in a moment; it should be seen all the same
        axes.barh(0, width, left=begin, color=colours[name], height=1.0, edgecolor=style.paper, linewidth=1)
        if name == "half_open":
            axes.annotate("probe", (begin, 0.5), (0, 3), textcoords="offset points", ha="center", va="bottom",
                          fontsize=SMALL, color=style.between)  # fmt: skip
        else:
            words = f"open\n{end - begin:.1f} s" if name == "open" else name
            axes.text((begin + end) / 2, 0, words, ha="center", va="center", color=style.paper, fontsize=SMALL,
                      linespacing=1.0, fontweight="bold")  # fmt: skip
    axes.set_ylim(-0.5, 0.5)
    axes.set_yticks([0], ["breaker"], color=style.ink)


def _rows(axes: Any, shown: Calls, rows: tuple[str, ...], style: Style) -> None:
    colours = {ANSWERED: style.good, FAILED: style.bad, REFUSED: style.refused}
    for row, ending in enumerate(reversed(rows)):
        axes.eventplot(shown.moments(ending), lineoffsets=row, linelengths=0.62, linewidths=1.7, colors=colours[ending])
    axes.set_ylim(-0.5, len(rows) - 0.5)
    axes.set_yticks(range(len(rows)), reversed(rows))
    for label, ending in zip(axes.get_yticklabels(), reversed(rows), strict=True):
        label.set_color(colours[ending])
