"""`PlaceOrder.diagram()`: a saga as Mermaid's text, and as a picture."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from html import escape

from .._core.saga.plan import Kind
from ._blueprint import Blueprint
from ._parts import Part, parts_of
from ._svg import svg_of

_SHAPES = {
    Kind.COMPENSATABLE: '["{}"]',
    Kind.PIVOT: '{{{{"{}"}}}}',
    Kind.RETRIABLE: '["{}"]',
    Kind.MESSAGE: '[/"{}"/]',
    Kind.PAUSE: '(["{}"])',
}


@dataclass(frozen=True)
class Diagram:
    """A saga, drawn: a notebook shows the picture, and `print` the text.

    Attributes:
        name: The saga's name.
        within: Seconds until it turns back; `None`: without limit.
        parts: Its steps.
    """

    name: str
    within: float | None
    parts: tuple[Part, ...]

    @cached_property
    def mermaid(self) -> str:
        """A flowchart in Mermaid's words, for pages that draw it themselves: a README, a wiki."""
        return "\n".join(["flowchart TB", *_lines(self.parts), *_classes(self.parts)]) + "\n"

    @cached_property
    def svg(self) -> str:
        """A picture that needs nothing but a browser, and is read on light and on dark ground."""
        return svg_of(self.name, self.within, self.parts)

    def __str__(self) -> str:
        return self.mermaid

    def _repr_svg_(self) -> str:
        return self.svg


def diagram_of(blueprint: Blueprint) -> Diagram:
    """Draw a saga."""
    return Diagram(blueprint.plan.saga, blueprint.plan.within, parts_of(blueprint))


def _lines(parts: tuple[Part, ...], indent: str = "    ") -> Iterator[str]:
    for part in parts:
        yield from (f"{indent}{line}" for line in _one(part))
        yield from (f"{indent}{_id(part, other)} --> {_id(part)}" for other in part.after)


def _one(part: Part) -> Iterator[str]:
    label = f"{part.name}<br><small>{escape(part.detail)}</small>" if part.detail else part.name
    if part.inside:
        yield f'subgraph {_id(part)} ["{label}"]'
        yield from _lines(part.inside)
        yield "end"
    else:
        yield _id(part) + _SHAPES[part.node.kind].format(label)
    if part.undo is not None:
        yield f'{_id(part)} -.- {_undo(part)}(["{part.undo}"])'


def _classes(parts: tuple[Part, ...]) -> Iterator[str]:
    """How those look that are more, or less, than a step."""
    every = list(_all(parts))
    if undos := [f"{_undo(part)}" for part in every if part.undo is not None]:
        yield "    classDef undo stroke-dasharray:4 3"
        yield f"    class {','.join(undos)} undo"
    if pivots := [_id(part) for part in every if part.node.kind is Kind.PIVOT]:
        yield "    classDef pivot stroke-width:3px"
        yield f"    class {','.join(pivots)} pivot"


def _all(parts: tuple[Part, ...]) -> Iterator[Part]:
    for part in parts:
        yield part
        yield from _all(part.inside)


def _id(part: Part, neighbour: str | None = None) -> str:
    """A name that Mermaid takes: without dots, and no word of its own, such as "end"."""
    scope, dot, name = part.node.name.rpartition(".")
    return f"step_{scope}{dot}{neighbour or name}".replace(".", "__")


def _undo(part: Part) -> str:
    return _id(part).replace("step_", "undo_", 1)
