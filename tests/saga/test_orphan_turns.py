"""A step that was under way when its process died may have had its effect, also if the saga turns as it is taken up."""

from dataclasses import dataclass, field

import pytest
from msgspec import Raw

from resilience._core.saga.entries import Asked, Result, Start, write
from resilience.saga import MemoryJournal, Saga, SagaRunner, step
from resilience.saga._compile import blueprint_of
from resilience.saga._letters import write_request
from resilience.testing import sandbox
from tests.saga.trips import some_looks, status_of


@dataclass
class Plain(Saga[int, int], name="buy"):
    """Is undone in words."""

    undone: list[str] = field(default_factory=list[str])

    @step
    def reserve(self, number: int) -> int:
        return number

    @reserve.undo
    def release(self, reserve: int | None) -> None:
        self.undone.append(f"release {reserve}")

    @step
    def charge(self, reserve: int) -> int:
        raise AssertionError("it turns before that")

    @charge.undo
    def refund(self, charge: int | None, certain: bool) -> None:
        self.undone.append(f"refund {charge} {'for certain' if certain else 'perhaps'}")


@dataclass
class Async(Saga[int, int], name="buy"):
    """The same on an event loop."""

    undone: list[str] = field(default_factory=list[str])

    @step
    async def reserve(self, number: int) -> int:
        return number

    @reserve.undo
    async def release(self, reserve: int | None) -> None:
        self.undone.append(f"release {reserve}")

    @step
    async def charge(self, reserve: int) -> int:
        self.undone.append("charged again")
        return reserve

    @charge.undo
    async def refund(self, charge: int | None, certain: bool) -> None:
        self.undone.append(f"refund {charge} {'for certain' if certain else 'perhaps'}")


def left(why: str) -> MemoryJournal:
    """A saga whose process died when it had charged, and not written that down; and which is to turn meanwhile."""
    journal, plan = MemoryJournal(), blueprint_of(Plain).plan
    within = 60.0 if why == "its time is over" else None
    journal.start("one", plan.saga, write(Start(plan.saga, Raw(b"7"), plan.shape, within))).wait()
    journal.append("one", [write(Result("reserve", "ok", Raw(b"7")))], "open").wait()
    if why == "it is paused, and then cancelled":
        row = journal.send("one", "control", write_request("pause"), "ops").wait()
        journal.append("one", [write(Asked("pause", row))], "open").wait()
    if why != "its time is over":
        journal.send("one", "control", write_request("cancel"), "ops").wait()
    journal.die()
    return journal.process()


WHY = ["its time is over", "somebody cancels it", "it is paused, and then cancelled"]


@pytest.mark.scenario(4, 13, 17)
@pytest.mark.parametrize("why", WHY)
def test_it_is_undone_in_plain_code(why: str) -> None:
    saga = Plain()
    with sandbox() as time:
        journal = left(why)
        time.advance(3_600)
        with SagaRunner(journal, saga):
            handle = Plain.handle_sync("one", journal=journal)
            with pytest.raises(Exception, match="what it had done is undone"):
                handle.result()
    assert saga.undone == ["refund None perhaps", "release 7"]


@pytest.mark.scenario(4, 13, 17)
@pytest.mark.parametrize("why", WHY)
@pytest.mark.parametrize("kind", [Async, Plain])
@pytest.mark.anyio
async def test_it_is_undone_on_an_event_loop(why: str, kind: type[Async | Plain]) -> None:
    saga = kind()
    with sandbox() as time:
        journal = left(why)
        time.advance(3_600)
        async with SagaRunner(journal, saga):
            await some_looks()
    assert (saga.undone, status_of(journal)) == (["refund None perhaps", "release 7"], ["undone"])
