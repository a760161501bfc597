"""A saga's class: what it is compiled to, and what users have of it besides running it."""

import asyncio
import pickle
import threading
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Generic, TypeVar

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience import Bulkhead, Rejected, retry
from resilience._core.saga.plan import Kind, Plan
from resilience.errors import BulkheadFull
from resilience.saga import NoEffect, Saga, current_key, message, nested, pause, step
from resilience.saga._blueprint import Blueprint, UndecodableError
from resilience.saga._call import call_of, running
from resilience.saga._compile import blueprint_of
from resilience.saga._types import fits

A = TypeVar("A")
B = TypeVar("B")


@dataclass
class Order:
    number: int


@dataclass
class Payment:
    amount: int


class CardDeclined(Exception):
    pass


def plan_of(owner: type[Saga[Any, Any]]) -> Plan:
    return blueprint_of(owner).plan


def before(owner: type[Saga[Any, Any]]) -> dict[str, tuple[str, ...]]:
    return {node.name: node.before for node in plan_of(owner).nodes}


def needs(owner: type[Saga[Any, Any]]) -> dict[str, tuple[str, ...]]:
    return {node.name: node.needs for node in plan_of(owner).nodes}


class Deliver(Saga[str, int], within=60):
    def __init__(self, vans: int = 3) -> None:
        self.vans = vans

    @step
    def load(self, address: str) -> int:
        return len(address) + self.vans

    @load.undo
    def unload(self, load: int | None, address: str, certain: bool) -> None: ...

    @step(undo=None)
    def drive(self, load: int) -> int:
        return 10 * load


class Sell(Saga[Order, int], name="sell", within=timedelta(minutes=5), renamed={"book": "reserve"}):
    def __init__(self) -> None:
        self.calls: list[Any] = []

    @step
    async def reserve(self, order: Order) -> Order:
        return order

    @reserve.undo(attempts=3, within=2.0)
    async def release(self, reserve: Order | None, certain: bool) -> None:
        self.calls.append((reserve, certain))

    approval = message(str, within=timedelta(days=3))
    cooling = pause(timedelta(hours=1))

    @step(no_effect=(CardDeclined, lambda error: str(error) == "declined"), within=10, rerun=False, interrupt=False)
    def charge(self, order: Order, approval: str) -> Payment:
        return Payment(order.number)

    @charge.undo
    def refund(self, charge: Payment | None, reserve: Order, order: Order) -> None: ...

    @nested
    def deliver(self, order: Order) -> tuple[Deliver, str]:
        return Deliver(order.number), "Main Street"

    @step
    async def confirm(self, deliver: int, charge: Payment) -> int:
        return deliver + charge.amount


# Order


def test_steps_run_in_the_order_in_which_they_are_written() -> None:
    assert before(Sell) == {
        "reserve": (),
        "approval": ("reserve",),
        "cooling": ("approval",),
        "charge": ("cooling",),
        "deliver": ("charge",),
        "deliver.load": ("deliver",),
        "deliver.drive": ("deliver.load",),
        "confirm": ("deliver.drive",),
    }


def test_what_is_taken_is_a_reason() -> None:
    assert needs(Sell) == {
        "reserve": (),
        "approval": (),
        "cooling": (),
        "charge": ("approval",),
        "deliver": (),
        "deliver.load": ("deliver",),
        "deliver.drive": ("deliver", "deliver.load"),
        "confirm": ("charge", "deliver.drive"),
    }


def test_after_says_what_comes_first() -> None:
    class Aside(Saga[Order, int]):
        @step(undo=None)
        def one(self, order: Order) -> int: ...

        @step(undo=None, after=())
        def two(self, order: Order) -> int: ...

        @step(undo=None, after=(one,))
        def three(self, two: int) -> int: ...

        four = message(int, after="two")
        five = pause(1, after=())

        @step
        def six(self) -> int: ...

    assert before(Aside) == {
        "one": (),
        "two": (),
        "three": ("one", "two"),
        "four": ("two",),
        "five": (),
        "six": ("three", "four", "five"),
    }
    assert needs(Aside)["three"] == ("one", "two")
    assert needs(Aside)["four"] == ("two",)
    assert needs(Aside)["six"] == ()


def test_what_comes_after_a_nested_saga_comes_after_all_of_it() -> None:
    class Both(Saga[str, int]):
        @step(undo=None)
        def left(self, text: str) -> int: ...

        @step(undo=None, after=())
        def right(self, text: str) -> int: ...

    class Outer(Saga[str, int]):
        @step(undo=None)
        def first(self, text: str) -> str: ...

        @nested
        def both(self, text: str) -> tuple[Both, str]: ...

        @step(undo=None, after=first)
        def beside(self, text: str) -> int: ...

        @step(after=both)
        def last(self, beside: int) -> int: ...

    assert before(Outer) == {
        "first": (),
        "both": ("first",),
        "both.left": ("both",),
        "both.right": ("both",),
        "beside": ("first",),
        "last": ("both.left", "both.right", "beside"),
    }
    assert needs(Outer)["last"] == ("both.left", "both.right", "beside")


def test_sagas_are_nested_to_any_depth() -> None:
    class Middle(Saga[str, int]):
        @nested
        def inner(self, text: str) -> tuple[Deliver, str]:
            return Deliver(2), f"{text}!"

    class Outer(Saga[str, int]):
        @nested
        def middle(self, text: str) -> tuple[Middle, str]:
            return Middle(), f"{text}?"

    blueprint = blueprint_of(Outer)
    assert [node.name for node in blueprint.plan.nodes] == [
        "middle",
        "middle.inner",
        "middle.inner.load",
        "middle.inner.drive",
    ]
    assert blueprint.output == "middle.inner.drive"
    values = {"": b'"a"', "middle": b'"a?"', "middle.inner": b'"a?!"', "middle.inner.load": b"5"}
    assert blueprint.bind(Outer(), values.get).prepare("middle.inner.load")() == 5
    assert blueprint.bind(Outer(), values.get).prepare("middle.inner.drive")() == 50


@given(st.data())
def test_before_is_as_short_as_can_be_and_says_it_all(data: st.DataObject) -> None:
    """Whatever `after=` says: the closure is the one asked for, and no step is named that another one implies."""
    count = data.draw(st.integers(1, 7))
    asked = [
        data.draw(st.none() | st.lists(st.sampled_from(range(number)), unique=True) if number else st.none())
        for number in range(count)
    ]

    def make(after: list[int] | None) -> Any:
        def function(self: object) -> int: ...

        return step(undo=None, after=None if after is None else tuple(f"s{other}" for other in after))(function)

    body = {f"s{number}": make(after) for number, after in enumerate(asked)}
    plan = plan_of(type("Any", (Saga[int, int].__mro_entries__(())[0],), {**body, "__orig_bases__": (Saga[int, int],)}))
    expected: dict[str, set[str]] = {}
    for number, after in enumerate(asked):
        direct = {f"s{other}" for other in (range(number) if after is None else after)}
        expected[f"s{number}"] = direct.union(*(expected[other] for other in direct))
    assert {name: set(all_before) for name, all_before in plan.ancestors.items()} == expected
    for node in plan.nodes:
        assert not any(one in plan.ancestors[other] for one in node.before for other in node.before)


# Options


def test_options_reach_the_plan() -> None:
    plan = plan_of(Sell)
    assert (plan.saga, plan.within, plan.renamed) == ("sell", 300.0, {"book": "reserve"})
    reserve, charge, deliver = plan.by_name["reserve"], plan.by_name["charge"], plan.by_name["deliver"]
    assert (reserve.undoes, reserve.undo_attempts, reserve.rerun, reserve.interrupt) == (True, 3, True, True)
    assert (charge.undoes, charge.undo_attempts, charge.rerun, charge.interrupt) == (True, 10, False, False)
    assert (plan.by_name["approval"].kind, plan.by_name["approval"].seconds) == (Kind.MESSAGE, 259_200.0)
    assert (plan.by_name["cooling"].kind, plan.by_name["cooling"].seconds) == (Kind.PAUSE, 3_600.0)
    assert deliver.opens == 60.0
    assert {node.name for node in plan.nodes if not node.wanted} == {"cooling"}


def test_what_a_nested_saga_was_called_before_is_known_outside_of_it() -> None:
    class Child(Saga[int, int], renamed={"fill": "load"}):
        @step
        def load(self, number: int) -> int: ...

    class Parent(Saga[int, int], renamed={"bring": "deliver"}):
        @nested
        def deliver(self, number: int) -> tuple[Child, int]: ...

    assert plan_of(Parent).renamed == {
        "bring": "deliver",
        "bring.load": "deliver.load",
        "bring.fill": "deliver.load",
        "deliver.fill": "deliver.load",
    }


def test_limits_and_colours_are_told() -> None:
    blueprint = blueprint_of(Sell)
    assert blueprint.function("charge").within == 10.0
    assert blueprint.function("reserve", undo=True).within == 2.0
    assert blueprint.function("confirm").within is None
    assert blueprint.function("confirm").is_async
    assert not blueprint.function("deliver.load", undo=True).is_async
    assert blueprint.coroutine_functions == ("Sell.reserve", "Sell.confirm", "Sell.release")
    assert blueprint_of(Deliver).coroutine_functions == ()


def test_what_comes_after_the_pivot_is_retriable() -> None:
    class Pay(Saga[Order, int]):
        @step(undo=None)
        def look(self, order: Order) -> int: ...

        @step(pivot=True, attempts=4)
        def charge(self, order: Order) -> int: ...

        waiting = message(int)

        @step(after=charge, undo=None, attempts=20)
        def post(self, order: Order) -> int: ...

        @step
        def tell(self, order: Order) -> int: ...

    kinds = {node.name: node.kind.value for node in plan_of(Pay).nodes}
    assert kinds == {
        "look": "compensatable",
        "charge": "pivot",
        "waiting": "message",
        "post": "retriable",
        "tell": "retriable",
    }
    assert plan_of(Pay).by_name["charge"].attempts == 4
    assert plan_of(Pay).by_name["post"].attempts == 20
    assert plan_of(Pay).by_name["tell"].attempts == 10


def test_a_message_without_limit_may_wait_beside_what_cannot_be_taken_back() -> None:
    class Patient(Saga[Order, int]):
        reply = message(int)
        rest = pause(3, after=())

        @step(retriable=True, after=())
        def charge(self, order: Order) -> int: ...

    assert plan_of(Patient).by_name["charge"].kind is Kind.RETRIABLE


# Calls


def bound(values: dict[str, bytes], saga: Any = None) -> Any:
    return blueprint_of(Sell).bind(saga or Sell(), values.get)


def test_values_are_taken_by_name() -> None:
    values = {"": b'{"number":3}', "approval": b'"yes"'}
    assert bound(values).prepare("charge")() == Payment(3)
    assert bound(values).keep("charge", Payment(3)) == b'{"amount":3}'


def test_an_undo_is_told_what_is_known() -> None:
    saga = Sell()
    for value, certain in ((b'{"number":3}', True), (None, False)):
        values = {} if value is None else {"reserve": value}
        asyncio.run(bound(values, saga).prepare("reserve", undo=True, certain=certain)())
    assert saga.calls == [(Order(3), True), (None, False)]


def test_a_nested_saga_has_an_object_of_its_own_which_is_made_anew_after_a_crash() -> None:
    values = {"": b'{"number":2}'}
    first = bound(values)
    child, _ = made = first.prepare("deliver")()
    values["deliver"] = first.keep("deliver", made)
    assert values["deliver"] == b'"Main Street"'
    child.vans = 100
    assert first.prepare("deliver.load")() == 111
    values["deliver.load"] = b"7"
    anew = bound(values)
    assert anew.prepare("deliver.load")() == 13
    assert anew.prepare("deliver.drive")() == 70
    values |= {"deliver.drive": b"70", "charge": b'{"amount":1}'}
    assert asyncio.run(anew.prepare("confirm")()) == 71


def test_the_undo_in_a_nested_saga_is_told_what_is_known() -> None:
    saga = bound({"": b'{"number":2}', "deliver": b'"Main Street"', "deliver.load": b"7"})
    for certain in (True, False):
        call = saga.prepare("deliver.load", undo=True, certain=certain)
        assert call.keywords == {"load": 7, "address": "Main Street", "certain": certain}


def test_the_output_is_that_of_the_step_written_last() -> None:
    assert bound({"confirm": b"71"}).output() == 71
    assert blueprint_of(Deliver).bind(Deliver(), {"drive": b"7"}.get).output() == 7


def test_a_value_that_cannot_be_read_says_whose_it_is() -> None:
    with pytest.raises(UndecodableError, match=r"the result of 'approval' in the journal cannot be read as its type"):
        bound({"": b'{"number":3}', "approval": b"3"}).prepare("charge")
    with pytest.raises(UndecodableError, match=r"the input in the journal cannot be read as its type"):
        bound({"": b'{"number":"x"}', "approval": b'"yes"'}).prepare("charge")


def test_every_call_is_given_a_value_of_its_own() -> None:
    saga = bound({"": b'{"number":3}', "reserve": b'{"number":3}'})
    given = [saga.prepare("reserve").keywords["order"] for _ in range(2)]
    assert given[0] == given[1]
    assert given[0] is not given[1]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NoEffect(), "no"),
        (NoEffect("card declined"), "no"),
        (BulkheadFull("database"), "no"),
        (Rejected("payments"), "no"),
        (CardDeclined(), "no"),
        (ExceptionGroup("both", [CardDeclined(), CardDeclined()]), "no"),
        (ExceptionGroup("both", [NoEffect(), ValueError()]), "unknown"),
        (ValueError("declined"), "no"),
        (ValueError("lost"), "unknown"),
        (TimeoutError(), "unknown"),
        (asyncio.CancelledError(), "unknown"),
        (KeyboardInterrupt(), "unknown"),
    ],
)
def test_what_an_error_says_of_the_effect(error: BaseException, outcome: str) -> None:
    assert blueprint_of(Sell).outcome_of("charge", error) == outcome


def test_a_refusal_is_called_as_it_is_imported() -> None:
    assert f"{NoEffect.__module__}.{NoEffect.__qualname__}" == "resilience.saga.NoEffect"
    assert pickle.loads(pickle.dumps(NoEffect("no"))).args == ("no",)


def test_what_is_said_of_one_step_holds_for_no_other() -> None:
    assert blueprint_of(Sell).outcome_of("reserve", CardDeclined()) == "unknown"


def test_policies_apply_when_a_saga_calls_and_not_when_a_test_does() -> None:
    calls = []

    class Retried(Saga[int, int]):
        @step(policy=retry(on=OSError, wait=0), undo=None)
        def fetch(self, number: int) -> int:
            calls.append(number)
            raise OSError

        @step
        def end(self, fetch: int) -> int: ...

    with pytest.raises(OSError):
        Retried().fetch(1)
    assert calls == [1]
    with pytest.raises(OSError):
        blueprint_of(Retried).bind(Retried(), {"": b"2"}.get).prepare("fetch")()
    assert calls == [1, 2, 2, 2]


def test_a_policy_is_bound_once() -> None:
    class Counted(Bulkhead):
        bound = 0

        def bind(self, fn: Any, /) -> Any:
            type(self).bound += 1
            return super().bind(fn)

    class Guarded(Saga[int, int]):
        @step(policy=Counted(3))
        def fetch(self, number: int) -> int:
            return number

    run = blueprint_of(Guarded).bind(Guarded(), {"": b"2"}.get)
    assert [run.prepare("fetch")() for _ in range(3)] == [2, 2, 2]
    assert Counted.bound == 1


# Classes


def test_steps_are_methods_of_the_object_and_declarations_of_the_class() -> None:
    saga = Sell()
    assert saga.charge(Order(3), approval="yes") == Payment(3)
    assert asyncio.run(saga.reserve(Order(3))) == Order(3)
    assert saga.deliver(Order(3))[1] == "Main Street"
    assert repr(Sell.charge) == "<step Sell.charge>"
    assert repr(Sell.approval) == "<message 'approval'>"
    assert Sell.charge is Sell.charge


@pytest.mark.parametrize("options", [{}, {"frozen": True}, {"slots": True}, {"frozen": True, "slots": True}])
def test_a_dataclass_of_any_make(options: dict[str, bool]) -> None:
    @dataclass(**options)
    class Make(Saga[int, int], name="make", within=3, renamed={"old": "add"}):
        number: int

        @step
        def add(self, other: int) -> int:
            return self.number + other

    plan = plan_of(Make)
    assert (plan.saga, plan.within, plan.renamed) == ("make", 3.0, {"old": "add"})
    assert blueprint_of(Make).bind(Make(2), {"": b"3"}.get).prepare("add")() == 5
    assert hasattr(Make(2), "__dict__") is not options.get("slots", False)


def test_a_class_of_attrs() -> None:
    attrs = pytest.importorskip("attrs")

    @attrs.define
    class Make(Saga[int, int], name="make"):
        number: int

        @step
        def add(self, other: int) -> int:
            return self.number + other

    assert plan_of(Make).saga == "make"
    assert blueprint_of(Make).bind(Make(2), {"": b"3"}.get).prepare("add")() == 5


def test_a_subclass_has_the_same_steps_under_its_own_name() -> None:
    class Faster(Deliver):
        def __init__(self) -> None:
            super().__init__(vans=10)

    class Later(Deliver, name="later", within=3): ...

    assert plan_of(Faster).nodes == plan_of(Deliver).nodes
    assert (plan_of(Faster).saga, plan_of(Faster).within) == ("Faster", 60.0)
    assert (plan_of(Later).saga, plan_of(Later).within) == ("later", 3.0)
    assert blueprint_of(Faster).bind(Faster(), {"": b'"abc"'}.get).prepare("load")() == 13


def test_a_base_without_steps_may_leave_types_open() -> None:
    class Shop(Saga[A, B], Generic[A, B]):
        def double(self, number: int) -> int:
            return 2 * number

    class Listed(Shop[list[A], A], Generic[A]): ...

    class Doubled(Listed[int]):
        @step
        def count(self, numbers: list[int]) -> int:
            return self.double(len(numbers))

    assert blueprint_of(Doubled).bind(Doubled(), {"": b"[1,2]"}.get).prepare("count")() == 4
    with pytest.raises(TypeError, match="numbers' is no step, so it is the saga's input, which is"):

        class Wrong(Listed[int]):
            @step
            def count(self, numbers: int) -> int: ...


def test_types_may_be_written_further_down() -> None:
    class Early(Saga["Late", "Late"]):
        @step
        def look(self, late: "Late") -> "Late":  # noqa: F821 - it is not known yet
            return late

    globals().pop("Late", None)
    with pytest.raises(TypeError, match="its annotations cannot be resolved: name 'Late' is not defined"):
        Early.check()
    globals()["Late"] = Payment
    try:
        Early.check()
    finally:
        del globals()["Late"]
    assert blueprint_of(Early).input.decode(b'{"amount":1}') == Payment(1)


@dataclass
class Branch:
    leaf: "Leaf"  # noqa: F821 - it is not known yet


def test_so_may_those_inside_of_types() -> None:
    class Early(Saga[Branch, Branch]):
        @step
        def look(self, branch: Branch) -> Branch: ...

    with pytest.raises(TypeError, match="'Leaf' is not defined"):
        Early.check()
    globals()["Leaf"] = Payment
    try:
        assert blueprint_of(Early).input.decode(b'{"leaf":{"amount":1}}') == Branch(Payment(1))
    finally:
        del globals()["Leaf"]


def test_structure_is_checked_even_where_types_are_not_known_yet() -> None:
    with pytest.raises(TypeError, match="'chagre' is no step; did you mean 'charge'"):

        class Wrong(Saga[Order, Payment]):
            @step(undo=None)
            def charge(self, order: Order) -> "Unheard": ...  # noqa: F821 - it is not known yet

            @step
            def confirm(self, order: Order, chagre: Order) -> Payment: ...


def test_an_unknown_option_of_a_class_is_refused() -> None:
    with pytest.raises(TypeError, match="retries"):

        class Wrong(Saga[Order, Payment], retries=3): ...


# id and key


class Ask(Saga[int, str]):
    @step
    def ask(self, number: int) -> str:
        return f"{self.id} {self.key} {current_key()}"


def test_id_and_key_are_known_while_a_call_runs() -> None:
    with running(call_of("order-42", "ask")):
        assert Ask().ask(3) == "order-42 order-42/ask order-42/ask"
        with running(call_of("order-42", "ask", undo=True)):
            assert current_key() == "order-42/ask/undo"
        assert current_key() == "order-42/ask"
    with running(call_of("order-42", "deliver.inner.ask")):
        assert Ask().ask(3) == "order-42/deliver/inner order-42/deliver/inner/ask order-42/deliver/inner/ask"
    with pytest.raises(RuntimeError, match=r"self\.id is known only while a saga runs"):
        _ = Ask().id
    with pytest.raises(RuntimeError, match=r"self\.key is known only while a saga runs"):
        _ = Ask().key
    with pytest.raises(RuntimeError, match=r"current_key\(\) is known only while a saga runs"):
        current_key()


def test_id_and_key_follow_into_a_thread() -> None:
    found: list[str] = []
    with running(call_of("order-42", "ask")):
        context = copy_context()
    thread = threading.Thread(target=context.run, args=(lambda: found.append(Ask().key),))
    thread.start()
    thread.join()
    assert found == ["order-42/ask"]


@pytest.mark.anyio
async def test_one_object_serves_many_runs_at_once() -> None:
    saga, found, both = Ask(), [], anyio.Event()

    async def call(name: str) -> None:
        with running(call_of(name, "ask")):
            if name == "second":
                both.set()
            await both.wait()
            found.append(saga.key)

    async with anyio.create_task_group() as group:
        group.start_soon(call, "first")
        group.start_soon(call, "second")
    assert sorted(found) == ["first/ask", "second/ask"]


# Types


@pytest.mark.parametrize(
    ("given_type", "wanted", "fit"),
    [
        (int, int, True),
        (int, str, False),
        (bool, int, True),
        (int, float, True),
        (float, int, False),
        (Payment, object, True),
        (Payment, Any, True),
        (Any, Payment, True),
        (int, int | None, True),
        (int | None, int, False),
        (int | None, int | str | None, True),
        (None, int | None, True),
        (None, int, False),
        (list[int], list[int], True),
        (list[int], list[str], True),
        (list[int], dict[str, int], False),
        (list[int], list, True),
        (Annotated[int, "cents"], int, True),
        (int, Annotated[int, "cents"] | None, True),
        (Payment, Order, False),
        (Payment, A, True),
    ],
    ids=str,
)
def test_what_certainly_does_not_fit_is_told(given_type: Any, wanted: Any, fit: bool) -> None:
    assert fits(given_type, wanted) is fit


def test_a_blueprint_is_made_once() -> None:
    made: Blueprint = blueprint_of(Sell)
    assert blueprint_of(Sell) is made
