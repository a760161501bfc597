"""What a function of a saga takes and returns, read from how it is written.

The names are known at once. The types may not be: an annotation may name a class that is written further down, so they
are resolved later, and `UnresolvedError` says that it was too early.
"""

import inspect
import sys
import typing
from collections.abc import Mapping
from typing import Any

from ._wrong import Written, label, wrong

if sys.version_info >= (3, 14):
    from functools import partial

    from annotationlib import Format, get_annotations

    _signature = partial(inspect.signature, annotation_format=Format.FORWARDREF)
    _annotations = partial(get_annotations, format=Format.FORWARDREF)
else:
    _signature = inspect.signature
    _annotations = inspect.get_annotations

_BY_PLACE = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}


class UnresolvedError(TypeError):
    """An annotation names what does not exist (yet)."""


def parameters_of(function: Written) -> tuple[str, ...]:
    """The names of a method's parameters, without `self`.

    Raises:
        TypeError: They cannot be filled by name, or lack annotations.
    """
    where = label(function)
    all_parameters = list(_signature(function).parameters.values())
    if not all_parameters or all_parameters[0].kind not in _BY_PLACE:
        name = where.rpartition(".")[2]
        raise wrong(where, f"is a method, so its first parameter is self; write 'def {name}(self, ...)'", function)
    taken = all_parameters[1:]
    for parameter in taken:
        _check_parameter(where, parameter, function)
    return tuple(parameter.name for parameter in taken)


def _check_parameter(where: str, parameter: inspect.Parameter, function: Written) -> None:
    name = parameter.name
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise wrong(where, f"takes {name!r} by place, but values come by name; leave out the '/'", function)
    if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
        stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
        raise wrong(
            where,
            f"takes '{stars}{name}', but values come by name: the saga's input, and results of steps above; write one "
            "parameter for each",
            function,
        )
    if parameter.default is not parameter.empty:
        raise wrong(
            where,
            f"the default of {name!r} would never be used, for every parameter is given its value; leave it out, and "
            "keep settings in fields of the class",
            function,
        )
    if parameter.annotation is parameter.empty:
        raise wrong(where, f"{name!r} has no annotation; write '{name}: <type>', {_WHY}", function)


def check_returns(function: Written) -> None:
    """A step says what it returns.

    Raises:
        TypeError: It does not.
    """
    if _signature(function).return_annotation is inspect.Signature.empty:
        raise wrong(label(function), f"has no return annotation; write '-> <type>' (or '-> None'), {_WHY}", function)


_WHY = "for what comes out of a journal is made from its type"


def fields_of(owner: type[Any]) -> set[str]:
    """The names that a class's own body annotates, if a dataclass would take them for fields."""
    return {name for name, kind in _annotations(owner).items() if "ClassVar" not in str(kind)}


def hints_of(function: Written, owner: type[Any]) -> dict[str, Any]:
    """The types of a function's parameters, and of its result under "return".

    Raises:
        UnresolvedError: One of them cannot be resolved (yet).
    """
    return _resolved(function, label(function), {owner.__name__: owner}, None)


def resolve(annotation: Any, owner: type[Any]) -> Any:
    """What an annotation in a class's list of bases means.

    Raises:
        UnresolvedError: It cannot be resolved (yet).
    """

    def holder() -> None: ...

    holder.__annotations__ = {"it": annotation}
    module = vars(sys.modules[owner.__module__]) if owner.__module__ in sys.modules else {}
    return _resolved(holder, owner.__name__, {owner.__name__: owner}, module)["it"]


def _resolved(holder: Any, where: str, local: Mapping[str, Any], module: dict[str, Any] | None) -> dict[str, Any]:
    try:
        return typing.get_type_hints(holder, module, dict(local), include_extras=True)
    except (NameError, AttributeError) as error:
        raise UnresolvedError(
            f"{where}: its annotations cannot be resolved: {error}. A saga's types are needed at run time: define or "
            "import them in the module, outside of functions and of 'if TYPE_CHECKING:'"
        ) from error
