"""The operator's kit: what it tells, what it does about a saga, and how it says that something is wrong."""

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from msgspec import Raw

from resilience._clock import clock
from resilience._core.saga.entries import Record, Result, Start, Turn, write
from resilience.cli import main
from resilience.cli._arguments import parse
from resilience.cli._story import story_of
from resilience.saga import Saga, SagaFailed, SagaRunner, SagaStuck, SQLiteJournal
from resilience.saga._compile import blueprint_of
from resilience.saga._letters import write_request
from tests.saga import kiosk
from tests.saga.kiosk import Order, Sell
from tests.saga.processes import Process, running

ROOT = Path(__file__).parents[2]
KIOSK = "tests.saga.kiosk"
COMMANDS = ["list", "show", "cancel", "pause", "resume", "retry", "skip", "undo", "abort", "export", "check", "purge"]


class Ran:
    """What a command has said."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Kit:
    """The command line on one journal, run in this process."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self._capsys = capsys

    def __call__(self, *words: str) -> Ran:
        self._capsys.readouterr()
        try:
            code = main(["saga", words[0], "--journal", str(self.path), *words[1:]])
        except SystemExit as stop:  # argparse's way of saying that a command makes no sense
            code = int(stop.code or 0)
        told = self._capsys.readouterr()
        assert "Traceback" not in told.out + told.err
        return Ran(code, told.out, told.err)

    def copy(self, name: str) -> "Kit":
        """The same on a copy of the journal."""
        there = self.path.parent / name
        there.mkdir()
        shutil.copy(self.path, there / self.path.name)
        return Kit(there / self.path.name, self._capsys)

    @contextlib.contextmanager
    def journal(self) -> Iterator[SQLiteJournal]:
        with SQLiteJournal(self.path) as journal:
            yield journal

    def sold(self, saga: Saga[Order, str], *ids: str, wish: str = "tea") -> None:
        with self.journal() as journal:
            for id_ in ids:
                with contextlib.suppress(SagaStuck, SagaFailed):
                    saga.run_sync(Order(1, wish), id=id_, journal=journal)

    def begun(self, id_: str, owner: type[Saga[Order, str]]) -> None:
        """A saga that has just begun, and whose process has gone."""
        plan = blueprint_of(owner).plan
        with self.journal() as journal:
            journal.start(id_, plan.saga, write(Start(plan.saga, Raw(b'{"number":1}'), plan.shape))).wait()

    def written(self, id_: str, *records: Record) -> None:
        """More of what has happened to it."""
        with self.journal() as journal:
            journal.open(id_).wait()
            journal.append(id_, [*map(write, records)], "open").wait()

    def parked_by(self, saga: Saga[Order, str], id_: str) -> None:
        """A stuck saga that is tried again with a class that does not fit it."""
        self.sold(kiosk.stuck, id_)
        with self.journal() as journal, SagaRunner(journal, saga):
            row = journal.send(id_, "control", write_request("retry"), "ann").wait()
            until(lambda: story_of(journal, id_).answer(row) is not None)
            until(lambda: story_of(journal, id_).summary.status == "stuck")

    def left(self, id_: str) -> None:
        """A saga that waits for an answer, and whose process has gone."""
        with self.journal() as journal:
            handle = kiosk.Ask().start_sync(Order(1), id=id_, journal=journal)
            assert handle.status().state == "waiting"


@pytest.fixture
def kit(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Kit:
    monkeypatch.delenv("RESILIENCE_JOURNAL", raising=False)
    return Kit(tmp_path / "sagas.db", capsys)


def states(kit: Kit, id_: str) -> dict[str, str]:
    return {one["name"]: one["state"] for one in kit("show", id_, "--json").json["steps"]}


def kinds(kit: Kit, id_: str) -> list[str]:
    return [one["record"]["kind"] for one in kit("show", id_, "--json").json["records"]]


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    for _ in range(3_000):
        if condition():
            return
        clock.sleep(0.01)
    pytest.fail("it did not happen within 30 s")


# list


def test_stuck_and_open_sagas_are_listed_first_and_then_the_one_that_ended_last(kit: Kit) -> None:
    kit.sold(Sell(), "sold-1", "sold-2")
    kit.left("asked")
    kit.sold(kiosk.stuck, "stuck")
    ran = kit("list")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["ID", "stuck", "asked", "sold-2", "sold-1"]
    assert lines[1].split()[1:3] == ["sell", "stuck"]
    assert lines[1].endswith("nobody")
    assert lines[-1] == "4 sagas: 1 stuck, 1 open, 2 completed"
    assert {line.index("sell") for line in lines if " sell " in line} == {lines[0].index("SAGA")}


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["--status", "stuck"], ["stuck"]),
        (["--status", "completed", "--status", "stuck"], ["stuck", "sold-2", "sold-1"]),
        (["--saga", "ask"], ["asked"]),
        (["--limit", "2"], ["stuck", "asked"]),
        (["--saga", "nothing"], []),
    ],
)
def test_a_list_may_be_narrowed(kit: Kit, words: list[str], ids: list[str]) -> None:
    kit.sold(Sell(), "sold-1", "sold-2")
    kit.left("asked")
    kit.sold(kiosk.stuck, "stuck")
    found = kit("list", "--json", *words).json
    assert [one["id"] for one in found] == ids
    assert all(set(one) == {"id", "saga", "status", "began", "ended", "owner"} for one in found)


def test_what_a_list_leaves_out_is_said(kit: Kit) -> None:
    kit.sold(Sell(), "a", "b")
    assert kit("list", "--limit", "1").out.endswith("2 sagas: 2 completed; 1 shown, see --limit\n")
    assert kit("list", "--saga", "x").out == "no such sagas\n"


def test_a_saga_that_a_process_has_names_its_owner(kit: Kit) -> None:
    with kit.journal() as journal:
        kiosk.Ask().start_sync(Order(1), id="asked", journal=journal)
        [one] = kit("list", "--json").json
        assert isinstance(one["owner"], int)
        assert f"owner {one['owner']} works on it" in kit("show", "asked").out


# show


def test_a_timeline_tells_all_that_has_happened(kit: Kit) -> None:
    kit.sold(kiosk.broken, "s", wish="tea, please")
    ran = kit("show", "s")
    lines = ran.out.splitlines()
    assert ran.code == 0
    assert lines[0] == "s · sell · stuck"
    assert lines[1].endswith("; nobody works on it")
    timeline = [re.sub(r"^ +\+\d+ m?s +\d+ m?s +", "", line) for line in lines[3 : lines.index("steps") - 1]]
    assert [re.sub(" {2,}", " | ", line) for line in timeline] == [
        '● | began | {"number":1,"wish":"tea, please"}',
        "✓ | reserve | 1",
        r"✗ | pay | nobody knows whether it had its effect · ConnectionError: \x1b[31mpay is broken",
        r"↩ | turns back | pay failed · ConnectionError: \x1b[31mpay is broken",
        "✓ | undo pay",
        r"✗ | undo reserve | attempt 1 failed · ConnectionError: \x1b[31mrelease is broken",
        r"■ | parked: reserve | undo-failed · ConnectionError: \x1b[31mrelease is broken",
    ]
    assert r"reserve waits for an operator: undo-failed · ConnectionError: \x1b[31mrelease is broken" in lines
    assert "a SagaRunner of 'sell' hears what is asked, where one runs" in ran.out
    assert "\x1b" not in ran.out
    assert states(kit, "s") == {"reserve": "parked", "pay": "undone", "pour": "not done", "thank": "not done"}


def test_a_saga_that_waits_shows_what_is_next_and_the_letters_that_nobody_has_heard(kit: Kit) -> None:
    kit.left("asked")
    assert states(kit, "asked") == {"answer": "next", "cooling": "to come", "tell": "to come"}
    with kit.journal() as journal:
        kiosk.Ask.answer.send_sync("asked", "yes", journal=journal, who="ann")
    out = kit("show", "asked").out
    assert "1 letter that nobody has heard" in out
    assert re.search(r'✉ answer, \d+ ms ago by ann: "yes"', out)
    [letter] = kit("show", "asked", "--json").json["unheard"]
    assert (letter["topic"], letter["who"], letter["value"]) == ("answer", "ann", '"yes"')


def test_long_values_are_shortened_unless_all_is_wanted(kit: Kit) -> None:
    kit.sold(Sell(), "s", wish="x" * 1_000)
    assert max(map(len, kit("show", "s").out.splitlines())) == 160
    assert "x" * 1_000 in kit("show", "s", "--full").out


def test_a_terminal_without_such_signs_is_shown_others(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    kit.sold(Sell(), "s", wish="Grüße")
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["saga", "show", "s", "--journal", str(kit.path)]) == 0
    stream.seek(0)
    told = stream.read()
    assert told.startswith("s - sell - completed")
    assert r"*  began" in told
    assert r"Gr\xfc\xdfe" in told


def test_a_record_that_cannot_be_read_is_shown_as_one(kit: Kit) -> None:
    kit.left("asked")
    with kit.journal() as journal:
        journal.open("asked").wait()
        journal.append("asked", [b'{"kind":"novel"}'], "open").wait()
    assert "a record that cannot be read" in kit("show", "asked").out
    assert kit("show", "asked", "--json").json["records"][-1]["record"] == {"kind": "novel"}
    checked = kit("check")
    assert (checked.code, "asked: a record of it cannot be read" in checked.out) == (1, True)


# What may be typed next


class Situation(NamedTuple):
    """How a saga stands.

    Attributes:
        begin: Brings it there.
        owner: Its class.
        said: What is said of it.
        told: The commands that are told.
    """

    begin: Callable[["Kit"], object]
    owner: str
    said: str
    told: list[str]


SITUATIONS = {
    "an undo that failed": Situation(
        lambda kit: kit.sold(kiosk.broken, "s"),
        "Sell",
        "reserve waits for an operator: undo-failed",
        ["retry s --step reserve", "skip s --step reserve --reason WHY", "abort s --reason WHY"],
    ),
    "a step that failed": Situation(
        lambda kit: kit.sold(kiosk.stuck, "s"),
        "Sell",
        "pour waits for an operator: step-failed",
        [
            "retry s --step pour",
            "skip s --step pour --reason WHY --value JSON",
            "undo s",
            "abort s --reason WHY",
        ],
    ),
    "a value that cannot be read": Situation(
        lambda kit: kit.parked_by(kiosk.Numbered(), "s"),
        "Sell",
        "pour waits for an operator: undecodable",
        [
            "retry s --step pour",
            "skip s --step pour --reason WHY --value JSON",
            "undo s",
            "abort s --reason WHY",
        ],
    ),
    "a class that does not fit": Situation(
        lambda kit: kit.parked_by(kiosk.Renamed(), "s"),
        "Sell",
        "all of it waits for an operator: definition-changed",
        ["check --app MODULE", "retry s", "undo s", "abort s --reason WHY"],
    ),
    "an orphan": Situation(
        lambda kit: kit.begun("s", Sell),
        "Sell",
        "it goes on: reserve\nno process has it; a SagaRunner of 'sell' takes it up, where one runs",
        ["pause s", "cancel s", "abort s --reason WHY"],
    ),
    "one that waits for a message": Situation(
        lambda kit: kit.left("s"),
        "Ask",
        "it waits for the message 'answer', which the application sends\nno process has it",
        ["pause s", "cancel s", "abort s --reason WHY"],
    ),
    "one that waits for a time": Situation(
        lambda kit: (kit.left("s"), kit.written("s", Result("answer", "ok", Raw(b'"yes"')))),
        "Ask",
        "it waits for the time 'cooling'\nno process has it",
        ["pause s", "cancel s", "abort s --reason WHY"],
    ),
    "one that is paused": Situation(
        lambda kit: (kit.left("s"), kit("pause", "s", "--app", f"{KIOSK}:Ask")),
        "Ask",
        "it is paused: what was under way ends, and nothing else begins",
        ["resume s", "cancel s", "abort s --reason WHY"],
    ),
    "one that is being undone": Situation(
        lambda kit: (
            kit.begun("s", Sell),
            kit.written("s", Result("reserve", "ok", Raw(b"1")), Turn("operator")),
        ),
        "Sell",
        "it is being undone, reserve is left; an undo that fails is tried again, and parked in the end",
        ["abort s --reason WHY"],
    ),
    "one past the point of no return": Situation(
        lambda kit: (
            kit.begun("s", Sell),
            kit.written("s", *(Result(one, "ok", Raw(b'""')) for one in ("reserve", "pay", "pour"))),
        ),
        "Sell",
        "it goes on: thank",
        ["pause s", "abort s --reason WHY"],
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_what_is_told_to_type_is_all_that_is_needed(kit: Kit, situation: str) -> None:
    """Each command is typed as it is told, where the words in capitals are filled in, and is done."""
    begin, owner, said, told = SITUATIONS[situation]
    begin(kit)
    ran = kit("show", "s")
    assert said in ran.out
    given = [shlex.split(one["command"]) for one in kit("show", "s", "--json").json["commands"]]
    assert [words[:4] + words[-2:] for words in given] == [
        ["python", "-m", "resilience", "saga", "--journal", str(kit.path)]
    ] * len(told)
    assert [" ".join(words[4:-2]) for words in given] == told
    assert all(shlex.join(words) in ran.out for words in given)
    filled = {"WHY": "so it is", "JSON": '"coffee"', "MODULE": f"{KIOSK}:{owner}"}
    for verb, *words in (words[4:-2] for words in given):
        again = kit.copy(verb)
        app = [] if "--app" in words else ["--app", f"{KIOSK}:{owner}"]
        done = again(verb, *(filled.get(word, word) for word in words), *app)
        assert (done.code, done.err) == (verb == "check", ""), f"{verb}: {done.out}"


def test_one_that_a_process_has_is_asked_of_that_process(kit: Kit) -> None:
    with kit.journal() as journal:
        kiosk.Ask().start_sync(Order(1), id="s", journal=journal)
        assert "no process has it" not in kit("show", "s").out


def test_one_that_has_ended_asks_for_nothing(kit: Kit) -> None:
    kit.sold(Sell(), "s")
    assert kit("show", "s", "--json").json["commands"] == []
    assert kit("show", "s").out.endswith("  done\n")


def test_a_command_names_the_journal_only_if_the_environment_does_not(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.left("s")
    monkeypatch.chdir(kit.path.parent)
    monkeypatch.setenv("RESILIENCE_JOURNAL", kit.path.name)
    assert "python -m resilience saga pause s\n" in kit("show", "s").out


# cancel, pause, resume, retry, skip, undo, abort


def test_a_saga_is_paused_and_goes_on_again_where_nobody_has_it(kit: Kit) -> None:
    kit.begun("s", Sell)
    ran = kit("pause", "s", "--app", f"{KIOSK}:Sell", "--reason", "no milk")
    assert (ran.code, ran.out) == (0, "s: pause was done; it is paused now\n")
    assert states(kit, "s")["pour"] == "to come"
    ran = kit("resume", "s", "--app", f"{KIOSK}:Sell", "--json")
    assert (ran.code, ran.json["answer"], ran.json["state"]) == (0, "done", "completed")
    ran = kit("pause", "s", "--app", f"{KIOSK}:Sell")
    assert (ran.code, "it has ended" in ran.err) == (1, True)
    told = [line for line in kit("show", "s").out.splitlines() if "☞" in line]
    assert re.search(r"☞ +pause +by .+@.+ · no milk", told[0])
    assert re.search(r"☞ +resume +by .+@", told[1])


def test_a_saga_is_cancelled_where_nobody_has_it(kit: Kit) -> None:
    kit.left("s")
    ran = kit("resume", "s", "--app", f"{KIOSK}:Ask")
    assert (ran.code, ran.out) == (1, "s: resume was refused: it is not paused\n")
    ran = kit("cancel", "s", "--app", f"{KIOSK}:Ask", "--reason", "too long")
    assert (ran.code, ran.out) == (0, "s: cancel was done; it is undone now\n")


def test_what_was_asked_of_a_saga_that_waits_says_for_what(kit: Kit) -> None:
    kit.left("s")
    assert kit("pause", "s", "--app", f"{KIOSK}:Ask").code == 0
    assert kit("resume", "s", "--app", f"{KIOSK}:Ask").out == "s: resume was done; it waits now: answer\n"


def test_it_is_too_late_to_cancel_past_the_point_of_no_return(kit: Kit) -> None:
    kit.begun("s", Sell)
    kit.written("s", *(Result(one, "ok", Raw(b'""')) for one in ("reserve", "pay", "pour")))
    ran = kit("cancel", "s", "--app", f"{KIOSK}:Sell")
    assert (ran.code, "s: cancel was refused: too late" in ran.out) == (1, True)


@pytest.fixture
def barkeeper(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    """Another process, which runs the sagas of the kiosk, and has one under way: "s" is at its first step."""
    looks = count()

    def sleep(seconds: float) -> None:
        assert next(looks) < 400, "it waits for what does not come"
        clock.sleep(seconds)

    monkeypatch.setattr("resilience.cli._asking.clock", SimpleNamespace(now=clock.now, sleep=sleep))
    kit.begun("s", kiosk.Mix)
    with running(kiosk.BARKEEPER, kit.path, ROOT) as process:
        assert process.says() == "shake"
        yield process


def test_another_process_is_paused_and_resumed_and_completes(kit: Kit, barkeeper: Process) -> None:
    ran = kit("pause", "s", "--wait", "1m")
    assert (ran.code, ran.out) == (0, "s: pause was done; it is paused now\n")
    barkeeper.tell("shaken")
    until(lambda: states(kit, "s")["shake"] == "done")
    assert (states(kit, "s")["serve"], kinds(kit, "s")[-2:]) == ("next", ["asked", "result"])
    ran = kit("resume", "s", "--wait", "1m")
    assert (ran.code, ran.out) == (0, "s: resume was done; it goes on\n")
    assert barkeeper.says() == "serve"
    barkeeper.tell("served")
    until(lambda: kit("list", "--json").json[0]["status"] == "completed")


def test_another_process_is_cancelled_between_two_steps_and_undoes_what_it_did(kit: Kit, barkeeper: Process) -> None:
    assert kit("pause", "s", "--wait", "1m").code == 0
    barkeeper.tell("shaken")
    ran = kit("cancel", "s", "--wait", "1m", "--reason", "sold out")
    assert (ran.code, ran.out) == (0, "s: cancel was done; it is undone now\n")
    assert barkeeper.says() == "pour away shaken"


def test_another_process_is_cancelled_within_a_step_which_is_cut_off(kit: Kit, barkeeper: Process) -> None:
    ran = kit("cancel", "s", "--wait", "1m", "--reason", "sold out")
    assert (ran.code, ran.out) == (0, "s: cancel was done; it is undone now\n")
    assert barkeeper.says() == "pour away None"
    assert re.search(r"↩ +turns back +cancelled · under way: shake", kit("show", "s").out)


def test_a_retry_is_done_here_where_nobody_has_the_saga(kit: Kit) -> None:
    kit.sold(kiosk.stuck, "s", "other")
    ran = kit("retry", "s", "--app", f"{KIOSK}:Sell", "--reason", "the machine is repaired")
    assert (ran.code, ran.out) == (0, "s: retry was done; it is completed now\n")
    asked = [one["record"] for one in kit("show", "s", "--json").json["records"] if one["record"]["kind"] == "asked"]
    assert [(one["verb"], one["reason"]) for one in asked] == [("retry", "the machine is repaired")]
    assert re.fullmatch(rf".+@.+ {os.getpid()}", asked[0]["who"])
    assert re.search(r"☞ +retry +by .+@.+ · the machine is repaired", kit("show", "s").out)
    assert kinds(kit, "other")[-1] == "parked"


def test_other_sagas_that_nobody_has_are_let_be(kit: Kit) -> None:
    kit.sold(kiosk.stuck, "s")
    kit.left("asked")
    kit.begun("begun", Sell)
    assert kit("retry", "s", "--app", f"{KIOSK}:whole").code == 0
    assert kinds(kit, "asked") == kinds(kit, "begun") == ["start"]


def test_a_request_that_is_refused_does_not_run_the_saga_to_its_end(kit: Kit) -> None:
    kit.begun("begun", kiosk.Slow)
    ran = kit("retry", "begun", "--app", f"{KIOSK}:Slow")
    assert (ran.code, ran.out) == (1, "begun: retry was refused: nothing of it is parked\n")
    [one] = kit("list", "--json").json
    assert (one["status"], one["owner"]) == ("open", None)


def test_a_retry_that_fails_again_says_so(kit: Kit) -> None:
    kit.sold(kiosk.stuck, "s")
    ran = kit("retry", "s", "--app", f"{KIOSK}:stuck", "--json")
    assert (ran.code, ran.json) == (
        0,
        {"id": "s", "verb": "retry", "answer": "done", "refused": None, "status": "stuck", "state": "stuck"},
    )
    assert kit("retry", "s", "--app", f"{KIOSK}:stuck").out == "s: retry was done; it is stuck now: pour\n"


def test_a_skip_goes_on_with_the_value_that_is_given(kit: Kit) -> None:
    kit.sold(kiosk.stuck, "s")
    words = ["skip", "s", "--app", f"{KIOSK}:made", "--reason", "poured by hand"]
    ran = kit(*words)
    assert (ran.code, ran.out) == (
        1,
        "s: skip was refused: other steps take the result of 'pour': give one to go on with\n",
    )
    ran = kit(*words, "--value", "7")
    assert (ran.code, "--value is no result of step 'pour'" in ran.err) == (2, True)
    assert kit(*words, "--value", '"coffee"', "--step", "pour").out == "s: skip was done; it is repaired now\n"
    assert '"coffee, receipt 1"' in kit("show", "s").out


def test_an_undo_turns_a_stuck_saga_back(kit: Kit) -> None:
    kit.sold(kiosk.stuck, "s")
    assert kit("undo", "s", "--app", f"{KIOSK}:Sell").code == 0
    assert kit("list", "--json").json[0]["status"] in {"undone", "repaired"}
    assert states(kit, "s")["reserve"] == "undone"


def test_an_abort_ends_it_as_it_is(kit: Kit) -> None:
    kit.sold(kiosk.broken, "s")
    assert kit("abort", "s", "--app", f"{KIOSK}:Sell", "--reason", "x").out == "s: abort was done; it is repaired now\n"
    assert states(kit, "s")["reserve"] not in {"undone", "parked"}
    ran = kit("retry", "s", "--app", f"{KIOSK}:Sell")
    assert (ran.code, "it has ended" in ran.err) == (1, True)


def test_a_saga_that_waits_is_let_go_again_once_it_was_asked(kit: Kit) -> None:
    kit.left("asked")
    ran = kit("retry", "asked", "--app", f"{KIOSK}:Ask")
    assert (ran.code, ran.out) == (1, "asked: retry was refused: nothing of it is parked\n")
    assert kit("list", "--json").json[0]["owner"] is None


def test_where_nobody_can_do_it_the_request_is_left_and_what_to_run_is_said(kit: Kit) -> None:
    kit.sold(kiosk.stuck, "s")
    for _ in range(2):  # the second time it is the same letter
        ran = kit("retry", "s", "--wait", "0s")
        assert ran.code == 1
        assert "no process has the saga, and no --app was given" in ran.out
        assert f"python -m resilience saga retry s --app MODULE --journal {kit.path}\n" in ran.out
    assert len(kit("show", "s", "--json").json["unheard"]) == 1
    ran = kit("retry", "s", "--wait", "0s", "--app", f"{KIOSK}:Ask")
    assert f"--app {KIOSK}:Ask has no sell" in ran.out
    assert kit("retry", "s", "--wait", "0s", "--json").json["answer"] == "unheard"
    with kit.journal() as journal, SagaRunner(journal, Sell()):  # the application starts again
        handle = Sell.handle_sync("s", journal=journal)
        until(lambda: handle.status().state != "stuck")
        assert handle.result() == "tea, receipt 1"


def test_a_process_that_has_the_saga_answers_itself(kit: Kit) -> None:
    kit.sold(kiosk.stuck, "s")
    with kit.journal() as journal, SagaRunner(journal, Sell()):
        ran = kit("retry", "s", "--wait", "1m")
    assert (ran.code, ran.out) == (0, "s: retry was done; it is completed now\n")


def test_an_owner_that_does_not_answer_is_named(kit: Kit) -> None:
    with kit.journal() as journal:
        journal.start("s", "sell", b'{"kind":"start","saga":"sell","input":null,"shape":[]}').wait()
        ran = kit("abort", "s", "--reason", "x", "--wait", "0s", "--app", f"{KIOSK}:Sell")
    assert ran.code == 1
    assert re.search(r"nobody has answered it within 0 ms; owner \d+ has the saga", ran.out)


# export


def test_an_export_holds_every_record_and_letter(kit: Kit) -> None:
    kit.sold(Sell(), "s")
    kit.left("asked")
    with kit.journal() as journal:
        kiosk.Ask.answer.send_sync("asked", "yes", journal=journal, who="ann")
    lines = [json.loads(line) for line in kit("export").out.splitlines()]
    assert [one["record"]["kind"] for one in lines if one["id"] == "s"] == ["start", *["result"] * 4, "end"]
    assert [one["letter"]["value"] for one in lines if "letter" in one] == ["yes"]
    one_only = kit("export", "asked").out.splitlines()
    assert {json.loads(line)["id"] for line in one_only} == {"asked"}
    assert kit("export", "nobody").code == 1


# check


def test_a_check_is_content_with_a_whole_journal_and_code_that_fits(kit: Kit) -> None:
    kit.sold(Sell(), "s")
    kit.left("asked")
    ran = kit("check", "--app", f"{KIOSK}:whole")
    assert (ran.code, ran.out) == (0, f"1 saga open or stuck, compared with {KIOSK}:whole; 0 problems\n")
    assert kit("check", "--app", f"{KIOSK}:whole", "--json").json == {"sagas": 1, "uncompared": {}, "problems": []}


def test_a_check_without_code_says_what_it_has_not_compared(kit: Kit) -> None:
    kit.left("asked")
    kit.begun("begun", Sell)
    kit.begun("begun, too", Sell)
    ran = kit("check")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "ask: 1 saga compared with no code; give --app MODULE",
        "sell: 2 sagas compared with no code; give --app MODULE",
        "3 sagas open or stuck; 0 problems",
    ]
    assert kit("check", "--json").json == {"sagas": 3, "uncompared": {"ask": 1, "sell": 2}, "problems": []}


def test_a_check_finds_stuck_sagas_and_code_that_does_not_fit(kit: Kit) -> None:
    kit.sold(kiosk.stuck, "s")
    kit.left("asked")
    ran = kit("check", "--app", f"{KIOSK}:Renamed", "--json")
    assert ran.code == 1
    problems = [(one["id"], one["problem"]) for one in ran.json["problems"]]
    assert problems[0] == ("s", "stuck: pour waits for an operator (step-failed)")
    assert ("s", "the result of 'pay' cannot be read any more: it should be int: Expected `int`, got `str`") in problems
    assert any("step 'reserve' has run, and the class has no such step" in text for _, text in problems)
    assert problems[-1] == ("asked", f"--app {KIOSK}:Renamed has no saga called 'ask'")
    assert "s: stuck: pour waits" in kit("check").out


def test_what_waits_for_the_class_to_fit_is_no_problem_once_it_does(kit: Kit) -> None:
    kit.sold(kiosk.stuck, "s")
    with kit.journal() as journal:
        journal.send("s", "control", b'{"verb":"retry"}', "ann").wait()
        with SagaRunner(journal, kiosk.Renamed()):
            handle = Sell.handle_sync("s", journal=journal)
            until(lambda: None in handle._stage(journal.read("s").wait()).progress.parked)
    assert "all of it waits for an operator (definition-changed)" in kit("check").out
    assert "definition-changed" not in kit("check", "--app", f"{KIOSK}:Sell").out


def test_a_retry_goes_on_once_the_class_fits_again(kit: Kit) -> None:
    kit.begun("s", Sell)
    kit.written("s", Result("reserve", "ok", Raw(b"1")))
    assert kit("pause", "s", "--app", f"{KIOSK}:Renamed").code == 0
    assert kit("resume", "s", "--app", f"{KIOSK}:Renamed").out == "s: resume was done; it is stuck now: all of it\n"
    ran = kit("retry", "s", "--app", f"{KIOSK}:Renamed")
    assert (ran.code, "s: retry was refused: the class still does not fit: step 'reserve'" in ran.out) == (1, True)
    ran = kit("retry", "s", "--app", f"{KIOSK}:Sell")
    assert (ran.code, ran.out) == (0, "s: retry was done; it is completed now\n")


# purge


def test_a_purge_counts_first_and_forgets_when_told_to(kit: Kit) -> None:
    kit.sold(Sell(), "sold")
    kit.sold(kiosk.stuck, "stuck")
    assert kit("purge", "--older-than", "1d").out.startswith("0 sagas ended before ")
    assert kit("purge", "--older-than", "0s", "--status", "undone", "--json").json["sagas"] == 0
    ran = kit("purge", "--older-than", "0s")
    assert re.fullmatch(r"1 saga ended before .* UTC; --yes forgets them for good\n", ran.out)
    assert len(kit("list", "--json").json) == 2
    assert kit("purge", "--older-than", "0s", "--yes").out.startswith("forgotten: 1 saga that ended before ")
    assert [one["id"] for one in kit("list", "--json").json] == ["stuck"]


# What is wrong with a command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "nobody"], "nobody: no saga of this id is in "),
        (["retry", "nobody"], "nobody: no saga of this id is in "),
    ],
)
def test_an_unknown_saga_is_an_error(kit: Kit, words: list[str], said: str) -> None:
    kit.sold(Sell(), "s")
    ran = kit(*words)
    assert (ran.code, ran.err.startswith(f"error: {said}")) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["skip", "s"], "the following arguments are required: --reason"),
        (["abort", "s", "--reason", " "], "it is empty; say why"),
        (["skip", "s", "--reason", "x", "--value", "coffee"], "'coffee' is no JSON"),
        (["list", "--limit", "0"], "'0' is no number of sagas"),
        (["list", "--status", "lost"], "invalid choice: 'lost'"),
        (["purge"], "--older-than"),
        (["purge", "--older-than", "soon"], "'soon' is no time: give a number and s, m, h, d or w, like 30d"),
        (["purge", "--older-than", "1d", "--status", "open"], "invalid choice: 'open'"),
        (["check", "--app", "no.such.module"], "importing 'no.such.module' raised ModuleNotFoundError"),
        (["check", "--app", f"{KIOSK}:gone"], f"'{KIOSK}' has no 'gone'; give --app module, or module:name"),
        (["check", "--app", f"{KIOSK}:number"], "is 7, and no saga"),
        (["check", "--app", f"{KIOSK}:failing"], "calling it raised LookupError: no such till"),
        (["check", "--app", KIOSK], "two sagas are called 'sell'"),
        (["check", "--app", "json"], "there is no saga in it"),
        (["retry", "s", "--app", f"{KIOSK}:Needy"], "Needy cannot be made without its clients"),
        (["frobnicate"], "invalid choice: 'frobnicate'"),
    ],
)
def test_a_command_that_makes_no_sense_says_what_does(kit: Kit, words: list[str], said: str) -> None:
    kit.sold(kiosk.stuck, "s")
    ran = kit(*words)
    assert ran.code == 2
    assert said in ran.err
    assert kinds(kit, "s")[-1] == "parked"
    assert kit("show", "s", "--json").json["unheard"] == []


def test_no_journal_is_made_where_a_name_is_mistyped(kit: Kit) -> None:
    ran = kit("list")
    assert (ran.code, ran.err) == (2, f"error: there is no journal at {str(kit.path)!r}\n")
    assert not kit.path.exists()


def test_a_file_that_is_no_journal_is_an_error(kit: Kit) -> None:
    kit.path.write_text("Dear diary, " * 1_000)
    ran = kit("list")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: ")


def test_the_journal_may_come_from_the_environment(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["saga", "list"]) == 2
    assert "give --journal PATH, or set RESILIENCE_JOURNAL" in capsys.readouterr().err
    kit.sold(Sell(), "s")
    monkeypatch.setenv("RESILIENCE_JOURNAL", str(kit.path))
    assert main(["saga", "list"]) == 0


def test_an_error_of_our_own_is_a_line_as_well(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("by\x1b zero")

    kit.sold(Sell(), "s")
    monkeypatch.setattr("resilience.cli._main.story_of", fails)
    ran = kit("show", "s")
    assert (ran.code, ran.err) == (1, "error: ZeroDivisionError: by\\x1b zero\n")


def test_who_interrupts_it_gets_no_traceback(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    kit.sold(Sell(), "s")
    monkeypatch.setattr("resilience.cli._main.story_of", interrupted)
    assert kit("show", "s").code == 130


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example_that_makes_sense(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["saga", command, "--help"])
    told = capsys.readouterr().out
    *_, example = told.splitlines()
    start, _, words = example.partition("  python -m resilience ")
    assert (start, "example:" in told) == ("", True)
    given = parse(shlex.split(words.partition(" >")[0]))
    assert given.command == command


def test_the_help_of_the_kit_lists_its_commands_and_where_to_start(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["saga", "--help"])
    told = capsys.readouterr().out
    assert re.findall(r"(?m)^    (\w+) ", told) == COMMANDS
    assert "python -m resilience saga show order-42" in told
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--help"])
    assert "python -m resilience saga list" in capsys.readouterr().out


# As a program


def program(kit: Kit, *words: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "resilience", "saga", *words],
        check=False,
        cwd=ROOT,
        env={**os.environ, "RESILIENCE_JOURNAL": str(kit.path), "PYTHONIOENCODING": "utf-8"},
        stderr=subprocess.PIPE,
        stdout=stdout,
        text=True,
        encoding="utf-8",
        timeout=60,
    )


def test_it_is_a_program(kit: Kit) -> None:
    kit.sold(kiosk.stuck, "s")
    kit.left("asked")
    listed = program(kit, "list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.endswith("2 sagas: 1 stuck, 1 open\n")
    assert "■  parked: pour" in program(kit, "show", "s").stdout
    assert program(kit, "check").returncode == 1
    settled = program(kit, "retry", "s", "--app", f"{KIOSK}:Sell")
    assert (settled.returncode, settled.stdout) == (0, "s: retry was done; it is completed now\n")
    assert program(kit, "skip", "s").returncode == 2


def test_a_reader_that_goes_away_is_no_error(kit: Kit) -> None:
    kit.sold(Sell(), "s")
    read, write = os.pipe()
    os.close(read)
    ran = program(kit, "show", "s", stdout=write)
    os.close(write)
    assert (ran.returncode, ran.stderr) == (1, "")
