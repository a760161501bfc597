"""What stands in the body of a saga's class besides its steps: nested sagas, messages, pauses; and what they share.

A declaration is a descriptor. On the class it is itself, for `after=reserve` and `PlaceOrder.approval.send(...)`; on an
object a method is a method: what users test is what they wrote.

What a declaration alone tells to be wrong is refused on its own line. How the steps of a class fit together is not
known here (`_outline`), nor what types they have (`_compile`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, Self, TypeVar, cast, overload

from .. import _checks
from ._call import current
from ._function import Function, function_of
from ._signature import check_returns
from ._values import Codec, codec_for
from ._wrong import wrong

P = ParamSpec("P")
T = TypeVar("T")
Input = TypeVar("Input")
Output = TypeVar("Output")


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
        return f"<{type(self).__name__.lower()} {self.name!r}>"


After = Declared | str | tuple[Declared | str, ...]
"""What `after=` takes: a step, the name of one, or a tuple of them; `()`: none, so that it starts at once."""


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
    """A saga's class, without the doors by which it is run."""

    __slots__ = ()

    __saga_options__: ClassVar[ClassOptions] = ClassOptions()
    __saga_blueprint__: ClassVar[Any] = None

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        within: _checks.Seconds | None = None,
        renamed: Mapping[str, str] | None = None,
    ) -> None:
        super().__init_subclass__()
        # A dataclass with slots is its own class anew, without keywords, but with all that was in its body.
        if "__saga_options__" not in vars(cls):
            inherited = cls.__saga_options__
            cls.__saga_options__ = ClassOptions(
                cls.__name__ if name is None else _named(cls, name),
                inherited.within if within is None else _checks.seconds(f"{cls.__name__}: within", within),
                inherited.renamed if renamed is None else dict(renamed),
            )

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


Made = TypeVar("Made", bound=tuple[Definition[Any, Any], Any])
"""What the method of a nested step returns: a saga's object, and its input."""


class Nested(Declared, Generic[P, Made]):
    """A step that is a saga of its own; made by `nested`.

    Attributes:
        function: Makes that saga, and its input.
    """

    def __init__(self, written: Callable[Concatenate[Any, P], Made], /, *, after: After | None = None) -> None:
        super().__init__(after)
        self.function: Function = function_of(written, "nested")
        check_returns(written)
        if self.function.is_async:
            raise self.function.wrong(
                "is a coroutine function; a nested step only says which saga runs, and with what input: write 'def', "
                "and make calls in a step above it"
            )

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> Callable[P, Made]: ...
    def __get__(self, instance: object | None, owner: type[Any] | None = None) -> Self | Callable[P, Made]:
        return self if instance is None else cast("Any", self.function.written).__get__(instance, owner)


@overload
def nested(function: Callable[Concatenate[Any, P], Made], /) -> Nested[P, Made]: ...
@overload
def nested(*, after: After | None = None) -> Callable[[Callable[Concatenate[Any, P], Made]], Nested[P, Made]]: ...
def nested(function: Callable[..., Any] | None = None, /, *, after: After | None = None) -> Any:
    """Make another saga a step of this one: the method returns that saga's object, and its input.

    ```python
    @nested
    def deliver(self, order: Order) -> tuple[Deliver, Address]:
        return Deliver(self.vans), order.address
    ```

    Its steps become steps of this saga, called "deliver.load"; later steps take its output as `deliver`. When this saga
    turns back, they are undone like all others. After a crash the method is called again, so it goes by its parameters
    alone.

    Args:
        function: The method, where `@nested` stands alone.
        after: As for `step`.

    Raises:
        TypeError: It is no such method.
    """
    return partial(Nested, after=after) if function is None else Nested(function, after=after)


class Message(Declared, Generic[T]):
    """Waits for a message from outside; made by `message`.

    Attributes:
        type: What the message is.
        within: The seconds it may take to come; `None`: without limit.
    """

    def __init__(
        self,
        type: type[T],  # noqa: A002 - it is the message's type
        /,
        *,
        within: _checks.Seconds | None = None,
        after: After | None = None,
    ) -> None:
        super().__init__(after)
        self.type = type
        name = getattr(type, "__name__", repr(type))
        self.within: float | None = _checks.seconds_or_none(f"message({name}): within", within)

    @cached_property
    def codec(self) -> Codec:
        """How the message is written."""
        return codec_for(self.type)


class Pause(Declared):
    """Waits for a time to pass; made by `pause`.

    Attributes:
        seconds: How long.
    """

    def __init__(self, duration: _checks.Seconds, /, *, after: After | None = None) -> None:
        super().__init__(after)
        self.seconds: float = _checks.seconds("pause(): the duration", duration)


def _several(after: After) -> tuple[Declared | str, ...]:
    several = after if isinstance(after, tuple) else (after,)
    for one in several:
        if not isinstance(cast("object", one), Declared | str):
            raise TypeError(f"after must be a step, the name of one, or a tuple of them, got {one!r}")
    return several


def _named(owner: type[Any], name: object) -> str:
    if not isinstance(name, str) or not name:
        raise wrong(
            owner.__name__, f"name must be a text that is not empty, got {name!r}; leave it out for {owner.__name__!r}"
        )
    return name
