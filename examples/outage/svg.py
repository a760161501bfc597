"""Just enough of SVG to draw a chart: shapes as strings, in user units, with no idea of what they show."""

from html import escape

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"


def rect(x: float, y: float, width: float, height: float, fill: str, *, opacity: float = 1, corner: float = 0) -> str:
    """A filled rectangle; less than nothing is nothing."""
    size = {"width": max(0, width), "height": max(0, height)}
    return _element("rect", x=x, y=y, rx=corner, fill=fill, fill_opacity=opacity, **size)


def line(x1: float, y1: float, x2: float, y2: float, stroke: str, *, width: float = 1, dash: str = "none") -> str:
    """A straight line."""
    return _element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=stroke, stroke_width=width, stroke_dasharray=dash)


def dot(x: float, y: float, colour: str, *, hollow: bool = False, radius: float = 2.6) -> str:
    """A small disc, or a ring."""
    if hollow:
        return _element("circle", cx=x, cy=y, r=radius - 0.5, fill="none", stroke=colour, stroke_width=1.2, opacity=0.8)
    return _element("circle", cx=x, cy=y, r=radius, fill=colour, opacity=0.8)


def path(points: list[tuple[float, float]], stroke: str, *, width: float = 1) -> str:
    """An open line through points."""
    steps = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
    return _element("polyline", points=steps, fill="none", stroke=stroke, stroke_width=width)


def text(
    x: float, y: float, words: str, fill: str, *, size: float = 12, anchor: str = "start", weight: int = 400
) -> str:
    """One line of text; `anchor` is start, middle or end."""
    look: dict[str, str | float] = {"font_size": size, "text_anchor": anchor, "font_weight": weight}
    return _element("text", escape(words), x=x, y=y, fill=fill, **look)


def group(title: str, shapes: list[str]) -> str:
    """Shapes with a title, which a browser shows under the pointer."""
    return _element("g", "\n".join(["", _element("title", escape(title)), *shapes, ""]))


def document(width: float, height: float, background: str, shapes: list[str]) -> str:
    """A whole SVG file."""
    inside = "\n".join(["", rect(0, 0, width, height, background), *shapes, ""])
    frame: dict[str, str | float] = {"viewBox": f"0 0 {width:g} {height:g}", "width": width, "height": height}
    return _element("svg", inside, xmlns="http://www.w3.org/2000/svg", font_family=FONT, **frame) + "\n"


def _element(name: str, inside: str = "", /, **attributes: str | float) -> str:
    written = "".join(f' {key.replace("_", "-")}="{_attribute(value)}"' for key, value in attributes.items())
    return f"<{name}{written}>{inside}</{name}>" if inside else f"<{name}{written}/>"


def _attribute(value: str | float) -> str:
    return escape(value) if isinstance(value, str) else _number(value)


def _number(value: float) -> str:
    return f"{round(value, 2):g}"
