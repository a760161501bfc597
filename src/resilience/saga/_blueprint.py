"""The class of a saga, compiled: all that is needed to run one, made once.

Whoever drives a saga asks for the `Blueprint` of its class, and binds it to the saga's object and its values:

```python
blueprint = blueprint_of(type(saga))                # from `_compile`, where it is made and checked
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
from typing import Any

from .._core.saga.entries import Outcome
from .._core.saga.plan import Plan
from .._matching import Matcher
from ..errors import Rejected
from ._declaration import Definition
from ._function import Function
from ._names import CERTAIN
from ._outline import Class
from ._step import NoEffect
from ._values import Codec

INPUT = ""
"""Where the saga's input is found among the values: no step has this name."""

ValueOf = Callable[[str], bytes | None]
"""The value that a journal holds for a step, or for `INPUT`; `None`: there is none."""


NO_EFFECT = Matcher("no_effect", (NoEffect, Rejected))
"""The errors that always say that a step had no effect."""


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
            parameter: source if source == CERTAIN else inside(name, source)
            for parameter, source in self.sources.items()
        }
        return Work(self.function, inside(name, self.scope), sources, self.no_effect)


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
        return "no" if NO_EFFECT(error) or self.steps[step].no_effect(error) else "unknown"

    def bind(self, saga: Definition[Any, Any], value_of: ValueOf) -> "Bound":
        """One run: a saga's object, and the values that its journal holds."""
        return Bound(self, saga, value_of)

    @cached_property
    def coroutine_functions(self) -> tuple[str, ...]:
        """The functions that need an event loop: with any of them, a saga cannot be run by plain code."""
        works = [*self.steps.values(), *self.undos.values()]
        return tuple(work.function.label for work in works if work.function.is_async)


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
            Exception: A nested saga's object had to be made again, and the method that makes it raised this.
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


def inside(name: str, inner: str) -> str:
    """The name in the plan of what a nested saga calls `inner`; its input is what the step itself has made."""
    return f"{name}.{inner}" if inner else name
