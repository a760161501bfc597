"""`step`: a method that has an effect somewhere, and `.undo`, which takes it back.

Nothing is wrapped: a step on an object is the method as it is written. Its policies apply when a saga runs.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from types import EllipsisType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, cast, overload

from .. import _checks
from .._core.saga.plan import Kind
from .._matching import Matcher, On
from .._policy import Policy
from ._declaration import After, Declared
from ._function import Function, function_of
from ._signature import check_returns

P = ParamSpec("P")
R = TypeVar("R")
U = TypeVar("U", bound=Callable[..., Awaitable[None] | None])


class NoEffect(Exception):  # noqa: N818 - named by what it says
    """Raise it in a step that certainly had no effect: there is nothing to undo.

    `raise NoEffect("card declined") from error` keeps the cause. `@step(no_effect=CardDeclined)` says the same of
    exceptions that are not yours. An error that is neither leaves it open whether the step had its effect.
    """

    __module__ = "resilience.saga"  # where it is imported from: journals and messages name it


@dataclass(frozen=True, slots=True)
class Undo:
    """How a step is taken back.

    Attributes:
        function: What does it.
        attempts: How often it is tried before it is parked.
    """

    function: Function
    attempts: int


class Step(Declared, Generic[P, R]):
    """A step; made by `step`, which says what the options mean.

    Attributes:
        function: What it does.
        kind: What it is said to be; one that comes after the point of no return is retriable by its place.
        no_effect: Which errors say that it had no effect.
        undone_by: Its undo, if it has one.
        needs_no_undo: Whether that was said in so many words.
        rerun: Whether it runs again when a crash has left its outcome open.
        attempts: How often a pivot or retriable step is tried; `None`: as often as usual.
        interrupt: Whether it is cancelled when the saga turns back meanwhile.
    """

    def __init__(
        self,
        written: Callable[Concatenate[Any, P], R],
        /,
        *,
        policy: Policy | None = None,
        no_effect: On = (),
        within: _checks.Seconds | None = None,
        undo: EllipsisType | None = ...,
        after: After | None = None,
        pivot: bool = False,
        retriable: bool = False,
        rerun: bool = True,
        attempts: int | None = None,
        interrupt: bool = True,
    ) -> None:
        super().__init__(after)
        self.function: Function = function_of(written, "step", policy, within)
        check_returns(written)
        self.no_effect: Matcher = Matcher("no_effect", no_effect, required=False)
        self.undone_by: Undo | None = None
        self.needs_no_undo: bool = _is_none(undo)
        self.rerun: bool = _checks.flag("rerun", rerun)
        self.attempts: int | None = None if attempts is None else _checks.whole("attempts", attempts)
        self.interrupt: bool = _checks.flag("interrupt", interrupt)
        _checks.flag("pivot", pivot)
        _checks.flag("retriable", retriable)
        self.kind: Kind = self._kind(pivot=pivot, retriable=retriable)

    def __repr__(self) -> str:
        return f"<step {self.function.label}>"

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> Callable[P, R]: ...
    def __get__(self, instance: object | None, owner: type[Any] | None = None) -> Self | Callable[P, R]:
        return self if instance is None else cast("Any", self.function.written).__get__(instance, owner)

    @overload
    def undo(self, function: U, /) -> U: ...
    @overload
    def undo(
        self, /, *, attempts: int = 10, within: _checks.Seconds | None = None, policy: Policy | None = None
    ) -> Callable[[U], U]: ...
    def undo(
        self,
        function: Any = None,
        /,
        *,
        attempts: int = 10,
        within: _checks.Seconds | None = None,
        policy: Policy | None = None,
    ) -> Any:
        """Say how to take this step back: `@reserve.undo` above the method that does.

        It may take the input, this step's result, results of steps that come before it, and `certain: bool`: whether
        the step certainly had its effect. If nobody knows (a lost reply, a timeout, a crash), its result is `None`. It
        must be right also if the step had none, and if it runs twice: `self.key` is the same each time.

        Args:
            function: The method, where `@reserve.undo` stands alone.
            attempts: How often it is tried before an operator is asked. Default 10.
            within: The longest that one attempt may take: seconds or a `timedelta`. Default: without limit.
            policy: Guards each attempt.

        Raises:
            TypeError: It is no such function, or the step has an undo, or can have none.
        """
        often = _checks.whole("attempts", attempts)

        def declare(written: U) -> U:
            self._take_undo(Undo(function_of(written, "undo", policy, within), often))
            return written

        return declare if function is None else declare(function)

    def _kind(self, *, pivot: bool, retriable: bool) -> Kind:
        if pivot and retriable:
            raise self.function.wrong(
                "a pivot may still fail, and then the saga turns back; a retriable step is repeated until it succeeds. "
                "Leave out pivot=True or retriable=True"
            )
        if retriable and not self.rerun:
            raise self.function.wrong(
                "a retriable step is repeated until it succeeds, and rerun=False says that it is not. Leave out "
                "retriable=True or rerun=False"
            )
        return Kind.PIVOT if pivot else Kind.RETRIABLE if retriable else Kind.COMPENSATABLE

    def _take_undo(self, undo: Undo) -> None:
        step = self.function.written.__name__
        if self.undone_by is not None:
            other = self.undone_by.function.written.__name__
            raise undo.function.wrong(f"{step!r} has an undo already, {other!r}; write one method that does both")
        if self.needs_no_undo:
            raise undo.function.wrong(f"{step!r} says undo=None, so it needs no undo; leave out one of them")
        if self.kind is not Kind.COMPENSATABLE:
            raise undo.function.wrong(
                f"{step!r} is {self.kind}=True, and once it has succeeded there is no way back; leave out "
                f"{self.kind}=True or the undo"
            )
        self.undone_by = undo


@overload
def step(function: Callable[Concatenate[Any, P], R], /) -> Step[P, R]: ...
@overload
def step(
    *,
    policy: Policy | None = None,
    no_effect: On = (),
    within: _checks.Seconds | None = None,
    undo: EllipsisType | None = ...,
    after: After | None = None,
    pivot: bool = False,
    retriable: bool = False,
    rerun: bool = True,
    attempts: int | None = None,
    interrupt: bool = True,
) -> Callable[[Callable[Concatenate[Any, P], R]], Step[P, R]]: ...
def step(
    function: Callable[Concatenate[Any, P], R] | None = None,
    /,
    *,
    policy: Policy | None = None,
    no_effect: On = (),
    within: _checks.Seconds | None = None,
    undo: EllipsisType | None = ...,
    after: After | None = None,
    pivot: bool = False,
    retriable: bool = False,
    rerun: bool = True,
    attempts: int | None = None,
    interrupt: bool = True,
) -> Any:
    """Make a method a step of the saga: `@step`, or `@step(...)` with options.

    It takes the saga's input (under any one name that is no step's) and results of steps above it (under their names).
    It is called once, and again only if a crash has left open whether it had its effect; `self.key` is the same then,
    and goes with the request to whoever is called.

    Args:
        function: The method, where `@step` stands alone.
        policy: Guards each call: `Pipeline(timeout(5), retry(on=ConnectionError))`.
        no_effect: Which errors say that it certainly had no effect, as in `except`: exception types, predicates, or a
            tuple of them. `NoEffect` and `Rejected` always do. Any other leaves it open, and the step is undone too.
        within: The longest that one call may take: seconds or a `timedelta`. Default: without limit.
        undo: `None`, if there is nothing to undo. Otherwise the step has an undo (`@reserve.undo`), or comes after the
            point of no return, or is the last one: nothing can go wrong after that, except that its own outcome may
            stay open. A last step that must not be left so has an undo, or is the pivot, which is asked again.
        after: The steps it comes after: a step, a name, or a tuple of them; `()`: it starts at once. Steps that do not
            come after one another run side by side. Default: all that are written above it.
        pivot: Whether it is the point of no return: once it has succeeded, the saga goes forward only.
        retriable: Whether it is repeated until it succeeds. All steps after a pivot or retriable step are.
        rerun: Whether it runs again when a crash has left its outcome open; `False`: it is undone. Default true.
        attempts: How often a pivot or retriable step is tried before an operator is asked. Default 10.
        interrupt: Whether it is cancelled when the saga turns back while it is under way; `False`: it is awaited.
            Default true.

    Raises:
        TypeError: It is no method that can be a step, or options contradict one another.
        ValueError: An option is out of its range.
    """
    make: Callable[[Callable[Concatenate[Any, P], R]], Step[P, R]] = partial(
        Step,
        policy=policy,
        no_effect=no_effect,
        within=within,
        undo=undo,
        after=after,
        pivot=pivot,
        retriable=retriable,
        rerun=rerun,
        attempts=attempts,
        interrupt=interrupt,
    )
    return cast("Any", make if function is None else make(function))


def _is_none(undo: object) -> bool:
    if undo is not None and undo is not ...:
        raise TypeError(
            f"undo may only be None, for a step that needs no undo, got {undo!r}; an undo is a method below the step, "
            "under @<step>.undo"
        )
    return undo is None
