"""A policy turns a function into a function. This module is that sentence.

`SupportsBind` is the whole protocol: two methods, no base class. `Policy` adds the doors that users come in by: the
decorator, `call` and `acall`. Here is decided, once and at decoration, whether a function is sync or async, and here
the telemetry gate is put in front; `bind` and `abind` know of neither.

A shell is written the way one writes a decorator by hand: a prelude of plain assignments, one call of `fn`, assigned to
`result`, one exit; everything rare behind a method.
"""

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, ClassVar, NoReturn, ParamSpec, Protocol, TypeVar, cast, runtime_checkable

from . import _checks
from ._family import family_of
from ._gate import gate, load_providers, metering, tracing
from ._results import NotAwaitedError, stream_watch
from ._telemetry import AsyncFunction, Function, Site, aattempts, aobserved, attempts, described, observed
from ._traits import Traits

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., object])


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

    def layers(self) -> tuple[SupportsBind, ...]:
        """The policies it consists of, outermost first: itself, unless it is a pipeline."""
        return (self,)


class Policy(Layer):
    """Guards calls. Use it as a decorator, or for one call with `call` and `acall`.

    One object serves sync code, threads, asyncio and trio at once. This is the type to annotate with.
    """

    __slots__ = ()

    def __call__(self, fn: F, /) -> F:
        """Guard a function: plain or coroutine function, method, class or static method, partial, callable object.

        Raises:
            TypeError: `fn` is a class, a generator function, or no callable at all.
        """
        return cast("F", decorate(self, fn))

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Make one guarded call of a plain function.

        Raises:
            TypeError: `fn` is a coroutine function, or returns a coroutine: that needs `acall`.
        """
        return cast("T", call_once(self, fn)(*args, **kwargs))

    async def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Make one guarded call of a coroutine function, or of any callable that returns an awaitable.

        Raises:
            TypeError: `fn` returned no awaitable: a plain function needs `call`.
        """
        return cast("T", await acall_once(self, fn)(*args, **kwargs))


class Recipe(Policy):
    """A lower-case policy: no state to share, so it is written anew where it is needed, and can be pickled.

    Its options, as given, are all there is to it.
    """

    __slots__ = ("_given",)

    def _recall(self, *positional: Any, **options: Any) -> None:
        """Remember what was given and is no default, for `repr` and `pickle`."""
        parameters = inspect.signature(type(self).__init__).parameters
        defaults = {key: parameter.default for key, parameter in parameters.items()}
        # A subclass may have parameters of its own: then all is written out.
        given = {key: value for key, value in options.items() if key not in defaults or value is not defaults[key]}
        self._given = (positional, given)

    def __reduce__(self) -> tuple[Any, ...]:
        positional, options = self._given
        return _remake, (type(self), positional, options)

    def __repr__(self) -> str:
        positional, options = self._given
        written = [*map(_show, positional), *(f"{key}={_show(value)}" for key, value in options.items())]
        return f"{type(self).__name__}({', '.join(written)})"


class Shared(Policy):
    """A capital policy: it holds state that its callers share, so it is made once."""

    __slots__ = ()

    @property
    def calm(self) -> bool:
        """Whether it has nothing to remember. One that cannot say has."""
        return False

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} holds live state (locks, counts) that cannot be copied or sent to another process; make one "
            f"{type(self).__name__} in each process and share it there"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>" if self.name else f"<{type(self).__name__}>"


def call_once(policy: Layer, fn: Function) -> Function:
    """What `call` calls."""
    refuse(fn)
    if is_coroutine_function(fn):
        raise TypeError(f"{_name_of(fn)} is a coroutine function; write 'await policy.acall({_name_of(fn)}, ...)'")
    return _guarded(policy, fn)


def acall_once(policy: Layer, fn: AsyncFunction) -> AsyncFunction:
    """What `acall` awaits."""
    refuse(fn)
    return _aguarded(policy, fn if is_coroutine_function(fn) else _awaiting(fn))


def decorate(policy: Layer, fn: Any) -> Any:
    """Bind a function to a policy, whatever form it has, and make the result look like the function."""
    if isinstance(fn, staticmethod | classmethod):
        method = cast("Any", fn)
        return type(method)(decorate(policy, method.__func__))
    refuse(fn)
    guarded = _aguarded(policy, fn) if is_coroutine_function(fn) else _guarded(policy, fn)
    return _dress(guarded, fn)


def refuse(fn: object) -> None:
    """Refuse what cannot be guarded.

    Raises:
        TypeError: With the reason, and what to write instead.
    """
    if isinstance(fn, type):
        raise TypeError(f"{fn.__name__} is a class; guard the methods that make calls, not the class")
    if isinstance(fn, Layer):
        raise TypeError(f"{fn!r} is a policy, and a policy guards functions; to compose, write Pipeline(outer, inner)")
    if isinstance(fn, property):
        raise TypeError("a property cannot be guarded from outside; put @property above the policy")
    if not callable(fn):
        raise TypeError(f"a policy guards functions, got {fn!r}")
    if _makes_generator(fn):
        raise TypeError(
            f"{_name_of(fn)} is a generator function: calling it runs nothing, so a guard would cover only its "
            "creation and call every stream a success. Guard the calls inside it, or hold a lease over its life: "
            "'lease = policy.admit()'"
        )


def is_coroutine_function(fn: object) -> bool:
    """Whether a call gives a coroutine: a coroutine function, a partial of one, an object with an async `__call__`."""
    return any(map(inspect.iscoroutinefunction, _forms(_unwrapped(fn))))


def compose(layers: Iterable[SupportsBind], fn: Function) -> Function:
    """Bind a plain function to several policies, the first outermost."""
    for layer in reversed(tuple(layers)):
        fn = _of_the_same(fn, layer.bind(fn))
    return fn


def acompose(layers: Iterable[SupportsBind], fn: AsyncFunction) -> AsyncFunction:
    """Bind a coroutine function to several policies, the first outermost."""
    for layer in reversed(tuple(layers)):
        fn = _of_the_same(fn, layer.abind(fn))
    return fn


def guarded_function(fn: Any) -> Any:
    """The user's function that a layer guards in the end, however many layers there are between them.

    Args:
        fn: What the layer was given to bind.
    """
    return getattr(fn, _GUARDS, fn)


def _of_the_same(fn: Any, shell: Any) -> Any:
    """Note on a shell which function of the user's is inside, for a layer outside that asks about its parameters."""
    if shell is not fn:
        with suppress(AttributeError, TypeError):  # a foreign policy may bind to what takes no attributes
            setattr(shell, _GUARDS, guarded_function(fn))
    return shell


_GUARDS = "_resilience_guards"


class _Seen:
    """Layers as they are composed while somebody listens: with those between them that see attempts and states."""

    def __init__(self, layers: tuple[SupportsBind, ...]) -> None:
        ours = [layer for layer in layers if isinstance(layer, Layer)]
        self._layers = layers
        # The innermost that repeats is the one that sees every attempt.
        self._repeating = next((layer for layer in reversed(ours) if layer.traits().repeats), None)

    def compose(self, fn: Function) -> Function:
        """Bind a plain function."""
        for layer in reversed(self._layers):
            inside = _of_the_same(fn, attempts(fn)) if layer is self._repeating else fn
            fn = _of_the_same(fn, self._told(layer, layer.bind(inside)))
        return fn

    def acompose(self, fn: AsyncFunction) -> AsyncFunction:
        """Bind a coroutine function."""
        for layer in reversed(self._layers):
            inside = _of_the_same(fn, aattempts(fn)) if layer is self._repeating else fn
            fn = _of_the_same(fn, self._told(layer, layer.abind(inside)))
        return fn

    def _told(self, layer: SupportsBind, fn: Function) -> Function:
        tells = isinstance(layer, Layer) and type(layer).span_attributes is not Layer.span_attributes
        return described(cast("Layer", layer).span_attributes, fn) if tells else fn


def _guarded(policy: Layer, fn: Function) -> Function:
    """The outermost function of a sync pipeline: the gate, the composition, the check of what comes out."""
    layers = policy.layers()
    run = compose(layers, fn)
    seen: Function | None = None
    site = Site(policy.name or _name_of(fn), policy.kind, layers)
    check = stream_watch(site.name)
    usual: type[Any] | None = None  # a hint: most functions return one type; whichever call writes it last is as good

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal seen, usual
        if (tracing._TRACER_PROVIDER is not None or metering._METER_PROVIDER is not None) and (
            listeners := gate.listeners()
        ) is not None:
            if seen is None:
                seen = _Seen(layers).compose(fn)
            result = observed(site, listeners, seen, args, kwargs)
        else:
            result = run(*args, **kwargs)
        if type(result) is not usual:
            usual = check(result)
        return result

    return call


def _aguarded(policy: Layer, fn: AsyncFunction) -> AsyncFunction:
    """The async twin of `_guarded`."""
    layers = policy.layers()
    run = acompose(layers, fn)
    seen: AsyncFunction | None = None
    site = Site(policy.name or _name_of(fn), policy.kind, layers)
    check = stream_watch(site.name)
    usual: type[Any] | None = None

    async def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal seen, usual
        if (tracing._TRACER_PROVIDER is not None or metering._METER_PROVIDER is not None) and (
            listeners := gate.listeners()
        ) is not None:
            if seen is None:
                seen = _Seen(layers).acompose(fn)
            result = await aobserved(site, listeners, seen, args, kwargs)
        else:
            result = await run(*args, **kwargs)
        if type(result) is not usual:
            usual = check(result)
        return result

    return call


def _awaiting(fn: Function) -> AsyncFunction:
    """A callable that may return any awaitable, as a coroutine function."""

    async def call(*args: Any, **kwargs: Any) -> Any:
        result = fn(*args, **kwargs)
        if not inspect.isawaitable(result):
            raise NotAwaitedError(
                f"{_name_of(fn)} returned {type(result).__name__}, which cannot be awaited; for a plain function write "
                f"'policy.call({_name_of(fn)}, ...)'"
            )
        return await result

    return call


def _dress(guarded: Any, fn: Any) -> Any:
    """Give the guarded function the name, signature and public attributes of the original."""
    guarded.__qualname__ = _name_of(fn)  # for a partial or an object, which have no name of their own
    guarded.__name__ = guarded.__qualname__.rpartition(".")[2]
    functools.update_wrapper(guarded, fn)
    for name in () if inspect.isfunction(fn) else dir(fn):
        # A property is left out: to carry it over is to run it, and its answer of now would be given for ever.
        if not name.startswith("_") and not hasattr(guarded, name) and not _is_computed(fn, name):
            setattr(guarded, name, getattr(fn, name))
    return guarded


def _is_computed(fn: object, name: str) -> bool:
    return isinstance(inspect.getattr_static(fn, name, None), property | functools.cached_property)


def _makes_generator(fn: Any) -> bool:
    fn = _unwrapped(fn)
    if any(kind(form) for kind in (inspect.isgeneratorfunction, inspect.isasyncgenfunction) for form in _forms(fn)):
        return True
    # @contextmanager hides the generator behind a plain helper of contextlib; so do its decorators a plain function.
    helper = getattr(fn, "__globals__", {}).get("__name__") == "contextlib"
    return helper and _makes_generator(getattr(fn, "__wrapped__", None))


def _unwrapped(fn: Any) -> Any:
    """What a partial, or a partial of one, calls in the end."""
    while isinstance(fn, functools.partial):
        fn = cast("Any", fn).func
    return fn


def _forms(fn: object) -> tuple[object, object]:
    """The two places that tell what a call gives: the function, and an object's `__call__`."""
    return fn, type(fn).__call__


def _name_of(fn: Any) -> str:
    fn = _unwrapped(fn)
    return getattr(fn, "__qualname__", None) or type(fn).__qualname__


def _remake(kind: type[Any], positional: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return kind(*positional, **options)


def _show(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_show, cast('tuple[object, ...]', value)))})"
    return getattr(value, "__qualname__", None) or repr(value)
