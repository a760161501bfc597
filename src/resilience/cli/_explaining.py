"""`explain` and `lint`: what the pipelines of a module promise, and what is doubtful in them.

A module's compositions are its pipelines, and its functions that policies decorate: also methods, and functions that
other decorators wrap, as long as they leave a `__wrapped__`. Decorators stacked on one function are one composition.
"""

import importlib
import inspect
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from types import FunctionType, ModuleType
from typing import Any, cast

from .._compose import site_of
from .._fallback import fallback
from .._functions import is_coroutine_function
from .._layer import Layer, SupportsBind
from .._lint import Doubt, doubts, most_calls, promises
from .._pipeline import Pipeline
from .._traits import Role, Traits
from ..errors import Rejected, ResilienceError, ResilienceWarning, TimedOut
from ._app import UsageError
from ._output import Output
from ._words import counted

HOW = "give module, or module:name of a pipeline, a policy, or a function that one decorates"

_DOES = {Role.RETRY: "repeats", Role.FALLBACK: "answers for"}
"""What a layer does about the errors of its `on=`; the others count them."""

_JUDGES = (Role.CIRCUIT_BREAKER, Role.THROTTLE)
"""To these a refusal of our own is no evidence, unless it is named."""


@dataclass(frozen=True)
class Composition:
    """Policies around one function, or around whatever a pipeline will guard.

    Attributes:
        where: "shop.clients:payments".
        name: The name of its span; `None` if nobody gave it one.
        layers: Its policies, outermost first.
        coroutine: Whether it guards a coroutine function; `None`: what a pipeline will guard is not known here.
    """

    where: str
    name: str | None
    layers: tuple[SupportsBind, ...]
    coroutine: bool | None = None

    @property
    def traits(self) -> list[Traits]:
        """What its layers tell of themselves."""
        return [
            layer.traits() if isinstance(layer, Layer) else Traits(Role.CUSTOM, repr(layer)) for layer in self.layers
        ]

    def is_part_of(self, other: "Composition") -> bool:
        """Whether it is a pipeline that stands in a larger composition, in one piece."""
        if self.coroutine is not None:
            return False
        size = len(self.layers)
        starts = range(len(other.layers) - size + 1) if 0 < size < len(other.layers) else ()
        return any(
            all(mine is its for mine, its in zip(self.layers, other.layers[at : at + size], strict=True))
            for at in starts
        )


def explain(target: str, output: Output) -> int:
    """Tell what compositions promise.

    Args:
        target: "module" or "module:name".
        output: Where to tell it.

    Returns:
        The exit code.
    """
    found = _compositions(target)
    if output.as_json:
        output.document([_document(one) for one in found])
        return 0
    for number, one in enumerate(found):
        if number:
            output.line()
        for line in _told(one):
            output.line(line)
    return 0


def lint(targets: Sequence[str], ignored: Sequence[str], output: Output) -> int:
    """Tell what is doubtful.

    Args:
        targets: Each "module" or "module:name".
        ignored: Codes of doubts that are none here.
        output: Where to tell it.

    Returns:
        The exit code: 1 if something is.
    """
    found = list({one.where: one for target in targets for one in _compositions(target)}.values())
    told: dict[Doubt, list[str]] = {}
    for one in found:
        if any(one.is_part_of(other) for other in found):
            continue  # it is judged there, with what is around it
        for doubt in doubts(one.traits, layers=one.layers, coroutine=one.coroutine is True):
            if doubt.code not in ignored:
                told.setdefault(doubt, []).append(one.where)
    if output.as_json:
        doubtful = [{"code": doubt.code, "text": doubt.text, "where": where} for doubt, where in told.items()]
        output.document({"looked_at": [one.where for one in found], "doubts": doubtful})
    else:
        for doubt, where in told.items():
            output.line(f"{', '.join(where)}: {doubt.code}: {doubt.text}")
        output.line(f"{counted(len(told), 'doubt')} in {counted(len(found), 'composition')}")
    return 1 if told else 0


# Finding them


def _compositions(target: str) -> list[Composition]:
    module_name, colon, path = target.partition(":")
    if not module_name or (colon and not path):
        raise UsageError(f"{target!r} names no module; {HOW}")
    module = _imported(target, module_name)
    found = [_one(target, module, path)] if path else list(_all_of(module))
    if not found:
        raise UsageError(f"{target}: there is no pipeline in it, nor a function that a policy decorates; {HOW}")
    return found


def _imported(target: str, name: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResilienceWarning)  # what it would say of an order is told here
        try:
            return importlib.import_module(name)
        except (Exception, SystemExit) as error:  # whatever the application's own code raises; an exit is no answer
            raise UsageError(f"{target}: importing {name!r} raised {type(error).__name__}: {error}") from error


def _one(target: str, module: ModuleType, path: str) -> Composition:
    found: Any = module
    for part in path.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{target}: {module.__name__!r} has no {path!r}; {HOW}")
        found = getattr(found, part)
    composition = _composition(target, found) or _alone(target, found)
    if composition is None:
        raise UsageError(f"{target} is {found!r}, which no policy guards; {HOW}")
    return composition


def _alone(where: str, one: Any) -> Composition | None:
    """A policy that is no pipeline; `None` if it is no policy."""
    return Composition(where, getattr(one, "name", None), Pipeline(one).layers()) if _is_policy(one) else None


def _is_policy(one: object) -> bool:
    return isinstance(one, SupportsBind | fallback) and not isinstance(one, type)


def _all_of(module: ModuleType) -> Iterator[Composition]:
    """A module's own, each once, in the order in which they are written."""
    seen: set[int] = set()
    for name, one in _names(module):
        composition = None if id(one) in seen else _composition(f"{module.__name__}:{name}", one)
        seen.add(id(one))
        if composition is not None:
            yield composition


def _names(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Its globals, and what is in its classes. Functions and classes of other modules are found in theirs."""
    for name, one in vars(module).items():
        if issubclass(type(one), Pipeline):
            yield name, one
        elif _home(one) == module.__name__:
            yield name, one
            if isinstance(one, type):
                yield from ((f"{name}.{member}", value) for member, value in vars(one).items())


def _home(one: Any) -> object:
    """The module of a function or class. Nothing else is asked, for a lazy object would come to life and answer."""
    known = issubclass(type(one), FunctionType | type)
    return one.__module__ if known else inspect.getattr_static(one, "__module__", None)


def _composition(where: str, one: Any) -> Composition | None:
    """What a pipeline or a decorated function is composed of; `None` if it is neither."""
    if issubclass(type(one), Pipeline):
        return Composition(where, one.name, one.layers())
    chain = list(_chain(one))
    sites = [site for each in chain if isinstance(each, FunctionType) and (site := site_of(each)) is not None]
    if not sites:
        return None
    layers = tuple(layer for site in sites for layer in cast("tuple[SupportsBind, ...]", site.layers))
    return Composition(where, sites[0].name, layers, is_coroutine_function(chain[-1]))


def _chain(function: Any) -> Iterator[Any]:
    """A function, and what it wraps, down to the one that somebody wrote."""
    seen: set[int] = set()
    while function is not None and id(function) not in seen:
        seen.add(id(function))
        yield function
        if issubclass(type(function), staticmethod | classmethod):
            function = function.__func__
        else:
            function = inspect.getattr_static(function, "__wrapped__", None)


# What each layer sees


@dataclass(frozen=True)
class _View:
    """What reaches one layer, or the function itself.

    Attributes:
        calls: How often it is called at most, for one call from outside; `None` if that is unknown.
        seconds: How much time a call of it has at most; `inf` if nothing bounds it.
        cut: Whether it is cut off then, and not only told.
        unknown: Whether the layers inside may raise what nobody knows.
        handled: Errors of the layers inside that its `on=` names.
        asked: Those that a predicate decides about.
        passed: Those that it lets through.
    """

    calls: float | None
    seconds: float
    cut: bool
    unknown: bool
    handled: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()


def _views(traits: Sequence[Traits]) -> Iterator[_View]:
    for depth in range(len(traits) + 1):
        around, inside = traits[:depth], traits[depth + 1 :]
        kinds = dict.fromkeys(kind for layer in inside for kind in layer.raises)
        verdicts = {kind.__name__: _covers(traits[depth], kind) for kind in kinds}
        limits = sorted((layer.seconds, not layer.cuts) for layer in around) or [(inf, True)]
        seconds, only_told = limits[0]
        yield _View(
            None if any(layer.opaque for layer in around) else most_calls(around),
            seconds,
            not only_told,
            any(layer.opaque for layer in inside),
            *(tuple(name for name, said in verdicts.items() if said is wanted) for wanted in (True, None, False)),
        )


def _covers(layer: Traits, kind: type[ResilienceError]) -> bool | None:
    on = layer.handles
    if on is None:
        return False
    if layer.role in _JUDGES and issubclass(kind, Rejected):
        return issubclass(kind, tuple(named for named in on.types if named is not Exception))
    return on.covers(kind)


# For people


def _told(one: Composition) -> Iterator[str]:
    *views, innermost = _views(one.traits)
    yield f"{one.where}{f' ({one.name})' if one.name else ''}, outermost first"
    for number, (layer, view) in enumerate(zip(one.traits, views, strict=True), 1):
        yield f"  {number}. {layer.summary}"
        yield f"       called {_often(view)}"
        if layer.handles is not None:
            yield from _hears(layer, view)
    yield "  the function itself"
    yield f"       called {_often(innermost)}"
    for what, promise in promises(one.traits).items():
        yield f"{what + ':':<15} {promise}"


def _often(view: _View) -> str:
    """How often it is called, and how long each time."""
    often = _times(view.calls)
    if view.seconds == inf:
        return often
    limit = f"within {view.seconds:g} s" if view.cut else f"told to end within {view.seconds:g} s"
    return f"{often}, {'' if view.calls == 1 else 'each '}{limit}"


def _times(calls: float | None) -> str:
    if calls is None:
        return "an unknown number of times (it depends on the key's policy)"
    return "any number of times" if calls == inf else "once" if calls == 1 else f"up to {calls:g} times"


def _hears(layer: Traits, view: _View) -> Iterator[str]:
    does = _DOES.get(layer.role, "counts")
    for what, names in ((does, view.handled), ("asks about", view.asked), ("lets pass", view.passed)):
        if names:
            yield f"       {what} {', '.join(names)}"
    if view.unknown:
        yield "       what the key's policy raises is unknown"


# For programs


def _document(one: Composition) -> dict[str, Any]:
    *views, innermost = _views(one.traits)
    said = promises(one.traits)
    kinds = dict.fromkeys(kind for layer in one.traits for kind in layer.raises)
    return {
        "where": one.where,
        "name": one.name,
        "coroutine": one.coroutine,
        "layers": [
            {"role": layer.role.name.lower(), "summary": layer.summary, "opaque": layer.opaque, **_figures(view)}
            for layer, view in zip(one.traits, views, strict=True)
        ],
        "function": _reached(innermost),
        "worst_case": said["worst case"],
        "raises": [{"error": kind.__name__, "started": kind is TimedOut} for kind in kinds],
    }


def _figures(view: _View) -> dict[str, Any]:
    return {
        **_reached(view),
        "handles": view.handled,
        "asks_about": view.asked,
        "passes": view.passed,
    }


def _reached(view: _View) -> dict[str, Any]:
    return {"calls": _finite(view.calls), "seconds": _finite(view.seconds), "cut": view.cut}


def _finite(figure: float | None) -> float | None:
    """JSON has no infinity."""
    return None if figure == inf else figure
