"""Makes the calls, from threads and from tasks at once, and writes down how each ended.

Open loop: calls begin at moments drawn up beforehand, however the service does, as real users would. So the load is
bounded in number and in time before it starts.
"""

import asyncio
import time
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from threading import Event

import httpx2

from resilience import BulkheadFull, CircuitOpen, OutOfTime, TimedOut

from .client import afetch, fetch
from .records import Call, Outcome, Record, Side

WORKERS = 64
"""Threads that make calls."""

OUTCOMES: dict[type[Exception], Outcome] = {
    CircuitOpen: Outcome.CIRCUIT_OPEN,
    BulkheadFull: Outcome.BULKHEAD_FULL,
    OutOfTime: Outcome.OUT_OF_TIME,
    TimedOut: Outcome.TIMED_OUT,
    httpx2.TimeoutException: Outcome.TIMED_OUT,
    httpx2.HTTPError: Outcome.FAILED,
}
"""What each exception means for the caller; the first that fits. Any other is a bug, and stops the run."""


def plan(rate: float, seconds: float, seed: int) -> list[float]:
    """The moments at which calls begin: `rate` a second, none regular, the same for the same seed."""
    dice = Random(seed)
    return [(number + dice.random()) / rate for number in range(int(rate * seconds))]


@dataclass(frozen=True, slots=True)
class Load:
    """Two streams of calls to one service; each ends when its last call has ended.

    Attributes:
        url: Where the service listens.
        began: The moment from which times are reckoned, on the machine's monotonic clock.
        record: Where calls are written down.
        stop: Once it is set, no further call begins.
    """

    url: str
    began: float
    record: Record
    stop: Event

    def from_threads(self, moments: list[float]) -> None:
        """Make one call at each moment, in a thread of its own."""
        with httpx2.Client(base_url=self.url) as http, ThreadPoolExecutor(WORKERS) as pool:
            calls: list[Future[None]] = []
            for name, moment in self._expected(Side.THREADS, moments):
                if self.stop.wait(self._until(moment)):
                    break
                calls.append(pool.submit(self._call, http, name))
        for call in calls:
            call.result()

    async def from_tasks(self, moments: list[float]) -> None:
        """Make one call at each moment, in a task of its own."""
        async with httpx2.AsyncClient(base_url=self.url) as http, asyncio.TaskGroup() as tasks:
            for name, moment in self._expected(Side.TASKS, moments):
                await asyncio.sleep(self._until(moment))
                if self.stop.is_set():
                    break
                tasks.create_task(self._acall(http, name))

    def _call(self, http: httpx2.Client, name: str) -> None:
        with self._written_down(name, Side.THREADS) as call:
            fetch(http, call)

    async def _acall(self, http: httpx2.AsyncClient, name: str) -> None:
        with self._written_down(name, Side.TASKS) as call:
            await afetch(http, call)

    @contextmanager
    def _written_down(self, name: str, side: Side) -> Generator[Call]:
        call = Call(name, side, self.began, time.monotonic() - self.began)
        self.record.calls.append(call)
        try:
            yield call
        except tuple(OUTCOMES) as error:
            call.end(next(outcome for kind, outcome in OUTCOMES.items() if isinstance(error, kind)))
        else:
            call.end(Outcome.OK)

    def _expected(self, side: Side, moments: list[float]) -> Iterator[tuple[str, float]]:
        for number, moment in enumerate(moments, 1):
            name = f"{side}-{number}"
            yield name, moment
            self.record.planned.append(name)  # not before: whoever asks for the next one has made this one

    def _until(self, moment: float) -> float:
        return max(0.0, self.began + moment - time.monotonic())
