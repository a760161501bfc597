"""A race of threads.

Python cannot stop a thread, so all attempts run in workers, also the primary: the caller waits for whichever is first,
and leaves the others behind. A loser is told that its time is over, by the deadline that it sees: it begins no further
attempt, sleep or wait of a policy's. Where no worker is free the call is made in the caller's own thread, unhedged.
"""

import threading
from collections.abc import Callable
from contextvars import copy_context
from math import inf
from typing import Any

from ._ambient import Deadline, ambient
from ._clock import clock
from ._races import Race, Starter, close_now
from ._waiters import ThreadWaiter
from ._workers import Workers


class ThreadRace(Race):
    """One call of a plain function.

    Args:
        hedge: The policy.
        delay: After how many seconds the next rival is begun.
        attempt: The call.
        workers: Who runs attempts.
    """

    __slots__ = ("_attempt", "_lock", "_seen", "_waiter", "_workers")

    def __init__(self, hedge: Starter, delay: float, attempt: Callable[[], Any], workers: Workers) -> None:
        super().__init__(hedge, delay)
        self._attempt = attempt
        self._workers = workers
        self._waiter = ThreadWaiter()
        self._lock = threading.Lock()
        self._seen: dict[int, Deadline] = {}

    def start(self) -> bool:
        """Begin the primary; false if no worker is free."""
        return self._run(1)

    def begin(self) -> int | None:
        """See `Race.begin`."""
        with self._lock:  # counted first, for it may be over before `_run` returns
            self.started += 1
            self.running += 1
        try:
            begun = self._run(self.started)
        except RuntimeError:  # the pool was closed meanwhile, or the system has no thread left
            begun = False
        if begun:
            return self.started
        with self._lock:
            self.started -= 1
            self.running -= 1
        return None

    def outcome(self) -> Any:
        """Wait for the first success, and begin rivals meanwhile.

        Raises:
            BaseException: What the primary raised, if all have failed; or what interrupted this thread.
        """
        try:
            self._wait()
        except BaseException:  # Ctrl-C while waiting
            self.void()
            raise
        finally:
            self._stop()
        if self.decided:
            return self.winner
        raise self.verdict()

    def _wait(self) -> None:
        fires = clock.now() + self.delay
        while self.running and not self.decided and self.end is None:
            left = fires - clock.now()
            if left <= 0.0:
                fires = clock.now() + self.delay if self.fire() else inf
            elif left == inf:
                self._waiter.wait(None)
            else:
                self._waiter.wait(left)

    def _run(self, number: int) -> bool:
        context = copy_context()
        outer = ambient.get()
        seen = self._seen[number] = Deadline(inf if outer is None else outer.expires, enforced=False)
        context.run(ambient.set, seen)
        return self._workers.start(lambda: context.run(self._one, number)) is not None

    def _one(self, number: int) -> None:
        """One attempt, from its beginning to its end, in a worker."""
        try:
            result = self._attempt()
        except BaseException as error:  # noqa: BLE001 - the caller's, if all fail
            with self._lock:
                self.fail(number, error)
        else:
            with self._lock:
                won = self.win(number, result)
            if not won:
                close_now(result)
        self._waiter.wake()

    def _stop(self) -> None:
        """Tell those that run on that their time is over."""
        for seen in self._seen.values():
            seen.expires = min(seen.expires, clock.now())
