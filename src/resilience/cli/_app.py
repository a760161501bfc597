"""The application's saga classes and objects, found by `--app module:name`."""

import importlib
from collections.abc import Iterable, Iterator
from typing import Any, TypeGuard, cast

from ..saga import Saga
from ..saga._blueprint import Blueprint
from ..saga._compile import blueprint_of

HOW = (
    "give --app module, or module:name of a saga class, of an object of one with its clients, of a list of them, or of "
    "a function without parameters that returns them"
)


class UsageError(Exception):
    """The command makes no sense; the text says why and what does."""


class App:
    """What `--app` names.

    Args:
        name: "shop.sagas:all_sagas"; `None`: nothing.

    Attributes:
        name: As given.
        classes: The classes, by the names that journals know.
    """

    def __init__(self, name: str | None) -> None:
        self.name = name
        self.classes: dict[str, type[Saga[Any, Any]]] = {}
        self._objects: dict[str, Saga[Any, Any]] = {}
        if name is not None:
            self._take(_found(name), name)
            if not self.classes:
                raise UsageError(f"--app {name}: there is no saga in it; {HOW}")

    def blueprint(self, saga: str) -> Blueprint | None:
        """A class, compiled; `None`: it is not there.

        Raises:
            TypeError: The class is wrong.
        """
        owner = self.classes.get(saga)
        return None if owner is None else blueprint_of(owner)

    def object(self, saga: str) -> Saga[Any, Any] | None:
        """An object to run sagas of a class with; `None`: the class is not there.

        Raises:
            UsageError: The class is, but no object.
        """
        owner = self.classes.get(saga)
        if owner is None or saga in self._objects:
            return self._objects.get(saga)
        try:
            return owner()
        except TypeError as error:
            raise UsageError(
                f"--app {self.name}: {owner.__name__} cannot be made without its clients ({error}); {HOW}"
            ) from error

    def _take(self, found: Any, where: str) -> None:
        if _is_object(found):
            self._objects[_name(type(found), where)] = found
            self._take(type(found), where)
        elif _is_class(found):
            name = _name(found, where)
            if self.classes.setdefault(name, found) is not found:
                raise UsageError(f"--app {where}: two sagas are called {name!r}; name the one that is meant")
        elif isinstance(found, list | tuple | set | frozenset | Iterator):
            for one in cast("Iterable[Any]", found):
                self._take(one, where)
        elif callable(found) and not isinstance(found, type):
            self._take(_called(found, where), where)
        else:
            raise UsageError(f"--app {where} is {found!r}, and no saga; {HOW}")


def _name(owner: type[Saga[Any, Any]], where: str) -> str:
    try:
        return blueprint_of(owner).plan.saga
    except TypeError as error:
        raise UsageError(f"--app {where}: {error}") from error


def _found(name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the application's own code raises
        raise UsageError(f"--app {name}: importing {module_name!r} raised {type(error).__name__}: {error}") from error
    if not attribute:
        return [one for one in vars(module).values() if _is_saga(one, module_name)]
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError(f"--app {name}: {module_name!r} has no {attribute!r}; {HOW}")
        found = getattr(found, part)
    return found


def _is_saga(one: Any, module: str) -> bool:
    """Whether a module's global is a saga of its own."""
    return _is_object(one) or (_is_class(one) and one.__module__ == module)


def _is_object(one: Any) -> TypeGuard[Saga[Any, Any]]:
    return isinstance(one, Saga)


def _is_class(one: Any) -> TypeGuard[type[Saga[Any, Any]]]:
    return isinstance(one, type) and issubclass(one, Saga)


def _called(function: Any, where: str) -> Any:
    try:
        return function()
    except Exception as error:  # see above
        raise UsageError(f"--app {where}: calling it raised {type(error).__name__}: {error}") from error
