"""Tells one story of a saga: runs it in as many processes as it takes, and breaks what the story says.

A process is a run on a journal in memory that can die without a word; all of them share one virtual clock. The driver
comes past points, before and after each call and each commit; a wait has one at either end of a moment in the middle of
it. At each of them a story may cut the power, let the caller cancel, or have a message come.

What must hold while it runs is looked at here, at the end in `_settled`. A finding ends the story as a power cut would:
an error at the point itself would be taken for a failure of the step.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, NoReturn, TypeVar

import anyio

from .._clock import use
from .._core.saga.entries import Asked, Record, Result, Turn, read
from .._core.saga.plan import Node, Plan
from .._core.saga.program import WAITING
from .._core.saga.progress import Progress, fold
from .._events import logger
from .._live import shelve_all
from ..errors import MessageRefused, SagaError
from ..saga import MemoryJournal, NoEffect, Saga
from ..saga._compile import blueprint_of
from ..saga._journal import CONTROL
from ..saga._letters import write_request
from ..saga._points import When, probe
from ._mail import Mail
from ._settled import must, settled
from ._stories import Story
from ._story_clock import StoryClock

S = TypeVar("S", bound="Saga[Any, Any]")

_ID = "story"
_WHO = "a story"
_MOST_RUNS = 20
_MOST_MOMENT = 1.0
"""Virtual seconds after which what happens during a wait happens, at most; half of the wait, if that is less."""


class PowerCut(BaseException):
    """The process is gone, in the middle of whatever it was at."""


class BrokenCallError(ConnectionError):
    """What a call raises that a story breaks."""


@dataclass
class Telling:
    """One story while it is told.

    Attributes:
        story: What goes wrong.
        plan: The saga's steps.
        mail: The messages that come.
        journal: The process that runs it now.
        passed: The points that it has come past.
        calls: The calls that were begun, in order.
        effects: Those that were made, whatever came of it.
        wrong: What did not hold meanwhile.
        outcome: How it has ended.
    """

    story: Story
    plan: Plan
    mail: Mail
    journal: MemoryJournal
    passed: list[tuple[When, str]] = field(default_factory=list[tuple[When, str]])
    calls: list[str] = field(default_factory=list[str])
    effects: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])
    outcome: str = ""
    _broken: set[str] = field(default_factory=set[str])
    _watched: set[str] = field(default_factory=set[str])
    _sent: set[str] = field(default_factory=set[str])
    _since_cancel: int | None = None
    _records: list[Record] = field(default_factory=list[Record])
    _clock: StoryClock = field(default_factory=StoryClock)
    _scope: anyio.CancelScope | None = None

    @property
    def points(self) -> int:
        """How many points it has come past."""
        return len(self.passed)

    # Processes

    @contextmanager
    def process(self) -> Generator[MemoryJournal]:
        """Another process, or the first, on the same clock; its policies are calm, and once dead it says nothing."""
        journal = self.journal = self.journal.process()
        self._watched.clear()

        def lives(_: object) -> bool:
            return journal.alive

        undo: list[Callable[[], None]] = [use(self._clock), shelve_all(), partial(logger.removeFilter, lives)]
        logger.addFilter(lives)
        try:
            yield journal
        finally:
            for put_back in undo:
                put_back()

    async def in_loop(self, run: Callable[[], Any]) -> None:
        """Run the saga in a loop, where a power cut during a wait can reach it only as a cancellation."""
        with anyio.CancelScope() as self._scope:
            self.watch_waits()
            await run()
        if not self.journal.alive:
            raise PowerCut

    # What the driver comes past

    def point(self, when: When, key: str) -> None:
        """What the driver calls at each point."""
        is_call = key.startswith(("do:", "undo:"))
        if is_call and when == "before":
            self._look(key)
            self.calls.append(key)
        elif is_call:
            self.effects.append(key)
        elif when == "after" and key == "append":
            self._appended()
        self.passed.append((when, key))
        self._have_come(early=self.points == 1)
        if self.points == self.story.cancel:
            self._cancel()
        if self.points in self.story.cuts:
            self._die()
        self._break(when, key)

    def _break(self, when: When, key: str) -> None:
        fault = dict(self.story.faults).get(key)
        if fault is not None and key not in self._broken and when == ("after" if fault == "lost" else "before"):
            self._broken.add(key)
            raise NoEffect(f"{key} is refused") if fault == "refused" else BrokenCallError(f"{key} is {fault}")

    def _appended(self) -> None:
        if self._since_cancel is not None:
            self._since_cancel += 1
        self.watch_waits()

    def _look(self, key: str) -> None:
        """What must hold whenever a call begins, by what is durable at that moment."""
        records = self.records()
        what, _, step = key.partition(":")
        turn = next((record for record in records if isinstance(record, Turn)), None)
        if what == "undo":
            self._find(turn is not None, f"{key} began before the decision to go back was durable")
            return
        ran = any(isinstance(record, Result) and record.step == step for record in records)
        self._find(not ran, f"{key} began again, with its result in the journal (I4)")
        self._find(turn is None or step in turn.begun, f"{key} began after the saga had turned (I2)")
        # One commit may have been under way already, and one call with it; with the next one the cancel is answered.
        answered = any(isinstance(record, Asked) and record.verb == "cancel" for record in records)
        passed_over = self._since_cancel is not None and self._since_cancel > 1 and not answered
        self._find(not passed_over, f"{key} began, and the request to cancel was passed over")

    def _find(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.wrong.append(otherwise)
            self._die()

    def _die(self) -> NoReturn:
        self.journal.die()
        raise PowerCut

    def records(self) -> list[Record]:
        """What is durable."""
        reader = self.journal if self.journal.alive else self.journal.process()
        rows = reader.read(_ID).wait() or []
        self._records += [read(row.body) for row in rows[len(self._records) :]]
        return self._records

    def progress(self) -> Progress:
        """Where it stands, by what is durable."""
        return fold(self.plan, [(0.0, record) for record in self.records()])

    # What comes from outside

    def watch_waits(self) -> None:
        """Have something happen in the middle of each wait that has begun, once in each process."""
        waits = [node for node in self.plan.nodes if node.kind in WAITING]
        ready = set(self.progress().ready()) if waits and self.records() else {n.name for n in waits if not n.before}
        for node in waits:
            if node.name in ready - self._watched:
                self._watched.add(node.name)
                moment = _MOST_MOMENT if node.seconds is None else min(node.seconds / 2, _MOST_MOMENT)
                self._clock.later(moment, partial(self._meanwhile, node, self.journal))

    def _meanwhile(self, node: Node, journal: MemoryJournal) -> None:
        """In the middle of a wait: the power may go, and the message comes."""
        progress = self.progress()
        if not journal.alive or journal is not self.journal or progress.turn or node.name not in progress.ready():
            return
        try:
            self.point("before", f"wait:{node.name}")
            if self._coming(node.name) in {None, "again and again"}:
                self._send(node.name)
            self.point("after", f"wait:{node.name}")
        except PowerCut:
            if self._scope is None:
                raise
            self._scope.cancel()

    def _have_come(self, *, early: bool) -> None:
        """Have those messages come for which this is the moment, whether or not they are waited for."""
        for name, coming in self.story.mail:
            again = coming == "again and again" and name in self._sent
            if again or (early and coming == "early") or (coming == "too late" and self._is_over(name)):
                self._send(name)

    def _coming(self, name: str) -> str | None:
        return dict(self.story.mail).get(name)

    def _is_over(self, name: str) -> bool:
        return any(isinstance(record, Result) and record.step == name for record in self.records())

    def _send(self, name: str) -> None:
        if name in self.mail.values:
            self._sent.add(name)
            self._post(name, self.mail.values[name])

    def _cancel(self) -> None:
        if self._post(CONTROL, write_request("cancel", reason="in a story")):
            self._since_cancel = 0

    def _post(self, topic: str, value: bytes) -> bool:
        with suppress(MessageRefused):  # it has ended: too late
            self.journal.send(_ID, topic, value, _WHO).wait()
            return True
        return False


class Teller(Generic[S]):
    """Tells stories of one saga.

    Args:
        make: Makes the saga, with a fresh world around it.
        input: Its input.
        audit: Looks at that world when the story is over.
        backend: The event loop; `None` for plain code.
        mail: The messages that come.
        journal: Makes a journal that can play processes, as `MemoryJournal` does.

    Attributes:
        mail: As given.
    """

    def __init__(
        self,
        make: Callable[[], S],
        input: Any,  # noqa: A002 - it is the saga's input
        audit: Callable[[S], object] | None,
        backend: str | None,
        mail: Mail | None = None,
        journal: Callable[[], Any] = MemoryJournal,
    ) -> None:
        self.mail: Mail = Mail() if mail is None else mail
        self._make = make
        self._input = input
        self._audit = audit
        self._backend = backend
        self._journal = journal

    def tell(self, story: Story) -> Telling:
        """Tell one story, and look at its end."""
        saga = self._make()
        telling = Telling(story, blueprint_of(type(saga)).plan, self.mail, self._journal())
        try:
            cause = self._live(saga, telling)
            telling.outcome = settled(telling.records(), telling.plan, telling.effects, cause)
            if self._audit is not None:
                self._audit(saga)
        except BaseException as error:
            error.add_note(f"in the story where {story}")
            raise
        return telling

    def _live(self, saga: S, telling: Telling) -> BaseException | None:
        """Run the saga to its end, in as many processes as it takes; returns what its caller got at last."""
        for _ in range(_MOST_RUNS):
            try:
                copy_context().run(self._run, saga, telling)
            except PowerCut:
                pass
            except SagaError as error:
                if telling.journal.alive:  # else a step beside the one where the power went has come to its end
                    return error
            else:
                return None
            must(not telling.wrong, "; ".join(telling.wrong))
        raise AssertionError(f"it has not ended after {_MOST_RUNS} runs")

    def _run(self, saga: S, telling: Telling) -> None:
        probe.set(telling.point)
        with telling.process() as journal:
            if self._backend is None:
                telling.watch_waits()
                saga.run_sync(self._input, id=_ID, journal=journal)
            else:
                run = partial(saga.run, self._input, id=_ID, journal=journal)
                anyio.run(telling.in_loop, run, backend=self._backend)
