"""Layers put around a function, one in the other, and the telemetry gate in front of them all.

The gate is a shell like those behind it. While nobody listens, it costs one look; when somebody does, the call goes
through a second composition of the same layers, with those between them that see attempts and states.
"""

from collections.abc import Awaitable, Iterable
from contextlib import suppress
from types import FunctionType
from typing import Any, cast

from ._functions import is_coroutine_function, name_of
from ._fuse import Beginning, fuse, source, wanted
from ._gate import Listeners, gate, metering, tracing
from ._layer import Layer, SupportsBind
from ._results import stream_watch
from ._telemetry import AsyncFunction, Function, Site, aattempts, aobserved, attempts, described, observed


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


class Entrance:
    """What the outermost shell of a function has at hand: whom to tell of a call, and what usually comes out.

    Attributes:
        beginning: What the first call has to do, where there is something to write.
        site: What is known of the function before it is called.
        usual: The type of the last result. A hint: most functions return one type; whichever call writes it last is as
            good.
    """

    __slots__ = ("_fn", "_layers", "_nested", "_seen", "_watch", "beginning", "site", "usual")

    def __init__(self, policy: Layer, fn: Function) -> None:
        self._fn = fn
        self._layers = policy.layers()
        self.site = Site(policy.name or name_of(fn), policy.kind, self._layers)
        self._seen: Function | None = None  # made when somebody listens: most programs need but one of the two
        self._nested: Function | None = None  # the same, where it cannot be written
        self._watch = stream_watch(self.site.name)
        self.beginning: Beginning | None = None
        self.usual: type[Any] | None = None

    def begin(self) -> Function:
        """What a first call is to run: the function itself, written by now, or the shells one in the other."""
        written = None if self.beginning is None else self.beginning.function()
        if written is not None:
            return written
        if self._nested is None:
            self._nested = self._composed()
        return self._gate(self._nested)

    def gate(self) -> Function:
        """The outermost shell, with all that is inside it."""
        return self._gate(self._composed())

    def __getstate__(self) -> object:
        """What a copy is made of, for those who send functions to another process: it has nothing to write."""
        _, state = cast("tuple[None, dict[str, object]]", object.__getstate__(self))
        return None, {**state, "beginning": None}

    def _composed(self) -> Function:
        return (acompose if is_coroutine_function(self._fn) else compose)(self._layers, self._fn)

    def _gate(self, composed: Function) -> Function:
        return (_agated if is_coroutine_function(self._fn) else _gated)(self, composed)

    def observed(self, listeners: Listeners, args: Any, kwargs: Any) -> Any:
        """Make one call that somebody listens to."""
        if self._seen is None:
            self._seen = _Seen(self._layers).compose(self._fn)
        return observed(self.site, listeners, self._seen, args, kwargs)

    def aobserved(self, listeners: Listeners, args: Any, kwargs: Any) -> Awaitable[Any]:
        """The async twin of `observed`."""
        if self._seen is None:
            self._seen = _Seen(self._layers).acompose(self._fn)
        return aobserved(self.site, listeners, self._seen, args, kwargs)

    def check(self, result: object) -> None:
        """Look at a result of another type than the last one."""
        self.usual = self._watch(result)


def guarded(policy: Layer, fn: Function) -> Function:
    """Guard a function for one call: the gate, the composition, the check of what comes out."""
    return Entrance(policy, fn).gate()


def decorated(policy: Layer, fn: Function) -> Function:
    """Guard a function for good: what `guarded` makes is written out when it is first called."""
    entrance = Entrance(policy, fn)
    shell = entrance.gate()
    if policy.fuses and wanted():
        shell, entrance.beginning = fuse(shell, fn)
    return shell


def written_out(policy: Layer, fn: Function) -> str:
    """What `decorated` writes."""
    return source(guarded(policy, fn), fn)


def site_of(function: FunctionType) -> Site | None:
    """What is known of a function that a policy guards; `None` of any other."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # an empty one
            if isinstance(cell.cell_contents, Entrance):
                return cell.cell_contents.site
    return None


def _gated(entrance: Entrance, fn: Function) -> Function:
    def call(*args: Any, **kwargs: Any) -> Any:
        if (tracing._TRACER_PROVIDER is None and metering._METER_PROVIDER is None) or (
            listeners := gate.listeners()
        ) is None:
            result = fn(*args, **kwargs)
        else:
            result = entrance.observed(listeners, args, kwargs)
        if type(result) is not entrance.usual:
            entrance.check(result)
        return result

    return call


def _agated(entrance: Entrance, fn: AsyncFunction) -> AsyncFunction:
    async def call(*args: Any, **kwargs: Any) -> Any:
        if (tracing._TRACER_PROVIDER is None and metering._METER_PROVIDER is None) or (
            listeners := gate.listeners()
        ) is None:
            result = await fn(*args, **kwargs)
        else:
            result = await entrance.aobserved(listeners, args, kwargs)
        if type(result) is not entrance.usual:
            entrance.check(result)
        return result

    return call
