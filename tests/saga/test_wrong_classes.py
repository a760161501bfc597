"""Wrong classes fail when they are defined, and say which step, what is wrong, and what to write."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from resilience import Pipeline, retry, timeout
from resilience.saga import Saga, message, nested, pause, step

if TYPE_CHECKING:
    from elsewhere import Unknown

Define = Callable[[], object]
wrong: list[Any] = []
T = TypeVar("T")


def says(*text: str, kind: type[Exception] = TypeError) -> Callable[[Define], Define]:
    """What is said of the class that a function defines."""

    def note(define: Define) -> Define:
        wrong.append(pytest.param(define, "".join(text), kind, id=define.__name__))
        return define

    return note


@dataclass
class Order:
    number: int


@dataclass
class Payment:
    number: str


class Opaque:
    """Nothing that could be written down."""


class Elsewhere(Saga[Order, Order]):
    @step
    def look(self, order: Order) -> Order: ...


# How functions are written


@says(
    "Wrong.stream: is a generator function: to call it does nothing yet, and a stream cannot be kept in a "
    "journal; return the whole result at once",
)
def a_generator() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def stream(self, order: Order) -> Iterator[int]:
            yield 1

    return Wrong


@says(
    "Wrong.stream: is a generator function: to call it does nothing yet, and a stream cannot be kept in a "
    "journal; return the whole result at once",
)
def an_async_generator() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        async def stream(self, order: Order) -> AsyncIterator[int]:
            yield 1

    return Wrong


@says("Wrong.charge: is a @staticmethod; a saga calls methods of its object, so leave out @staticmethod")
def a_static_method() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        @staticmethod
        def charge(order: Order) -> Payment: ...

    return Wrong


@says("Wrong.charge: is a @classmethod; a saga calls methods of its object, so leave out @classmethod")
def a_class_method_around() -> object:
    class Wrong(Saga[Order, Payment]):
        @classmethod
        @step
        def charge(cls, order: Order) -> Payment: ...

    return Wrong


@says("Wrong.charge: is a method, so its first parameter is self; write 'def charge(self, ...)'")
def no_self() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def charge() -> Payment: ...

    return Wrong


@says(
    "Wrong.charge: takes '*orders', but values come by name: the saga's input, and results of steps above; write "
    "one parameter for each",
)
def any_number() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def charge(self, *orders: Order) -> Payment: ...

    return Wrong


@says("Wrong.charge: takes 'order' by place, but values come by name; leave out the '/'")
def by_place() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def charge(self, order: Order, /) -> Payment: ...

    return Wrong


@says(
    "Wrong.charge: the default of 'cents' would never be used, for every parameter is given its value; leave it "
    "out, and keep settings in fields of the class",
)
def a_default() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def charge(self, order: Order, cents: int = 3) -> Payment: ...

    return Wrong


@says(
    "Wrong.charge: 'order' has no annotation; write 'order: <type>', for what comes out of a journal is made from"
    " its type",
)
def a_parameter_without_annotation() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def charge(self, order) -> Payment: ...  # noqa: ANN001 - that is what is wrong

    return Wrong


@says(
    "Wrong.charge: has no return annotation; write '-> <type>' (or '-> None'), for what comes out of a journal is"
    " made from its type",
)
def no_return_annotation() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def charge(self, order: Order): ...  # noqa: ANN202 - that is what is wrong

    return Wrong


@says("@step goes above a method, got 3")
def no_function() -> object:
    return step(3)


@says("@step goes above a method, got <step Wrong.charge>")
def a_step_twice() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        @step
        def charge(self, order: Order) -> Payment: ...

    return Wrong


@says("a policy guards functions, got <step Wrong.charge>")
def a_policy_above_the_step() -> object:
    class Wrong(Saga[Order, Payment]):
        @retry(on=OSError)
        @step
        def charge(self, order: Order) -> Payment: ...

    return Wrong


# Options


@says("Wrong.charge: policy must be a Policy, got 5; of an object with bind and abind, Pipeline(...) makes one")
def no_policy() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(policy=5)
        def charge(self, order: Order) -> Payment: ...

    return Wrong


@says("Wrong.charge: within must be greater than 0, got -1", kind=ValueError)
def a_negative_duration() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(within=-1)
        def charge(self, order: Order) -> Payment: ...

    return Wrong


@says("no_effect takes exception types, predicates, or a tuple of them, got 'declined'")
def no_exception() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(no_effect="declined")
        def charge(self, order: Order) -> Payment: ...

    return Wrong


@says(
    "undo may only be None, for a step that needs no undo, got True; an undo is a method below the step, under "
    "@<step>.undo",
)
def an_undo_as_option() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(undo=True)
        def charge(self, order: Order) -> Payment: ...

    return Wrong


@says(
    "Wrong.charge: a pivot may still fail, and then the saga turns back; a retriable step is repeated until it "
    "succeeds. Leave out pivot=True or retriable=True",
)
def pivot_and_retriable() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(pivot=True, retriable=True)
        def charge(self, order: Order) -> Payment: ...

    return Wrong


@says(
    "Wrong.charge: a retriable step is repeated until it succeeds, and rerun=False says that it is not. Leave out"
    " retriable=True or rerun=False",
)
def retriable_and_not_rerun() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(retriable=True, rerun=False)
        def charge(self, order: Order) -> Payment: ...

    return Wrong


@says("pivot must be True or False, got 'yes'")
def a_flag() -> object:
    return step(pivot="yes")(Elsewhere.look.function.written)


@says(
    "Wrong.charge: attempts=3 is for a pivot or retriable step; to repeat calls that fail for a passing reason, "
    "give it policy=retry(on=...)",
)
def attempts_of_a_usual_step() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(attempts=3)
        def charge(self, order: Order) -> Payment: ...

    return Wrong


@says("message(Order): within must be greater than 0, got 0", kind=ValueError)
def a_message_without_time() -> object:
    return message(Order, within=0)


@says("pause(): the duration must be seconds (a number) or a timedelta, got '1 h' (str)")
def a_pause_in_words() -> object:
    return pause("1 h")


@says("Wrong: within must be greater than 0, got 0", kind=ValueError)
def a_saga_without_time() -> object:
    class Wrong(Saga[Order, Payment], within=0): ...

    return Wrong


@says("Wrong: name must be a text that is not empty, got ''; leave it out for 'Wrong'")
def an_empty_name() -> object:
    class Wrong(Saga[Order, Payment], name=""): ...

    return Wrong


@says("Wrong: renamed={'pay': 'chrage'}: there is no step 'chrage'; did you mean 'charge'?")
def renamed_to_nothing() -> object:
    class Wrong(Saga[Order, Payment], renamed={"pay": "chrage"}):
        @step
        def charge(self, order: Order) -> Payment: ...

    return Wrong


@says(
    "Wrong: renamed={'charge': 'pay'}: there is a step 'charge' today, so a journal's 'charge' could be either; "
    "give the new step another name",
)
def renamed_and_still_there() -> object:
    class Wrong(Saga[Order, Payment], renamed={"charge": "pay"}):
        @step(undo=None)
        def charge(self, order: Order) -> Payment: ...

        @step
        def pay(self, order: Order) -> Payment: ...

    return Wrong


# Undos


@says("Wrong.refuse: 'charge' has an undo already, 'refund'; write one method that does both")
def two_undos() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def charge(self, order: Order) -> Payment: ...

        @charge.undo
        def refund(self) -> None: ...

        @charge.undo
        def refuse(self) -> None: ...

    return Wrong


@says("Wrong.refund: 'charge' says undo=None, so it needs no undo; leave out one of them")
def an_undo_and_none() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(undo=None)
        def charge(self, order: Order) -> Payment: ...

        @charge.undo
        def refund(self) -> None: ...

    return Wrong


@says(
    "Wrong.refund: 'charge' is pivot=True, and once it has succeeded there is no way back; leave out pivot=True "
    "or the undo",
)
def an_undo_of_a_pivot() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(pivot=True)
        def charge(self, order: Order) -> Payment: ...

        @charge.undo
        def refund(self) -> None: ...

    return Wrong


@says(
    "Wrong.refund: 'charge' is retriable=True, and once it has succeeded there is no way back; leave out "
    "retriable=True or the undo",
)
def an_undo_of_a_retriable_step() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(retriable=True)
        def charge(self, order: Order) -> Payment: ...

        @charge.undo
        def refund(self) -> None: ...

    return Wrong


@says("Wrong.confirm: the undo of 'charge' has the name of a step, and takes its place; rename it")
def an_undo_named_like_a_step() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def charge(self, order: Order) -> Payment: ...

        @charge.undo
        def confirm(self) -> None: ...

        @step
        def confirm(self, order: Order) -> Payment: ...  # noqa: F811 - that is what is wrong

    return Wrong


@says("Wrong.refund: 'chagre' is no step; did you mean 'charge'?")
def an_undo_with_a_misspelled_parameter() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def charge(self, order: Order) -> Payment: ...

        @charge.undo
        def refund(self, chagre: Payment | None) -> None: ...

    return Wrong


@says("Wrong.refund: 'confirm' is written below 'charge', and has no result by then; leave the parameter out")
def an_undo_that_takes_a_later_result() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def charge(self, order: Order) -> Payment: ...

        @charge.undo
        def refund(self, confirm: Payment) -> None: ...

        @step
        def confirm(self, order: Order) -> Payment: ...

    return Wrong


@says(
    "Wrong.refund: 'reserve' runs beside 'charge', and may have no result by then; let 'charge' come after it, or"
    " leave the parameter out",
)
def an_undo_that_takes_a_result_from_beside() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(undo=None)
        def reserve(self, order: Order) -> Payment: ...

        @step(after=())
        def charge(self, order: Order) -> Payment: ...

        @charge.undo
        def refund(self, reserve: Payment) -> None: ...

    return Wrong


@says(
    "Wrong.refund: the result of 'charge' may be unknown (a lost reply, a timeout), and is None then; write "
    "'charge: Payment | None'",
)
def an_undo_that_needs_to_know() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def charge(self, order: Order) -> Payment: ...

        @charge.undo
        def refund(self, charge: Payment) -> None: ...

    return Wrong


@says("Wrong.refund: 'certain' is True or False, not str; write 'certain: bool'")
def certain_as_text() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def charge(self, order: Order) -> Payment: ...

        @charge.undo
        def refund(self, certain: str) -> None: ...

    return Wrong


@says(
    "Wrong.refund: an undo returns nothing, and this one says '-> bool', which would be lost; raise an exception "
    "if it did not succeed, and write '-> None'",
)
def an_undo_that_returns() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def charge(self, order: Order) -> Payment: ...

        @charge.undo
        def refund(self) -> bool: ...

    return Wrong


@says(
    "Wrong.charge: has no undo, and the saga may still turn back at 'confirm'; put @charge.undo above a method "
    "that takes it back, or write @step(undo=None) if there is nothing to take back",
)
def neither_undo_nor_none() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def charge(self, order: Order) -> Payment: ...

        @step
        def confirm(self, order: Order) -> Payment: ...

    return Wrong


@says(
    "Wrong.confirm: has no undo, and the saga may still turn back at 'charge'; put @confirm.undo above a method "
    "that takes it back, or write @step(undo=None) if there is nothing to take back",
)
def the_last_step_is_not_the_last() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def charge(self, order: Order) -> Payment: ...

        @charge.undo
        def refund(self) -> None: ...

        @step(after=())
        def confirm(self, order: Order) -> Payment: ...

    return Wrong


# Parameters


@says("Wrong.confirm: 'chagre' is no step; did you mean 'charge'?")
def a_misspelled_parameter() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(undo=None)
        def charge(self, order: Order) -> Payment: ...

        @step
        def confirm(self, order: Order, chagre: Payment) -> Payment: ...

    return Wrong


@says("Wrong.confirm: 'chagre' is no step; did you mean 'charge'?")
def a_misspelled_parameter_alone() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(undo=None)
        def charge(self) -> Payment: ...

        @step
        def confirm(self, chagre: Payment) -> Payment: ...

    return Wrong


@says(
    "Wrong.confirm: 'purchase' is no step, and Wrong.charge calls the saga's input 'order'; use one name for it",
)
def two_names_for_the_input() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(undo=None)
        def charge(self, order: Order) -> Payment: ...

        @step
        def confirm(self, purchase: Order) -> Payment: ...

    return Wrong


@says(
    "Wrong.charge: 'order' is no step, so it is the saga's input, which is Order and not str; write 'order: Order'",
)
def another_input() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def charge(self, order: str) -> Payment: ...

    return Wrong


@says(
    "Wrong.charge: 'confirm' is written below 'charge', and has no result by then; write the steps in the order "
    "in which they run",
)
def a_later_result() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(undo=None)
        def charge(self, confirm: Payment) -> Payment: ...

        @step
        def confirm(self, order: Order) -> Payment: ...

    return Wrong


@says("Wrong.charge: takes its own result, which does not exist yet; leave the parameter out")
def its_own_result() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def charge(self, charge: Payment) -> Payment: ...

    return Wrong


@says("Wrong.confirm: 'charge' gives Payment, and is taken as int; write 'charge: Payment'")
def a_result_of_another_type() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(undo=None)
        def charge(self, order: Order) -> Payment: ...

        @step
        def confirm(self, charge: int) -> Payment: ...

    return Wrong


@says("Wrong.confirm: 'charge' gives Payment | None, and is taken as Payment; write 'charge: Payment | None'")
def a_result_that_may_be_none() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(undo=None)
        def charge(self, order: Order) -> Payment | None: ...

        @step
        def confirm(self, charge: Payment) -> Payment: ...

    return Wrong


@says("Wrong.charge: 'cooling' is a pause, and has no result; leave the parameter out")
def the_result_of_a_pause() -> object:
    class Wrong(Saga[Order, Payment]):
        cooling = pause(3)

        @step
        def charge(self, cooling: None) -> Payment: ...

    return Wrong


@says("Wrong.charge: only an undo is told 'certain'; leave the parameter out")
def certain_in_a_step() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def charge(self, certain: bool) -> Payment: ...

    return Wrong


@says("Wrong: returns Payment, and 'count' gives int; the step written last gives what the saga returns")
def another_output() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def count(self, order: Order) -> int: ...

    return Wrong


@says(
    "Wrong.charge: its result cannot be kept in a journal: ",
    "*",
)
def a_type_that_cannot_be_kept() -> object:
    class Wrong(Saga[Order, Opaque]):
        @step
        def charge(self, order: Order) -> Opaque: ...

    return Wrong


@says(
    "Wrong: its input cannot be kept in a journal: ",
    "*",
)
def an_input_that_cannot_be_kept() -> object:
    class Wrong(Saga[Opaque, Payment]):
        @step
        def charge(self) -> Payment: ...

    return Wrong


@says(
    "Wrong.charge: its annotations cannot be resolved: name 'Unknown' is not defined. A saga's types are needed "
    "at run time: define or import them in the module, outside of functions and of 'if TYPE_CHECKING:'",
)
def a_type_for_checkers_only() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def charge(self, order: Order) -> "Unknown": ...

    return Wrong.check()


# Order


@says("Wrong.charge: after='confirm' is not written above it; a step comes after steps above it")
def after_a_later_step() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(undo=None, after="confirm")
        def charge(self, order: Order) -> Payment: ...

        @step
        def confirm(self, order: Order) -> Payment: ...

    return Wrong


@says("Wrong.confirm: after='chagre' is no step; did you mean 'charge'?")
def after_nothing() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(undo=None)
        def charge(self, order: Order) -> Payment: ...

        @step(after="chagre")
        def confirm(self, order: Order) -> Payment: ...

    return Wrong


@says("Wrong.charge: after=look is a step of another class; a step comes after steps of its own")
def after_a_foreign_step() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(after=Elsewhere.look)
        def charge(self, order: Order) -> Payment: ...

    return Wrong


@says("after must be a step, the name of one, or a tuple of them, got 3")
def after_a_number() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(after=3)
        def charge(self, order: Order) -> Payment: ...

    return Wrong


# The point of no return


@says(
    "Wrong.ship: comes after 'charge', and from there on the saga goes forward only, so its undo would never run;"
    " write the step above 'charge', or leave out the undo",
)
def compensatable_after_the_pivot() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(pivot=True)
        def charge(self, order: Order) -> Payment: ...

        @step
        def ship(self, order: Order) -> Payment: ...

        @ship.undo
        def fetch(self) -> None: ...

    return Wrong


@says(
    "Wrong.ship: comes after 'charge', and from there on the saga goes forward only, so its undo would never run;"
    " write the step above 'charge', or leave out the undo",
)
def compensatable_after_a_retriable_step() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(retriable=True)
        def charge(self, order: Order) -> Payment: ...

        @step
        def ship(self, order: Order) -> Payment: ...

        @ship.undo
        def fetch(self) -> None: ...

    return Wrong


@says(
    "Wrong.ship: comes after 'charge', and from there on the saga goes forward only: it is repeated until it "
    "succeeds; leave out rerun=False",
)
def once_after_the_pivot() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(pivot=True)
        def charge(self, order: Order) -> Payment: ...

        @step(rerun=False)
        def ship(self, order: Order) -> Payment: ...

    return Wrong


@says(
    "Wrong.receipt: comes after 'charge', and from there on the saga goes forward only: no message can be too "
    "late; leave out within=",
)
def a_late_message_after_the_pivot() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(pivot=True)
        def charge(self, order: Order) -> Payment: ...

        receipt = message(Payment, within=3)

    return Wrong


@says(
    "Wrong.ship: is a second point of no return, after 'charge'. There is one, and what comes after it is "
    "repeated until it succeeds; leave out the second pivot=True",
)
def two_pivots() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(pivot=True)
        def charge(self, order: Order) -> Payment: ...

        @step(pivot=True)
        def ship(self, order: Order) -> Payment: ...

    return Wrong


@says(
    "Wrong.charge: is the point of no return, and 'look' and 'ask' would run beside it; each other step has to "
    "come before it or after it: see after=",
)
def a_pivot_beside_others() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(undo=None)
        def look(self, order: Order) -> Payment: ...

        @step(undo=None, after=())
        def ask(self, order: Order) -> Payment: ...

        @step(pivot=True, after=())
        def charge(self, order: Order) -> Payment: ...

    return Wrong


@says(
    "Wrong.charge: cannot be taken back, and 'look' runs beside it and may fail; let 'charge' come after it: see "
    "after=",
)
def a_retriable_step_beside_another() -> object:
    class Wrong(Saga[Order, Payment]):
        @step(undo=None)
        def look(self, order: Order) -> Payment: ...

        @step(retriable=True, after=())
        def charge(self, order: Order) -> Payment: ...

    return Wrong


@says(
    "Wrong.charge: cannot be taken back, and 'reply' runs beside it and may fail; let 'charge' come after it: see"
    " after=",
)
def a_retriable_step_beside_a_message() -> object:
    class Wrong(Saga[Order, Payment]):
        reply = message(Order, within=3)

        @step(retriable=True, after=())
        def charge(self, order: Order) -> Payment: ...

    return Wrong


# Nested sagas


class Deliver(Saga[str, int]):
    @step
    def load(self, address: str) -> int: ...

    @load.undo
    def unload(self, load: int | None) -> None: ...

    @step
    def drive(self, load: int) -> int: ...


@says(
    "Wrong.deliver: is a coroutine function; a nested step only says which saga runs, and with what input: write "
    "'def', and make calls in a step above it",
)
def an_async_nested_step() -> object:
    class Wrong(Saga[Order, int]):
        @nested
        async def deliver(self, order: Order) -> tuple[Deliver, str]: ...

    return Wrong


@says(
    "Wrong.deliver: a nested step returns a saga's object and its input; write '-> tuple[<the saga's class>, <its"
    " input>]'",
)
def nested_without_a_saga() -> object:
    class Wrong(Saga[Order, int]):
        @nested
        def deliver(self, order: Order) -> Deliver: ...

    return Wrong


@says("Wrong.deliver: the input of Deliver is str, and it is given Order")
def another_input_of_a_nested_saga() -> object:
    class Wrong(Saga[Order, int]):
        @nested
        def deliver(self, order: Order) -> tuple[Deliver, Order]: ...

    return Wrong


@says(
    "Wrong.deliver.drive: has no undo, and the saga may still turn back at 'confirm'; put @drive.undo above a "
    "method that takes it back, or write @step(undo=None) if there is nothing to take back",
)
def the_last_step_of_a_nested_saga_is_not_the_last() -> object:
    class Wrong(Saga[Order, int]):
        @nested
        def deliver(self, order: Order) -> tuple[Deliver, str]: ...

        @step
        def confirm(self, deliver: int) -> int: ...

    return Wrong


@says(
    "Wrong.deliver.load: comes after 'charge', and from there on the saga goes forward only, so its undo would "
    "never run; write the step above 'charge', or leave out the undo",
)
def a_nested_saga_after_the_pivot() -> object:
    class Wrong(Saga[Order, int]):
        @step(pivot=True)
        def charge(self, order: Order) -> int: ...

        @nested
        def deliver(self, order: Order) -> tuple[Deliver, str]: ...

    return Wrong


@says("Wrong.again: Wrong would hold itself, without end")
def a_saga_in_itself() -> object:
    class Wrong(Saga[Order, int]):
        @nested
        def again(self, order: Order) -> "tuple[Wrong, Order]": ...

    return Wrong


# The class


@says("Wrong: has no steps; put @step above the methods that are steps")
def no_steps() -> object:
    class Wrong(Saga[Order, Payment]):
        def charge(self, order: Order) -> Payment: ...

    return Wrong


@says("Wrong: does not say what it takes and returns; write 'class Wrong(Saga[<input>, <output>])'")
def neither_input_nor_output() -> object:
    class Wrong(Saga):
        @step
        def charge(self, order: Order) -> Payment: ...

    return Wrong


@says("Wrong.run: every saga has something of this name, Saga.run; give it another name")
def a_step_named_like_a_door() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def run(self, order: Order) -> Payment: ...

    return Wrong


@says("Wrong.id: every saga has something of this name, Saga.id; give it another name")
def a_field_named_like_an_attribute() -> object:
    @dataclass
    class Wrong(Saga[Order, Payment]):
        id: str

        @step
        def charge(self, order: Order) -> Payment: ...

    return Wrong


@says("Wrong.cooling: is annotated, so a dataclass takes it for a field; write 'cooling = ...'")
def a_pause_that_is_a_field() -> object:
    @dataclass(slots=True)
    class Wrong(Saga[Order, Payment]):
        cooling: pause = pause(3)  # noqa: RUF009 - that is what is wrong

        @step
        def charge(self, order: Order) -> Payment: ...

    return Wrong


@says("Wrong.certain: an undo is told 'certain' about its step; give this one another name")
def a_step_named_certain() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def certain(self, order: Order) -> Payment: ...

    return Wrong


@says("Wrong.pay: is the same step as 'charge'; write a method for each")
def one_step_under_two_names() -> object:
    class Wrong(Saga[Order, Payment]):
        @step
        def charge(self, order: Order) -> Payment: ...

        pay = charge

    return Wrong


@says("Wrong.deliver.load: is no name that a parameter can have; use letters, digits and underscores")
def a_dotted_name() -> object:
    return type("Wrong", (Saga[Order, Order].__origin__,), {"deliver.load": Elsewhere.look})


@says(
    "Wrong: has steps from two classes, Elsewhere and Wrong, and their order would be anybody's guess; write them"
    " in one class, or make Elsewhere a step with @nested",
)
def steps_of_a_base() -> object:
    class Wrong(Elsewhere):
        @step
        def charge(self, order: Order) -> Payment: ...

    return Wrong


@says(
    "Wrong.look: stands in the place of Elsewhere.look, which belongs to a step; write the steps in one class, "
    "and hand in what differs as a field of the object",
)
def a_step_replaced() -> object:
    class Wrong(Elsewhere):
        def look(self, order: Order) -> Order: ...

    return Wrong


@pytest.mark.parametrize(("define", "text", "kind"), wrong)
def test_a_wrong_class_says_what_to_write(define: Define, text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as raised:
        define()
    said = str(raised.value)
    assert said.startswith(text[:-1]) if text.endswith("*") else said == text


@pytest.mark.parametrize("define", [a_misspelled_parameter, two_undos, a_generator, compensatable_after_the_pivot])
def test_the_line_is_told(define: Define) -> None:
    with pytest.raises(TypeError) as raised:
        define()
    (note,) = raised.value.__notes__
    assert re.fullmatch(rf'File "{re.escape(__file__)}", line \d+, in Wrong\.\w+', note)


def test_a_policy_that_does_not_fit_is_refused_on_its_line() -> None:
    with pytest.raises(TypeError, match="sync="):

        class Wrong(Saga[Order, Payment]):
            @step(policy=Pipeline(timeout(3)))
            def charge(self, order: Order) -> Payment: ...
