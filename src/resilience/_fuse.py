"""A pipeline becomes the function that an expert would have written.

Each shell has one call of `fn` and one exit (`_form`), so the body of the inner one can stand where the outer one says
`result = fn(*args, **kwargs)`. What comes out (`_script`) is one function with the parameters of the decorated one:

```python
def call(order, amount):
    ...
    try:
        ...
            result = fn(order, amount)
```

The nested composition is the reference, and stays. The written function closes over the very cells of the nested
shells, so the two share all that they know. It is written when a function is first called, once for all functions of
the same shells and parameters, and by a hand that knows no policy.

Only shells of this package are written out, and only as far as they follow one another: what another's policy does to
its arguments and globals, and that its file may be edited meanwhile, nobody can know from its text. It is called where
it stands, with all that is inside it.

`RESILIENCE_FUSE=0` in the environment leaves all functions nested.
"""

import inspect
import os
import weakref
from collections.abc import Callable
from types import FunctionType
from typing import Any, cast

from . import _script
from ._form import Outline, outline
from ._script import Shape, Written, first_call, layout_of, parameters_of, remembered, write

Function = Callable[..., Any]

_PACKAGE = __name__.partition(".")[0]


def wanted() -> bool:
    """Whether the environment leaves it on."""
    return os.environ.get("RESILIENCE_FUSE", "1") != "0"


def fuse(shell: Function, fn: Function) -> "tuple[Function, Beginning | None]":
    """Make the function that is a whole composition written out: now, if its like has been written, or when called.

    Args:
        shell: The outermost shell of the composition; it has a variable `entrance`, which is asked to `begin`.
        fn: The user's function that it guards.

    Returns:
        The function, or the shell itself where nothing can be written; and what the first call has to do, if anything.
    """
    shells = _chain(shell, fn)
    if not shells:
        return shell, None
    shape = _shape_of(shells, fn)
    layout = layout_of(shape)
    cells = tuple(shells[layer].__closure__[index] for layer, index in layout.cells)
    function = FunctionType(first_call(layout, waits=shape.waits), _script.namespace, "call", None, cells)
    beginning = Beginning(function, fn, shape, [shell.__globals__ for shell in shells])
    beginning.hurry()
    return function, beginning


def source(shell: Function, fn: Function) -> str:
    """The composition written out, as a text; a comment where it cannot be."""
    shells = _chain(shell, fn)
    written = write(_shape_of(shells, fn), [shell.__globals__ for shell in shells]) if shells else None
    return "# It stays nested: there is no source to write it from." if written is None else written.text.rstrip()


class Beginning:
    """The first call of a function: has the code written, and puts it in place of what asked for it."""

    __slots__ = ("_fn", "_function", "_shape", "_worlds")

    def __init__(self, function: FunctionType, fn: Any, shape: Shape, worlds: list[dict[str, Any]]) -> None:
        self._function = weakref.ref(function)  # no cycle: the function holds the entrance, which holds this
        self._fn = fn
        self._shape = shape
        self._worlds = worlds

    def hurry(self) -> None:
        """Do it now, if nothing has to be written for it."""
        if (written := remembered(self._shape)) is not None:
            self._install(written)

    def function(self) -> Function | None:
        """The function, written by now; `None` where it cannot be.

        It may be asked again, by threads that came in together, or where a tool has put the first code back.
        """
        try:
            written = write(self._shape, self._worlds)
        except RecursionError:  # the caller is near the limit: this call has to do with less
            return None
        return None if written is None else self._install(written)

    def _install(self, written: Written) -> Function | None:
        function = self._function()
        if function is not None:
            if written.exact:
                function.__defaults__ = getattr(self._fn, "__defaults__", None)  # a partial has none
                function.__kwdefaults__ = getattr(self._fn, "__kwdefaults__", None)
            function.__code__ = written.code
        return function


def _chain(shell: Any, fn: Function) -> list[Any]:
    """The shells around a function that can be written into one another, outermost first."""
    found: list[Any] = []
    waits = inspect.iscoroutinefunction(shell)
    while shell is not fn and _fits(shell, waits=waits):
        found.append(shell)
        if cast("Outline", outline(shell.__code__)).last:
            break
        shell = _inside(shell)
    return found


def _fits(shell: Any, *, waits: bool) -> bool:
    ours = type(shell) is FunctionType and shell.__globals__.get("__name__", "").partition(".")[0] == _PACKAGE
    return ours and inspect.iscoroutinefunction(shell) is waits and outline(shell.__code__) is not None


def _inside(shell: Any) -> Any:
    """What a shell in the form has for `fn`; the last may have none."""
    names = shell.__code__.co_freevars
    return shell.__closure__[names.index("fn")].cell_contents if "fn" in names else None


def _shape_of(shells: list[Any], fn: Function) -> Shape:
    return Shape(
        shells=tuple(shell.__code__ for shell in shells),
        # Where something nested is left between, it is for that to say what it makes of the arguments.
        parameters=parameters_of(fn if _inside(shells[-1]) is fn else None),
        waits=inspect.iscoroutinefunction(shells[0]),
    )
