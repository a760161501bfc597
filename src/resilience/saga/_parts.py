"""A saga as it is drawn: its steps, and inside of those that are nested sagas, theirs."""

from dataclasses import dataclass

from .._core.saga.plan import Kind, Node
from ._blueprint import Blueprint

_UNITS = {"day": 86_400, "hour": 3_600, "minute": 60}


@dataclass(frozen=True, slots=True)
class Part:
    """A step in a picture.

    Attributes:
        name: Its name among its neighbours.
        node: What it is.
        after: The neighbours that it comes right after.
        undo: The name of its undo; `None`: it has none.
        inside: The steps of the nested saga that it is.
    """

    name: str
    node: Node
    after: tuple[str, ...]
    undo: str | None
    inside: tuple["Part", ...]

    @property
    def detail(self) -> str:
        """What is to be said of it besides its name."""
        match self.node:
            case Node(kind=Kind.MESSAGE, seconds=seconds):
                return "message" if seconds is None else f"message, within {spoken(seconds)}"
            case Node(kind=Kind.PAUSE, seconds=float(seconds)):
                return f"pause, {spoken(seconds)}"
            case Node(kind=Kind.PIVOT):
                return "pivot"
            case Node(opens=float(seconds)):
                return f"within {spoken(seconds)}"
            case Node(kind=Kind.RETRIABLE) if not self.inside:
                return "until it succeeds"
            case _:
                return ""


def parts_of(blueprint: Blueprint, saga: str = "") -> tuple[Part, ...]:
    """The steps of a saga, or of the nested saga that is the step of this name."""
    prefix = f"{saga}." if saga else ""
    within = [name for name in blueprint.plan.by_name if name.startswith(prefix)]
    return tuple(_part(blueprint, prefix, name) for name in within if "." not in name.removeprefix(prefix))


def spoken(seconds: float) -> str:
    """A duration in the largest unit that gives a whole number: "3 days", "90 minutes", "2.5 s"."""
    for unit, size in _UNITS.items():
        many, rest = divmod(seconds, size)
        if many and not rest:
            return f"{many:g} {unit}{'s' if many > 1 else ''}"
    return f"{seconds:g} s"


def _part(blueprint: Blueprint, prefix: str, name: str) -> Part:
    node, undo = blueprint.plan.by_name[name], blueprint.undos.get(name)
    local = name.removeprefix(prefix)
    before = (other.removeprefix(prefix).partition(".")[0] for other in node.before if other.startswith(prefix))
    return Part(
        local,
        node,
        tuple(dict.fromkeys(before)),
        None if undo is None else undo.function.written.__name__,
        parts_of(blueprint, name) if name in blueprint.children else (),
    )
