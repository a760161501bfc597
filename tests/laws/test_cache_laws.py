"""What a cache keeps when it is told to forget at the worst moment, or to keep for less than its clock can tell."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience import listen
from resilience._cache import Cache
from resilience._clock import clock
from resilience._store import Entry
from resilience.testing import sandbox


class Slow:
    """A store that takes a second for each value it puts."""

    def __init__(self) -> None:
        self.table: dict[Any, Any] = {}

    async def get(self, key: Any, /) -> Entry | None:
        return Entry.aged(self.table[key], 0.0) if key in self.table else None

    async def put(self, key: Any, value: Any, seconds: float, /) -> None:
        await clock.asleep(1)
        self.table[key] = value

    async def drop(self, key: Any, /) -> None:
        self.table.pop(key, None)

    async def clear(self) -> None:
        self.table.clear()


class Meddled:
    """A store in which something else happens just before a value is put."""

    def __init__(self) -> None:
        self.table: dict[Any, Any] = {}
        self.meddle: Callable[[], None] = lambda: None

    def get(self, key: Any, /) -> Entry | None:
        return Entry.aged(self.table[key], 0.0) if key in self.table else None

    def put(self, key: Any, value: Any, seconds: float, /) -> None:
        self.meddle()
        self.table[key] = value

    def drop(self, key: Any, /) -> None:
        self.table.pop(key, None)

    def clear(self) -> None:
        self.table.clear()


@pytest.mark.law(62)
@pytest.mark.parametrize("what", ["invalidate", "clear"])
def test_what_is_forgotten_while_it_is_put_is_not_kept(what: str) -> None:
    store, calls = Meddled(), list[int]()
    cache = Cache(60, store=store)

    @cache
    def fetch(key: int) -> int:
        calls.append(key)
        return len(calls)

    def forget() -> None:
        store.meddle = lambda: None
        cache.clear() if what == "clear" else cache.invalidate(fetch, 7)

    store.meddle = forget
    assert (fetch(7), fetch(7), fetch(7)) == (1, 2, 2)


@pytest.mark.law(62)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("what", ["invalidate", "clear"])
def test_so_it_is_in_an_asynchronous_store(backend: str, what: str) -> None:
    cache, calls = Cache(60, store=Slow()), list[int]()

    @cache
    async def fetch(key: int) -> int:
        calls.append(key)
        return len(calls)

    async def forget() -> None:
        await clock.asleep(0.5)
        await (cache.aclear() if what == "clear" else cache.ainvalidate(fetch, 7))

    async def scene() -> list[int]:
        found: list[int] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(forget)
            found.append(await fetch(7))
        return [*found, await fetch(7)]

    with sandbox():
        assert anyio.run(scene, backend=backend) == [1, 2]


@pytest.mark.law(64)
@given(ttl=st.floats(min_value=1e-300, max_value=1e-6), asleep=st.floats(0, 1e9))
def test_what_is_too_old_at_once_is_no_failure_of_the_store(ttl: float, asleep: float) -> None:
    heard: list[Any] = []
    with sandbox() as time, listen(heard.append):
        time.advance(asleep)
        assert Cache(ttl)(lambda: 1)() == 1
    assert heard == []


@pytest.mark.law(80)
@pytest.mark.parametrize("other", [1.0, True, complex(1)])
@pytest.mark.parametrize("place", [0, 1])
def test_equal_arguments_of_other_types_are_other_calls(other: object, place: int) -> None:
    @Cache(60)
    def kinds(one: object, two: object) -> list[type]:
        return [type(one), type(two)]

    arguments: tuple[object, object] = (other, 1) if place == 0 else (1, other)
    assert kinds(1, 1) == [int, int]
    assert kinds(*arguments)[place] is type(other)
