"""Whether a value has come back from JSON as it was, and where it has not.

Two values may be the same although `==` says otherwise: an object of a class without `__eq__`, a date in the hour that
a clock shows twice, a Decimal that is no number. So this looks into them, part by part. It takes its time: it is only
asked about values that are not simply equal.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, time
from decimal import Decimal
from typing import Any, cast

_PLAIN = (int, float, str, bytes, bytearray, list, tuple, dict, set, frozenset, datetime, time)
"""Types whose subclasses are no more than another name for a value that is equal."""


def equal(given: object, back: object) -> bool:
    """Whether two values say that they are equal."""
    try:
        return bool(given == back)
    except Exception:  # noqa: BLE001 - it is the user's __eq__, and a NaN that signals
        return False


def difference(given: Any, back: Any, place: str = "$") -> str | None:
    """Where and how a value differs from what it was made from: "$.paid: 1.5 would come back as '1.5'".

    Args:
        given: The value.
        back: What came back.
        place: Where they stand, as JSONPath writes it.

    Returns:
        The first difference; `None` if there is none.
    """
    if type(given) is not type(back):
        alike = isinstance(given, int | float) if type(back) is float else type(back) in _PLAIN
        return None if alike and equal(given, back) else _told(given, back, place)
    if isinstance(given, datetime | time):
        same = (given.replace(tzinfo=None), given.utcoffset()) == (back.replace(tzinfo=None), back.utcoffset())
        return None if same else _told(given, back, place)
    ours, theirs = parts(given), parts(back)
    if not ours and not theirs:
        return None if _same_leaf(given, back) else _told(given, back, place)
    if ours.keys() != theirs.keys():
        return _told(given, back, place)
    return next((found for one in ours if (found := difference(ours[one], theirs[one], place + one))), None)


def lost(value: Any, place: str = "$") -> Iterator[str]:
    """What JSON has no text for, each with its place."""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{place} is {value}, and JSON has no such number; give None, a Decimal, or text"
    elif isinstance(value, str) and not _is_text(value):
        yield f"{place} has half of a character ({value[:20]!a}), and so is no text; give bytes"
    else:
        for one, part in parts(value).items():
            yield from lost(part, place + one)


def parts(value: Any) -> dict[str, Any]:
    """What a value is made of, by place: ".paid", "[3]", "['ann']"; nothing for one that is whole, or empty."""
    kind = value.__class__
    if issubclass(kind, Mapping):
        return {f"[{key!r}]": part for key, part in value.items()}
    if issubclass(kind, list | tuple):
        return {f"[{number}]": part for number, part in enumerate(value)}
    return {f".{name}": getattr(value, name) for name in _fields(value, kind) if hasattr(value, name)}


def _fields(value: Any, kind: Any) -> Iterable[str]:
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    if hasattr(kind, "__struct_fields__"):
        return cast("tuple[str, ...]", kind.__struct_fields__)
    if hasattr(kind, "__attrs_attrs__"):
        return (cast("str", field.name) for field in kind.__attrs_attrs__)
    if hasattr(kind, "__pydantic_private__"):
        known: tuple[dict[str, Any] | None, ...] = value.__dict__, value.__pydantic_extra__, value.__pydantic_private__
        return (name for names in known for name in names or ())
    return ()


def _same_leaf(given: object, back: object) -> bool:
    if isinstance(given, Decimal):
        return str(given) == str(back)
    return equal(given, back) or type(given).__eq__ is object.__eq__


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _told(given: object, back: object, place: str) -> str:
    texts = [_short(repr(value)) for value in (given, back)]
    if texts[0] == texts[1] or type(given) is not type(back):
        texts = [f"{text} ({type(value).__qualname__})" for text, value in zip(texts, (given, back), strict=True)]
    return f"{place}: {texts[0]} would come back as {texts[1]}"


def _short(text: str) -> str:
    return text if len(text) <= _MOST else f"{text[:_MOST]}..."


_MOST = 60
"""Characters of a value that are shown."""
