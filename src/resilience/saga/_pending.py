"""An answer that a journal still owes.

A journal writes the records of many sagas in one commit, in a thread of its own. Whoever asked waits for a `Pending`: a
thread with `wait`, a task of asyncio or trio with `await`. A batch is settled with one wake-up for each event loop, not
one for each answer: at thousands of commits a second, waking is what costs.

Somebody who stops waiting, a cancelled task, disturbs nobody else, and may wait again.
"""

import contextlib
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Any, Generic, TypeVar

from .._clock import clock
from .._waiters import AsyncioWaiter, TrioWaiter, task_waiter

T = TypeVar("T")

_OWED: Any = object()


class Pending(Generic[T]):
    """An answer that may still be owed. A journal makes and settles it; whoever asked waits for it."""

    __slots__ = ("_answer", "_waiters")

    def __init__(self) -> None:
        self._answer: T | Exception = _OWED
        self._waiters: list[threading.Lock | AsyncioWaiter | TrioWaiter] = []

    @property
    def done(self) -> bool:
        """Whether it has its answer."""
        return self._answer is not _OWED

    def settle(self, answer: T | Exception) -> None:
        """Give the answer, and wake whoever waits for it; an exception is raised there."""
        settle_all([(self, answer)])

    def wait(self) -> T:
        """Wait for the answer in this thread.

        Raises:
            SagaError: What the journal answered instead.
        """
        if self._answer is _OWED:
            bell = threading.Lock()
            bell.acquire()
            self._waiters.append(bell)
            if self._answer is _OWED:  # else it came between the two looks, and nobody rings
                clock.acquire(bell, None)
        return self._given()

    def __await__(self) -> Generator[Any, Any, T]:
        if self._answer is _OWED:
            yield from self._come().__await__()
        return self._given()

    async def _come(self) -> None:
        waiter = task_waiter()
        self._waiters.append(waiter)
        while self._answer is _OWED:
            await waiter.wait(None)

    def _given(self) -> T:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def settled(answer: T | Exception) -> Pending[T]:
    """One that has its answer from the beginning."""
    pending: Pending[T] = Pending()
    pending._answer = answer
    return pending


def settle_all(answers: Iterable[tuple[Pending[Any], Any]]) -> None:
    """Give all these answers, and wake whoever waits for one of them: one wake-up for each event loop."""
    homes: dict[Any, list[AsyncioWaiter | TrioWaiter]] = {}
    for pending, answer in answers:
        pending._answer = answer
        for waiter in pending._waiters:
            if isinstance(waiter, AsyncioWaiter | TrioWaiter):
                homes.setdefault(waiter.home, []).append(waiter)
            else:
                with contextlib.suppress(RuntimeError):  # it rings already
                    waiter.release()
    for home, waiters in homes.items():
        _wake(home, waiters)


def _wake(home: Any, waiters: list[AsyncioWaiter | TrioWaiter]) -> None:
    def ring() -> None:
        for waiter in waiters:
            waiter.ring()

    send: Callable[[Callable[[], None]], object] = getattr(home, "call_soon_threadsafe", None) or home.run_sync_soon
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there any more
        send(ring)
