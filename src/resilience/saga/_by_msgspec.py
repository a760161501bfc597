"""Values written and read by msgspec, and what it cannot do, said at once.

msgspec makes a decoder for any class at all, and leaves those that it does not know to a hook. There is none here, for
whatever a hook makes up is not what another process reads; so types are looked through first.
"""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath
from typing import Any

import msgspec
from msgspec import inspect as types

from ._wording import reason, shown


def by_msgspec(annotation: Any) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """What writes values of a type, and what reads them.

    Raises:
        TypeError: It cannot be done.
        NameError: The annotation of a field cannot be resolved (yet).
    """
    try:
        info = types.type_info(annotation)
    except TypeError as error:
        raise TypeError(f"{reason(error)}; {_UNIONS if 'unions' in str(error) else _INSTEAD}") from error
    _check(info, shown(annotation), set())
    return _encode, msgspec.json.Decoder(annotation).decode


_encode = msgspec.json.Encoder().encode


def _check(info: types.Type, place: str, seen: set[int]) -> None:
    if id(info) in seen:  # a class whose fields mention itself
        return
    seen.add(id(info))
    if isinstance(info, types.CustomType):
        raise TypeError(f"{place}: {shown(info.cls)} cannot be made out of JSON; {_hint(info.cls)}")
    if isinstance(info, types.DictType) and isinstance(info.key_type, _NO_KEYS):
        raise TypeError(f"{place}: its keys cannot be written as JSON, where they are text; give a list of pairs")
    for suffix, inner in _inside(info):
        _check(inner, place + suffix, seen)


def _inside(info: types.Type) -> Iterator[tuple[str, types.Type]]:
    """The types that a type is made of, each with what leads to it."""
    match info:
        case types.Metadata(type=inner):
            yield "", inner
        case types.UnionType(types=several):
            yield from (("", one) for one in several)
        case types.TupleType(item_types=several):
            yield from ((f"[{number}]", one) for number, one in enumerate(several))
        case types.DictType(key_type=key, value_type=value):
            yield from (("[key]", key), ("[...]", value))
        case types.CollectionType(item_type=item):
            yield "[...]", item
        case types.StructType() | types.DataclassType() | types.TypedDictType() | types.NamedTupleType():
            yield from ((f".{field.name}", field.type) for field in info.fields)
        case _:
            pass


_NO_KEYS = (
    types.NoneType,
    types.BoolType,
    types.CollectionType,
    types.TupleType,
    types.DictType,
    types.StructType,
    types.DataclassType,
    types.TypedDictType,
    types.NamedTupleType,
)

_UNIONS = (
    "JSON does not say which of them a value is: give msgspec Structs with tags, pydantic models with a discriminator, "
    "or a class with a field for each"
)

_INSTEAD = (
    "give a dataclass, attrs class, msgspec Struct, TypedDict, NamedTuple or pydantic model, or a type that has a text "
    "of its own, like str, Decimal, datetime or UUID"
)

_BETTER: dict[type, str] = {
    object: "give Any, for plain JSON",
    PurePath: "give str",
    complex: "give tuple[float, float]",
    OrderedDict: "give dict",
    defaultdict: "give dict",
    deque: "give list",
    range: "give list[int]",
    Iterable: "give list",
}


def _hint(kind: type) -> str:
    bases = [kind] if kind is object else kind.__mro__[:-1]
    return next((text for known, text in _BETTER.items() if known in bases), _INSTEAD)
