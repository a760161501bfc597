"""Written out or nested, it is the same: generated pipelines, signatures, calls and outcomes, and all that can be seen.

Each story is told twice, with `fuse=True` and with `fuse=False`. One difference is allowed: arguments that do not fit
are a `TypeError` before any policy has seen the call, so the stories have none.
"""

import re
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience import (
    AdaptiveBulkhead,
    AdaptiveThrottle,
    Bulkhead,
    Cache,
    Chaos,
    CircuitBreaker,
    FailureRate,
    Hedge,
    Keyed,
    Pipeline,
    Rate,
    RateLimiter,
    fallback,
    listen,
    retry,
    timeout,
)
from resilience.events import Event
from resilience.testing import sandbox
from tests.sdk import Sdk, forget_providers


class Plain:
    """A policy of a user's, in the form; with a global that is looked up at each call."""

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        log = LOG

        def call(*args: Any, **kwargs: Any) -> Any:
            log.append(("plain", SHOWN))
            result = fn(*args, **kwargs)
            return result  # noqa: RET504 - the form

        return call

    def abind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        log = LOG

        async def call(*args: Any, **kwargs: Any) -> Any:
            log.append(("plain", SHOWN))
            result = await fn(*args, **kwargs)
            return result  # noqa: RET504 - the form

        return call


class Wild:
    """Another one, that is not: it returns in two places."""

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if args:
                return fn(*args, **kwargs)
            return fn(**kwargs)

        return call

    def abind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if args:
                return await fn(*args, **kwargs)
            return await fn(**kwargs)

        return call


LOG: list[Any] = []
SHOWN = "shown"

LAYERS: dict[str, Callable[[], Any]] = {
    "fallback": lambda: fallback("instead", on=KeyError),
    "fallback to": lambda: fallback(to=lambda *args, **kwargs: ("instead", args[1:], kwargs), on=KeyError),
    "cache": lambda: Cache(ttl=20, key=lambda *args, **kwargs: repr((args, kwargs)), stale_if_error=9),
    "timeout": lambda: timeout(50, sync="deadline"),
    "retry": lambda: retry(on=(OSError, TimeoutError), attempts=3),
    "retry on result": lambda: retry(on=OSError, attempts=3, on_result=lambda result: result is None),
    "hedge": lambda: Hedge(after=4),
    "limiter": lambda: RateLimiter(Rate(2, per=10), max_wait=8),
    "throttle": lambda: AdaptiveThrottle(on=OSError),
    "keyed": lambda: Keyed(lambda _: CircuitBreaker(trip=2), key=lambda *args, **kwargs: len(args)),
    "breaker": lambda: CircuitBreaker(trip=3, cooldown=20),
    "breaker by rate": lambda: CircuitBreaker(trip=FailureRate(0.5, calls=4), cooldown=20),
    "bulkhead": lambda: Bulkhead(1),
    "adaptive": lambda: AdaptiveBulkhead(),
    "plain": Plain,
    "wild": Wild,
    "chaos": lambda: Chaos(fault=ConnectionError, rate=0.3, seed=1).start(),
    "attempt timeout": lambda: timeout(5, sync="deadline"),
}
ORDER = list(LAYERS)
PIPELINES = st.builds(
    lambda first, names: [*first, *sorted(names, key=ORDER.index)],
    st.sampled_from([[], [], [], ["fallback"], ["fallback to"]]),
    st.lists(st.sampled_from(ORDER[2:]), unique=True, max_size=8),
)

DEFAULT = ["a default"]
SIGNATURES: dict[str, tuple[str, str, list[tuple[tuple[Any, ...], dict[str, Any]]]]] = {
    "nothing": ("", "", [((), {})]),
    "one": ("order", "order", [((1,), {}), ((), {"order": 1})]),
    "only positional": ("order, amount=DEFAULT, /", "order, amount", [((1,), {}), ((1, 2), {})]),
    "only keyword": (
        "*, order, amount=DEFAULT",
        "order=order, amount=amount",
        [((), {"order": 1}), ((), {"amount": 2, "order": 1})],
    ),
    "any number": (
        "first=1, *args, last=DEFAULT, **kwargs",
        "first, *args, last=last, **kwargs",
        [((), {}), ((1, 2, 3), {}), ((), {"first": 5, "last": 0}), ((1,), {"more": 7, "last": 1})],
    ),
    "any": ("*args, **kwargs", "*args, **kwargs", [((), {}), ((1, 2, 3), {}), ((1,), {"more": 7, "last": 1})]),
    "the shells' own": (
        "fn, result, call, entrance=None, *, error=DEFAULT, clock=None, listeners=3, period=4",
        "fn, result, call, entrance, error=error, clock=clock, listeners=listeners, period=period",
        [((1, 2, 3), {}), ((1, 2), {"call": 3, "error": 4, "clock": 5})],
    ),
    "builtins": (
        "type, next, values=DEFAULT, /, *, Exception=1, self=2",
        "type, next, values, e=Exception, s=self",
        [((int, iter), {}), ((1, 2, 3), {"Exception": 4, "self": 5})],
    ),
    "annotated": (
        "order: 'no such name', args: '1 +' = DEFAULT",
        "order, args",
        [((1,), {}), ((1, 2), {}), ((), {"order": 1, "args": 2})],
    ),
}
"""The parameters, what is done with them, and how the function is called."""


def function_of(signature: str, work: Callable[..., Any], *, waits: bool) -> Callable[..., Any]:
    """A function with these parameters, that does the work."""
    declared, handed, _ = SIGNATURES[signature]
    head, run = ("async def", "await ") if waits else ("def", "")
    namespace: dict[str, Any] = {"work": work, "DEFAULT": DEFAULT}
    exec(f"{head} function({declared}): return {run}work({handed})", namespace)  # noqa: S102 - a text of ours
    function: Callable[..., Any] = namespace["function"]
    return function


class Stream:
    """A result that is no value."""

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __next__(self) -> int:
        raise StopIteration


ENDINGS: dict[str, Callable[[], Any]] = {
    "fine": lambda: "fine",
    "empty": lambda: None,
    "stream": Stream,
    "down": lambda: ConnectionError("down"),
    "wrong": lambda: KeyError("wrong"),
    "late": lambda: TimeoutError(),
    "interrupted": lambda: KeyboardInterrupt(),
    "several": lambda: ExceptionGroup("several", [OSError(), TimeoutError()]),
    "cancelled": lambda: "cancelled",
}
ATTEMPTS = st.lists(st.tuples(st.sampled_from(list(ENDINGS)), st.sampled_from([0, 1, 8, 30])), min_size=3, max_size=3)
CALLS = st.lists(st.tuples(st.integers(0, 3), ATTEMPTS), min_size=1, max_size=4)
SDKS = {"nobody": None, "traces": {}, "metrics": {"traces": False, "metrics": True}, "both": {"metrics": True}}


@pytest.fixture(autouse=True)
def no_provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test begins and ends without an SDK, and with what it is about switched on."""
    monkeypatch.delenv("RESILIENCE_FUSE", raising=False)
    forget_providers()
    yield
    forget_providers()


@pytest.mark.filterwarnings("ignore::resilience.ResilienceWarning")
@pytest.mark.parametrize("way", ["sync", "asyncio", "trio"])
@given(
    names=PIPELINES,
    signature=st.sampled_from(list(SIGNATURES)),
    calls=CALLS,
    sdk=st.sampled_from(list(SDKS)),
    since=st.integers(0, 4),
)
def test_written_out_or_nested_the_same_happens(
    way: str, names: list[str], signature: str, calls: list[Any], sdk: str, since: int
) -> None:
    if way != "asyncio":
        names = [name for name in names if name != "hedge"]  # threads, and the tasks of trio, run in any order
    told = [Story(way, names, signature, calls, sdk, since, fuse=fuse).told for fuse in (False, True)]
    assert told[1] == told[0]


class Story:
    """The calls of a script, and everything that can be seen of them."""

    def __init__(
        self, way: str, names: list[str], signature: str, calls: list[Any], sdk: str, since: int, *, fuse: bool
    ) -> None:
        LOG.clear()
        self.told: list[Any] = []
        self._way = way
        self._made: list[BaseException] = []
        listener = SDKS[sdk]
        forget_providers()
        variants = SIGNATURES[signature][2]
        with sandbox() as self._time:
            layers = [LAYERS[name]() for name in names]
            pipeline = Pipeline(*layers, name="x", fuse=fuse)
            waits = way != "sync"
            guarded = pipeline(function_of(signature, self._awork if waits else self._work, waits=waits))
            with listen(self._hear):
                for number, (variant, attempts) in enumerate(calls):
                    if number == since and listener is not None:
                        seen_by = Sdk(**listener).install()
                    self._attempts = iter(attempts * 9)
                    args, kwargs = variants[variant % len(variants)]
                    self.told.append((*self._outcome(guarded, args, kwargs), round(self._time.elapsed, 6)))
                    self.told.extend(_state_of(layer) for layer in layers)
            self.told.extend(LOG)
            if since < len(calls) and listener is not None:
                self.told.extend(_seen_by(seen_by))

    def _hear(self, event: Event) -> None:
        self.told.append((type(event).__name__, round(self._time.elapsed, 6), event.policy))

    def _work(self, *args: Any, **kwargs: Any) -> Any:
        ending, took = next(self._attempts)
        self.told.append(("called", args, sorted(kwargs.items()), [arg is DEFAULT for arg in args]))
        self._time.advance(took)
        return self._ended(ending, args)

    async def _awork(self, *args: Any, **kwargs: Any) -> Any:
        ending, took = next(self._attempts)
        self.told.append(("called", args, sorted(kwargs.items()), [arg is DEFAULT for arg in args]))
        await self._time.asleep(took)
        if ending == "cancelled":
            self._scope.cancel()
            await anyio.lowlevel.checkpoint()
        return self._ended(ending, args)

    def _ended(self, ending: str, args: Any) -> Any:
        result = ENDINGS[ending]()
        if isinstance(result, BaseException):
            self._made.append(result)
            raise result
        return result if result is None or isinstance(result, Stream) else (result, args)

    def _outcome(self, guarded: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Any, ...]:
        """How one call ends."""
        try:
            if self._way == "sync":
                result = guarded(*args, **kwargs)
            else:
                result = anyio.run(self._awaited, guarded(*args, **kwargs), backend=self._way)
        except BaseException as error:
            own = [index for index, one in enumerate(self._made) if one is error]
            around = type(error.__context__).__name__, type(error.__cause__).__name__
            return type(error).__name__, _settled(str(error)), own, getattr(error, "__notes__", []), around
        return "returned", "a stream" if isinstance(result, Stream) else result

    async def _awaited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        with anyio.CancelScope() as self._scope:
            return await coroutine
        return "cancelled"


def _settled(text: str) -> str:
    """A message without what differs from run to run."""
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def _state_of(layer: Any) -> tuple[Any, ...]:
    return tuple(_settled(repr(getattr(layer, what, None))) for what in ("state", "stats", "calm"))


def _seen_by(sdk: Sdk) -> Iterator[Any]:
    """What it was told. Counters and gauges are left out: they are the process's, and what they count is an event."""
    yield sdk.tree
    for span in sdk.spans:
        yield span.name, span.start_time, span.end_time, dict(span.attributes or {}), span.status.status_code
    durations = [name for name in sdk.metrics() if name.endswith(".duration")]
    for name in sorted(durations):
        points = [(sorted(map(str, key)), point.count, point.sum) for key, point in sdk.points(name).items()]
        yield name, sorted(points)
