"""Drawn schedules: a saga, what becomes of its calls, who runs it, who dies when, and what is asked of it meanwhile.

A `Scenario` is plain data. `Play` acts it out with real drivers, runners and journals: one to three processes side by
side, which die, are cut off or leave at the drawn points, and are replaced. Each process has a pair of `Hands`, through
which its calls reach the `World`; there they are held against what the journal says at that very moment.

Nothing here knows how a saga is driven.
"""

import threading
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from types import new_class
from typing import Any, Literal

import anyio
from hypothesis import strategies as st

from resilience._clock import clock
from resilience._core.saga.entries import Asked, End, Parked, Record, Result, Turn, read
from resilience._core.saga.plan import Plan
from resilience._core.saga.progress import Progress, fold
from resilience.errors import LostOwnership, SagaError, SagaFailed
from resilience.saga import MemoryJournal, NoEffect, Opened, Pending, Saga, SagaRunner, message, pause, step
from resilience.saga._compile import blueprint_of
from resilience.saga._letters import write_request
from resilience.testing import sandbox
from tests.saga.trips import refused

Fate = Literal["ok", "refused", "dropped", "lost"]
Kind = Literal["step", "pivot", "retriable", "message", "pause"]
Fall = Literal["killed", "cut off", "leaves"]

ID = "drawn"
TOO_LONG = 300.0
"""Seconds after which a saga of a few steps should have ended, whatever has happened to it."""
TOO_LONG_IN_THREADS = 30_000.0
"""There the clock also leaps while a thread that has something to do has not come to do it."""


class PowerCut(Exception):
    """The process is gone; whatever runs on it has no consequence any more."""


# What is drawn.


@dataclass(frozen=True)
class Part:
    """One step.

    Attributes:
        kind: What it is.
        undo: Whether it can be undone.
        after: The number of the step that it follows; `None`: all that are above; -1: none.
        within: For a message: the seconds it is waited for.
    """

    kind: Kind = "step"
    undo: bool = True
    after: int | None = None
    within: float | None = None


@dataclass(frozen=True)
class Scenario:
    """What happens.

    Attributes:
        parts: The saga's steps: s0, s1, ...
        fates: How the calls of a key end, one after another; when they are used up, all is well.
        lasts: Seconds that a call takes, half of it before its effect.
        workers: How many processes there are at any time.
        falls: At which points the process that comes to it goes, and how.
        door: How the caller begins it.
        cancel: At which point it is asked to turn back, by a handle elsewhere.
        give_up: At which point the caller's task is cancelled.
        hold: At which point it is paused; it is resumed ten seconds later.
        letters: At which points the message is sent.
    """

    parts: tuple[Part, ...] = (Part(),)
    fates: tuple[tuple[str, tuple[Fate, ...]], ...] = ()
    lasts: float = 0.0
    workers: int = 1
    falls: tuple[tuple[int, Fall], ...] = ()
    door: Literal["run", "start"] = "start"
    cancel: int | None = None
    give_up: int | None = None
    hold: int | None = None
    letters: tuple[int, ...] = ()


POINTS = st.integers(1, 30)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[Part, ...]:
    """A saga of one to four steps; what follows the point of no return is repeated until it succeeds."""
    parts: list[Part] = []
    count = draw(st.integers(1, 4))
    pivot = draw(st.none() | st.integers(0, count - 1))
    for number in range(count):
        if pivot is not None and number >= pivot:
            parts.append(Part("pivot" if number == pivot else "retriable", undo=False))
            continue
        kind = draw(st.sampled_from(["step", "step", "step", "step", "message", "pause"]))
        if kind == "step":
            parts.append(Part("step", draw(st.booleans()), draw(st.none() | st.integers(-1, number - 1))))
        elif kind == "message" and not any(part.kind == "message" for part in parts):
            parts.append(Part("message", False, within=draw(st.sampled_from([None, 5.0]))))
        elif kind == "pause":
            parts.append(Part("pause", False))
        else:
            parts.append(Part())
    return tuple(parts)


@st.composite
def scenarios(draw: st.DrawFn, plain: bool = False) -> Scenario:
    """Whatever can happen, as long as it ends."""
    parts = draw(shapes())
    keys = [f"s{number}" for number, part in enumerate(parts) if part.kind not in {"message", "pause"}]
    keys += [f"s{number}/undo" for number, part in enumerate(parts) if part.undo]
    fates = st.lists(st.sampled_from(["ok", "refused", "dropped", "lost"]), min_size=1, max_size=3).map(tuple)
    waits = any(part.kind == "message" for part in parts)
    endless = any(part.kind == "message" and part.within is None for part in parts)
    return Scenario(
        parts,
        tuple(draw(st.lists(st.tuples(st.sampled_from(keys), fates), max_size=3, unique_by=lambda one: one[0])))
        if keys
        else (),
        draw(st.sampled_from([0.0, 0.1, 1.0])),
        draw(st.integers(1, 3)),
        tuple(
            draw(
                st.lists(
                    st.tuples(POINTS, st.sampled_from(["killed", "cut off", "leaves"])),
                    max_size=3,
                    unique_by=lambda one: one[0],
                )
            )
        ),
        "start" if plain else draw(st.sampled_from(["start", "run"])),
        draw(st.none() | POINTS),
        None if plain else draw(st.none() | POINTS),
        draw(st.none() | POINTS),
        tuple(draw(st.lists(POINTS, min_size=1 if endless else 0, max_size=2))) if waits else (),
    )


# The saga, and the world around it.


@lru_cache(maxsize=2_000)
def saga_of(parts: tuple[Part, ...], *, plain: bool) -> type[Saga[str, Any]]:
    """The saga's class."""
    body: dict[str, Any] = {"__init__": _with_hands}
    for number, part in enumerate(parts):
        name = f"s{number}"
        if part.kind == "message":
            body[name] = message(str, within=None if part.within is None else timedelta(seconds=part.within))
        elif part.kind == "pause":
            body[name] = pause(timedelta(seconds=3))
        else:
            options: dict[str, Any] = {}
            if part.kind in {"pivot", "retriable"}:
                options = {part.kind: True, "attempts": 2}
            elif part.after is not None:
                options["after"] = () if part.after < 0 else f"s{part.after}"
            if not part.undo and part.kind == "step":
                options["undo"] = None
            body[name] = step(**options)(_named(_plain_do if plain else _do, name))
            if part.undo:
                body[f"un{name}"] = body[name].undo(attempts=2)(_named(_plain_undo if plain else _undo, f"un{name}"))
    gives = None if parts[-1].kind == "pause" else str
    return new_class("Drawn", (Saga[str, gives],), {"name": "drawn"}, lambda space: space.update(body))


def _named(make: Callable[[], Callable[..., Any]], name: str) -> Callable[..., Any]:
    function = make()
    function.__name__ = function.__qualname__ = name
    return function


def _with_hands(self: Any, hands: "Hands") -> None:
    self.hands = hands


def _do() -> Callable[..., Any]:
    async def do(self: Any, order: str) -> str:
        return str(await self.hands.act(self.key))

    return do


def _undo() -> Callable[..., Any]:
    async def undo(self: Any) -> None:
        await self.hands.act(self.key)

    return undo


def _plain_do() -> Callable[..., Any]:
    def do(self: Any, order: str) -> str:
        return str(self.hands.act_plainly(self.key))

    return do


def _plain_undo() -> Callable[..., Any]:
    def undo(self: Any) -> None:
        self.hands.act_plainly(self.key)

    return undo


@dataclass
class World:
    """What really is: a call with a known key is the same call, and one that comes after its undo is too late.

    Attributes:
        scenario: What is to happen.
        plan: The saga's steps.
        records: Says what is durable.
        reached: Told of each point.
        plain: Whether calls are made in threads.
        kept: The keys of effects that stand.
        closed: The keys that take no effect any more: undone.
        refused: The keys that were refused for good.
        points: How many points all processes have come past.
        at_work: Which calls are under way, and whose.
        wrong: What was seen that must not be.
    """

    scenario: Scenario
    plan: Plan
    records: Callable[[], list[Record]]
    reached: Callable[[int], None]
    plain: bool
    kept: set[str] = field(default_factory=set[str])
    closed: set[str] = field(default_factory=set[str])
    refused: set[str] = field(default_factory=set[str])
    points: int = 0
    at_work: list[tuple["Hands", str]] = field(default_factory=list[tuple["Hands", str]])
    wrong: list[str] = field(default_factory=list[str])
    lock: Any = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._fates = {f"{ID}/{key}": list(fates) for key, fates in self.scenario.fates}
        self._falls = dict(self.scenario.falls)

    def fate(self, key: str) -> Fate:
        """How this call ends; who has had the effect already does not refuse it, and who has refused it does again."""
        if key in self.refused:
            return "refused"
        left = self._fates.get(key, [])
        fate = left.pop(0) if left else "ok"
        return "ok" if fate == "refused" and key in self.kept else fate

    def fall(self) -> Fall | None:
        """One point more; whether the process that is there goes."""
        self.points += 1
        self.reached(self.points)
        return self._falls.pop(self.points, None)

    def settle(self, key: str) -> None:
        """An effect."""
        does = key.removesuffix("/undo")
        if does != key:
            self.kept.discard(does)
            self.closed.add(does)
        elif key not in self.closed:
            self.kept.add(key)

    def refuse(self, key: str) -> None:
        """A refusal holds, unless the step is asked for until it is granted."""
        number = key.removeprefix(f"{ID}/s")
        if number.isdecimal() and self.scenario.parts[int(number)].kind != "retriable":
            self.refused.add(key)

    def must(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.wrong.append(otherwise)

    def look(self, hands: "Hands", key: str) -> None:
        """What must hold when a call begins, by what is durable at that moment."""
        self.must(
            self.plain or not hands.told,  # a thread may have been begun a moment before
            f"{key} began in process {hands.number}, which had been told that it is the owner no more",
        )
        if hands.fallen is not None:
            return
        others = [key for other, key in self.at_work if other is not hands and other.fallen is None]
        self.must(not others, f"{key} began in process {hands.number} while {others} were under way in another (I5)")
        self.must([hands, key] not in [list(one) for one in self.at_work], f"{key} is under way twice")
        records = self.records()
        turn = next((one for one in records if isinstance(one, Turn)), None)
        name = key.split("/")[1]
        if key.endswith("/undo"):
            self.must(turn is not None, f"{key} began before the decision to go back was durable")
            parked = {one.step for one in records if isinstance(one, Parked)}
            later = {f"{ID}/{other}" for other in self.plan.descendants[name] if self.plan.by_name[other].undoes}
            left = {one for one in later & self.kept if one.split("/")[1] not in parked}
            self.must(not left, f"{key} began while {sorted(left)}, which came after it, still stood (I3)")
        else:
            ran = any(isinstance(one, Result) and one.step == name for one in records)
            self.must(not ran, f"{key} began again, with its result in the journal (I4)")
            self.must(turn is None or name in turn.begun, f"{key} began after the saga had turned (I2)")


class Hands:
    """Those of one process.

    Attributes:
        number: The process, counted from 1.
        fallen: How the process went.
        told: Whether it has tried to write since, and was told that it owns nothing any more.
    """

    def __init__(self, world: World, number: int, fell: Callable[["Hands"], None]) -> None:
        self.number = number
        self.fallen: Fall | None = None
        self.told = False
        self._world = world
        self._fell = fell

    def point(self) -> bool:
        """Here the process may go; whether it still is."""
        with self._world.lock:
            if self.fallen is None:
                fall = self._world.fall()
                if fall != "leaves":
                    self.fallen = fall
                if fall is not None:
                    self._fell(self)
            return self.fallen != "killed"

    async def act(self, key: str) -> str:
        """Make a call."""
        with self._at(key):
            await self._pass()
            fate = self._effect(key)
            await self._pass()
            return self._answer(key, fate)

    def act_plainly(self, key: str) -> str:
        """The same in a thread."""
        with self._at(key):
            clock.sleep(self._world.scenario.lasts / 2)
            fate = self._effect(key)
            clock.sleep(self._world.scenario.lasts / 2)
            return self._answer(key, fate)

    async def _pass(self) -> None:
        await clock.asleep(self._world.scenario.lasts / 2)

    @contextmanager
    def _at(self, key: str) -> Any:
        self._alive()
        with self._world.lock:
            self._world.look(self, key)
            self._world.at_work.append((self, key))
        try:
            yield
        finally:
            with self._world.lock:
                self._world.at_work.remove((self, key))

    def _alive(self) -> None:
        if not self.point():
            raise PowerCut

    def _effect(self, key: str) -> Fate:
        self._alive()
        with self._world.lock:
            fate = self._world.fate(key)
            if fate == "refused":
                self._world.refuse(key)
                raise NoEffect(f"{key} is refused")
            if fate == "dropped":
                raise ConnectionError(f"{key} is dropped")
            self._world.settle(key)
        return fate

    def _answer(self, key: str, fate: Fate) -> str:
        self._alive()
        if fate == "lost":
            raise ConnectionError(f"{key} is lost")
        return key


class Process(MemoryJournal):
    """A process's journal; before and after each commit the process may go."""

    hands: Hands | None = None

    def other(self, hands: Hands | None) -> "Process":
        """The same journal, as another process would have opened it."""
        other = Process()
        other._begin(self._store)
        other.hands = hands
        return other

    def start(self, id: str, saga: str, body: bytes) -> Pending[Opened]:  # noqa: A002
        return self._at_a_point(lambda: super(Process, self).start(id, saga, body))

    def append(self, id: str, *written: Any, **heard: Any) -> Pending[None]:  # noqa: A002
        if self.hands is not None:
            self.hands.told = not self.alive
        return self._at_a_point(lambda: super(Process, self).append(id, *written, **heard))

    def _at_a_point(self, work: Callable[[], Pending[Any]]) -> Pending[Any]:
        if self.hands is None:
            return work()
        self.hands.point()
        answer = work()
        return answer if self.hands.point() else refused(LostOwnership("", ID, "it was killed"))


# A play.


class Play:
    """One scenario, acted out.

    Args:
        scenario: What happens.
        plain: Whether it is a saga of plain functions, in threads.
    """

    def __init__(self, scenario: Scenario, *, plain: bool = False) -> None:
        self.scenario = scenario
        self.plain = plain
        self.kind = saga_of(scenario.parts, plain=plain)
        self.plan = blueprint_of(self.kind).plan
        self.file = Process()
        self.world = World(scenario, self.plan, self.records, self._reached, plain)
        self.told: list[BaseException | str] = []
        self.sent: list[float] = []
        self.agreed = False
        self._asked: dict[tuple[int, str], float] = {}
        self._resumed = False
        self._workers: dict[Hands, tuple[Process, Any]] = {}
        self._moments: dict[int, list[Any]] = {}

    def records(self) -> list[Record]:
        """What is durable."""
        return [read(row.body) for row in self.file.read(ID).wait() or []]

    def progress(self) -> Progress:
        """Where the saga stands."""
        rows = self.file.read(ID).wait() or []
        return fold(self.plan, [(row.at, read(row.body)) for row in rows])

    def status(self) -> str | None:
        """What the journal says of it."""
        found = self.file.find(ID).wait()
        return None if found is None else found.status

    def _reached(self, point: int) -> None:
        for event in self._moments.pop(point, ()):
            event.set()

    def _hire(self, ended: Callable[[], Any]) -> tuple[Hands, Process]:
        """A new process; `ended()` makes the event that tells of its end."""
        over = ended()
        hands = Hands(self.world, len(self._workers) + 1, self._fell)
        journal = self.file.other(hands)
        self._workers[hands] = journal, over
        return hands, journal

    def _fell(self, hands: Hands) -> None:
        journal, over = self._workers[hands]
        if hands.fallen is not None:
            journal.die()
        over.set()

    # On an event loop

    def on(self, backend: str) -> "Play":
        """Act it out on an event loop."""
        with sandbox():
            self._began = clock.now()
            anyio.run(self._main, backend=backend)
        return self

    async def _main(self) -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(self.scenario.workers):
                tasks.start_soon(self._work, not number)
            for point in self.scenario.letters:
                tasks.start_soon(self._at, point, self._send)
            tasks.start_soon(self._at, self.scenario.cancel, self._cancel)
            tasks.start_soon(self._at, self.scenario.hold, self._hold)
            await self._end()
            tasks.cancel_scope.cancel()

    async def _work(self, calls: bool) -> None:
        """One place for a process: when it goes, another one comes."""
        while True:
            hands, journal = self._hire(anyio.Event)
            over = self._workers[hands][1]
            saga = self.kind(hands)  # type: ignore[call-arg] # the class is made at run time
            async with anyio.create_task_group() as tasks, SagaRunner(journal, saga):
                if calls:
                    tasks.start_soon(self._call, saga, journal)
                await over.wait()
                tasks.cancel_scope.cancel()
            await clock.asleep(0.05)

    async def _call(self, saga: Any, journal: Process) -> None:
        """The caller, who asks again in each process that comes."""
        try:
            if self.scenario.door == "start":
                await (await saga.start("order", id=ID, journal=journal)).result()
            else:
                with anyio.CancelScope() as scope:
                    if self.scenario.give_up is not None:
                        self._moments.setdefault(self.scenario.give_up, []).append(_Canceller(scope))
                    await saga.run("order", id=ID, journal=journal)
                if scope.cancelled_caught:
                    return
        except SagaError as error:
            self.told.append(error)
        else:
            self.told.append("result")

    async def _at(self, point: int | None, act: Callable[[], Any]) -> None:
        if point is None:
            return
        event = anyio.Event()
        self._moments.setdefault(point, []).append(event)
        with anyio.CancelScope() as waiting:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._late, event)
                await event.wait()
                tasks.cancel_scope.cancel()
        del waiting
        while self.status() is None:
            await clock.asleep(0.1)
        try:
            await act()
        except SagaError:
            pass

    async def _late(self, event: anyio.Event) -> None:
        await clock.asleep(20.0)
        event.set()

    async def _send(self) -> None:
        await self.file.send(ID, self._topic(), b'"yes"', "ann")
        self.sent.append(clock.wall())

    def _topic(self) -> str:
        return next(f"s{number}" for number, part in enumerate(self.scenario.parts) if part.kind == "message")

    async def _cancel(self) -> None:
        await self.kind.handle(ID, journal=self.file).cancel("drawn")
        self.agreed = True

    async def _hold(self) -> None:
        await self.file.send(ID, "control", write_request("pause"), "ann")
        await clock.asleep(10.0)
        await self.file.send(ID, "control", write_request("resume"), "ann")

    async def _end(self) -> None:
        """Wait for the end; an operator has what is stuck tried again, and asks once."""
        while not self._is_over():
            await clock.asleep(0.5)

    def _is_over(self) -> bool:
        if clock.now() - self._began > (TOO_LONG_IN_THREADS if self.plain else TOO_LONG):
            raise AssertionError(f"it has not ended: {self.records()}")
        status = self.status()
        if status == "stuck" and self._is_answered():
            with suppress(SagaError):  # in threads it may have ended since
                self.file.send(ID, "control", write_request("retry"), "ops").wait()
        return status in {"completed", "undone", "repaired"} and not self.world.at_work

    def _is_answered(self) -> bool:
        """Whether every request has been heard: none may be lost, whoever dies with it in hand."""
        heard = {one.row for one in self.records() if isinstance(one, Asked)}
        return all(letter.row in heard for letter in self.file.letters(ID).wait() if letter.topic == "control")

    # In threads

    def in_threads(self) -> "Play":
        """Act it out in plain code; this thread is the caller, and whoever else asks for something."""
        with sandbox(), ExitStack() as leaving:
            self._began = clock.now()
            runners = [leaving.enter_context(ExitStack()) for _ in range(self.scenario.workers)]
            posts = {runner: self._replace(runner) for runner in runners}
            while not self._is_over():
                for runner, hands in posts.items():
                    if self._workers[hands][1].is_set():
                        runner.close()
                        posts[runner] = self._replace(runner)
                self._ask_plainly()
                self._begin_plainly(posts[runners[0]])
                clock.sleep(0.05)
        return self

    def _replace(self, runner: ExitStack) -> Hands:
        hands, journal = self._hire(threading.Event)
        runner.enter_context(SagaRunner(journal, self.kind(hands)))  # type: ignore[call-arg] # made at run time
        return hands

    def _begin_plainly(self, hands: Hands) -> None:
        if self.status() is None:
            with suppress(SagaError):
                self.kind(hands).start_sync("order", id=ID, journal=self._workers[hands][0])  # type: ignore[call-arg] # see above

    def _ask_plainly(self) -> None:
        """Whatever is due is asked for, once the saga is there."""
        scenario = self.scenario
        due = [(point, "cancel") for point in (scenario.cancel,)] + [(scenario.hold, "pause")]
        for point, verb in [*due, *((point, "send") for point in scenario.letters)]:
            late = clock.now() - self._began > 20.0
            if point is None or (point, verb) in self._asked or self.status() is None:
                continue
            if late or self.world.points >= point:
                self._asked[point, verb] = clock.now()
                with suppress(SagaError):
                    self._post(verb)
        for (_, verb), at in list(self._asked.items()):
            if verb == "pause" and clock.now() >= at + 10.0 and not self._resumed:
                self._resumed = True
                with suppress(SagaError):
                    self._post("resume")

    def _post(self, verb: Any) -> None:
        if verb == "send":
            self.file.send(ID, self._topic(), b'"yes"', "ann").wait()
            self.sent.append(clock.wall())
        else:
            self.file.send(ID, "control", write_request(verb), "ann").wait()

    # What must hold

    def settled(self) -> "Play":
        """What must hold once it is over."""
        assert not self.world.wrong, "\n".join(self.world.wrong)
        records, progress = self.records(), self.progress()
        assert [one for one in records if isinstance(one, End)] == [records[-1]], (
            "END was not written once and last (I6)"
        )
        assert progress.ended == self.status(), "the journal's word for it is not the fold's (I6)"
        results = [one.step for one in records if isinstance(one, Result)]
        assert len(results) == len(set(results)), "a step has two results (I4)"
        self._effects(progress)
        self._requests(records)
        self._letters(progress)
        self._cause(progress)
        return self

    def _effects(self, progress: Progress) -> None:
        undoable = {f"{ID}/{node.name}" for node in self.plan.nodes if node.undoes}
        if progress.ended == "completed":
            effects = {
                f"{ID}/s{i}" for i, part in enumerate(self.scenario.parts) if part.kind not in {"message", "pause"}
            }
            assert self.world.kept == effects, f"it has completed, and only {self.world.kept} are there (I1)"
        else:
            assert progress.ended == "undone"
            assert not self.world.kept & undoable, f"it is undone, and {self.world.kept & undoable} still stand (I1)"
            pivot = self.plan.pivot
            assert pivot is None or not progress.succeeded(pivot), "it is undone, though past the point of no return"

    def _requests(self, records: list[Record]) -> None:
        cancels = [
            i for i, one in enumerate(records) if isinstance(one, Asked) and (one.verb, one.refused) == ("cancel", None)
        ]
        assert not self.agreed or cancels, "a cancel was agreed to, and is not in the journal"
        turned = any(isinstance(one, Turn) for one in records)
        for i in cancels:
            decided = any(isinstance(one, Result) and one.step == self.plan.pivot for one in records[i:])
            assert turned or decided, "a cancel was agreed to, and did not turn the saga"
        rows = [one.row for one in records if isinstance(one, Asked) and one.row]
        assert len(rows) == len(set(rows)), "a request was heard twice"

    def _letters(self, progress: Progress) -> None:
        for number, part in enumerate(self.scenario.parts):
            result = progress.results.get(f"s{number}") if part.kind == "message" else None
            if result is not None and result.outcome == "ok":
                assert self.sent, "a message came that nobody has sent"
            elif result is not None and progress.turn is not None and progress.turn.step == f"s{number}":
                in_time = min(self.sent, default=TOO_LONG * 1e9) < progress.moment(f"s{number}") - 0.2
                assert not in_time, "a message was sent in time, and is lost"

    def _cause(self, progress: Progress) -> None:
        for one in self.told:
            if isinstance(one, SagaFailed) and progress.turn is not None and progress.turn.error is not None:
                assert progress.turn.error.message in str(one.cause), (
                    f"the first cause is lost, its caller got {one!r} (I8)"
                )
            if one == "result":
                assert progress.ended == "completed", "its caller got a result, and it has not completed"


class _Canceller:
    """Cancels the caller, as an event is set."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        self._scope = scope

    def set(self) -> None:
        self._scope.cancel()
