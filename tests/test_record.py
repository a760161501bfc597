"""Recording traffic: what is written for which call, and that it never matters to the call."""

import errno
import gc
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest

from resilience import (
    Bulkhead,
    BulkheadFull,
    CircuitBreaker,
    CircuitOpen,
    Pipeline,
    TimedOut,
    events,
    fallback,
    listen,
    record,
    retry,
    timeout,
)
from resilience import _events as inside_events
from resilience._clock import clock
from resilience._core.replay import Call, Turn
from resilience._pipeline import FallbackPipeline
from resilience._traffic_file import NoRecording, read
from resilience.testing import sandbox
from resilience.testing._virtual import VirtualClock
from tests.doors import DOORS, FUNCTION_DOORS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traffic.jsonl"


@pytest.fixture
def time() -> Iterator[VirtualClock]:
    with sandbox() as clock:
        yield clock


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def calls(path: Path) -> list[Call]:
    return read(path)[0]


def seven() -> int:
    return 7


class Secret(str):
    """What must not be found in the file."""

    __slots__ = ()


# What is written


@pytest.mark.parametrize("door", DOORS)
def test_a_call_is_written_with_its_time_name_duration_and_outcome(door: Any, path: Path, time: VirtualClock) -> None:
    with record(path) as traffic:
        door(traffic.around(CircuitBreaker(), name="payments"), lambda: time.advance(0.25))
    (call,) = calls(path)
    assert (call.at, call.policy, call.took, call.outcome) == (time.wall_start, "payments", 0.25, "success")
    assert [(one.at, one.took, one.outcome) for one in call.attempts] == [(time.wall_start, 0.25, "success")]
    assert lines(path)[0] == {"line": "traffic", "version": 1}


@pytest.mark.parametrize("door", DOORS)
def test_a_failure_is_written_by_its_class_and_comes_through(door: Any, path: Path, time: VirtualClock) -> None:
    error = ConnectionError("the password is 1234")

    def work() -> None:
        raise error

    with record(path) as traffic, pytest.raises(ConnectionError) as caught:
        door(traffic.around(CircuitBreaker(), name="payments"), work)
    assert caught.value is error
    (call,) = calls(path)
    assert (call.outcome, call.error) == ("error", "ConnectionError")
    assert [(one.outcome, one.error) for one in call.attempts] == [("error", "ConnectionError")]
    assert "1234" not in path.read_text()


@pytest.mark.parametrize("door", DOORS)
def test_a_refused_call_is_written_without_an_attempt(door: Any, path: Path, time: VirtualClock) -> None:
    breaker = CircuitBreaker()
    with record(path) as traffic:
        guarded = traffic.around(breaker)
        breaker.isolate()
        with pytest.raises(CircuitOpen):
            door(guarded, lambda: None)
    (call,) = calls(path)
    assert (call.outcome, call.attempts) == ("rejected", ())


@pytest.mark.parametrize("door", FUNCTION_DOORS)
def test_each_attempt_is_written(door: Any, path: Path, time: VirtualClock) -> None:
    answers = [OSError(), OSError(), "good"]

    def work() -> Any:
        time.advance(0.5)
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    with record(path) as traffic:
        door(traffic.around(retry(on=OSError, wait=1), name="payments"), work)
    (call,) = calls(path)
    assert (call.outcome, call.took) == ("success", 3.5)
    assert [round(one.at - call.at, 6) for one in call.attempts] == [0.0, 1.5, 3.0]
    assert [one.outcome for one in call.attempts] == ["error", "error", "success"]


def test_no_argument_result_or_text_of_an_exception_is_written(path: Path, time: VirtualClock) -> None:
    with record(path) as traffic:
        guarded = traffic.around(Pipeline(retry(on=OSError), CircuitBreaker(trip=1)))
        guarded.call(lambda wish: wish, Secret("tea-1234"))
        with pytest.raises(OSError, match="tea-1234"):
            guarded.call(lambda *_: (_ for _ in ()).throw(OSError("tea-1234")), Secret("tea-1234"))
    assert len(calls(path)) == 2
    assert "1234" not in path.read_text()


def test_the_status_of_an_http_answer_is_a_class_of_outcomes(path: Path, time: VirtualClock) -> None:
    class Answer:
        def __init__(self, status: object) -> None:
            self.status_code = status
            self.headers = {"secret": "1234"}

    class Unavailable(Exception):
        response = Answer(503)

    class Order:
        status = 404  # a number of the user's own

    def fail() -> None:
        raise Unavailable

    with record(path) as traffic:
        guarded = traffic.around(Pipeline(), name="web")
        for answer in (Answer(200), Answer(503), Answer("503"), Answer(42), Order(), None):
            guarded.call(lambda answer=answer: answer)
        with pytest.raises(Unavailable):
            guarded.call(fail)
    assert [call.status for call in calls(path)] == [200, 503, None, None, None, None, 503]


def test_turns_of_the_breakers_inside_are_written_and_of_no_others(
    path: Path, time: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    inside, stranger = CircuitBreaker("inside", cooldown=10, jitter=0), CircuitBreaker("stranger")
    with record(path) as traffic:
        guarded = traffic.around(Pipeline(inside, name="payments"))
        inside.isolate("for 1234")
        stranger.isolate()
        inside.reset()
        assert guarded.call(lambda: 1) == 1
    _, turns, _ = read(path)
    assert turns == [
        Turn(time.wall_start, "payments", "inside", "isolated"),
        Turn(time.wall_start, "payments", "inside", "closed"),
    ]
    assert "raised" not in caplog.text
    assert "1234" not in path.read_text()


@pytest.mark.anyio
async def test_an_attempt_that_is_cut_off_is_told_from_a_failure(path: Path) -> None:
    with sandbox(), record(path) as traffic, pytest.raises(TimedOut):
        await traffic.around(timeout(2), name="slow").acall(clock.asleep, 60)
    (call,) = calls(path)
    assert (call.outcome, call.took, call.error) == ("timeout", 2.0, "resilience.errors.TimedOut")
    assert [(one.outcome, one.took) for one in call.attempts] == [("cancelled", 2.0)]


@pytest.mark.anyio
async def test_a_call_that_its_caller_takes_back_is_written_as_cancelled(path: Path) -> None:
    with sandbox(), record(path) as traffic:
        with anyio.CancelScope() as scope:
            clock.expire(scope, 3)
            await traffic.around(Bulkhead(2), name="slow").acall(clock.asleep, 60)
    (call,) = calls(path)
    assert (call.outcome, call.took, call.attempts[0].outcome) == ("cancelled", 3.0, "cancelled")


def test_work_that_was_left_behind_still_runs(path: Path) -> None:
    done = threading.Event()
    cut = timeout(0.05, sync="abandon")
    with record(path) as traffic:
        with pytest.raises(TimedOut) as caught:
            traffic.around(cut, name="slow").call(done.wait)
        done.set()
        assert caught.value.work is not None
        caught.value.work.result(30)
    cut.close()
    (call,) = calls(path)
    assert [one.outcome for one in call.attempts] == ["running"]


def test_each_call_of_many_at_once_has_its_own_attempts(path: Path) -> None:
    def work(number: int) -> int:
        if tries[number] < number % 3:
            tries[number] += 1
            raise OSError
        return number

    tries = [0] * 400
    with record(path) as traffic:
        guarded = traffic.around(retry(on=OSError, wait=0, budget=None), name="many")(work)
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(guarded, range(400))) == list(range(400))
    assert sorted(len(call.attempts) for call in calls(path)) == sorted(number % 3 + 1 for number in range(400))


@pytest.mark.anyio
async def test_each_task_of_many_at_once_has_its_own_attempts(path: Path) -> None:
    async def work(number: int) -> None:
        tries[number] += 1
        await clock.asleep(0.01 * (number % 7))
        if tries[number] <= number % 3:
            raise OSError

    tries = [0] * 60
    with sandbox(), record(path) as traffic:
        guarded = traffic.around(retry(on=OSError, wait=0.1, budget=None), name="many")(work)
        async with anyio.create_task_group() as tasks:
            for number in range(60):
                tasks.start_soon(guarded, number)
    assert sorted(len(call.attempts) for call in calls(path)) == sorted(number % 3 + 1 for number in range(60))


def test_a_recorded_call_in_a_recorded_call_is_a_call_of_its_own(path: Path, time: VirtualClock) -> None:
    with record(path) as traffic:
        outer, inner = (traffic.around(Pipeline(), name=name) for name in ("outer", "inner"))
        outer.call(lambda: (inner.call(lambda: 1), inner.call(lambda: 2)))
    assert [(call.policy, len(call.attempts)) for call in calls(path)] == [("inner", 1), ("inner", 1), ("outer", 1)]


class Lending:
    """A layer that holds a lease of another recorded policy meanwhile."""

    def __init__(self, other: Pipeline) -> None:
        self.other = other

    def bind(self, fn: Any) -> Any:
        def call() -> Any:
            with self.other.admit():
                return fn()

        return call

    abind = bind


def test_an_attempt_is_never_taken_for_that_of_another_call(path: Path, time: VirtualClock) -> None:
    with record(path) as traffic:
        traffic.around(Lending(traffic.around(Bulkhead(1), name="seats")), name="outer").call(seven)
    assert sorted((call.policy, len(call.attempts)) for call in calls(path)) == [("outer", 0), ("seats", 1)]


# The pipeline stays what it was


def test_the_answer_of_a_fallback_does_not_hide_what_it_answers_for(path: Path, time: VirtualClock) -> None:
    def fail() -> None:
        raise OSError

    with record(path) as traffic:
        guarded = traffic.around(Pipeline(fallback(7, on=OSError), Pipeline(), name="stock"))
        assert guarded.call(fail) == 7
    assert [call.outcome for call in calls(path)] == ["error"]


def test_a_recorded_fallback_pipeline_is_one(path: Path) -> None:
    traffic = record(path)
    assert isinstance(traffic.around(fallback(7, on=OSError), name="stock"), FallbackPipeline)
    assert type(traffic.around(Pipeline(name="stock"))) is Pipeline


def test_a_breaker_in_two_pipelines_turns_in_both(path: Path, time: VirtualClock) -> None:
    breaker = CircuitBreaker("shared")
    with record(path) as traffic:
        for name in ("pay", "refund"):
            traffic.around(Pipeline(breaker, name=name))
        breaker.isolate()
    assert sorted(turn.policy for turn in read(path)[1]) == ["pay", "refund"]


def test_the_name_is_the_policys_own_unless_another_is_given(tmp_path: Path) -> None:
    traffic = record(tmp_path / "t.jsonl")
    assert traffic.around(Pipeline(name="payments")).name == "payments"
    assert traffic.around(Pipeline(), name="stock").name == "stock"
    with traffic:
        traffic.around(Bulkhead(2, name="seats")).call(seven)
        traffic.around(Pipeline(name="payments"), name="mine").call(seven)
    assert [call.policy for call in calls(tmp_path / "t.jsonl")] == ["seats", "mine"]


def test_what_is_doubtful_in_a_pipeline_is_said_once(path: Path) -> None:
    with pytest.warns(match="a retry inside a circuit breaker"):
        doubtful = Pipeline(CircuitBreaker(), retry(on=OSError))
    record(path).around(doubtful)


def test_explain_tells_of_the_layers_that_write(path: Path) -> None:
    text = record(path).around(Bulkhead(1), name="seats").explain()
    assert "record: calls of 'seats' are written down" in text
    assert "record: attempts of 'seats' are written down" in text


# The file


def test_it_goes_on_with_a_file_that_is_there(path: Path, time: VirtualClock) -> None:
    for _ in range(2):
        with record(path) as traffic:
            traffic.around(Pipeline(name="p")).call(seven)
        time.advance(5)
        path.write_bytes(path.read_bytes() + b'{"line":"call","at":17')  # it was killed within a line
    found, _, damaged = read(path)
    assert [call.at - found[0].at for call in found] == [0.0, 5.0]
    assert damaged == [3, 6]
    assert path.read_text().splitlines().count('{"line":"traffic","version":1}') == 2


def test_nothing_recorded_makes_no_file(path: Path) -> None:
    record(path).close()
    assert not path.exists()


def test_lines_are_written_in_batches_and_after_a_second(path: Path, time: VirtualClock) -> None:
    traffic = record(path)
    guarded = traffic.around(Pipeline(name="p"))
    for _ in range(511):
        guarded.call(seven)
    assert not path.exists()
    guarded.call(seven)
    assert len(calls(path)) == 512
    time.advance(1)
    guarded.call(seven)
    assert len(calls(path)) == 513
    guarded.call(seven)
    traffic.flush()
    assert len(calls(path)) == 514
    traffic.close()
    traffic.close()
    guarded.call(seven)
    assert len(calls(path)) == traffic.stats.lines == 514


def test_the_file_is_bounded(path: Path, time: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    with record(path, max_bytes=1_000) as traffic:
        guarded = traffic.around(Pipeline(name="p"))
        for _ in range(30):
            guarded.call(seven)
            traffic.flush()
    assert 800 < path.stat().st_size <= 1_000
    kept, _, damaged = read(path)
    assert (len(kept) + traffic.stats.lost, traffic.stats.lines, damaged) == (30, 30, [])
    assert caplog.text.count("traffic is lost") == 1
    assert "has reached max_bytes" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="no file that is open can be moved there")
@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
def test_a_file_that_is_taken_away_is_begun_anew(path: Path, time: VirtualClock, how: str) -> None:
    """As log rotation does it."""
    away = path.with_suffix(".1")
    with record(path) as traffic:
        guarded = traffic.around(Pipeline(name="p"))
        guarded.call(seven)
        traffic.flush()
        guarded.call(seven)
        if how == "deleted":
            path.unlink()
        else:
            path.rename(away)
            if how == "replaced":
                path.touch()
        traffic.flush()
        guarded.call(seven)
    assert len(calls(path)) == 2
    assert (traffic.stats.lines, traffic.stats.lost, traffic.stats.size) == (3, 0, path.stat().st_size)
    if how != "deleted":
        assert len(calls(away)) == 1


def test_a_folder_that_is_taken_away_is_waited_for(path: Path, time: VirtualClock) -> None:
    (path.parent / "there").mkdir()
    path = path.parent / "there" / "traffic.jsonl"
    with record(path) as traffic:
        guarded = traffic.around(Pipeline(name="p"))
        for folder in True, False, True:
            if folder:
                path.parent.mkdir(exist_ok=True)
            else:
                path.unlink()
                path.parent.rmdir()
            guarded.call(seven)
            traffic.flush()
    assert (len(calls(path)), traffic.stats.lines, traffic.stats.lost) == (1, 3, 1)


def test_a_disk_that_is_full_is_no_matter_to_the_call(
    path: Path, time: VirtualClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, put = [False], os.write

    def write(file: int, content: Any) -> int:
        if full[0]:
            put(file, content[: len(content) // 2])  # as much as there was room for
            raise OSError(errno.ENOSPC, "no space left on device")
        return put(file, content)

    monkeypatch.setattr(os, "write", write)
    with record(path) as traffic:
        guarded = traffic.around(Pipeline(name="p"))
        for full[0] in (False, True, True, False):
            assert [guarded.call(seven), guarded.call(seven)] == [7, 7]
            traffic.flush()
    found, _, _ = read(path)
    assert 4 <= len(found) <= 8 - traffic.stats.lost + 2
    assert (traffic.stats.lines, traffic.stats.lost) == (8, 4)
    assert caplog.text.count("traffic is lost") == 1


@pytest.mark.parametrize("by_a_call", [True, False])
def test_the_log_is_told_outside_of_every_lock(
    by_a_call: bool, path: Path, time: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler of logs may be guarded and recorded itself."""

    class Calling(logging.Handler):
        def emit(self, log: logging.LogRecord) -> None:
            guarded.call(seven)
            traffic.flush()

    with record(path, max_bytes=1_000) as traffic:
        guarded = traffic.around(Pipeline(name="p"))
        logging.getLogger("resilience").addHandler(handler := Calling())
        try:
            for _ in range(30):
                guarded.call(seven)
            if by_a_call:
                time.advance(2)
                guarded.call(seven)
            traffic.flush()
        finally:
            logging.getLogger("resilience").removeHandler(handler)
    assert (traffic.stats.lines, caplog.text.count("traffic is lost")) == (31 + by_a_call, 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_writes_a_file_of_its_own(path: Path) -> None:
    program = f"""
import os
from resilience import Pipeline
from resilience._pipeline import FallbackPipeline
from resilience import record
traffic = record({str(path)!r})
guarded = traffic.around(Pipeline(name="p"))
guarded.call(len, "")
child = os.fork()
guarded.call(len, "")
if child:
    os.waitpid(child, 0)
    print(child)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert len(calls(path)) == 2
    assert len(calls(path.with_suffix(f".{done.stdout.strip()}.jsonl"))) == 1


def test_a_recording_that_nobody_holds_is_written_to_its_end(path: Path) -> None:
    CircuitBreaker().isolate()  # an event: other recordings that have ended hear no more from now on
    listening = inside_events._listeners
    guarded = record(path).around(Pipeline(name="p"))
    gc.collect()
    guarded.call(seven)
    del guarded
    gc.collect()
    assert len(calls(path)) == 1
    CircuitBreaker().isolate()
    assert inside_events._listeners == listening


def test_to_be_recorded_hides_no_event(path: Path, time: VirtualClock) -> None:
    heard: list[events.Event] = []
    with record(path) as traffic, listen(heard.append):
        guarded = traffic.around(Bulkhead(1, name="seats"))
        with pytest.raises(BulkheadFull), guarded.guard():
            guarded.call(seven)
    assert [type(event) for event in heard] == [events.Refused]
    assert [call.outcome for call in calls(path)] == ["rejected", "rejected"]


# Bad input


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"path": 7}, TypeError, "path must be the name of a file, got 7"),
        ({"path": "no/such/folder/t.jsonl"}, ValueError, "in a folder that is there, got 'no/such/folder/t.jsonl'"),
        ({"path": "/"}, ValueError, "path must name a file, got the folder '/'"),
        ({"max_bytes": 999}, ValueError, "max_bytes must be at least 1000, got 999"),
        ({"max_bytes": 1e9}, TypeError, "max_bytes must be a whole number"),
    ],
)
def test_wrong_options_are_refused_at_once(path: Path, options: Any, kind: type[Exception], text: str) -> None:
    given = {"path": path, **options}
    with pytest.raises(kind, match=text):
        record(given.pop("path"), **given)


def test_what_is_no_policy_is_refused(path: Path) -> None:
    with pytest.raises(TypeError, match="a pipeline is made of policies"):
        record(path).around(print)  # type: ignore[arg-type]  # it is the test


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty: nothing was recorded"),
        (b"a,b\n1,2\n", "is no recording"),
        (b'{"line":"traffic","version":2}\n', "of version 2; this library reads up to 1"),
        (b"\xff\xfe\n", "is no recording"),
    ],
)
def test_what_is_no_recording_is_refused(path: Path, content: bytes, text: str) -> None:
    path.write_bytes(content)
    with pytest.raises(NoRecording, match=text):
        read(path)
