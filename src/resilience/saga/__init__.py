"""Sagas: classes with steps that survive a crash at any line.

A saga is a class, a step is a method, and its undo stands beside it. It ends completed or undone, whatever happens
meanwhile; a journal remembers how far it has come::

    class PlaceOrder(Saga[Order, Confirmation]):
        @step
        async def reserve(self, order: Order) -> Reservation: ...
        @reserve.undo
        async def release(self, reserve: Reservation | None) -> None: ...

        @step
        async def confirm(self, order: Order, reserve: Reservation) -> Confirmation: ...

    confirmation = await PlaceOrder().run(order, id="order-42", journal=SQLiteJournal("sagas.db"))

`SagaRunner` takes up what a process has left when it died; `python -m resilience saga` is for those who operate them.
"""

from ..errors import (
    DefinitionChanged,
    IdConflict,
    JournalUnavailable,
    LostOwnership,
    MessageRefused,
    RecordedError,
    SagaError,
    SagaFailed,
    SagaStuck,
    UnknownSaga,
)
from ._call import current_key
from ._conformance import check_journal
from ._declaration import nested
from ._definition import Saga, message, pause
from ._diagram import Diagram
from ._handle import SagaHandle, SagaStatus, SyncSagaHandle
from ._history import HistoryEntry
from ._journal import Journal, Letter, Opened, Row, Summary
from ._memory import MemoryJournal
from ._pending import Pending
from ._runner import SagaRunner
from ._sqlite import SQLiteJournal
from ._step import NoEffect, step
from .barrier import Barrier

__all__ = [
    "Barrier",
    "DefinitionChanged",
    "Diagram",
    "HistoryEntry",
    "IdConflict",
    "Journal",
    "JournalUnavailable",
    "Letter",
    "LostOwnership",
    "MemoryJournal",
    "MessageRefused",
    "NoEffect",
    "Opened",
    "Pending",
    "RecordedError",
    "Row",
    "SQLiteJournal",
    "Saga",
    "SagaError",
    "SagaFailed",
    "SagaHandle",
    "SagaRunner",
    "SagaStatus",
    "SagaStuck",
    "Summary",
    "SyncSagaHandle",
    "UnknownSaga",
    "check_journal",
    "current_key",
    "message",
    "nested",
    "pause",
    "step",
]
