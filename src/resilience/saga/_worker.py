"""A thread that does what it is told, as much at once as has come in since it last looked.

Whoever puts a job on the queue never waits here. The thread is a daemon: a process that ends without closing its
journal loses nothing that was acknowledged, and is not kept alive.
"""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

J = TypeVar("J")


class Worker(Generic[J]):
    """The thread and its queue.

    Args:
        name: The thread's.
        most: How many jobs it takes at once.
        carry_out: Does them; called with none when a pause is over. It raises nothing.
        pause: How many seconds to wait for jobs; `None`: without limit.
        refuse: Is given the jobs that come too late to be done.
    """

    def __init__(
        self,
        name: str,
        most: int,
        carry_out: Callable[[list[J]], None],
        refuse: Callable[[list[J]], None],
        pause: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._most = most
        self._carry_out = carry_out
        self._refuse = refuse
        self._pause = pause
        self._queue: SimpleQueue[J | None] = SimpleQueue()
        self._stopping = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, job: J | None) -> None:
        """Add a job; `None` only wakes the thread up."""
        self._queue.put(job)
        if self._ended:
            self._refuse_rest()

    def stop(self) -> None:
        """Have what has come in done, and the thread end; returns when it has."""
        self._stopping = True
        self._queue.put(None)
        if self._thread is not threading.current_thread():
            self._thread.join()
        self._ended = True
        self._refuse_rest()

    def _run(self) -> None:
        while not self._stopping or not self._queue.empty():
            try:
                first = self._queue.get(timeout=self._pause())
            except Empty:
                first = None
            self._carry_out([*([] if first is None else [first]), *self._at_hand()])

    def _refuse_rest(self) -> None:
        while jobs := self._at_hand():
            self._refuse(jobs)

    def _at_hand(self) -> list[J]:
        jobs: list[J] = []
        try:
            while len(jobs) < self._most:
                job = self._queue.get_nowait()
                if job is not None:
                    jobs.append(job)
        except Empty:
            pass
        return jobs
