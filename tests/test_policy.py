"""What a policy takes, what it gives back, and what it refuses: every form of a callable, through every door."""

import asyncio
import contextlib
import copy
import functools
import gc
import inspect
import io
import pickle
import pydoc
import sqlite3
import tempfile
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ClassVar
from unittest.mock import AsyncMock, Mock

import anyio
import pytest

from resilience import Bulkhead, CircuitBreaker, Pipeline, ResilienceWarning, fallback, retry, timeout
from resilience import _results as results
from resilience._functions import is_coroutine_function

GUARDED = retry(on=Exception, wait=0)

POLICIES = [
    pytest.param(lambda: retry(on=Exception, wait=0), id="retry"),
    pytest.param(lambda: fallback(None, on=Exception), id="fallback"),
    pytest.param(CircuitBreaker, id="breaker"),
    pytest.param(lambda: Bulkhead(5), id="bulkhead"),
    pytest.param(lambda: timeout(5, sync="deadline"), id="timeout"),
    pytest.param(Pipeline, id="identity"),
    pytest.param(lambda: Pipeline(retry(on=Exception, wait=0), CircuitBreaker(), Bulkhead(5)), id="pipeline"),
]
every_policy = pytest.mark.parametrize("make", POLICIES)


def run(function: Callable[..., Any], *args: Any) -> Any:
    """Call it; on an event loop if it is a coroutine function."""
    return asyncio.run(function(*args)) if inspect.iscoroutinefunction(function) else function(*args)


# Every form of a callable


def plain(a: int, b: int = 2, /, *rest: int, c: int = 3, **more: int) -> tuple[Any, ...]:
    """Answer with what came in."""
    return (a, b, rest, c, more)


async def awaited(a: int, b: int = 2, /, *rest: int, c: int = 3, **more: int) -> tuple[Any, ...]:
    """Answer with what came in."""
    return (a, b, rest, c, more)


class Plain:
    """A callable object."""

    factor = 10

    def __call__(self, a: int) -> int:
        return a * self.factor

    def close(self) -> str:
        return "closed"

    @property
    def costly(self) -> int:
        raise AssertionError("decoration must not run a property")

    @functools.cached_property
    def cached(self) -> int:
        raise AssertionError("decoration must not run a property")


class Awaited:
    """A callable object whose call is awaited."""

    async def __call__(self, a: int) -> int:
        return a * 10

    async def amethod(self, a: int) -> int:
        return a * 10

    def method(self, a: int) -> int:
        return a * 10


@every_policy
@pytest.mark.law(71)
def test_functions_keep_their_looks(make: Callable[[], Any]) -> None:
    for original in (plain, awaited):
        guarded = make()(original)
        assert inspect.signature(guarded) == inspect.signature(original)
        assert inspect.iscoroutinefunction(guarded) == inspect.iscoroutinefunction(original)
        for name in ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__"):
            assert getattr(guarded, name) == getattr(original, name)
        assert guarded.__wrapped__ is original
        assert "Answer with what came in." in pydoc.render_doc(guarded)
        assert run(guarded, 1) == (1, 2, (), 3, {})


@pytest.mark.law(71)
@pytest.mark.parametrize("original", [plain, awaited])
def test_every_kind_of_argument_arrives(original: Any) -> None:
    guarded = GUARDED(original)

    def both(*args: Any, **kwargs: Any) -> Any:
        answer = guarded(*args, **kwargs)
        return asyncio.run(answer) if inspect.iscoroutine(answer) else answer

    names = {"self": 1, "fn": 2, "args": 3, "kwargs": 4, "policy": 5, "tracer": 6, "name": 7}
    assert both(1, 9, 8, 7, c=6, d=5) == (1, 9, (8, 7), 6, {"d": 5})
    assert both(1, **names) == (1, 2, (), 3, names)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        both()


@pytest.mark.law(71)
def test_arguments_of_call_are_the_functions_own() -> None:
    names = {"self": 1, "fn": 2, "args": 3, "kwargs": 4, "policy": 5}
    assert GUARDED.call(plain, 1, **names) == (1, 2, (), 3, names)
    assert asyncio.run(GUARDED.acall(awaited, 1, **names)) == (1, 2, (), 3, names)


class Service:
    """Methods of every kind, decorated in both orders."""

    made: ClassVar[list["Service"]] = []

    def __init__(self, factor: int) -> None:
        self.factor = factor

    @GUARDED
    def method(self, a: int) -> int:
        return a * self.factor

    @GUARDED
    async def amethod(self, a: int) -> int:
        return a * self.factor

    @GUARDED
    @staticmethod
    def static_below(a: int) -> int:
        return a * 10

    @staticmethod
    @GUARDED
    def static_above(a: int) -> int:
        return a * 10

    @GUARDED
    @staticmethod
    async def astatic_below(a: int) -> int:
        return a * 10

    @GUARDED
    @classmethod
    def class_below(cls, a: int) -> tuple[str, int]:
        return cls.__name__, a

    @classmethod
    @GUARDED
    def class_above(cls, a: int) -> tuple[str, int]:
        return cls.__name__, a

    @GUARDED
    @classmethod
    async def aclass_below(cls, a: int) -> tuple[str, int]:
        return cls.__name__, a

    @property
    @GUARDED
    def total(self) -> int:
        return self.factor + 1


class SubService(Service):
    """To see which class a class method is given."""


@pytest.mark.law(71)
def test_methods_bind() -> None:
    service = SubService(3)
    assert service.method(2) == 6
    assert asyncio.run(service.amethod(2)) == 6
    assert inspect.iscoroutinefunction(service.amethod)
    assert list(inspect.signature(service.method).parameters) == ["a"]
    assert service.static_below(2) == Service.static_below(2) == service.static_above(2) == 20
    assert service.class_below(2) == SubService.class_below(2) == service.class_above(2) == ("SubService", 2)
    assert asyncio.run(service.astatic_below(2)) == 20
    assert asyncio.run(SubService.aclass_below(2)) == ("SubService", 2)
    assert inspect.iscoroutinefunction(service.astatic_below)
    assert inspect.iscoroutinefunction(service.aclass_below)
    assert service.total == 4
    assert isinstance(inspect.getattr_static(Service, "static_below"), staticmethod)
    assert isinstance(inspect.getattr_static(Service, "class_below"), classmethod)


@pytest.mark.law(71)
@pytest.mark.parametrize(
    ("original", "coroutine", "name"),
    [
        (Plain(), False, "Plain"),
        (Awaited(), True, "Awaited"),
        (functools.partial(Plain().__call__), False, "__call__"),
        (functools.partial(Awaited().amethod), True, "amethod"),
        (functools.partial(functools.partial(Awaited())), True, "Awaited"),
        (Awaited().amethod, True, "amethod"),
        (Awaited().method, False, "method"),
        (lambda a: a * 10, False, "<lambda>"),
        (functools.lru_cache(lambda a: a * 10), False, "<lambda>"),
        ((10).__mul__, False, "__mul__"),
    ],
    ids=[
        "object",
        "async-object",
        "partial",
        "partial-of-coroutine-function",
        "partial-of-partial-of-async-object",
        "bound-async",
        "bound",
        "lambda",
        "lru-cache",
        "builtin",
    ],
)
def test_other_callables_are_guarded_for_what_they_are(original: Any, coroutine: bool, name: str) -> None:
    guarded = GUARDED(original)
    assert inspect.iscoroutinefunction(guarded) is coroutine is is_coroutine_function(original)
    assert inspect.signature(guarded) == inspect.signature(original)
    assert guarded.__name__ == name
    assert run(guarded, 4) == 40


@pytest.mark.law(71)
def test_builtins_and_partials_of_builtins() -> None:
    assert GUARDED(len)("abc") == 3
    assert GUARDED(functools.partial(pow, 2))(5) == 32
    assert GUARDED(functools.partial(pow, 2)).__name__ == "pow"
    assert GUARDED.call(len, "abc") == 3


@pytest.mark.law(71)
def test_public_attributes_are_carried_over() -> None:
    calls: list[int] = []

    @GUARDED
    @functools.lru_cache
    def square(a: int) -> int:
        calls.append(a)
        return a * a

    assert (square(3), square(3), calls) == (9, 9, [3])
    assert square.cache_info().hits == 1
    square.cache_clear()
    assert (square(3), calls) == (9, [3, 3])

    tagged: Any = lambda: None  # noqa: E731 - a function with an attribute
    tagged.route = "/pay"
    assert GUARDED(tagged).route == "/pay"

    guarded = GUARDED(Plain())
    assert (guarded.close(), guarded.factor, guarded(2)) == ("closed", 10, 20)


@pytest.mark.law(71)
def test_mocks_can_be_guarded() -> None:
    mock = Mock(return_value=3)
    assert GUARDED(mock)(1) == 3
    mock.assert_called_once_with(1)
    amock = AsyncMock(return_value=4)
    assert asyncio.run(GUARDED(amock)(1)) == 4
    assert asyncio.run(GUARDED.acall(amock, 1)) == 4


@pytest.mark.law(71)
def test_a_function_under_a_context_manager_is_no_generator() -> None:
    @contextlib.contextmanager
    def traced() -> Iterator[None]:
        yield

    @contextlib.asynccontextmanager
    async def atraced() -> AsyncIterator[None]:
        yield

    assert GUARDED(traced()(plain))(1) == plain(1)
    assert asyncio.run(GUARDED(atraced()(awaited))(1)) == plain(1)


# Refusals


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


class GeneratorObject:
    """A callable object whose call is a generator function."""

    def __call__(self) -> Iterator[int]:
        yield 1

    def method(self) -> Iterator[int]:
        yield 1


GENERATORS = [
    pytest.param(generator, id="generator"),
    pytest.param(async_generator, id="async-generator"),
    pytest.param(functools.partial(generator), id="partial"),
    pytest.param(contextlib.contextmanager(generator), id="contextmanager"),
    pytest.param(contextlib.asynccontextmanager(async_generator), id="asynccontextmanager"),
    pytest.param(functools.partial(contextlib.contextmanager(generator)), id="partial-of-contextmanager"),
    pytest.param(GeneratorObject(), id="object"),
    pytest.param(GeneratorObject().method, id="method"),
    pytest.param(staticmethod(generator), id="staticmethod"),
    pytest.param(classmethod(generator), id="classmethod"),
]


def doors_of(policy: Any) -> list[Callable[[Any], Any]]:
    return [policy, policy.call, lambda fn: asyncio.run(policy.acall(fn))]


@every_policy
@pytest.mark.parametrize("fn", GENERATORS)
def test_generators_are_refused_at_decoration(make: Callable[[], Any], fn: Any) -> None:
    with pytest.raises(TypeError, match=r"is a generator function: calling it runs nothing.*admit\(\)"):
        make()(fn)


@pytest.mark.parametrize("fn", GENERATORS[:-2])
def test_generators_are_refused_by_call_and_acall(fn: Any) -> None:
    for door in doors_of(GUARDED):
        with pytest.raises(TypeError, match="is a generator function"):
            door(fn)


@pytest.mark.parametrize(
    ("fn", "text"),
    [
        (Plain, "Plain is a class; guard the methods"),
        (property(plain), "put @property above the policy"),
        (42, "a policy guards functions, got 42"),
        (None, "a policy guards functions, got None"),
        ("name", "a policy guards functions, got 'name'"),
        (functools.partialmethod(plain), "a policy guards functions, got"),
    ],
)
def test_what_is_no_function_is_refused(fn: Any, text: str) -> None:
    for door in doors_of(GUARDED):
        with pytest.raises(TypeError, match=text):
            door(fn)


def test_call_names_acall_for_a_coroutine_function() -> None:
    for fn in (awaited, functools.partial(awaited, 1), Awaited(), Awaited().amethod):
        with pytest.raises(TypeError, match=r"is a coroutine function; write 'await policy\.acall\("):
            GUARDED.call(fn)


# A coroutine is no result


@pytest.fixture
def strict_about_coroutines() -> Iterator[None]:
    """A coroutine that nobody awaited is an error, wherever the collector finds it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(warning.message) for warning in caught if "never awaited" in str(warning.message)] == []


def sneaky(calls: list[int]) -> Callable[[], Any]:
    """A plain function that hands out a coroutine: nothing can know before it was called."""

    def hands_out() -> Any:
        calls.append(1)
        return awaited(1)

    return hands_out


@every_policy
@pytest.mark.law(86)
@pytest.mark.usefixtures("strict_about_coroutines")
def test_a_coroutine_from_a_plain_function_is_closed_and_refused(make: Callable[[], Any]) -> None:
    for door in (lambda policy, fn: policy(fn)(), lambda policy, fn: policy.call(fn)):
        policy, calls = make(), list[int]()
        with pytest.raises(TypeError, match=r"awaited is a coroutine function.*Decorate.*await policy\.acall"):
            door(policy, sneaky(calls))
        assert calls == [1]  # and it was not repeated, whatever `on` says


@pytest.mark.law(86)
@pytest.mark.usefixtures("strict_about_coroutines")
def test_a_breaker_takes_a_coroutine_for_no_evidence() -> None:
    breaker = CircuitBreaker(trip=2)
    policies = [
        breaker,
        Pipeline(retry(on=Exception, wait=0), breaker),
        Pipeline(fallback(0, on=Exception), breaker),
        Pipeline(fallback(0, on=lambda error: True), breaker),
    ]
    calls: list[int] = []
    with pytest.raises(ConnectionError):
        breaker.call(refuses)
    for policy in policies:
        with pytest.raises(TypeError, match="is a coroutine function"):
            policy.call(sneaky(calls))
    assert len(calls) == len(policies)
    assert (breaker.stats.ignored, breaker.stats.failures_in_row) == (len(policies), 1)  # neither failure nor success


def refuses() -> None:
    raise ConnectionError


@every_policy
@pytest.mark.law(86)
def test_acall_refuses_a_plain_function_after_one_call(make: Callable[[], Any]) -> None:
    calls: list[int] = []
    with pytest.raises(TypeError, match=r"returned NoneType, which cannot be awaited; for a plain function write"):
        asyncio.run(make().acall(lambda: calls.append(1)))
    assert calls == [1]


def test_acall_awaits_whatever_can_be_awaited() -> None:
    class Promise:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return "kept"

    async def main() -> list[Any]:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        future.set_result("future")
        return [
            await GUARDED.acall(lambda: future),
            await GUARDED.acall(lambda: awaited(1)),
            await GUARDED.acall(Promise),
        ]

    with pytest.raises(TypeError, match="Promise is a class"):
        asyncio.run(main())


# Streams, and what only looks like one


class Stream:
    """What a client of a streaming API returns: an iterator written in Python."""

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> int:
        raise StopIteration


class AsyncStream:
    """The same for `async for`."""

    def __aiter__(self) -> "AsyncStream":
        return self

    async def __anext__(self) -> int:
        raise StopAsyncIteration


class Rows(Stream):
    """A cursor written in Python."""

    def fetchone(self) -> None:
        return None


class File(Stream):
    """A file-like object written in Python."""

    def read(self, size: int = -1) -> bytes:
        return b""


def warnings_of(call: Callable[[], Any], times: int = 3) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(times):
            call()
    return [warning for warning in caught if issubclass(warning.category, ResilienceWarning)]


@pytest.mark.parametrize("make", [generator, async_generator, Stream, AsyncStream])
@pytest.mark.parametrize("door", ["sync", "async"])
def test_a_stream_taken_for_a_result_warns_once(make: Callable[[], Any], door: str) -> None:
    answers = iter([make(), "a value between", make(), make()])

    def opens() -> Any:
        return next(answers)

    async def aopens() -> Any:
        return next(answers)

    guarded: Any = GUARDED(opens if door == "sync" else aopens)
    caught = warnings_of(lambda: run(guarded), 4)
    assert len(caught) == 1
    assert "opens returned a stream" in str(caught[0].message)
    assert "policy.admit()" in str(caught[0].message)
    if door == "sync":
        assert caught[0].filename == __file__


def test_files_cursors_and_collections_are_values() -> None:
    connection = sqlite3.connect(":memory:")
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below, with the others
    makes: list[Callable[[], Any]] = [
        lambda: file,
        lambda: io.StringIO("text"),
        lambda: connection.execute("select 1"),
        lambda: [1],
        lambda: {"a": 1},
        lambda: iter([1]),
        lambda: zip([1], [2], strict=True),
        lambda: range(3),
        Rows().__iter__,
        File().__iter__,
    ]
    for make in makes:
        assert warnings_of(lambda make=make: GUARDED.call(make)) == []
    file.close()
    connection.close()


def test_the_known_types_stay_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "values", set(results.values))
    for number in range(results._MOST_TYPES + 500):
        results.refuse_coroutine(type(f"Kind{number}", (), {})())
    assert len(results.values) <= results._MOST_TYPES + 1
    assert {int, str, type(None)} <= results.values


# Copies


@pytest.mark.law(73)
@pytest.mark.parametrize("policy", [retry(on=OSError, attempts=5), timeout(3), fallback("x", on=OSError)], ids=repr)
def test_recipes_survive_pickle_and_copy(policy: Any) -> None:
    for twin in (
        pickle.loads(pickle.dumps(policy)),
        copy.copy(policy),
        copy.deepcopy(policy),
    ):
        assert type(twin) is type(policy)
        assert repr(twin) == repr(policy)
        assert asyncio.run(twin.acall(awaited, 1)) == plain(1)


@pytest.mark.law(73)
@pytest.mark.parametrize("policy", [CircuitBreaker("copied"), Bulkhead(3)], ids=repr)
def test_shared_policies_refuse_to_be_copied(policy: Any) -> None:
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=r"holds live state .* make one \w+ in each process"):
            way(policy)


def test_reprs_read_like_what_was_written() -> None:
    assert repr(retry(on=(OSError, ValueError), attempts=5)) == "retry(on=(OSError, ValueError), attempts=5)"
    assert repr(fallback("x", on=OSError)) == "fallback('x', on=OSError)"
    assert repr(CircuitBreaker("payments-repr")) == "<CircuitBreaker 'payments-repr'>"
    assert repr(Bulkhead(3)) == "<Bulkhead>"


def test_an_empty_or_wrong_name_is_refused() -> None:
    with pytest.raises(ValueError, match="name must not be empty"):
        CircuitBreaker("")
    with pytest.raises(TypeError, match="name must be a string, got 3"):
        Pipeline(name=3)  # type: ignore[call-overload]  # on purpose


# Many calls, many loops

AT_IMPORT = Pipeline(
    retry(on=OSError, wait=0), Bulkhead(50, max_wait=None), CircuitBreaker("made-at-import"), timeout(50)
)


@AT_IMPORT
async def decorated_at_import(a: int) -> int:
    await anyio.lowlevel.checkpoint()
    return a


@pytest.mark.law(85)
def test_a_policy_made_at_import_works_in_one_loop_after_the_other() -> None:
    for number in range(3):
        assert asyncio.run(decorated_at_import(number)) == number
        assert anyio.run(decorated_at_import, number, backend="trio") == number


@pytest.mark.law(70, 85)
def test_a_policy_made_at_import_works_in_several_loops_at_once() -> None:
    everybody = threading.Barrier(3)
    answers: dict[str, int] = {}

    async def main(key: str) -> None:
        everybody.wait()
        for number in range(20):
            answers[key] = await decorated_at_import(number)

    threads = [
        threading.Thread(target=anyio.run, args=(main, f"{backend}{n}"), kwargs={"backend": backend})
        for n, backend in enumerate(["asyncio", "trio", "asyncio"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {"asyncio0": 19, "trio1": 19, "asyncio2": 19}


@pytest.mark.law(79)
def test_concurrent_calls_of_one_function_share_nothing() -> None:
    """Each of eight threads fails as often as its own number says, all of them at the same time."""
    everybody = threading.Barrier(8)
    guarded_calls: dict[int, int] = {}

    @retry(on=OSError, attempts=9, wait=0, budget=None)
    def flaky(number: int) -> int:
        if guarded_calls.setdefault(number, 0) == 0:
            everybody.wait()  # every call is under way before any of them ends its first attempt
        guarded_calls[number] += 1
        if guarded_calls[number] <= number:
            raise OSError(number)
        return number * 10

    answers: dict[int, int] = {}
    threads = [threading.Thread(target=lambda n=n: answers.setdefault(n, flaky(n))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: n * 10 for n in range(8)}
    assert guarded_calls == {n: n + 1 for n in range(8)}


@pytest.mark.law(79)
@pytest.mark.anyio
async def test_concurrent_tasks_of_one_function_share_nothing() -> None:
    made: dict[int, int] = {}
    answers: dict[int, int] = {}

    @retry(on=OSError, attempts=9, wait=0, budget=None)
    async def flaky(number: int) -> int:
        made[number] = made.get(number, 0) + 1
        await anyio.lowlevel.checkpoint()
        if made[number] <= number:
            raise OSError(number)
        return number * 10

    async def ask(number: int) -> None:
        answers[number] = await flaky(number)

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(ask, number)
    assert answers == {n: n * 10 for n in range(8)}
    assert made == {n: n + 1 for n in range(8)}


@pytest.mark.parametrize("inner", [Pipeline(), retry(on=OSError)], ids=["pipeline", "retry"])
def test_a_policy_is_no_function_to_guard(inner: Any) -> None:
    with pytest.raises(TypeError, match=r"is a policy.* write Pipeline"):
        retry(on=OSError)(inner)
