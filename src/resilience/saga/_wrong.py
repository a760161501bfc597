"""How it is said that a saga's class is wrong: which class and step, what is wrong, what to write; and the line."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

Written = Callable[..., Any]
"""A function as the user wrote it."""


def wrong(where: str, what: str, function: Written | None = None) -> TypeError:
    """The error to raise, with a note that says where the function stands.

    Args:
        where: "PlaceOrder.charge".
        what: What is wrong, and what to write.
        function: The function that it is about.
    """
    error = TypeError(f"{where}: {what}")
    code = getattr(function, "__code__", None)
    if code is not None:
        error.add_note(f'File "{code.co_filename}", line {code.co_firstlineno}, in {where}')
    return error


def label(function: Written) -> str:
    """A method's name with its class's: "PlaceOrder.charge"."""
    name: str = getattr(function, "__qualname__", None) or type(function).__qualname__
    return name.rpartition("<locals>.")[2]


def names(many: Iterable[str]) -> str:
    """Names as one reads them: 'reserve', 'charge' and 'confirm'."""
    *most, last = map(repr, many)
    return f"{', '.join(most)} and {last}" if most else last


def meant(name: str, known: Iterable[str]) -> str:
    """A question to go behind a misspelled name: "; did you mean 'reserve'?"; nothing if none is like it."""
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
