"""Which sagas a runner takes up: of its classes all, or some alone; and those that another class did not fit."""

import anyio
import pytest
from msgspec import Raw

from resilience._core.saga.entries import Parked, Result, Start, write
from resilience.errors import DefinitionChanged
from resilience.saga import MemoryJournal, Saga, SagaRunner, step
from resilience.saga._compile import blueprint_of
from resilience.testing import sandbox
from tests.saga.trips import PlainTrip, Trip, some_looks, status_of

# Some alone.


@pytest.mark.anyio
async def test_a_runner_takes_up_only_the_sagas_that_it_is_for() -> None:
    journal, saga = MemoryJournal(), Trip()
    for id_ in ("one", "two"):
        await Trip(anyio.Event()).start(7, id=id_, journal=journal)
    journal.die()
    left = journal.process()
    with sandbox():
        async with SagaRunner(left, saga, only={"two", "three"}):
            await some_looks()
    assert (saga.calls, status_of(left)) == (["book", "pay"], ["open", "completed"])


def test_a_runner_in_a_thread_takes_up_only_the_sagas_that_it_is_for() -> None:
    journal, saga = mistaken("one", "two"), PlainTrip()
    with sandbox(), SagaRunner(journal, saga, only=["two"]):
        assert PlainTrip.handle_sync("two", journal=journal).result() == 70
    assert status_of(journal) == ["stuck", "completed"]
    with sandbox(), SagaRunner(journal, saga, only=()) as runner:
        assert not runner._has_room("one")


def test_a_text_is_no_collection_of_ids() -> None:
    with pytest.raises(TypeError, match=r"only must be a collection of ids, got 'one'; for one saga, give {'one'}"):
        SagaRunner(MemoryJournal(), PlainTrip(), only="one")
    with pytest.raises(ValueError, match="a saga's id must have 1 to"):
        SagaRunner(MemoryJournal(), PlainTrip(), only=[""])


# Those that another class did not fit.


class Hike(Saga[int, int], name="plain-trip"):
    """What became of `PlainTrip` by mistake."""

    @step(undo=None)
    def walk(self, number: int) -> int:
        return number


class AsyncTrip(Saga[int, int], name="plain-trip"):
    """What else may become of it."""

    @step
    async def book(self, number: int) -> int:
        raise AssertionError("it has run")

    @book.undo
    async def unbook(self) -> None: ...

    @step(undo=None)
    async def pay(self, book: int) -> int:
        return book * 10


def mistaken(*ids: str) -> MemoryJournal:
    """Sagas that were at their second step when their process died; and then somebody had the wrong class for them."""
    journal, plan = MemoryJournal(), blueprint_of(PlainTrip).plan
    for id_ in ids:
        journal.start(id_, plan.saga, write(Start(plan.saga, Raw(b"7"), plan.shape))).wait()
        journal.append(id_, [write(Result("book", "ok", Raw(b"7")))], "open").wait()
        journal.release(id_).wait()
        with pytest.raises(DefinitionChanged, match="step 'book' has run, and the class has no such step"):
            Hike().run_sync(7, id=id_, journal=journal)
    return journal


@pytest.mark.scenario(26)
@pytest.mark.anyio
async def test_they_go_on_as_soon_as_a_class_fits_them() -> None:
    journal = mistaken("one", "two")
    with sandbox():
        async with SagaRunner(journal, AsyncTrip(), most=1):
            await some_looks()
    assert status_of(journal) == ["completed", "completed"]
    told = [entry.what for entry in await AsyncTrip.handle("one", journal=journal).history()]
    assert told == ["began", "book", "taken up", "parked: all of it", "taken up", "matched", "pay", "completed"]


@pytest.mark.scenario(26)
def test_they_go_on_in_plain_code_as_well() -> None:
    journal, saga = mistaken("one", "two"), PlainTrip()
    with sandbox(), SagaRunner(journal, saga, most=1):
        assert [PlainTrip.handle_sync(id_, journal=journal).result() for id_ in ("one", "two")] == [70, 70]
    assert saga.calls == ["pay", "pay"]


@pytest.mark.anyio
async def test_whatever_else_is_stuck_is_left_alone() -> None:
    journal = mistaken("wrong still")
    for id_, body in ("broken", write(Parked("book", "step-failed"))), ("unreadable", b"{}"):
        journal.start(id_, "trip", write(Start("trip", Raw(b"7"), ()))).wait()
        journal.append(id_, [body], "stuck").wait()
        journal.release(id_).wait()
    before = [journal.read(one.id).wait() for one in journal.list().wait()]
    with sandbox():
        async with SagaRunner(journal, Trip(), Hike()):
            await some_looks()
        async with SagaRunner(journal, Trip()):
            await some_looks()
    assert [journal.read(one.id).wait() for one in journal.list().wait()] == before
