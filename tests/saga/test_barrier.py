"""The participant's table on real SQLite files: whatever comes, however often, has its effect once or not at all."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.saga.barrier import Barrier, TooLate, headers, key_from

KEY, UNDO = "order-42/charge", "order-42/charge/undo"


class Crash(Exception):
    """The participant dies before it commits."""


class Shop:
    """A service that takes money, and the two handlers that a saga calls."""

    def __init__(self, path: str = ":memory:") -> None:
        self.connection = sqlite3.connect(path, check_same_thread=False)
        self.connection.execute("CREATE TABLE IF NOT EXISTS money (cents INTEGER)")
        self.barrier = Barrier(self.connection)
        self.barrier.create_table()
        self.connection.commit()

    def charge(self, key: str = KEY, *, crash: bool = False, declined: bool = False) -> str | None:
        with self.connection:
            call = self.barrier.do(key)
            if call.fresh and declined:
                call.refuse("declined")
            elif call.fresh:
                self.connection.execute("INSERT INTO money VALUES (100)")
                call.answer(f"charged {self.balance}")
            if crash:
                raise Crash
        return call.reply

    def refund(self, key: str = UNDO, *, crash: bool = False) -> str | None:
        with self.connection:
            call = self.barrier.undo(key)
            if call.fresh:
                self.connection.execute("INSERT INTO money VALUES (-100)")
                call.answer(f"refunded {self.balance}")
            if crash:
                raise Crash
        return call.reply

    @property
    def balance(self) -> int:
        (cents,) = self.connection.execute("SELECT coalesce(sum(cents), 0) FROM money").fetchone()
        return int(cents)

    def rows(self) -> list[tuple[Any, ...]]:
        return self.connection.execute(
            "SELECT call_key, op, had_effect, reply FROM saga_barrier ORDER BY 1, 2"
        ).fetchall()


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    with closing(shop.connection):
        yield shop


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Shop, Shop]]:
    """The same service in two workers, on one file."""
    shops = Shop(str(tmp_path / "shop.db")), Shop(str(tmp_path / "shop.db"))
    with closing(shops[0].connection), closing(shops[1].connection):
        yield shops


def test_a_duplicate_has_no_effect_and_gets_the_first_reply(shop: Shop) -> None:
    assert [shop.charge(), shop.charge(), shop.charge("order-43/charge")] == [
        "charged 100",
        "charged 100",
        "charged 200",
    ]
    assert [shop.refund(), shop.refund()] == ["refunded 100", "refunded 100"]
    assert shop.balance == 100


def test_an_undo_of_what_never_came_does_nothing_and_shuts_the_door(shop: Shop) -> None:
    assert [shop.refund(), shop.refund()] == [None, None]
    with pytest.raises(TooLate, match=r"'order-42/charge' has been undone already") as late:
        shop.charge()
    assert (late.value.key, shop.balance) == (KEY, 0)


def test_what_was_done_and_undone_is_over(shop: Shop) -> None:
    shop.charge()
    shop.refund()
    with pytest.raises(TooLate):
        shop.charge()
    assert shop.balance == 0


def test_a_refusal_is_kept_and_leaves_nothing_to_undo(shop: Shop) -> None:
    assert shop.charge(declined=True) == "declined"
    assert shop.charge(declined=False) == "declined", "the money has come since; the saga was told no"
    with shop.connection:
        assert shop.barrier.do(KEY).refused
    assert shop.refund() is None
    assert shop.balance == 0


def test_what_was_rolled_back_was_never_there(shop: Shop) -> None:
    with pytest.raises(Crash):
        shop.charge(crash=True)
    assert (shop.rows(), shop.balance) == ([], 0)
    assert shop.charge() == "charged 100"
    with pytest.raises(Crash):
        shop.refund(crash=True)
    assert (len(shop.rows()), shop.balance) == (1, 100)
    assert shop.refund() == "refunded 0"


events = st.lists(
    st.one_of(
        st.builds(lambda crash, no: ("charge", {"crash": crash, "declined": no}), st.booleans(), st.booleans()),
        st.builds(lambda crash: ("refund", {"crash": crash}), st.booleans()),
    ),
    max_size=8,
)


@given(events, st.booleans())
def test_whatever_comes_the_effect_is_one_or_none_and_each_side_hears_one_answer(
    story: list[tuple[str, dict[str, bool]]], other_key_too: bool
) -> None:
    """Any order of calls, undos, duplicates, refusals and crashes, against a model that fits in one's head."""
    shop = Shop()
    charged: str | None = None  # what the first charge that was committed answered
    undone = refund_reply = None
    effect = 0
    for verb, how in story:
        if other_key_too:
            with suppress(Crash, TooLate):
                getattr(shop, verb)("other/charge" if verb == "charge" else "other/charge/undo", **how)
        before = shop.balance
        if verb == "charge":
            if undone:
                with pytest.raises(TooLate):
                    shop.charge(**how)
            elif how["crash"]:
                with pytest.raises(Crash):
                    shop.charge(**how)
            else:
                reply = shop.charge(**how)
                charged = charged or reply
                assert reply == charged
                effect = 0 if charged == "declined" else 1
                assert shop.balance - before in {0, 100}
        elif how["crash"]:
            with pytest.raises(Crash):
                shop.refund(**how)
            assert shop.balance == before
        else:
            reply = shop.refund()
            refund_reply = reply if not undone else refund_reply
            assert reply == refund_reply
            assert shop.balance - before == (-100 if effect and not undone else 0)
            undone, effect = True, 0
        if not other_key_too:
            assert shop.balance == 100 * effect
    shop.connection.close()


def race(*calls: Callable[[], object]) -> list[object]:
    """What each answers or raises, all begun at the same moment."""
    answers: list[object] = [None] * len(calls)
    barrier = threading.Barrier(len(calls))

    def run(place: int) -> None:
        barrier.wait()
        try:
            answers[place] = calls[place]()
        except Exception as error:
            answers[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return answers


def test_of_two_duplicates_at_once_the_second_waits_and_answers_the_same(two: tuple[Shop, Shop]) -> None:
    assert race(two[0].charge, two[1].charge) == ["charged 100"] * 2
    assert race(two[0].refund, two[1].refund) == ["refunded 0"] * 2
    assert two[0].balance == 0


def test_a_call_and_its_undo_at_once_come_to_nothing(two: tuple[Shop, Shop]) -> None:
    for number in range(10):
        key = f"order-{number}/charge"
        charged, refunded = race(
            lambda key=key: two[0].charge(key),  # type: ignore[misc] # mypy infers no lambda with a default
            lambda key=key: two[1].refund(f"{key}/undo"),  # type: ignore[misc] # as above
        )
        assert (charged, refunded) == ("charged 100", "refunded 0") or (
            isinstance(charged, TooLate) and refunded is None
        )
        assert two[0].balance == 0


def test_who_waits_for_one_that_crashes_does_the_work(two: tuple[Shop, Shop]) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def dies() -> None:
        with two[0].connection:
            two[0].barrier.do(KEY)
            inside.set()
            go_on.wait(30)
            raise Crash

    def waits() -> str | None:
        inside.wait(30)
        two[1].connection.set_trace_callback(lambda _: go_on.set())
        return two[1].charge()

    died, waited = race(dies, waits)
    assert isinstance(died, Crash)
    assert waited == "charged 100"
    assert two[1].balance == 100


def test_the_reply_belongs_under_if_fresh(shop: Shop) -> None:
    shop.charge()
    with shop.connection, pytest.raises(RuntimeError, match=r"belongs under `if call\.fresh:`"):
        shop.barrier.do(KEY).answer("again")
    with shop.connection, pytest.raises(RuntimeError, match="cannot be refused"):
        shop.barrier.undo(UNDO).refuse("no")


@pytest.mark.parametrize(
    ("op", "key", "says"),
    [
        ("do", UNDO, "is the key of an undo"),
        ("undo", KEY, "is not the key of an undo"),
        ("do", "", "must not be empty"),
        ("do", "x" * 501, "at most 500 characters, got 501"),
    ],
)
def test_a_key_of_the_wrong_kind_is_refused(shop: Shop, op: str, key: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        getattr(shop.barrier, op)(key)
    assert shop.rows() == []


def test_a_connection_that_commits_each_statement_is_refused_outside_a_transaction(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as connection:
        barrier = Barrier(connection)
        barrier.create_table()
        with pytest.raises(RuntimeError, match="autocommit mode"):
            barrier.do(KEY)
        connection.execute("BEGIN IMMEDIATE")
        assert barrier.do(KEY).fresh
        connection.execute("ROLLBACK")
        connection.execute("BEGIN")
        assert barrier.do(KEY).fresh
        connection.execute("COMMIT")


def test_a_row_that_an_older_look_cannot_see_is_told() -> None:
    class Blind(Barrier):
        def _row(self, key: str, op: Any) -> None:
            return None

    shop = Shop()
    shop.charge()
    with closing(shop.connection), pytest.raises(RuntimeError, match="call the barrier first in a transaction"):
        Blind(shop.connection).do(KEY)


class Driver:
    """A connection of some driver: it writes down what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.rowcount, self.description = 1, None

    def cursor(self) -> "Driver":
        return self

    def execute(self, statement: str, parameters: Any) -> None:
        self.asked.append((statement, parameters))

    def commit(self) -> None: ...

    def close(self) -> None: ...


def of_module(name: str, monkeypatch: pytest.MonkeyPatch, paramstyle: str | None) -> Driver:
    module = type(sqlite3)(name.partition(".")[0])
    if paramstyle:
        module.paramstyle = paramstyle  # type: ignore[attr-defined] # a module is what it holds
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    connection: Driver = type("Connection", (Driver,), {"__module__": name})()
    return connection


def test_mysql_is_spoken_to_in_its_own_dialect(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = of_module("MySQLdb.connections", monkeypatch, "format")
    barrier = Barrier(connection, table="shop.calls")
    assert barrier.do(KEY).fresh
    assert connection.asked == [
        ("INSERT IGNORE INTO shop.calls (call_key, op, had_effect) VALUES (%s, %s, %s)", (KEY, "do", 1))
    ]
    assert "VARBINARY" in barrier.ddl


def test_postgresql_is_spoken_to_in_the_common_one(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = of_module("psycopg", monkeypatch, "pyformat")
    Barrier(connection).do(KEY).answer("charged")
    assert connection.asked == [
        (
            "INSERT INTO saga_barrier (call_key, op, had_effect) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (KEY, "do", 1),
        ),
        (
            "UPDATE saga_barrier SET reply = %s, had_effect = %s WHERE call_key = %s AND op = %s",
            ("charged", 1, KEY, "do"),
        ),
    ]


def test_psycopg_in_autocommit_is_refused_outside_a_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = of_module("psycopg", monkeypatch, "pyformat")
    connection.autocommit = True  # type: ignore[attr-defined] # as psycopg has it
    connection.info = type("Info", (), {"transaction_status": 0})  # type: ignore[attr-defined] # libpq's IDLE
    with pytest.raises(RuntimeError, match="autocommit mode"):
        Barrier(connection).do(KEY)
    connection.info.transaction_status = 2  # type: ignore[attr-defined] # libpq's INTRANS
    assert Barrier(connection).do(KEY).fresh


def test_a_driver_in_a_wrapper_is_named_by_its_paramstyle(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = of_module("pool", monkeypatch, None)
    with pytest.raises(ValueError, match=r"Barrier\(connection, paramstyle=...\)"):
        Barrier(connection)
    Barrier(connection, paramstyle="numeric").do(KEY)
    assert "VALUES (:1, :2, :3)" in connection.asked[0][0]


def test_an_asynchronous_connection_and_a_table_that_is_none_are_refused() -> None:
    class Async(Driver):
        async def commit(self) -> None:  # type: ignore[override] # that is what is wrong with it
            ...

    with pytest.raises(TypeError, match=r"the asynchronous .*Async"):
        Barrier(Async())
    with closing(sqlite3.connect(":memory:")) as connection, pytest.raises(ValueError, match="'x; DROP TABLE y'"):
        Barrier(connection, table="x; DROP TABLE y")


@given(st.text(min_size=1))
def test_a_key_comes_through_a_header_as_it_was(key: str) -> None:
    (value,) = headers(key).values()
    assert value.isascii()
    assert value.isprintable()
    assert key_from({"idempotency-key": value}) == key
    assert key_from({"IDEMPOTENCY-KEY": f' "{value}" '}) == key


def test_a_key_is_sent_readably_and_one_that_is_missing_is_told() -> None:
    assert headers(UNDO) == {"Idempotency-Key": "order-42/charge/undo"}
    with pytest.raises(ValueError, match="no Idempotency-Key header"):
        key_from({"Content-Type": "text/plain"})
