"""The laws of an async timeout among others: other limits, shields, task groups, and a guard's two ends."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import assume, given
from hypothesis import strategies as st

from resilience import _anyio_scopes
from resilience._clock import clock
from resilience._timeout import timeout
from resilience.errors import TimedOut
from resilience.testing import VirtualClock
from tests.virtual import MOMENTS, both_loops, virtually


class ExpiredError(Exception):
    """One of the limits below cut the block off."""


@asynccontextmanager
async def ours(name: str, seconds: float) -> AsyncIterator[None]:
    try:
        async with timeout(seconds, name=name).guard():
            yield
    except TimedOut as error:
        if error.policy != name:
            raise
        raise ExpiredError(name) from error


@asynccontextmanager
async def asyncios(name: str, seconds: float) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as limit:
            call_off = clock.call_later(loop, seconds, lambda: limit.reschedule(loop.time()))
            try:
                yield
            finally:
                call_off()
    except TimeoutError as error:
        if isinstance(error, TimedOut) or not limit.expired():
            raise
        raise ExpiredError(name) from error


@asynccontextmanager
async def anyios(name: str, seconds: float) -> AsyncIterator[None]:
    with anyio.CancelScope() as scope:
        call_off = clock.expire(scope, seconds)
        try:
            yield
        finally:
            call_off()
    if scope.cancelled_caught:
        raise ExpiredError(name)


@asynccontextmanager
async def asyncio_group(name: str, seconds: float) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.Event().wait())
        try:
            yield
        finally:
            await asyncio.sleep(0)


@asynccontextmanager
async def anyio_group(name: str, seconds: float) -> AsyncIterator[None]:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.Event().wait)
        yield


LIMITS = {"ours": ours, "asyncio": asyncios, "anyio": anyios}
GROUPS = {"asyncio group": asyncio_group, "anyio group": anyio_group}
ON_TRIO = ["ours", "anyio", "anyio group"]


def leaf(error: BaseException) -> BaseException:
    """What a task group wrapped."""
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    return error


@pytest.mark.law(69)
@both_loops
@given(
    layers=st.lists(
        st.tuples(st.sampled_from([*LIMITS, *GROUPS]), MOMENTS),
        min_size=1,
        max_size=5,
        unique_by=lambda layer: layer[1],
    )
)
def test_limits_of_all_kinds_and_task_groups_nest(backend: str, layers: list[tuple[str, float]]) -> None:
    if backend == "trio":
        layers = [layer for layer in layers if layer[0] in ON_TRIO]
    seconds = [seconds for kind, seconds in layers if kind in LIMITS]
    assume(seconds)

    async def nested(rest: list[tuple[str, float]]) -> None:
        if not rest:
            await anyio.Event().wait()
            return
        kind, limit = rest[0]
        async with (LIMITS | GROUPS)[kind](str(limit), limit):
            await nested(rest[1:])

    async def main(time: VirtualClock) -> None:
        with pytest.raises((ExpiredError, ExceptionGroup)) as caught:
            await nested(layers)
        first = leaf(caught.value)
        assert isinstance(first, ExpiredError)
        assert first.args == (str(min(seconds)),)
        assert time.elapsed == min(seconds)

    virtually(backend, main)


@pytest.mark.law(87)
@both_loops
@given(
    limit=MOMENTS,
    shield=st.tuples(MOMENTS, MOMENTS).filter(lambda span: span[0] < span[1]),
    takes=MOMENTS,
    outside=st.booleans(),
    forced=st.booleans(),
)
def test_a_shield_entered_inside_is_waited_for(
    backend: str, limit: float, shield: tuple[float, float], takes: float, outside: bool, forced: bool
) -> None:
    enters, leaves = shield
    takes = max(takes, leaves)
    assume(limit not in (enters, leaves, takes))
    cut = limit if not enters < limit < leaves else leaves
    done: list[str] = []

    async def work() -> str:
        await clock.asleep(enters)
        with anyio.CancelScope(shield=True), anyio.CancelScope():
            await clock.asleep(leaves - enters)
            done.append("cleaned up")
        await clock.asleep(takes - leaves)
        return "done"

    async def main(time: VirtualClock) -> None:
        policy = timeout(limit)
        with anyio.CancelScope(shield=outside):  # a shield around the call protects it from others, not from its limit
            if limit > takes:
                assert await policy.acall(work) == "done"
                return
            with pytest.raises(TimedOut):
                await policy.acall(work)
        assert bool(done) == (limit > enters)
        assert cut <= time.elapsed <= cut + 0.02

    def run() -> None:
        virtually(backend, main)

    if forced:  # an anyio that cannot be asked
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_anyio_scopes.anyio_tasks, "states", Unreadable())
            run()
    else:
        run()


class Unreadable:
    """What another anyio may have in place of its table."""

    def get(self, _: object) -> None:
        raise AttributeError("_task_states")


@pytest.mark.law(87)
@both_loops
def test_a_call_that_ends_in_its_shield_after_the_limit_timed_out(backend: str) -> None:
    async def main(time: VirtualClock) -> None:
        @timeout(1.0)
        async def cleans_up() -> str:
            with anyio.CancelScope(shield=True):
                await clock.asleep(3.0)
            return "too late"

        with pytest.raises(TimedOut):
            await cleans_up()
        assert time.elapsed >= 3.0

    virtually(backend, main)


@pytest.mark.law(54, 69, 87)
@both_loops
def test_a_cancellation_from_outside_during_a_shield_wins(backend: str) -> None:
    async def main(time: VirtualClock) -> None:
        @timeout(1.0)
        async def cleans_up() -> None:
            with anyio.CancelScope(shield=True):
                await clock.asleep(3.0)
            await checkpoint()

        with anyio.CancelScope() as scope:
            clock.expire(scope, 2.0)
            await cleans_up()
        assert scope.cancelled_caught

    virtually(backend, main)


@pytest.mark.law(87)
def test_the_look_into_anyio_finds_what_it_looks_for() -> None:
    async def main() -> None:
        task = asyncio.current_task()
        before = _anyio_scopes.scope_of(task)
        assert before is not _anyio_scopes.UNREADABLE
        assert not _anyio_scopes.is_shielded(task, before)
        with anyio.CancelScope(shield=True) as shield, anyio.CancelScope():  # noqa: ASYNC100 - only looked at
            assert _anyio_scopes.is_shielded(task, before)
            assert not _anyio_scopes.is_shielded(task, shield)
        assert _anyio_scopes.scope_of(task) is before

    anyio.run(main)


@pytest.mark.law(81)
def test_a_guard_left_in_another_task_says_so_and_cuts_nobody() -> None:
    async def main(time: VirtualClock) -> None:
        policy = timeout(1.0, name="fetch")
        guard = policy.guard()
        entered, left = anyio.Event(), anyio.Event()

        async def enters() -> None:
            await guard.__aenter__()
            entered.set()
            await left.wait()
            await clock.asleep(5.0)

        async def leaves() -> None:
            await entered.wait()
            with pytest.raises(RuntimeError, match="fetch: this guard is left in another task than it was entered in"):
                await guard.__aexit__(None, None, None)
            assert not any(table.live for table in policy._limits._tables.values())
            left.set()

        async with anyio.create_task_group() as group:
            group.start_soon(enters)
            group.start_soon(leaves)
        assert time.elapsed == 5.0

    virtually("asyncio", main)


@pytest.mark.law(81)
@both_loops
def test_a_guard_in_an_async_generator_of_one_task_works(backend: str) -> None:
    async def main(time: VirtualClock) -> None:
        async def numbers() -> AsyncIterator[int]:
            async with timeout(1.0).guard():
                for number in range(10):
                    yield number
                    await clock.asleep(0.3)

        seen: list[int] = []

        async def advances() -> None:
            async for number in numbers():
                seen.append(number)  # noqa: PERF401 - those before the end count

        with pytest.raises(TimedOut):
            await advances()
        assert seen == [0, 1, 2, 3]

    virtually(backend, main)


@pytest.mark.law(69, 81)
def test_a_call_closed_in_another_context_ends_quietly(recwarn: pytest.WarningsRecorder) -> None:
    """As when an abandoned loop is collected with calls in it."""
    policy = timeout(60.0)

    async def forever() -> None:
        await asyncio.get_running_loop().create_future()

    loop = asyncio.new_event_loop()
    coroutine = policy.abind(forever)()
    task = loop.create_task(coroutine)
    loop.call_soon(loop.stop)
    loop.run_forever()
    coroutine.close()
    assert not any(table.live for table in policy._limits._tables.values())
    task.cancel()
    with pytest.raises((asyncio.CancelledError, RuntimeError)):
        loop.run_until_complete(task)
    loop.close()
    gc.collect()
    assert not recwarn
