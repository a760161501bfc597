"""How every picture looks: two palettes, one size of type, no background, so that the page's own shows through.

The colours are told apart by the colour-blind (after Okabe and Ito), and none of them carries a meaning alone: each
has a row, a place or a word beside it. A picture is 500 px wide and stays readable on a telephone, at 350.
"""

from dataclasses import dataclass
from typing import Any

WIDTH = 5.2
"""Inches; 500 px in a browser."""

SMALL, NORMAL, LARGE = 9.0, 10.0, 11.5
"""Points."""

FONTS = ["Inter", "Segoe UI", "Roboto", "Helvetica Neue", "Noto Sans", "Liberation Sans", "DejaVu Sans"]


@dataclass(frozen=True, slots=True)
class Style:
    """A palette.

    Attributes:
        name: What the file's name ends in.
        ink: Words and axes.
        faint: Words that matter less.
        grid: Lines that matter least.
        paper: What is behind; for the edge of words on top of something, never for a background.
        good: What went well.
        bad: What failed.
        refused: What was turned away.
        between: What is being tried.
        neutral: What is neither.
        shade: How much of `bad` lies over a time in which a service is ill.
    """

    name: str
    ink: str
    faint: str
    grid: str
    paper: str
    good: str
    bad: str
    refused: str
    between: str
    neutral: str
    shade: float


LIGHT = Style(
    name="light", ink="#1f2937", faint="#5b6673", grid="#d9dee3", paper="#ffffff",
    good="#007f66", bad="#c64a00", refused="#7a4fb5", between="#a36a00", neutral="#8a94a0", shade=0.10,
)  # fmt: skip
DARK = Style(
    name="dark", ink="#e4e7ea", faint="#a3adb6", grid="#3a4147", paper="#131416",
    good="#3fc4a3", bad="#ff8a50", refused="#c4a0f0", between="#e8b93c", neutral="#7b858f", shade=0.16,
)  # fmt: skip


def settings(style: Style) -> dict[str, Any]:
    """What matplotlib needs to be told."""
    return {
        "axes.edgecolor": style.neutral,
        "axes.labelcolor": style.faint,
        "axes.labelsize": SMALL,
        "axes.linewidth": 0.8,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "font.family": "sans-serif",
        "font.sans-serif": FONTS,
        "font.size": NORMAL,
        "lines.linewidth": 1.8,
        "svg.fonttype": "none",  # words stay words, in a typeface that the reader has
        "svg.hashsalt": "resilience",
        "text.color": style.ink,
        "xtick.color": style.neutral,
        "xtick.labelcolor": style.faint,
        "xtick.labelsize": SMALL,
        "ytick.color": style.neutral,
        "ytick.labelcolor": style.faint,
        "ytick.labelsize": SMALL,
    }


def heading(axes: Any, words: str, style: Style, *, rest: str = "", gap: float = 6) -> None:
    """Say above a panel, in bold, what it shows; `rest` goes on in a lighter tone, at the right."""
    at = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
    axes.annotate(words, (0, 1), (0, gap), ha="left", color=style.ink, fontsize=NORMAL, fontweight="bold", **at)
    if rest:
        axes.annotate(rest, (1, 1), (0, gap), ha="right", color=style.faint, fontsize=SMALL, **at)


def seconds_axis(axes: Any, last: float, step: float, style: Style) -> None:
    """An axis of time, from 0."""
    ticks = [step * number for number in range(int(last / step) + 1)]
    axes.set_xlim(0, last)
    axes.set_xticks(ticks, [f"{tick:g}" if tick != ticks[-1] else f"{tick:g} s" for tick in ticks])
    axes.tick_params(axis="x", length=3)
    axes.grid(visible=True, axis="x", color=style.grid, linewidth=0.6)
    axes.set_axisbelow(True)


def ill(axes: Any, begin: float, end: float, style: Style) -> None:
    """Shade the time in which a service is ill."""
    axes.axvspan(begin, end, color=style.bad, alpha=style.shade, linewidth=0)


def quiet(axes: Any, *sides: str) -> None:
    """Take away the lines of an axis that nobody reads."""
    for side in sides:
        axes.spines[side].set_visible(False)
