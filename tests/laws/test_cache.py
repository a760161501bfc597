"""The laws of the cache: one fetch for all, keys that never mix, a store that breaks nothing."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resilience import (
    Cache,
    Entry,
    OutOfTime,
    Pipeline,
    ResilienceWarning,
    deadline,
    fallback,
    listen,
    remaining,
    retry,
)
from resilience._clock import clock
from resilience._standing_in import fetches
from resilience.events import RefreshFailed, ServedStale, StoreFailed
from resilience.testing import sandbox
from tests.crowd import beside, until

every_backend = pytest.mark.parametrize("backend", ["asyncio", "trio"])


# One fetch for all.


@dataclass(frozen=True)
class Caller:
    """One who asks.

    Attributes:
        comes: When, in seconds.
        key: What for.
        patience: After how many seconds it is cancelled.
        takes: For how long its fetch lasts, if it is the one that fetches.
        fails: Whether its fetch fails.
    """

    comes: float
    key: int
    patience: float
    takes: float
    fails: bool


MOMENTS = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
CALLERS = st.lists(
    st.builds(
        Caller, comes=MOMENTS, key=st.integers(0, 1), patience=st.sampled_from([0.25, 1.25, 9.0]),
        takes=st.sampled_from([0.1, 0.75, 2.0]), fails=st.booleans(),
    ),
    max_size=7,
)  # fmt: skip


@pytest.mark.law(62, 80)
@every_backend
@given(callers=CALLERS, ttl=st.sampled_from([0.6, 50.0]))
def test_what_many_want_is_fetched_once_and_is_the_outcome_of_all(
    backend: str, callers: list[Caller], ttl: float
) -> None:
    cache = Cache(ttl, key="key")
    fetches: list[tuple[int, float, float, object]] = []  # key, from, to, what came of it
    fetching: set[int] = set()

    async def fetch(key: int, caller: Caller) -> object:
        assert key not in fetching, "two fetch the same"
        fetching.add(key)
        began = clock.now()
        try:
            await clock.asleep(caller.takes)
            made: object = ValueError(len(fetches)) if caller.fails else object()
            fetches.append((key, began, clock.now(), made))
        finally:
            fetching.discard(key)
        if isinstance(made, ValueError):
            raise made
        return made

    guarded = cache(fetch)
    got: list[tuple[Caller, float, float, object]] = []

    async def ask(caller: Caller) -> None:
        await clock.asleep(caller.comes)
        asked = clock.now()
        with anyio.CancelScope() as scope:
            clock.expire(scope, caller.patience)
            try:
                found = await guarded(caller.key, caller)
            except ValueError as error:
                found = error
            got.append((caller, asked, clock.now(), found))

    async def scene() -> None:
        async with anyio.create_task_group() as tasks:
            for caller in callers:
                tasks.start_soon(ask, caller)

    with sandbox():
        anyio.run(scene, backend=backend)
        for caller, asked, answered, found in got:
            same = [
                one for one in fetches
                if one[0] == caller.key and (one[3] is found or str(one[3]) == str(found)) and one[2] <= answered
            ]  # fmt: skip
            assert same, "an answer that nobody fetched"
            *_, landed, made = same[-1]
            if isinstance(made, ValueError):
                assert landed >= asked, "an exception was kept"
                assert type(found) is ValueError
            else:
                assert landed + ttl > asked, "too old"
        assert not fetching
        assert len(cache.shelf) == 0, "something is for ever in the air"


@pytest.mark.law(62)
def test_threads_follow_one_another_too() -> None:
    cache, going, calls = Cache(60), threading.Event(), list[int]()

    @cache
    def fetch() -> object:
        calls.append(1)
        going.wait()
        return object()

    found: list[object] = []

    def ask() -> None:
        found.append(fetch())

    with beside(*[ask] * 5):
        until(lambda: calls)
        going.set()
    assert (len(calls), len(set(found)), len(found)) == (1, 1, 5)


@pytest.mark.law(62)
def test_a_plain_leader_that_is_interrupted_hands_over() -> None:
    cache, going, calls = Cache(60), threading.Event(), list[int]()

    @cache
    def fetch() -> str:
        calls.append(1)
        if len(calls) == 1:
            going.wait()
            raise KeyboardInterrupt
        return "fetched"

    found: list[str] = []

    def first() -> None:
        with suppress(KeyboardInterrupt):
            fetch()

    def second() -> None:
        until(lambda: calls)
        found.append(fetch())

    def third() -> None:
        until(lambda: cache.shelf.following == 1)
        going.set()

    with beside(first, second, third):
        pass
    assert (len(calls), found) == (2, ["fetched"])


@pytest.mark.law(62)
@every_backend
def test_the_deadline_of_a_leader_is_not_that_of_the_others(backend: str) -> None:
    cache, calls = Cache(60), list[str]()

    async def fetch() -> str:
        calls.append("call")
        await clock.asleep(2)
        if len(calls) == 1:
            raise OutOfTime("inside")
        return "fetched"

    guarded, found = cache(fetch), list[object]()

    async def ask() -> None:
        try:
            found.append(await guarded())
        except OutOfTime as error:
            found.append(error.policy)

    async def scene() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask)

    with sandbox():
        anyio.run(scene, backend=backend)
    assert (len(calls), sorted(map(str, found))) == (2, ["fetched", "fetched", "inside"])


@pytest.mark.law(37)
@every_backend
def test_nobody_waits_for_another_past_a_deadline(backend: str) -> None:
    cache = Cache(60)

    async def fetch() -> None:
        await clock.asleep(10)

    guarded = cache(fetch)
    waited: list[float] = []

    async def scene() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(guarded)
            await clock.asleep(1)
            began = clock.now()
            with deadline(3), pytest.raises(OutOfTime):
                await guarded()
            waited.append(clock.now() - began)
            tasks.cancel_scope.cancel()

    with sandbox():
        anyio.run(scene, backend=backend)
    assert waited == [3.0]


@pytest.mark.law(62)
def test_those_who_follow_have_an_exception_of_their_own() -> None:
    cache, going, calls = Cache(60), threading.Event(), list[int]()
    original = LookupError("no such thing")
    original.add_note("a note")

    @cache
    def fetch() -> object:
        calls.append(1)
        going.wait()
        raise original

    errors: list[BaseException] = []

    def ask() -> None:
        try:
            fetch()
        except LookupError as error:
            errors.append(error)

    with beside(*[ask] * 3):
        until(lambda: cache.shelf.following == 2)
        going.set()
    assert len(calls) == 1
    assert {str(error) for error in errors} == {"no such thing"}
    assert len({id(error) for error in errors}) == 3
    twins = [error for error in errors if error is not original]
    assert [error.__cause__ for error in twins] == [original, original]
    assert [error.__notes__ for error in twins] == [["a note"], ["a note"]]
    assert all(error.__notes__ is not original.__notes__ for error in twins)


class Particular(Exception):
    """It cannot be made from its `args`."""

    def __init__(self, a: str, b: str) -> None:
        super().__init__(a + b)


class Turned(Exception):
    """A copy of it is something else."""

    def __init__(self, a: str, b: str) -> None:
        super().__init__(a + b)

    def __copy__(self) -> Exception:
        return KeyError(*self.args)


@pytest.mark.law(62)
@pytest.mark.parametrize("kind", [Particular, Turned])
def test_an_exception_that_cannot_be_copied_is_shared(kind: type[Any]) -> None:
    cache, going, calls = Cache(60), threading.Event(), list[int]()
    original = kind("a", "b")

    @cache
    def fetch() -> object:
        calls.append(1)
        going.wait()
        raise original

    errors: list[BaseException] = []

    def ask() -> None:
        try:
            fetch()
        except (Particular, Turned) as error:
            errors.append(error)

    with beside(*[ask] * 2):
        until(lambda: cache.shelf.following == 1)
        going.set()
    assert errors == [original, original]


@pytest.mark.law(62)
@every_backend
def test_a_function_that_calls_itself_does_not_wait_for_itself(backend: str) -> None:
    cache = Cache(60)
    depth: list[int] = []

    @cache
    async def fetch() -> int:
        depth.append(1)
        return 1 if len(depth) == 3 else 1 + await fetch()

    with sandbox():
        assert anyio.run(fetch, backend=backend) == 3
        assert anyio.run(fetch, backend=backend) == 3
    assert len(depth) == 3


@pytest.mark.law(62, 80)
@every_backend
def test_when_all_are_cancelled_at_once_nothing_is_left_in_the_air(backend: str) -> None:
    cache = Cache(60)

    @cache
    async def fetch() -> None:
        await clock.asleep(10)

    async def scene() -> None:
        with anyio.CancelScope() as scope:
            clock.expire(scope, 1)
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(fetch)

    with sandbox():
        anyio.run(scene, backend=backend)
        assert len(cache.shelf) == 0


@pytest.mark.law(62)
def test_a_thread_that_is_interrupted_while_it_follows_waits_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, going, calls = Cache(60), threading.Event(), list[int]()

    @cache
    def fetch() -> None:
        calls.append(1)
        going.wait()

    def interrupted(*_: Any) -> bool:
        raise KeyboardInterrupt

    with beside(fetch):
        until(lambda: calls)
        monkeypatch.setattr(clock, "acquire", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch()
        monkeypatch.undo()
        assert cache.shelf.following == 0
        going.set()


@pytest.mark.parametrize("outcome", [None, ValueError(), KeyboardInterrupt()])
def test_what_runs_after_a_fetch_does_not_count_as_inside_it(outcome: BaseException | None) -> None:
    @Cache(60)
    def fetch() -> None:
        assert len(fetches.get()) == 1
        if outcome is not None:
            raise outcome

    with suppress(ValueError, KeyboardInterrupt):
        fetch()
    assert fetches.get() == ()


# What is kept.


@pytest.mark.law(63)
@pytest.mark.parametrize("value", [None, 0, False, "", [], NotImplemented])
def test_whatever_is_returned_is_kept(value: object) -> None:
    calls: list[int] = []

    @Cache(60)
    def fetch() -> object:
        calls.append(1)
        return value

    assert [fetch(), fetch()] == [value, value]
    assert len(calls) == 1


@pytest.mark.law(63)
def test_an_exception_is_not_kept() -> None:
    calls: list[int] = []

    @Cache(60)
    def fetch() -> object:
        calls.append(1)
        raise LookupError

    for _ in range(3):
        with pytest.raises(LookupError):
            fetch()
    assert len(calls) == 3


def test_a_stream_is_for_its_caller_alone() -> None:
    cache = Cache(60)

    def fetch() -> Iterator[int]:
        return iter_of_ours()

    def iter_of_ours() -> Iterator[int]:
        yield from (1, 2)

    guarded = cache(fetch)
    with pytest.warns(ResilienceWarning, match="stream"):
        assert [list(guarded()), list(guarded())] == [[1, 2], [1, 2]]
    assert cache.stats.size == 0


def test_a_coroutine_is_refused_and_not_kept() -> None:
    async def work() -> None:
        """Never runs."""

    cache = Cache(60)
    for _ in range(2):
        with pytest.raises(TypeError, match="is a coroutine function"):
            cache(lambda: work())()
    assert (cache.stats.size, len(cache.shelf)) == (0, 0)


@pytest.mark.law(80)
def test_a_fallback_s_answer_is_not_kept() -> None:
    fails = [True]

    @fallback("plain", on=OSError)
    def inner() -> str:
        if fails:
            raise OSError
        return "real"

    cache = Cache(60)
    outer = cache(lambda: inner())
    assert [outer(), outer()] == ["plain", "plain"]
    fails.clear()
    assert [outer(), outer()] == ["real", "real"]
    assert (cache.stats.misses, cache.stats.hits) == (3, 1)


# Keys.

VALUES = st.recursive(
    st.sampled_from([0, 1, 0.0, 1.0, False, True, None, "", "a", "1", b"", b"a", (), frozenset()]),
    lambda inner: st.lists(inner, max_size=2).map(tuple) | st.frozensets(inner, max_size=2),
    max_leaves=4,
)


def shape(value: Any) -> object:
    """A value with all its types, in a way of its own."""
    if isinstance(value, tuple):
        return ("tuple", [shape(one) for one in value])
    if isinstance(value, frozenset):
        return ("frozenset", sorted(repr(shape(one)) for one in value))
    return type(value).__name__, value


@pytest.mark.law(80)
@given(first=st.lists(VALUES, max_size=3), second=st.lists(VALUES, max_size=3))
def test_keys_are_equal_only_for_equal_arguments_of_equal_types(first: list[Any], second: list[Any]) -> None:
    calls: list[object] = []

    @Cache(60)
    def fetch(*args: Any) -> object:
        calls.append(args)
        return object()

    same = shape(tuple(first)) == shape(tuple(second))
    assert (fetch(*first) is fetch(*second)) == same
    assert len(calls) == 2 - same


@pytest.mark.law(80)
@given(first=VALUES, second=VALUES)
@example(1, 1.0)
@example(True, 1)
@example((1,), (1.0,))
@example(frozenset({1}), frozenset({True}))
@example((), frozenset())
def test_so_are_those_of_a_single_argument(first: Any, second: Any) -> None:
    @Cache(60)
    def fetch(value: Any) -> object:
        return object()

    assert (fetch(first) is fetch(second)) == (shape(first) == shape(second))


class Point(NamedTuple):
    """A tuple with names."""

    x: float
    y: float = 0


class Line(NamedTuple):
    """Tuples in a tuple."""

    ends: tuple[Point, ...]


@pytest.mark.law(80)
def test_so_are_those_of_tuples_with_names() -> None:
    @Cache(60)
    def fetch(value: Any, name: str = "") -> object:
        return object()

    @Cache(60)
    def fetch_one(value: Any) -> object:
        return object()

    for ask in (fetch, fetch_one):
        alike = [Point(1), Point(1.0), Point(True), (1, 0), Line((Point(1),)), Line((Point(1.0),))]
        assert len({ask(one) for one in alike}) == len(alike)
        assert ask(Point(1)) is ask(Point(1))


@pytest.mark.law(62)
@pytest.mark.parametrize(
    "make",
    [lambda: iter([1, 2]), lambda: map(str, (1, 2)), lambda: zip("ab", "cd", strict=True)],
    ids=["iter", "map", "zip"],
)
def test_what_the_first_caller_uses_up_is_not_kept(make: Any) -> None:
    fetch = Cache(60)(lambda: make())
    assert [len(list(fetch())) for _ in range(2)] == [2, 2]


@pytest.mark.law(80)
@given(
    a=st.integers(0, 1), b=st.integers(0, 1), c=st.integers(0, 1),
    ways=st.lists(st.sampled_from(["position", "name", "turned", "default"]), min_size=2, max_size=5),
)  # fmt: skip
def test_how_an_argument_is_given_makes_no_difference(a: int, b: int, c: int, ways: list[str]) -> None:
    calls: list[object] = []

    @Cache(60)
    def fetch(a: int, b: int, *, c: int = 0) -> object:
        calls.append((a, b, c))
        return object()

    by: dict[str, Callable[[], object]] = {
        "position": lambda: fetch(a, b, c=c),
        "name": lambda: fetch(a=a, b=b, c=c),
        "turned": lambda: fetch(c=c, b=b, a=a),
        "default": lambda: fetch(a, b) if c == 0 else fetch(a, b, c=c),
    }
    assert len({by[way]() for way in ways}) == 1
    assert len(calls) == 1


@pytest.mark.law(80)
def test_functions_do_not_share_their_values_and_policies_around_them_change_nothing() -> None:
    cache = Cache(60)
    one, two = cache(lambda: 1), cache(lambda: 2)
    assert [one(), two(), one(), two()] == [1, 2, 1, 2]

    calls: list[int] = []

    def fetch() -> int:
        calls.append(1)
        return len(calls)

    plain, piped = cache(fetch), Pipeline(cache, retry(on=OSError))(fetch)
    assert [plain(), piped(), cache.call(fetch)] == [1, 1, 1]


@pytest.mark.law(80)
def test_a_cached_method_does_not_keep_its_object_alive_nor_mistake_another_for_it() -> None:
    cache = Cache(60)

    class Repository:
        def __init__(self, name: str) -> None:
            self.name = name

        @cache
        def find(self, number: int) -> str:
            return f"{self.name} {number}"

    first, second = Repository("first"), Repository("second")
    assert [first.find(1), second.find(1), first.find(number=1)] == ["first 1", "second 1", "first 1"]
    gone = weakref.ref(first)
    number = id(first)
    del first
    gc.collect()
    assert gone() is None
    for _ in range(100):  # one of them may well be where the first one was
        other = Repository("other")
        assert other.find(1) == "other 1"
        if id(other) == number:
            break
        del other


@pytest.mark.law(80)
def test_what_cannot_be_hashed_is_named_and_nothing_is_called() -> None:
    calls: list[object] = []

    @Cache(60, name="searches")
    def find(words: Any, limit: int = 10) -> None:
        calls.append(words)

    with pytest.raises(
        TypeError, match=r"searches: argument 'words' of .*find is a list, which cannot be hashed.* tuple"
    ):
        find(["tea"])
    with pytest.raises(TypeError, match=r"argument 'words' of .*find is a tuple"):
        find(("tea", ["pot"]))
    with pytest.raises(TypeError, match=r"search: key= returned a dict for"):
        Cache(60, name="search", key=lambda words: {})(find.__wrapped__)("tea")  # type: ignore[attr-defined]
    assert not calls


@pytest.mark.law(80)
def test_a_method_of_what_cannot_be_referred_to_weakly_says_so() -> None:
    class Slim:
        __slots__ = ()

        @Cache(60)
        def find(self) -> int:
            return 1

    with pytest.raises(TypeError, match=r"cannot be referred to weakly.*__weakref__.*or give key="):
        Slim().find()


# The store.


class Broken:
    """A store of which some methods raise."""

    def __init__(self, broken: set[str]) -> None:
        self.broken = broken
        self.kept: dict[Any, Any] = {}

    def _do(self, verb: str) -> None:
        if verb in self.broken:
            raise ConnectionError(f"{verb} is broken")

    def get(self, key: Any, /) -> Any:
        self._do("get")
        return self.kept.get(key)

    def put(self, key: Any, value: Any, seconds: float, /) -> None:
        self._do("put")

        self.kept[key] = Entry.aged(value, 0.0)

    def drop(self, key: Any, /) -> None:
        self._do("drop")
        self.kept.pop(key, None)

    def clear(self) -> None:
        self._do("clear")
        self.kept.clear()


class Slow(Broken):
    """The same with coroutine functions."""

    async def get(self, key: Any, /) -> Any:  # type: ignore[override]
        await clock.asleep(0.1)
        return super().get(key)

    async def put(self, key: Any, value: Any, seconds: float, /) -> None:  # type: ignore[override]
        await clock.asleep(0.1)
        super().put(key, value, seconds)

    async def drop(self, key: Any, /) -> None:  # type: ignore[override]
        super().drop(key)

    async def clear(self) -> None:  # type: ignore[override]
        super().clear()


@pytest.mark.law(64)
def test_a_store_that_is_interrupted_leaves_nothing_in_the_air() -> None:
    class Interrupted(Broken):
        def put(self, key: Any, value: Any, seconds: float, /) -> None:
            raise KeyboardInterrupt

    cache = Cache(60, store=Interrupted(set()))
    with pytest.raises(KeyboardInterrupt):
        cache(lambda: 1)()
    assert len(cache.shelf) == 0


VERBS = ("get", "put", "drop", "clear")


@pytest.mark.law(64)
@given(broken=st.sets(st.sampled_from(VERBS)))
def test_a_store_s_failure_breaks_no_call(broken: set[str]) -> None:

    cache = Cache(60, store=Broken(broken))
    guarded = cache(lambda: "fetched")
    events: list[Any] = []
    with sandbox(), listen(events.append):
        assert [guarded(), guarded()] == ["fetched"] * 2
        cache.invalidate(guarded)
        cache.clear()
        assert cache.stats.hits == (0 if broken & {"get", "put"} else 1)
    assert {event.verb for event in events if isinstance(event, StoreFailed)} == broken
    assert len(cache.shelf) == 0


@pytest.mark.law(64)
@every_backend
def test_a_store_that_gives_what_is_no_entry_has_failed(backend: str) -> None:
    class Garbled(Broken):
        def get(self, key: Any, /) -> Any:
            return "no entry"

    class SlowGarbled(Slow):
        async def get(self, key: Any, /) -> Any:
            return "no entry"

    async def fetch() -> str:
        return "fetched"

    events: list[Any] = []
    with listen(events.append):
        assert Cache(60, store=Garbled(set())).call(lambda: "fetched") == "fetched"
        for store in (Garbled(set()), SlowGarbled(set())):
            assert anyio.run(Cache(60, store=store).acall, fetch, backend=backend) == "fetched"
    assert [event.verb for event in events if isinstance(event, StoreFailed)] == ["get"] * 3


@pytest.mark.law(64)
@every_backend
@given(broken=st.sets(st.sampled_from(VERBS)))
def test_the_failure_of_an_asynchronous_store_breaks_no_call_either(backend: str, broken: set[str]) -> None:
    cache = Cache(60, store=Slow(broken))

    @cache
    async def fetch() -> str:
        return "fetched"

    async def scene() -> None:
        assert [await fetch(), await fetch()] == ["fetched"] * 2
        await cache.ainvalidate(fetch)
        await cache.aclear()
        assert cache.stats.hits == (0 if broken & {"get", "put"} else 1)

    with sandbox():
        anyio.run(scene, backend=backend)
    assert len(cache.shelf) == 0


@pytest.mark.law(64)
@every_backend
@given(cancel=st.sampled_from([0.05, 0.15, 1.15, 1.25]))
def test_a_cancellation_at_any_await_of_the_store_leaves_nothing_in_the_air(backend: str, cancel: float) -> None:
    cache = Cache(60, store=Slow(set()))

    @cache
    async def fetch() -> str:
        await clock.asleep(1)
        return "fetched"

    async def scene() -> None:
        with anyio.CancelScope() as scope:
            clock.expire(scope, cancel)
            await fetch()
        assert len(cache.shelf) == 0
        assert await fetch() == "fetched"

    with sandbox():
        anyio.run(scene, backend=backend)


# Old values.


@given(
    age=st.floats(0, 40),
    ttl=st.sampled_from([5.0, 10.0]),
    if_error=st.sampled_from([0.0, 7.0, 20.0]),
    fails=st.booleans(),
)
def test_an_old_value_answers_only_where_it_may(age: float, ttl: float, if_error: float, fails: bool) -> None:

    cache, calls, events = Cache(ttl, stale_if_error=if_error), list[int](), list[Any]()

    @cache
    def fetch() -> int:
        calls.append(1)
        if len(calls) > 1 and fails:
            raise ConnectionError
        return len(calls)

    with sandbox() as time, listen(events.append):
        assert fetch() == 1
        time.advance(age)
        elapsed = time.elapsed
        if elapsed < ttl:
            assert (fetch(), len(calls)) == (1, 1)
        elif not fails:
            assert (fetch(), len(calls)) == (2, 2)
        elif elapsed < ttl + if_error:
            assert (fetch(), len(calls)) == (1, 2)
            (stale,) = (event for event in events if isinstance(event, ServedStale))
            assert isinstance(stale.error, ConnectionError)
            assert stale.age == pytest.approx(elapsed)
        else:
            with pytest.raises(ConnectionError):
                fetch()


def test_those_who_follow_have_the_old_value_too() -> None:
    cache, going, calls = Cache(10, stale_if_error=50), threading.Event(), list[int]()

    @cache
    def fetch() -> str:
        calls.append(1)
        if len(calls) > 1:
            going.wait()
            raise ConnectionError
        return "old"

    found: list[str] = []

    def ask() -> None:
        found.append(fetch())

    with sandbox() as time:
        fetch()
        time.advance(11)
        with beside(ask, ask):
            until(lambda: cache.shelf.following == 1)
            going.set()
        assert (found, cache.stats.stale, len(calls)) == (["old", "old"], 2, 2)


@every_backend
def test_an_old_value_answers_at_once_and_one_refreshes_it_behind(backend: str) -> None:

    cache, calls, events = Cache(10, stale_while_revalidate=20), list[float](), list[Any]()

    @cache
    async def fetch() -> int:
        calls.append(clock.now())
        assert len(calls) in {1, 5} or remaining() is None
        await clock.asleep(2)
        if len(calls) == 3:
            raise ConnectionError
        return len(calls)

    async def scene() -> list[int]:
        found = [await fetch()]
        for nap in (11, 0, 3, 11, 3, 40):
            await clock.asleep(nap)
            began = clock.now()
            with deadline(1 if nap != 40 else 9):  # a refresh has all the time that it needs
                found.append(await fetch())
            assert clock.now() - began == (0.0 if nap != 40 else 2.0)
        return found

    with sandbox(), listen(events.append):
        found = anyio.run(scene, backend=backend)
    assert found == [1, 1, 1, 2, 2, 2, 5]
    assert len(calls) == 5
    assert sum(isinstance(event, RefreshFailed) for event in events) == 1
    assert len(cache.shelf) == 0


def test_plain_functions_are_refreshed_in_a_thread() -> None:
    cache, calls = Cache(10, stale_while_revalidate=20), list[int]()

    @cache
    def fetch() -> str:
        calls.append(threading.get_ident())
        return f"value {len(calls)}"

    with sandbox() as time:
        assert fetch() == "value 1"
        time.advance(11)
        assert fetch() == "value 1"
        until(lambda: len(cache.shelf) == 0)
        assert fetch() == "value 2"
    assert calls[0] == threading.get_ident() != calls[1]


def test_a_refresh_is_made_once_and_only_so_many_at_a_time() -> None:
    cache, going, calls = Cache(10, stale_while_revalidate=50), threading.Event(), list[int]()

    @cache
    def fetch(number: int) -> int:
        calls.append(number)
        if len(calls) > 9:
            going.wait()
        return len(calls)

    with sandbox() as time:
        for number in range(9):
            fetch(number)
        time.advance(11)
        for number in (*range(9), *range(9)):
            fetch(number)
        until(lambda: len(calls) == 9 + 8)
        assert len(cache.shelf) == 8
        going.set()
        until(lambda: len(cache.shelf) == 0)
        assert sorted(calls[9:]) == [*range(8)]
        fetch(8)
        until(lambda: calls[-1] == 8 and len(cache.shelf) == 0)


def test_a_refresh_that_ends_its_thread_is_tried_again() -> None:
    cache, calls = Cache(10, stale_while_revalidate=20), list[int]()

    @cache
    def fetch() -> int:
        calls.append(1)
        if len(calls) == 2:
            raise SystemExit
        return len(calls)

    with sandbox() as time:
        fetch()
        time.advance(11)
        for number in (2, 3):
            fetch()
            until(lambda number=number: len(calls) == number and len(cache.shelf) == 0)  # type: ignore[misc]
        assert fetch() == 3


@every_backend
def test_a_refresh_that_dies_with_its_event_loop_is_tried_again(backend: str) -> None:
    cache, calls = Cache(10, stale_while_revalidate=90), list[int]()

    @cache
    async def fetch() -> int:
        calls.append(1)
        await clock.asleep(1)
        return len(calls)

    async def scene(seconds: float) -> int:
        found = await fetch()
        await clock.asleep(seconds)
        return found

    with sandbox() as time:
        anyio.run(scene, 0, backend=backend)
        time.advance(11)
        assert anyio.run(scene, 0, backend=backend) == 1
        assert len(cache.shelf) == 0
        assert [anyio.run(scene, 2, backend=backend) for _ in range(2)] == [1, 3]


@pytest.mark.law(62)
def test_a_refresh_whose_task_is_cancelled_before_it_begins_is_tried_again() -> None:
    cache, calls = Cache(10, stale_while_revalidate=20), list[int]()

    @cache
    async def fetch() -> int:
        calls.append(1)
        return len(calls)

    async def leave_in_a_hurry() -> int:
        found = await fetch()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        return found

    with sandbox() as time:
        asyncio.run(leave_in_a_hurry())
        time.advance(11)
        assert asyncio.run(leave_in_a_hurry()) == 1
        assert (len(calls), len(cache.shelf)) == (1, 0)
        time.advance(20)  # too old to answer at once: whoever asks now would have followed the refresh for ever
        assert asyncio.run(leave_in_a_hurry()) == 2


@pytest.mark.law(62)
def test_a_refresh_that_gets_no_thread_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    cache, calls, events = Cache(10, stale_while_revalidate=20), list[int](), list[Any]()

    @cache
    def fetch() -> int:
        calls.append(1)
        return len(calls)

    with sandbox() as time, listen(events.append):
        fetch()
        time.advance(11)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            assert fetch() == 1
        assert (len(calls), len(cache.shelf)) == (1, 0)
        assert [str(event.error) for event in events if isinstance(event, RefreshFailed)] == ["can't start new thread"]
        fetch()
        until(lambda: len(calls) == 2 and len(cache.shelf) == 0)
        assert fetch() == 2


def test_a_refresh_in_a_thread_that_fails_is_told_and_tried_again() -> None:

    cache, calls, events = Cache(10, stale_while_revalidate=20), list[int](), list[Any]()

    @cache
    def fetch() -> str:
        calls.append(1)
        if len(calls) == 2:
            raise ConnectionError
        return f"value {len(calls)}"

    with sandbox() as time, listen(events.append):
        fetch()
        time.advance(11)
        assert fetch() == "value 1"
        until(lambda: any(isinstance(event, RefreshFailed) for event in events))
        until(lambda: len(cache.shelf) == 0)
        assert fetch() == "value 1"
        until(lambda: len(calls) == 3 and len(cache.shelf) == 0)
        assert fetch() == "value 3"


# Forgetting.


@every_backend
@given(when=st.sampled_from(["before", "during", "after"]), what=st.sampled_from(["invalidate", "clear"]))
def test_what_is_forgotten_is_not_given_to_who_asks_later(backend: str, when: str, what: str) -> None:
    cache, calls = Cache(60), list[int]()

    @cache
    async def fetch(key: int) -> int:
        calls.append(key)
        await clock.asleep(1)
        return len(calls)

    async def forget(at: float) -> None:
        await clock.asleep(at)
        if what == "clear":
            await cache.aclear()
        else:
            await cache.ainvalidate(fetch, 7)

    async def scene() -> tuple[int, int]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(forget, {"before": 0.0, "during": 1.5, "after": 3.0}[when])
            await clock.asleep(1)
            first = await fetch(7)
            await clock.asleep(2)
        return first, await fetch(7)

    with sandbox():
        first, second = anyio.run(scene, backend=backend)
    assert (first, second) == ((1, 1) if when == "before" else (1, 2))


def test_who_asks_after_a_forgetting_does_not_follow_who_asked_before() -> None:
    cache, going, calls = Cache(60), threading.Event(), list[int]()

    @cache
    def fetch() -> int:
        calls.append(1)
        number = len(calls)
        if number == 1:
            going.wait()
        return number

    found: list[int] = []
    with beside(lambda: found.append(fetch())):
        until(lambda: calls)
        cache.invalidate(fetch)
        assert fetch() == 2
        going.set()
    assert (found, fetch()) == ([1], 2)
