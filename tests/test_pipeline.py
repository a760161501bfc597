"""Pipelines: composition as algebra, and the doors that only some pipelines have."""

import asyncio
import contextlib
import copy
import inspect
import pickle
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience import (
    Bulkhead,
    BulkheadFull,
    CircuitBreaker,
    CircuitOpen,
    Lease,
    Pipeline,
    Rejected,
    SupportsBind,
    fallback,
    retry,
    timeout,
)
from resilience._lease import Ending
from resilience._pipeline import FallbackPipeline

Log = list[str]


class Noting:
    """A policy that somebody wrote: two methods, no base class. It notes what happens when."""

    def __init__(self, name: str, log: Log) -> None:
        self.name = name
        self.log = log

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.log.append(f"{self.name} in")
            try:
                result = fn(*args, **kwargs)
            finally:
                self.log.append(f"{self.name} out")
            return result

        return call

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self.log.append(f"{self.name} in")
            try:
                result = await fn(*args, **kwargs)
            finally:
                self.log.append(f"{self.name} out")
            return result

        return call

    def __repr__(self) -> str:
        return f"Noting({self.name!r})"


class Admitting(Noting):
    """One that hands out leases, too, or refuses."""

    refuses: type[Exception] | None = None

    def admit(self) -> Lease:
        if self.refuses is not None:
            raise self.refuses(self.name)
        self.log.append(f"{self.name} in")
        return Lease(lambda ending, error: self.log.append(f"{self.name} {ending.value} {error!r}"))

    async def aadmit(self) -> Lease:
        await anyio.lowlevel.checkpoint()
        return self.admit()

    def guard(self) -> Any:
        from resilience import Guard  # noqa: PLC0415 - shows all that a policy of one's own needs

        return Guard(self)


class Repeating(Noting):
    """One that calls twice what is inside."""

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        once = super().bind(fn)

        def call(*args: Any, **kwargs: Any) -> Any:
            once(*args, **kwargs)
            return once(*args, **kwargs)

        return call

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        once = super().abind(fn)

        async def call(*args: Any, **kwargs: Any) -> Any:
            await once(*args, **kwargs)
            return await once(*args, **kwargs)

        return call


# Trees of policies: a leaf is a policy by its number, a branch is a pipeline

Tree = int | list["Tree"]
trees = st.recursive(
    st.lists(st.integers(0, 9), max_size=4), lambda inner: st.lists(inner | st.integers(0, 9), max_size=4)
)


def layer(number: int, log: Log) -> Noting:
    return (Repeating if number % 3 == 0 else Noting)(str(number), log)


def planted(tree: Any, log: Log) -> Any:
    if isinstance(tree, int):
        return layer(tree, log)
    return Pipeline(*(planted(branch, log) for branch in tree))


def flat(tree: Any) -> list[int]:
    return [tree] if isinstance(tree, int) else [leaf for branch in tree for leaf in flat(branch)]


def told_by(decorate: Callable[[Callable[..., Any]], Callable[..., Any]], log: Log, way: str, fails: bool) -> Log:
    """What one call of a decorated function leaves in the log."""

    def work(a: int) -> int:
        log.append("work")
        if fails:
            raise OSError(a)
        return a

    async def awork(a: int) -> int:
        return work(a)

    log.clear()
    try:
        answer = asyncio.run(decorate(awork)(7)) if way == "async" else decorate(work)(7)
        log.append(f"answer {answer}")
    except OSError as error:
        log.append(repr(error))
    return log[:]


both_ways = pytest.mark.parametrize("way", ["sync", "async"])


@both_ways
@pytest.mark.law(79)
@given(tree=trees, fails=st.booleans())
def test_nesting_is_associative_and_the_order_is_that_of_stacked_decorators(way: str, tree: Any, fails: bool) -> None:
    log: Log = []
    leaves = flat(tree) if not isinstance(tree, int) else [tree]
    nested = planted(tree, log)
    row = Pipeline(*(layer(leaf, log) for leaf in leaves))

    def stacked(fn: Callable[..., Any]) -> Callable[..., Any]:
        for leaf in reversed(leaves):
            fn = Pipeline(layer(leaf, log))(fn)
        return fn

    def bound(fn: Callable[..., Any]) -> Callable[..., Any]:
        return nested.abind(fn) if way == "async" else nested.bind(fn)

    told = told_by(nested, log, way, fails)
    assert told == told_by(row, log, way, fails)
    assert told == told_by(stacked, log, way, fails)
    assert told == told_by(bound, log, way, fails)
    assert [str(part) for part in nested.layers()] == [str(part) for part in row.layers()]


@both_ways
@given(fails=st.booleans())
def test_the_empty_pipeline_is_the_identity(way: str, fails: bool) -> None:
    log: Log = []
    bare = told_by(lambda fn: fn, log, way, fails)
    assert told_by(Pipeline(), log, way, fails) == bare
    one = Noting("1", log)
    assert told_by(Pipeline(Pipeline(), one, Pipeline()), log, way, fails) == told_by(Pipeline(one), log, way, fails)


def test_bind_of_the_identity_is_the_function_itself() -> None:
    """So `bind` puts nothing of its own around a function: no gate, no check."""
    assert Pipeline().bind(len) is len
    assert Pipeline(Pipeline(), name="x").bind(len) is len
    assert Pipeline(name="x").abind(anyio.sleep) is anyio.sleep


def test_every_door_opens_a_policy_of_ones_own() -> None:
    log: Log = []
    mine: SupportsBind = Noting("mine", log)
    policy = Pipeline(mine)
    assert policy.call(divmod, 7, 2) == (3, 1)

    async def main() -> int:
        return await policy.acall(later, 3)

    assert asyncio.run(main()) == 3
    assert log == ["mine in", "mine out"] * 2


async def later(a: int) -> int:
    return a


def test_what_is_no_policy_is_refused() -> None:
    half = type("Half", (), {"bind": lambda self, fn: fn})()
    for part in (42, None, len, [retry(on=OSError)], half, "retry"):
        with pytest.raises(TypeError, match="a pipeline is made of policies"):
            Pipeline(part)
    with pytest.raises(
        TypeError, match=r"CircuitBreaker is a class; a pipeline is made of policies: CircuitBreaker\(\.\.\.\)"
    ):
        Pipeline(CircuitBreaker)


# Names and copies


def test_the_outermost_name_counts() -> None:
    assert Pipeline(Pipeline(name="inner"), name="outer").label == "outer"
    assert Pipeline(Pipeline(name="inner")).label == "Pipeline"


class Payments(Pipeline):
    """Somebody's own pipeline, with parameters of its own."""

    def __init__(self, *, attempts: int) -> None:
        super().__init__(timeout(5), retry(on=OSError, attempts=attempts), name="payments")
        self.attempts = attempts


@pytest.mark.law(73)
def test_a_pipeline_may_be_subclassed() -> None:
    payments = Payments(attempts=2)
    for twin in (payments, pickle.loads(pickle.dumps(payments)), copy.deepcopy(payments)):
        assert (type(twin), twin.attempts, twin.name) == (Payments, 2, "payments")
        assert repr(twin.layers()) == "(timeout(5), retry(on=OSError, attempts=2))"


@pytest.mark.law(73)
def test_pipelines_of_recipes_survive_pickle_and_copy() -> None:
    for pipeline in (
        Pipeline(),
        Pipeline(timeout(5), Pipeline(retry(on=OSError), name="inner"), name="outer"),
        Pipeline(fallback("x", on=OSError), retry(on=OSError)),
    ):
        for twin in (
            pickle.loads(pickle.dumps(pipeline)),
            copy.copy(pipeline),
            copy.deepcopy(pipeline),
        ):
            assert type(twin) is type(pipeline)
            assert (repr(twin), twin.name) == (repr(pipeline), pipeline.name)
            assert str(twin.explain()) == str(pipeline.explain())


@pytest.mark.law(73)
def test_pipelines_that_hold_state_refuse_to_be_copied() -> None:
    for way in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="'mine-of-73'> holds live state"):
            way(Pipeline(retry(on=OSError), CircuitBreaker("mine-of-73")))


def test_a_pipeline_that_begins_with_a_fallback_is_one_for_the_types() -> None:
    base = fallback("x", on=OSError)
    assert type(Pipeline(base)) is FallbackPipeline
    assert type(Pipeline(Pipeline(base), retry(on=OSError))) is FallbackPipeline
    assert type(Pipeline(retry(on=OSError))) is Pipeline

    def fails() -> int:
        raise OSError

    assert Pipeline(base)(fails)() == Pipeline(base).call(fails) == "x"

    async def afails() -> int:
        raise OSError

    assert asyncio.run(Pipeline(base).acall(afails)) == "x"
    assert asyncio.run(Pipeline(base)(afails)()) == "x"


def test_a_repr_says_what_is_in_it() -> None:
    written = "Pipeline(timeout(5), retry(on=OSError), name='outer')"
    assert repr(Pipeline(timeout(5), Pipeline(retry(on=OSError)), name="outer")) == written


# Leases and guards of several policies

ENDINGS = st.sampled_from(list(Ending))


def end(lease: Lease, ending: Ending, error: Exception) -> None:
    {Ending.SUCCESS: lease.succeed, Ending.FAILURE: lambda: lease.fail(error), Ending.RELEASED: lease.release}[ending]()


@both_ways
@given(count=st.integers(0, 5), ending=ENDINGS)
def test_leases_are_ended_in_reverse(way: str, count: int, ending: Ending) -> None:
    log: Log = []
    pipeline = Pipeline(*(Admitting(str(number), log) for number in range(count)))
    lease = pipeline.admit() if way == "sync" else asyncio.run(pipeline.aadmit())
    assert log == [f"{number} in" for number in range(count)]
    log.clear()
    error = OSError()
    end(lease, ending, error)
    told = error if ending is Ending.FAILURE else None
    assert log == [f"{number} {ending.value} {told!r}" for number in reversed(range(count))]
    lease.fail(error)
    assert len(log) == count  # the first end counts


@both_ways
@given(
    count=st.integers(1, 5),
    refusing=st.integers(0, 4),
    kind=st.sampled_from([BulkheadFull, KeyError, KeyboardInterrupt]),
)
def test_a_refusal_in_the_middle_gives_back_those_before(way: str, count: int, refusing: int, kind: type[Any]) -> None:
    refusing = min(refusing, count - 1)
    log: Log = []
    parts = [Admitting(str(number), log) for number in range(count)]
    parts[refusing].refuses = kind
    pipeline = Pipeline(*parts)
    if kind is KeyboardInterrupt and way == "async":
        return  # it would stop the loop
    with pytest.raises(kind):
        _ = pipeline.admit() if way == "sync" else asyncio.run(pipeline.aadmit())
    taken = [str(number) for number in range(refusing)]
    assert log == [f"{name} in" for name in taken] + [f"{name} released None" for name in reversed(taken)]


def test_a_predicate_that_raises_loses_no_lease_of_the_others() -> None:
    bulkhead = Bulkhead(1)

    def broken(error: Exception) -> bool:
        raise ZeroDivisionError

    lease = Pipeline(bulkhead, CircuitBreaker(on=broken), Bulkhead(1)).admit()
    with pytest.raises(ZeroDivisionError):
        lease.fail(OSError())
    assert bulkhead.stats.in_use == 0


def test_one_policy_refuses_and_the_places_before_it_are_free_again() -> None:
    places, breaker = Bulkhead(1), CircuitBreaker(trip=1)
    breaker.isolate()
    pipeline = Pipeline(places, breaker)
    for door in (pipeline.admit, lambda: asyncio.run(pipeline.aadmit()), pipeline.guard().__enter__):
        with pytest.raises(CircuitOpen):
            door()
        assert places.stats.in_use == 0


@pytest.mark.parametrize("part", [retry(on=OSError), fallback(1, on=Exception)], ids=repr)
def test_what_repeats_or_replaces_has_no_block(part: Any) -> None:
    bulkhead = Bulkhead(1)
    pipeline = Pipeline(part, bulkhead)
    for door, call in (
        ("guard", pipeline.guard),
        ("admit", pipeline.admit),
        ("aadmit", lambda: asyncio.run(pipeline.aadmit())),
    ):
        with pytest.raises(TypeError, match=rf"has no {door}\(\): .* repeats or replaces the call"):
            call()
    with pytest.raises(TypeError, match=r"has no admit\(\)"):
        Pipeline(bulkhead, timeout(5)).admit()
    assert bulkhead.stats.in_use == 0


@both_ways
@pytest.mark.parametrize("raised", [None, ValueError, Rejected, KeyError])
def test_a_guarded_block_is_under_every_policy(way: str, raised: type[Exception] | None) -> None:
    log: Log = []
    pipeline = Pipeline(Admitting("a", log), Pipeline(Admitting("b", log)))
    error = None if raised is None else raised("text")

    def body() -> None:
        log.append("body")
        if error is not None:
            raise error

    async def block() -> None:
        async with pipeline.guard():
            body()

    def sync_block() -> None:
        with pipeline.guard():
            body()

    with contextlib.nullcontext() if raised is None else pytest.raises(raised) as caught:
        _ = asyncio.run(block()) if way == "async" else sync_block()
    assert caught is None or caught.value is error
    ending = "success None" if error is None else f"failure {error!r}"
    assert log == ["a in", "b in", "body", f"b {ending}", f"a {ending}"]


@both_ways
def test_a_guard_of_a_pipeline_is_entered_once(way: str) -> None:
    bulkhead = Bulkhead(1)
    for guard in (bulkhead.guard(), Pipeline(bulkhead).guard()):

        async def ablock(guard: Any = guard) -> None:
            async with guard:
                pass

        def block(guard: Any = guard) -> None:
            with guard:
                pass

        def enter(block: Any = block, ablock: Any = ablock) -> None:
            _ = block() if way == "sync" else asyncio.run(ablock())

        enter()
        with pytest.raises(RuntimeError, match=r"entered before; call guard\(\) for each block"):
            enter()
        assert bulkhead.stats.in_use == 0


@pytest.mark.anyio
async def test_a_timeout_in_a_pipeline_guards_a_block() -> None:
    bulkhead = Bulkhead(1)
    async with Pipeline(bulkhead, timeout(5)).guard():
        assert bulkhead.stats.in_use == 1
    assert bulkhead.stats.in_use == 0


# Guards across contexts and tasks

GUARDS = pytest.mark.parametrize(
    "make",
    [
        pytest.param(CircuitBreaker, id="breaker"),
        pytest.param(lambda: Bulkhead(3), id="bulkhead"),
        pytest.param(lambda: Pipeline(Bulkhead(3), CircuitBreaker()), id="pipeline"),
    ],
)


@GUARDS
@pytest.mark.law(81)
@pytest.mark.anyio
async def test_a_guard_may_be_left_in_another_task(make: Any) -> None:
    policy = make()
    for raised in (None, OSError("it failed")):
        guard = policy.guard()

        async def enter(guard: Any = guard) -> None:
            await guard.__aenter__()

        async def leave(guard: Any = guard, raised: Any = raised) -> None:
            kind = None if raised is None else OSError
            assert not await guard.__aexit__(kind, raised, None)

        for step in (enter, leave):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(step)
    for part in policy.layers():
        if isinstance(part, Bulkhead):
            assert part.stats.in_use == 0
        if isinstance(part, CircuitBreaker):
            assert part.stats.failures == 1


@GUARDS
@pytest.mark.law(81)
def test_a_guard_may_be_left_in_another_thread(make: Any) -> None:
    policy = make()
    guard = policy.guard()
    for step in (guard.__enter__, lambda: guard.__exit__(OSError, OSError(), None)):
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
    for part in policy.layers():
        if isinstance(part, Bulkhead):
            assert part.stats.in_use == 0
        if isinstance(part, CircuitBreaker):
            assert part.stats.failures == 1


@pytest.mark.law(81)
@pytest.mark.anyio
async def test_an_async_generator_that_two_tasks_advance_keeps_its_guard() -> None:
    """As a web framework does with a dependency that yields."""
    bulkhead = Bulkhead(1)

    async def dependency() -> Any:
        async with Pipeline(bulkhead, CircuitBreaker()).guard():
            yield bulkhead.stats.in_use

    steps = dependency()
    seen: list[int] = []

    async def begin() -> None:
        seen.append(await anext(steps))

    async def finish() -> None:
        with pytest.raises(StopAsyncIteration):
            await anext(steps)

    for step in (begin, finish):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(step)
    assert seen == [1]
    assert bulkhead.stats.in_use == 0


def test_a_pipeline_calls_itself_one_whatever_it_begins_with() -> None:
    assert str(Pipeline(fallback(1, on=OSError)).explain()).startswith("Pipeline (outermost first)")
    assert "name" in inspect.signature(Pipeline).parameters
