"""A signal handler may raise at any call. Whatever it interrupts inside of us, no lock stays taken."""

import asyncio
import gc
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import nullcontext, suppress
from contextvars import copy_context
from itertools import count
from types import FrameType
from typing import Any, Self

import pytest

from resilience import (
    AdaptiveBulkhead,
    AdaptiveThrottle,
    Bulkhead,
    Cache,
    CircuitBreaker,
    FailureRate,
    Hedge,
    Keyed,
    Pipeline,
    Rate,
    RateLimiter,
    RetryBudget,
    retry,
    timeout,
)
from resilience._locks import let_go
from resilience.errors import Rejected
from resilience.testing import sandbox
from tests.crowd import beside, nothing, until

POLICIES: dict[str, Callable[[], Any]] = {
    "retry": lambda: retry(on=ValueError, budget=RetryBudget()),
    "breaker": lambda: CircuitBreaker(),
    "breaker_rate": lambda: CircuitBreaker(trip=FailureRate(0.5, seconds=10)),
    "bulkhead": lambda: Bulkhead(5),
    "limiter": lambda: RateLimiter(1_000),
    "limiter_rates": lambda: RateLimiter(Rate(1_000), Rate(10_000, per=60)),
    "limiter_cost": lambda: RateLimiter(1_000, cost=lambda: 2),
    "adaptive_bulkhead": lambda: AdaptiveBulkhead(),
    "throttle": lambda: AdaptiveThrottle(),
    "cache": lambda: Cache(60),
    "hedge": lambda: Hedge(60),
    "timeout": lambda: timeout(60, sync="abandon"),
    "keyed": lambda: Keyed(lambda _: RateLimiter(1_000), key=lambda: "acme"),
    "pipeline": lambda: Pipeline(RateLimiter(1_000), CircuitBreaker(), Bulkhead(5)),
}

THREADED = {"hedge", "timeout"}
"""Those that have a plain function run in another thread: virtual time would not wait for that. On an event loop they
have timers, and what is raised in one of these ends the loop."""


class Interrupt:
    """Raises `KeyboardInterrupt` where a signal handler may: as the `at`-th call has begun, or has ended."""

    def __init__(self, at: int) -> None:
        self._left = at

    @property
    def came(self) -> bool:
        """Whether there were so many calls."""
        return self._left < 0

    def __enter__(self) -> Self:
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _see(self, frame: FrameType, event: str, _: object) -> None:
        if event in {"call", "c_return"} and "resilience" in frame.f_code.co_filename:
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt  # which ends the profile, too


def interrupted(fn: Callable[[], Any], at: int) -> bool:
    """Interrupt a call there; false if it has ended before."""
    gc.disable()  # what is raised in a finalizer, Python tells and drops: that is no interrupt
    try:
        with Interrupt(at) as interrupt, suppress(KeyError, KeyboardInterrupt):
            copy_context().run(fn)
    finally:
        gc.enable()
    return interrupt.came


def ended(fn: Callable[[], Any], event: threading.Event) -> None:
    """Make a call, and say when it has ended."""
    with suppress(KeyError, Rejected):  # a permit may be lost
        fn()
    event.set()


def elsewhere(fn: Callable[[], Any]) -> bool:
    """Whether a call in another thread ends."""
    event = threading.Event()
    threading.Thread(target=ended, args=(fn, event), daemon=True).start()
    return event.wait(20)


@pytest.mark.law(68)
@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
@pytest.mark.parametrize("policy", POLICIES)
def test_an_interrupt_leaves_no_lock_taken(policy: str, *, fails: bool) -> None:
    def work() -> None:
        if fails:
            raise KeyError

    with nullcontext() if policy in THREADED else sandbox():
        for at in count():
            fn = POLICIES[policy]()(work)
            with suppress(KeyError):
                fn()  # what is done once for each function is done
            if not interrupted(fn, at):
                break
            assert elsewhere(fn), f"interrupted at call {at}, it holds up another thread"
    assert at > 0


@pytest.mark.law(68)
@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
@pytest.mark.parametrize("policy", [name for name in POLICIES if name not in THREADED])
def test_nor_does_one_on_an_event_loop(policy: str, *, fails: bool) -> None:
    async def work() -> None:
        if fails:
            raise KeyError

    async def main() -> None:
        with suppress(KeyError):
            await fn()

    for at in count():
        with sandbox():
            fn = POLICIES[policy]()(work)
            asyncio.run(main())
            if not interrupted(lambda: asyncio.run(main()), at):
                break
            gc.collect()  # a task that was interrupted refers to itself, by its exception
            assert elsewhere(lambda: asyncio.run(main())), f"interrupted at call {at}, it holds up another thread"
    assert at > 0


@pytest.mark.law(68)
def test_an_interrupt_leaves_nobody_in_a_queue() -> None:
    with sandbox() as time:
        for at in count():
            fn = RateLimiter(1, max_wait=None)(nothing)
            fn()
            if not interrupted(fn, at):
                break
            time.advance(10)  # nobody has to wait any more
            assert elsewhere(fn), f"interrupted at call {at}, it holds up another thread"
    assert at > 0


@pytest.mark.law(62, 68)
@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
def test_an_interrupted_fetch_holds_up_nobody(*, fails: bool) -> None:
    def fetch() -> None:
        if cache.shelf.following == 0 and not follower.is_alive():
            follower.start()
            until(lambda: cache.shelf.following == 1)
        if fails:
            raise KeyError

    for at in count():
        cache = Cache(60)
        fn = cache(fetch)
        ends = threading.Event()
        follower = threading.Thread(target=ended, args=(fn, ends), daemon=True)
        if not interrupted(fn, at):
            break
        gc.collect()  # an interrupt may leave something that refers to itself
        if not follower.is_alive() and not ends.is_set():
            follower.start()  # interrupted before it had asked
        if not ends.wait(20):
            stands = traceback.format_stack(sys._current_frames().get(follower.ident or 0))
            pytest.fail(f"interrupted at call {at}, it holds up one who follows, at\n{''.join(stands)}")
        assert len(cache.shelf) == 0, f"interrupted at call {at}, it leaves something in the air"
    assert at > 0


@pytest.mark.law(68)
def test_an_interrupt_while_a_lock_is_waited_for_leaves_it_to_its_owner() -> None:
    lock = threading.RLock()
    owned, enough = threading.Event(), threading.Event()

    def own() -> None:
        with lock:
            owned.set()
            enough.wait()

    with beside(own):
        owned.wait()
        let_go(lock)
        assert not lock.acquire(blocking=False)
        enough.set()
    lock.acquire()
    let_go(lock)
