"""The doors by which a saga is run: from an input, by an id, at once or in the background.

An id is run by one process at a time. Whoever comes with an id that is known gets the same saga: its result, if it has
ended; the work, if nobody is at it; and else the wait for whoever is.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from .._ambient import ambient
from .._clock import clock
from .._events import logger
from .._waiters import trio_here
from ..errors import SagaError
from ._beginning import Beginning, refuse_coroutines
from ._compile import blueprint_of
from ._conduct import conduct, conduct_sync
from ._declaration import Message
from ._engine import engine_of, this_process
from ._handle import LOOK, SagaHandle, SyncSagaHandle
from ._journal import Journal, Opened, checked_journal
from ._memory import MemoryJournal
from ._stage import Stage


async def run(saga: Any, input: Any, id: str, journal: Journal | None, *, within: Any = None) -> Any:  # noqa: A002
    """See `Saga.run`."""
    journal = MemoryJournal() if journal is None else journal
    beginning = Beginning(saga, input, id, within)
    engine = engine_of(journal)
    while not engine.reserve(id):
        if await _is_there(beginning, journal):
            return await _handle(beginning, journal).result()
    try:
        stage = await conduct(partial(_begun, beginning, journal), journal)
    finally:
        engine.free(id)
    return stage.result() if stage.is_over else await _handle(beginning, journal).result()


def run_sync(saga: Any, input: Any, id: str, journal: Journal | None, *, within: Any = None) -> Any:  # noqa: A002
    """See `Saga.run_sync`."""
    journal = MemoryJournal() if journal is None else journal
    beginning = Beginning(saga, input, id, within)
    refuse_coroutines(beginning.blueprint)
    engine = engine_of(journal)
    while not engine.reserve(id):
        if _is_there_sync(beginning, journal):
            return _handle_sync(beginning, journal).result()
    try:
        stage = conduct_sync(_begun_sync(beginning, journal), journal)
    finally:
        engine.free(id)
    return stage.result() if stage.is_over else _handle_sync(beginning, journal).result()


async def start(saga: Any, input: Any, id: str, journal: Journal, *, within: Any = None) -> SagaHandle[Any]:  # noqa: A002
    """See `Saga.start`."""
    beginning = Beginning(saga, input, id, within)
    engine = engine_of(journal)
    handle = _handle(beginning, journal)
    while not engine.reserve(id):
        if await _is_there(beginning, journal):
            return handle
    try:
        stage = await _begun(beginning, journal)
    except BaseException:
        engine.free(id)
        raise
    _in_background(partial(_quietly, stage, journal))
    return handle


def start_sync(saga: Any, input: Any, id: str, journal: Journal, *, within: Any = None) -> SyncSagaHandle[Any]:  # noqa: A002
    """See `Saga.start_sync`."""
    beginning = Beginning(saga, input, id, within)
    refuse_coroutines(beginning.blueprint)
    engine = engine_of(journal)
    handle = _handle_sync(beginning, journal)
    while not engine.reserve(id):
        if _is_there_sync(beginning, journal):
            return handle
    try:
        stage = _begun_sync(beginning, journal)
    except BaseException:
        engine.free(id)
        raise
    threading.Thread(target=partial(_quietly_sync, stage, journal), name=f"saga {id}", daemon=True).start()
    return handle


def attach(owner: Any, id: str, journal: Journal) -> SagaHandle[Any]:  # noqa: A002
    """See `Saga.handle`."""
    return SagaHandle(blueprint_of(owner), id, journal)


def attach_sync(owner: Any, id: str, journal: Journal) -> SyncSagaHandle[Any]:  # noqa: A002
    """See `Saga.handle_sync`."""
    return SyncSagaHandle(blueprint_of(owner), id, journal)


def _handle(beginning: Beginning, journal: Journal) -> SagaHandle[Any]:
    return SagaHandle(beginning.blueprint, beginning.id, journal)


def _handle_sync(beginning: Beginning, journal: Journal) -> SyncSagaHandle[Any]:
    return SyncSagaHandle(beginning.blueprint, beginning.id, journal)


async def send(message: Message[Any], id: str, value: Any, journal: Journal, who: str) -> None:  # noqa: A002
    """See `message.send`."""
    await checked_journal(journal).send(id, message.name, message.codec.encode(value), who or this_process())


def send_sync(message: Message[Any], id: str, value: Any, journal: Journal, who: str) -> None:  # noqa: A002
    """See `message.send_sync`."""
    checked_journal(journal).send(id, message.name, message.codec.encode(value), who or this_process()).wait()


async def _begun(beginning: Beginning, journal: Journal) -> Stage:
    pending = journal.start(beginning.id, beginning.name, beginning.body)
    try:
        opened = await pending
    except BaseException:
        _let_go(beginning, journal)
        raise
    return _staged(beginning, opened, journal)


def _begun_sync(beginning: Beginning, journal: Journal) -> Stage:
    pending = journal.start(beginning.id, beginning.name, beginning.body)
    try:
        opened = pending.wait()
    except BaseException:
        _let_go(beginning, journal)
        raise
    return _staged(beginning, opened, journal)


def _staged(beginning: Beginning, opened: Opened, journal: Journal) -> Stage:
    try:
        return beginning.stage(opened)
    except BaseException:
        if opened.owned:
            _let_go(beginning, journal)
        raise


def _let_go(beginning: Beginning, journal: Journal) -> None:
    """Nobody waits for the START any more; should it be written yet, somebody else may take the saga up."""
    with suppress(SagaError):
        _ = journal.release(beginning.id)  # nobody needs to wait for it


async def _is_there(beginning: Beginning, journal: Journal) -> bool:
    """Whether the saga that somebody here is at is this one, by now; if it is not there, wait a moment."""
    rows = await journal.read(beginning.id)
    if rows:
        beginning.compare(rows[0])
    else:
        await clock.asleep(LOOK)
    return bool(rows)


def _is_there_sync(beginning: Beginning, journal: Journal) -> bool:
    rows = journal.read(beginning.id).wait()
    if rows:
        beginning.compare(rows[0])
    else:
        clock.sleep(LOOK)
    return bool(rows)


def _in_background(work: Callable[[], Any]) -> None:
    """Have a task of this loop do it; it ends with the loop at the latest."""
    trio = trio_here()
    if trio is not None:
        trio.lowlevel.spawn_system_task(work)
        return
    task = asyncio.get_running_loop().create_task(work())
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


_tasks: set[asyncio.Task[Any]] = set()
"""The loop itself holds tasks weakly."""


async def _quietly(stage: Stage, journal: Journal) -> None:
    """Run a saga whose caller has gone on; handles ask the journal what comes of it."""
    ambient.set(None)  # its caller's deadline is its caller's
    try:
        await conduct(partial(_already, stage), journal, leave=True)
    except Exception as error:  # noqa: BLE001 - it is written down, or can be taken up again
        logger.warning("saga %s was left: %s", stage.id, error)
    finally:
        engine_of(journal).free(stage.id)


async def _already(stage: Stage) -> Stage:
    return stage


def _quietly_sync(stage: Stage, journal: Journal) -> None:
    try:
        conduct_sync(stage, journal)
    except Exception as error:  # noqa: BLE001 - see above
        logger.warning("saga %s was left: %s", stage.id, error)
    finally:
        engine_of(journal).free(stage.id)
