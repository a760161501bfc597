"""The laws of the adaptive throttle: counted when asked for, never all refused, the least important first."""

import random
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resilience import AdaptiveThrottle, CircuitBreaker, Pipeline, Throttled, priority
from resilience._clock import clock
from resilience._core.throttle import LEVELS, PARTS, Throttle
from resilience.errors import BulkheadFull, CircuitOpen
from resilience.testing import sandbox
from tests.crowd import beside
from tests.doors import DOORS

every_door = pytest.mark.parametrize("door", DOORS)
every_backend = pytest.mark.parametrize("backend", ["asyncio", "trio"])

WINDOW = 10.0


@dataclass
class Asked:
    """A call in the model: a row in a list, never removed."""

    since: float
    level: int
    accepted: bool
    counts: bool = True


@dataclass
class Model:
    """All that was ever asked, looked through each time."""

    k: float
    minimum: int
    most: float
    rows: list[Asked] = field(default_factory=list[Asked])
    latest: float = -1e9

    def live(self, now: float) -> list[Asked]:
        return [row for row in self.rows if row.counts and now - row.since < WINDOW]

    def refusing(self, now: float) -> float:
        live = self.live(now)
        asked, accepted = len(live), sum(row.accepted for row in live)
        return 0.0 if asked < self.minimum else min(self.most, max(0.0, (asked - self.k * accepted) / (asked + 1)))

    def ask(self, level: int, roll: float, now: float) -> Asked:
        refusing = self.refusing(now)
        if now - self.latest >= WINDOW / PARTS:
            self.latest = now
        row = Asked(self.latest, level, accepted=True)
        self.rows.append(row)
        live = self.live(now)
        below = sum(one.level < level for one in live)
        same = sum(one.level == level for one in live)
        row.accepted = not (refusing > 0 and (below + roll * same) / len(live) < refusing)
        return row


class Counting(RuleBasedStateMachine):
    """The machine beside the model."""

    def __init__(self) -> None:
        super().__init__()
        self.machine, self.model = Throttle(2.0, WINDOW, 4, 0.9), Model(2.0, 4, 0.9)
        self.now = 100.0
        self.open: list[tuple[Any, Asked]] = []

    @rule(level=st.integers(0, LEVELS - 1), roll=st.floats(0, 1, exclude_max=True), times=st.integers(1, 5))
    def ask(self, level: int, roll: float, times: int) -> None:
        for _ in range(times):
            part, row = self.machine.ask(level, lambda: roll, self.now), self.model.ask(level, roll, self.now)
            assert (part is not None) == row.accepted
            if part is not None:
                self.open.append((part, row))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        part, row = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.machine.fail(part)
        row.accepted = False

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def retract(self, data: st.DataObject) -> None:
        part, row = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.machine.retract(part, row.level)
        row.counts = False

    @rule(seconds=st.sampled_from([0.1, 0.5, 3.0, 9.5, 10.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def they_agree(self) -> None:
        live = self.model.live(self.now)
        assert self.machine.asked(self.now) == len(live)
        assert self.machine.accepted == sum(row.accepted for row in live)
        assert self.machine.refusing(self.now) == pytest.approx(self.model.refusing(self.now))


TestCounting = pytest.mark.law(13, 24, 35)(Counting.TestCase)
TestCounting.settings = settings(stateful_step_count=40)


def failing() -> None:
    raise ConnectionError


def drive(throttle: AdaptiveThrottle, work: Callable[[], object], times: int) -> int:
    """How many of so many calls are let in."""
    let_in = 0
    for _ in range(times):
        try:
            throttle.call(work)
        except Throttled:
            continue
        except ConnectionError:
            pass
        let_in += 1
    return let_in


@pytest.mark.law(36)
@pytest.mark.parametrize("most", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("seed", range(3))
def test_it_never_refuses_everything_and_finds_out_that_all_is_well(seed: int, most: float) -> None:
    throttle = AdaptiveThrottle(window=2, most=most)
    with sandbox(seed=seed) as time:
        drive(throttle, failing, 500)
        assert throttle.stats.refusing == most
        assert drive(throttle, failing, 1_000) == pytest.approx(1_000 * (1 - most), rel=0.7, abs=15)
        windows = 0
        while throttle.stats.refusing:  # well again: what gets through finds it out, and doubles with each window
            drive(throttle, lambda: None, 300)
            time.advance(1)
            windows += 1
            assert windows < 30
        assert drive(throttle, lambda: None, 100) == 100


@pytest.mark.law(36)
@pytest.mark.parametrize("accepts", [10, 30, 80])
@pytest.mark.parametrize("k", [1.1, 2.0])
def test_it_sends_k_times_what_is_accepted(accepts: int, k: float) -> None:
    """A service that takes so many a second, asked for a hundred: what it gets settles at `k` times that."""
    throttle = AdaptiveThrottle(k=k, window=5)
    sent: list[int] = []
    with sandbox(seed=7) as time:
        for _ in range(40):
            room = count(1)

            def serve(room: "count[int]" = room) -> None:
                if next(room) > accepts:
                    raise ConnectionError

            sent.append(drive(throttle, serve, 100))
            time.advance(1)
    assert sum(sent[20:]) / 20 == pytest.approx(min(100.0, k * accepts), rel=0.25)


@pytest.mark.law(36)
@pytest.mark.parametrize(
    "shares", [(0, 0, 4, 0, 0), (1, 1, 1, 1, 1), (4, 0, 1, 0, 2), (1, 4, 0, 4, 0), (3, 1, 3, 0, 1)]
)
def test_the_least_important_go_first_and_a_part_of_a_priority_can_be_shed(shares: tuple[int, ...]) -> None:
    machine, chance = Throttle(2.0, 1e9, 10, 0.9), random.Random(11)
    levels = [level for level, share in enumerate(shares) for _ in range(share)]
    asked, refused = [0] * LEVELS, [0] * LEVELS
    for number in range(4_000):
        level = levels[number % len(levels)]
        part = machine.ask(level, chance.random, 0.0)
        if number > 2_000:
            asked[level] += 1
            refused[level] += part is None
        if part is not None and chance.random() < 0.7:
            machine.fail(part)
    overall, below = sum(refused) / sum(asked), 0.0
    assert overall == pytest.approx(machine.refusing(0.0), abs=0.06)
    for level in range(LEVELS):  # what is refused is the lower end of the line
        if asked[level]:
            share = asked[level] / sum(asked)
            expected = min(1.0, max(0.0, (overall - below) / share))
            assert refused[level] / asked[level] == pytest.approx(expected, abs=0.15)
            below += share


@pytest.mark.law(35)
@every_backend
def test_a_call_counts_when_it_asks_and_what_is_under_way_says_nothing_against_the_service(backend: str) -> None:
    throttle = AdaptiveThrottle(window=60)

    async def slow() -> None:
        await clock.asleep(30)

    async def scene() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(200):  # at once, and none has answered yet: all are let in
                tasks.start_soon(throttle.acall, slow)
            await clock.asleep(1)
            assert (throttle.stats.asked, throttle.stats.refusing) == (200, 0.0)

    with sandbox():
        anyio.run(scene, backend=backend)
        assert (throttle.stats.asked, throttle.stats.accepted, throttle.stats.refused) == (200, 200, 0)


@pytest.mark.law(13)
def test_what_ends_after_its_window_changes_nothing() -> None:
    throttle = AdaptiveThrottle(window=10)
    with sandbox() as time:
        late = [throttle.admit() for _ in range(20)]
        time.advance(10)
        for lease in late:
            lease.fail()
        for _ in range(20):
            throttle.admit()
        assert throttle.stats == type(throttle.stats)(20, 20, 0.0, 0)
        time.advance(10)
        assert throttle.stats.asked == 0


@pytest.mark.law(13)
def test_what_has_left_the_window_refuses_nobody_though_the_newest_part_is_not_full() -> None:
    machine = Throttle(1.0, 10.0, 2, 0.9)
    for part in [machine.ask(2, lambda: 0.99, 0.0) for _ in range(10)]:
        assert part is not None
        machine.fail(part)
    assert machine.ask(2, lambda: 0.99, 9.6) is not None
    assert machine.ask(2, lambda: 0.0, 10.05) is not None, "the ten are too old by now"


@pytest.mark.law(17)
@every_door
@pytest.mark.parametrize("error", [CircuitOpen("inner"), BulkheadFull("inner"), KeyError(), KeyboardInterrupt()])
def test_refusals_within_what_is_ignored_and_what_is_cancelled_are_no_evidence(door: Any, error: BaseException) -> None:
    throttle = AdaptiveThrottle(ignore=KeyError)

    def work() -> None:
        raise error

    with sandbox():
        for _ in range(30):
            with pytest.raises(type(error)):
                door(throttle, work)
        assert (throttle.stats.asked, throttle.stats.accepted) == (0, 0)


@pytest.mark.law(17)
def test_a_refusal_that_is_named_is_evidence() -> None:
    throttle = AdaptiveThrottle(on=(ConnectionError, CircuitOpen))
    guarded = Pipeline(throttle, inner := CircuitBreaker("inside"))(failing)
    inner.isolate()
    with sandbox():
        inner.isolate()
        for _ in range(10):
            with pytest.raises(CircuitOpen):
                guarded()
        assert (throttle.stats.asked, throttle.stats.accepted) == (10, 0)


@every_door
def test_a_failure_counts_through_every_door(door: Any) -> None:
    throttle = AdaptiveThrottle()
    with sandbox():
        for _ in range(9):
            with pytest.raises(ConnectionError):
                door(throttle, failing)
        door(throttle, lambda: None)
        assert (throttle.stats.asked, throttle.stats.accepted) == (10, 1)
        with suppress(Throttled):  # 8 of 11 are refused now; in a hundred calls one is
            for _ in range(100):
                door(throttle, lambda: None)
        assert throttle.stats.refused == 1


@pytest.mark.law(9, 32)
@pytest.mark.parametrize("what", ["on", "ignore", "on_result"])
def test_a_question_that_raises_ends_the_call_and_teaches_nothing(what: str) -> None:
    def question(_: object) -> bool:
        raise LookupError

    options: dict[str, Any] = {what: question}
    throttle = AdaptiveThrottle(**options)
    work = (lambda: None) if what == "on_result" else failing
    with sandbox():
        for _ in range(30):
            with pytest.raises(LookupError):
                throttle.call(work)
        assert throttle.stats.asked == 0


def test_a_result_may_be_a_failure() -> None:
    throttle = AdaptiveThrottle(on=(), on_result=lambda answer: answer == 503)
    with sandbox():
        for answer in (503, 200, 503):
            assert throttle.call(lambda answer=answer: answer) == answer  # type: ignore[misc]
        with pytest.raises(ConnectionError):
            throttle.call(failing)
        assert (throttle.stats.asked, throttle.stats.accepted) == (3, 1)


@pytest.mark.law(24)
def test_counts_are_exact_under_threads() -> None:
    throttle = AdaptiveThrottle(k=1e9)

    def work() -> None:
        for number in range(500):
            with suppress(ConnectionError):
                throttle.call(failing if number % 5 == 0 else (lambda: None))

    with sandbox():
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            with beside(*[work] * 4):
                pass
        finally:
            sys.setswitchinterval(before)
        assert (throttle.stats.asked, throttle.stats.accepted) == (2_000, 1_600)


@every_backend
def test_a_priority_reaches_what_runs_inside(backend: str) -> None:
    throttle = AdaptiveThrottle(minimum=1)

    async def use(level: Any) -> bool:
        with priority(level):
            try:
                await throttle.acall(anyio.sleep, 0)
            except Throttled as error:
                assert f"of {level} priority" in str(error)
                return False
            return True

    async def scene() -> list[bool]:
        for lease in [throttle.admit() for _ in range(30)]:
            lease.fail()
        for _ in range(30):
            await use("low")
        return [await use("critical") for _ in range(5)]

    with sandbox(seed=3):
        assert anyio.run(scene, backend=backend) == [True] * 5
        assert throttle.stats.refused > 20
