"""`record`: write down the traffic of a pipeline, so that a changed pipeline can be tried on it later.

No event tells of a call that simply succeeds, for such a call costs nothing. So a recording is two thin layers,
which `record.around` puts around a pipeline: the outer one sees each call as its caller does, also one that is refused;
the inner one sees each attempt as the service does. One line is written for both. A listener adds the moments when a
circuit breaker of that pipeline changed its state.

Time, name, duration and the class of the outcome are written, never what was asked or answered. How the lines reach
the file is in `_traffic_file`.
"""

import os
import warnings
import weakref
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, Token
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from . import _checks
from ._clock import clock
from ._core.outcomes import peek
from ._core.replay import Attempt, Call, Turn
from ._events import Event, StateChanged, listen
from ._fallback import fallback
from ._layer import Layer, SupportsBind
from ._lease import Ending, Guard, Lease
from ._metrics import type_name
from ._pipeline import FallbackPipeline, Pipeline
from ._policy import Shared
from ._telemetry import outcome_of
from ._traffic_file import RecordStats, TrafficFile
from ._traits import Role, Traits
from .errors import ResilienceWarning

U = TypeVar("U")

_STATUSES = range(100, 600)


class record:
    """Write down the traffic of pipelines, for `python -m resilience backtest`.

    ```python
    traffic = record("traffic.jsonl")

    payments = traffic.around(Pipeline(retry(on=ConnectionError), CircuitBreaker("payments"), name="payments"))

    @payments
    def charge(order): ...
    ```

    One line of JSON for each call: when it began, the pipeline's name, how long it took, how it ended, and the same of
    each attempt. No argument, no result, no text of an exception is written.

    It goes on with a file that is there, and begins another where that is deleted or moved away. State is per process,
    and so is a recording: a forked child writes to a file of its own, `traffic.PID.jsonl`. Use it as a context manager,
    or make it once and forget it: the rest is written when the process ends.

    Args:
        path: The file. Its folder must be there.
        max_bytes: How large the file may become; then nothing more is written, and the log says so. Default
            100,000,000, some 500,000 calls; `None`: no limit.

    Raises:
        TypeError: A parameter is of the wrong kind.
        ValueError: `max_bytes` is less than 1,000, or there is no such folder to write in.
    """

    __slots__ = ("__weakref__", "_ears", "_file", "_names")

    def __init__(self, path: str | Path, *, max_bytes: int | None = 100_000_000) -> None:
        most = None if max_bytes is None else _checks.whole("max_bytes", max_bytes, least=1_000)
        self._file = TrafficFile(_writable(path), most)
        self._names: dict[str, tuple[str, ...]] = {}  # of policies, and the pipelines that they are in
        self._ears = _Ears(self)
        weakref.finalize(self, self._file.close)

    @overload
    def around(
        self, policy: "fallback[U] | FallbackPipeline[U]", /, *, name: str | None = None
    ) -> "FallbackPipeline[U]": ...
    @overload
    def around(self, policy: SupportsBind, /, *, name: str | None = None) -> Pipeline: ...
    def around(self, policy: Any, /, *, name: str | None = None) -> Any:
        """The same policy, recorded.

        Args:
            policy: A pipeline, or any policy. `Pipeline()` records bare calls. A fallback that it begins with stays
                outside, so that what it answers for is recorded as it was.
            name: What the recording calls it. Default: the policy's own name. Give its circuit breakers names too: by
                them their changes of state are told from those of others.

        Returns:
            A pipeline of the policy's layers, with one around them and one inside that write.

        Raises:
            TypeError: It is no policy.
        """
        whole = policy if isinstance(policy, Pipeline) else Pipeline(policy)
        called = _checks.text("name", name) if name is not None else _label(policy)
        layers = whole.layers()
        outside = sum(isinstance(layer, Layer) and layer.traits().role is Role.FALLBACK for layer in layers[:1])
        for layer in layers:
            if isinstance(layer, Layer):
                self._names[layer.label] = tuple({*self._names.get(layer.label, ()), called})
        site = _Site(self, called)
        with warnings.catch_warnings():  # what is doubtful in it was said when it was made
            warnings.simplefilter("ignore", ResilienceWarning)
            kind: type[Any] = FallbackPipeline if isinstance(whole, FallbackPipeline) else Pipeline
            return kind(*layers[:outside], Calls(site), *layers[outside:], Attempts(site), name=whole.name or name)

    @property
    def stats(self) -> RecordStats:
        """All figures, as of now."""
        return self._file.stats()

    def flush(self) -> None:
        """Write what waits in memory."""
        self._file.drain()

    def close(self) -> None:
        """Write what waits, and end the recording. The pipelines go on; nothing more is written. Harmless twice."""
        self._ears.stop()
        self._file.close()

    def write(self, line: Call | Turn) -> None:
        """Take a line. Never raises."""
        self._file.add(line)

    def hear(self, event: Event) -> None:
        """Take note of a circuit breaker of a pipeline that is recorded."""
        if isinstance(event, StateChanged):
            for pipeline in self._names.get(event.policy, ()):
                self.write(Turn(round(self._file.zero + event.at, 6), pipeline, event.policy, event.after))

    def now(self) -> float:
        """Seconds since 1970, on the monotonic clock."""
        return self._file.zero + clock.now()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Ears:
    """What listens for a recording, and does not keep it alive.

    It stops at the first event after its end, and not in a finalizer, which may run inside a lock that stopping takes.
    """

    __slots__ = ("_listening", "_whose")

    def __init__(self, recording: record) -> None:
        self._whose = weakref.ref(recording)
        self._listening = listen(self).start()

    def __call__(self, event: Event) -> None:
        recording = self._whose()
        if recording is None:
            self.stop()
        else:
            recording.hear(event)

    def stop(self) -> None:
        """Listen no more."""
        self._listening.stop()


def _writable(path: object) -> Path:
    if not isinstance(path, str | Path):
        raise TypeError(f"path must be the name of a file, got {path!r} ({type(path).__name__})")
    file = Path(path).absolute()
    if file.is_dir():
        raise ValueError(f"path must name a file, got the folder {str(path)!r}")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise ValueError(f"path must name a file that can be written, in a folder that is there, got {str(path)!r}")
    return file


def _label(policy: SupportsBind) -> str:
    return policy.label if isinstance(policy, Layer) else type(policy).__name__


# The two layers


class _Site:
    """A recorded pipeline: where its lines go, and what they call it."""

    __slots__ = ("name", "recording")

    def __init__(self, recording: record, name: str) -> None:
        self.recording = recording
        self.name = name


class _Noted:
    """A call or an attempt under way.

    Attributes:
        site: The pipeline.
        at: When it began.
        ended: How; `None` as long as it has not.
        attempts: Those of a call.
        token: What puts the context back.
    """

    __slots__ = ("at", "attempts", "ended", "site", "token")

    def __init__(self, site: _Site) -> None:
        self.site = site
        self.at = site.recording.now()
        self.ended: Attempt | None = None
        self.attempts: list[_Noted] = []
        self.token: Token[_Noted | None] | None = None

    def end(self, outcome: str, error: BaseException | None, result: object) -> None:
        """It has ended."""
        took = self.site.recording.now() - self.at
        raised = None if error is None else type_name(type(error))
        self.ended = Attempt(round(self.at, 6), round(took, 6), outcome, raised, _status(error, result))

    def as_it_is(self) -> Attempt:
        """How it has ended; if it has not, that it still runs."""
        ended = self.ended
        return ended or Attempt(round(self.at, 6), round(self.site.recording.now() - self.at, 6), "running")


_under_way: ContextVar[_Noted | None] = ContextVar("resilience_recorded_call", default=None)


class _Seen(Shared):
    """A layer that sees calls pass, and changes nothing about them."""

    __slots__ = ("_site",)

    kind = "record"

    def __init__(self, site: _Site) -> None:
        super().__init__()
        self._site = site

    @abstractmethod
    def begin(self) -> _Noted:
        """One comes in."""

    @abstractmethod
    def end(self, noted: _Noted, error: BaseException | None, result: object, outcome: str | None = None) -> None:
        """And goes out."""

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """See `Policy.bind`."""
        begin, end = self.begin, self.end

        def call(*args: Any, **kwargs: Any) -> Any:
            noted = begin()
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                end(noted, error, None)
                raise
            end(noted, None, result)
            return result

        return call

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        """See `Policy.abind`."""
        begin, end = self.begin, self.end

        async def call(*args: Any, **kwargs: Any) -> Any:
            noted = begin()
            try:
                result = await fn(*args, **kwargs)
            except BaseException as error:
                end(noted, error, None)
                raise
            end(noted, None, result)
            return result

        return call

    def admit(self) -> Lease:
        """One call, in two steps."""
        return Lease(partial(self._settle, self.begin()))

    async def aadmit(self) -> Lease:
        """The same: nothing here waits."""
        return self.admit()

    def guard(self) -> Guard:
        """One call, as a block."""
        return Guard(self)

    def traits(self) -> Traits:
        """See `Policy.traits`."""
        return Traits(Role.CUSTOM, f"record: {self._what} of {self._site.name!r} are written down")

    _what = "calls"

    def _settle(self, noted: _Noted, ending: Ending, error: BaseException | None) -> None:
        if error is not None or ending is Ending.SUCCESS:
            self.end(noted, error, None)
        elif ending is Ending.FAILURE:
            self.end(noted, None, None, "error")
        else:
            self.end(noted, None, None, "cancelled" if noted.attempts else "rejected")


class Calls(_Seen):
    """The outermost layer: each call, as its caller sees it."""

    __slots__ = ()

    def begin(self) -> _Noted:
        """See `_Seen.begin`."""
        noted = _Noted(self._site)
        noted.token = _under_way.set(noted)
        return noted

    def end(self, noted: _Noted, error: BaseException | None, result: object, outcome: str | None = None) -> None:
        """See `_Seen.end`."""
        try:
            if noted.token is not None:
                _under_way.reset(noted.token)
        except ValueError:
            pass  # a lease, or a coroutine that is closed, may end in another context
        noted.end(outcome or outcome_of(error), error, result)
        whole = noted.as_it_is()
        self._site.recording.write(
            Call(
                whole.at,
                self._site.name,
                whole.took,
                whole.outcome,
                whole.error,
                whole.status,
                tuple(one.as_it_is() for one in noted.attempts.copy()),
            )
        )


class Attempts(_Seen):
    """The innermost layer: each call of the function, as the service sees it."""

    __slots__ = ()

    _what = "attempts"

    def begin(self) -> _Noted:
        """See `_Seen.begin`."""
        noted = _Noted(self._site)
        whole = _under_way.get()
        if whole is not None and whole.site is self._site:
            whole.attempts.append(noted)
        return noted

    def end(self, noted: _Noted, error: BaseException | None, result: object, outcome: str | None = None) -> None:
        """See `_Seen.end`."""
        noted.end(outcome or outcome_of(error), error, result)


def _status(error: BaseException | None, result: object) -> int | None:
    """The HTTP status of an answer, as the usual clients spell it: a class of outcomes, and no payload."""
    for answer in (result,) if error is None else (peek(error, "response"), error):
        for name in () if answer is None else ("status_code", "status"):
            value = peek(answer, name)
            if type(value) is int and value in _STATUSES and peek(answer, "headers") is not None:
                return value
    return None
