"""Every story of a few small sagas ends well, on both journals; and where a world is not in order, it is found out."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import pytest

from resilience.errors import LostOwnership
from resilience.saga import Pending, Saga, SQLiteJournal, nested, step
from resilience.testing import Stories, check_saga
from resilience.testing._sagas import Story, _stories, _Teller, _told
from tests.saga.trips import refused

# A world.


@dataclass
class World:
    """What really is: a call with a known key is the same call, and one that comes after its undo is too late."""

    kept: set[str] = field(default_factory=set[str])
    late: set[str] = field(default_factory=set[str])

    def do(self, key: str) -> str:
        if key not in self.late:
            self.kept.add(key)
        return key

    def undo(self, key: str) -> None:
        self.kept.discard(key.removesuffix("/undo"))
        self.late.add(key.removesuffix("/undo"))


class HasWorld(Protocol):
    @property
    def world(self) -> World: ...


def in_order(saga: HasWorld) -> None:
    """All three effects, or none."""
    assert len(saga.world.kept) in {0, 3}, f"this is left: {saga.world.kept}"


@dataclass
class Plain(Saga[str, str]):
    world: World = field(default_factory=World)

    @step
    def reserve(self, order: str) -> str:
        return self.world.do(self.key)

    @reserve.undo
    def release(self) -> None:
        self.world.undo(self.key)

    @step
    def charge(self, reserve: str) -> str:
        return self.world.do(self.key)

    @charge.undo
    def refund(self) -> None:
        self.world.undo(self.key)

    @step
    def confirm(self, charge: str) -> str:
        return self.world.do(self.key)

    @confirm.undo
    def withdraw(self) -> None:
        self.world.undo(self.key)


@dataclass
class Coroutines(Saga[str, str]):
    world: World = field(default_factory=World)

    @step
    async def reserve(self, order: str) -> str:
        return self.world.do(self.key)

    @reserve.undo
    async def release(self) -> None:
        self.world.undo(self.key)

    @step
    async def charge(self, reserve: str) -> str:
        return self.world.do(self.key)

    @charge.undo
    async def refund(self) -> None:
        self.world.undo(self.key)

    @step
    async def confirm(self, charge: str) -> str:
        return self.world.do(self.key)

    @confirm.undo
    async def withdraw(self) -> None:
        self.world.undo(self.key)


@dataclass
class Beside(Saga[str, str]):
    """Two steps side by side, and one after them."""

    world: World = field(default_factory=World)

    @step(after=())
    async def left(self, order: str) -> str:
        return self.world.do(self.key)

    @left.undo
    async def unleft(self) -> None:
        self.world.undo(self.key)

    @step(after=())
    async def right(self, order: str) -> str:
        return self.world.do(self.key)

    @right.undo
    async def unright(self) -> None:
        self.world.undo(self.key)

    @step
    async def both(self, left: str, right: str) -> str:
        return self.world.do(self.key)

    @both.undo
    async def neither(self) -> None:
        self.world.undo(self.key)


@dataclass
class Pivoted(Saga[str, str]):
    """A step that can be undone, the point of no return, and one that is repeated until it succeeds."""

    world: World = field(default_factory=World)

    @step
    def reserve(self, order: str) -> str:
        return self.world.do(self.key)

    @reserve.undo
    def release(self) -> None:
        self.world.undo(self.key)

    @step(pivot=True)
    def charge(self, reserve: str) -> str:
        return self.world.do(self.key)

    @step(retriable=True)
    def confirm(self, charge: str) -> str:
        return self.world.do(self.key)


@dataclass
class Deliver(Saga[str, str]):
    world: World

    @step
    def load(self, order: str) -> str:
        return self.world.do(self.key)

    @load.undo
    def unload(self) -> None:
        self.world.undo(self.key)

    @step
    def drive(self, load: str) -> str:
        return self.world.do(self.key)

    @drive.undo
    def come_back(self) -> None:
        self.world.undo(self.key)


@dataclass
class Nesting(Saga[str, str]):
    world: World = field(default_factory=World)

    @nested
    def deliver(self, order: str) -> tuple[Deliver, str]:
        return Deliver(self.world), order

    @step
    def bill(self, deliver: str) -> str:
        return self.world.do(self.key)

    @bill.undo
    def credit(self) -> None:
        self.world.undo(self.key)


def well_told(stories: Stories, fewest: int) -> None:
    assert stories.told == sum(stories.ends.values()) >= fewest
    assert set(stories.ends) == {"completed", "undone"}


@pytest.mark.scenario(2, 3, 4, 5, 6, 7, 8, 9, 10, 12)
def test_every_story_of_a_plain_saga_ends_well() -> None:
    well_told(check_saga(Plain, "order", audit=in_order), 300)


@pytest.mark.scenario(2, 3, 4, 5, 6, 7, 8, 9, 10, 12)
@pytest.mark.parametrize(("backend", "most"), [("asyncio", 2_000), ("trio", 300)])
def test_every_story_of_a_saga_on_an_event_loop_ends_well(backend: str, most: int) -> None:
    well_told(check_saga(Coroutines, "order", audit=in_order, backend=backend, most=most), 300)


@pytest.mark.scenario(33)
@pytest.mark.parametrize(("backend", "most"), [("asyncio", 2_000), ("trio", 300)])
def test_every_story_of_a_saga_with_steps_side_by_side_ends_well(backend: str, most: int) -> None:
    well_told(check_saga(Beside, "order", audit=in_order, backend=backend, most=most), 300)


@pytest.mark.scenario(4, 7)
def test_every_story_of_a_saga_with_a_point_of_no_return_ends_well() -> None:
    well_told(check_saga(Pivoted, "order", audit=in_order), 100)


@pytest.mark.scenario(34)
def test_every_story_of_a_saga_with_another_one_inside_ends_well() -> None:
    well_told(check_saga(Nesting, "order", audit=in_order), 300)


def test_two_power_cuts_in_one_story() -> None:
    well_told(check_saga(Plain, "order", audit=in_order, cuts=2, most=300), 300)


# The journal in a file.

LOST = Story((("do:confirm", "lost"),))


class Mortal(SQLiteJournal):
    """Plays processes: one that dies stops in the middle, and the file does not hear of it."""

    alive = True

    def process(self) -> "Mortal":
        return self if self.alive else Mortal(self.name)

    def die(self) -> None:
        self.alive, self._closed = False, True
        self._reader.stop()
        self._writer._worker.stop()
        self._reading.close()
        self._writer._connection.close()
        self._writer._ledger.resign()
        self._owners.leave()

    def append(self, id: str, bodies: Any, *rest: Any) -> Pending[None]:  # noqa: A002
        return super().append(id, bodies, *rest) if self.alive else refused(LostOwnership("", id, "it was killed"))


@pytest.fixture
def journals(tmp_path: Path) -> Iterator[Callable[[], Mortal]]:
    numbers = count()
    with ExitStack() as closing:

        def made() -> Mortal:
            journal = Mortal(tmp_path / f"{next(numbers)}.db")
            closing.callback(journal.close)
            return journal

        yield made


@pytest.mark.scenario(2, 3, 4, 5, 6, 8, 9)
@pytest.mark.parametrize(
    ("saga", "backend", "troubles"),
    [
        pytest.param(Plain, None, [Story(), LOST], id="plain code"),
        pytest.param(Coroutines, "asyncio", [LOST], id="asyncio"),
    ],
)
def test_the_stories_end_well_on_a_journal_in_a_file(
    journals: Callable[[], Mortal], saga: type[Plain | Coroutines], backend: str | None, troubles: list[Story]
) -> None:
    teller = _Teller[Any](saga, "order", in_order, backend, journals)
    stories = _told(teller, _stories(teller, troubles, 1), 100)
    well_told(stories, 15 * len(troubles))


# Those that do not end well.


def test_a_world_that_is_not_in_order_is_found_out_and_the_story_is_named() -> None:
    def never_in_order(saga: Plain) -> None:
        raise AssertionError("chaos")

    with pytest.raises(AssertionError, match="chaos") as caught:
        check_saga(Plain, "order", audit=never_in_order)
    assert caught.value.__notes__ == ["in the story where nothing goes wrong"]


@dataclass
class Forgetful(Saga[str, str]):
    """What its first undo should take back stays."""

    world: World = field(default_factory=World)

    @step
    def reserve(self, order: str) -> str:
        return self.world.do(self.key)

    @reserve.undo
    def release(self) -> None: ...

    @step
    def charge(self, reserve: str) -> str:
        return self.world.do(self.key)

    @charge.undo
    def refund(self) -> None:
        self.world.undo(self.key)

    @step(pivot=True)
    def confirm(self, charge: str) -> str:
        return self.world.do(self.key)


def test_an_undo_that_takes_nothing_back_is_found_out_and_the_story_is_named() -> None:
    with pytest.raises(AssertionError, match=r"this is left: \{'story/reserve'\}") as caught:
        check_saga(Forgetful, "order", audit=in_order)
    assert caught.value.__notes__ == ["in the story where do:reserve is lost"]


@dataclass
class Careless(Saga[str, str]):
    """It takes another key for each call."""

    world: World = field(default_factory=World)

    @step
    def reserve(self, order: str) -> str:
        return self.world.do(f"{self.key} {len(self.world.kept)}")

    @reserve.undo
    def release(self) -> None:
        self.world.kept.clear()

    @step(pivot=True)
    def charge(self, reserve: str) -> str:
        return reserve


def test_a_call_that_cannot_be_told_from_its_repetition_is_found_out_and_the_story_is_named() -> None:
    def once(saga: Careless) -> None:
        assert len(saga.world.kept) <= 1

    with pytest.raises(AssertionError) as caught:
        check_saga(Careless, "order", audit=once)
    (note,) = caught.value.__notes__
    assert note.startswith("in the story where the power goes at point ")
