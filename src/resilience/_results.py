"""What a call may not return: a coroutine where a value was promised, or a stream taken for a result.

A plain function that hands back a coroutine (a lambda around a coroutine function, say) has done nothing yet; to call
that a success would be a lie. A stream has only been opened; most of its work lies ahead, where no guard sees it.

The usual result is recognised by its type in one look into a set, so the check costs a few nanoseconds.
"""

import inspect
import warnings
from collections.abc import Callable
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from ._frames import levels_inside
from .errors import ResilienceWarning

_MOST_TYPES = 1_000

COROUTINE: type[Any] = CoroutineType
"""What a plain function may not return, and nothing can pretend to be: the type has no subclasses."""

_common: tuple[type[Any], ...] = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
    tuple,
    list,
    dict,
    set,
    frozenset,
)

values: set[type[Any]] = set(_common)
"""Types known to be values: neither awaitable nor streams. Learned as they come, bounded."""


class NotAwaitedError(TypeError):
    """A plain function returned a coroutine. It is a `TypeError` to the caller, and no evidence about any service."""


def refuse_coroutine(result: object) -> None:
    """Close and refuse a coroutine that a plain function returned; learn the type of anything else.

    Raises:
        TypeError: The result is a coroutine.
    """
    if isinstance(result, CoroutineType):
        name = result.__qualname__
        result.close()
        raise NotAwaitedError(
            f"{name} is a coroutine function, but it was called as a plain one, so nothing has run. "
            "Decorate the coroutine function itself, or use 'await policy.acall(function, ...)'"
        )
    kind = type(result)
    if not _is_stream(result):
        if len(values) > _MOST_TYPES:
            values.intersection_update(_common)
        values.add(kind)


def stream_watch(name: str) -> Callable[[object], type[Any]]:
    """Make the check of what leaves one decorated function: a coroutine is refused, the first stream warns.

    The check answers the type it has passed, so that the caller need not ask about that type again. A stream's type
    counts as passed too: its first result has warned.
    """
    warned = False

    def check(result: object) -> type[Any]:
        nonlocal warned
        kind = type(result)
        if kind in values:
            return kind
        refuse_coroutine(result)
        if not warned and _is_stream(result):
            warned = True
            warnings.warn(
                f"{name} returned a stream ({type(result).__name__}): the policies saw it opened, and will not see it "
                "fail or end. Hold a lease over its whole life instead: 'lease = policy.admit()' (or 'await "
                "policy.aadmit()'), then lease.succeed() or lease.fail(error) when it ends",
                ResilienceWarning,
                stacklevel=levels_inside(),
            )
        return kind

    return check


def _is_stream(result: object) -> bool:
    if isinstance(result, GeneratorType | AsyncGeneratorType) or hasattr(type(result), "__anext__"):
        return True
    # Iterators written in Python are clients' stream classes, except what can be read like a file or fetched like rows.
    kind = type(result)
    if hasattr(kind, "read") or hasattr(kind, "fetchone"):
        return False
    return inspect.isfunction(getattr(kind, "__next__", None))
