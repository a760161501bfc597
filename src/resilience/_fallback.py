"""Fallback: an answer of one's own in place of a failure.

The one policy that changes the type of what it guards, from `T` to `T | U`; so it stands outermost in a pipeline, and
the types say so.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar, cast, overload

from ._checks import takes_one
from ._events import FellBack, emit
from ._functions import is_coroutine_function
from ._matching import Matcher, On, Predicate
from ._policy import P, Recipe, T, acall_once, call_once, decorate
from ._standing_in import stands_in
from ._telemetry import fell_back
from ._traits import Role, Traits

U = TypeVar("U")


class fallback(Generic[U]):
    """Answer with a value, or by another function, when the call fails.

    ```python
    @fallback(0.0, on=(ConnectionError, Rejected))
    def discount(customer: str) -> float: ...

    @fallback(to=cached_price, on=Exception)
    def price(article: str) -> Price: ...
    ```

    Args:
        value: The answer. It is shared by all calls, so a mutable one is refused.
        to: A function that answers instead. It is given the call's own arguments, and while it runs, `sys.exception()`
            is what the call raised. For a coroutine function it may be one itself. What it raises has the original as
            its `__context__`.
        on: Which exceptions to answer for: types, predicates, or a tuple of them. No default. `()`, with `on_result`:
            only results are replaced.
        on_result: A predicate: which results to replace as well.
        name: For events.

    Raises:
        TypeError: Both or neither of `value` and `to` are given, the value is a function, or an argument is of the
            wrong type.
        ValueError: The value is mutable.
    """

    __slots__ = ("policy",)

    @overload
    def __init__(self, value: U, /, *, on: On, on_result: Predicate | None = None, name: str | None = None) -> None: ...
    @overload
    def __init__(
        self,
        /,
        *,
        to: Callable[..., Coroutine[Any, Any, U]],
        on: On,
        on_result: Predicate | None = None,
        name: str | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        /,
        *,
        to: Callable[..., U],
        on: On,
        on_result: Predicate | None = None,
        name: str | None = None,
    ) -> None: ...
    def __init__(
        self,
        /,
        *value: Any,
        on: On,
        to: Callable[..., Any] | None = None,
        on_result: Predicate | None = None,
        name: str | None = None,
    ) -> None:
        self.policy: Fallback = Fallback(*value, on=on, to=to, on_result=on_result, name=name)

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, Coroutine[Any, Any, T | U]]: ...
    @overload
    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T | U]: ...
    def __call__(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Guard a function.

        Raises:
            TypeError: `fn` cannot be guarded, or is a plain function while `to` is a coroutine function.
        """
        return cast("Callable[..., Any]", decorate(self.policy, fn))

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | U:
        """Make one guarded call of a plain function."""
        return cast("T | U", call_once(self.policy, fn)(*args, **kwargs))

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T | U:
        """Make one guarded call of a coroutine function."""
        return cast("T | U", await acall_once(self.policy, fn)(*args, **kwargs))

    def source(self, fn: Callable[..., object], /) -> str:
        """What a function becomes that it decorates. See `Policy.source`."""
        return self.policy.source(fn)

    def __repr__(self) -> str:
        return repr(self.policy)


class Fallback(Recipe):
    """The layer that a `fallback` puts into a pipeline."""

    __slots__ = ("_matches", "_to", "_unwanted")

    kind = "fallback"

    def __init__(
        self,
        *value: Any,
        on: On,
        to: Callable[..., Any] | None = None,
        on_result: Predicate | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self._recall(*value, on=on, to=to, on_result=on_result, name=name)
        if len(value) != (to is None):
            raise TypeError("fallback needs one answer: either a value, or to=function")
        if to is not None and not callable(to):
            raise TypeError(f"to must be a function, got {to!r}; a value is given as 'fallback(value, on=...)'")
        self._matches = Matcher("on", on, required=on_result is None)
        self._unwanted = None if on_result is None else takes_one("on_result", on_result)
        self._to = to if to is not None else _constant(*value)

    @property
    def label(self) -> str:
        """The name, or `fallback`."""
        return self.name or "fallback"

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Wrap a plain function."""
        if is_coroutine_function(self._to):
            raise TypeError(
                f"to={self._to!r} is a coroutine function, and a plain function cannot await it; give a plain one"
            )
        matches, unwanted, answer = self._matches, self._unwanted, self._answer_for

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                result = fn(*args, **kwargs)
            except Exception as error:
                if not matches(error):
                    raise
                result = answer(error, args, kwargs)
            else:
                if unwanted is not None and unwanted(result):
                    result = answer(None, args, kwargs)
            return result

        return call

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        """Wrap a coroutine function."""
        matches, unwanted, answer = self._matches, self._unwanted, self._aanswer_for

        async def call(*args: Any, **kwargs: Any) -> Any:
            try:
                result = await fn(*args, **kwargs)
            except Exception as error:
                if not matches(error):
                    raise
                result = await answer(error, args, kwargs)
            else:
                if unwanted is not None and unwanted(result):
                    result = await answer(None, args, kwargs)
            return result

        return call

    def traits(self) -> Traits:
        """What a pipeline needs to know."""
        return Traits(Role.FALLBACK, f"fallback: answers on {self._matches!r}", handles=self._matches)

    def __repr__(self) -> str:
        return super().__repr__().replace("Fallback", "fallback", 1)  # as it was written

    def _answer_for(self, error: Exception | None, args: Any, kwargs: Any) -> Any:
        emit(FellBack(self.label, error))
        fell_back(self)
        stands_in()
        return self._to(*args, **kwargs)

    async def _aanswer_for(self, error: Exception | None, args: Any, kwargs: Any) -> Any:
        answer = self._answer_for(error, args, kwargs)
        return await answer if inspect.isawaitable(answer) else answer


class _constant:
    """A function that answers the same whatever it is asked; with a class of its own so that it can be pickled."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        if callable(value):
            raise TypeError(
                f"the value {value!r} is a function, and would be the answer itself, not called; write "
                f"to={_name(value)}"
            )
        try:
            hash(value)  # not `isinstance(value, Hashable)`: a tuple may hold a list
        except TypeError:
            raise ValueError(
                f"the value {value!r} is mutable, and all calls would share it; give a function that makes a new one: "
                f"to=lambda *args, **kwargs: {value!r}"
            ) from None
        self._value = value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._value


def _name(function: object) -> str:
    name: str = getattr(function, "__qualname__", "function")
    return "function" if "<" in name else name
