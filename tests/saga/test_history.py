"""What has happened to a saga, as its handle tells it."""

import dataclasses

import anyio
import pytest
from msgspec import Raw

from resilience._core.saga.entries import (
    Asked,
    End,
    Failed,
    Failure,
    Parked,
    Record,
    Result,
    Resumed,
    Start,
    Turn,
    Undone,
    write,
)
from resilience.errors import SagaFailed, UnknownSaga
from resilience.saga import HistoryEntry, MemoryJournal
from resilience.saga._history import history_of
from resilience.saga._journal import Row
from resilience.testing import sandbox
from tests.saga.trips import PlainTrip, Trip, until

BROKEN = Failure("builtins.ConnectionError", "stock is\ndown")

RECORDS: list[tuple[Record, str]] = [
    (Start("trip", Raw(b'{"van":1}'), ()), 'began · {"van":1}'),
    (Resumed("host 12"), "taken up · by host 12"),
    (Result("reserve", value=Raw(b'"shelf 3"')), 'reserve · "shelf 3"'),
    (Result("charge", "no", error=BROKEN), r"charge · no effect · ConnectionError: stock is\ndown"),
    (Result("charge", "unknown"), "charge · nobody knows whether it had its effect"),
    (Failed("ship", BROKEN), r"ship · attempt 1 failed · ConnectionError: stock is\ndown"),
    (Failed("ship"), "ship · attempt 2 failed"),
    (
        Turn("failed", "charge", BROKEN, ("b", "c")),
        r"turns back · charge failed · ConnectionError: stock is\ndown · under way: b, c",
    ),
    (Turn("cancelled"), "turns back · cancelled"),
    (Turn("deadline"), "turns back · its time is up"),
    (Turn("operator"), "turns back · an operator said so"),
    (Undone("reserve", Failure("shop.Shut", "")), "undo reserve · attempt 1 failed · Shut"),
    (Undone("reserve"), "undo reserve · done"),
    (Parked("reserve", "undo-failed", BROKEN), r"parked: reserve · undo-failed · ConnectionError: stock is\ndown"),
    (Parked(None, "definition-changed"), "parked: all of it · definition-changed"),
    (Asked("pause"), "pause · by somebody"),
    (Asked("skip", 7, "ann", "ship", "by hand", Raw(b"1")), "skip ship · by ann · by hand · with 1"),
    (Asked("cancel", 8, "ann", refused="too late"), "cancel · by ann · refused: too late"),
    (End("repaired"), "repaired"),
]


def test_each_record_is_told_in_a_line() -> None:
    told = [str(entry) for entry in history_of(Row(1.25, write(record)) for record, _ in RECORDS)]
    assert told == [f"1970-01-01 00:00:01.250 UTC · {line}" for _, line in RECORDS]


def test_a_record_that_cannot_be_read_is_told_as_one() -> None:
    [entry] = history_of([Row(0.0, b'{"kind":"novel"}')])
    assert (entry.kind, entry.detail) == ("unreadable", "")
    assert str(entry) == "1970-01-01 00:00:00.000 UTC · a record that cannot be read"


def test_programs_read_what_people_do() -> None:
    by_hand = Asked("skip", 7, "ann", "ship", "by hand", Raw(b"1"))
    [asked] = history_of([Row(5.0, write(by_hand))])
    assert asked == HistoryEntry(
        at=5.0, kind="asked", step="ship", outcome="done", value="1", verb="skip", who="ann", reason="by hand"
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        asked.who = "bob"  # type: ignore[misc]  # that is the point


@pytest.mark.anyio
async def test_a_handle_tells_the_history_of_its_saga() -> None:
    saga, journal = Trip(paying=anyio.Event()), MemoryJournal()
    handle = await saga.start(7, id="one", journal=journal)
    await until(lambda: saga.calls == ["book", "pay"])
    with sandbox():
        await handle.cancel("changed my mind")
        with pytest.raises(SagaFailed):
            await handle.result()
    history = await Trip.handle("one", journal=journal.process()).history()
    assert [(one.kind, one.step) for one in history] == [
        ("began", None),
        ("step", "book"),
        ("asked", None),
        ("turned", None),
        ("step", "pay"),
        ("undo", "book"),
        ("ended", None),
    ]
    assert (history[2].verb, history[2].reason, history[3].outcome) == ("cancel", "changed my mind", "cancelled")
    assert [one.at for one in history] == sorted(one.at for one in history)


def test_a_handle_tells_the_history_in_plain_code() -> None:
    journal = MemoryJournal()
    PlainTrip().run_sync(7, id="one", journal=journal)
    handle = PlainTrip.handle_sync("one", journal=journal)
    assert [one.what for one in handle.history()] == ["began", "book", "pay", "completed"]


@pytest.mark.anyio
async def test_there_is_no_history_of_an_unknown_saga() -> None:
    journal = MemoryJournal()
    with pytest.raises(UnknownSaga):
        await Trip.handle("one", journal=journal).history()
    with pytest.raises(UnknownSaga):
        PlainTrip.handle_sync("one", journal=journal).history()
