"""`on=`: which errors a policy is about. It reads like `except`.

An exception type, a predicate (yes or no), or a tuple that may mix them. Types match an `ExceptionGroup` when every
leaf of it matches; a predicate is asked about the group itself. Nothing else is hidden in it: `Rejected` and
`TimedOut` are exceptions like any other. Only our own word that a call was wired wrongly (`NotAwaitedError`) matches
nothing: to repeat it or to answer in its place would hide the mistake.
"""

from collections.abc import Callable
from typing import Any, cast

from . import _checks
from ._results import NotAwaitedError

Predicate = Callable[[Any], bool]
"""Answers yes or no about an exception (`on=`) or a result (`on_result=`)."""

On = type[Exception] | Callable[[Exception], bool] | tuple[type[Exception] | Callable[[Exception], bool], ...]
"""What `on=` takes."""


class Matcher:
    """`on=`, checked and compiled once. It may name nothing where it is not `required`.

    Attributes:
        types: The exception types among what was given.
        predicates: The predicates among it.
    """

    __slots__ = ("given", "predicates", "types")

    def __init__(self, name: str, given: On, *, required: bool = True) -> None:
        self.given: On = given
        parts = cast("tuple[type[Any] | Predicate, ...]", given if isinstance(given, tuple) else (given,))
        if not parts and required:
            raise ValueError(
                f"{name} must name at least one exception type or predicate, got (); it may be empty only where "
                "results are judged: on_result="
            )
        self.types: tuple[type[Exception], ...] = tuple(
            _exception_type(name, part) for part in parts if isinstance(part, type)
        )
        self.predicates: tuple[Predicate, ...] = tuple(
            _predicate(name, part) for part in parts if not isinstance(part, type)
        )

    def __call__(self, error: BaseException) -> bool:
        """Whether the error is meant; never for one that is no `Exception`, such as a cancellation."""
        if not isinstance(error, Exception) or isinstance(error, NotAwaitedError):
            return False
        if isinstance(error, self.types):
            return True
        for predicate in self.predicates:  # not any(): what a predicate raises comes out as it is, StopIteration too
            if predicate(error):
                return True
        if isinstance(error, ExceptionGroup):
            group = cast("ExceptionGroup[Exception]", error)
            return bool(self.types) and all(_leaves_match(leaf, self.types) for leaf in group.exceptions)
        return False

    def names(self, error: BaseException) -> bool:
        """Whether a type was written out that this error is, `Exception` itself not counting: a deliberate mention."""
        return isinstance(error, tuple(kind for kind in self.types if kind is not Exception))

    def covers(self, kind: type[Exception]) -> bool | None:
        """Whether every error of this type matches; `None` where only a predicate could tell."""
        if issubclass(kind, self.types):
            return True
        return None if self.predicates else False

    def __repr__(self) -> str:
        parts = [getattr(part, "__name__", repr(part)) for part in (*self.types, *self.predicates)]
        return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"


def _leaves_match(error: Exception, types: tuple[type[Exception], ...]) -> bool:
    if isinstance(error, types):
        return True
    if isinstance(error, ExceptionGroup):
        group = cast("ExceptionGroup[Exception]", error)
        return all(_leaves_match(leaf, types) for leaf in group.exceptions)
    return False


def _predicate(name: str, part: object) -> Predicate:
    if not callable(part):
        raise TypeError(f"{name} takes exception types, predicates, or a tuple of them, got {part!r}")
    return _checks.takes_one(name, part)


def _exception_type(name: str, kind: type[Any]) -> type[Exception]:
    if issubclass(kind, Exception):
        return kind
    if issubclass(kind, BaseException):
        raise TypeError(
            f"{name} must not name {kind.__name__}: it asks the program to stop, and no policy may "
            "handle it; Exception is the widest that is allowed"
        )
    raise TypeError(f"{name} takes exception types and predicates, got the class {kind.__name__}")
