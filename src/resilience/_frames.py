"""Where the user's code ends and this package begins, for what shall point at a line of the user's."""

import inspect
from types import FrameType

_PACKAGE = __name__.partition(".")[0]
_INSIDE = f"{_PACKAGE}."


def levels_inside() -> int:
    """How many calls up, as `warnings.warn` counts for its caller, the first line outside this package stands."""
    level, frame = 0, inspect.currentframe()
    while frame is not None and is_inside(frame):
        level, frame = level + 1, frame.f_back
    return level


def is_inside(frame: FrameType) -> bool:
    """Whether it is one of ours."""
    name = str(frame.f_globals.get("__name__", ""))
    return name.startswith(_INSIDE) or name == _PACKAGE
