"""Spans, and the gate that makes them free while nobody listens.

The gate is one identity check per call: is the tracer provider of OpenTelemetry still the one known to be silent? An
SDK installed at any later time is another object, so it is noticed on the very next call, and so is its removal.

One span per pipeline call. When something inside repeats (a retry), each attempt is a child. The status stays unset
when the logical call succeeded, whatever its attempts did; on failure it is ERROR with `error.type`, as the semantic
conventions ask. No exception is recorded as a span event: the conventions deprecate it, and it costs more than the
call.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar, Token
from functools import cache
from types import TracebackType
from typing import Any

import opentelemetry.trace as api
from opentelemetry import context as otel_context
from opentelemetry.trace import NoOpTracer, Span, SpanKind, Status, StatusCode, Tracer

from .errors import Rejected, TimedOut

Function = Callable[..., Any]
AsyncFunction = Callable[..., Awaitable[Any]]


class _PublicDoor:
    """Stands in for the module, should a later API hide the provider's name: right, but some 900 ns slower."""

    @property
    def _TRACER_PROVIDER(self) -> object:  # noqa: N802 - the name that it stands in for
        provider = api.get_tracer_provider()
        return None if isinstance(provider, api.ProxyTracerProvider) else provider


providers: Any = api if hasattr(api, "_TRACER_PROVIDER") else _PublicDoor()
"""Where the gate looks: `providers._TRACER_PROVIDER`."""


class _Gate:
    """The provider known to be silent, and the tracer of the one that is not."""

    __slots__ = ("_provider", "_tracer", "silent")

    def __init__(self) -> None:
        self.silent: object = None
        self._provider: object = None
        self._tracer: Tracer | None = None

    def tracer(self) -> Tracer | None:
        """The tracer to use now, or `None` if nobody listens. Called only while the provider is not the silent one."""
        provider = providers._TRACER_PROVIDER
        if provider is None:
            self.silent = None
            return None
        if provider is not self._provider:
            tracer = provider.get_tracer("resilience")
            if isinstance(tracer, NoOpTracer):
                self.silent = provider
                return None
            # The tracer before the provider: a thread that sees the new provider must not use the old tracer.
            self._tracer = tracer
            self._provider = provider
        return self._tracer


gate = _Gate()


class CallRecord:
    """What the attempts of one observed call share: their count."""

    __slots__ = ("attempts",)

    def __init__(self) -> None:
        self.attempts = 0


_current: ContextVar[CallRecord | None] = ContextVar("resilience_call", default=None)


class _SpanScope:
    """A span that is the current one inside the block: the work of `use_span` without its generator."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> Span:
        self._token = otel_context.attach(api.set_span_in_context(self._span))
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        otel_context.detach(self._token)
        _conclude(self._span, error)
        self._span.end()


@cache
def load_provider() -> None:
    """Load the provider that `OTEL_PYTHON_TRACER_PROVIDER` names, if any; done once, at the first decoration."""
    api.get_tracer_provider()


def observed(tracer: Tracer, name: str, attributes: Mapping[str, str], fn: Function, args: Any, kwargs: Any) -> Any:
    """Make one sync call of a pipeline under its span."""
    record = CallRecord()
    token = _current.set(record)
    try:
        with _SpanScope(tracer.start_span(name, kind=SpanKind.INTERNAL, attributes=attributes)) as span:
            try:
                return fn(*args, **kwargs)
            finally:
                _count(span, record)
    finally:
        _forget(token)


async def aobserved(
    tracer: Tracer, name: str, attributes: Mapping[str, str], fn: AsyncFunction, args: Any, kwargs: Any
) -> Any:
    """Make one async call of a pipeline under its span."""
    record = CallRecord()
    token = _current.set(record)
    try:
        with _SpanScope(tracer.start_span(name, kind=SpanKind.INTERNAL, attributes=attributes)) as span:
            try:
                return await fn(*args, **kwargs)
            finally:
                _count(span, record)
    finally:
        _forget(token)


def _forget(record: Token[CallRecord | None]) -> None:
    with suppress(ValueError):  # a coroutine that is closed in another context than it began in: nothing to forget here
        _current.reset(record)


def attempt_spans(fn: Function) -> Function:
    """The layer under whatever repeats, in the observed composition only: one child span per attempt."""

    def call(*args: Any, **kwargs: Any) -> Any:
        with _attempt():
            result = fn(*args, **kwargs)
        return result

    return call


def aattempt_spans(fn: AsyncFunction) -> AsyncFunction:
    """The async twin of `attempt_spans`."""

    async def call(*args: Any, **kwargs: Any) -> Any:
        with _attempt():
            result = await fn(*args, **kwargs)
        return result

    return call


def _attempt() -> _SpanScope:
    record = _current.get() or CallRecord()
    record.attempts += 1
    tracer = gate.tracer() or NoOpTracer()
    return _SpanScope(
        tracer.start_span(f"attempt {record.attempts}", attributes={"resilience.attempt.number": record.attempts})
    )


def _count(span: Span, record: CallRecord) -> None:
    if record.attempts:
        span.set_attribute("resilience.attempt.count", record.attempts)


def _conclude(span: Span, error: BaseException | None) -> None:
    if not span.is_recording():
        return
    span.set_attribute("resilience.outcome", _outcome(error))
    if isinstance(error, Rejected):
        span.set_attribute("resilience.rejected_by", error.policy)
    if isinstance(error, Exception):
        span.set_attribute("error.type", _type_name(error))
        span.set_status(Status(StatusCode.ERROR, _text_of(error)))


def _outcome(error: BaseException | None) -> str:
    match error:
        case None:
            return "success"
        case Rejected():
            return "rejected"
        case TimedOut():
            return "timeout"
        case Exception():
            return "error"
        case _:
            return "cancelled"


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - it is the user's class, and to be watched must not change the call
        return "(its text cannot be had)"


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
