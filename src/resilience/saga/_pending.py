"""An answer that a journal still owes.

A journal writes the records of many sagas in one commit, in a thread of its own. Whoever asked waits for a `Pending`: a
thread with `wait`, a task of asyncio or trio with `await`. A batch is settled with one wake-up for each event loop, not
one for each answer: at thousands of commits a second, waking is what costs.

Somebody who stops waiting, a cancelled task, disturbs nobody else, and may wait again.

A journal works in real time, also where a test has made time virtual: whoever waits is noted in `elsewhere`, so that a
virtual clock stands still meanwhile.
"""

import contextlib
from collections.abc import Callable, Generator, Iterable
from typing import Any, Generic, TypeVar

from .._clock import elsewhere
from .._waiters import AsyncioWaiter, ThreadWaiter, TrioWaiter, Waiter, task_waiter

T = TypeVar("T")

_OWED: Any = object()


class Pending(Generic[T]):
    """An answer that may still be owed. A journal makes and settles it; whoever asked waits for it.

    Args:
        timed: Whether the answer comes by the library's clock, rather than by another thread's work. Only for journals
            that play slow in a test: a virtual clock may leap while somebody waits for such an answer.

    Attributes:
        answer: The answer, once it is `done`; `settle_all` sets it.
        timed: As given.
        waiters: Who waits for it.
    """

    __slots__ = ("answer", "timed", "waiters")

    def __init__(self, *, timed: bool = False) -> None:
        self.timed: bool = timed
        self.answer: T | Exception = _OWED
        self.waiters: list[Waiter] = []

    @property
    def done(self) -> bool:
        """Whether it has its answer."""
        return self.answer is not _OWED

    def settle(self, answer: T | Exception) -> None:
        """Give the answer, and wake whoever waits for it; an exception is raised there."""
        settle_all([(self, answer)])

    def wait(self) -> T:
        """Wait for the answer in this thread.

        Raises:
            SagaError: What the journal answered instead.
        """
        if self.answer is _OWED:
            waiter = ThreadWaiter()
            try:
                _note(self, waiter)
                while self.answer is _OWED:
                    waiter.wait(None)
            finally:
                elsewhere.pop(waiter, None)
        return _given(self)

    def __await__(self) -> Generator[Any, Any, T]:
        if self.answer is _OWED:
            yield from answer_of(self, task_waiter()).__await__()
        return _given(self)


async def answer_of(pending: Pending[T], waiter: AsyncioWaiter | TrioWaiter) -> T:
    """Wait for an answer, as `await` does, for a task that has a waiter already: it need not be made each time.

    To wake the waiter for anything else does no harm.

    Raises:
        SagaError: What the journal answered instead.
    """
    if not pending.done:
        try:
            _note(pending, waiter)
            while not pending.done:
                await waiter.wait(None)
        finally:
            elsewhere.pop(waiter, None)
    return _given(pending)


def _note(pending: Pending[Any], waiter: Waiter) -> None:
    if not pending.timed:
        elsewhere[waiter] = None
    pending.waiters.append(waiter)


def _given(pending: Pending[T]) -> T:
    if isinstance(pending.answer, Exception):
        raise pending.answer
    return pending.answer


def settled(answer: T | Exception) -> Pending[T]:
    """One that has its answer from the beginning."""
    pending: Pending[T] = Pending()
    pending.answer = answer
    return pending


def settle_all(answers: Iterable[tuple[Pending[Any], Any]]) -> None:
    """Give all these answers, and wake whoever waits for one of them: one wake-up for each event loop.

    Args:
        answers: What was owed, and the answer; the exception, where it is raised instead.
    """
    homes: dict[Any, list[Any]] = {}
    for pending, answer in answers:
        if pending.done:  # the journal was closed over it, say: the first answer stands
            continue
        pending.answer = answer
        for waiter in pending.waiters:
            homes.setdefault(waiter.home, []).append(waiter)
    for home, waiters in homes.items():
        _wake(home, waiters)


def _wake(home: Any, waiters: list[Any]) -> None:
    """Wake all who wait in one place; threads have none, and are woken one by one."""
    if home is None:
        for waiter in waiters:
            waiter.wake()
        return

    def ring() -> None:
        for waiter in waiters:
            waiter.ring()

    send: Callable[[Callable[[], None]], object] = getattr(home, "call_soon_threadsafe", None) or home.run_sync_soon
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there any more
        send(ring)
