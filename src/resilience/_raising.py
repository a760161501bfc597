"""Letting an exception out as if we had never held it.

A shell that stores an error, leaves the handler and raises it later must restore what Python adds by itself; and what we
add, one note, must stay one.
"""

from typing import NoReturn, cast

_MARK = "resilience: "


def reraise(error: BaseException) -> NoReturn:
    """Raise a stored exception with the `__context__` it had: `raise` alone would overwrite it."""
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context
        del error, context  # the frame is in the traceback of the error: do not let it hold the error


def annotate(error: BaseException, note: str) -> None:
    """Put our one note on an exception, in place of an earlier one of ours: a re-raised singleton must not grow."""
    notes: object = getattr(error, "__notes__", None)
    if isinstance(notes, list):
        written = cast("list[object]", notes)
        written[:] = [other for other in written if not str(other).startswith(_MARK)]
    error.add_note(_MARK + note)
