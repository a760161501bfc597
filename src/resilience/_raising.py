"""Letting an exception out as if we had never held it.

A shell that stores an error, leaves the handler and raises it later must restore what Python adds by itself; and what
we add, one note, must stay one.
"""

from contextlib import suppress
from typing import NoReturn, cast

from ._frames import is_inside

_MARK = "resilience: "


def reraise(error: BaseException) -> NoReturn:
    """Raise a stored exception with the `__context__` it had: `raise` alone would overwrite it."""
    context = error.__context__
    try:
        raise error
    finally:
        _set_context(error, context)
        del error, context  # the frame is in the traceback of the error: do not let it hold the error


def lean(error: BaseException) -> BaseException:
    """Take our frames off the upper end of a traceback: how we came to call again helps nobody to find a mistake."""
    trace = error.__traceback__
    while trace is not None and is_inside(trace.tb_frame):
        trace = trace.tb_next
    return BaseException.with_traceback(error, trace)  # the user's class may have one of its own


def annotate(error: BaseException, note: str) -> None:
    """Put our one note on an exception, in place of an earlier one of ours: a re-raised singleton must not grow.

    An exception that takes no note (a frozen dataclass, say) goes without: the note must not take the error's place.
    """
    with suppress(Exception):
        notes: object = getattr(error, "__notes__", None)
        if isinstance(notes, list):
            written = cast("list[object]", notes)
            written[:] = [other for other in written if not (isinstance(other, str) and other.startswith(_MARK))]
        error.add_note(_MARK + note)


def follow(error: BaseException, earlier: BaseException | None) -> None:
    """Let `error` have come up while `earlier` was handled: Python does so by itself, but we had left the handler."""
    link, passed = earlier, set[int]()
    while link is not None and link is not error and id(link) not in passed:
        passed.add(id(link))
        link = link.__context__
    if link is None and error.__context__ is None:
        _set_context(error, earlier)


def _set_context(error: BaseException, context: BaseException | None) -> None:
    # Not by plain assignment: a frozen dataclass refuses that.
    BaseException.__setattr__(error, "__context__", context)
