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

from .._events import logger
from .._waiters import trio_here
from ..errors import SagaError
from ._beginning import Beginning, refuse_coroutines
from ._compile import blueprint_of
from ._conduct import conduct, conduct_sync
from ._declaration import Message
from ._engine import engine_of, this_process
from ._handle import SagaHandle, SyncSagaHandle
from ._journal import Journal, Opened
from ._memory import MemoryJournal
from ._stage import Stage


async def run(saga: Any, input: Any, id: str, journal: Journal | None, *, within: Any = None) -> Any:  # noqa: A002
    """See `Saga.run`."""
    journal = journal or MemoryJournal()
    beginning = Beginning(saga, input, id, within)
    opened = await _begun(beginning, journal)
    stage = beginning.stage(opened)
    return await carry_on(stage, opened, journal)


def run_sync(saga: Any, input: Any, id: str, journal: Journal | None, *, within: Any = None) -> Any:  # noqa: A002
    """See `Saga.run_sync`."""
    journal = journal or MemoryJournal()
    beginning = Beginning(saga, input, id, within)
    refuse_coroutines(beginning.blueprint)
    opened = _begun_sync(beginning, journal)
    stage = beginning.stage(opened)
    return carry_on_sync(stage, opened, journal)


async def start(saga: Any, input: Any, id: str, journal: Journal, *, within: Any = None) -> SagaHandle[Any]:  # noqa: A002
    """See `Saga.start`."""
    beginning = Beginning(saga, input, id, within)
    opened = await _begun(beginning, journal)
    stage = beginning.stage(opened)
    if opened.owned:
        _in_background(partial(_quietly, partial(conduct, stage, journal, leave=True)))
    return SagaHandle(beginning.blueprint, id, journal)


def start_sync(saga: Any, input: Any, id: str, journal: Journal, *, within: Any = None) -> SyncSagaHandle[Any]:  # noqa: A002
    """See `Saga.start_sync`."""
    beginning = Beginning(saga, input, id, within)
    refuse_coroutines(beginning.blueprint)
    opened = _begun_sync(beginning, journal)
    stage = beginning.stage(opened)
    if opened.owned:
        work = partial(_quietly_sync, partial(conduct_sync, stage, journal))
        threading.Thread(target=work, name=f"saga {id}", daemon=True).start()
    return SyncSagaHandle(beginning.blueprint, id, journal)


def attach(owner: Any, id: str, journal: Journal) -> SagaHandle[Any]:  # noqa: A002
    """See `Saga.handle`."""
    return SagaHandle(blueprint_of(owner), id, journal)


def attach_sync(owner: Any, id: str, journal: Journal) -> SyncSagaHandle[Any]:  # noqa: A002
    """See `Saga.handle_sync`."""
    return SyncSagaHandle(blueprint_of(owner), id, journal)


async def carry_on(stage: Stage, opened: Opened, journal: Journal) -> Any:
    """Run a saga to its end, or wait for whoever does."""
    if opened.owned and await conduct(stage, journal):
        return stage.result()
    if stage.progress.ended is not None:
        return stage.result()
    return await SagaHandle(stage.blueprint, stage.id, journal).result()


def carry_on_sync(stage: Stage, opened: Opened, journal: Journal) -> Any:
    """The same in plain code."""
    if opened.owned and conduct_sync(stage, journal):
        return stage.result()
    if stage.progress.ended is not None:
        return stage.result()
    return SyncSagaHandle(stage.blueprint, stage.id, journal).result()


async def send(message: Message[Any], id: str, value: Any, journal: Journal, who: str) -> None:  # noqa: A002
    """See `message.send`."""
    await journal.send(id, message.name, message.codec.encode(value), who or this_process())


def send_sync(message: Message[Any], id: str, value: Any, journal: Journal, who: str) -> None:  # noqa: A002
    """See `message.send_sync`."""
    journal.send(id, message.name, message.codec.encode(value), who or this_process()).wait()


async def _begun(beginning: Beginning, journal: Journal) -> Opened:
    engine_of(journal)
    pending = journal.start(beginning.id, beginning.name, beginning.body)
    try:
        return await pending
    except BaseException:
        _let_go(beginning, journal)
        raise


def _begun_sync(beginning: Beginning, journal: Journal) -> Opened:
    engine_of(journal)
    pending = journal.start(beginning.id, beginning.name, beginning.body)
    try:
        return pending.wait()
    except BaseException:
        _let_go(beginning, journal)
        raise


def _let_go(beginning: Beginning, journal: Journal) -> None:
    """Nobody waits for the START any more; should it be written yet, somebody else may take the saga up."""
    if not engine_of(journal).runs(beginning.id):
        with suppress(SagaError):
            _ = journal.release(beginning.id)  # nobody needs to wait for it


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


async def _quietly(work: Callable[[], Any]) -> None:
    """Nobody waits for it here: handles ask the journal."""
    try:
        await work()
    except Exception as error:  # noqa: BLE001 - it is written down or can be taken up again
        logger.warning("a saga in the background was left: %s", error)


def _quietly_sync(work: Callable[[], Any]) -> None:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - see above
        logger.warning("a saga in the background was left: %s", error)
