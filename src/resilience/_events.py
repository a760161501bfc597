"""What happened, as frozen values, and the one door they leave by.

A policy emits an event only where something out of the ordinary happened: a call that succeeds at once emits nothing
and costs nothing. Listeners run in the thread and context of the call, outside every lock; one that raises is logged,
and changes nothing for the call.

By default the logger `resilience` says WARNING when a breaker opens or work is abandoned, INFO when a breaker closes.
Its records carry the `trace_id` and `span_id` of the call that they are about, empty where there is no trace.
"""

import logging
import os
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self

from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

from . import _checks, _metrics
from ._clock import clock


def _with_trace(record: logging.LogRecord) -> bool:
    """A filter that lets everything through, and adds which trace it belongs to."""
    context = get_current_span().get_span_context()
    with suppress(AttributeError):  # a record class of the user's may have these already, and not let go of them
        record.trace_id = format_trace_id(context.trace_id) if context.is_valid else ""
        record.span_id = format_span_id(context.span_id) if context.is_valid else ""
    return True


logger = logging.getLogger("resilience")
logger.addFilter(_with_trace)

_WARNING_STATES = ("open", "isolated")


def _now() -> float:
    return clock.now()  # looked up at each event: a sandbox replaces it


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened in a policy.

    Attributes:
        policy: The name of the policy.
        at: When, in seconds on the library's monotonic clock. Two events that differ only in this are equal.
    """

    policy: str
    at: float = field(default_factory=_now, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class Retrying(Event):
    """An attempt failed, and another follows after a wait.

    Attributes:
        attempt: The number of the attempt that failed, from 1.
        wait: Seconds until the next attempt starts.
        error: What the attempt raised; `None` if its result was unwanted.
    """

    attempt: int
    wait: float
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class Recovered(Event):
    """A call succeeded that had failed before: the end of its retrying.

    Attributes:
        attempts: How many attempts were made in all.
    """

    attempts: int


@dataclass(frozen=True, slots=True)
class GaveUp(Event):
    """A call that failed is not repeated any more: the end of its retrying.

    Attributes:
        attempts: How many attempts were made in all.
        reason: Why there is no further one.
        error: What the caller gets; `None` if it is an unwanted result.
    """

    attempts: int
    reason: str
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """A policy refused a call.

    Attributes:
        error: The refusal, as the caller gets it.
    """

    error: BaseException


@dataclass(frozen=True, slots=True)
class StateChanged(Event):
    """A circuit breaker changed its state.

    Attributes:
        before: The state that ended: "closed", "open", "half_open", "isolated", "disabled", "dry_run".
        after: The state that began.
        reason: Why.
        lasts: Seconds until it may end by itself; `None` if that is open.
    """

    before: str
    after: str
    reason: str
    lasts: float | None


@dataclass(frozen=True, slots=True)
class WouldOpen(Event):
    """A circuit breaker in `dry_run` would have opened now.

    Attributes:
        reason: Why.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class CutOff(Event):
    """A timeout cut a call off.

    Attributes:
        seconds: The limit that expired.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class Abandoned(Event):
    """A timeout stopped waiting for work that still runs in a worker thread.

    Attributes:
        seconds: The limit that expired.
        running: How many abandoned pieces of work this timeout has running now.
    """

    seconds: float
    running: int


@dataclass(frozen=True, slots=True)
class Overran(Event):
    """A call under a cooperative timeout ended later than its limit; its outcome was passed on all the same.

    Attributes:
        seconds: The limit.
        took: How long the call really took, in seconds.
    """

    seconds: float
    took: float


@dataclass(frozen=True, slots=True)
class FellBack(Event):
    """A fallback answered in place of the call.

    Attributes:
        error: What the call raised; `None` if its result was unwanted.
    """

    error: BaseException | None


@dataclass(frozen=True, slots=True)
class Hedged(Event):
    """A hedge began another attempt at a call that takes long.

    Attributes:
        attempt: Its number; the call's own is 1.
        after: How many seconds the attempts before it had taken without an answer.
    """

    attempt: int
    after: float


@dataclass(frozen=True, slots=True)
class Injected(Event):
    """A `Chaos` broke a call.

    Attributes:
        kind: "fault", "result", or "latency" where that is all.
        latency: How many seconds it delayed the call by.
        error: What it raised; `None`: nothing.
    """

    kind: str
    latency: float
    error: Exception | None


@dataclass(frozen=True, slots=True)
class ServedStale(Event):
    """A cache answered with a value that is older than its `ttl`.

    Attributes:
        age: How old the value is, in seconds.
        error: Why there was no newer one; `None`: one is being fetched meanwhile.
    """

    age: float
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class RefreshFailed(Event):
    """A cache could not fetch, in the background, what it had answered with an older value.

    Attributes:
        error: What the function raised, or why it was not called.
    """

    error: BaseException


@dataclass(frozen=True, slots=True)
class StoreFailed(Event):
    """The store of a cache raised; the call goes on without it.

    Attributes:
        verb: What the store was to do: "get", "put", "drop" or "clear".
        error: What it raised.
    """

    verb: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class SagaParked(Event):
    """Something of a saga waits for an operator; `policy` is the name of its class.

    Attributes:
        id: The saga's id.
        step: The step that waits; `None`: all of the saga.
        reason: "undo-failed", "step-failed", "undecodable" or "definition-changed".
        error: What went wrong, in words.
    """

    id: str
    step: str | None
    reason: str
    error: str


Listener = Callable[[Event], object]

_listeners: tuple[Listener, ...] = ()
_changing = threading.Lock()


def _after_fork() -> None:
    global _changing
    _changing = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)


def emit(event: Event) -> None:
    """Tell everybody who listens. Never raises; must not be called under a lock."""
    _safely(_log, event)
    for listener in _listeners:
        try:
            listener(event)
        except Exception as error:  # noqa: BLE001 - a listener is the user's, and its faults are not the call's
            report(error, "the listener %r raised while told of %r", listener, event)


def heard() -> bool:
    """Whether anybody listens. To be asked before an event is made that is in no log, where calls are many."""
    return bool(_listeners)


def report(error: Exception, text: str, *args: object) -> None:
    """Log what somebody else's code has raised that we called to tell it something. Never raises."""
    _safely(partial(logger.error, exc_info=error), text, *args)


def _safely(log: Callable[..., object], *args: object) -> None:
    """Log. A filter or handler of the user's that raises must not end the call that the log is about."""
    try:
        log(*args)
    except Exception:  # noqa: BLE001 - see above
        if logging.raiseExceptions:
            traceback.print_exc()


def refused(policy: str, error: BaseException) -> None:
    """Count and tell a refusal. While nobody listens it costs little: under overload, refusing must stay cheap."""
    _metrics.rejections.add((policy, _metrics.type_name(type(error))))
    if heard():
        emit(Refused(policy, error))


class listen:
    """Hear every event of every policy in this process.

    Use it as a context manager, or make it once and forget it::

        with listen(print):
            ...

        listen(metrics.record).start()

    Args:
        function: Called with each event, in the thread and context of the call it is about, outside every lock. It
            should be quick. What it raises is logged, and changes nothing for the call.

    Raises:
        TypeError: `function` cannot be called with one argument.
    """

    __slots__ = ("_listener",)

    def __init__(self, function: Listener, /) -> None:
        self._listener = _checks.takes_one("function", function)

    def start(self) -> Self:
        """Begin to listen."""
        global _listeners
        with _changing:
            _listeners = (*_listeners, self._listener)
        return self

    def stop(self) -> None:
        """Listen no more; harmless when not listening."""
        global _listeners
        with _changing:
            kept = list(_listeners)
            if self._listener in kept:
                kept.remove(self._listener)
            _listeners = tuple(kept)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _log(event: Event) -> None:
    match event:
        case StateChanged(policy, before, after, reason) if after in _WARNING_STATES:
            logger.warning("circuit breaker %s: %s -> %s%s", policy, before, after, f", {reason}" if reason else "")
        case StateChanged(policy, before, "closed", reason):
            logger.info("circuit breaker %s: %s -> closed, %s", policy, before, reason)
        case Abandoned(policy, seconds, running):
            logger.warning("timeout %s: work was left behind after %.3g s; %d such still run", policy, seconds, running)
        case SagaParked(policy, id_, step, reason, error):
            logger.warning("saga %s %s: %s waits for an operator, %s: %s", policy, id_, step or "all", reason, error)
        case _:
            pass
