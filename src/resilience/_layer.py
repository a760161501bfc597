"""What a pipeline is made of.

`SupportsBind` is the whole protocol: two methods, no base class. `Layer` is what this package builds on it: a layer
describes itself to the pipeline that it is in, to telemetry and to errors.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from . import _checks
from ._family import family_of
from ._gate import load_providers
from ._traits import Traits


@runtime_checkable
class SupportsBind(Protocol):
    """What anybody writes to make a policy of their own: `Pipeline(mine)` gives it every door."""

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Wrap a plain function."""
        ...

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        """Wrap a coroutine function."""
        ...


class Layer(ABC):
    """What a pipeline is made of: it binds functions, and describes itself.

    Attributes:
        name: The name it was given, or `None`.
    """

    __slots__ = ("__weakref__", "_family", "name")

    kind: ClassVar[str] = "custom"
    """Which pattern it is, as telemetry says it: `circuit_breaker`."""

    def __init__(self, name: str | None = None) -> None:
        self.name: str | None = None if name is None else _checks.text("name", name)
        self._family = family_of(self, name)
        load_providers()

    @abstractmethod
    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Wrap a plain function; most users want the decorator."""

    @abstractmethod
    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        """Wrap a coroutine function; most users want the decorator."""

    @abstractmethod
    def traits(self) -> Traits:
        """What a pipeline needs to know about this policy."""

    @property
    def label(self) -> str:
        """The name, or the kind of policy for one without a name: what errors and events say."""
        return self.name or self._family or type(self).__name__

    @property
    def calm(self) -> bool:
        """Whether it has nothing to remember: as if just made. Only then a `Keyed` may forget it."""
        return True

    def span_attributes(self) -> Mapping[str, str]:
        """What a span says about this policy at the moment when it is asked: by default nothing."""
        return {}

    @property
    def fuses(self) -> bool:
        """Whether what it decorates is written out as one function when it is first called."""
        return True

    def layers(self) -> tuple[SupportsBind, ...]:
        """The policies it consists of, outermost first: itself, unless it is a pipeline."""
        return (self,)
