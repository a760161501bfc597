"""What the steps of a class are called, and what their parameters mean: names alone, in the order of the class's body.

A parameter is the result of the step of that name. The one name that is no step's is the input. What is neither is
misspelled, and that is what is said of it.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ._declaration import Declared, Nested, Pause
from ._function import Function
from ._signature import fields_of
from ._step import Step
from ._wrong import meant, wrong

CERTAIN = "certain"
"""What an undo is told besides values."""


class Use(NamedTuple):
    """A function that is called for a step.

    Attributes:
        step: The step's name.
        function: What is called.
        undo: Whether it is the undo.
    """

    step: str
    function: Function
    undo: bool = False


def uses_of(declared: Mapping[str, Declared]) -> Iterator[Use]:
    """All functions of a class, step by step."""
    for name, one in declared.items():
        if isinstance(one, Step | Nested):
            yield Use(name, one.function)
        if isinstance(one, Step) and one.undone_by is not None:
            yield Use(name, one.undone_by.function, undo=True)


def declared_in(owner: type[Any]) -> dict[str, Declared]:
    """The steps of a class, which all stand in the body of one class.

    Raises:
        TypeError: They do not, or are no steps of an object.
    """
    bodies = {each: _declared(each) for each in owner.__mro__}
    homes = [each for each, found in bodies.items() if found]
    if len(homes) > 1:
        home, other = homes[0].__name__, homes[1].__name__
        raise wrong(
            owner.__name__,
            f"has steps from two classes, {other} and {home}, and their order would be anybody's guess; write them in "
            f"one class, or make {other} a step with @nested",
        )
    if not homes:
        return {}
    declared = bodies[homes[0]]
    _check_replaced(owner, homes[0], declared)
    _check_spelled(owner, homes[0], declared)
    return declared


def check_parameters(declared: Mapping[str, Declared]) -> None:
    """See that every parameter is the input, or a result that exists by then.

    Raises:
        TypeError: One of them is neither.
    """
    found: dict[str, list[Use]] = {}
    for use in uses_of(declared):
        for parameter in use.function.parameters:
            if parameter in declared:
                _check_source(parameter, use, declared)
            elif parameter != CERTAIN or not use.undo:
                found.setdefault(parameter, []).append(use)
    _check_inputs(found, declared)


def _declared(owner: type[Any]) -> dict[str, Declared]:
    found: dict[str, Declared] = {}
    for name, value in vars(owner).items():
        inner: object = getattr(value, "__func__", None)  # of a static or class method
        if isinstance(value, Declared):
            found[name] = value
        elif isinstance(inner, Declared):
            kind = type(value).__name__
            what = f"is a @{kind}; a saga calls methods of its object, so leave out @{kind}"
            raise wrong(f"{owner.__name__}.{name}", what)
    return found


def _check_replaced(owner: type[Any], home: type[Any], declared: Mapping[str, Declared]) -> None:
    """No class below the one with the steps may put something else in the place of one."""
    ours = {use.function.written.__name__ for use in uses_of(declared)} | declared.keys()
    for each in owner.__mro__[: owner.__mro__.index(home)]:
        for name in sorted(ours & vars(each).keys()):
            raise wrong(
                f"{each.__name__}.{name}",
                f"stands in the place of {home.__name__}.{name}, which belongs to a step; write the steps in one "
                "class, and hand in what differs as a field of the object",
            )


def _check_spelled(owner: type[Any], home: type[Any], declared: Mapping[str, Declared]) -> None:
    seen: dict[int, str] = {}
    fields = fields_of(home)
    for name, one in declared.items():
        where = f"{owner.__name__}.{name}"
        if (other := seen.setdefault(id(one), name)) != name:
            raise wrong(where, f"is the same step as {other!r}; write a method for each")
        if not name.isidentifier():
            raise wrong(where, "is no name that a parameter can have; use letters, digits and underscores")
        if name in fields:
            raise wrong(where, f"is annotated, so a dataclass takes it for a field; write '{name} = ...'")
        if name == CERTAIN:
            raise wrong(where, f"an undo is told {CERTAIN!r} about its step; give this one another name")
    for step, function, _ in uses_of(declared):
        name = function.written.__name__
        if name != step and name in declared:
            raise function.wrong(f"the undo of {step!r} has the name of a step, and takes its place; rename it")


def _check_source(parameter: str, use: Use, declared: Mapping[str, Declared]) -> None:
    """A result can be taken only if there is one by then."""
    step, function, undo = use
    order = list(declared)
    if isinstance(declared[parameter], Pause):
        raise function.wrong(f"{parameter!r} is a pause, and has no result; leave the parameter out")
    if parameter == step and not undo:
        raise function.wrong("takes its own result, which does not exist yet; leave the parameter out")
    if order.index(parameter) > order.index(step):
        what = "leave the parameter out" if undo else "write the steps in the order in which they run"
        raise function.wrong(f"{parameter!r} is written below {step!r}, and has no result by then; {what}")


def _check_inputs(found: Mapping[str, list[Use]], declared: Mapping[str, Declared]) -> None:
    for use in found.get(CERTAIN, ()):
        raise use.function.wrong(f"only an undo is told {CERTAIN!r}; leave the parameter out")
    usual = max(found, key=lambda name: len(found[name]), default="")
    for name in (name for name in found if name != usual):
        other = found[usual][0].function.label
        unlike = f", and {other} calls the saga's input {usual!r}; use one name for it"
        raise found[name][0].function.wrong(f"{name!r} is no step{meant(name, declared) or unlike}")
