"""Every story of a few small sagas ends well, on both journals; and where a world is not in order, it is found out.

Interpreters after the first one are told the first of them only: whether a crash point is survived was asked there.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count, takewhile
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import settings

from resilience._core.saga.program import Desk
from resilience._core.saga.progress import Progress
from resilience.errors import LostOwnership
from resilience.saga import Pending, Saga, SQLiteJournal, message, nested, pause, step
from resilience.saga._compile import blueprint_of
from resilience.saga._stage import Stage
from resilience.testing import Stories, check_saga
from resilience.testing._mail import mail_for
from resilience.testing._sagas import counted, every_story, with_cuts
from resilience.testing._standstill import Standstill
from resilience.testing._stories import Story
from resilience.testing._story_clock import StoryClock
from resilience.testing._telling import Teller
from tests.saga.trips import refused

MOST = 5_000 if settings().max_examples >= settings.get_profile("ci").max_examples else 60
SOME = min(300, MOST)

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


@dataclass
class Asking(Saga[str, str]):
    """It waits for somebody, for a while, and then for some time to pass."""

    world: World = field(default_factory=World)

    @step
    def reserve(self, order: str) -> str:
        return self.world.do(self.key)

    @reserve.undo
    def release(self) -> None:
        self.world.undo(self.key)

    approval = message(int, within=timedelta(days=3))
    cooling = pause(timedelta(days=1))

    @step
    def charge(self, reserve: str) -> str:
        return self.world.do(self.key)

    @charge.undo
    def refund(self) -> None:
        self.world.undo(self.key)

    @step
    def confirm(self, charge: str, approval: int) -> str:
        return self.world.do(self.key)

    @confirm.undo
    def withdraw(self) -> None:
        self.world.undo(self.key)


@dataclass
class AskingCoroutines(Saga[str, str]):
    """The same on an event loop, where a step is at work meanwhile."""

    world: World = field(default_factory=World)

    @step
    async def reserve(self, order: str) -> str:
        return self.world.do(self.key)

    @reserve.undo
    async def release(self) -> None:
        self.world.undo(self.key)

    approval = message(int, within=timedelta(days=3), after=reserve)
    cooling = pause(timedelta(days=1), after=reserve)

    @step(after=reserve)
    async def charge(self, reserve: str) -> str:
        return self.world.do(self.key)

    @charge.undo
    async def refund(self) -> None:
        self.world.undo(self.key)

    @step
    async def confirm(self, charge: str, approval: int) -> str:
        return self.world.do(self.key)

    @confirm.undo
    async def withdraw(self) -> None:
        self.world.undo(self.key)


@dataclass
class Handover(Saga[str, str]):
    """It begins with a wait that has no limit."""

    world: World
    signature = message(str)

    @step
    def load(self, signature: str) -> str:
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
class Patient(Saga[str, str]):
    """It waits for as long as it takes, on an event loop."""

    world: World = field(default_factory=World)

    @step
    async def reserve(self, order: str) -> str:
        return self.world.do(self.key)

    @reserve.undo
    async def release(self) -> None:
        self.world.undo(self.key)

    approval = message(int)

    @step
    async def charge(self, reserve: str, approval: int) -> str:
        return self.world.do(self.key)

    @charge.undo
    async def refund(self) -> None:
        self.world.undo(self.key)


@dataclass
class NestingHandover(Saga[str, str]):
    world: World = field(default_factory=World)

    @nested
    def deliver(self, order: str) -> tuple[Handover, str]:
        return Handover(self.world), order

    @step
    def bill(self, deliver: str) -> str:
        return self.world.do(self.key)

    @bill.undo
    def credit(self) -> None:
        self.world.undo(self.key)


def well_told(stories: Stories, fewest: int) -> None:
    assert stories.told == sum(stories.ends.values()) >= min(fewest, MOST)
    assert set(stories.ends) <= {"completed", "undone"}
    assert "completed" in stories.ends
    assert "undone" in stories.ends or stories.told < fewest


@pytest.mark.scenario(2, 3, 4, 5, 6, 7, 8, 9, 10, 12)
def test_every_story_of_a_plain_saga_ends_well() -> None:
    well_told(check_saga(Plain, "order", audit=in_order, most=MOST), 900)


@pytest.mark.scenario(2, 3, 4, 5, 6, 7, 8, 9, 10, 12)
@pytest.mark.parametrize(("backend", "most"), [("asyncio", MOST), ("trio", SOME)])
def test_every_story_of_a_saga_on_an_event_loop_ends_well(backend: str, most: int) -> None:
    well_told(check_saga(Coroutines, "order", audit=in_order, backend=backend, most=most), 300)


@pytest.mark.scenario(33)
@pytest.mark.parametrize(("backend", "most"), [("asyncio", MOST), ("trio", SOME)])
def test_every_story_of_a_saga_with_steps_side_by_side_ends_well(backend: str, most: int) -> None:
    well_told(check_saga(Beside, "order", audit=in_order, backend=backend, most=most), 300)


@pytest.mark.scenario(4, 7)
def test_every_story_of_a_saga_with_a_point_of_no_return_ends_well() -> None:
    well_told(check_saga(Pivoted, "order", audit=in_order, most=MOST), 300)


@pytest.mark.scenario(34)
def test_every_story_of_a_saga_with_another_one_inside_ends_well() -> None:
    well_told(check_saga(Nesting, "order", audit=in_order, most=MOST), 1_000)


def test_two_power_cuts_in_one_story() -> None:
    well_told(check_saga(Plain, "order", audit=in_order, cuts=2, most=SOME), 300)


# What comes from outside.


@pytest.mark.parametrize(
    ("saga", "backend", "most"),
    [(Asking, "none", MOST), (AskingCoroutines, "asyncio", SOME), (AskingCoroutines, "trio", SOME)],
)
def test_every_story_of_a_saga_with_a_message_and_a_pause_ends_well(
    saga: type[Asking | AskingCoroutines], backend: str, most: int
) -> None:
    well_told(check_saga(saga, "order", messages={"approval": 3}, audit=in_order, backend=backend, most=most), 300)


def test_every_story_of_a_saga_inside_that_begins_with_a_wait_without_limit_ends_well() -> None:
    stories = check_saga(NestingHandover, "order", messages={"deliver.signature": "ann"}, audit=in_order, most=MOST)
    well_told(stories, 300)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_wait_without_limit_on_an_event_loop_ends_with_its_process_and_goes_on_in_the_next(backend: str) -> None:
    teller = Teller[Any](Patient, "order", None, backend, mail_for("", blueprint_of(Patient), {"approval": 3}))
    for story in (Story(), Story(mail=(("approval", "early"),))):
        assert {telling.outcome for telling in with_cuts(teller, story, 1)} == {"completed"}


def test_a_message_that_is_not_given_never_comes_and_a_limit_turns_the_saga() -> None:
    assert set(check_saga(Asking, "order", audit=in_order, most=SOME).ends) == {"undone"}


def untroubled(saga: type[Saga[str, str]], backend: str | None, messages: dict[str, object]) -> dict[str, str]:
    """How the stories end in which no call breaks, nobody cancels and the power stays on."""
    teller = Teller[Any](saga, "order", None, backend, mail_for(saga.__name__, blueprint_of(saga), messages))
    told = takewhile(lambda telling: not telling.story.faults, every_story(teller, 1))
    return {str(telling.story): telling.outcome for telling in told if not telling.story.cuts}


@pytest.mark.parametrize(
    ("saga", "backend"), [(Asking, None), (AskingCoroutines, "asyncio"), (AskingCoroutines, "trio")]
)
def test_a_message_comes_in_every_way_and_only_without_it_the_saga_turns(
    saga: type[Asking | AskingCoroutines], backend: str | None
) -> None:
    assert untroubled(saga, backend, {"approval": 3}) == {
        "nothing goes wrong": "completed",
        "message 'approval' comes early": "completed",
        "message 'approval' comes again and again": "completed",
        "message 'approval' comes too late": "undone",
        "message 'approval' comes never": "undone",
    }


def test_a_message_that_nothing_precedes_cannot_be_early() -> None:
    ways = mail_for("Handover", blueprint_of(Handover), {"signature": "ann"}).ways_to_come("signature")
    assert [*ways] == ["again and again"]


def test_a_message_without_a_limit_always_comes_and_is_early_only_where_something_precedes_it() -> None:
    assert untroubled(NestingHandover, None, {"deliver.signature": "ann"}) == {
        "nothing goes wrong": "completed",
        "message 'deliver.signature' comes early": "completed",
        "message 'deliver.signature' comes again and again": "completed",
    }


@pytest.mark.parametrize(
    ("saga", "backend"), [(Asking, None), (AskingCoroutines, "asyncio"), (AskingCoroutines, "trio")]
)
def test_the_power_goes_in_the_middle_of_each_wait_before_and_after_the_message(
    saga: type[Asking | AskingCoroutines], backend: str | None
) -> None:
    teller = Teller[Any](saga, "order", in_order, backend, mail_for("", blueprint_of(saga), {"approval": 3}))
    quiet, *cut = with_cuts(teller, Story(), 1)
    points = [key for _, key in quiet.passed]
    assert points.count("wait:approval") == points.count("wait:cooling") == 2
    assert [telling.story.cuts for telling in cut] == [(point,) for point in range(1, len(points) + 1)]
    assert {telling.outcome for telling in cut} == {"completed"}
    # Where the power went once more during the same wait, it begins once more, and the message comes then.
    waits = [telling for telling in cut if points[telling.story.cuts[0] - 1] == "wait:approval"]
    assert [[key for _, key in telling.passed].count("wait:approval") for telling in waits] == [3, 2]


def test_the_caller_cancels_at_every_point_and_is_refused_only_past_the_point_of_no_return() -> None:
    cancelled = [one for one in every_story(Teller(Pivoted, "order", in_order, None), 1) if one.story.cancel]
    alone = [one for one in cancelled if not one.story.cuts]
    quiet = Teller(Pivoted, "order", in_order, None).tell(Story())
    assert [one.story.cancel for one in alone] == [*range(1, quiet.points + 1)]
    # What comes during the commit before a call is looked at after it.
    back = quiet.passed.index(("before", "do:charge")) - len(["before append", "after append"])
    assert [one.outcome for one in alone[:back]] == ["undone"] * back
    assert {one.outcome for one in alone[back:]} == {"completed"}
    assert {one.story.cuts for one in cancelled if one.story.cancel == 2} >= {(point,) for point in range(2, 8)}


# What cannot be told.


@pytest.mark.parametrize(
    ("messages", "kind", "match"),
    [
        ({"approve": 3}, ValueError, r"'approve' is no message step of Asking; those that wait for one: 'approval'$"),
        ({"charge": 3}, ValueError, r"'charge' is no message step of Asking"),
        ({"approval": "yes"}, TypeError, r"'approval' cannot be 'yes': str where int was announced"),
        (["approval"], TypeError, r"messages must be a mapping .* got \['approval'\]"),
    ],
)
def test_messages_that_the_saga_does_not_wait_for_are_refused_at_once(
    messages: Any, kind: type[Exception], match: str
) -> None:
    with pytest.raises(kind, match=match):
        check_saga(Asking, "order", messages=messages)


def test_a_message_that_would_be_waited_for_for_ever_has_to_be_given() -> None:
    with pytest.raises(ValueError, match=r"NestingHandover waits for 'deliver\.signature' without a limit"):
        check_saga(NestingHandover, "order")


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

    def append(self, id: str, bodies: Any, status: str, heard: int | None = None) -> Pending[None]:  # noqa: A002
        return (
            super().append(id, bodies, status, heard) if self.alive else refused(LostOwnership("", id, "it was killed"))
        )


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
    teller = Teller[Any](saga, "order", in_order, backend, journal=journals)
    stories = counted((telling for trouble in troubles for telling in with_cuts(teller, trouble, 1)), 100)
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


# What the library itself must hold.


def test_a_step_that_runs_again_though_its_result_is_durable_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = Progress.ready

    def forgetful(self: Progress) -> Iterator[str]:
        again = self.runs and "charge" in self.results and "confirm" not in self.results
        yield from ("charge",) if again else ready(self)

    monkeypatch.setattr(Progress, "ready", forgetful)
    with pytest.raises(AssertionError, match=r"do:charge began again, with its result in the journal \(I4\)"):
        check_saga(Plain, "order")


def test_a_cancel_that_is_passed_over_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stage, "arrivals", lambda *_: [])
    teller = Teller(Plain, "order", None, None)
    with pytest.raises(AssertionError, match="do:confirm began, and the request to cancel was passed over") as caught:
        teller.tell(Story(cancel=1))
    assert caught.value.__notes__ == ["in the story where the caller cancels at point 1"]


def test_a_cancel_that_is_granted_and_not_followed_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Desk, "_may_turn", lambda _: False)
    with pytest.raises(AssertionError, match="it was asked to turn back, did not refuse, and did not turn"):
        Teller(Plain, "order", None, None).tell(Story(cancel=1))


def test_a_thread_that_has_not_moved_since_before_a_story_does_not_hold_its_clock_up() -> None:
    first, second, third = threading.Event(), threading.Event(), threading.Event()

    def bystander() -> None:
        first.wait()
        second.set()
        third.wait()

    thread = threading.Thread(target=bystander)
    thread.start()
    try:
        stands_still(thread)
        clock = StoryClock()
        assert thread.ident in clock._asleep_threads()
        first.set()
        second.wait()
        assert thread.ident not in clock._asleep_threads()
    finally:
        first.set()
        third.set()
        thread.join()


def stands_still(thread: threading.Thread) -> None:
    """Wait until a thread has come to where it is blocked."""
    look = Standstill(lambda: {other.ident or 0 for other in threading.enumerate() if other is not thread})
    while not look.look():
        first = threading.Event()
        first.wait(0.001)
