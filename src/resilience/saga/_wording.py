"""How types are put into words, and the errors of those who read and write values; and how a text is made harmless."""

import inspect
import re
from collections.abc import Callable
from typing import Any


def shown(annotation: Any) -> str:
    """A type as one writes it: "dict[str, Item]"."""
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return annotation.__qualname__.rpartition(".")[2]
    text = inspect.formatannotation(None if annotation is type(None) else annotation)
    return re.sub(r"(?<![\w'\"])(?:[\w<>]+\.)+(?=\w)", "", text)


def plain(text: str) -> str:
    """A text in one line, without anything that a terminal would obey."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def reason(error: Exception) -> str:
    """What an error says, in one line, and without the value that it is about: that is nobody's but the saga's."""
    errors: Callable[..., list[dict[str, Any]]] | None = getattr(error, "errors", None)
    if callable(errors):  # pydantic's
        problems = errors(include_url=False, include_input=False, include_context=False)
        return "; ".join(f"{'.'.join(map(str, one['loc'])) or '$'}: {one['msg']}" for one in problems[:3])
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
