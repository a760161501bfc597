"""A function of a saga, as it is written and as it is called; and what cannot be one."""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import isasyncgenfunction, isgeneratorfunction
from typing import Any, cast

from .. import _checks
from .._functions import is_coroutine_function
from .._policy import Policy
from ._signature import parameters_of
from ._wrong import Written, label, wrong


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a saga.

    Attributes:
        written: As it stands in the class.
        call: The same with its policies; called with the saga's object, and the rest by name.
        parameters: What it takes, by name.
        is_async: Whether it is a coroutine function.
        within: The seconds that one call may take; `None`: without limit.
    """

    written: Written
    call: Callable[..., Any]
    parameters: tuple[str, ...]
    is_async: bool
    within: float | None

    @property
    def label(self) -> str:
        """Its name, with that of its class."""
        return label(self.written)

    def wrong(self, what: str) -> TypeError:
        """The error that says what is wrong with it, and what to write."""
        return wrong(self.label, what, self.written)


def function_of(
    written: Any, decorator: str, policy: Policy | None = None, within: _checks.Seconds | None = None
) -> Function:
    """What a decorator was put above, with its policy.

    Args:
        written: The function.
        decorator: The decorator's name, for messages.
        policy: Guards each call.
        within: The longest that one call may take.

    Raises:
        TypeError: It is no method, or not one that can be called again after a crash.
        ValueError: `within` is out of its range.
    """
    _refuse(written, decorator)
    where = label(written)
    if policy is not None and not isinstance(cast("object", policy), Policy):
        raise wrong(
            where,
            f"policy must be a Policy, got {policy!r}; of an object with bind and abind, Pipeline(...) makes one",
            written,
        )
    return Function(
        written,
        written if policy is None else policy(written),
        parameters_of(written),
        is_coroutine_function(written),
        _checks.seconds_or_none(f"{where}: within", within),
    )


def _refuse(written: Any, decorator: str) -> None:
    if isinstance(written, staticmethod | classmethod):
        kind = type(cast("object", written)).__name__
        function = cast("Any", written).__func__
        where = label(function)
        raise wrong(where, f"is a @{kind}; a saga calls methods of its object, so leave out @{kind}", function)
    if isinstance(written, type) or not callable(written):
        raise TypeError(f"@{decorator} goes above a method, got {written!r}")
    if isgeneratorfunction(written) or isasyncgenfunction(written):
        raise wrong(
            label(written),
            "is a generator function: to call it does nothing yet, and a stream cannot be kept in a journal; return "
            "the whole result at once",
            written,
        )
