"""The states of a circuit breaker, drawn from the very table that it moves by."""

from dataclasses import dataclass
from typing import Any

from docs.pictures.style import SMALL, WIDTH, Style
from resilience._core.states import TRANSITIONS, VERBS, Cause, State

SIZE = (WIDTH, 4.2)

PLACES = {
    State.CLOSED: (1.1, 3.1),
    State.OPEN: (4.3, 3.1),
    State.HALF_OPEN: (2.7, 1.75),
    State.ISOLATED: (0.9, 0.35),
    State.DISABLED: (2.7, 0.35),
    State.DRY_RUN: (4.5, 0.35),
}
"""Where each state is drawn. A state of the table that has no place is an error."""

WORDS = {
    Cause.TRIPPED: "a rule is met",
    Cause.COOLED: "the cooldown is over\nand a call comes",
    Cause.RECOVERED: "every probe\nsucceeded",
    Cause.RELAPSED: "a probe failed",
}
"""How a cause is broken into lines; the words are the table's."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A step that the table allows."""

    before: State
    after: State
    cause: Cause


@dataclass(frozen=True, slots=True)
class Graph:
    """The table, as a picture sees it.

    Attributes:
        own: What happens by itself.
        forced: Where each verb leads, whatever the state was.
    """

    own: tuple[Edge, ...]
    forced: dict[Cause, State]


def experiment() -> Graph:
    """Read the table."""
    own = tuple(Edge(before, after, cause) for (before, cause), after in TRANSITIONS.items() if cause not in VERBS)
    return Graph(own, dict(VERBS))


def draw(figure: Any, shown: Graph, style: Style) -> None:
    """Draw it: what moves by itself above, where only verbs lead below."""
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.set_xlim(0, 5.4)
    axes.set_ylim(-0.85, 4.05)
    axes.axis("off")
    colours = {State.CLOSED: style.good, State.OPEN: style.bad, State.HALF_OPEN: style.between}
    for state in State:
        _box(axes, state, colours.get(state, style.neutral), style)
    for edge in shown.own:
        _arrow(axes, edge, style)
    _verbs(axes, shown.forced, style)


def _box(axes: Any, state: State, colour: str, style: Style) -> None:
    axes.annotate(state.value, PLACES[state], ha="center", va="center", color=style.ink, fontweight="bold",
                  bbox={"boxstyle": "round,pad=0.55", "edgecolor": colour, "facecolor": "none", "linewidth": 1.8},
                  annotation_clip=False)  # fmt: skip


def _arrow(axes: Any, edge: Edge, style: Style) -> None:
    bend = {Cause.TRIPPED: 0.0, Cause.RELAPSED: 0.25, Cause.COOLED: 0.15, Cause.RECOVERED: -0.25}[edge.cause]
    begin, end = PLACES[edge.before], PLACES[edge.after]
    axes.annotate("", end, begin, arrowprops={
        "arrowstyle": "-|>", "color": style.ink, "linewidth": 1.3, "shrinkA": 26, "shrinkB": 26,
        "connectionstyle": f"arc3,rad={bend}", "mutation_scale": 12,
    })  # fmt: skip
    words = WORDS[edge.cause]
    assert words.replace("\n", " ") == edge.cause.value, "the words are the table's"
    at, align = {
        Cause.TRIPPED: ((2.7, 3.2), "center"),
        Cause.COOLED: ((2.62, 2.62), "center"),
        Cause.RELAPSED: ((4.15, 2.15), "left"),
        Cause.RECOVERED: ((1.2, 2.15), "right"),
    }[edge.cause]
    axes.text(*at, words, ha=align, va="bottom" if edge.cause is Cause.TRIPPED else "center", fontsize=SMALL,
              color=style.faint, linespacing=1.15)  # fmt: skip


def _verbs(axes: Any, forced: dict[Cause, State], style: Style) -> None:
    axes.plot([0.1, 5.3], [0.95, 0.95], color=style.grid, linewidth=1)
    for verb, state in forced.items():
        below = PLACES[state][1] < 1.0
        words = f"from any state,\n{verb.value}"
        axes.annotate(words, PLACES[state], (0, -22 if below else 22), textcoords="offset points", ha="center",
                      va="top" if below else "bottom", fontsize=SMALL, color=style.faint)  # fmt: skip
