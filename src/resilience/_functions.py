"""What users hand over to be guarded: which of it can be, and whether a call of it gives a coroutine.

Both are asked once, at decoration, of any form that a callable has: function, method, partial, object.
"""

import functools
import inspect
from typing import Any, cast

from ._layer import Layer
from ._results import NotAwaitedError
from ._telemetry import AsyncFunction, Function


def refuse(fn: object) -> None:
    """Refuse what cannot be guarded.

    Raises:
        TypeError: With the reason, and what to write instead.
    """
    if isinstance(fn, type):
        raise TypeError(f"{fn.__name__} is a class; guard the methods that make calls, not the class")
    if isinstance(fn, Layer):
        raise TypeError(f"{fn!r} is a policy, and a policy guards functions; to compose, write Pipeline(outer, inner)")
    if isinstance(fn, property):
        raise TypeError("a property cannot be guarded from outside; put @property above the policy")
    if not callable(fn):
        raise TypeError(f"a policy guards functions, got {fn!r}")
    if _makes_generator(fn):
        raise TypeError(
            f"{name_of(fn)} is a generator function: calling it runs nothing, so a guard would cover only its "
            "creation and call every stream a success. Guard the calls inside it, or hold a lease over its life: "
            "'lease = policy.admit()'"
        )


def is_coroutine_function(fn: object) -> bool:
    """Whether a call gives a coroutine: a coroutine function, a partial of one, an object with an async `__call__`."""
    return any(map(inspect.iscoroutinefunction, _forms(_unwrapped(fn))))


def awaiting(fn: Function) -> AsyncFunction:
    """A callable that may return any awaitable, as a coroutine function."""

    async def call(*args: Any, **kwargs: Any) -> Any:
        result = fn(*args, **kwargs)
        if not inspect.isawaitable(result):
            raise NotAwaitedError(
                f"{name_of(fn)} returned {type(result).__name__}, which cannot be awaited; for a plain function write "
                f"'policy.call({name_of(fn)}, ...)'"
            )
        return await result

    return call


def dress(guarded: Any, fn: Any) -> Any:
    """Give the guarded function the name, signature and public attributes of the original."""
    guarded.__qualname__ = name_of(fn)  # for a partial or an object, which have no name of their own
    guarded.__name__ = guarded.__qualname__.rpartition(".")[2]
    functools.update_wrapper(guarded, fn)
    for name in () if inspect.isfunction(fn) else dir(fn):
        # A property is left out: to carry it over is to run it, and its answer of now would be given for ever.
        if not name.startswith("_") and not hasattr(guarded, name) and not _is_computed(fn, name):
            setattr(guarded, name, getattr(fn, name))
    return guarded


def _is_computed(fn: object, name: str) -> bool:
    return isinstance(inspect.getattr_static(fn, name, None), property | functools.cached_property)


def _makes_generator(fn: Any) -> bool:
    fn = _unwrapped(fn)
    if any(kind(form) for kind in (inspect.isgeneratorfunction, inspect.isasyncgenfunction) for form in _forms(fn)):
        return True
    # @contextmanager hides the generator behind a plain helper of contextlib; so do its decorators a plain function.
    helper = getattr(fn, "__globals__", {}).get("__name__") == "contextlib"
    return helper and _makes_generator(getattr(fn, "__wrapped__", None))


def _unwrapped(fn: Any) -> Any:
    """What a partial, or a partial of one, calls in the end."""
    while isinstance(fn, functools.partial):
        fn = cast("Any", fn).func
    return fn


def _forms(fn: object) -> tuple[object, object]:
    """The two places that tell what a call gives: the function, and an object's `__call__`."""
    return fn, type(fn).__call__


def name_of(fn: Any) -> str:
    """What a function is called; of what has no name, its class."""
    fn = _unwrapped(fn)
    return getattr(fn, "__qualname__", None) or type(fn).__qualname__
