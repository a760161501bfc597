"""Values written and read by pydantic, where it is installed and an annotation mentions one of its models.

pydantic is not imported here: whoever has a model of its has done that.
"""

import inspect
import sys
import typing
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec

from ._wording import reason


def is_for_pydantic(annotation: Any) -> bool:
    """Whether an annotation mentions a pydantic model, or another class that only pydantic knows how to write."""
    return "pydantic" in sys.modules and any(map(_is_pydantic, _classes(annotation, {})))


def by_pydantic(annotation: Any) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """What writes values of a type, and what reads them.

    Raises:
        TypeError: It cannot be done.
        NameError: The annotation of a field cannot be resolved (yet).
    """
    adapter = _adapter(annotation)
    # Aliases need not be the same on the way out and in. Names are, and since 2.11 pydantic can go by them.
    by_name = "by_name" in inspect.signature(adapter.validate_json).parameters
    dump = partial(adapter.dump_json, round_trip=True, warnings=False, by_alias=not by_name)
    read = partial(adapter.validate_json, by_alias=False, by_name=True) if by_name else adapter.validate_json
    return partial(_dump, dump), read


def _adapter(annotation: Any) -> Any:
    try:
        adapter = sys.modules["pydantic"].TypeAdapter(annotation)
        if not getattr(adapter, "pydantic_complete", True):  # since 2.10 it is made all the same
            adapter.rebuild(force=True, raise_errors=True)
    except NameError:
        raise
    except Exception as error:
        raise TypeError(
            f"{reason(error)} Beside pydantic models, give dataclasses, TypedDicts and NamedTuples"
        ) from error
    return adapter


def _dump(dump: Callable[[Any], bytes], value: object) -> bytes:
    """JSON for certain: a model may be set to write a bare NaN, and a record with that in it could never be read."""
    data = dump(value)
    _json.decode(data)
    return data


_json = msgspec.json.Decoder(msgspec.Raw)


def _is_pydantic(kind: type) -> bool:
    return hasattr(kind, "__get_pydantic_core_schema__") or hasattr(kind, "__pydantic_validator__")


def _classes(annotation: Any, seen: dict[int, Any]) -> Iterator[type]:
    """The classes that an annotation mentions, also in the fields of others."""
    if id(annotation) in seen:
        return
    seen[id(annotation)] = annotation  # kept, so that no other object gets its number
    if isinstance(annotation, type):
        yield annotation
    for inner in _inside(annotation):
        yield from _classes(inner, seen)


def _inside(annotation: Any) -> list[Any]:
    """What an annotation is made of; a NewType and a `type X = ...` name another one."""
    named = getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None)
    return [named, typing.get_origin(annotation), *typing.get_args(annotation), *_fields(annotation)]


def _fields(kind: Any) -> list[Any]:
    if not hasattr(kind, "__annotations__"):
        return []
    try:
        return list(typing.get_type_hints(kind, include_extras=True).values())
    except Exception:  # noqa: BLE001 - whoever is to write its values will say what is wrong with it
        return []
