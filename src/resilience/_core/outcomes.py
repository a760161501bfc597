"""Looking at what a call ended with, an exception or a result, of which nothing is known.

It may be of any library, and hostile: an attribute may run code that raises. Nothing here judges what it finds.
"""

from typing import cast


def peek(holder: object, name: str) -> object:
    """An attribute; `None` where it is missing or cannot be read."""
    try:
        value: object = getattr(holder, name, None)
    except Exception:  # noqa: BLE001 - a property may raise anything
        return None
    return value


def leaves(outcome: object) -> list[object]:
    """The outcome itself, or the exceptions that a group of exceptions, however nested, holds."""
    if not isinstance(outcome, BaseExceptionGroup):
        return [outcome]
    found: list[object] = []
    waiting: list[object] = [outcome]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseExceptionGroup):
            waiting.extend(cast("BaseExceptionGroup[BaseException]", one).exceptions)
        else:
            found.append(one)
    return found
