"""Calls that share a timer are hedged as if each had its own: in time, one by one, and as their callers called them."""

import asyncio
from contextvars import ContextVar

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience import Hedge, deadline, remaining
from resilience._clock import clock
from resilience.testing import sandbox

every_backend = pytest.mark.parametrize("backend", ["asyncio", "trio"])

TENTHS = st.integers(0, 40).map(lambda tenths: tenths / 10)


@pytest.mark.law(57, 60)
@every_backend
@given(calls=st.lists(st.tuples(TENTHS, TENTHS.map(lambda takes: takes + 0.05)), min_size=1, max_size=12))
def test_each_of_many_calls_is_hedged_when_its_own_time_has_come(
    backend: str, calls: list[tuple[float, float]]
) -> None:
    hedge, begun = Hedge(1.0, budget=None), dict[int, list[float]]()

    @hedge
    async def work(number: int, takes: float) -> None:
        begun.setdefault(number, []).append(clock.now() - 1000)
        await clock.asleep(takes)

    async def later(number: int, starts: float, takes: float) -> None:
        await clock.asleep(starts)
        await work(number, takes)

    async def scene() -> None:
        async with anyio.create_task_group() as tasks:
            for number, (starts, takes) in enumerate(calls):
                tasks.start_soon(later, number, starts, takes)

    with sandbox():
        anyio.run(scene, backend=backend)
    for number, (starts, takes) in enumerate(calls):
        assert begun[number] == pytest.approx([starts, starts + 1.0] if takes > 1.0 else [starts])


@pytest.mark.law(58)
@every_backend
def test_a_call_is_hedged_after_the_quantile_of_the_moment_in_which_it_began(backend: str) -> None:
    hedge, begun = Hedge(budget=None), dict[str, list[float]]()

    @hedge
    async def work(name: str, seconds: float) -> None:
        begun.setdefault(name, []).append(clock.now())
        await clock.asleep(seconds)

    def learn(seconds: float) -> None:
        for _ in range(200):
            hedge.latencies.add(seconds)

    async def scene() -> float:
        began = clock.now()
        async with anyio.create_task_group() as tasks:
            for seconds in (1.0, 0.25, 0.5):
                learn(seconds)
                tasks.start_soon(work, str(seconds), 9.0)
                await anyio.lowlevel.checkpoint()
                await clock.asleep(0.01)
        return began

    with sandbox():
        anyio.run(scene, backend=backend)
    assert {name: second - first for name, (first, second) in begun.items()} == pytest.approx(
        {"1.0": 1.0, "0.25": 0.25, "0.5": 0.5}
    )


@pytest.mark.law(66, 92)
@every_backend
def test_a_rival_sees_its_caller_s_context_and_nothing_that_another_or_the_primary_has_set(backend: str) -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")
    seen: list[tuple[str, float | None]] = []
    hedge = Hedge(1.0, budget=None)

    @hedge
    async def work() -> None:
        seen.append((who.get(), remaining()))
        who.set("the attempt's own")
        with deadline(0.1):
            await clock.asleep(3)

    async def call(name: str, seconds: float) -> None:
        await clock.asleep(seconds)
        who.set(name)
        with deadline(5):
            await work()

    async def scene() -> None:
        async with anyio.create_task_group() as tasks:
            for number, name in enumerate(("ann", "bob", "cyd")):
                tasks.start_soon(call, name, number / 10)

    with sandbox():
        anyio.run(scene, backend=backend)
    names = ["ann", "bob", "cyd"]
    assert seen == [(name, pytest.approx(5)) for name in names] + [(name, pytest.approx(4)) for name in names]


def test_on_asyncio_quick_calls_share_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    armed: list[float] = []

    @Hedge(1.0)
    async def work() -> None: ...

    async def scene() -> None:
        for _ in range(100):
            await work()

    with sandbox():
        real = clock.call_later

        def counted(loop: asyncio.AbstractEventLoop, seconds: float, function: object) -> object:
            armed.append(seconds)
            return real(loop, seconds, function)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

        monkeypatch.setattr(clock, "call_later", counted)
        asyncio.run(scene())
        monkeypatch.undo()
    assert armed == [1.0]


@pytest.mark.parametrize("same_loop", [True, False])
def test_a_hedge_serves_one_loop_after_the_other_and_one_sandbox_after_the_other(same_loop: bool) -> None:
    hedge, home = Hedge(1.0, budget=None), asyncio.Runner()

    @hedge
    async def work(first: list[int]) -> int:
        first.append(1)
        number = len(first)
        await clock.asleep(9.0 if number == 1 else 0.5)
        return number

    for _ in range(3):
        with sandbox():
            for _ in range(2):
                began = clock.now()
                assert (home.run if same_loop else asyncio.run)(work([])) == 2
                assert clock.now() - began == pytest.approx(1.5)
                assert (home.run if same_loop else asyncio.run)(work([1])) == 2  # quick: it leaves the timer waiting
    home.close()


def test_a_call_leaves_nothing_behind_however_it_ends() -> None:
    hedge = Hedge(1.0, budget=None)

    @hedge
    async def work(error: BaseException | None, seconds: float) -> None:
        await clock.asleep(seconds)
        if error is not None:
            raise error

    async def scene() -> None:
        for seconds in (0.5, 5.0):
            await work(None, seconds)
            with pytest.raises(ConnectionError):
                await work(ConnectionError(), seconds)
            task = asyncio.ensure_future(work(None, 9.0))
            await clock.asleep(seconds)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        calls = hedge._calls
        assert calls is not None
        assert calls._recent is not None
        assert not calls._recent.live

    with sandbox():
        asyncio.run(scene())
