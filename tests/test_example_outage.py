"""The demo's own reasoning: its schedule, its audit and its picture. The real run is `nox -s demo`.

The audit is the judge of that run, so it is shown here to notice each broken promise, and only that one.
"""

import http.client
import io
import json
import threading
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from random import Random
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from examples.outage import __main__ as program
from examples.outage.audit import CHECKS, Finding, Limits, audit
from examples.outage.live import frame, line
from examples.outage.load import plan
from examples.outage.picture import HEIGHT, WIDTH, draw
from examples.outage.records import Attempt, Call, Outcome, Record, Request, Side, Transition
from examples.outage.sabotage import SABOTAGE
from examples.outage.schedule import OUTAGE, Kind, Phase, Schedule
from examples.outage.service import Service
from examples.outage.summary import rows

LIMITS = Limits(deadline=1.0, retry_ratio=0.2, retry_floor=1.0, retry_window=5.0, at_once=3, queued=0.0, slack=0.25)


def called(number: int, *spans: tuple[float, float], outcome: Outcome = Outcome.OK, side: Side = Side.TASKS) -> Call:
    """A call that began at its own number in seconds, with attempts at these offsets."""
    attempts = [Attempt(count, number + begin, number + end) for count, (begin, end) in enumerate(spans, 1)]
    last = attempts[-1].ended if attempts else None
    return Call(f"{side}-{number}", side, 0.0, float(number), last or number + 0.001, outcome, attempts)


def recorded(*calls: Call) -> Record:
    """What both sides would have written down about these calls, had nothing gone wrong."""
    requests = [Request(call.id, one.number, one.started, "ok") for call in calls for one in call.attempts]
    return Record([call.id for call in calls], list(calls), requests)


def honest() -> Record:
    """Ten seconds with a bit of everything, and every promise kept."""
    record = recorded(
        *(called(number, (0.0, 0.1)) for number in range(5)),
        called(5, (0.0, 0.1), (0.2, 0.3), side=Side.THREADS),
        called(6, (0.0, 0.5), outcome=Outcome.TIMED_OUT),
        called(7, outcome=Outcome.CIRCUIT_OPEN),
        called(8, outcome=Outcome.BULKHEAD_FULL),
        called(9, (0.0, 0.1)),
    )
    record.transitions += [
        Transition(6.6, "open", "5 in a row"),
        Transition(8.9, "half_open", "cooldown over"),
        Transition(9.1, "closed", "the probe succeeded"),
    ]
    return record


def broken(record: Record) -> dict[str, Finding]:
    return {finding.name: finding for finding in audit(record, LIMITS) if not finding.kept}


def test_an_honest_record_keeps_every_promise() -> None:
    findings = audit(honest(), LIMITS)
    assert [finding.name for finding in findings] == list(CHECKS) == list(SABOTAGE)
    assert all(finding.kept for finding in findings)


@pytest.mark.parametrize("promise", SABOTAGE)
def test_the_audit_notices_each_broken_promise_and_only_that(promise: str) -> None:
    record = honest()
    SABOTAGE[promise](record, LIMITS)
    assert list(broken(record)) == [promise]


def test_nothing_happened_and_nothing_was_broken() -> None:
    assert not broken(Record())


def test_the_budget_counts_what_the_service_saw() -> None:
    record = recorded(called(0, *[(0.01 * number, 0.01 * number) for number in range(6)]))
    assert not broken(record), "1 call, 0.2 retries for it, 1 retry a second for 0.05 + 5 s"
    one_more = recorded(called(0, *[(0.01 * number, 0.01 * number) for number in range(7)]))
    assert broken(one_more)["budget"].figures == "7 requests ≤ 1 calls + 5 retries"


def test_the_deadline_has_its_slack_and_no_more() -> None:
    assert not broken(recorded(called(0, (0.0, 1.25))))
    assert broken(recorded(called(0, (0.0, 1.26))))["deadline"].offenders == ("tasks-0: 1.260 s",)


def test_a_refusal_after_an_attempt_that_the_service_saw_is_a_lie() -> None:
    assert broken(recorded(called(0, (0.0, 0.1), outcome=Outcome.OUT_OF_TIME)))["refusal"].offenders == ("tasks-0/1",)


@pytest.mark.parametrize("ends", [0, 2])
def test_a_call_that_ends_never_or_twice_is_lost(ends: int) -> None:
    record = honest()
    record.calls += [deepcopy(record.calls[7])] * (ends - 1) if ends else []
    if not ends:
        del record.calls[7]
    assert broken(record)["lost"].offenders == (f"tasks-7 ended {ends} times",)


def test_requests_that_belong_to_nobody_or_came_twice_are_told() -> None:
    record = honest()
    record.requests += [record.requests[0], Request("stranger", 1, 2.0, "ok"), Request("tasks-1", 2, 2.0, "ok")]
    assert set(broken(record)["lost"].offenders) == {
        "tasks-0/1 reached the service 2 times",
        "stranger/1 is nobody's",
        "tasks-1/2 is nobody's",
    }


@pytest.mark.parametrize(("again", "kept"), [(1.1, True), (1.0, False)])
def test_a_retry_waits_as_long_as_the_service_asked(again: float, kept: bool) -> None:
    record = recorded(called(0, (0.0, 0.1), (again, again)))
    record.requests[0] = Request("tasks-0", 1, 0.0, "error", retry_after=1)
    record.calls[0].attempts[0].error = "HTTPStatusError"
    assert ("retry_after" not in broken(record)) is kept


def test_an_answer_that_never_arrived_asks_for_nothing() -> None:
    record = recorded(called(0, (0.0, 0.1), (0.2, 0.3)))
    record.requests[0] = Request("tasks-0", 1, 0.0, "error", retry_after=1)
    record.calls[0].attempts[0].error = "ReadTimeout"
    assert not broken(record)


def test_who_leaves_as_another_comes_is_not_there_with_him() -> None:
    in_turns = [called(0, (0.0, 0.5), (0.5, 0.9)) for _ in range(3)]
    assert "bulkhead" not in broken(recorded(*in_turns))
    assert broken(recorded(*in_turns, called(0, (0.5, 0.6))))["bulkhead"].offenders == ("4 at once",)


def test_what_was_admitted_just_before_the_circuit_opened_is_no_offence() -> None:
    record = recorded(called(0, (0.2, 0.3)), called(1, (0.0, 0.1)))
    record.transitions += [Transition(0.0, "open", "failures"), Transition(0.9, "half_open", "cooldown over")]
    assert not broken(record)
    record.calls[0].attempts[0].started = 0.26
    assert broken(record)["circuit"].offenders == ("tasks-0/1 at 0.26 s",)


def test_a_retry_that_saved_the_call_is_told_from_one_that_did_not() -> None:
    saved, failed = called(0, (0, 0.1), (0.2, 0.3)), called(1, (0, 0.1), (0.2, 0.3), outcome=Outcome.FAILED)
    assert saved.recovered
    assert not failed.recovered
    assert (saved.retries, failed.retries, called(2).retries) == (1, 1, 0)


@given(st.floats(min_value=2, max_value=120))
def test_the_story_takes_as_long_as_asked_and_stays_the_same(seconds: float) -> None:
    schedule = OUTAGE.lasting(seconds)
    assert schedule.seconds == pytest.approx(seconds)
    assert [phase.latency for phase in schedule.phases] == [phase.latency for phase in OUTAGE.phases]
    for begin, end, phase in schedule.spans():
        assert schedule.at(begin + (end - begin) / 2) is phase


def test_the_last_phase_goes_on_for_ever_and_the_first_began_before() -> None:
    assert OUTAGE.at(-0.5) is OUTAGE.phases[0]
    assert OUTAGE.at(0.0) is OUTAGE.phases[0]
    assert OUTAGE.at(4.0) is OUTAGE.phases[1]
    assert OUTAGE.at(1e9) is OUTAGE.phases[-1]


@given(st.sampled_from(OUTAGE.phases), st.integers())
def test_the_same_roll_gives_the_same_answer_within_the_phase(phase: Phase, seed: int) -> None:
    answer = phase.answer(Random(seed))
    assert answer == phase.answer(Random(seed))
    assert answer.kind is Kind.STALL or phase.latency[0] <= answer.delay <= phase.latency[1]
    assert answer.retry_after == (phase.retry_after if answer.kind is Kind.ERROR else None)


def test_a_phase_keeps_to_its_shares() -> None:
    phase, dice = Phase("mixed", 1.0, (0.0, 0.1), stalls=0.1, errors=0.2, resets=0.3), Random(1)
    kinds = [phase.answer(dice).kind for _ in range(10_000)]
    shares = {kind: kinds.count(kind) / len(kinds) for kind in Kind}
    assert shares == pytest.approx({Kind.STALL: 0.1, Kind.ERROR: 0.2, Kind.RESET: 0.3, Kind.OK: 0.4}, abs=0.02)


moments = st.floats(min_value=0, max_value=25)
durations = st.floats(min_value=0, max_value=5)
calls = st.builds(
    lambda side, began, took, outcome, sent: Call(
        "x", side, 0.0, began, began + took, outcome, [Attempt(1, began, began + took)] * sent
    ),
    st.sampled_from(Side),
    moments,
    durations,
    st.sampled_from([None, *Outcome]),
    st.integers(0, 3),
)
requests = st.builds(Request, st.just("x"), st.integers(1, 3), moments, st.just("ok"))
states = st.sampled_from(["closed", "open", "half_open", "isolated"])
transitions = st.lists(st.builds(Transition, moments, states, st.text()), max_size=5)
records = st.builds(
    Record,
    st.just([]),
    st.lists(calls, max_size=8),
    st.lists(requests, max_size=8),
    transitions.map(lambda found: sorted(found, key=lambda one: one.at)),
)


@given(records)
def test_a_picture_shows_every_call_and_stays_on_its_paper(record: Record) -> None:
    root = ET.fromstring(draw(record, OUTAGE, 1.5))  # noqa: S314 - a picture of our own
    titles = [element.text for element in root.findall(".//{*}title")]
    dots = next(group for group in root.findall(".//{*}g") if group[0].text == "calls").findall("{*}circle")
    ticks = next(group for group in root.findall(".//{*}g") if group[0].text == "refused calls").findall("{*}line")
    assert len(dots) + len(ticks) == len(record.calls)
    assert len(titles) == 6
    for element in root.iter():
        assert all(0 <= float(element.get(name, 0)) <= WIDTH for name in ("x", "x1", "x2", "cx"))
        assert all(0 <= float(element.get(name, 0)) <= HEIGHT for name in ("y", "y1", "y2", "cy"))
        assert float(element.get("x", 0)) + float(element.get("width", 0)) <= WIDTH


@given(records, st.floats(min_value=-1, max_value=30), st.integers(60, 200))
def test_the_dashboard_can_be_drawn_at_any_moment_and_fits(record: Record, now: float, width: int) -> None:
    console = Console(width=width, file=io.StringIO())
    lines = console.render_lines(frame(record, OUTAGE, now, width))
    assert len(lines) == len(console.render_lines(frame(Record(), OUTAGE, 0.0, width)))
    assert {sum(segment.cell_length for segment in row) for row in lines} == {width}


@given(records)
def test_the_summary_counts_every_call(record: Record) -> None:
    table = {title.strip(): both for title, _, _, both in rows(record)}
    ends = (
        "answered",
        "failed",
        "timed out",
        "refused: circuit open",
        "refused: bulkhead full",
        "refused: out of time",
    )
    running = sum(call.outcome is None for call in record.calls)
    assert sum(int(table[title]) for title in ends) + running == int(table["calls"])
    assert int(table["requests sent"]) == sum(len(call.attempts) for call in record.calls)


def test_a_line_tells_how_it_stands() -> None:
    told = line(honest(), OUTAGE, 7.0)
    assert "service down" in told
    assert "circuit closed" in told
    assert "answered    7" in told
    assert "refused    2" in told


def test_a_picture_is_the_same_for_the_same_record() -> None:
    assert draw(honest(), OUTAGE, 1.5) == draw(honest(), OUTAGE, 1.5)


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Iterator[http.client.HTTPConnection]:
    """A connection to a service in this process that is in one phase only."""
    with Service(Schedule((request.param,)), seed=1) as service:
        server = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        server.start()
        connection = http.client.HTTPConnection("127.0.0.1", service.server_port, timeout=30)
        yield connection
        connection.close()
        service.closing.set()
        service.shutdown()
        server.join()


HEADERS = {"X-Call-Id": "threads-7", "X-Attempt": "2"}
HEALTHY = Phase("healthy", 1.0, (0.0, 0.0))
DOWN = Phase("down", 1.0, (0.0, 0.0), errors=1.0, retry_after=1)
RESET = Phase("reset", 1.0, (0.0, 0.0), resets=1.0)


@pytest.mark.parametrize("served", [HEALTHY], indirect=True)
def test_the_service_answers_on_one_connection_and_writes_each_request_down(
    served: http.client.HTTPConnection, capfd: pytest.CaptureFixture[str]
) -> None:
    for attempt in ("2", "3"):
        served.request("GET", "/", headers={**HEADERS, "X-Attempt": attempt})
        assert json.load(served.getresponse()) == {"answer": 42}
    told = [Request(**json.loads(line)) for line in capfd.readouterr().out.splitlines()]
    assert [(one.call, one.attempt, one.kind) for one in told] == [("threads-7", 2, "ok"), ("threads-7", 3, "ok")]


@pytest.mark.parametrize("served", [DOWN], indirect=True)
def test_the_service_asks_for_peace(served: http.client.HTTPConnection, capfd: pytest.CaptureFixture[str]) -> None:
    served.request("GET", "/", headers=HEADERS)
    response = served.getresponse()
    assert (response.status, response.getheader("Retry-After")) == (503, "1")
    assert json.loads(capfd.readouterr().out)["retry_after"] == 1


@pytest.mark.parametrize("served", [RESET], indirect=True)
def test_the_service_drops_the_connection(
    served: http.client.HTTPConnection, capfd: pytest.CaptureFixture[str]
) -> None:
    served.request("GET", "/", headers=HEADERS)
    with pytest.raises(ConnectionResetError):
        served.getresponse()
    assert json.loads(capfd.readouterr().out)["kind"] == "reset"


def test_the_whole_program_says_by_its_exit_code_whether_a_promise_was_broken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "PROMISED", LIMITS)
    monkeypatch.setattr(program, "run", lambda *_: honest())
    picture = tmp_path / "outage.svg"
    assert program.main(["--svg", str(picture)]) == 0
    assert "✗" not in capsys.readouterr().out
    assert program.main(["--svg", str(picture), "--break", "lost"]) == 1
    assert capsys.readouterr().out.count("✗") == 1
    assert ET.parse(picture).getroot().tag.endswith("svg")  # noqa: S314 - a picture of our own


@pytest.mark.parametrize("wrong", [["--rate", "0"], ["--seconds", "nan"], ["--break", "everything"]])
def test_senseless_options_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(wrong)
    assert ended.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_load_is_bounded_before_it_starts() -> None:
    moments = plan(40.0, 20.0, seed=1)
    assert len(moments) == 800
    assert moments == sorted(moments) == plan(40.0, 20.0, seed=1) != plan(40.0, 20.0, seed=2)
    assert all(0 <= moment < 20 for moment in moments)
