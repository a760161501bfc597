"""Sagas as users write them, and the exact types they have: checked by mypy and pyright, both strict; never run."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar, assert_type

from resilience import Pipeline, retry, timeout
from resilience.saga import (
    Journal,
    MemoryJournal,
    NoEffect,
    Saga,
    SagaHandle,
    SyncSagaHandle,
    current_key,
    message,
    nested,
    pause,
    step,
)

I = TypeVar("I")  # noqa: E741 - the input
O = TypeVar("O")  # noqa: E741 - the output


class CardDeclined(Exception):
    pass


@dataclass
class Order:
    id: str
    address: str


@dataclass
class Reservation:
    id: str


@dataclass
class Payment:
    id: str


@dataclass
class Approval:
    who: str


@dataclass
class Confirmation:
    id: str


class Stock:
    async def reserve(self, order: Order, key: str) -> Reservation:
        return Reservation(key)

    async def release(self, key: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Deliver(Saga[str, int]):
    vans: int

    @step
    def load(self, address: str) -> list[str]:
        return [address]

    @load.undo
    def unload(self, load: list[str] | None) -> None: ...

    @step(undo=None)
    def drive(self, load: list[str]) -> int:
        return len(load)


@dataclass
class PlaceOrder(
    Saga[Order, Confirmation], name="place-order", within=timedelta(minutes=5), renamed={"book": "reserve"}
):
    stock: Stock

    @step
    async def reserve(self, order: Order) -> Reservation:
        assert_type(self.key, str)
        assert_type(self.id, str)
        return await self.stock.reserve(order, key=current_key())

    @reserve.undo(attempts=3, within=30.0, policy=retry(on=OSError))
    async def release(self, reserve: Reservation | None, certain: bool) -> None:
        await self.stock.release(self.key)

    approval = message(Approval, within=timedelta(days=3))
    cooling = pause(timedelta(hours=1), after=reserve)

    @step(
        policy=Pipeline(timeout(5), retry(on=ConnectionError)),
        no_effect=(CardDeclined, lambda error: str(error) == "declined"),
        within=10.0,
        after=(reserve, "approval"),
        interrupt=False,
        rerun=False,
    )
    async def charge(self, order: Order, *, approval: Approval) -> Payment:
        raise NoEffect("card declined") from CardDeclined()

    @charge.undo
    async def refund(self, charge: Payment | None) -> None: ...

    @nested
    def deliver(self, order: Order) -> tuple[Deliver, str]:
        return Deliver(3), order.address

    @step(pivot=True, attempts=20)
    def seal(self, order: Order) -> bytes:
        return b""

    @step(retriable=True)
    async def confirm(self, reserve: Reservation, deliver: int) -> Confirmation:
        return Confirmation(reserve.id)


journal: Journal = MemoryJournal()
order = Order("42", "Main Street")
saga = PlaceOrder(Stock())


# Doors


async def doors() -> None:
    assert_type(await saga.run(order, id="order-42", journal=journal), Confirmation)
    assert_type(await saga.run(order), Confirmation)
    assert_type(await PlaceOrder(Stock()).run(order, id="order-42", journal=journal, within=3.0), Confirmation)
    handle = await saga.start(order, id="order-42", journal=journal)
    assert_type(handle, SagaHandle[Confirmation])
    assert_type(await handle.result(), Confirmation)
    assert_type(PlaceOrder.handle("order-42", journal=journal), SagaHandle[Confirmation])
    assert_type(await PlaceOrder.approval.send("order-42", Approval("ann"), journal=journal, who="ann"), None)


assert_type(Deliver(3).run_sync("Main Street", id="d-1", journal=journal, within=timedelta(hours=1)), int)
assert_type(Deliver(3).start_sync("Main Street", id="d-1", journal=journal), SyncSagaHandle[int])
assert_type(Deliver(3).start_sync("Main Street", journal=journal).result(), int)
PlaceOrder.approval.send_sync("order-42", Approval("ann"), journal=journal)
PlaceOrder.check()
run: Callable[[Order], Coroutine[Any, Any, Confirmation]] = saga.run


# Steps, undos and nested sagas are methods, as they are written


async def a_test_of_steps() -> None:
    assert_type(await saga.reserve(order), Reservation)
    assert_type(await saga.reserve(order=order), Reservation)
    assert_type(await saga.release(None, certain=False), None)
    assert_type(await saga.charge(order, approval=Approval("ann")), Payment)


assert_type(Deliver(3).load("Main Street"), list[str])
assert_type(Deliver(3).drive(load=["a"]), int)
assert_type(Deliver(3).unload(None), None)
assert_type(saga.deliver(order), tuple[Deliver, str])
assert_type(saga.seal(order), bytes)
assert_type(saga.approval, message[Approval])
assert_type(PlaceOrder.cooling, pause)


# A base of sagas to come, a subclass, and sagas without fields


class Base(Saga[I, O], Generic[I, O]):
    def greet(self) -> str:
        return "hello"


class Greet(Base[str, str]):
    @step
    def hello(self, name: str) -> str:
        return self.greet() + name


class GreetAgain(Greet, name="greet-again", within=3): ...


assert_type(Greet().run_sync("you"), str)
assert_type(GreetAgain().run_sync("you", id="g"), str)


class Plain(Saga[None, None]):
    def __init__(self, factor: int) -> None:
        self.factor = factor

    @step
    def look(self) -> int:
        return self.factor

    @look.undo
    def forget(self) -> None: ...

    @step
    async def end(self, look: int) -> None: ...


async def plain() -> None:
    await Plain(3).run(None)
