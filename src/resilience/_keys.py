"""What tells one call from another: a key made of its arguments.

Two keys are equal only for equal arguments of equal types, whether they were given by position, by name, or by
default: `1`, `1.0` and `True` are three. What a method is called on is told by identity, and not kept alive. Nothing is
ever told by its `repr`.

All that follows from the signature is worked out at decoration.
"""

import inspect
import weakref
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Self, cast

Arguments = tuple[Any, ...]
Named = dict[str, Any]
KeyOf = Callable[[Arguments, Named], Hashable]

_WHOLE = frozenset({type(None), bool, int, float, complex, str, bytes})
"""Hashable things without parts: parts may be equal and of other types."""


class Owner(weakref.ref[Any]):
    """What a method is called on: told by identity, and not kept alive. A dead one equals no living one."""

    __slots__ = ("_number",)

    _number: int

    def __new__(cls, thing: object) -> Self:
        """Refer to a thing."""
        owner = super().__new__(cls, thing)
        owner._number = id(thing)
        return owner

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Owner) and other() is self()


class Keys:
    """The keys of all functions of one policy.

    Args:
        key: As for `key_of`.
        policy: Who asks, for messages.
        by_name: Whether a function stands in a key by its name, for a store that outlives this process.

    Raises:
        TypeError: `key` is neither a text, nor a function, nor `None`.
    """

    __slots__ = ("_by_name", "_functions", "_key", "_policy")

    def __init__(self, key: str | Callable[..., Hashable] | None, policy: str, *, by_name: bool = False) -> None:
        given: object = key  # callers without a type checker
        if not (given is None or callable(given) or (isinstance(given, str) and given)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"key must be the name of a parameter, or a function of the call's arguments, got {key!r}")
        self._key = key
        self._policy = policy
        self._by_name = by_name
        self._functions: weakref.WeakKeyDictionary[Any, KeyOf] = weakref.WeakKeyDictionary()

    def of(self, fn: Any) -> KeyOf:
        """How calls of a function are told apart, from one another and from those of other functions."""
        found = key_of(fn, self._key, self._policy, f"{fn.__module__}.{_name(fn)}" if self._by_name else _subject(fn))
        with suppress(TypeError):  # what cannot be referred to weakly cannot be asked for later, either
            self._functions[fn] = found
        return found

    def of_call(self, fn: Any, args: Arguments, named: Named) -> Hashable:
        """The key of one call.

        Args:
            fn: A function that was bound, or what it was decorated to.
            args: The call's arguments by position.
            named: The call's arguments by name.

        Raises:
            ValueError: No such function was bound.
        """
        if inspect.ismethod(fn):
            fn, args = fn.__func__, (fn.__self__, *args)
        inside = fn
        while inside not in self._functions:
            inside = getattr(inside, "__wrapped__", None)
            if inside is None:
                raise ValueError(f"{self._policy} does not guard {_name(fn)}; give a function that it decorates")
        return self._functions[inside](args, named)


def key_of(
    fn: Callable[..., Any], key: str | Callable[..., Hashable] | None, policy: str, about: Hashable = None
) -> KeyOf:
    """How calls of one function are told apart.

    Args:
        fn: The user's function.
        key: The name of a parameter, a function of the call's arguments, or `None`: all arguments.
        policy: Who asks, for messages.
        about: What stands first in each key.

    Raises:
        ValueError: `key` names no parameter of the function.
    """
    if callable(key):
        return _by_function(key, fn, policy, about)
    signature = _signature(fn)
    if key is not None:
        return _by_parameter(key, signature, fn, policy, about)
    return _by_all(signature, fn, policy, about)


def _subject(fn: Any) -> Hashable:
    bound = getattr(fn, "__self__", None)
    if inspect.ismethod(fn) and bound is not None:
        return fn.__func__, Owner(bound)
    return fn if isinstance(fn, Hashable) else id(fn)


def _by_function(key: Callable[..., Hashable], fn: Callable[..., Any], policy: str, about: Hashable) -> KeyOf:
    def ask(args: Arguments, named: Named) -> Hashable:
        value = key(*args, **named)
        found = (about, _typed(value))
        try:
            hash(found)
        except TypeError:
            raise _unhashable(f"{policy}: key= returned {_shown(value)} for {_name(fn)}") from None
        return found

    return ask


def _by_parameter(
    name: str, signature: inspect.Signature, fn: Callable[..., Any], policy: str, about: Hashable
) -> KeyOf:
    parameters = signature.parameters
    if name not in parameters or parameters[name].kind in {
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    }:
        raise ValueError(
            f"key={name!r} names no parameter of {_name(fn)}, which has {', '.join(parameters) or 'none'}; name one of "
            "them that takes one argument, or give a function of the call's arguments"
        )
    position, default = list(parameters).index(name), parameters[name].default
    if parameters[name].kind is inspect.Parameter.KEYWORD_ONLY:
        position = _NEVER

    def ask(args: Arguments, named: Named) -> Hashable:
        if len(args) > position:
            value = args[position]
        elif name in named:
            value = named[name]
        elif default is not inspect.Parameter.empty:
            value = default
        else:
            value = _bound(signature, args, named).arguments[name]  # raises what the function itself would raise
        found = (about, _typed(value))
        try:
            hash(found)
        except TypeError:
            raise _unhashable(f"{policy}: argument {name!r} of {_name(fn)} is {_shown(value)}") from None
        return found

    return ask


def _by_all(signature: inspect.Signature, fn: Callable[..., Any], policy: str, about: Hashable) -> KeyOf:
    parameters = list(signature.parameters.values())
    plain = all(one.kind in {one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD} for one in parameters)
    complete = len(parameters) if plain else _NEVER
    owned = _is_method(fn, parameters)
    if complete == 1 and not owned:
        return _by_parameter(parameters[0].name, signature, fn, policy, about)

    def ask(args: Arguments, named: Named) -> Hashable:
        if named or len(args) != complete:
            args = _in_order(_bound(signature, args, named))
        if owned:
            args = (_owner(args[0], fn, policy), *args[1:])
        kinds = tuple(map(type, args))
        found = (about, args, kinds) if _WHOLE.issuperset(kinds) else (about, *map(_typed, args))
        try:
            hash(found)
        except TypeError:
            raise _unhashable(f"{policy}: {_culprit(signature, args, _name(fn))}") from None
        return found

    return ask


_NEVER = 1 << 30


def _typed(value: Any) -> Hashable:
    """A value with its type, and the types of what is in it."""
    kind = type(cast("object", value))
    if isinstance(value, str) and kind is str:
        return value  # nothing but text stands for itself, so text cannot be taken for anything else
    if kind is tuple:
        return kind, tuple(map(_typed, value))
    if kind is frozenset:
        return kind, frozenset(map(_typed, value))
    if isinstance(value, tuple):  # one with names, and perhaps with an equality of its own
        return kind, cast("Hashable", value), tuple(map(_typed, cast("Any", value)))
    return kind, value


def _bound(signature: inspect.Signature, args: Arguments, named: Named) -> inspect.BoundArguments:
    bound = signature.bind(*args, **named)
    bound.apply_defaults()
    return bound


def _in_order(bound: inspect.BoundArguments) -> Arguments:
    """Arguments as they would be given by position; what `**` collects in the order of its names."""
    return tuple(
        tuple(sorted(value.items()))
        if bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        else value
        for name, value in bound.arguments.items()
    )


def _is_method(fn: Callable[..., Any], parameters: list[inspect.Parameter]) -> bool:
    """Whether the first argument is what a method is called on: a function in a class, by the usual names."""
    scope = getattr(fn, "__qualname__", "").rpartition(".")[0]
    return bool(scope and not scope.endswith("<locals>") and parameters and parameters[0].name in {"self", "cls"})


def _owner(thing: object, fn: Callable[..., Any], policy: str) -> Owner:
    try:
        return Owner(thing)
    except TypeError:
        raise TypeError(
            f"{policy}: {_name(fn)} is a method, and what it is called on ({type(thing).__name__}) cannot be "
            "referred to weakly, so it would be kept alive; add '__weakref__' to its __slots__, or give key="
        ) from None


def _unhashable(what: str) -> TypeError:
    return TypeError(
        f"{what}, which cannot be hashed and so is no part of a key; pass something hashable (a tuple for a list, "
        "say), or give key= a function of the arguments"
    )


def _culprit(signature: inspect.Signature, args: Arguments, function: str) -> str:
    for name, value in zip(signature.parameters, args, strict=False):
        try:
            hash(value)
        except TypeError:
            return f"argument {name!r} of {function} is {_shown(value)}"
    return f"an argument of {function}"


def _shown(value: object) -> str:
    return f"a {type(value).__name__}"


def _signature(fn: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(fn)
    except (TypeError, ValueError):  # some built-in functions have none
        return inspect.Signature(
            [
                inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
                inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
            ]
        )


def _name(fn: Any) -> str:
    return getattr(fn, "__qualname__", None) or type(fn).__qualname__
