"""Threads that can be left behind: the bounded crew of a timeout that abandons.

A call is handed to an idle worker, or to a new one while the crew is not complete; with the crew complete it is refused
at once, so no call ever waits for another's end. A worker whose caller went away settles the work's future when the
work ends at last, and is then as good as any other.

The threads are daemons: Python does not wait for them when the process exits. (Those of `concurrent.futures` it joins.)

All state is in one `_Crew`, which is replaced as a whole after a fork and by the sandbox. This module knows nothing of
deadlines and events.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from . import _live
from ._clock import clock


class Work:
    """One call in a worker. It has at most one caller, who waits for it or leaves it behind.

    Attributes:
        future: Where the outcome goes once the caller has left; `None` before.
        ended: When the function ended, on the library's clock; `None` while it runs.
    """

    __slots__ = ("_crew", "_done", "_error", "_function", "_result", "ended", "future")

    def __init__(self, function: Callable[[], Any], crew: "_Crew") -> None:
        self._function = function
        self._crew = crew
        self._done = threading.Lock()
        self._done.acquire()
        self._result: Any = None
        self._error: BaseException | None = None
        self.ended: float | None = None
        self.future: Future[Any] | None = None

    def wait(self, until: float) -> bool:
        """Wait for the end; whether it came before the moment `until`. A tie goes to the limit."""
        ended = clock.acquire(self._done, until - clock.now())
        return ended and self.ended is not None and self.ended < until

    def outcome(self) -> Any:
        """What the function returned, or raised."""
        error, self._error = self._error, None
        if error is None:
            return self._result
        try:
            raise error
        finally:
            del error  # the frame is in the traceback of the error: do not let it hold the error

    def abandon(self) -> Future[Any]:
        """Leave it behind: its outcome goes to the future from now on, or is there if it has just ended."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # so that it cannot be cancelled: nobody can stop a thread
        with self._crew.lock:
            if self.ended is None:
                self.future = future
                self._crew.left_behind += 1
                return future
        self._settle(future)
        return future

    def carry_out(self, worker: "_Worker") -> None:
        """Run it in this thread, and make the worker free for others before anybody can know that it ended."""
        try:
            self._result = self._function()
        except BaseException as error:  # noqa: BLE001 - SystemExit and the like are the caller's, not this thread's
            self._error = error
        with self._crew.lock:
            self.ended = clock.now()
            future = self.future
            if future is not None:
                self._crew.left_behind -= 1
            else:
                self._crew.rest(worker)
        if future is None:
            self._done.release()
        else:
            self._settle(future)
            with self._crew.lock:
                self._crew.rest(worker)

    def _settle(self, future: Future[Any]) -> None:
        error, self._error = self._error, None
        if error is None:
            future.set_result(self._result)
        else:
            future.set_exception(error)
        del error


class _Worker:
    """One thread. It waits for its bell, and ends when it rings with no work."""

    __slots__ = ("bell", "work")

    def __init__(self, work: Work) -> None:
        self.work: Work | None = work
        self.bell = threading.Lock()
        self.bell.acquire()

    def serve(self) -> None:
        """Carry out one piece of work after another."""
        while (work := self.work) is not None:
            self.work = None
            work.carry_out(self)
            del work  # hold nothing of a call while idle
            self.bell.acquire()


class _Crew:
    """The workers of one pool, and who of them is idle."""

    __slots__ = ("_idle", "closed", "hired", "left_behind", "lock")

    def __init__(self) -> None:
        # Re-entrant: a pool may be collected, and so dismiss its crew, while this very thread is in here.
        self.lock = threading.RLock()
        self._idle: list[_Worker] = []
        self.hired = 0
        self.left_behind = 0
        self.closed = False

    def take_on(self, function: Callable[[], Any], most: int, name: str) -> Work | None:
        """Give work to an idle or new worker; `None` if the crew is complete and busy."""
        work = Work(function, self)
        with self.lock:
            worker = self._idle.pop() if self._idle else None
            if worker is None and self.hired >= most:
                return None
            self.hired += worker is None
        if worker is None:
            self._hire(_Worker(work), name)
        else:
            worker.work = work
            worker.bell.release()
        return work

    def rest(self, worker: _Worker) -> None:
        """A worker has nothing to do. Called under the lock."""
        self._idle.append(worker)
        if self.closed:
            self._let_go()

    def dismiss(self) -> None:
        """Let idle workers end now, and the others when their work has ended."""
        with self.lock:
            self.closed = True
            self._let_go()

    def _hire(self, worker: _Worker, name: str) -> None:
        try:
            threading.Thread(target=worker.serve, name=name, daemon=True).start()
        except BaseException:  # the system has no thread left for us
            with self.lock:
                self.hired -= 1
            raise

    def _let_go(self) -> None:
        while self._idle:
            self.hired -= 1
            self._idle.pop().bell.release()


class Workers:
    """A pool of at most `most` workers, hired as they are needed.

    Args:
        name: Names the threads, and the metric of what is left behind.
        most: How many threads there may be, those left behind included.
    """

    __slots__ = ("__weakref__", "_crew", "label", "most")

    kind = "workers"

    name = None  # no policy of its own, so it has no twins and is not listed

    def __init__(self, name: str, most: int) -> None:
        self.label: str = name
        self._crew = _Crew()
        self.most = most
        _live.enrol(self)

    def start(self, function: Callable[[], Any]) -> Work | None:
        """Run a function in a worker; `None` if all are busy.

        Raises:
            RuntimeError: The pool is closed.
        """
        crew = self._crew
        if crew.closed:
            raise RuntimeError(f"{self.label} is closed and takes no more calls")
        return crew.take_on(function, self.most, f"{self.label} worker")

    @property
    def left_behind(self) -> int:
        """How many workers run what nobody waits for any more."""
        return self._crew.left_behind

    def close(self) -> None:
        """Take no more work; idle workers end now, the others when their work has ended. Nothing is waited for."""
        self._crew.dismiss()

    def __del__(self) -> None:
        self._crew.dismiss()

    def _shelve(self) -> Callable[[], None]:
        before, self._crew = self._crew, _Crew()

        def put_back() -> None:
            self._crew.dismiss()
            self._crew = before

        return put_back

    def _after_fork(self) -> None:
        self._crew = _Crew()
