"""Pipeline: several policies as one.

The first is the outermost, as with stacked decorators. A pipeline is a policy too: nesting is associative (a pipeline
in a pipeline is the same as its parts in its place), and `Pipeline()` is the identity. What it is made of is checked
when it is built.
"""

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast, overload

from ._checks import flag
from ._compose import acompose, compose
from ._explain import Explanation, explain
from ._fallback import fallback
from ._layer import Layer, SupportsBind
from ._lease import Ending, Lease
from ._orders import check
from ._policy import P, Policy, T, acall_once, call_once, decorate
from ._traits import Role, Traits

U = TypeVar("U")


class _Composition(Policy):
    """The layers of a pipeline. Apart, because a type checker reads `__new__` only where no `__init__` is as near."""

    __slots__ = ("_fuse", "_layers")

    kind = "pipeline"

    def __init__(self, /, *parts: Any, name: str | None = None, fuse: bool = True) -> None:
        super().__init__(name)
        self._fuse = flag("fuse", fuse)
        self._layers: tuple[SupportsBind, ...] = tuple(layer for part in parts for layer in _layers_of(part))
        check(self._layers, [_traits_of(layer) for layer in self._layers])

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Wrap a plain function; most users want the decorator."""
        return compose(self._layers, fn)

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        """Wrap a coroutine function; most users want the decorator."""
        return acompose(self._layers, fn)

    @property
    def label(self) -> str:
        """The name, or `Pipeline`, whatever it begins with."""
        return self.name or "Pipeline"

    @property
    def fuses(self) -> bool:
        """Whether what it decorates is written out as one function when it is first called."""
        return self._fuse

    def layers(self) -> tuple[SupportsBind, ...]:
        """The policies it consists of, outermost first."""
        return self._layers


class Pipeline(_Composition):
    """Several policies as one, the first outermost.

    ```python
    payments = Pipeline(
        timeout(10),
        retry(on=(ConnectionError, TimedOut)),
        CircuitBreaker("payments"),
        Bulkhead(20),
        timeout(2),
        name="payments",
    )

    @payments
    async def charge(order: Order) -> Receipt: ...
    ```

    Recommended, outermost first: fallback, cache, timeout (total), retry, hedge, rate limiter, circuit breaker,
    bulkhead, timeout (attempt).

    Args:
        parts: Policies, pipelines, or any object with `bind` and `abind`. A `fallback` can only be the first; the
            pipeline's answers are then typed `T | U`.
        name: The name of the span of each call; it is that of the outermost pipeline. Default: the function's own name.
        fuse: Whether a function that it decorates is written out as one function when it is first called (see
            `source`); `False` leaves it nested: slower, and the same in all else. It is for the outermost to say.
            Default: `True`, unless the environment says `RESILIENCE_FUSE=0`.

    Raises:
        TypeError: A part is no policy.
        ValueError: The order is senseless; the text says which one is meant. A doubtful one warns
            (`ResilienceWarning`).
    """

    __slots__ = ()

    @overload
    def __new__(
        cls,
        first: "fallback[U] | FallbackPipeline[U]",
        /,
        *parts: SupportsBind,
        name: str | None = None,
        fuse: bool = True,
    ) -> "FallbackPipeline[U]": ...
    @overload
    def __new__(cls, /, *parts: SupportsBind, name: str | None = None, fuse: bool = True) -> Self: ...
    def __new__(cls, /, *parts: Any, name: str | None = None, fuse: bool = True, **_: Any) -> Any:  # noqa: ARG004 - what `help()` shows
        """Make a pipeline; one that begins with a fallback is typed for the fallback's answers."""
        begins_with_fallback = bool(parts) and isinstance(parts[0], fallback | FallbackPipeline)
        kind: type[Any] = FallbackPipeline if begins_with_fallback and cls is Pipeline else cls
        return object.__new__(kind)

    def traits(self) -> Traits:
        """What an outer pipeline would see; it sees the layers themselves, since nested pipelines flatten."""
        return Traits(Role.CUSTOM, f"pipeline {self.label} of {len(self._layers)}")

    def explain(self) -> Explanation:
        """What this composition promises: worst-case duration, most calls per call, what it may raise.

        Returns:
            A text, ready to print.
        """
        return explain(self.label, [_traits_of(layer) for layer in self._layers])

    def guard(self) -> "PipelineGuard":
        """Guard a block: `with pipeline.guard():` or `async with pipeline.guard():`.

        Raises:
            TypeError: A policy in it repeats or replaces what it guards, which a block cannot be.
        """
        return PipelineGuard([self._block_door(layer, "guard") for layer in self._layers])

    def admit(self) -> Lease:
        """Get a lease from every policy in it, outermost first, or be refused by the first that refuses.

        Raises:
            TypeError: A policy in it hands out no leases.
            Rejected: One of them refused; those before it have their lease back.
        """
        leases: list[Lease] = []
        try:
            for admit in [self._block_door(layer, "admit") for layer in self._layers]:
                leases.append(admit())  # noqa: PERF401 - each must be in the list when the next one refuses
        except BaseException:
            _end_all(leases, Ending.RELEASED, None)
            raise
        return _joint(leases)

    async def aadmit(self) -> Lease:
        """The async twin of `admit`: waits without blocking the event loop."""
        leases: list[Lease] = []
        try:
            for aadmit in [self._block_door(layer, "aadmit") for layer in self._layers]:
                leases.append(await aadmit())  # noqa: PERF401 - the same
        except BaseException:
            _end_all(leases, Ending.RELEASED, None)
            raise
        return _joint(leases)

    def _block_door(self, layer: SupportsBind, door: str) -> Any:
        method = getattr(layer, door, None)
        if method is None:
            raise TypeError(
                f"{self.label} has no {door}(): {layer!r} repeats or replaces the call, or needs to hold the task, and "
                "a block or lease allows for neither; decorate a function, or make a pipeline without it"
            )
        return method

    def __repr__(self) -> str:
        options = [*([f"name={self.name!r}"] if self.name else []), *([] if self._fuse else ["fuse=False"])]
        written = [*map(repr, self._layers), *options]
        return f"Pipeline({', '.join(written)})"


class FallbackPipeline(Pipeline, Generic[U]):
    """A pipeline that begins with a fallback, so that its answers are `T | U`. `Pipeline(...)` makes it."""

    __slots__ = ()

    @overload  # type: ignore[override]  # it answers T | U where a Pipeline answers T: that is its reason to be
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, Coroutine[Any, Any, T | U]]: ...
    @overload
    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T | U]: ...
    def __call__(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Guard a function."""
        return cast("Callable[..., Any]", decorate(self, fn))

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | U:  # type: ignore[override]  # see above
        """Make one guarded call of a plain function."""
        return cast("T | U", call_once(self, fn)(*args, **kwargs))

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T | U:  # type: ignore[override]  # see above
        """Make one guarded call of a coroutine function."""
        return cast("T | U", await acall_once(self, fn)(*args, **kwargs))


class PipelineGuard:
    """A block under all policies of a pipeline. Single use."""

    __slots__ = ("_astack", "_makers", "_stack")

    def __init__(self, makers: list[Callable[[], Any]]) -> None:
        self._makers: list[Callable[[], Any]] | None = makers
        self._stack = ExitStack()
        self._astack = AsyncExitStack()

    def __enter__(self) -> None:
        with self._stack as entering:
            for make in self._take_makers():
                entering.enter_context(make())
            self._stack = entering.pop_all()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    async def __aenter__(self) -> None:
        async with self._astack as entering:
            for make in self._take_makers():
                await entering.enter_async_context(make())
            self._astack = entering.pop_all()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._astack.__aexit__(kind, error, trace)

    def _take_makers(self) -> list[Callable[[], Any]]:
        makers, self._makers = self._makers, None
        if makers is None:
            raise RuntimeError("this guard was entered before; call guard() for each block")
        return makers


def _layers_of(part: object) -> tuple[SupportsBind, ...]:
    if isinstance(part, fallback):
        return (part.policy,)
    if isinstance(part, Layer):
        return part.layers()
    if isinstance(part, type):
        raise TypeError(f"{part.__name__} is a class; a pipeline is made of policies: {part.__name__}(...)")
    if isinstance(part, SupportsBind):
        return (part,)
    raise TypeError(f"a pipeline is made of policies (objects with bind and abind), got {part!r}")


def _traits_of(layer: SupportsBind) -> Traits:
    return layer.traits() if isinstance(layer, Layer) else Traits(Role.CUSTOM, f"{layer!r}")


def _joint(leases: list[Lease]) -> Lease:
    return Lease(lambda ending, error: _end_all(leases, ending, error))


def _end_all(leases: list[Lease], ending: Ending, error: BaseException | None) -> None:
    """End the innermost first, and every one, as blocks do: also when a predicate that one of them asks raises."""
    with ExitStack() as ends:
        for lease in leases:
            match ending:
                case Ending.SUCCESS:
                    ends.callback(lease.succeed)
                case Ending.FAILURE:
                    ends.callback(lease.fail, error)
                case Ending.RELEASED:
                    ends.callback(lease.release)
