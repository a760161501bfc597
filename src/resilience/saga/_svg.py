"""The picture of a saga, as SVG.

Steps stand below those they come after, each with its undo at its right hand; steps that run side by side stand side by
side. A nested saga is a frame around its steps. The point of no return is a line across.

Lines and texts have the colour of the text around the picture; where the picture stands alone, it goes by what the
reader prefers. No scripts, no fonts from elsewhere.
"""

from collections.abc import Iterator
from html import escape

from .._core.saga.plan import Kind
from ._layout import Box, Line, place
from ._parts import Part, spoken

HEIGHT = 46.0
BETWEEN, BESIDE, LANE = 40.0, 28.0, 24.0
MARGIN, INSET, HEAD, GAP = 24.0, 22.0, 40.0, 26.0
ACROSS = 150.0
"""How far the point of no return reaches to the right, so that what is written there is beside the lines."""
LETTER, SMALL = 7.9, 6.1
"""How wide a letter of a name is, and one of what is said beside it."""

_STYLE = """
.saga{font:11px ui-sans-serif,system-ui,sans-serif;fill:currentColor;--pivot:#c2410c;--wait:#6d4fc4;--undo:#1f6fb5}
.saga:root{color:#1f2328}
.saga .n{font:600 13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.saga .u{font-size:12px;font-weight:400;fill:var(--undo)}
.saga .d{opacity:.72}
.saga text{text-anchor:middle;dominant-baseline:central}
.saga .t{text-anchor:start}
.saga .e{text-anchor:end}
.saga rect{fill:currentColor;fill-opacity:.045;stroke:currentColor;stroke-opacity:.5;stroke-width:1.2}
.saga .frame{fill-opacity:.03;stroke-opacity:.3;stroke-dasharray:none}
.saga .wait{stroke:var(--wait);fill:var(--wait);stroke-opacity:.9;fill-opacity:.08}
.saga .pivot{stroke:var(--pivot);fill:var(--pivot);stroke-opacity:1;stroke-width:2.2;fill-opacity:.09}
.saga .undo{stroke:var(--undo);fill:var(--undo);stroke-dasharray:4 3;stroke-opacity:.8;fill-opacity:.05}
.saga path{fill:none;stroke:currentColor;stroke-opacity:.55;stroke-width:1.4;stroke-linecap:round;stroke-linejoin:round}
.saga .back{stroke:var(--undo);stroke-opacity:.8;stroke-dasharray:4 3}
.saga .across{stroke:var(--pivot);stroke-opacity:.9;stroke-dasharray:2 5}
.saga .p{fill:var(--pivot)}
@media(prefers-color-scheme:dark){.saga:root{color:#e6edf3}.saga{--pivot:#fb923c;--wait:#a78bfa;--undo:#60a5fa}}
"""


def svg_of(name: str, within: float | None, parts: tuple[Part, ...]) -> str:
    """The picture of a saga.

    Args:
        name: Its name.
        within: Seconds until it turns back; `None`: without limit.
        parts: Its steps.
    """
    level = _Level(parts)
    title = len(name) * LETTER + (0 if within is None else len(spoken(within)) * SMALL + 60)
    left = max(level.left, title / 2) + MARGIN
    width, height = left + max(level.right, title / 2) + MARGIN, MARGIN + HEAD + level.height + MARGIN
    limit = "" if within is None else f'<tspan class="d" font-weight="400" dx="8">within {spoken(within)}</tspan>'
    head = f"{escape(name)}</tspan>{limit}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="saga" role="img" {_size(width, height)}>',
        f"<title>{escape(name)}</title>",
        f"<style>{_STYLE}</style>",
        f'<text x="{left:g}" y="{MARGIN + 8:g}"><tspan class="n">{head}</text>',
        *level.drawn(left, MARGIN + HEAD),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _size(width: float, height: float) -> str:
    return f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'


class _Level:
    """Steps that are neighbours, and how much room they take about their axis."""

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self._parts = {part.name: part for part in parts}
        self._inside = {part.name: _Level(part.inside) for part in parts if part.inside}
        self._half = max(map(_half, parts))
        self._picture = place(list(map(self._box, parts)), beside=BESIDE, between=BETWEEN, lane=LANE)
        self.left, self.height = self._picture.left, self._picture.height
        self.right = max(self._picture.right, ACROSS if any(part.node.kind is Kind.PIVOT for part in parts) else 0)

    def drawn(self, x: float, y: float) -> Iterator[str]:
        """Draw them, with their axis at x."""
        yield from (_line(line, x, y) for line in self._picture.lines)
        for name, (axis, top) in self._picture.at.items():
            part = self._parts[name]
            if name in self._inside:
                yield from self._frame(part, x + axis, y + top)
            else:
                yield from self._step(part, x + axis, y + top)
            if part.node.kind is Kind.PIVOT and top + HEIGHT < self.height:
                yield from self._across(x, y + top + HEIGHT + BETWEEN / 2)

    def _box(self, part: Part) -> Box:
        inside = self._inside.get(part.name)
        if inside is None:
            right = self._half + (0 if part.undo is None else GAP + _undo_width(part))
            return Box(part.name, part.after, self._half, right, HEIGHT)
        half = _half(part)
        left, right = max(inside.left, half) + INSET, max(inside.right, half) + INSET
        return Box(part.name, part.after, left, right, HEAD + inside.height + INSET)

    def _step(self, part: Part, x: float, y: float) -> Iterator[str]:
        half, middle = self._half, y + HEIGHT / 2
        kind, corner = _LOOKS.get(part.node.kind, ("", 8.0))
        yield _rect(x - half, y, 2 * half, HEIGHT, corner, kind)
        yield from _label(part, x, middle)
        if part.undo is not None:
            start, width = x + half + GAP, _undo_width(part)
            yield f'<path class="back" d="M{x + half:g} {middle:g}H{start:g}"/>'
            yield _rect(start, middle - 14, width, 28, 14, "undo")
            yield f'<text class="n u" x="{start + width / 2:g}" y="{middle:g}">{escape(_undo_text(part))}</text>'

    def _frame(self, part: Part, x: float, y: float) -> Iterator[str]:
        box, inside = self._box(part), self._inside[part.name]
        yield _rect(x - box.left, y, box.left + box.right, box.height, 12, "frame")
        detail = f'<tspan class="d" dx="8">{part.detail}</tspan>' if part.detail else ""
        yield (
            f'<text class="t" x="{x - box.left + 14:g}" y="{y + 19:g}"><tspan class="n">{escape(part.name)}</tspan>'
            f"{detail}</text>"
        )
        yield from inside.drawn(x, y + HEAD)

    def _across(self, x: float, y: float) -> Iterator[str]:
        yield f'<path class="across" d="M{x - self.left:g} {y:g}H{x + self.right:g}"/>'
        yield f'<text class="e p" x="{x + self.right:g}" y="{y - 8:g}">point of no return</text>'


_LOOKS = {Kind.PIVOT: ("pivot", 8.0), Kind.MESSAGE: ("wait", 8.0), Kind.PAUSE: ("wait", HEIGHT / 2)}
"""The class and the corners of those that look unlike a usual step."""


def _half(part: Part) -> float:
    """Half of the width that a step's name and detail need."""
    return max(len(part.name) * LETTER + 36, len(part.detail) * SMALL + 28, 112) / 2


def _undo_text(part: Part) -> str:
    return f"undo: {part.undo}"


def _undo_width(part: Part) -> float:
    return len(_undo_text(part)) * 7.3 + 26


def _label(part: Part, x: float, y: float) -> Iterator[str]:
    rise = 7 if part.detail else 0
    yield f'<text class="n" x="{x:g}" y="{y - rise:g}">{escape(part.name)}</text>'
    if part.detail:
        yield f'<text class="d" x="{x:g}" y="{y + 10:g}">{part.detail}</text>'


def _rect(x: float, y: float, width: float, height: float, corner: float, kind: str) -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<rect{name} x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{corner:g}"/>'


def _line(line: Line, x: float, y: float) -> str:
    (start, _, bottom), *rest = line.pieces
    path = [f"M{x + start:g} {y + bottom:g}"]
    for axis, top, end in rest:
        middle = (bottom + top) / 2
        path.append(f"C{x + start:g} {y + middle:g} {x + axis:g} {y + middle:g} {x + axis:g} {y + top:g}V{y + end:g}")
        start, bottom = axis, end
    arrow = "m-4 -6l4 6l4 -6"
    return f'<path d="{"".join(path)}{arrow}"/>'
