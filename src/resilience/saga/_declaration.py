"""What stands in the body of a saga's class: steps, undos, messages, pauses, nested sagas.

A declaration is a descriptor. On the class it is itself, so that `after=reserve` and `PlaceOrder.approval.send(...)` can
be written; on an object a step is its function, bound as any method: what users test is what they wrote. The policies
of a step apply when a saga runs.

What a declaration alone tells to be wrong is refused on its own line. How the steps of a class fit together is not
known here (`_outline`), nor what types they have (`_blueprint`).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from inspect import isasyncgenfunction, isgeneratorfunction
from types import EllipsisType
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Generic, ParamSpec, Self, TypeVar, cast, overload

from .. import _checks
from .._core.saga.plan import Kind
from .._matching import Matcher, On
from .._policy import Policy, is_coroutine_function
from ..errors import Rejected
from ._call import current
from ._values import Codec, codec_for
from ._signature import check_returns, parameters_of
from ._wrong import Written, label, wrong

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Input = TypeVar("Input")
Output = TypeVar("Output")
U = TypeVar("U", bound=Callable[..., Awaitable[None] | None])

Seconds = _checks.Seconds


class NoEffect(Exception):  # noqa: N818 - named by what it says
    """Raise it in a step that certainly had no effect: there is nothing to undo.

    `raise NoEffect("card declined") from error` keeps the cause. `@step(no_effect=CardDeclined)` says the same of
    exceptions that are not yours. An error that is neither leaves it open whether the step had its effect.
    """


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a saga.

    Attributes:
        written: As it stands in the class.
        call: The same with its policies; called with the saga's object, and the rest by name.
        parameters: What it takes, by name.
        is_async: Whether it is a coroutine function.
        within: The seconds that one call may take; `None`: without limit.
    """

    written: Written
    call: Callable[..., Any]
    parameters: tuple[str, ...]
    is_async: bool
    within: float | None

    @property
    def label(self) -> str:
        """Its name, with that of its class."""
        return label(self.written)


@dataclass(frozen=True, slots=True)
class Undo(Function):
    """The function that takes a step back.

    Attributes:
        attempts: How often it is tried before it is parked.
    """

    attempts: int


class Declared:
    """A step in the widest sense: all that has a name and a place among the steps.

    Attributes:
        name: The name it has in its class.
        after: The steps it comes after; `None`: all that are written above it.
    """

    name: str = ""

    def __init__(self, after: "After | None") -> None:
        self.after: tuple[Declared | str, ...] | None = None if after is None else _several(after)

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


After = Declared | str | tuple[Declared | str, ...]
"""What `after=` takes: a step, the name of one, or a tuple of them; `()`: none, so that it starts at once."""


class Step(Declared, Generic[P, R]):
    """A step; made by `step`.

    Attributes:
        function: What it does.
        kind: What it is said to be; one that comes after the point of no return is retriable by its place.
        no_effect: Which errors say that it had no effect.
        undone_by: Its undo, if it has one.
        needs_no_undo: Whether that was said in so many words.
        rerun: Whether it runs again when a crash has left its outcome open.
        attempts: How often a pivot or retriable step is tried; `None`: as many times as usual.
        interrupt: Whether it is cancelled when the saga turns back meanwhile.
    """

    def __init__(self, function: Callable[Concatenate[Any, P], R], options: "_Options") -> None:
        super().__init__(options.after)
        self.function = _function(function, "step", options.policy, options.within)
        check_returns(function)
        self.kind = _kind(options.pivot, options.retriable, self.function)
        self.no_effect = Matcher("no_effect", options.no_effect, required=False)
        self.undone_by: Undo | None = None
        self.needs_no_undo = options.undo is None
        self.rerun = _checks.flag("rerun", options.rerun)
        self.attempts = None if options.attempts is None else _checks.whole("attempts", options.attempts)
        self.interrupt = _checks.flag("interrupt", options.interrupt)
        self._check()

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> Callable[P, R]: ...
    def __get__(self, instance: object | None, owner: type[Any] | None = None) -> Self | Callable[P, R]:
        return self if instance is None else cast("Callable[P, R]", self.function.written.__get__(instance, owner))

    @overload
    def undo(self, function: U, /) -> U: ...
    @overload
    def undo(
        self, *, attempts: int = 10, within: Seconds | None = None, policy: Policy | None = None
    ) -> Callable[[U], U]: ...
    def undo(
        self,
        function: U | None = None,
        /,
        *,
        attempts: int = 10,
        within: Seconds | None = None,
        policy: Policy | None = None,
    ) -> U | Callable[[U], U]:
        """Say how to take this step back: `@reserve.undo` above the method that does.

        It may take the input, this step's result, results of steps that come before it, and `certain: bool`: whether
        the step certainly had its effect. If that is not known (a lost reply, a timeout, a crash), its result is
        `None`. It must be right also if the step had none, and if it runs twice: `self.key` is the same each time.

        Args:
            attempts: How often it is tried before an operator is asked. Default 10.
            within: The longest that one attempt may take: seconds or a `timedelta`. Default: without limit.
            policy: Guards each attempt.

        Raises:
            TypeError: It is no such function, or the step has an undo, or can have none.
        """

        def declare(function: U) -> U:
            self._reverse(function, _checks.whole("attempts", attempts), within, policy)
            return function

        return declare if function is None else declare(function)

    def _reverse(self, function: Written, attempts: int, within: Seconds | None, policy: Policy | None) -> None:
        made = _function(function, f"{self.function.written.__name__}.undo", policy, within)
        step = self.function.written.__name__
        if self.undone_by is not None:
            raise wrong(
                made.label,
                f"step {step!r} has an undo already, {self.undone_by.written.__name__!r}; write one that does both",
                function,
            )
        if self.needs_no_undo:
            raise wrong(made.label, f"step {step!r} says undo=None, and has an undo; leave one of them out", function)
        if self.kind is not Kind.COMPENSATABLE:
            raise wrong(
                made.label,
                f"step {step!r} is {_SAID[self.kind]}, and what comes after that is never undone; leave out the undo, "
                f"or {_SAID[self.kind]}",
                function,
            )
        self.undone_by = Undo(made.written, made.call, made.parameters, made.is_async, made.within, attempts)

    def _check(self) -> None:
        where, function = self.function.label, self.function.written
        if self.kind is Kind.RETRIABLE and not self.rerun:
            raise wrong(
                where,
                "retriable=True says that it is repeated until it succeeds, and rerun=False that it is not to be "
                "repeated; leave one of them out",
                function,
            )


_SAID = {Kind.PIVOT: "pivot=True", Kind.RETRIABLE: "retriable=True"}


@dataclass(frozen=True, slots=True)
class _Options:
    """What `step` was given."""

    policy: Policy | None = None
    no_effect: On = ()
    within: Seconds | None = None
    undo: EllipsisType | None = ...
    after: After | None = None
    pivot: bool = False
    retriable: bool = False
    rerun: bool = True
    attempts: int | None = None
    interrupt: bool = True


@overload
def step(function: Callable[Concatenate[Any, P], R], /) -> Step[P, R]: ...
@overload
def step(
    *,
    policy: Policy | None = None,
    no_effect: On = (),
    within: Seconds | None = None,
    undo: EllipsisType | None = ...,
    after: After | None = None,
    pivot: bool = False,
    retriable: bool = False,
    rerun: bool = True,
    attempts: int | None = None,
    interrupt: bool = True,
) -> Callable[[Callable[Concatenate[Any, P], R]], Step[P, R]]: ...
def step(function: Callable[Concatenate[Any, P], R] | None = None, /, **options: Any) -> Any:
    """Make a method a step of the saga: `@step`, or `@step(...)` with options.

    It takes the saga's input (under any one name that is no step's) and results of steps above it (under their names).
    It is called once, and again only if a crash has left open whether it had its effect; `self.key` is the same then,
    and goes with the request to whoever is called.

    Args:
        policy: Guards each call: `Pipeline(timeout(5), retry(on=ConnectionError))`.
        no_effect: Which errors say that it certainly had no effect, as in `except`: exception types, predicates, or a
            tuple of them. `NoEffect` and `Rejected` always do. Any other leaves it open, and the step is undone too.
        within: The longest that one call may take: seconds or a `timedelta`. Default: without limit.
        undo: `None`, if there is nothing to undo. Else the step has an undo (`@reserve.undo`), or is the last one, or
            comes after the point of no return.
        after: The steps it comes after: a step, a name, or a tuple of them; `()`: it starts at once. Steps that do not
            come after one another run side by side. Default: all that are written above it.
        pivot: Whether it is the point of no return: once it has succeeded, the saga goes forward only.
        retriable: Whether it is repeated until it succeeds. All steps after a pivot or retriable step are.
        rerun: Whether it runs again when a crash has left its outcome open; `False`: it is undone. Default true.
        attempts: How often a pivot or retriable step is tried before an operator is asked. Default 10.
        interrupt: Whether it is cancelled when the saga turns back while it is under way; `False`: it is awaited.

    Raises:
        TypeError: It is no method that can be a step, or options contradict one another.
        ValueError: An option is out of its range.
    """
    given = _Options(**options)
    return (lambda function: Step(function, given)) if function is None else Step(function, given)


class Nested(Declared, Generic[P, Input, Output]):
    """A step that is a saga of its own; made by `nested`.

    Attributes:
        function: Makes that saga, and its input.
    """

    def __init__(
        self, function: Callable[Concatenate[Any, P], "tuple[Definition[Input, Output], Input]"], after: After | None
    ) -> None:
        super().__init__(after)
        self.function = _function(function, "nested", None, None)
        check_returns(function)
        if self.function.is_async:
            raise wrong(
                self.function.label,
                "a nested step only says which saga runs, and with what input, so it is a plain function; calls belong "
                "into a step above it",
                function,
            )

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(
        self, instance: object, owner: type[Any] | None = None
    ) -> "Callable[P, tuple[Definition[Input, Output], Input]]": ...
    def __get__(self, instance: object | None, owner: type[Any] | None = None) -> Any:
        return self if instance is None else self.function.written.__get__(instance, owner)


@overload
def nested(
    function: Callable[Concatenate[Any, P], "tuple[Definition[Input, Output], Input]"], /
) -> Nested[P, Input, Output]: ...
@overload
def nested(
    *, after: After | None = None
) -> Callable[[Callable[Concatenate[Any, P], "tuple[Definition[Input, Output], Input]"]], Nested[P, Input, Output]]: ...
def nested(function: Callable[..., Any] | None = None, /, *, after: After | None = None) -> Any:
    """Make another saga a step of this one: the method returns that saga's object, and its input.

    ```python
    @nested
    def deliver(self, order: Order) -> tuple[Deliver, Address]:
        return Deliver(self.vans), order.address
    ```

    Its steps become steps of this saga, called "deliver.load"; later steps take its output as `deliver`. When this saga
    turns back, they are undone like all others. After a crash the method is called again, so it decides by its
    parameters alone.

    Args:
        after: As for `step`.

    Raises:
        TypeError: It is no such method.
    """
    return partial(Nested, after=after) if function is None else Nested(function, after)


class Message(Declared, Generic[T]):
    """Waits for a message from outside; made by `message`.

    Attributes:
        type: What the message is.
        within: The seconds it may take to come; `None`: without limit.
    """

    def __init__(self, type: type[T], /, *, within: Seconds | None = None, after: After | None = None) -> None:  # noqa: A002 - `message(Approval)`
        super().__init__(after)
        self.type = type
        self.within = _checks.seconds_or_none(f"within of message({getattr(type, '__name__', type)})", within)

    @cached_property
    def codec(self) -> Codec:
        """How the message is written."""
        return codec_for(self.type)


class Pause(Declared):
    """Waits for a time to pass; made by `pause`.

    Attributes:
        seconds: How long.
    """

    def __init__(self, duration: Seconds, /, *, after: After | None = None) -> None:
        super().__init__(after)
        self.seconds = _checks.seconds("the duration of a pause", duration)


@dataclass(frozen=True, slots=True)
class ClassOptions:
    """What stands behind the bases of a saga's class.

    Attributes:
        name: How journals know it.
        within: Seconds until it turns back; `None`: without limit.
        renamed: What steps were called before: old name to new.
    """

    name: str = ""
    within: float | None = None
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])


class Definition(Generic[Input, Output]):
    """A saga as a class, without the doors by which it is run."""

    __slots__ = ()

    __saga_options__: ClassVar[ClassOptions] = ClassOptions()
    __saga_blueprint__: ClassVar[Any] = None

    @property
    def id(self) -> str:
        """The id of the saga that runs: "order-42"; inside a nested saga "order-42/deliver".

        Raises:
            RuntimeError: None runs here.
        """
        return current("self.id").id

    @property
    def key(self) -> str:
        """The idempotency key of the step or undo that runs: the same for every attempt, in every process.

        Send it with the request: whoever gets the same key twice does the work once.

        Raises:
            RuntimeError: None runs here.
        """
        return current("self.key").key


def _several(after: After) -> tuple[Declared | str, ...]:
    several = after if isinstance(after, tuple) else (after,)
    for one in several:
        if not isinstance(one, Declared | str):
            raise TypeError(f"after must be a step, the name of one, or a tuple of them, got {one!r}")
    return several


def _function(function: Any, decorator: str, policy: Policy | None, within: Seconds | None) -> Function:
    """What a decorator was put above, checked, with its policies."""
    _refuse(function, decorator)
    where = label(function)
    parameters = parameters_of(function)
    if policy is not None and not isinstance(policy, Policy):
        raise wrong(
            where,
            f"policy must be a Policy, got {policy!r}; Pipeline(mine) makes one of any with bind and abind",
            function,
        )
    call = function if policy is None else policy(function)
    seconds = _checks.seconds_or_none(f"within of {where}", within)
    return Function(function, call, parameters, is_coroutine_function(function), seconds)


def _refuse(function: Any, decorator: str) -> None:
    if isinstance(function, staticmethod | classmethod):
        kind = type(cast("object", function)).__name__
        raise wrong(
            label(cast("Any", function).__func__),
            f"@{decorator} is above @{kind}; a step is a method of the saga's object, so leave out @{kind}",
        )
    if isinstance(function, Declared):
        raise TypeError(f"@{decorator} is above what is a step already, {function!r}; write a method for each")
    if isinstance(function, type) or not callable(function):
        raise TypeError(f"@{decorator} goes above a method, got {function!r}")
    if isgeneratorfunction(function) or isasyncgenfunction(function):
        raise wrong(
            label(function),
            "is a generator function: calling it does nothing, and a stream cannot be kept in a journal; return all of "
            "the result at once",
            function,
        )


def _kind(pivot: bool, retriable: bool, function: Function) -> Kind:
    if _checks.flag("pivot", pivot) and _checks.flag("retriable", retriable):
        raise wrong(
            function.label,
            "is pivot=True and retriable=True; a pivot may still fail and turn the saga back, a retriable step may not; "
            "leave one of them out",
            function.written,
        )
    return Kind.PIVOT if pivot else Kind.RETRIABLE if retriable else Kind.COMPENSATABLE
