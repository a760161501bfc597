"""The class of a saga, compiled: all that is needed to run one, made once.

Whoever drives a saga asks the class for its `Blueprint`, and binds it to the saga's object and its values:

```python
blueprint = blueprint_of(type(saga))
blueprint.plan                                      # what orchestrate() takes
blueprint.input.encode(value)                       # the input, as the journal keeps it
bound = blueprint.bind(saga, value_of)              # value_of(""): the input; value_of("charge"): that step's result

function = blueprint.function(do.step, undo=do.undo)          # .is_async, .within
call = bound.prepare(do.step, undo=do.undo, certain=do.certain)     # UndecodableError: do not start it
with running(call_of(id, do.step, undo=do.undo)):
    result = await call() if function.is_async else call()
body = bound.keep(do.step, result)                  # the result, as the journal keeps it
outcome = blueprint.outcome_of(do.step, error)      # or what it means that it raised

bound.output()                                      # what the saga returns, from what the journal holds
message.codec.encode(value)                         # what is sent to a step that waits for a message
```

Values go through the journal's bytes also where there has been no crash: a step is never handed an object that another
step may change, and what works once works after a crash.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin

from .._core.saga.entries import Outcome
from .._core.saga.plan import Plan
from .._matching import Matcher
from ..errors import Rejected
from ._declaration import Declared, Definition, Message, Nested
from ._function import Function
from ._names import CERTAIN, Use, uses_of
from ._outline import Class, outline_of
from ._signature import hints_of
from ._step import NoEffect, Step
from ._types import arguments, fits, shown
from ._values import Codec, codec_for
from ._wrong import meant, wrong

INPUT = ""
"""Where the saga's input is found among the values: no step has this name."""

ValueOf = Callable[[str], bytes | None]
"""The value that a journal holds for a step, or for `INPUT`; `None`: there is none."""


class UndecodableError(ValueError):
    """A value in the journal cannot be read as the type that the class says today."""


@dataclass(frozen=True, slots=True)
class Work:
    """A function in its place in the plan.

    Attributes:
        function: What is called.
        scope: The nested saga whose object it is called on: "deliver"; "": the saga itself.
        sources: For each parameter, whose value it is given.
        no_effect: Which errors say that it had no effect.
    """

    function: Function
    scope: str
    sources: Mapping[str, str]
    no_effect: Matcher

    def inside(self, name: str) -> "Work":
        """The same where its saga is a step of another."""
        sources = {
            parameter: source if source == CERTAIN else _inside(name, source)
            for parameter, source in self.sources.items()
        }
        return Work(self.function, _inside(name, self.scope), sources, self.no_effect)


@dataclass(frozen=True)
class Blueprint:
    """A saga's class, compiled.

    Attributes:
        plan: Its steps.
        input: How its input is written.
        output: The step in the plan whose result it returns.
        codecs: How the result of each step is written; for a nested saga, its input.
        steps: What is called to do a step; none for messages and pauses.
        undos: What is called to undo it.
        children: The classes of nested sagas, by the names of the steps that they are.
    """

    plan: Plan
    input: Codec
    output: str
    codecs: Mapping[str, Codec]
    steps: Mapping[str, Work]
    undos: Mapping[str, Work]
    children: Mapping[str, Class]

    def function(self, step: str, *, undo: bool = False) -> Function:
        """What is called for a step, or to undo it."""
        return (self.undos if undo else self.steps)[step].function

    def outcome_of(self, step: str, error: BaseException) -> Outcome:
        """What it means that a step raised this: "no", if it certainly had no effect, else "unknown"."""
        return "no" if _NO_EFFECT(error) or self.steps[step].no_effect(error) else "unknown"

    def bind(self, saga: Definition[Any, Any], value_of: ValueOf) -> "Bound":
        """One run: a saga's object, and the values that its journal holds."""
        return Bound(self, saga, value_of)

    @cached_property
    def coroutine_functions(self) -> tuple[str, ...]:
        """The functions that need an event loop: with any of them, a saga cannot be run by plain code."""
        works = [*self.steps.values(), *self.undos.values()]
        return tuple(work.function.label for work in works if work.function.is_async)


_NO_EFFECT = Matcher("no_effect", (NoEffect, Rejected))


class Bound:
    """The functions of one run, with the objects that they are called on, and the values that they are given."""

    def __init__(self, blueprint: Blueprint, saga: Definition[Any, Any], value_of: ValueOf) -> None:
        self._blueprint = blueprint
        self._value_of = value_of
        self._objects = {"": saga}

    def prepare(self, step: str, *, undo: bool = False, certain: bool = True) -> Callable[[], Any]:
        """A call that is ready to be made; it returns the result, or an awaitable for a coroutine function.

        Args:
            step: For which step.
            undo: Whether to undo it.
            certain: What an undo is told: whether the step certainly had its effect.

        Raises:
            UndecodableError: A value that it is given cannot be read.
        """
        work = (self._blueprint.undos if undo else self._blueprint.steps)[step]
        values = {
            parameter: certain if source == CERTAIN else self._read(source)
            for parameter, source in work.sources.items()
        }
        return partial(work.function.call, self._object(work.scope), **values)

    def keep(self, step: str, result: Any) -> bytes:
        """A step's result, as the journal keeps it.

        Raises:
            TypeError: It is not what the step says it returns. Also `ValueError`.
        """
        if step in self._blueprint.children:
            child, result = result
            self._objects[step] = child
        return self._blueprint.codecs[step].encode(result)

    def output(self) -> Any:
        """What the saga returns.

        Raises:
            UndecodableError: It cannot be read.
        """
        return self._read(self._blueprint.output)

    def _object(self, scope: str) -> Any:
        """The object of a nested saga: after a crash it is made anew."""
        if scope not in self._objects:
            self._objects[scope], _ = self.prepare(scope)()
        return self._objects[scope]

    def _read(self, source: str) -> Any:
        body = self._value_of(source)
        codec = self._blueprint.codecs[source] if source else self._blueprint.input
        try:
            return None if body is None else codec.decode(body)
        except Exception as error:
            what = f"result of {source!r}" if source else "input"
            raise UndecodableError(f"the {what} in the journal cannot be read as its type today: {error}") from error


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
        self._hints = {use.function.label: hints_of(use.function.written, owner) for use in self._uses}
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
            steps |= {_inside(name, other): work.inside(name) for other, work in inner.steps.items()}
            undos |= {_inside(name, other): work.inside(name) for other, work in inner.undos.items()}
            codecs |= {_inside(name, other): codec for other, codec in inner.codecs.items()}
            children |= {_inside(name, other): grandchild for other, grandchild in inner.children.items()}
        return Blueprint(outline.plan, self._codec("", self._input), outline.output, codecs, steps, undos, children)

    def _result_of(self, one: Declared) -> Any:
        """What later steps are given."""
        if isinstance(one, Step):
            return self._hints[one.function.label]["return"]
        if isinstance(one, Nested):
            return arguments(self._outline.children[one.name])[1]
        return one.type if isinstance(one, Message) else NoneType

    def _kept(self, name: str) -> Any:
        """What a journal keeps: of a nested saga its input, for the rest is kept by its steps."""
        child = self._outline.children.get(name)
        return self._results[name] if child is None else arguments(child)[0]

    def _codec(self, name: str, kind: Any) -> Codec:
        try:
            return codec_for(kind)
        except (TypeError, ValueError) as error:
            where = f"{self._owner.__name__}.{name}" if name else self._owner.__name__
            raise wrong(
                where, f"{'its result' if name else 'its input'} cannot be kept in a journal: {error}"
            ) from error

    def _work(self, use: Use) -> Work:
        one = self._outline.declared[use.step]
        sources = {parameter: self._source(parameter, use) for parameter in use.function.parameters}
        return Work(use.function, "", sources, one.no_effect if isinstance(one, Step) else _NO_EFFECT)

    def _source(self, parameter: str, use: Use) -> str:
        if parameter == CERTAIN and use.undo:
            return CERTAIN
        return self._outline.gives.get(parameter, INPUT)

    # Checks

    def _check(self, use: Use) -> None:
        hints = self._hints[use.function.label]
        for parameter in use.function.parameters:
            self._check_parameter(use, parameter, hints[parameter])
        if use.undo and not fits(hints.get("return", NoneType), NoneType):
            raise wrong(
                use.function.label,
                f"an undo returns nothing, and this one says '-> {shown(hints['return'])}', which would be lost; raise "
                "an exception if it did not succeed, and write '-> None'",
                use.function.written,
            )
        if use.step in self._outline.children:
            self._check_nested(use, hints["return"])

    def _check_parameter(self, use: Use, parameter: str, hint: Any) -> None:
        where, function = use.function.label, use.function.written
        if parameter == CERTAIN and use.undo:
            if not fits(bool, hint):
                raise wrong(where, f"'certain' is True or False, not {shown(hint)}; write 'certain: bool'", function)
        elif parameter not in self._results:
            if not fits(self._input, hint):
                raise wrong(where, self._no_input(parameter, hint), function)
        elif not fits(self._results[parameter], hint):
            given = shown(self._results[parameter])
            raise wrong(
                where,
                f"{parameter!r} gives {given}, and is taken as {shown(hint)}; write '{parameter}: {given}'",
                function,
            )
        elif parameter == use.step and not fits(NoneType, hint):
            raise wrong(
                where,
                f"the result of {parameter!r} may be unknown (a lost reply, a timeout), and is None then; write "
                f"'{parameter}: {shown(hint)} | None'",
                function,
            )

    def _no_input(self, parameter: str, hint: Any) -> str:
        """What to say of a parameter that is no step's, and does not have the input's type."""
        if near := meant(parameter, self._results):
            return f"{parameter!r} is no step{near}"
        return (
            f"{parameter!r} is no step, so it is the saga's input; that is {shown(self._input)}, and is taken as "
            f"{shown(hint)}"
        )

    def _check_nested(self, use: Use, returned: Any) -> None:
        child, given = get_args(returned)
        wanted, _ = arguments(get_origin(child) or child)
        if not fits(given, wanted):
            raise wrong(
                use.function.label,
                f"the input of {shown(child)} is {shown(wanted)}, and it is given {shown(given)}",
                use.function.written,
            )

    def _check_output(self) -> None:
        last = next(reversed(self._results))
        if not fits(self._results[last], self._output):
            raise wrong(
                self._owner.__name__,
                f"returns {shown(self._output)}, and {last!r} gives {shown(self._results[last])}; the step written last "
                "gives what the saga returns",
            )


def _inside(name: str, inner: str) -> str:
    """The name of a nested saga's step, or value, in the plan."""
    return f"{name}.{inner}" if inner else name
