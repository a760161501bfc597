"""One run of one saga, up to where something has to be waited for.

A stage keeps what the journal holds, asks the program what to do, finds the calls for it, and turns what comes of them
into arrivals. It waits for nothing, writes nothing and starts nothing: the drivers do, each in its own way, and share
all that is here.
"""

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from .._ambient import ambient
from .._clock import clock
from .._core.saga.effects import Arrival, Do, Done, Wait
from .._core.saga.entries import Failure, Parked, Resumed, Turn, read, write
from .._core.saga.program import Decision, orchestrate
from .._core.saga.progress import fold
from .._events import SagaParked, emit, logger
from .._metrics import type_name
from ..errors import DefinitionChanged, RecordedError, SagaError, SagaFailed, SagaStuck
from ._blueprint import INPUT, Blueprint, UndecodableError
from ._call import call_of, running
from ._function import Function
from ._journal import CONTROL, LARGEST, Letter, Opened, checked_size
from ._letters import read_request
from ._limits import alimited, limited
from ._points import reached
from ._watching import StepSpan, Watch, compensations

FRAME = 2_000
"""Bytes of a record that are not its value, at most."""

MOST_TEXT = 2_000
"""Characters of an exception's text that a journal keeps."""


class Stage:
    """One run of one saga.

    Args:
        blueprint: The saga's class, compiled.
        saga: Its object; `None` where nothing is to be called.
        id: Its id.
        opened: What the journal holds.
        watch: Who looks on; `None` if nobody does.
        resumed: What is to be written first, if this is not the first run.

    Attributes:
        id: The saga's id.
        blueprint: Its class, compiled.
        progress: Where it stands, by what is written and what is about to be.
        letters: The letters that were there at the beginning.
        owned: Whether it is to be run here.
        largest: The most bytes of a record that its journal takes.
        watch: Who looks on; `None` if nobody does.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        saga: Any,
        id: str,  # noqa: A002 - it is the saga's id
        opened: Opened,
        watch: Watch | None = None,
        resumed: Resumed | None = None,
    ) -> None:
        self.id = id
        self.blueprint = blueprint
        self.letters = opened.letters
        self.owned = opened.owned
        self.largest = LARGEST
        self.watch = watch
        self._resumed = () if resumed is None else (resumed,)
        rows = [(row.at, read(row.body)) for row in opened.rows]
        self.progress = fold(blueprint.plan, [*rows, *((clock.wall(), one) for one in self._resumed)])
        self._bound = blueprint.bind(saga, self._value_of)
        self._program = orchestrate(self.progress, clock.wall(), id)
        self._heard = self.progress.heard
        self._asked = self._seen = 0
        self._raised: dict[str, BaseException] = {}
        self._undo_errors: list[Exception] = []

    # The program

    def begin(self) -> Decision:
        """What is to be done first; that the saga was taken up is written with it."""
        decision = self._noted(next(self._program))
        return decision._replace(entries=(*self._resumed, *decision.entries))

    def go_on(self, arrival: Arrival) -> Decision:
        """What is to be done next."""
        return self._noted(self._program.send(arrival))

    def _noted(self, decision: Decision) -> Decision:
        for entry in decision.entries:
            if isinstance(entry, Parked):
                emit(SagaParked(self.blueprint.plan.saga, self.id, entry.step, entry.reason, _said(entry.error)))
        return decision

    def _value_of(self, name: str) -> bytes | None:
        progress = self.progress
        if name == INPUT:
            return None if progress.start is None else bytes(progress.start.input)
        result = progress.results.get(name)
        return bytes(result.value) if result is not None and result.outcome == "ok" else None

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to wait for any more: it has ended, or was run here and is stuck."""
        return self.progress.ended is not None or (self.owned and bool(self.progress.parked))

    def has_work(self) -> bool:
        """Whether there is anything to do, for whoever only looks on: it asks the program, once."""
        return bool(next(self._program).effects)

    def bodies(self, decision: Decision) -> list[bytes]:
        """What is to be written."""
        return [write(entry) for entry in decision.entries]

    # Calls

    def perform(self, do: Do) -> Done:
        """Make a call in this thread."""
        call = self._prepare(do)
        if isinstance(call, Done):
            return call
        if self.watch is None:
            return self._perform(do, call)
        with self._span(do, self.watch) as span:
            return span.ended(self._perform(do, call), self._raised.get(do.key))

    async def aperform(self, do: Do) -> Done:
        """Make a call in this task; a plain function has a worker thread meanwhile."""
        call = self._prepare(do)
        if isinstance(call, Done):
            return call
        if self.watch is None:
            return await self._aperform(do, call)
        with self._span(do, self.watch) as span:
            return span.ended(await self._aperform(do, call), self._raised.get(do.key))

    def _call(self, do: Do) -> running:
        """Around a call."""
        return (_undoing if do.undo else running)(call_of(self.id, do.step, undo=do.undo))

    def _perform(self, do: Do, call: Callable[[], Any]) -> Done:
        with self._call(do):
            try:
                reached("before", do.key)
                result = limited(self.function(do), call)
                reached("after", do.key)
            except Exception as error:  # noqa: BLE001 - what it means is told to the program
                return self.failed(do, error)
        return self._succeeded(do, result)

    async def _aperform(self, do: Do, call: Callable[[], Any]) -> Done:
        with self._call(do):
            try:
                reached("before", do.key)
                result = await alimited(self.function(do), call)
                reached("after", do.key)
            except Exception as error:  # noqa: BLE001 - what it means is told to the program
                return self.failed(do, error)
        return self._succeeded(do, result)

    def never_started(self, key: str) -> Done:
        """What comes of a call that was stopped before it began here."""
        return Done(key, "unstarted", None, None, clock.wall())

    def function(self, do: Do) -> Function:
        """What is to be called."""
        return self.blueprint.function(do.step, undo=do.undo)

    def _prepare(self, do: Do) -> Callable[[], Any] | Done:
        """The call, ready to be made; or what has come of it already, if a value cannot be read."""
        try:
            return self._bound.prepare(do.step, undo=do.undo, certain=do.certain)
        except UndecodableError as error:
            return Done(do.key, "undecodable", None, failure_of(error), clock.wall())
        except Exception as error:  # noqa: BLE001 - the method that makes a nested saga's object
            return self.failed(do, error)

    def _span(self, do: Do, watch: Watch) -> StepSpan:
        result = self.progress.results.get(do.step)
        return watch.step(do.step, undo=do.undo, undoes={} if result is None else result.trace)

    def _succeeded(self, do: Do, result: Any) -> Done:
        """The call has returned."""
        if do.undo:
            compensations.add((self.blueprint.plan.saga, do.step, "success"))
            return Done(do.key, "ok", None, None, clock.wall())
        try:
            value = checked_size(self._bound.keep(do.step, result), self.largest, FRAME)
            return Done(do.key, "ok", value, None, clock.wall())
        except Exception as error:  # noqa: BLE001 - it had its effect, and its result cannot be kept
            error.add_note(f"step {do.step!r} has succeeded, but its result cannot be kept in the journal")
            return self._unsuccessful(do, error, "unknown")

    def failed(self, do: Do, error: BaseException) -> Done:
        """The call has raised."""
        if do.undo:
            compensations.add((self.blueprint.plan.saga, do.step, "error"))
            if isinstance(error, Exception):
                self._undo_errors.append(error)
            self._raised[do.key] = error
            return Done(do.key, "unknown", None, failure_of(error), clock.wall())
        try:
            outcome = self.blueprint.outcome_of(do.step, error)
        except Exception as fault:  # noqa: BLE001 - a predicate of the user's
            error, outcome = fault, "unknown"
        return self._unsuccessful(do, error, outcome)

    def _unsuccessful(self, do: Do, error: BaseException, outcome: str) -> Done:
        self._raised[do.key] = error
        return Done(do.key, outcome, None, failure_of(error), clock.wall())

    # Letters

    def arrivals(self, letters: Iterable[Letter], decision: Decision) -> list[Arrival]:
        """What letters mean: requests that were not heard before, and messages that are waited for.

        A message may be told more than once: the program passes over what it does not wait for, be it that the message
        was told before, or that a pause came before it.
        """
        waited_for = {effect.topic for effect in decision.effects if isinstance(effect, Wait)}
        found: list[Arrival] = []
        for letter in letters:
            self._seen = max(self._seen, letter.row)
            topic = self.blueprint.plan.current(letter.topic)
            if letter.topic == CONTROL and letter.row > self._heard:
                self._heard = letter.row
                found += self._request(letter)
            elif topic in waited_for:
                found.append(Done(f"wait:{topic}", "ok", letter.value, None, clock.wall()))
        return found

    @property
    def heard(self) -> int:
        """The number of the last letter that needs nobody's attention any more: what it asked for is on record."""
        return self._seen if self.progress.heard >= self._asked else self.progress.heard

    def _request(self, letter: Letter) -> list[Arrival]:
        try:
            request = read_request(letter, clock.wall())
            self._asked = letter.row
            return [request]
        except ValueError as error:
            logger.warning("saga %s: a request of %s is passed over, for it is none: %s", self.id, letter.who, error)
            return []

    # The end

    def result(self) -> Any:
        """What the saga's caller gets, once it has ended or goes no further.

        Raises:
            SagaFailed: It was undone, or settled by hand without a result.
            SagaStuck: It waits for an operator.
        """
        if (error := self.error()) is not None:
            raise error from self._cause()
        return self._bound.output()

    def error(self) -> SagaError | None:
        """What it has come to, if that is no result."""
        plan, progress = self.blueprint.plan, self.progress
        if progress.ended is not None and progress.turn is None and progress.complete:
            return None
        cause = self._cause()
        errors = self._group()
        why = _why(progress.turn, cause)
        if progress.ended is None:
            parked = tuple(name for name in progress.parked if name is not None)
            waits = "; ".join(_parked(name, one.error) for name, one in progress.parked.items())
            reason = f"{why}; an operator has to settle: {waits}" if why else f"an operator has to settle: {waits}"
            kind = DefinitionChanged if None in progress.parked else SagaStuck
            return kind(plan.saga, self.id, reason, cause=cause, parked=parked, undo_errors=errors)
        how = "what it had done is undone" if progress.ended == "undone" else "an operator has settled what was left"
        reason = f"{why or 'it was aborted'}; {how}"
        return SagaFailed(plan.saga, self.id, reason, cause=cause, outcome=progress.ended, undo_errors=errors)

    def _cause(self) -> BaseException | None:
        """The first cause: the exception itself if it was raised here, else what is remembered of it."""
        turn = self.progress.turn
        if turn is None:
            remembered = next((one.error for one in self.progress.parked.values()), None)
            step = next(iter(self.progress.parked), None)
        else:
            remembered, step = turn.error, turn.step
        if f"do:{step}" in self._raised:
            return self._raised[f"do:{step}"]
        return None if remembered is None else RecordedError(remembered.type, remembered.message)

    def _group(self) -> ExceptionGroup[Exception] | None:
        remembered = self.progress.undo_errors
        errors = [*map(_recorded, remembered[: len(remembered) - len(self._undo_errors)]), *self._undo_errors]
        return ExceptionGroup("undos that failed on the way", errors) if errors else None


class _undoing(running):
    """Around an undo, which has time of its own: the deadline that may have turned the saga does not hold for it."""

    __slots__ = ("_deadline",)

    def __enter__(self) -> None:
        super().__enter__()
        self._deadline = ambient.set(None)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        ambient.reset(self._deadline)
        super().__exit__(kind, error, at)


def failure_of(error: BaseException) -> Failure:
    """An exception, as a journal remembers it."""
    kind = type(error)
    try:
        text = str(error).encode(errors="backslashreplace").decode()[:MOST_TEXT]
    except Exception:  # noqa: BLE001 - it is the user's class
        text = "(its text cannot be had)"
    return Failure(f"{kind.__module__}.{kind.__qualname__}", text)


def _recorded(failure: Failure) -> Exception:
    return RecordedError(failure.type, failure.message)


def _why(turn: Turn | None, cause: BaseException | None) -> str:
    if turn is None:
        return ""
    what = "" if cause is None else f": {type_name(type(cause))}: {cause}".removesuffix(": ")
    if isinstance(cause, RecordedError):
        what = f": {cause}"
    match turn.reason:
        case "cancelled":
            return f"it was cancelled{f' while {turn.step!r} failed' if turn.step else ''}"
        case "deadline":
            return f"it took too long{what}"
        case "operator":
            return "an operator has turned it back"
        case "failed":
            return f"step {turn.step!r} failed{what}"


def _said(error: Failure | None) -> str:
    return "" if error is None else f"{error.type}: {error.message}"


def _parked(step: str | None, error: Failure | None) -> str:
    text = f" ({_said(error)})" if error is not None else ""
    return f"{'all of it' if step is None else repr(step)}{text}"
