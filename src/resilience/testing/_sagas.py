"""Tell every story that a saga can live through, and look whether each ends well.

A story is what breaks, and when: a call that is refused, one that never arrives, one whose answer is lost; and a power
cut before or after any call and any commit, after which another process goes on. For a saga of a few steps these are
some hundreds, and all of them are told, on a virtual clock and a journal in memory.

What must hold is said in the project's scenarios as I1 to I8; how things look in the user's own world, `audit` says.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from dataclasses import dataclass, field
from itertools import combinations, islice
from typing import Any, Generic, Literal, TypeVar

import anyio

from .. import _checks
from .._core.saga.entries import End, Record, Result, Turn, read
from .._core.saga.plan import Plan
from .._core.saga.progress import Progress, fold
from ..errors import SagaError, SagaFailed, SagaStuck
from ..saga import MemoryJournal, NoEffect, Saga
from ..saga._compile import blueprint_of
from ..saga._points import When, probe
from ._sandbox import sandbox

S = TypeVar("S", bound="Saga[Any, Any]")

Fault = Literal["refused", "dropped", "lost"]
FAULTS: tuple[Fault, ...] = ("refused", "dropped", "lost")

_ID = "story"
_MOST_RUNS = 20


class PowerCut(BaseException):
    """The process is gone, in the middle of whatever it was at."""


class BrokenCallError(ConnectionError):
    """What a call raises that a story breaks."""


@dataclass(frozen=True, slots=True)
class Story:
    """What goes wrong.

    Attributes:
        faults: Which calls break, and how: "do:charge" or "undo:charge".
        cuts: At which points the power goes, counted from the beginning.
    """

    faults: tuple[tuple[str, Fault], ...] = ()
    cuts: tuple[int, ...] = ()

    def __str__(self) -> str:
        broken = [f"{key} is {fault}" for key, fault in self.faults]
        cut = [f"the power goes at point {point}" for point in self.cuts]
        return ", ".join([*broken, *cut]) or "nothing goes wrong"


@dataclass(frozen=True, slots=True)
class Stories:
    """What `check_saga` has seen.

    Attributes:
        told: How many stories.
        ends: How many of them ended in which way.
    """

    told: int
    ends: dict[str, int]

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        return f"{self.told} stories: {ends}"


@dataclass
class _Telling:
    """One story while it is told.

    Attributes:
        story: What goes wrong.
        journal: The process that runs it now.
        points: How many points it has come past.
        calls: The calls that were begun, in order.
        effects: Those that were made, whatever came of it.
        broken: Which of the faults have happened.
    """

    story: Story
    journal: MemoryJournal
    points: int = 0
    calls: list[str] = field(default_factory=list[str])
    effects: list[str] = field(default_factory=list[str])
    broken: set[str] = field(default_factory=set[str])

    def point(self, when: When, key: str) -> None:
        """What the driver calls at each point."""
        if when == "before" and key != "append":
            self._look(key)
            self.calls.append(key)
        if when == "after" and key != "append":
            self.effects.append(key)
        self.points += 1
        if self.points in self.story.cuts:
            self.journal.die()
            raise PowerCut
        fault = dict(self.story.faults).get(key)
        if fault is not None and key not in self.broken and when == ("after" if fault == "lost" else "before"):
            self.broken.add(key)
            raise NoEffect(f"{key} is refused") if fault == "refused" else BrokenCallError(f"{key} is {fault}")

    def _look(self, key: str) -> None:
        """What must hold whenever a call begins, by what is durable at that moment."""
        records = self.records()
        what, _, step = key.partition(":")
        turn = next((record for record in records if isinstance(record, Turn)), None)
        if what == "undo":
            _must(turn is not None, f"{key} began before the decision to go back was durable")
        else:
            ran = any(isinstance(record, Result) and record.step == step for record in records)
            _must(not ran, f"{key} began again, with its result in the journal (I4)")
            _must(turn is None or step in turn.begun, f"{key} began after the saga had turned (I2)")

    def records(self) -> list[Record]:
        """What is durable."""
        rows = self.journal.process().read(_ID).wait() or []
        return [read(row.body) for row in rows]


class _Teller(Generic[S]):
    """Tells stories of one saga.

    Args:
        make: Makes the saga, with a fresh world around it.
        input: Its input.
        audit: Looks at that world when the story is over.
        backend: The event loop; `None` for plain code.
        journal: Makes a journal that can play processes, as `MemoryJournal` does.
    """

    def __init__(
        self,
        make: Callable[[], S],
        input: Any,  # noqa: A002 - it is the saga's input
        audit: Callable[[S], object] | None,
        backend: str | None,
        journal: Callable[[], Any] = MemoryJournal,
    ) -> None:
        self._make = make
        self._input = input
        self._audit = audit
        self._backend = backend
        self._journal = journal

    def tell(self, story: Story) -> tuple[_Telling, str]:
        """Tell one story, and look at its end; returns how the saga has ended."""
        saga = self._make()
        telling = _Telling(story, self._journal())
        try:
            cause = self._live(saga, telling)
            outcome = _settled(telling, blueprint_of(type(saga)).plan, cause)
            if self._audit is not None:
                self._audit(saga)
        except BaseException as error:
            error.add_note(f"in the story where {story}")
            raise
        return telling, outcome

    def _live(self, saga: S, telling: _Telling) -> BaseException | None:
        """Run the saga to its end, in as many processes as it takes; returns what its caller got at last."""
        for _ in range(_MOST_RUNS):
            telling.journal = telling.journal.process()
            try:
                copy_context().run(self._run, saga, telling)
            except PowerCut:
                pass
            except SagaError as error:
                if telling.journal.alive:  # else a step beside the one where the power went has come to its end
                    return error
            else:
                return None
        raise AssertionError(f"it has not ended after {_MOST_RUNS} runs")

    def _run(self, saga: S, telling: _Telling) -> None:
        probe.set(telling.point)
        with sandbox():
            if self._backend is None:
                saga.run_sync(self._input, id=_ID, journal=telling.journal)
            else:
                anyio.run(self._arun, saga, telling, backend=self._backend)

    async def _arun(self, saga: S, telling: _Telling) -> None:
        await saga.run(self._input, id=_ID, journal=telling.journal)


def check_saga(
    make: Callable[[], S],
    input: Any,  # noqa: A002 - it is the saga's input
    *,
    audit: Callable[[S], object] | None = None,
    backend: str = "asyncio",
    cuts: int = 1,
    most: int = 2_000,
) -> Stories:
    """Tell every story that a saga can live through, and look whether each ends well.

    Each call of a step is refused, dropped on the way or loses its answer, each undo that this leads to likewise, one
    story for each; and in each of these the power goes once at every point: before and after every call and every
    commit. Another process goes on, on a virtual clock.

    It checks that no step begins after the decision to go back, none runs again whose result is durable, what had an
    effect is undone if the saga is, in reverse order, and that the first cause reaches the caller. Whether the world is
    in order as well, only `audit` can tell: it needs fakes that count what they are asked for, and that take a call
    with a key they know for the same call.

    ```python
    def in_order(saga: PlaceOrder) -> None:
        assert saga.stock.reserved == saga.payments.charged

    print(check_saga(lambda: PlaceOrder(FakeStock(), FakePayments()), Order("42"), audit=in_order))
    ```

    Args:
        make: Makes the saga, with a fresh world around it.
        input: Its input.
        audit: Called with the saga when a story is over; raises `AssertionError` if the world is not in order.
        backend: The event loop for a saga with coroutine functions: "asyncio" or "trio".
        cuts: How often the power goes in one story. Default 1; with 2 there are very many.
        most: How many stories are told at most. Default 2,000.

    Returns:
        How many stories were told, and how they ended.

    Raises:
        AssertionError: One of them did not end well; a note says which.
        RuntimeError: An event loop runs here already: call it from a plain test.
    """
    needs_loop = bool(blueprint_of(type(make())).coroutine_functions)
    teller = _Teller(make, input, audit, backend if needs_loop else None)
    return _told(teller, _stories(teller, _troubles(teller), _checks.whole("cuts", cuts)), most)


def _told(teller: _Teller[Any], stories: Iterable[Story], most: int) -> Stories:
    ends = Counter(teller.tell(story)[1] for story in islice(stories, most))
    return Stories(sum(ends.values()), dict(ends))


def _stories(teller: _Teller[Any], troubles: Iterable[Story], cuts: int) -> Iterator[Story]:
    """Each of these troubles, and with it each power cut."""
    for story in troubles:
        telling, _ = teller.tell(story)
        for several in range(cuts + 1):
            for points in combinations(range(1, telling.points + 1), several):
                yield Story(story.faults, points)


def _troubles(teller: _Teller[Any]) -> Iterator[Story]:
    """All is well; one call is broken; and then one of the undos as well."""
    yield Story()
    quiet, _ = teller.tell(Story())
    for key in dict.fromkeys(quiet.calls):
        for fault in FAULTS:
            story = Story(((key, fault),))
            yield story
            telling, _ = teller.tell(story)
            undos = dict.fromkeys(call for call in telling.calls if call.startswith("undo:"))
            for undo in undos:
                yield Story(((key, fault), (undo, "dropped")))
                yield Story(((key, fault), (undo, "lost")))


def _settled(telling: _Telling, plan: Plan, error: BaseException | None) -> str:
    """Look whether all that had an effect is settled, and in order."""
    records = telling.records()
    progress = fold(plan, [(0.0, record) for record in records])
    ends = [record for record in records if isinstance(record, End)]
    _must(len(ends) <= 1 and (not ends or records[-1] == ends[0]), "END was not written once and last (I6)")
    outcome = progress.ended or "stuck"
    _must(outcome != "stuck" or bool(progress.parked), "it has stopped for no reason (I1)")
    done = [call.removeprefix("do:") for call in telling.effects if call.startswith("do:")]
    undone = [call.removeprefix("undo:") for call in telling.effects if call.startswith("undo:")]
    for step in done if progress.turn is not None else ():
        held_up = {step, *plan.descendants[step]} & progress.parked.keys()
        settled = step in undone or step in progress.skipped or not plan.by_name[step].undoes or bool(held_up)
        _must(settled, f"step {step!r} had its effect, and was never undone (I1)")
    if outcome == "completed":
        _must(not undone, f"it has completed, and {undone} were undone (I1)")
    _in_reverse(undone, progress)
    _first_cause(progress, error)
    return outcome


def _in_reverse(undone: list[str], progress: Progress) -> None:
    for earlier, later in combinations([node.name for node in progress.plan.nodes], 2):
        ordered = earlier in progress.plan.ancestors[later] and {earlier, later} <= set(undone)
        if ordered and later not in progress.parked:
            last = len(undone) - 1 - undone[::-1].index(later)
            _must(last < undone.index(earlier), f"{earlier!r} was undone before {later!r}, which came after it (I3)")


def _first_cause(progress: Progress, error: BaseException | None) -> None:
    if progress.ended == "completed":
        _must(error is None, f"it has completed, and its caller got {error!r}")
    elif progress.turn is not None and progress.turn.error is not None:
        cause = error.cause if isinstance(error, SagaFailed | SagaStuck) else None
        _must(progress.turn.error.message in str(cause), f"the first cause is lost, its caller got {error!r} (I8)")


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
