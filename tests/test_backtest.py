"""Driving recorded traffic through a changed pipeline: what a replay does, says, and leaves alone."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Self

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import resilience
from resilience import (
    Bulkhead,
    CircuitBreaker,
    FailureRate,
    Keyed,
    Pipeline,
    RateLimiter,
    TimedOut,
    fallback,
    listen,
    record,
    retry,
    timeout,
)
from resilience._backtest import NoReplay, backtest
from resilience._clock import clock
from resilience._core.replay import NEAR, NEIGHBOURS, Attempt, Call, Ended, Latency, Traffic, compare, latency
from resilience._traffic_file import read
from resilience.cli import main
from resilience.http import unhealthy
from resilience.testing import sandbox

BEGAN = 1_800_000_000.0


def attempt(at: float, took: float = 0.1, outcome: str = "success", error: str | None = None, **more: Any) -> Attempt:
    return Attempt(BEGAN + at, took, outcome, error, **more)


def call(at: float, took: float = 0.1, outcome: str = "success", error: str | None = None, **more: Any) -> Call:
    """A call of one attempt, or of none if it was refused."""
    made = () if outcome == "rejected" else (attempt(at, took, outcome, error, **more),)
    return Call(BEGAN + at, "payments", took, outcome, error, more.get("status"), made)


def bad(at: float, took: float = 0.1, error: str = "ConnectionError") -> Call:
    return call(at, took, "error", error)


def shop(**names: object) -> Any:
    """A module of an application's."""
    module = ModuleType("shop_of_a_test")
    vars(module).update(names)
    return module


# What a replay does


Script = list[tuple[float, float, str]]

_STEPS = st.tuples(
    st.floats(0.001, 3).map(lambda at: round(at, 3) + 0.000_137),
    st.floats(0.001, 4).map(lambda took: round(took, 3) + 0.000_041),
    st.sampled_from(["good", "good", "bad"]),
)


def _retrying() -> Pipeline:
    return Pipeline(
        timeout(6.3),
        retry(on=(ConnectionError, TimedOut), wait=0.31, budget=None),
        CircuitBreaker(trip=2, cooldown=4.7, jitter=0, on=(ConnectionError, TimedOut)),
        timeout(2.9),
    )


_PIPELINES: list[Callable[[], Pipeline]] = [
    Pipeline,
    lambda: Pipeline(CircuitBreaker(trip=2, cooldown=3.3, jitter=0)),
    lambda: Pipeline(CircuitBreaker(trip=FailureRate(0.5, calls=4, minimum=2), cooldown=3.3, jitter=0), timeout(1.7)),
    lambda: Pipeline(Bulkhead(1, max_wait=0.7), timeout(2.2)),
    lambda: Pipeline(RateLimiter(1, max_wait=0.6)),
    _retrying,
]


async def _recorded(path: Path, made: Pipeline, script: Script) -> None:
    async def one(took: float, kind: str) -> None:
        async def service() -> None:
            await clock.asleep(took)
            if kind == "bad":
                raise ConnectionError

        with contextlib.suppress(Exception):
            await guarded.acall(service)

    with record(path) as traffic:
        guarded = traffic.around(made, name="payments")
        async with anyio.create_task_group() as tasks:
            for wait, took, kind in script:
                await clock.asleep(wait)
                tasks.start_soon(one, took, kind)


@given(script=st.lists(_STEPS, min_size=1, max_size=14), which=st.sampled_from(range(len(_PIPELINES))))
def test_an_unchanged_pipeline_does_what_it_did(
    script: Script, which: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("traffic") / "traffic.jsonl"
    with sandbox():
        anyio.run(_recorded, path, _PIPELINES[which](), script)
    calls, turns, _ = read(path)
    found = backtest(calls, turns, _PIPELINES[which]())
    assert [one.outcome for one in found.after] == [one.outcome for one in found.before]
    assert [one.attempts for one in found.after] == [one.attempts for one in found.before]
    assert [one.took for one in found.after] == pytest.approx([one.took for one in found.before], abs=1e-4)
    assert [turn.state for turn in found.turns_after] == [turn.state for turn in found.turns_before]
    assert [turn.at for turn in found.turns_after] == pytest.approx([turn.at for turn in found.turns_before], abs=1e-3)
    assert (found.guesses, found.cut) == (0, 0)


def test_a_breaker_spares_doomed_calls_and_loses_good_ones() -> None:
    calls = [call(0), bad(1, 5), bad(2, 5), bad(8, 5), bad(9, 5), call(11), call(20)]
    found = backtest(calls, [], CircuitBreaker("stock", trip=2, cooldown=10, jitter=0))
    outcomes = ["success", "error", "error", "rejected", "rejected", "rejected", "success"]
    assert [one.outcome for one in found.after] == outcomes
    one = found.comparison
    assert (one.spared, one.lost, one.harmed, one.rescued) == (2, 1, 0, 0)
    assert one.spared_seconds == pytest.approx(10)
    assert [(round(turn.at - BEGAN, 3), turn.state) for turn in found.turns_after] == [
        (7, "open"),
        (20, "half_open"),
        (20.1, "closed"),
    ]
    assert {turn.breaker for turn in found.turns_after} == {"stock"}
    assert (one.before.attempts, one.after.attempts) == (7, 4)


def test_a_retry_rescues_with_outcomes_of_neighbours_which_are_guesses() -> None:
    calls = [call(0), bad(1), call(2), call(3)]
    found = backtest(calls, [], retry(on=ConnectionError, wait=2))
    assert found.comparison.after.attempts == 5 + (found.after[1].attempts - 2)
    assert found.guesses == found.after[1].attempts - 1
    assert found.after[1].took > 2


def test_a_shorter_timeout_harms_and_a_longer_one_knows_no_more() -> None:
    slow = call(0, 3)
    cut = Call(BEGAN + 5, "payments", 2, "timeout", "resilience.errors.TimedOut", None, (attempt(5, 2, "cancelled"),))
    shorter, longer = (backtest([slow, cut], [], timeout(limit)) for limit in (1, 60))
    assert [(one.outcome, one.took) for one in shorter.after] == [("timeout", 1.0), ("timeout", 1.0)]
    assert shorter.comparison.harmed == 1
    assert [one.outcome for one in longer.after] == ["success", "timeout"]
    assert longer.after[1].took == pytest.approx(2, abs=0.02)
    assert (shorter.cut, longer.cut) == (0, 1)


def test_a_limit_that_is_the_same_cuts_off_as_it_did() -> None:
    """What an outer timeout cuts off is no evidence for the breaker inside, then as now."""
    made = (attempt(0, 0.999_999, "cancelled"),)
    cut = Call(BEGAN, "payments", 1, "timeout", "resilience.errors.TimedOut", None, made)
    found = backtest([cut], [], Pipeline(timeout(1), CircuitBreaker(trip=1)))
    assert ([one.outcome for one in found.after], found.turns_after, found.cut) == (["timeout"], [], 0)


def test_what_a_caller_took_back_is_taken_back_again() -> None:
    left = Call(BEGAN, "payments", 3, "cancelled", None, None, (attempt(0, 3, "cancelled"),))
    found = backtest([left, call(1)], [], CircuitBreaker(trip=1))
    assert [one.outcome for one in found.after] == ["cancelled", "success"]
    assert found.after[0].took == 3
    assert not found.turns_after


def test_calls_wait_for_each_other_as_they_would() -> None:
    calls = [call(0, 10), call(1, 10), call(2, 10)]
    waits = backtest(calls, [], Bulkhead(1, max_wait=None, queue=5))
    assert [one.took for one in waits.after] == pytest.approx([10, 19, 28])
    refuses = backtest(calls, [], Bulkhead(1))
    assert [one.outcome for one in refuses.after] == ["success", "rejected", "rejected"]
    assert refuses.comparison.lost == 2


def test_a_refused_call_that_is_let_in_meets_what_its_neighbours_met() -> None:
    calls = [*(bad(at) for at in range(5)), call(5, 0.0, "rejected", "resilience.errors.CircuitOpen")]
    found = backtest(calls, [], Pipeline())
    assert found.after[-1].outcome == "error"
    assert (found.guesses, found.comparison.before.refused, found.comparison.after.refused) == (1, 1, 0)


@pytest.mark.parametrize("status", [503, 200])
def test_an_http_status_is_met_again(status: int) -> None:
    returned = [call(at, status=status) for at in range(3)]
    raised = [call(at, 0.1, "error", "ValueError", status=status) for at in range(3)]
    for calls, options in (returned, {"on_result": unhealthy}), (raised, {"on": unhealthy}):
        found = backtest(calls, [], CircuitBreaker(**{"trip": 2, "on": (), **options}))
        assert [turn.state for turn in found.turns_after] == (["open"] if status == 503 else [])
    assert backtest(returned, [], Pipeline()).comparison.before.failed == (3 if status == 503 else 0)


def test_the_same_seed_gives_the_same_answer() -> None:
    calls = [bad(at) if at % 3 else call(at) for at in range(60)]
    made = lambda: Pipeline(retry(on=ConnectionError), CircuitBreaker(trip=3, cooldown=2))  # noqa: E731
    first, again, other = (backtest(calls, [], made(), seed=seed) for seed in (1, 1, 2))
    assert first.after == again.after
    assert [turn.at for turn in first.turns_after] == [turn.at for turn in again.turns_after]
    assert first.after != other.after


# What it leaves alone


def test_nobody_hears_of_a_replay_and_every_policy_is_as_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[object] = []
    breaker = CircuitBreaker(trip=1)
    path = tmp_path / "traffic.jsonl"
    with listen(heard.append), record(path) as traffic:
        recorded = traffic.around(breaker, name="payments")
        breaker.isolate()
        heard.clear()
        caplog.clear()
        traffic.flush()
        size = path.stat().st_size
        found = backtest([bad(0), bad(1)], [], recorded)
        traffic.flush()
        assert [turn.state for turn in found.turns_after] == ["open"]
        assert (heard, caplog.text, breaker.state, path.stat().st_size) == ([], "", "isolated", size)
        breaker.reset()
        assert len(heard) == 1


def test_no_module_is_imported_for_an_error_that_a_recording_names(tmp_path: Path) -> None:
    (tmp_path / "nasty_module_of_a_test.py").write_text("raise SystemExit('it was imported')\n")
    sys.path.insert(0, str(tmp_path))
    try:
        found = backtest([bad(0, error="nasty_module_of_a_test.Boom")], [], CircuitBreaker(trip=1))
    finally:
        sys.path.remove(str(tmp_path))
    assert "nasty_module_of_a_test" not in sys.modules
    (note,) = found.notes
    assert note.startswith("no module that is loaded has nasty_module_of_a_test.Boom: such errors were replayed as")
    assert [turn.state for turn in found.turns_after] == ["open"]


class Demanding(Exception):
    def __init__(self, *, code: int) -> None:
        self.code = code


class Unmakeable(Exception):
    def __new__(cls, *, code: int) -> Self:
        return super().__new__(cls)


def test_an_error_is_made_without_what_was_in_it() -> None:
    name = f"{__name__}.Demanding"
    sys.modules.setdefault(__name__, shop(Demanding=Demanding, Unmakeable=Unmakeable))
    found = backtest([bad(0, error=name)], [], CircuitBreaker(trip=1, on=Demanding))
    assert ([turn.state for turn in found.turns_after], found.notes) == (["open"], [])
    found = backtest([bad(0, error=f"{__name__}.Unmakeable")], [], CircuitBreaker(trip=1, on=Demanding))
    assert (found.turns_after, len(found.notes)) == ([], 1)


@pytest.mark.parametrize(
    "name", ["print", "os.path", "KeyboardInterrupt", "builtins", "no.such", "os.environ.get", "", ".", "a..b"]
)
def test_what_is_no_class_of_exceptions_is_none(name: str) -> None:
    found = backtest([bad(0, error=name)], [], Pipeline())
    assert len(found.notes) == 1


def test_a_pipeline_that_asks_for_arguments_cannot_be_replayed() -> None:
    with pytest.raises(NoReplay, match="the pipeline raised TypeError of its own"):
        backtest([call(0), call(1)], [], RateLimiter(5, cost=lambda order: order.weight))


@pytest.mark.parametrize("key", ["tenant", lambda tenant: tenant])
@pytest.mark.parametrize("deep", [False, True])
def test_what_needs_a_key_cannot_be_replayed(key: Any, deep: bool) -> None:
    by_key = Keyed(lambda _: CircuitBreaker(), key=key)
    with pytest.raises(
        NoReplay, match=r"raised \w+ of its own when .* leave out of the pipeline .*: a key, "
    ) as caught:
        backtest([call(0)], [], Pipeline(retry(on=OSError), Keyed(lambda _: by_key, key=lambda: 0) if deep else by_key))
    assert "_Replay" not in str(caught.value)


def test_traffic_that_never_reached_the_function_says_nothing() -> None:
    with pytest.raises(NoReplay, match="no recorded call has reached the function"):
        backtest([call(0, 0.0, "rejected")], [], Pipeline())


def test_a_fallback_is_left_out_and_that_is_said() -> None:
    found = backtest([bad(0)], [], Pipeline(fallback(0, on=ConnectionError), Pipeline()))
    assert [one.outcome for one in found.after] == ["error"]
    assert found.notes == ["the fallback was left out: what it answers for is counted as what it is"]


# The parts


def test_an_attempt_meets_its_own_outcome_near_its_moment_and_a_neighbours_elsewhere() -> None:
    traffic = Traffic([bad(0), *(call(at) for at in range(100, 200))])
    own = traffic.calls[0]
    assert traffic.meets(own, 0, BEGAN + NEAR, 0.0) == (own.attempts[0], False)
    met, guessed = traffic.meets(own, 0, BEGAN + 150, 0.0)
    assert (met.outcome, guessed) == ("success", True)
    assert traffic.meets(own, 1, BEGAN, 0.0) == (own.attempts[0], True)


@given(
    starts=st.lists(st.integers(0, 50), min_size=1, max_size=60),
    at=st.integers(-10, 60),
    roll=st.floats(0, 1, exclude_max=True),
)
def test_neighbours_are_among_the_nearest(starts: list[int], at: int, roll: float) -> None:
    traffic = Traffic([call(float(start)) for start in starts])
    refused = call(float(at), 0.0, "rejected")
    met, guessed = traffic.meets(refused, 0, BEGAN + at, roll)
    between = [start for start in starts if min(at, met.at - BEGAN) < start < max(at, met.at - BEGAN)]
    assert guessed
    assert len(between) < NEIGHBOURS
    assert abs(met.at - BEGAN - at) <= max(NEAR, 2 * min(abs(start - at) for start in starts))


def test_where_little_was_tried_the_little_tells() -> None:
    """The only attempts of a minute are the probes of a breaker: those before and after it say nothing."""
    traffic = Traffic(
        [*(call(at / 10) for at in range(100)), bad(20), bad(30), *(call(40 + at / 10) for at in range(100))]
    )
    refused = call(26, 0.0, "rejected")
    met = {traffic.meets(refused, 0, BEGAN + at, roll / 10)[0].outcome for at in range(18, 32) for roll in range(10)}
    assert met == {"error"}


@given(times=st.lists(st.floats(0, 100), min_size=1))
def test_quantiles_are_times_that_somebody_waited(times: list[float]) -> None:
    found = latency(times)
    assert found is not None
    assert found.longest == max(times)
    for value, share in (found.p50, 0.5), (found.p95, 0.95), (found.p99, 0.99):
        assert value in times
        assert sum(time <= value for time in times) >= share * len(times)
        assert sum(time < value for time in times) < share * len(times)


def test_no_calls_have_no_quantiles() -> None:
    assert latency([]) is None
    assert latency([1.0]) == Latency(1, 1, 1, 1)


ENDED = st.builds(
    Ended,
    st.sampled_from(["success", "error", "timeout", "rejected", "cancelled"]),
    st.floats(0, 10),
    st.integers(0, 3),
    st.sampled_from([None, 200, 404, 503]),
)


@given(pairs=st.lists(st.tuples(ENDED, ENDED)))
def test_every_call_is_counted_once_on_each_side(pairs: Sequence[tuple[Ended, Ended]]) -> None:
    found = compare([one for one, _ in pairs], [other for _, other in pairs])
    for side in found.before, found.after:
        assert side.good + side.failed + side.refused + side.cancelled == len(pairs)
    assert found.spared <= min(found.before.failed, found.after.refused)
    assert found.lost + found.harmed <= found.before.good
    assert found.rescued <= found.after.good


# The command


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    names = SimpleNamespace(
        payments=Pipeline(CircuitBreaker(trip=2, cooldown=10, jitter=0), name="payments"),
        by_tenant=Keyed(lambda tenant: CircuitBreaker(), key="tenant"),
        number=7,
    )
    monkeypatch.setitem(sys.modules, "shop_of_a_test", shop(clients=names, **vars(names)))
    return names


@pytest.fixture
def traffic(tmp_path: Path) -> Path:
    path = tmp_path / "traffic.jsonl"
    with sandbox() as time, record(path) as recording:
        first, second = (recording.around(Pipeline(), name=name) for name in ("payments", "search"))

        def work(took: float, error: type[Exception] | None) -> None:
            time.advance(took)
            if error:
                raise error

        for at in range(60):
            for guarded in (first, second) if at == 0 else (first,):
                try:
                    guarded.call(work, 0.2, ConnectionError if 20 <= at < 40 else None)
                except ConnectionError:
                    pass
            time.advance(1)
    return path


class Ran:
    def __init__(self, code: int, told: Any) -> None:
        self.code, self.out, self.err = code, told.out, told.err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def run(*words: object) -> Ran:
        try:
            code = main(["backtest", *map(str, words)])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Ran(code, capsys.readouterr())

    return run


def test_people_are_told_what_would_have_been_different(
    app: SimpleNamespace, traffic: Path, run: Callable[..., Ran]
) -> None:
    ran = run(traffic, "shop_of_a_test:payments", "--policy", "payments")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == TOLD


TOLD = """\
payments: 60 calls in 1 min 11 s, from 2027-01-15 08:00:00 UTC
replayed through shop_of_a_test:payments

                 before                             after
good calls       40                                 32
failed calls     20                                 4
refused calls    0                                  24
attempts         60                                 36
all calls took   200 ms / 200 ms / 200 ms / 200 ms  200 ms / 200 ms / 200 ms / 200 ms
good calls took  200 ms / 200 ms / 200 ms / 200 ms  200 ms / 200 ms / 200 ms / 200 ms
(half of them at most, 95 %, 99 %, all)

16  doomed calls spared: they failed, and are refused; their callers wait 3.2 s less, together
8   good calls lost: they went well, and are refused
0   good calls harmed: they went well, and fail
0   calls rescued: they failed or were refused, and go well

          08:00:00                                                        08:01:11
before    ++++ +++++ +++++ ++++ ++FFF FFFFF FFFF FFFFF FFF++ ++++ +++++ +++++ ++++
after     ++++ +++++ +++++ ++++ ++FFR RRRRR RRFR RRRRR RRFRR RRRR RR+++ +++++ ++++
  open                             ==================================               CircuitBreaker
          + all went well   f some failed   F most failed   r some were refused   R most were refused

opened then: no breaker
would open: CircuitBreaker at 08:00:25, 08:00:36, 08:00:47

of 36 attempts, none is a guess: each met its own recorded outcome
""".splitlines()


def test_programs_are_told_the_same(app: SimpleNamespace, traffic: Path, run: Callable[..., Ran]) -> None:
    ran = run(traffic, "shop_of_a_test:clients.payments", "--policy", "payments", "--json")
    told = json.loads(ran.out)
    assert (ran.code, told["policy"], told["calls"], told["guesses"], told["notes"]) == (0, "payments", 60, 0, [])
    assert (told["before"]["failed"], told["after"]["failed"]) == (
        20,
        told["after"]["attempts"] - told["after"]["good"],
    )
    assert told["spared"] == 20 - told["after"]["failed"]
    assert told["turns"]["before"] == []
    assert told["turns"]["after"][0] == {
        "at": "2027-01-15T08:00:25.600000+00:00",
        "breaker": "CircuitBreaker",
        "state": "open",
    }


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["no-such-file", "shop_of_a_test:payments"], "No such file"),
        (["{traffic}", "shop_of_a_test"], "'shop_of_a_test' names no pipeline; give module:name of a policy"),
        (["{traffic}", "shop_of_a_test:nothing", "--policy", "search"], "has no 'nothing'"),
        (["{traffic}", "shop_of_a_test:number", "--policy", "search"], "shop_of_a_test:number is 7, and no policy"),
        (["{traffic}", "no_such_module:x", "--policy", "search"], "importing 'no_such_module' raised ModuleNotFound"),
        (["{traffic}", "shop_of_a_test:payments"], "several pipelines are recorded in"),
        (["{traffic}", "shop_of_a_test:payments", "--policy", "x"], "there are payments (60 calls), search (1 call)"),
        (["{traffic}", "shop_of_a_test:payments", "--seed", "x"], "'x' is no seed: give a whole number, at least 0"),
        (["{traffic}", "shop_of_a_test:payments", "--seed=-1"], "'-1' is no seed: give a whole number, at least 0"),
        ([".", "shop_of_a_test:payments"], "is a folder; give the file that resilience.record has written"),
        (["{traffic}", "shop_of_a_test:by_tenant", "--policy", "search"], "A recording has no arguments"),
        (["{traffic}"], "the following arguments are required: MODULE:NAME"),
    ],
)
def test_what_makes_no_sense_is_told_in_a_line(
    app: SimpleNamespace, traffic: Path, run: Callable[..., Ran], words: list[str], text: str
) -> None:
    ran = run(*(word.replace("{traffic}", str(traffic)) for word in words))
    assert (ran.code, ran.out) == (2, "")
    assert text in ran.err
    assert "Traceback" not in ran.err


def test_lines_that_cannot_be_read_are_counted(app: SimpleNamespace, traffic: Path, run: Callable[..., Ran]) -> None:
    traffic.write_bytes(traffic.read_bytes() + b'{"line":"call","at":')
    told = run(traffic, "shop_of_a_test:payments", "--policy", "payments").out
    assert "note: 1 line of the recording is damaged, and was left out: line 63\n" in told


_CALL: dict[str, Any] = {"line": "call", "at": BEGAN, "policy": "payments", "took": 1.0, "outcome": "success"}
_ATTEMPT = {"at": BEGAN, "took": 1.0, "outcome": "running"}


@pytest.mark.parametrize(
    "line",
    [
        {**_CALL, "at": 1e300},
        {**_CALL, "at": -1.0},
        {**_CALL, "took": -0.1},
        {**_CALL, "took": 1e300},
        {**_CALL, "outcome": "exploded"},
        {**_CALL, "outcome": "running"},
        {**_CALL, "attempts": [_ATTEMPT, {**_ATTEMPT, "at": 1e300}]},
        {**_CALL, "attempts": [_ATTEMPT, {**_ATTEMPT, "took": -1}]},
        {**_CALL, "attempts": [_ATTEMPT, {**_ATTEMPT, "outcome": ""}]},
        {"line": "state", "at": 1e300, "policy": "payments", "breaker": "b", "state": "open"},
    ],
    ids=lambda line: json.dumps(line)[16:],
)
def test_a_line_that_makes_no_sense_is_damaged(
    app: SimpleNamespace, traffic: Path, run: Callable[..., Ran], line: dict[str, Any]
) -> None:
    sound = traffic.read_text().splitlines()
    traffic.write_text("\n".join([*sound[:3], json.dumps(line), *sound[3:], json.dumps(line)]))
    ran = run(traffic, "shop_of_a_test:payments", "--policy", "payments")
    assert (ran.code, ran.err) == (0, "")
    note = "note: 2 lines of the recording are damaged, and were left out: lines 4, 64"
    assert ran.out.splitlines() == [*TOLD, note]


def test_few_of_many_damaged_lines_are_told_one_by_one(
    app: SimpleNamespace, traffic: Path, run: Callable[..., Ran]
) -> None:
    traffic.write_text("{}\n".join(traffic.read_text().splitlines(keepends=True)))
    told = run(traffic, "shop_of_a_test:payments", "--policy", "payments").out
    assert (
        "note: 61 lines of the recording are damaged, and were left out: lines 2, 4, 6, 8, 10, 12, 14, 16, and 53 more"
        in told
    )


def test_it_runs_as_a_command_of_its_own(traffic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(resilience.__file__).parents[1]))
    (tmp_path / "clients_of_a_test.py").write_text("from resilience import Bulkhead\nseats = Bulkhead(1)\n")
    words = ["-m", "resilience", "backtest", traffic.name, "clients_of_a_test:seats", "--policy", "search"]
    done = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert "replayed through clients_of_a_test:seats" in done.stdout


def test_one_call_has_a_timeline_too(app: SimpleNamespace, traffic: Path, run: Callable[..., Ran]) -> None:
    ran = run(traffic, "shop_of_a_test:payments", "--policy", "search")
    assert (ran.code, "would open: no breaker" in ran.out) == (0, True)


def test_turns_of_before_are_drawn(app: SimpleNamespace, tmp_path: Path, run: Callable[..., Ran]) -> None:
    path = tmp_path / "t.jsonl"
    lines = [{"line": "traffic", "version": 1}]
    lines += [{"line": "call", "at": BEGAN + at, "policy": "p", "took": 1.0, "outcome": "success"} for at in range(72)]
    lines += [
        {"line": "state", "at": BEGAN + at, "policy": "p", "breaker": "b", "state": state}
        for at, state in ((10.5, "open"), (20.5, "half_open"), (21.5, "closed"), (70.5, "isolated"))
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    told = run(path, "shop_of_a_test:payments").out.splitlines()
    assert "  open    " + " " * 10 + "=" * 12 + " " * 48 + "==  b" in told
    assert "opened then: b at 08:00:10" in told
