"""Types as annotations write them: whether a value of one may be handed to a parameter of another.

A type checker knows better. What is refused here is what can be told for certain: everything else passes.
"""

from types import NoneType, UnionType
from typing import Annotated, Any, TypeGuard, TypeVar, Union, get_args, get_origin

from ._declaration import Definition
from ._signature import resolve


def fits(given: Any, wanted: Any) -> bool:
    """Whether a value of the given type may be what the other type wants; also true where nobody can tell."""
    given, wanted = _plain(given), _plain(wanted)
    if given == wanted or wanted is object or given is Any or wanted is Any:
        return True
    if len(members := _members(given)) > 1:
        return all(fits(member, wanted) for member in members)
    if len(choices := _members(wanted)) > 1:
        return any(fits(given, choice) for choice in choices)
    return _class_fits(get_origin(given) or given, get_origin(wanted) or wanted)


def arguments(owner: type[Any]) -> tuple[Any, Any]:
    """The input and output of a saga's class, as it gives them to `Saga[Input, Output]`; where it does not, variables.

    Raises:
        UnresolvedError: They cannot be told yet.
    """
    for base in vars(owner).get("__orig_bases__", owner.__bases__):
        origin = get_origin(base) or base
        if not is_saga(origin):
            continue
        given = tuple(resolve(argument, owner) for argument in get_args(base))
        if origin is Definition:
            return given[0], given[1]
        meant = dict(zip(getattr(origin, "__parameters__", ()), given, strict=False))
        taken, returned = arguments(origin)
        return _put(taken, meant), _put(returned, meant)
    raise TypeError(f"{owner.__name__} is no saga")


def is_saga(kind: Any) -> TypeGuard[type[Definition[Any, Any]]]:
    """Whether this is the class of a saga."""
    return isinstance(kind, type) and issubclass(kind, Definition)


def _put(kind: Any, meant: dict[Any, Any]) -> Any:
    """A type, with others in the place of its variables."""
    if isinstance(kind, TypeVar):
        return meant.get(kind, kind)
    inside = getattr(kind, "__parameters__", ())
    return kind[tuple(meant.get(one, one) for one in inside)] if inside and get_args(kind) else kind


def _plain(kind: Any) -> Any:
    """A type without what is said about it, or that only gives it another name."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if type(kind).__name__ == "TypeAliasType":
        return _plain(kind.__value__)
    return NoneType if kind is None else kind


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)


def _class_fits(given: Any, wanted: Any) -> bool:
    if not isinstance(given, type) or not isinstance(wanted, type):
        return True
    if wanted in {float, complex} and given in {int, float}:  # where a float is wanted, an int is as good
        return True
    try:
        return issubclass(given, wanted)
    except TypeError:  # a protocol or the like, which cannot be asked
        return True
