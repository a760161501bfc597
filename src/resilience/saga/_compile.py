"""Making the blueprint of a class: what its functions take and return, checked against one another.

The structure is read first (`_outline`), so that it is checked even where a type is not known yet.
"""

from types import NoneType
from typing import Any, TypeVar, cast, get_args, get_origin

from ._blueprint import INPUT, NO_EFFECT, Blueprint, Work, inside
from ._declaration import Declared, Message, Nested
from ._names import CERTAIN, Use, uses_of
from ._outline import Class, outline_of
from ._signature import UnresolvedError, hints_of
from ._step import Step
from ._types import arguments, fits
from ._values import Codec, codec_for
from ._wording import shown
from ._wrong import meant, wrong


def blueprint_of(owner: Class) -> Blueprint:
    """The blueprint of a class, made when it is first asked for.

    Raises:
        TypeError: The class is wrong.
        UnresolvedError: An annotation names what does not exist (yet).
    """
    blueprint: Blueprint | None = vars(owner).get("__saga_blueprint__")
    if blueprint is None:
        blueprint = _Types(owner).blueprint()
        owner.__saga_blueprint__ = blueprint
    return blueprint


class _Types:
    """What the steps of a class take and return, checked."""

    def __init__(self, owner: Class) -> None:
        self._owner = owner
        self._outline = outline_of(owner)
        self._uses = tuple(uses_of(self._outline.declared))
        self._input, self._output = arguments(owner)
        self._hints = {use.function.written: hints_of(use.function.written, owner) for use in self._uses}
        self._results = {name: self._result_of(one) for name, one in self._outline.declared.items()}

    def blueprint(self) -> Blueprint:
        """Put everything together."""
        if isinstance(self._input, TypeVar) or isinstance(self._output, TypeVar):
            name = self._owner.__name__
            raise wrong(name, f"does not say what it takes and returns; write 'class {name}(Saga[<input>, <output>])'")
        for use in self._uses:
            self._check(use)
        self._check_output()
        outline = self._outline
        steps = {use.step: self._work(use) for use in self._uses if not use.undo}
        undos = {use.step: self._work(use) for use in self._uses if use.undo}
        codecs = {name: self._codec(name, self._kept(name)) for name in outline.declared}
        children = dict(outline.children)
        for name, child in outline.children.items():
            inner = blueprint_of(child)
            steps |= {inside(name, other): work.inside(name) for other, work in inner.steps.items()}
            undos |= {inside(name, other): work.inside(name) for other, work in inner.undos.items()}
            codecs |= {inside(name, other): codec for other, codec in inner.codecs.items()}
            children |= {inside(name, other): grandchild for other, grandchild in inner.children.items()}
        return Blueprint(outline.plan, self._codec("", self._input), outline.output, codecs, steps, undos, children)

    def _result_of(self, one: Declared) -> Any:
        """What later steps are given."""
        match one:
            case Step(function=function):
                return self._hints[function.written]["return"]
            case Nested(name=name):
                return arguments(self._outline.children[name])[1]
            case Message():
                return cast("Any", one).type
            case _:
                return NoneType

    def _kept(self, name: str) -> Any:
        """What a journal keeps: of a nested saga its input, for the rest is kept by its steps."""
        child = self._outline.children.get(name)
        return self._results[name] if child is None else arguments(child)[0]

    def _codec(self, name: str, kind: Any) -> Codec:
        try:
            return codec_for(kind)
        except UnresolvedError:
            raise
        except TypeError as error:
            where = f"{self._owner.__name__}.{name}" if name else self._owner.__name__
            what = "its result" if name else "its input"
            raise wrong(where, f"{what} cannot be kept in a journal: {error}") from error

    def _work(self, use: Use) -> Work:
        one = self._outline.declared[use.step]
        sources = {parameter: self._source(parameter, use) for parameter in use.function.parameters}
        return Work(use.function, "", sources, one.no_effect if isinstance(one, Step) else NO_EFFECT)

    def _source(self, parameter: str, use: Use) -> str:
        if parameter == CERTAIN and use.undo:
            return CERTAIN
        return self._outline.gives.get(parameter, INPUT)

    # Checks

    def _check(self, use: Use) -> None:
        hints = self._hints[use.function.written]
        for parameter in use.function.parameters:
            if parameter == CERTAIN and use.undo:
                self._check_certain(use, hints[parameter])
            elif parameter in self._results:
                self._check_result(use, parameter, hints[parameter])
            else:
                self._check_input(use, parameter, hints[parameter])
        if use.undo and not fits(hints.get("return", NoneType), NoneType):
            raise use.function.wrong(
                f"an undo returns nothing, and this one says '-> {shown(hints['return'])}', which would be lost; raise "
                "an exception if it did not succeed, and write '-> None'"
            )
        if use.step in self._outline.children:
            self._check_nested(use, *get_args(hints["return"]))

    def _check_certain(self, use: Use, hint: Any) -> None:
        if not fits(bool, hint):
            raise use.function.wrong(f"{CERTAIN!r} is True or False, not {shown(hint)}; write '{CERTAIN}: bool'")

    def _check_input(self, use: Use, parameter: str, hint: Any) -> None:
        if fits(self._input, hint):
            return
        given = shown(self._input)
        unlike = f", so it is the saga's input, which is {given} and not {shown(hint)}; write '{parameter}: {given}'"
        raise use.function.wrong(f"{parameter!r} is no step{meant(parameter, self._results) or unlike}")

    def _check_result(self, use: Use, parameter: str, hint: Any) -> None:
        result = self._results[parameter]
        if not fits(result, hint):
            given = shown(result)
            raise use.function.wrong(
                f"{parameter!r} gives {given}, and is taken as {shown(hint)}; write '{parameter}: {given}'"
            )
        if parameter == use.step and not fits(NoneType, hint):
            raise use.function.wrong(
                f"the result of {parameter!r} may be unknown (a lost reply, a timeout), and is None then; write "
                f"'{parameter}: {shown(hint)} | None'"
            )

    def _check_nested(self, use: Use, child: Any, given: Any) -> None:
        wanted, _ = arguments(get_origin(child) or child)
        if not fits(given, wanted):
            raise use.function.wrong(f"the input of {shown(child)} is {shown(wanted)}, and it is given {shown(given)}")

    def _check_output(self) -> None:
        last = [*self._results][-1]
        if not fits(self._results[last], self._output):
            raise wrong(
                self._owner.__name__,
                f"returns {shown(self._output)}, and {last!r} gives {shown(self._results[last])}; the step written "
                "last gives what the saga returns",
            )
