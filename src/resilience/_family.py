"""What is made for one key of many: it has no name of its own, and is called as all of its family are.

`Keyed` needs to know two things of what its factory makes: what there is, also deep inside of a pipeline, to ask it
whether it is calm; and that its name does not grow with the keys, for names are on metrics. Whatever holds state tells
its family when it is made; what was made before, and is shared by all keys, does not belong to it.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_making: ContextVar[tuple[str, list[Any]] | None] = ContextVar("resilience_making", default=None)


@contextmanager
def making_for(family: str) -> Generator[list[Any], None, None]:
    """Collect what is made in the block, and call it by the name of the family."""
    made: list[Any] = []
    token = _making.set((family, made))
    try:
        yield made
    finally:
        _making.reset(token)


def family_of(one: object, name: str | None) -> str:
    """The family that something is made for, which is told of it; empty if there is none.

    Raises:
        ValueError: It has a name of its own.
    """
    family, made = _making.get() or ("", None)
    if made is not None:
        if name is not None:
            raise ValueError(
                f"name must be left out in what is made for a key, got {name!r}: names are on metrics, which must not "
                "grow with the keys; give the name to the Keyed"
            )
        made.append(one)
    return family
