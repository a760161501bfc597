"""A saga from outside: how it stands, what may be asked of it, and the messages that it waits for."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
import pytest

from resilience._clock import clock
from resilience._core.saga.entries import Verb
from resilience.errors import MessageRefused, SagaError, SagaFailed, SagaStuck, UnknownSaga
from resilience.saga import MemoryJournal, Pending, Saga, SagaRunner, SagaStatus, message, nested, pause, step
from resilience.saga._letters import write_request
from resilience.testing import sandbox
from tests.saga.trips import PlainTrip, Trip, some_looks, status_of, until

# How it stands.


@pytest.mark.anyio
async def test_a_handle_follows_a_saga_to_its_result() -> None:
    saga, journal = Trip(anyio.Event()), MemoryJournal()
    handle = await saga.start(7, id="one", journal=journal)
    assert await handle.status() == SagaStatus("one", "running", ("book",), ())
    assert saga.booking is not None
    saga.booking.set()
    with sandbox():
        assert await Trip.handle("one", journal=journal.process()).result() == 70
    assert await handle.status() == SagaStatus("one", "completed", (), ())
    assert repr(handle) == "<SagaHandle trip 'one'>"


def test_a_handle_follows_a_saga_in_plain_code_to_its_result() -> None:
    booking, journal = threading.Event(), MemoryJournal()
    handle = PlainTrip(during=lambda: booking.wait(30)).start_sync(7, id="one", journal=journal)
    assert handle.status() == SagaStatus("one", "running", ("book",), ())
    booking.set()
    with sandbox():
        assert handle.result() == 70
    assert PlainTrip.handle_sync("one", journal=journal).status().state == "completed"
    assert repr(handle) == "<SyncSagaHandle plain-trip 'one'>"


@pytest.mark.anyio
async def test_an_id_that_is_not_in_the_journal_is_unknown_whatever_is_asked() -> None:
    handle, plain = Trip.handle("one", journal=MemoryJournal()), PlainTrip.handle_sync("one", journal=MemoryJournal())
    for ask in (handle.status, handle.result, handle.cancel, handle.pause, handle.resume):
        with pytest.raises(UnknownSaga):
            await ask()
    for ask_plainly in (plain.status, plain.result, plain.cancel, plain.pause, plain.resume):
        with pytest.raises(UnknownSaga):
            ask_plainly()


# What may be asked of it.


@pytest.mark.scenario(13)
@pytest.mark.anyio
async def test_a_saga_that_is_asked_to_turn_back_stops_what_it_is_at_and_undoes_it() -> None:
    saga, journal = Trip(anyio.Event(), unbooking=anyio.Event()), MemoryJournal()
    handle = await saga.start(7, id="one", journal=journal)
    await until(lambda: saga.calls == ["book"])
    with sandbox():
        await handle.cancel("changed my mind")
        await until(lambda: len(saga.calls) == 2)
        assert await handle.status() == SagaStatus("one", "undoing", ("book",), ())
        assert saga.unbooking is not None
        saga.unbooking.set()
        with pytest.raises(SagaFailed, match="cancelled"):
            await handle.result()
    assert saga.calls == ["book", "unbook None perhaps", "unbooked"]
    assert await handle.status() == SagaStatus("one", "undone", (), ())


@pytest.mark.scenario(14)
@pytest.mark.anyio
async def test_a_second_request_to_turn_back_is_refused_and_leaves_the_undo_alone() -> None:
    saga = Trip(anyio.Event(), unbooking=anyio.Event())
    handle = await saga.start(7, journal=MemoryJournal())
    await until(lambda: saga.calls == ["book"])
    with sandbox():
        await handle.cancel()
        await until(lambda: len(saga.calls) == 2)
        with pytest.raises(SagaError, match="already"):
            await handle.cancel()
        assert saga.unbooking is not None
        saga.unbooking.set()
        with pytest.raises(SagaFailed):
            await handle.result()
    assert saga.calls[-1] == "unbooked"


@pytest.mark.anyio
async def test_an_ended_saga_refuses_every_request() -> None:
    journal = MemoryJournal()
    await Trip().run(7, id="one", journal=journal)
    handle = Trip.handle("one", journal=journal)
    for ask in (handle.cancel, handle.pause, handle.resume):
        with pytest.raises(SagaError, match="ended"):
            await ask()


@dataclass
class Final(Saga[int, int]):
    """Its first step is its pivot; the one behind it waits."""

    gate: anyio.Event

    @step(pivot=True)
    async def charge(self, number: int) -> int:
        return number

    @step
    async def ship(self, charge: int) -> int:
        await self.gate.wait()
        return charge


@pytest.mark.scenario(15)
@pytest.mark.anyio
async def test_past_its_pivot_it_refuses_to_turn_back_and_goes_on() -> None:
    saga, journal = Final(anyio.Event()), MemoryJournal()
    handle = await saga.start(7, id="one", journal=journal)
    await anyio.wait_all_tasks_blocked()
    with sandbox():
        with pytest.raises(SagaError, match="too late"):
            await handle.cancel()
        saga.gate.set()
        assert await handle.result() == 7


@pytest.mark.anyio
async def test_a_paused_saga_ends_its_step_and_begins_no_other_until_it_is_resumed() -> None:
    saga, journal = Trip(anyio.Event()), MemoryJournal()
    handle = await saga.start(7, id="one", journal=journal)
    with sandbox():
        await handle.pause("the bank is closed")
        assert saga.booking is not None
        saga.booking.set()
        await some_looks()
        assert (saga.calls, (await handle.status()).state) == (["book"], "paused")
        await handle.resume()
        assert await handle.result() == 70
    assert saga.calls == ["book", "pay"]


def test_a_plain_saga_hears_what_is_asked_of_it_between_two_steps() -> None:
    booking, journal = threading.Event(), MemoryJournal()
    saga = PlainTrip(during=lambda: booking.wait(30))
    handle = saga.start_sync(7, id="one", journal=journal)
    journal.send("one", "control", write_request("pause"), "ops").wait()
    booking.set()
    with sandbox():
        handle.pause()
        assert (saga.calls, handle.status().state) == (["book"], "paused")
        handle.cancel("changed my mind")
        with pytest.raises(SagaFailed, match="cancelled"):
            handle.result()
        with pytest.raises(SagaError, match="ended"):
            handle.resume()
    assert saga.calls == ["book", "unbook 7"]


def test_a_request_that_comes_during_a_plain_step_does_not_repeat_the_step() -> None:
    journal = MemoryJournal()

    def ask() -> None:
        for verb in ("pause", "resume"):
            journal.send("one", "control", write_request(verb), "ops").wait()  # type: ignore[arg-type]  # two verbs

    saga = PlainTrip(during=ask)
    assert saga.run_sync(7, id="one", journal=journal) == 70
    assert saga.calls == ["book", "pay"]


@pytest.mark.anyio
async def test_a_letter_that_is_no_request_is_passed_over() -> None:
    saga, journal = Trip(anyio.Event()), MemoryJournal()
    handle = await saga.start(7, id="one", journal=journal)
    await until(lambda: saga.calls == ["book"])
    await journal.send("one", "control", b"{not json", "somebody")
    await anyio.wait_all_tasks_blocked()
    assert saga.booking is not None
    saga.booking.set()
    with sandbox():
        assert await handle.result() == 70


@dataclass
class Sticky(Saga[int, int]):
    """Its undo, which has one attempt, is interrupted the first time."""

    journal: MemoryJournal
    letters: tuple[Verb, ...] = ("retry",)
    calls: list[str] = field(default_factory=list[str])

    @step
    async def book(self, number: int) -> int:
        return number

    @book.undo(attempts=1)
    async def unbook(self, book: int | None) -> None:
        self.calls.append("unbook")
        if len(self.calls) == 1:
            await self._write_unnoticed()
            raise RuntimeError("down")

    @step
    async def pay(self, book: int) -> int:
        raise RuntimeError("no")

    async def _write_unnoticed(self) -> None:
        """Another process sends letters, of which this one has not been told yet."""
        watchers, self.journal._watchers = self.journal._watchers, []
        for verb in self.letters:
            await self.journal.process().send("one", "control", write_request(verb), "ops")
        self.journal._watchers = watchers


@pytest.mark.scenario(11)
@pytest.mark.anyio
async def test_a_retry_that_comes_as_the_saga_gets_stuck_is_heard() -> None:
    journal = MemoryJournal()
    saga = Sticky(journal)
    with sandbox():
        async with SagaRunner(journal, saga):
            with pytest.raises((SagaStuck, SagaFailed)):
                await saga.run(7, id="one", journal=journal)
            await some_looks()
    assert (saga.calls, status_of(journal)) == (["unbook"] * 2, ["undone"])


class DyingWhenStuck(MemoryJournal):
    """The process is killed as soon as it has written so often that a saga is stuck."""

    times = 1

    def append(self, id: str, bodies: Sequence[bytes], status: str, heard: int | None = None) -> Pending[None]:  # noqa: A002
        written = super().append(id, bodies, status, heard)
        self.times -= status == "stuck"
        if not self.times:
            self.die()
        return written


@pytest.mark.scenario(11)
@pytest.mark.parametrize("letters", [("retry",), ("resume", "retry")], ids=len)
@pytest.mark.anyio
async def test_a_retry_that_comes_as_the_saga_gets_stuck_is_heard_though_the_process_dies_then(
    letters: tuple[Verb, ...],
) -> None:
    journal = DyingWhenStuck()
    journal.times = len(letters)
    saga = Sticky(journal, letters)
    with sandbox():
        with pytest.raises(SagaError):
            await saga.run(7, id="one", journal=journal)
        other = journal.process()
        async with SagaRunner(other, saga):
            await some_looks()
    assert (saga.calls, status_of(other)) == (["unbook"] * 2, ["undone"])


@pytest.mark.scenario(11)
@pytest.mark.anyio
async def test_a_stuck_saga_says_so_and_goes_on_when_an_operator_has_it_tried_again() -> None:
    class Stubborn(Saga[int, int]):
        @step(pivot=True, attempts=1)
        async def charge(self, number: int) -> int:
            if not working.is_set():
                raise ConnectionError("down")
            return number

    journal, working = MemoryJournal(), anyio.Event()
    with sandbox():
        with pytest.raises(SagaStuck):
            await Stubborn().run(7, id="one", journal=journal)
        handle = Stubborn.handle("one", journal=journal)
        assert await handle.status() == SagaStatus("one", "stuck", (), ("charge",))
        with pytest.raises(SagaStuck):
            await handle.result()
        working.set()
        await journal.send("one", "control", write_request("retry"), "ops")
        async with SagaRunner(journal.process(), Stubborn()):
            await some_looks()
        assert await handle.result() == 7


# Messages.


@dataclass
class Ask(Saga[int, str], name="ask"):
    """Asks for a yes after its first step, for an hour."""

    gate: anyio.Event | None = None
    calls: list[str] = field(default_factory=list[str])

    @step
    async def book(self, number: int) -> int:
        self.calls.append("book")
        if self.gate is not None:
            await self.gate.wait()
        return number

    @book.undo
    async def unbook(self, book: int | None) -> None:
        self.calls.append("unbook")

    approval = message(str, within=3_600)

    @step(undo=None)
    async def pay(self, approval: str) -> str:
        self.calls.append("pay")
        return approval


@pytest.mark.scenario(31)
@pytest.mark.anyio
async def test_a_message_that_comes_before_it_is_waited_for_is_kept() -> None:
    saga, journal = Ask(anyio.Event()), MemoryJournal()
    with sandbox():
        handle = await saga.start(7, id="one", journal=journal)
        await Ask.approval.send("one", "yes", journal=journal.process())
        assert saga.gate is not None
        saga.gate.set()
        assert await handle.result() == "yes"


@pytest.mark.scenario(31)
@pytest.mark.anyio
async def test_a_message_that_comes_twice_is_one_and_another_in_its_place_is_refused() -> None:
    journal = MemoryJournal()
    with sandbox():
        handle = await Ask().start(7, id="one", journal=journal)
        await until(lambda: len(journal.read("one").wait() or []) == 2)
        assert await handle.status() == SagaStatus("one", "waiting", ("approval",), ())
        for _ in range(2):
            await Ask.approval.send("one", "yes", journal=journal)
        with pytest.raises(MessageRefused, match="another message"):
            await Ask.approval.send("one", "no", journal=journal)
        assert await handle.result() == "yes"


@pytest.mark.scenario(31)
@pytest.mark.anyio
async def test_a_message_that_comes_with_a_pause_is_told_after_it() -> None:
    journal = MemoryJournal()
    with sandbox():
        handle = await Ask().start(7, id="one", journal=journal)
        await until(lambda: len(journal.read("one").wait() or []) == 2)
        journal.send("one", "control", write_request("pause"), "me").wait()
        Ask.approval.send_sync("one", "yes", journal=journal)
        await handle.resume()
        assert await handle.result() == "yes"


@pytest.mark.scenario(31)
@pytest.mark.anyio
async def test_a_message_after_the_end_is_refused_with_a_reason() -> None:
    journal = MemoryJournal()
    saga = Ask()
    with sandbox():
        handle = await saga.start(7, id="one", journal=journal)
        Ask.approval.send_sync("one", "yes", journal=journal)
        assert await handle.result() == "yes"
    with pytest.raises(MessageRefused, match="ended"):
        await Ask.approval.send("one", "yes", journal=journal)
    with pytest.raises(UnknownSaga):
        await Ask.approval.send("two", "yes", journal=journal)


class Wavering(MemoryJournal):
    """Whoever has paused the saga does so again, as soon as the first pause is written."""

    again = True

    def append(self, id: str, bodies: Sequence[bytes], status: str, heard: int | None = None) -> Pending[None]:  # noqa: A002
        written = super().append(id, bodies, status, heard)
        if self.again and any(b'"pause"' in body for body in bodies):
            self.again = False
            self.send(id, "control", write_request("pause"), "me").wait()
        return written


@pytest.mark.anyio
async def test_requests_are_heard_in_their_order() -> None:
    saga, journal = Trip(anyio.Event()), Wavering()
    handle = await saga.start(7, id="one", journal=journal)
    await until(lambda: saga.calls == ["book"])
    for verb in ("pause", "resume"):
        journal.send("one", "control", write_request(verb), "me").wait()
    assert saga.booking is not None
    saga.booking.set()
    with sandbox():
        await some_looks()
        assert (await handle.status()).state == "paused"
    assert saga.calls == ["book"]


def test_requests_are_heard_in_their_order_in_plain_code() -> None:
    journal = Wavering()

    def asked() -> None:
        for verb in ("pause", "resume"):
            journal.send("one", "control", write_request(verb), "me").wait()

    saga = PlainTrip(asked)
    with sandbox():
        handle = saga.start_sync(7, id="one", journal=journal)
        handle.resume()  # of the second pause: had that been heard before it, the saga would have ended
        assert handle.result() == 70


@pytest.mark.anyio
async def test_a_message_that_does_not_come_in_time_turns_the_saga() -> None:
    saga, journal = Ask(), MemoryJournal()
    with sandbox() as time:
        with pytest.raises(SagaFailed):
            await saga.run(7, id="one", journal=journal)
        assert time.elapsed == pytest.approx(3_600, abs=1.0)
    assert saga.calls == ["book", "unbook"]


@pytest.mark.anyio
async def test_a_message_and_the_end_of_its_time_in_one_tick_are_one_outcome() -> None:
    journal = MemoryJournal()
    with sandbox(autojump=False) as time:
        await Ask().start(7, id="one", journal=journal)
        await until(lambda: len(journal.read("one").wait() or []) == 2)
        await Ask.approval.send("one", "yes", journal=journal)
        time.advance(3_600.0)
        await until(lambda: status_of(journal) != ["open"])
    bodies = [row.body for row in journal.read("one").wait() or []]
    assert len([body for body in bodies if b'"result"' in body and b'"approval"' in body]) == 1


@pytest.mark.anyio
async def test_a_message_reaches_the_nested_saga_that_waits_for_it() -> None:
    class Outer(Saga[int, str]):
        @nested
        def ask(self, number: int) -> tuple[Ask, int]:
            return Ask(), number

        @step
        async def tell(self, ask: str) -> str:
            return ask

    journal = MemoryJournal()
    handle = await Outer().start(7, id="one", journal=journal)
    await Ask.approval.send("one/ask", "yes", journal=journal)
    with sandbox():
        assert await handle.result() == "yes"


@pytest.mark.scenario(26)
@pytest.mark.anyio
async def test_a_message_that_was_sent_before_its_name_changed_is_heard_by_the_new_one() -> None:
    class Renamed(Saga[int, str], name="ask", renamed={"approval": "sign_off"}):
        @step
        async def book(self, number: int) -> int:
            raise AssertionError("it has its result")

        @book.undo
        async def unbook(self, book: int | None) -> None: ...

        sign_off = message(str, within=3_600)

        @step
        async def pay(self, sign_off: str) -> str:
            return sign_off

    first = MemoryJournal()
    await Ask().start(7, id="one", journal=first)
    await until(lambda: len(first.read("one").wait() or []) == 2)
    first.die()
    second = first.process()
    await Ask.approval.send("one", "yes", journal=second)
    assert await Renamed().run(7, id="one", journal=second) == "yes"


# Pauses that are a part of it.


@pytest.mark.scenario(32)
@pytest.mark.anyio
async def test_a_pause_that_ends_while_nobody_runs_it_is_over_once_when_it_is_taken_up() -> None:
    class Cooling(Saga[int, int]):
        cooling = pause(3_600)

        @step
        async def pay(self, number: int) -> int:
            calls.append("pay")
            return number

    calls: list[str] = []
    first = MemoryJournal()
    with sandbox() as time:
        handle = await Cooling().start(7, id="one", journal=first)
        assert (await handle.status()).state == "waiting"
        first.die()
        await clock.asleep(7_200)
        since = time.elapsed
        assert await Cooling().run(7, id="one", journal=first.process()) == 7
        assert time.elapsed - since < 1.0
    assert calls == ["pay"]
