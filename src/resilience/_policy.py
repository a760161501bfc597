"""A policy turns a function into a function. This module is that sentence.

`SupportsBind` is the whole protocol: two methods, no base class. `Policy` adds the doors that users come in by: the
decorator, `call` and `acall`. Here is decided, once and at decoration, whether a function is sync or async, and here
the telemetry gate is put in front; `bind` and `abind` know of neither.

A shell is written the way one writes a decorator by hand: a prelude of plain assignments, one call of `fn`, assigned to
`result`, one exit; everything rare behind a method.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, ParamSpec, TypeVar, cast

from ._compose import decorated, guarded, written_out
from ._functions import awaiting, dress, is_coroutine_function, name_of, refuse
from ._layer import Layer
from ._telemetry import AsyncFunction, Function

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., object])


class Policy(Layer):
    """Guards calls. Use it as a decorator, or for one call with `call` and `acall`.

    One object serves sync code, threads, asyncio and trio at once. This is the type to annotate with.
    """

    __slots__ = ()

    def __call__(self, fn: F, /) -> F:
        """Guard a function: plain or coroutine function, method, class or static method, partial, callable object.

        Raises:
            TypeError: `fn` is a class, a generator function, or no callable at all.
        """
        return cast("F", decorate(self, fn))

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Make one guarded call of a plain function.

        Raises:
            TypeError: `fn` is a coroutine function, or returns a coroutine: that needs `acall`.
        """
        return cast("T", call_once(self, fn)(*args, **kwargs))

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Make one guarded call of a coroutine function, or of any callable that returns an awaitable.

        Raises:
            TypeError: `fn` returned no awaitable: a plain function needs `call`.
        """
        return cast("T", await acall_once(self, fn)(*args, **kwargs))

    def source(self, fn: Callable[..., object], /) -> str:
        """What a function becomes that it decorates: one function, as an expert would have written it.

        It is that text that runs, from the first call on; tracebacks and debuggers show it.

        Args:
            fn: The function; it is not called.

        Returns:
            Python source, ready to print. Where a policy is not written in a form that allows for it, its shell is
            called, with all that is inside it.

        Raises:
            TypeError: `fn` is a class, a generator function, or no callable at all.
        """
        refuse(fn)
        return written_out(self, fn)


class Recipe(Policy):
    """A lower-case policy: no state to share, so it is written anew where it is needed, and can be pickled.

    Its options, as given, are all there is to it.
    """

    __slots__ = ("_given",)

    def _recall(self, *positional: Any, **options: Any) -> None:
        """Remember what was given and is no default, for `repr` and `pickle`."""
        parameters = inspect.signature(type(self).__init__).parameters
        defaults = {key: parameter.default for key, parameter in parameters.items()}
        # A subclass may have parameters of its own: then all is written out.
        given = {key: value for key, value in options.items() if key not in defaults or value is not defaults[key]}
        self._given = (positional, given)

    def __reduce__(self) -> tuple[Any, ...]:
        positional, options = self._given
        return _remake, (type(self), positional, options)

    def __repr__(self) -> str:
        positional, options = self._given
        written = [*map(_show, positional), *(f"{key}={_show(value)}" for key, value in options.items())]
        return f"{type(self).__name__}({', '.join(written)})"


class Shared(Policy):
    """A capital policy: it holds state that its callers share, so it is made once."""

    __slots__ = ()

    @property
    def calm(self) -> bool:
        """Whether it has nothing to remember. One that cannot say has."""
        return False

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} holds live state (locks, counts) that cannot be copied or sent to another process; make one "
            f"{type(self).__name__} in each process and share it there"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>" if self.name else f"<{type(self).__name__}>"


def call_once(policy: Layer, fn: Function) -> Function:
    """What `call` calls."""
    refuse(fn)
    if is_coroutine_function(fn):
        raise TypeError(f"{name_of(fn)} is a coroutine function; write 'await policy.acall({name_of(fn)}, ...)'")
    return guarded(policy, fn)


def acall_once(policy: Layer, fn: AsyncFunction) -> AsyncFunction:
    """What `acall` awaits."""
    refuse(fn)
    return guarded(policy, fn if is_coroutine_function(fn) else awaiting(fn))


def decorate(policy: Layer, fn: Any) -> Any:
    """Bind a function to a policy, whatever form it has, and make the result look like the function."""
    if isinstance(fn, staticmethod | classmethod):
        method = cast("Any", fn)
        return type(method)(decorate(policy, method.__func__))
    refuse(fn)
    return dress(decorated(policy, fn), fn)


def _remake(kind: type[Any], positional: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return kind(*positional, **options)


def _show(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_show, cast('tuple[object, ...]', value)))})"
    return getattr(value, "__qualname__", None) or repr(value)
