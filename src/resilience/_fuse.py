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
shells, so the two share all that they know; and what is not in the form is called where it stood. It is written when a
function is first called, once for all functions of the same shells and parameters, and by a hand that knows no policy.

`RESILIENCE_FUSE=0` in the environment leaves all functions nested.
"""

import inspect
import os
import sys
import weakref
from collections.abc import Callable
from types import FunctionType
from typing import Any

from . import _script
from ._form import draft, outline
from ._script import Shape, first_call, layout_of, parameters_of, write

Function = Callable[..., Any]

_PACKAGE = __name__.partition(".")[0]


def wanted() -> bool:
    """Whether the environment leaves it on."""
    return os.environ.get("RESILIENCE_FUSE", "1") != "0"


def fuse(shell: Function, fn: Function, entrance: Any) -> Function:
    """Make the function that is, from its first call on, a whole composition written out.

    Args:
        shell: The outermost shell of the composition. What its variable `entrance` holds is given here too.
        fn: The user's function that it guards.
        entrance: Is given a `begin`: what the first call asks which function to run.

    Returns:
        The function, or the shell itself where nothing can be written.
    """
    shells = _chain(shell, fn)
    if not shells:
        return shell
    shape = _shape_of(shells, fn)
    layout = layout_of(shape)
    cells = tuple(shells[layer].__closure__[index] for layer, index in layout.cells)
    function = FunctionType(first_call(layout, waits=shape.waits), _script.namespace, "call", None, cells)
    entrance.begin = _Beginning(function, shell, fn, shells, shape, entrance)
    return function


def source(shell: Function, fn: Function) -> str:
    """The composition written out, as a text; a comment where it cannot be."""
    shells = _chain(shell, fn)
    written = write(_shape_of(shells, fn), shells) if shells else None
    return "# It stays nested: there is no source to write it from." if written is None else written.text.rstrip()


class _Beginning:
    """The first call of a function: has the code written, and puts it in place of what asked for it."""

    __slots__ = ("_entrance", "_fn", "_function", "_shape", "_shell", "_shells")

    def __init__(
        self, function: FunctionType, shell: Function, fn: Any, shells: list[Any], shape: Shape, entrance: Any
    ) -> None:
        self._function = weakref.ref(function)  # no cycle: the function holds the entrance, which holds this
        self._shell = shell
        self._fn = fn
        self._shells = shells
        self._shape = shape
        self._entrance = entrance

    def __call__(self) -> Function:
        """What to run. Several threads may ask at once: they all get the same."""
        function, written = self._function(), write(self._shape, self._shells)
        if function is None or written is None:
            return self._shell
        if written.exact:
            function.__defaults__ = getattr(self._fn, "__defaults__", None)  # a partial has none
            function.__kwdefaults__ = getattr(self._fn, "__kwdefaults__", None)
        function.__code__ = written.code
        self._entrance.begin = self._function  # for those who have come in by the old code, and not asked yet
        return function


def _chain(shell: Any, fn: Function) -> list[Any]:
    """The shells around a function that can be written into one another, outermost first."""
    found: list[Any] = []
    waits = inspect.iscoroutinefunction(shell)
    while shell is not fn and _fits(shell, waits=waits):
        found.append(shell)
        shell = _inside(shell)
    return found


def _fits(shell: Any, *, waits: bool) -> bool:
    if not isinstance(shell, FunctionType) or inspect.iscoroutinefunction(shell) is not waits:
        return False
    home = shell.__globals__.get("__name__", "")
    if getattr(sys.modules.get(home), "__dict__", None) is not shell.__globals__:
        return False
    # Our own sources are looked at when they are needed: all are in the form if their code is.
    ours = home.partition(".")[0] == _PACKAGE
    return outline(shell.__code__) is not None and (ours or draft(shell.__code__) is not None)


def _inside(shell: Any) -> Any:
    """What a shell in the form has for `fn`."""
    return shell.__closure__[shell.__code__.co_freevars.index("fn")].cell_contents


def _shape_of(shells: list[Any], fn: Function) -> Shape:
    return Shape(
        shells=tuple((shell.__code__, id(shell.__globals__)) for shell in shells),
        # Where something nested is left between, it is for that to say what it makes of the arguments.
        parameters=parameters_of(fn if _inside(shells[-1]) is fn else None),
        waits=inspect.iscoroutinefunction(shells[0]),
    )
