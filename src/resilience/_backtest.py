"""Backtest: recorded traffic, driven through a changed pipeline on the virtual clock.

Each recorded call arrives when it arrived then, and its attempts take as long and end as they ended then. All else is
done by the pipeline itself, the same objects that guard real calls: it refuses, waits, cuts off, repeats and opens. So
whatever it has learned to do, the replay can do.

What a replay cannot know it must guess, or leave as it was; `docs/backtest.md` says which is which. It is alone with
its pipeline: listeners and logs of the application hear nothing of it, and the state of every policy is as before
afterwards.
"""

import sys
import warnings
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

import anyio

from ._clock import clock
from ._compose import acompose
from ._core.replay import CUT, Attempt, Call, Comparison, Ended, Traffic, Turn, as_recorded, compare
from ._events import Event, Listener, StateChanged, listen, logger
from ._layer import Layer, SupportsBind
from ._pipeline import Pipeline
from ._telemetry import outcome_of
from ._traits import Role
from .errors import RecordedError, Rejected, ResilienceError, ResilienceWarning, TimedOut
from .testing import sandbox

_GRACE = 0.01
"""Seconds that what was cut off goes on in the replay, so that a limit which is the same cuts it off as it did."""

_NOBODY = "the recording"
"""What errors say that had another policy's name when they were recorded."""


class NoReplay(ValueError):  # noqa: N818 - named by what was found, as our refusals are
    """This traffic, or this pipeline, cannot be replayed; the text says why, and what can be done."""


@dataclass(frozen=True, slots=True)
class Backtest:
    """What would have been different.

    Attributes:
        calls: The calls, by the time they began.
        before: How each has ended.
        after: How each would have ended.
        turns_before: When circuit breakers changed their states.
        turns_after: When they would have.
        comparison: Both runs, summed up.
        guesses: How many attempts were made too far from a recorded one, so that their outcome was drawn by lot.
        cut: How many attempts lasted to where the recording of one ends that was cut off, and were cut off there too.
        notes: What else to know about this replay, in sentences.
    """

    calls: list[Call]
    before: list[Ended]
    after: list[Ended]
    turns_before: list[Turn]
    turns_after: list[Turn]
    comparison: Comparison
    guesses: int
    cut: int
    notes: list[str]


def backtest(calls: Sequence[Call], turns: Sequence[Turn], policy: SupportsBind, *, seed: int = 0) -> Backtest:
    """Replay traffic.

    Args:
        calls: The recorded calls of one pipeline.
        turns: The recorded turns of its circuit breakers.
        policy: The changed pipeline, or any policy.
        seed: Seeds jitter and lots; the same seed gives the same answer.

    Raises:
        NoReplay: The traffic says nothing about the service, or the pipeline asks for what is not recorded.
    """
    traffic = Traffic(calls)
    if not traffic.speaks:
        raise NoReplay("no recorded call has reached the function, so nothing is known of how it would have answered")
    replay = _Replay(traffic, policy, turns)
    replay.run(seed)
    before = [as_recorded(call) for call in traffic.calls]
    return Backtest(
        traffic.calls,
        before,
        replay.after,
        sorted(turns, key=lambda turn: turn.at),
        replay.turns,
        compare(before, replay.after),
        replay.guesses,
        replay.cut,
        replay.notes,
    )


class _Meeting:
    """A call under way in the replay.

    Attributes:
        call: As recorded.
        made: How many attempts were made for it.
        raised: What they have raised.
        status: The HTTP status of the last answer, if it had one.
    """

    __slots__ = ("call", "made", "raised", "status")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.made = 0
        self.raised: list[Exception] = []
        self.status: int | None = None


_meeting: ContextVar[_Meeting] = ContextVar("resilience_replayed_call")


class _Replay:
    """One run of the traffic through a pipeline."""

    def __init__(self, traffic: Traffic, policy: SupportsBind, turns: Sequence[Turn]) -> None:
        self._traffic = traffic
        self._name = traffic.calls[0].policy
        self._zero = 0.0
        self.notes: list[str] = []
        self.after = [Ended("cancelled", 0.0, 0)] * len(traffic.calls)
        self.turns: list[Turn] = []
        self.guesses = self.cut = 0
        self._errors = _Errors()
        self._problem: NoReplay | None = None
        self._stop: Callable[[], object] = _nothing
        layers = self._layers(policy)
        try:
            self._call = acompose(layers, _StandIn(self._service))
        except Exception as error:  # a policy may ask for a parameter as soon as it is given a function
            raise _needs_more(error) from error

    def run(self, seed: int) -> None:
        """Do it."""
        with sandbox(seed) as time, _alone(self._hear):
            time.wall_start = self._traffic.calls[0].at
            self._zero = time.wall_start - clock.now()
            anyio.run(self._arrivals)
        if self._problem is not None:
            raise self._problem
        if self._errors.unknown:
            names = ", ".join(sorted(self._errors.unknown))
            self.notes.append(
                f"no module that is loaded has {names}: such errors were replayed as RecordedError, which on= matches "
                "by Exception only"
            )

    def _layers(self, policy: SupportsBind) -> list[SupportsBind]:
        """The policies, without those that would keep the replay from seeing what becomes of a call."""
        with warnings.catch_warnings():  # what is doubtful in it was said when it was made
            warnings.simplefilter("ignore", ResilienceWarning)
            layers = Pipeline(policy).layers()
        kept: list[SupportsBind] = []
        for layer in layers:
            role = layer.traits().role if isinstance(layer, Layer) else Role.CUSTOM
            if role is Role.FALLBACK:
                self.notes.append("the fallback was left out: what it answers for is counted as what it is")
            elif role is Role.CACHE:
                self.notes.append("a cache was left out: which calls are alike is not recorded")
            elif not (isinstance(layer, Layer) and layer.kind == "record"):
                kept.append(layer)
        return kept

    def _now(self) -> float:
        return self._zero + clock.now()

    async def _arrivals(self) -> None:
        async with anyio.create_task_group() as tasks:
            self._stop = tasks.cancel_scope.cancel
            for number, call in enumerate(self._traffic.calls):
                wait = call.at - self._now()
                if wait > 0.0:
                    await clock.asleep(wait)
                tasks.start_soon(self._arrive, number, call)

    async def _arrive(self, number: int, call: Call) -> None:
        """One call, until it ends or its caller takes it back, as then."""
        began = clock.now()
        meeting = _Meeting(call)
        _meeting.set(meeting)
        outcome = "cancelled"
        with anyio.CancelScope() as scope:
            take_back = clock.expire(cast("Any", scope), call.took) if call.outcome == "cancelled" else None
            try:
                outcome = await self._outcome(meeting)
            finally:
                if take_back is not None:
                    take_back()
        self.after[number] = Ended(outcome, clock.now() - began, meeting.made, meeting.status)

    async def _outcome(self, meeting: _Meeting) -> str:
        try:
            await self._call()
        except Exception as error:  # noqa: BLE001 - whatever comes out is how the call has ended
            meeting.status = None
            if not isinstance(error, ResilienceError) and all(error is not one for one in meeting.raised):
                self._fail(error)
            return outcome_of(error)
        finally:
            meeting.raised.clear()  # no cycle through this frame
        return "success"

    def _fail(self, error: Exception) -> None:
        """The pipeline asks for what is not there: whatever else is learned would mislead."""
        self._problem = _needs_more(error)
        self._stop()

    async def _service(self) -> object:
        """What stands in for the function."""
        meeting = _meeting.get()
        attempt, guessed = self._traffic.meets(meeting.call, meeting.made, self._now(), clock.random())
        meeting.made += 1
        self.guesses += guessed
        was_cut = attempt.outcome in CUT
        if was_cut and meeting.call.outcome == "cancelled":
            await anyio.sleep_forever()  # until its caller takes it back
        await clock.asleep(attempt.took + _GRACE * was_cut)
        self.cut += was_cut
        meeting.status = attempt.status
        if attempt.outcome not in {"success", "fallback"}:
            error = self._errors.of(attempt)
            meeting.raised.append(error)
            try:
                raise error
            finally:
                del error
        return None if attempt.status is None else _Answer(attempt.status)

    def _hear(self, event: Event) -> None:
        if isinstance(event, StateChanged):
            self.turns.append(Turn(self._zero + event.at, self._name, event.policy, event.after))


def _needs_more(error: Exception) -> NoReplay:
    return NoReplay(
        f"the pipeline raised {type(error).__name__} of its own when it was replayed: {error}. A recording has no "
        "arguments, results or texts of errors; leave out of the pipeline what asks for them: a key, a cost "
        "function, a predicate that reads an error's attributes"
    )


class _StandIn:
    """What stands in for the function, and says so where a policy names what it guards."""

    def __init__(self, serve: Callable[[], Awaitable[object]]) -> None:
        self._serve = serve

    async def __call__(self) -> object:
        return await self._serve()

    def __repr__(self) -> str:
        return "what stands in for the function"


class _Answer:
    """An HTTP response of which only the status is known."""

    def __init__(self, status: int) -> None:
        self.status_code = status
        self.headers: dict[str, str] = {}


class _Errors:
    """Exceptions of recorded classes, without what was in them.

    A recording is an input, so a class is looked for only in modules that are loaded already; nothing is imported.

    Attributes:
        unknown: The classes that were not found.
    """

    def __init__(self) -> None:
        self._known: dict[str, type[Exception] | None] = {}
        self.unknown: set[str] = set()

    def of(self, attempt: Attempt) -> Exception:
        """What an attempt raised; what was cut off is taken to have been cut off again, in the same moment."""
        if attempt.outcome in CUT or attempt.error is None:
            return TimedOut(_NOBODY, attempt.took) if attempt.outcome != "error" else RecordedError("Exception", "")
        if attempt.error not in self._known:
            self._known[attempt.error] = _class_named(attempt.error)
        kind = self._known[attempt.error]
        error = None if kind is None else _hollow(kind, attempt)
        if error is None:
            self.unknown.add(attempt.error)
            return RecordedError(attempt.error, "")
        if attempt.status is not None:
            cast("Any", error).response = _Answer(attempt.status)
        return error


def _class_named(name: str) -> type[Exception] | None:
    """A class by the name that a recording has for it, if its module is loaded."""
    parts = name.split(".")
    if len(parts) == 1:
        parts = ["builtins", *parts]
    for size in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:size]))
        if found is not None:
            for part in parts[size:]:
                found = getattr(found, "__dict__", {}).get(part)  # no lazy import of a module's either
            return found if isinstance(found, type) and issubclass(found, Exception) else None
    return None


def _hollow(kind: type[Exception], attempt: Attempt) -> Exception | None:
    """An exception of a class whose arguments are not known; `None` if it cannot be made without them."""
    try:
        if issubclass(kind, TimedOut):
            return kind(_NOBODY, attempt.took)
        return kind(_NOBODY) if issubclass(kind, Rejected) else kind.__new__(kind)
    except Exception:  # noqa: BLE001 - it is the user's class
        return None


def _nothing() -> None:
    """There is nothing to stop yet."""


@contextmanager
def _alone(listener: Listener) -> Generator[None]:
    """Nobody else hears of what is replayed: a page about an outage of last week helps nobody."""
    ears: Any = sys.modules[listen.__module__]
    listeners, ears._listeners = ears._listeners, (listener,)
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        ears._listeners, logger.disabled = listeners, disabled
