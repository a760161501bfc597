"""The order saga's surroundings: its script, its services, its audit and what one sees. The real run is `nox -s demo`.

The audit is the judge of that run, so it is shown here to notice each broken promise, and only that one.
"""

import http.client
import io
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from examples.order_saga import __main__ as program
from examples.order_saga.audit import CHECKS, Finding, audit
from examples.order_saga.board import Board, Kill, State
from examples.order_saga.books import Arrival, Books, Entry, Move
from examples.order_saga.participants import PARTICIPANTS
from examples.order_saga.sabotage import SABOTAGE
from examples.order_saga.screen import frame, line, watch
from examples.order_saga.script import ITEMS, NOWHERE, TRIES, Fault, Reaction, Script
from examples.order_saga.service import Service
from examples.order_saga.summary import rows
from examples.order_saga.timeline import COLUMNS, _places, draw, interesting, marks
from examples.order_saga.values import Order
from resilience.saga.barrier import headers

ORDER = Order("order-1", "ann", "lamp", 2, 9_800, "Oslo")


# The script


def test_the_same_seed_tells_the_same_story_and_another_another() -> None:
    one, same, other = Script(50, 1), Script(50, 1), Script(50, 2)
    assert one.orders == same.orders != other.orders
    assert (one.stock, one.accounts) == (same.stock, same.accounts)
    assert [order.id for order in one.orders] == [f"order-{number}" for number in range(1, 51)]
    assert all(order.cents == order.count * ITEMS[order.item] for order in one.orders)


def test_there_is_something_to_refuse_for_each_service() -> None:
    script = Script(200, 1)
    wanted = Counter[str]()
    for order in script.orders:
        wanted[order.item] += order.count
    assert any(script.stock[item] < wanted[item] for item in ITEMS)
    assert sum(script.accounts.values()) < sum(order.cents for order in script.orders)
    assert any(order.city == NOWHERE for order in script.orders)


@given(st.integers(), st.integers(1, 9))
def test_a_fault_depends_on_the_call_and_on_nothing_else(seed: int, nth: int) -> None:
    key = "order-7/charge"
    reaction = Script(10, seed).reaction(key, nth)
    assert reaction == Script(99, seed).reaction(key, nth)
    assert 0 < reaction.before < 0.1 > reaction.after > 0


def test_a_step_out_of_luck_meets_faults_as_long_as_the_retries_last_and_its_undo_does_not() -> None:
    script = Script(200, 1)
    unlucky = [
        key
        for order in script.orders
        if all(script.reaction(key := f"{order.id}/charge", nth).fault is not Fault.NONE for nth in range(1, TRIES + 1))
    ]
    assert 3 < len(unlucky) < 30
    assert any(script.reaction(key, TRIES + 1).fault is Fault.NONE for key in unlucky)
    undos = [script.reaction(f"order-{number}/charge/undo", 1).fault for number in range(1_000)]
    assert 0.1 < sum(fault is not Fault.NONE for fault in undos) / 1_000 < 0.25


# The services


class Calm(Script):
    """A day without faults, but for one kind of them."""

    fault = Fault.NONE

    def reaction(self, key: str, nth: int) -> Reaction:
        return Reaction(self.fault if nth == 1 else Fault.NONE, 0.0, 0.0)


class Client:
    """Speaks with a service that runs in a thread of this process."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.address = ("127.0.0.1", service.server_port)

    def post(self, path: str, order: Order = ORDER, key: str | None = None) -> tuple[int, Any]:
        key = key or order.id + {"/release": "/reserve/undo", "/refund": "/charge/undo"}.get(path, path)
        with closing(http.client.HTTPConnection(*self.address, timeout=30)) as connection:
            connection.request("POST", path, json.dumps(asdict(order)), headers(key))
            response = connection.getresponse()
            return response.status, json.load(response)

    def rows(self, query: str) -> list[Any]:
        with closing(self.service.connect()) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    services: list[Service] = []

    def start(name: str, fault: Fault = Fault.NONE) -> Client:
        script = type("Day", (Calm,), {"fault": fault})(10, 1)
        script.__dict__.update(stock={"lamp": 5}, accounts={"ann": 10_000})
        service = Service(PARTICIPANTS[name], script, tmp_path / f"{name}.db")
        threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01}).start()
        services.append(service)
        return Client(service)

    yield start
    for service in services:
        service.closing.set()
        service.shutdown()
        service.server_close()


def test_a_repeated_call_is_answered_the_same_and_has_no_effect(serve: Callable[..., Client]) -> None:
    client = serve("inventory")
    assert [client.post("/reserve"), client.post("/reserve")] == [(200, {"item": "lamp", "count": 2})] * 2
    assert client.rows("SELECT available FROM stock") == [(3,)]
    assert [client.post("/release"), client.post("/release")] == [(200, {})] * 2
    assert client.rows("SELECT available FROM stock") == [(5,)]
    assert client.rows("SELECT verdict FROM calls") == [("done",), ("repeated",), ("undone",), ("repeated",)]


def test_an_undo_of_nothing_does_nothing_and_what_comes_then_is_too_late(serve: Callable[..., Client]) -> None:
    client = serve("payments")
    assert client.post("/refund") == (200, {})
    status, body = client.post("/charge")
    assert (status, "comes too late" in body["refused"]) == (409, True)
    assert client.rows("SELECT cents FROM accounts") == [(10_000,)]
    assert client.rows("SELECT verdict FROM calls") == [("nothing to undo",), ("too late",)]


def test_a_refusal_stands_and_has_nothing_to_undo(serve: Callable[..., Client]) -> None:
    client = serve("payments")
    dear = replace(ORDER, cents=10_001)
    assert client.post("/charge", dear) == (409, {"refused": "ann has 10000 cents, the price is 10001"})
    assert client.post("/charge", ORDER) == (409, {"refused": "ann has 10000 cents, the price is 10001"})
    assert client.post("/refund") == (200, {})
    assert client.rows("SELECT verdict FROM calls") == [("refused",), ("refused",), ("nothing to undo",)]
    assert client.rows("SELECT * FROM moves") == []


def test_an_order_is_written_down_and_struck_out(serve: Callable[..., Client]) -> None:
    client = serve("orders")
    assert client.post("/create") == (200, {"number": 1})
    assert client.post("/create", replace(ORDER, id="order-2", city=NOWHERE))[0] == 409
    assert client.rows("SELECT order_id FROM orders") == [("order-1",)]
    assert client.post("/withdraw", key="order-1/create/undo") == (200, {})
    assert client.rows("SELECT order_id FROM orders") == []
    assert client.rows("SELECT verb FROM moves") == [("create",), ("withdraw",)]


def test_a_503_did_nothing(serve: Callable[..., Client]) -> None:
    client = serve("inventory", Fault.UNAVAILABLE)
    assert client.post("/reserve") == (503, {})
    assert client.rows("SELECT * FROM moves") == []
    assert client.post("/reserve")[0] == 200


def test_a_lost_reply_was_an_effect(serve: Callable[..., Client]) -> None:
    client = serve("inventory", Fault.LOST)
    with pytest.raises(ConnectionError):
        client.post("/reserve")
    assert client.rows("SELECT available FROM stock") == [(3,)]
    assert client.post("/reserve") == (200, {"item": "lamp", "count": 2})
    assert client.rows("SELECT fault, verdict FROM calls") == [("lost reply", "done"), ("none", "repeated")]


# The audit


def order(number: int, **changes: Any) -> Order:
    return Order(f"order-{number}", "ann", "lamp", 1, 100, "Oslo", **changes)


def moved(number: int, *verbs: str) -> list[Move]:
    """What the services did for an order, one thing each tenth of a second."""
    services = {"reserve": "inventory", "release": "inventory", "charge": "payments", "refund": "payments"}
    names = {"inventory": ("lamp", 1), "payments": ("ann", 100), "orders": ("Oslo", 1)}
    return [
        Move(service := services.get(verb, "orders"), number + place / 10, f"order-{number}", verb, *names[service])
        for place, verb in enumerate(verbs, 1)
    ]


def told(number: int, *records: tuple[str, str, str]) -> list[Entry]:
    """What the journal has about an order: each record comes a twentieth of a second after what it is about."""
    return [Entry(number + 0.05 + place / 10, *record) for place, record in enumerate(records)]


START, COMPLETED, UNDONE = ("start", "", ""), ("end", "", "completed"), ("end", "", "undone")
RESERVED, CHARGED, CREATED = (("result", step, "ok") for step in ("reserve", "charge", "create"))


def honest() -> Books:
    """Four orders: one placed, one refused at once, one undone, and one that was killed after its charge."""
    script = Script(4, 1)
    script.__dict__.update(
        orders=tuple(order(number) for number in range(1, 5)),
        stock={"lamp": 10, "rug": 3},
        accounts={"ann": 1_000, "bob": 50},
    )
    undone = [("turn", "create", ""), ("undone", "charge", ""), ("undone", "reserve", ""), UNDONE]
    return Books(
        script,
        stock={"lamp": 8, "rug": 3},
        accounts={"ann": 800, "bob": 50},
        orders=["order-1", "order-4"],
        moves=[
            *moved(1, "reserve", "charge", "create"),
            *moved(3, "reserve", "charge", "refund", "release"),
            *moved(4, "reserve", "charge", "create"),
        ],
        arrivals=[
            Arrival("payments", 4.2, "order-4/charge", 1, "none", "done"),
            Arrival("payments", 4.27, "order-4/charge", 2, "none", "repeated"),
            Arrival("orders", 3.25, "order-3/create", 1, "503", "nothing"),
        ],
        statuses={
            "order-1": "completed",
            "order-2": "undone",
            "order-3": "undone",
            "order-4": "completed",
        },
        journal={
            "order-1": told(1, START, RESERVED, CHARGED, CREATED, COMPLETED),
            "order-2": told(2, START, ("result", "reserve", "no"), ("turn", "reserve", ""), UNDONE),
            "order-3": told(3, START, RESERVED, CHARGED, ("result", "create", "no"), *undone),
            "order-4": [
                *told(4, START, RESERVED),
                Entry(4.26, "resumed"),
                Entry(4.29, *CHARGED),
                *told(4, *[START] * 4, CREATED, COMPLETED)[4:],
            ],
        },
        kills=[Kill(4.24, 4242, ("order-4",))],
    )


def broken(books: Books) -> dict[str, Finding]:
    return {finding.name: finding for finding in audit(books) if not finding.kept}


def test_honest_books_keep_every_promise() -> None:
    findings = audit(honest())
    assert [finding.name for finding in findings] == list(CHECKS) == list(SABOTAGE)
    assert not broken(honest())


@pytest.mark.parametrize("promise", SABOTAGE)
def test_the_audit_notices_each_broken_promise_and_only_that(promise: str) -> None:
    books = honest()
    SABOTAGE[promise](books)
    assert list(broken(books)) == [promise]


@pytest.mark.parametrize(
    ("left", "says"),
    [
        (["reserve"], "reserve only"),
        (["reserve", "charge"], "reserve and charge only"),
        (["reserve", "charge", "release"], "charge only"),
    ],
)
def test_an_order_left_in_the_middle_is_half_done(left: list[str], says: str) -> None:
    books = honest()
    books.moves[:] = [move for move in books.moves if move.order != "order-3"] + moved(3, *left)
    assert broken(books)["half_done"].offenders == (f"order-3: {says}",)


@pytest.mark.parametrize(
    ("verbs", "says"),
    [
        (["reserve", "release", "release"], {"order-3: release 2 times", "order-3: release without reserve"}),
        (["refund"], {"order-3: refund without charge"}),
        (["reserve", "reserve", "release", "release"], {"order-3: reserve 2 times", "order-3: release 2 times"}),
    ],
)
def test_what_is_done_or_undone_twice_is_told(verbs: list[str], says: set[str]) -> None:
    books = honest()
    books.moves[:] = [move for move in books.moves if move.order != "order-3"] + moved(3, *verbs)
    assert set(broken(books)["twice"].offenders) == says


@pytest.mark.parametrize("status", ["open", "stuck", "repaired", None])
def test_an_order_that_has_not_ended_is_told(status: str | None) -> None:
    books = honest()
    if status:
        books.statuses["order-2"] = status
    else:
        del books.statuses["order-2"]
    assert broken(books)["ended"].offenders == (f"order-2 is {status or 'unknown'}",)


def test_a_journal_that_says_otherwise_than_the_services_is_told() -> None:
    books = honest()
    books.statuses["order-1"] = "undone"
    assert set(broken(books)) == {"stock", "money", "journal"}
    assert broken(books)["stock"].offenders == ("lamp: 10 - 1 is not 8",)


def test_a_step_with_two_results_was_run_by_two() -> None:
    books = honest()
    books.journal["order-1"].insert(2, books.journal["order-1"][1])
    assert broken(books)["journal"].offenders == ("order-1: reserve has 2 results",)


def test_an_order_that_a_kill_has_met_and_nobody_has_finished_is_told() -> None:
    books = honest()
    books.statuses["order-4"] = "open"
    assert broken(books)["kills"].offenders == ("order-4 did not live through it",)


# What one sees


def shown(renderable: Any) -> str:
    console = Console(width=120, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_timeline_shows_the_kill_between_the_effect_and_its_record() -> None:
    books = honest()
    found = interesting(books)
    assert found
    assert (found[0], found[1].verb) == ("order-4", "charge")
    story = [mark.words for mark in marks(books, "order-4")]
    assert story == [
        "start",
        "reserve: done",
        "result reserve ok",
        "charge: done",
        "SIGKILL",
        "taken up by another process",
        "charge, call 2: known already, answered the same",
        "result charge ok",
        "create: done",
        "result create ok",
        "completed",
    ]
    assert "order-4: killed after charge, before it was written down; it ended completed" in shown(draw(books))


@given(st.lists(st.floats(0, 100), min_size=1, max_size=100).map(sorted))
def test_the_timeline_keeps_the_order_within_its_width(times: list[float]) -> None:
    places = list(_places(times))
    assert places == sorted(places)
    assert 0 <= places[0] <= places[-1] < COLUMNS
    assert len(set(places)) == len(times) or len(times) > COLUMNS / 2


def test_a_run_without_such_a_kill_says_so() -> None:
    books = honest()
    books.kills[:] = [Kill(9.0, 1, ("order-4",))]
    assert "another --seed" in shown(draw(books))


def test_the_summary_counts_what_is_in_the_books() -> None:
    figures = {title.strip(): figure for title, figure in rows(honest())}
    assert (figures["placed"], figures["undone"]) == ("2", "2")
    assert (figures["turned away with a 503"], figures["calls that had come before"]) == ("1", "1")
    assert figures["the orchestrator was killed"] == "once"


events = st.tuples(
    st.sampled_from([f"order-{number}" for number in range(1, 60)]),
    st.sampled_from(["began", "resumed", "completed", "undone", "stuck", "SIGKILL"]),
)


@given(st.lists(events, max_size=100), st.integers(60, 200))
def test_whatever_is_told_can_be_shown(story: list[tuple[str, str]], width: int) -> None:
    board = Board.of([f"order-{number}" for number in range(1, 60)])
    for name, event in story:
        if event == "SIGKILL":
            board.killed(1)
        else:
            board.hear({"order": name, "event": event, "reason": ""})
    picture = shown(frame(board, width))
    assert f"59 orders, {board.ended} ended" in picture
    assert picture.count("■") == board.counts[State.COMPLETED] + 1, "one for each, and one in the legend"
    assert f"completed {board.counts[State.COMPLETED]:3}" in line(board, 3)


def test_elsewhere_than_on_a_terminal_lines_tell_of_kills() -> None:
    board = Board.of(["order-1", "order-2"])
    board.hear({"order": "order-1", "event": "began", "reason": ""})
    board.killed(4242)
    looks = iter([True, False])
    console = Console(width=120, file=io.StringIO())
    watch(board, lambda: next(looks), console)
    assert isinstance(console.file, io.StringIO)
    assert "SIGKILL number 1 met 1 orders under way" in console.file.getvalue()


# The whole


def test_the_whole_program_says_by_its_exit_code_whether_a_promise_was_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "run", lambda *_: honest())
    assert program.main([]) == 0
    assert "✗ " not in capsys.readouterr().out.partition("No order is half-done")[2]
    assert program.main(["--sabotage", "half_done"]) == 1
    assert capsys.readouterr().out.partition("No order is half-done")[2].count("✗") == 1


@pytest.mark.parametrize("wrong", [["--orders", "0"], ["--kills", "x"], ["--sabotage", "everything"]])
def test_senseless_options_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(wrong)
    assert ended.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(SystemExit):
        program.main(["--keep", str(tmp_path)])
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.scenario(4)
def test_a_dozen_orders_live_through_a_real_kill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--orders", "12", "--kills", "1", "--seed", "3", "--keep", str(tmp_path / "run")]) == 0
    assert "SIGKILL number 1" in capsys.readouterr().out
