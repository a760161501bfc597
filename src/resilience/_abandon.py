"""How a plain call is left behind when its time is over.

It runs in a worker thread, in a copy of the caller's context, and the caller waits for it no longer than the limit.
What the function raises is the caller's, whatever it is; once the caller has gone, it is the future's.

Which threads those are is in `_workers`; how an async call is cut off, in `_expiry`.
"""

from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from typing import Any

from ._ambient import Deadline, ambient, require_time, within_deadline
from ._clock import clock
from ._events import Abandoned, CutOff, emit, refused
from ._live import living
from ._metrics import POLICY_NAME, Instrument, declare
from ._telemetry import LeftBehind
from ._waiters import warn_if_blocking
from ._workers import Work, Workers
from .errors import BulkheadFull, TimedOut


class Abandoning:
    """The sync side of one timeout that abandons."""

    __slots__ = ("_label", "_seconds", "_workers")

    def __init__(self, label: str, seconds: float, most: int) -> None:
        self._label = label
        self._seconds = seconds
        self._workers = Workers(label, most)

    def bind(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a plain function."""
        run = self._run

        def call(*args: Any, **kwargs: Any) -> Any:
            result = run(fn, args, kwargs)
            return result

        return call

    def close(self) -> None:
        """See `Workers.close`."""
        self._workers.close()

    def _run(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        require_time(self._label)
        warn_if_blocking(self._label, "guard a coroutine function, which is cut off without a thread")
        seconds = within_deadline(self._seconds) or 0.0
        expires = clock.now() + seconds
        work = self._start(partial(fn, *args, **kwargs), expires)
        try:
            in_time = work.wait(expires)
        except BaseException:  # Ctrl-C while waiting
            self._leave(work, seconds)
            raise
        if not in_time:
            left_behind = self._leave(work, seconds)
            emit(CutOff(self._label, seconds))
            raise TimedOut(self._label, seconds, left_behind)
        return work.outcome()

    def _start(self, function: Callable[[], Any], expires: float) -> Work:
        context = copy_context()
        context.run(ambient.set, Deadline(expires, enforced=False))  # the caller will go, but nobody stops the work
        work = self._workers.start(partial(context.run, function))
        if work is None:
            error = BulkheadFull(
                self._label,
                None,
                f"all {self._workers.most} workers are busy, {self._workers.left_behind} of them with work that was "
                "left behind; allow more with workers=, or find out what hangs",
            )
            refused(self._label, error)
            raise error
        return work

    def _leave(self, work: Work, seconds: float) -> Future[Any]:
        future = work.abandon()
        if not future.done():
            left, counted = LeftBehind(self._label), [self._workers]

            def ended(done: Future[Any]) -> None:
                counted.clear()  # until now the work has kept its pool, and so its place in the metric
                left.ended(done.exception())

            future.add_done_callback(ended)
            emit(Abandoned(self._label, seconds, self._workers.left_behind))
        return future


declare(
    Instrument(
        "resilience.timeout.abandoned",
        "up_down_counter",
        "{call}",
        "Calls that were left behind and still run",
        (POLICY_NAME,),
        lambda: [(crew.left_behind, {POLICY_NAME: crew.label}) for crew in living("workers")],
    )
)
