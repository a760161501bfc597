"""The cache as its users meet it: options, bad input, doors, figures."""

import pickle
import threading
from datetime import timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from resilience import (
    AsyncStore,
    Cache,
    CacheStats,
    Entry,
    MemoryStore,
    Pipeline,
    ResilienceWarning,
    Store,
    policies,
    retry,
)
from resilience.testing import sandbox


class Keeping:
    """A store of one's own, with what it was told."""

    def __init__(self) -> None:
        self.kept: dict[Any, tuple[Any, float]] = {}

    def get(self, key: Any, /) -> Entry | None:
        return Entry.aged(self.kept[key][0], 3.0) if key in self.kept else None

    def put(self, key: Any, value: Any, seconds: float, /) -> None:
        self.kept[key] = value, seconds

    def drop(self, key: Any, /) -> None:
        self.kept.pop(key, None)

    def clear(self) -> None:
        self.kept.clear()


class Slow:
    """An asynchronous one that keeps nothing."""

    async def get(self, key: Any, /) -> None: ...
    async def put(self, key: Any, value: Any, seconds: float, /) -> None: ...
    async def drop(self, key: Any, /) -> None: ...
    async def clear(self) -> None: ...


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"ttl": "1"}, TypeError, "ttl must be seconds"),
        ({"ttl": 0}, ValueError, "ttl must be"),
        ({"ttl": -1}, ValueError, "ttl must be"),
        ({"ttl": float("nan")}, ValueError, "ttl must be"),
        ({"ttl": True}, TypeError, "ttl must be seconds"),
        ({"stale_if_error": -1}, ValueError, "stale_if_error must be"),
        ({"stale_while_revalidate": "1"}, TypeError, "stale_while_revalidate must be"),
        ({"maxsize": 0}, ValueError, "maxsize must be at least 1"),
        ({"maxsize": 1.5}, TypeError, "maxsize must be a whole number"),
        ({"key": 3}, TypeError, "key must be the name of a parameter, or a function of the call's arguments, got 3"),
        ({"key": ""}, TypeError, "key must be the name of a parameter"),
        ({"store": {}}, TypeError, "store must be an object with get, put, drop and clear"),
        ({"store": Keeping}, TypeError, "store must be an object"),
        ({"store": Keeping(), "maxsize": 3}, ValueError, "maxsize=3 has no effect with store="),
        ({"name": ""}, ValueError, "name must not be empty"),
    ],
)
def test_bad_options_are_refused_when_it_is_made(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Cache(**{"ttl": 60, **options})


def test_a_key_that_names_no_parameter_is_refused_at_decoration() -> None:
    with pytest.raises(
        ValueError, match=r"key='currency' names no parameter of .*rate, which has session, args; name one"
    ):

        @Cache(60, key="currency")
        def rate(session: object, *args: object) -> None: ...


def test_a_plain_function_is_refused_where_the_store_is_asynchronous() -> None:
    cache = Cache(60, store=Slow())
    with pytest.raises(TypeError, match="asynchronous store, and so guards coroutine functions only"):
        cache(lambda: 1)
    with pytest.raises(TypeError, match=r"write 'await cache\.ainvalidate\(\.\.\.\)'"):
        cache.invalidate(len)
    with pytest.raises(TypeError, match=r"write 'await cache\.aclear\(\.\.\.\)'"):
        cache.clear()


def test_durations_may_be_timedeltas() -> None:
    cache = Cache(timedelta(minutes=1), name="a minute")
    calls: list[int] = []
    guarded = cache(lambda: calls.append(1))
    with sandbox() as time:
        guarded()
        time.advance(59)
        guarded()
        assert len(calls) == 1
        time.advance(1)
        guarded()
        assert len(calls) == 2
    assert cache in policies(Cache)


@pytest.mark.parametrize("key", ["currency", lambda session, currency="EUR": currency])
def test_a_key_may_be_one_argument_or_a_function_of_them(key: Any) -> None:
    calls: list[str] = []

    @Cache(60, key=key)
    def rate(session: object, currency: str = "EUR") -> int:
        calls.append(currency)
        return len(calls)

    assert [rate(1), rate(2, "EUR"), rate([], currency="EUR"), rate(1, "USD")] == [1, 1, 1, 2]


def test_a_key_by_name_leaves_what_is_missing_to_the_function() -> None:
    @Cache(60, key="currency")
    def rate(currency: str, *, day: str = "today") -> str:
        return currency + day

    wrong: Any = rate
    with pytest.raises(TypeError, match="missing a required argument: 'currency'"):
        wrong()


def test_keyword_only_parameters_and_those_collected_are_told_apart() -> None:
    calls: list[object] = []

    @Cache(60, key="day")
    def by_day(*names: str, day: str) -> int:
        calls.append(names)
        return len(calls)

    @Cache(60)
    def by_all(*names: str, **options: int) -> int:
        calls.append(names)
        return len(calls)

    assert [by_day("a", day="mon"), by_day("b", "c", day="mon"), by_day("a", day="tue")] == [1, 1, 2]
    assert [by_all("a", x=1, y=2), by_all("a", y=2, x=1), by_all("a", x=1), by_all("a", "x")] == [3, 3, 4, 5]


def test_the_oldest_asked_for_goes_first() -> None:
    cache = Cache(60, maxsize=2)
    calls: list[int] = []

    @cache
    def fetch(number: int) -> int:
        calls.append(number)
        return number

    for number in (1, 2, 1, 3, 1, 2):
        fetch(number)
    assert calls == [1, 2, 3, 2]
    assert cache.stats == CacheStats(size=2, hits=2, misses=4, followed=0, stale=0)


def test_what_is_too_old_makes_room() -> None:
    store = MemoryStore(100)
    with sandbox() as time:
        for number in range(10):
            store.put(number, number, 5.0)
        time.advance(6)
        store.put("new", 1, 5.0)
        assert len(store) == 1


def test_a_store_of_ones_own_gets_names_values_and_how_long_they_are_of_use() -> None:
    store = Keeping()
    cache = Cache(10, key=lambda words: words, store=store, stale_if_error=50, stale_while_revalidate=20)

    @cache
    def find(words: str) -> str:
        return words.upper()

    assert [find("tea"), find("tea")] == ["TEA", "TEA"]
    ((key, kept),) = store.kept.items()
    assert (key, kept) == ((f"{__name__}.{find.__qualname__}", "tea"), ("TEA", 60.0))
    assert (cache.stats.hits, cache.stats.size) == (1, None)
    cache.invalidate(find, "tea")
    assert not store.kept
    find("tea")
    cache.clear()
    assert not store.kept


def test_the_protocols_tell_what_a_store_is() -> None:
    assert isinstance(MemoryStore(1), Store)
    assert isinstance(Keeping(), Store)
    assert isinstance(Slow(), AsyncStore)


def test_forgetting_takes_the_function_and_the_arguments() -> None:
    cache = Cache(60, key="number", name="by number")
    calls: list[int] = []

    class Repository:
        @cache
        def find(self, number: int) -> int:
            calls.append(number)
            return number

    @cache
    def find(number: int) -> int:
        calls.append(number)
        return number

    repository = Repository()
    for forget in (
        lambda: cache.invalidate(find, 1),
        lambda: cache.invalidate(find.__wrapped__, number=1),  # type: ignore[attr-defined]
    ):
        find(1)
        calls.clear()
        forget()
        find(1)
        assert calls == [1]
    repository.find(2)
    calls.clear()
    cache.invalidate(repository.find, 2)
    repository.find(2)
    assert calls == [2]
    with pytest.raises(ValueError, match="by number does not guard len; give a function that it decorates"):
        cache.invalidate(len, "a")


def test_a_block_cannot_be_cached() -> None:
    pipeline = Pipeline(Cache(60))
    with pytest.raises(TypeError, match="repeats or replaces the call"):
        pipeline.guard()


def test_what_it_promises_stands_in_an_explanation() -> None:
    text = Pipeline(
        Cache(60, stale_if_error=3600, stale_while_revalidate=30), retry(on=OSError), name="rates"
    ).explain()
    assert (
        "1. cache: values of up to 1,024 answer for 60 s, 30 s longer while it fetches anew, 3600 s longer if there is "
        "no newer" in text
    )
    assert "calls per call: at most 3" in text
    assert "cache: values in Keeping answer for 5 s" in Pipeline(Cache(5, store=Keeping())).explain()


def test_it_cannot_be_pickled() -> None:
    with pytest.raises(TypeError, match="holds live state"):
        pickle.dumps(Cache(60))


def test_inside_a_sandbox_it_is_empty_and_afterwards_as_it_was() -> None:
    cache, calls = Cache(60), list[int]()
    guarded = cache(lambda: calls.append(1))
    guarded()
    with sandbox():
        guarded()
        assert (len(calls), cache.stats.misses) == (2, 1)
    guarded()
    assert (len(calls), cache.stats.hits) == (2, 1)


def test_a_forked_child_has_locks_of_its_own_and_keeps_the_values() -> None:
    cache = Cache(60)
    going, calls = threading.Event(), list[int]()

    @cache
    def fetch(number: int) -> int:
        calls.append(number)
        if number == 2 and len(calls) == 2:
            going.wait()
        return number

    fetch(1)
    thread = threading.Thread(target=fetch, args=(2,), daemon=True)
    thread.start()
    while len(calls) < 2:
        pass
    cache._after_fork()  # as the child would: the leader is in the parent
    assert (fetch(1), fetch(2)) == (1, 2)
    assert calls == [1, 2, 2]
    going.set()
    thread.join()


def test_plain_waiting_in_an_event_loop_warns() -> None:
    cache, going, calls = Cache(60), threading.Event(), list[int]()

    @cache
    def fetch() -> int:
        calls.append(1)
        going.wait()
        return 1

    thread = threading.Thread(target=fetch, daemon=True)

    async def scene() -> None:
        thread.start()
        while not calls:
            await anyio.lowlevel.checkpoint()
        opener = threading.Thread(target=lambda: (_until_followed(cache), going.set()))
        opener.start()
        with pytest.warns(
            ResilienceWarning, match=r"about to block a thread that runs an event loop.*await cache\.acall"
        ):
            assert fetch() == 1
        opener.join()

    anyio.run(scene)
    thread.join()


def _until_followed(cache: Cache) -> None:
    while cache.shelf.following != 1:
        pass
