"""What is seen of a call from outside, once the gate (`_gate`) has found that somebody looks.

One span and one duration per guarded call. When something inside repeats (a retry), each attempt is a child. The status
stays unset when the logical call succeeded, whatever its attempts did; on failure it is ERROR with `error.type`, as the
semantic conventions ask. No exception is recorded as a span event: the conventions deprecate it, an instrumented client
inside may do it, and it costs more than the call. A wait becomes a span when it is over, so no wait costs nothing.

All times are the library's own: on a virtual clock a trace is as true as on the real one.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from functools import partial
from itertools import count
from types import TracebackType
from typing import Any, Self, TypeVar

import opentelemetry.trace as api
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode, Tracer

from . import _metrics
from ._clock import clock
from ._core.outcomes import peek as peek_at
from ._core.windows import peek
from ._events import report
from ._gate import Listeners, gate
from ._metrics import CALL_DURATION, ERROR_TYPE, OUTCOME, POLICY_NAME, Instrument
from .errors import Rejected, TimedOut

Function = Callable[..., Any]
AsyncFunction = Callable[..., Awaitable[Any]]
T = TypeVar("T")

POLICY_TYPE = "resilience.policy.type"
ATTEMPT_NUMBER = "resilience.attempt.number"
ATTEMPT_COUNT = "resilience.attempt.count"
REJECTED_BY = "resilience.rejected_by"

_LONGEST_TEXT = 1_000
"""Characters of an exception's text that a span keeps."""


class Site:
    """A guarded function, as far as it is known before it is called."""

    __slots__ = ("attributes", "layers", "name")

    def __init__(self, name: str, kind: str, layers: tuple[object, ...]) -> None:
        self.name = name
        self.layers = layers
        self.attributes = {POLICY_NAME: name, POLICY_TYPE: kind}


class _Scope(ABC):
    """A stretch of a call that may have a span: the current one, and the one that facts go to, until it is over.

    It does the work of `use_span` without its generator, and writes all that is known at the end in one go.

    Attributes:
        facts: What policies have said meanwhile, for the span.
        recording: Whether there is a span, and it is recorded.
    """

    __slots__ = ("_context", "_span", "_token", "facts", "recording")

    def __init__(self) -> None:
        self.facts: dict[str, str | int] = {}
        self.recording = False
        self._span: Span | None = None

    @property
    @abstractmethod
    def call(self) -> "ObservedCall":
        """The call that it is a stretch of."""

    def open(self, tracer: Tracer | None, name: str, attributes: Mapping[str, str | int]) -> None:
        """Begin, with a span if there is a tracer."""
        self._token = _current.set(self)
        if tracer is not None:
            start = partial(tracer.start_span, name, attributes=attributes, start_time=wall_nanoseconds())
            self._span = span = unharmed(start)
            if span is not None:
                self._context = otel_context.attach(api.set_span_in_context(span))
                self.recording = span.is_recording()

    def close(self, outcome: str, error: BaseException | None) -> None:
        """It is over. A coroutine may be closed in another context than it ran in, where nothing is to be undone."""
        try:
            _current.reset(self._token)
        except ValueError:
            here = False
        else:
            here = True
        if self._span is not None:
            if here:
                otel_context.detach(self._context)
            unharmed(partial(conclude, self._span, outcome, error, self.facts))


_current: ContextVar[_Scope | None] = ContextVar("resilience_scope", default=None)


class ObservedCall(_Scope):
    """One guarded call that somebody listens to: a context manager around it. What runs inside finds it in the context.

    Attributes:
        fell_back: Whether a fallback has answered.
    """

    __slots__ = ("_began", "_listeners", "_numbers", "_site", "fell_back")

    def __init__(self, site: Site, listeners: Listeners) -> None:
        super().__init__()
        self._site = site
        self._listeners = listeners
        self._numbers: count[int] | None = None
        self.fell_back = False

    def __enter__(self) -> None:
        self._began = clock.now()
        self.open(self._listeners.tracer, self._site.name, self._site.attributes)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outcome = outcome_of(error, fell_back=self.fell_back)
        if self._listeners.histograms is not None:
            facts = {POLICY_NAME: self._site.name, OUTCOME: outcome, **error_type(error)}
            took = clock.now() - self._began
            unharmed(partial(self._listeners.histograms[CALL_DURATION.name].record, took, facts))
        if self._numbers is not None:
            self.facts[ATTEMPT_COUNT] = peek(self._numbers) - 1
        self.close(outcome, error)

    @property
    def call(self) -> "ObservedCall":
        """Itself: not stored, which would be a cycle in each call."""
        return self

    @property
    def layers(self) -> tuple[object, ...]:
        """The policies that guard it."""
        return self._site.layers

    @property
    def watched(self) -> bool:
        """Whether anybody wants to know of its attempts."""
        return self.recording or self._listeners.histograms is not None

    def attempt(self) -> "_Attempt":
        """The next attempt; it has a span of its own where the call has one that is recorded."""
        if self._numbers is None:
            self._numbers = count(1)
        return _Attempt(self, next(self._numbers))

    @property
    def tracer(self) -> Tracer | None:
        """What makes the spans below this one, if it is recorded."""
        return self._listeners.tracer if self.recording else None

    def note_attempt(self, outcome: str) -> None:
        """An attempt has ended."""
        if self._listeners.histograms is not None:
            _metrics.attempts.add((self._site.name, outcome))


class _Attempt(_Scope):
    """One attempt of an observed call: a context manager around it."""

    __slots__ = ("_call", "_number")

    def __init__(self, call: ObservedCall, number: int) -> None:
        super().__init__()
        self._call = call
        self._number = number

    @property
    def call(self) -> ObservedCall:
        """The call that it is an attempt of."""
        return self._call

    def __enter__(self) -> None:
        self.open(self._call.tracer, f"attempt {self._number}", {ATTEMPT_NUMBER: self._number})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outcome = outcome_of(error)
        self._call.note_attempt(outcome)
        self.close(outcome, error)


def fell_back(policy: object) -> None:
    """Say of the call under way that a fallback answers, if it is one of the call's own."""
    if (scope := _current.get()) is not None and any(layer is policy for layer in scope.call.layers):
        scope.call.fell_back = True


def observed(site: Site, listeners: Listeners, fn: Function, args: Any, kwargs: Any) -> Any:
    """Make one sync call that somebody listens to."""
    with ObservedCall(site, listeners):
        return fn(*args, **kwargs)


async def aobserved(site: Site, listeners: Listeners, fn: AsyncFunction, args: Any, kwargs: Any) -> Any:
    """Make one async call that somebody listens to."""
    with ObservedCall(site, listeners):
        return await fn(*args, **kwargs)


def attempts(fn: Function) -> Function:
    """The layer under whatever repeats, in the observed composition only: it sees each attempt."""

    def call(*args: Any, **kwargs: Any) -> Any:
        scope = _current.get()
        # Without a scope, a policy of the user's runs its attempts in a context of its own.
        if scope is None or not scope.call.watched:
            return fn(*args, **kwargs)
        with scope.call.attempt():
            return fn(*args, **kwargs)

    return call


def aattempts(fn: AsyncFunction) -> AsyncFunction:
    """The async twin of `attempts`."""

    async def call(*args: Any, **kwargs: Any) -> Any:
        scope = _current.get()
        if scope is None or not scope.call.watched:
            return await fn(*args, **kwargs)
        with scope.call.attempt():
            return await fn(*args, **kwargs)

    return call


def described(attributes: Callable[[], Mapping[str, str]], fn: Function) -> Function:
    """The layer outside a policy that has something to say, in the observed composition only; sync and async."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if (scope := _current.get()) is not None and scope.recording:
            scope.facts.update(attributes())
        return fn(*args, **kwargs)

    return call


class Waiting:
    """A wait of a policy's: a context manager around it. It becomes a span, and a duration, when it is over.

    Args:
        span: The name of the span.
        policy: Who waits.
        duration: The histogram that records it, if any.
    """

    __slots__ = ("_began", "_context", "_duration", "_policy", "_span")

    def __init__(self, span: str, policy: str, duration: Instrument | None = None) -> None:
        self._span = span
        self._policy = policy
        self._duration = duration

    def __enter__(self) -> Self:
        self._began = clock.now()
        self._context = otel_context.get_current()  # a coroutine may be closed in another
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        listeners = gate.listeners()
        if listeners is None:
            return
        took = clock.now() - self._began
        if self._duration is not None and listeners.histograms is not None:
            facts = {POLICY_NAME: self._policy, OUTCOME: outcome_of(error), **error_type(error)}
            unharmed(partial(listeners.histograms[self._duration.name].record, took, facts))
        if listeners.tracer is not None and api.get_current_span(self._context).is_recording():
            unharmed(partial(_past_span, listeners.tracer, self._span, self._policy, took, error, self._context))


class LeftBehind:
    """Work that nobody waits for any more, from the moment it is left until it ends: then it becomes a span.

    The span is a child of the one that was current when the work was left, wherever the work ends.
    """

    __slots__ = ("_began", "_context", "_policy")

    def __init__(self, policy: str) -> None:
        self._policy = policy
        self._began = clock.now()
        self._context = otel_context.get_current() if api.get_current_span().is_recording() else None

    def ended(self, error: BaseException | None) -> None:
        """The work has ended, in whatever thread."""
        listeners = gate.listeners()
        if listeners is not None and listeners.tracer is not None and self._context is not None:
            took = clock.now() - self._began
            name = "timeout.abandoned"
            unharmed(partial(_past_span, listeners.tracer, name, self._policy, took, error, self._context))


def _past_span(
    tracer: Tracer, name: str, policy: str, took: float, error: BaseException | None, context: Context
) -> None:
    """A span of what is over. Its length is measured on the monotonic clock; stepping the other is harmless."""
    begun = wall_nanoseconds() - int(took * 1e9)
    span = tracer.start_span(name, context, attributes={POLICY_NAME: policy}, start_time=begun)
    conclude(span, outcome_of(error), error, {})


def unharmed(tell: Callable[[], T]) -> T | None:
    """Tell OpenTelemetry. A sampler or processor of the user's may raise; to be watched must not change the call."""
    try:
        return tell()
    except Exception as error:  # noqa: BLE001 - see above
        report(error, "OpenTelemetry raised when it was told of a call, which goes on without it")
        return None


def conclude(span: Span, outcome: str, error: BaseException | None, facts: Mapping[str, str | int]) -> None:
    """End a span, and say on it how what it is about has ended."""
    try:
        if span.is_recording():
            _tell(span, outcome, error, facts)
    finally:
        span.end(wall_nanoseconds())


def _tell(span: Span, outcome: str, error: BaseException | None, facts: Mapping[str, str | int]) -> None:
    if error is not None and _is(error, Exception):
        by = peek_at(error, "policy") if _is(error, Rejected) else None
        refusal = {REJECTED_BY: by} if isinstance(by, str) else {}
        span.set_attributes({OUTCOME: outcome, **facts, **refusal, **error_type(error)})
        span.set_status(Status(StatusCode.ERROR, _text_of(error)))
    elif facts:
        span.set_attributes({OUTCOME: outcome, **facts})
    else:
        span.set_attribute(OUTCOME, outcome)  # a good deal quicker than several


def _is(error: BaseException, kind: type[BaseException]) -> bool:
    """Like `isinstance`, which asks the object too: what its `__class__` says, and that may raise or pose."""
    return issubclass(type(error), kind)


def outcome_of(error: BaseException | None, *, fell_back: bool = False) -> str:
    """How something ended, in the one word that spans and metrics have for it."""
    if error is None:
        return "fallback" if fell_back else "success"
    if _is(error, Rejected):
        return "rejected"
    if _is(error, TimedOut):
        return "timeout"
    return "error" if _is(error, Exception) else "cancelled"


def error_type(error: BaseException | None) -> dict[str, str]:
    """Present only on failure; a cancellation is none."""
    if error is None or not _is(error, Exception):
        return {}
    return {ERROR_TYPE: _metrics.type_name(type(error))}


def _text_of(error: BaseException) -> str:
    try:
        # A lone surrogate cannot be sent: the exporter would lose every span of its batch.
        return str(error)[:_LONGEST_TEXT].encode(errors="backslashreplace").decode()
    except Exception:  # noqa: BLE001 - it is the user's class, and to be watched must not change the call
        return "(its text cannot be had)"


def wall_nanoseconds() -> int:
    """Nanoseconds since 1970, as spans count them."""
    return int(clock.wall() * 1e9)
