"""A hot path that doubles is seen here: by the bytecodes that it executes, which no busy machine makes more."""

import asyncio
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

import pytest

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
    RateLimiter,
    fallback,
    retry,
    timeout,
)

POLICIES: dict[str, Callable[[], Any]] = {
    "nothing": Pipeline,
    "retry": lambda: retry(on=OSError),
    "breaker": CircuitBreaker,
    "breaker by rate": lambda: CircuitBreaker(trip=FailureRate(0.5, seconds=10)),
    "bulkhead": lambda: Bulkhead(1_000),
    "limiter": lambda: RateLimiter(1_000_000_000),
    "fallback": lambda: fallback(None, on=OSError),
    "cache": lambda: Cache(3_600),
    "keyed": lambda: Keyed(lambda _: CircuitBreaker(), key="order"),
    "adaptive bulkhead": lambda: AdaptiveBulkhead(initial=1_000),
    "throttle": AdaptiveThrottle,
    "chaos": lambda: Chaos(rate=0.5, fault=OSError),
    "timeout": lambda: timeout(30, sync="deadline"),
    "hedge": lambda: Hedge(30),
    "three": lambda: Pipeline(retry(on=OSError), CircuitBreaker(), Bulkhead(1_000)),
    "five": lambda: Pipeline(retry(on=OSError), CircuitBreaker(), Bulkhead(1_000), CircuitBreaker(), Bulkhead(1_000)),
}
# Nested, plain and awaited; written out, plain and awaited: as counted on CPython 3.11. Later ones need about as many.
RECORDED: dict[str, tuple[int, int, int, int]] = {
    "nothing": (27, 30, 25, 28),
    "retry": (62, 68, 50, 53),
    "breaker": (60, 59, 48, 44),
    "breaker by rate": (83, 82, 70, 66),
    "bulkhead": (70, 76, 58, 61),
    "limiter": (120, 126, 110, 113),
    "fallback": (41, 47, 30, 33),
    "cache": (195, 205, 184, 191),
    "keyed": (102, 104, 102, 104),
    "adaptive bulkhead": (189, 195, 177, 180),
    "throttle": (157, 156, 145, 141),
    "chaos": (49, 55, 39, 42),
    "timeout": (173, 199, 161, 184),
    "hedge": (0, 484, 0, 464),  # in plain code it runs in threads, and they come as they come
    "three": (138, 143, 108, 104),
    "five": (214, 218, 164, 153),
}
TOO_MANY = 1.5
TOOL = 4  # of those that are free for anybody


@pytest.fixture(autouse=True)
def switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the environment of the test run switches it off."""
    monkeypatch.delenv("RESILIENCE_FUSE", raising=False)


@pytest.mark.parametrize("waits", [False, True], ids=["plain", "awaited"])
@pytest.mark.parametrize("fuse", [False, True], ids=["nested", "one function"])
@pytest.mark.parametrize("name", POLICIES)
def test_a_good_call_takes_no_more_than_it_did(name: str, fuse: bool, waits: bool) -> None:
    recorded = RECORDED[name][2 * fuse + waits]
    if recorded:
        assert counted(POLICIES[name](), fuse=fuse, waits=waits) < TOO_MANY * recorded


@pytest.mark.parametrize("fuse", [False, True], ids=["nested", "one function"])
def test_a_path_that_doubles_is_seen(fuse: bool) -> None:
    twice = Pipeline(Doubled(), CircuitBreaker())
    assert counted(twice, fuse=fuse, waits=False) > TOO_MANY * RECORDED["breaker"][2 * fuse]


class Doubled:
    """Does what a breaker does a second time."""

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        again = CircuitBreaker().bind(work)

        def call(*args: Any, **kwargs: Any) -> Any:
            again(*args, **kwargs)
            result = fn(*args, **kwargs)
            return result  # noqa: RET504 - the form

        return call

    abind = bind


def work(order: int) -> int:
    """What is guarded."""
    return order


async def awork(order: int) -> int:
    """The same, awaited."""
    return order


def counted(policy: Any, *, fuse: bool, waits: bool) -> int:
    """How many bytecodes one good call takes, when it is not the first."""
    guarded = Pipeline(policy, fuse=fuse)(awork if waits else work)

    async def main() -> int:
        for _ in range(3):
            await guarded(1)
        with Counter() as counter:
            await guarded(1)
        return counter.count - idle()

    if waits:
        return asyncio.run(main())
    for _ in range(3):
        guarded(1)
    with Counter() as counter:
        guarded(1)
    return counter.count - idle()


def idle() -> int:
    """What the counting itself takes."""
    with Counter() as counter:
        pass
    return counter.count


class Counter:
    """Counts the bytecodes that run in the block."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        if sys.version_info >= (3, 12):
            sys.monitoring.use_tool_id(TOOL, "counter")
            sys.monitoring.register_callback(TOOL, sys.monitoring.events.INSTRUCTION, self._ran)
            sys.monitoring.set_events(TOOL, sys.monitoring.events.INSTRUCTION)
        else:
            self._before = sys.gettrace()
            sys.settrace(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        if sys.version_info >= (3, 12):
            sys.monitoring.set_events(TOOL, 0)
            sys.monitoring.free_tool_id(TOOL)
        else:
            sys.settrace(self._before)

    def _ran(self, *_: object) -> None:
        self.count += 1

    def _see(self, frame: FrameType, event: str, _: object) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self.count += event == "opcode"
        return self._see
