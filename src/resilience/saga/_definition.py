"""`Saga`: a class whose steps survive a crash at any line. And the doors by which it is run.

Here is what users subclass. A class is checked and compiled when it is defined (`_compile`); what is wrong with it
comes to light there, or, where an annotation names what is written further down, when it is first run or `check`ed.

How a saga is run is not known here: the doors only hand on (`_run`). And nothing that runs one imports this module: a
driver's words for a saga are `Definition` (`_declaration`), `blueprint_of` (`_compile`), `running` (`_call`).
"""

from collections.abc import Mapping
from typing import Any, cast
from uuid import uuid4

from .. import _checks
from . import _run
from ._compile import blueprint_of
from ._declaration import Definition, Input, Message, Output, Pause, T
from ._diagram import Diagram, diagram_of
from ._handle import SagaHandle, SyncSagaHandle
from ._journal import Journal
from ._names import declared_in
from ._signature import UnresolvedError, fields_of
from ._wrong import wrong


class Saga(Definition[Input, Output]):
    """A piece of work of several steps, done in full or undone, whatever happens meanwhile.

    ```python
    @dataclass
    class PlaceOrder(Saga[Order, Confirmation], within=timedelta(minutes=5)):
        stock: Stock
        payments: Payments

        @step
        async def reserve(self, order: Order) -> Reservation: ...
        @reserve.undo
        async def release(self, reserve: Reservation | None) -> None: ...

        @step(policy=Pipeline(timeout(5), retry(on=ConnectionError)), no_effect=CardDeclined)
        async def charge(self, order: Order) -> Payment: ...
        @charge.undo
        async def refund(self, charge: Payment | None) -> None: ...

        @step
        async def confirm(self, order: Order, reserve: Reservation, charge: Payment) -> Confirmation: ...

    confirmation = await PlaceOrder(stock, payments).run(order, id="order-42", journal=journal)
    ```

    The class may be plain, a dataclass (frozen, with slots), or of attrs; one object may run any number of sagas at
    once. All steps stand in one class; a subclass has the same steps, under its own name, and replaces none.

    Args:
        name: How journals know the class. Default: its `__name__`.
        within: Seconds or a `timedelta` until it turns back. Default: without limit. A subclass inherits it.
        renamed: What steps were called before, old name to new, for sagas that are open while the code changes.

    Raises:
        TypeError: (when a class is defined) It is wrong; the text says which step, why, and what to write.
        ValueError: (when a class is defined) A duration is out of its range.
    """

    __slots__ = ()

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        within: _checks.Seconds | None = None,
        renamed: Mapping[str, str] | None = None,
    ) -> None:
        super().__init_subclass__(name=name, within=within, renamed=renamed)
        _check_attributes(cls)
        if not _is_abstract(cls):
            try:
                blueprint_of(cls)
            except UnresolvedError:
                pass

    async def run(
        self,
        input: Input,  # noqa: A002 - it is the saga's input
        /,
        *,
        id: str | None = None,  # noqa: A002 - it is the saga's id
        journal: Journal | None = None,
        within: _checks.Seconds | None = None,
    ) -> Output:
        """Run it to its end; take it up, if one of this id was left.

        Args:
            input: What it is about.
            id: What it is known by: the same id is the same saga, so that a repeated call goes on with it, or returns
                its result, and never does the work twice. Take it from what the saga is about: "order-42". Default: a
                new one in each call, so that a repeated call is another saga.
            journal: Where it is kept. Default: in memory, and gone with the process.
            within: Seconds or a `timedelta` until it turns back. Default: that of the class.

        Returns:
            What the step written last has returned.

        Raises:
            SagaFailed: It did not complete, and what it had done is undone; the first cause is its `__cause__`.
            SagaStuck: Something waits for an operator.
            IdConflict: The id is that of another saga, or had another input.
            JournalUnavailable: The journal cannot be read or written.
            TypeError: The class is wrong, or the input is not what it takes.
        """
        return cast("Output", await _run.run(self, input, uuid4().hex if id is None else id, journal, within=within))

    def run_sync(
        self,
        input: Input,  # noqa: A002 - it is the saga's input
        /,
        *,
        id: str | None = None,  # noqa: A002 - it is the saga's id
        journal: Journal | None = None,
        within: _checks.Seconds | None = None,
    ) -> Output:
        """Run it to its end, in plain code: `run` for a saga without coroutine functions.

        Raises:
            TypeError: A step or an undo is a coroutine function. And as `run`.
        """
        return cast("Output", _run.run_sync(self, input, uuid4().hex if id is None else id, journal, within=within))

    async def start(
        self,
        input: Input,  # noqa: A002 - it is the saga's input
        /,
        *,
        id: str | None = None,  # noqa: A002 - it is the saga's id
        journal: Journal,
        within: _checks.Seconds | None = None,
    ) -> SagaHandle[Output]:
        """Begin it, durably, and go on with other things while it runs in the background.

        If the process ends before it has, a `SagaRunner` takes it up, or a call with the same id.

        Args:
            input: What it is about.
            id: As for `run`.
            journal: Where it is kept.
            within: As for `run`.

        Returns:
            A handle that tells how it stands, waits for its result, and may cancel it.

        Raises:
            IdConflict: The id is that of another saga, or had another input.
            JournalUnavailable: The journal cannot be read or written.
        """
        return await _run.start(self, input, uuid4().hex if id is None else id, journal, within=within)

    def start_sync(
        self,
        input: Input,  # noqa: A002 - it is the saga's input
        /,
        *,
        id: str | None = None,  # noqa: A002 - it is the saga's id
        journal: Journal,
        within: _checks.Seconds | None = None,
    ) -> SyncSagaHandle[Output]:
        """Begin it in plain code: as `start`; it runs in a thread of its own."""
        return _run.start_sync(self, input, uuid4().hex if id is None else id, journal, within=within)

    @classmethod
    def handle(cls, id: str, *, journal: Journal) -> SagaHandle[Output]:  # noqa: A002 - it is the saga's id
        """A handle on a saga that was begun elsewhere or before.

        Args:
            id: The saga's id.
            journal: Where it is kept.
        """
        return _run.attach(cls, id, journal)

    @classmethod
    def handle_sync(cls, id: str, *, journal: Journal) -> SyncSagaHandle[Output]:  # noqa: A002 - it is the saga's id
        """The same for plain code: as `handle`."""
        return _run.attach_sync(cls, id, journal)

    @classmethod
    def check(cls) -> None:
        """Check the class in full, its types too: what would come to light with the first run at the latest.

        Raises:
            TypeError: It is wrong.
        """
        blueprint_of(cls)

    @classmethod
    def diagram(cls) -> Diagram:
        """Draw the steps: `print(PlaceOrder.diagram())` gives Mermaid's text, `PlaceOrder.diagram().svg` a picture.

        Raises:
            TypeError: The class is wrong.
        """
        return diagram_of(blueprint_of(cls))


class message(Message[T]):
    """Wait for a message from outside; its value is taken by later steps as the result of any step is.

    ```python
    approval = message(Approval, within=timedelta(days=3))
    ...
    await PlaceOrder.approval.send("order-42", Approval("ann"), journal=journal)
    ```

    It may be sent before the saga waits for it, and is kept until then. The same one twice is one; a second, different
    one is refused.

    Args:
        type: What the message is.
        within: Seconds or a `timedelta` that it may take to come, counted from when the saga waits for it; after that
            the saga turns back. Default: without limit.
        after: As for `step`.

    Raises:
        TypeError: `within` is no duration.
        ValueError: `within` is not greater than zero.
    """

    async def send(self, id: str, value: T, /, *, journal: Journal, who: str = "") -> None:  # noqa: A002 - it is the saga's id
        """Send it to a saga; inside a nested saga the id is "order-42/deliver".

        Args:
            id: The saga's id.
            value: The message.
            journal: Where the saga is kept.
            who: Who sends it, for the record.

        Raises:
            UnknownSaga: No saga of this id is in the journal.
            MessageRefused: It has ended, or another message was there first.
            JournalUnavailable: The journal cannot be written.
        """
        await _run.send(self, id, value, journal, who)

    def send_sync(self, id: str, value: T, /, *, journal: Journal, who: str = "") -> None:  # noqa: A002 - it is the saga's id
        """Send it, in plain code: as `send`."""
        _run.send_sync(self, id, value, journal, who)


class pause(Pause):
    """Wait for a time to pass, over a crash as well: `cooling = pause(timedelta(hours=1))`.

    Args:
        duration: Seconds or a `timedelta`.
        after: As for `step`.

    Raises:
        TypeError: It is no duration.
        ValueError: It is not greater than zero.
    """


_ATTRIBUTES = frozenset(name for name in dir(Saga) if not name.startswith("_"))
"""What every saga has, so that no step or field of one may be called so."""


def _check_attributes(owner: type[Saga[Any, Any]]) -> None:
    for name in sorted(_ATTRIBUTES & {*vars(owner), *fields_of(owner)}):
        raise wrong(
            f"{owner.__name__}.{name}",
            f"every saga has something of this name, Saga.{name}; give it another name",
        )


def _is_abstract(owner: type[Saga[Any, Any]]) -> bool:
    """Whether it is a base of sagas to come: without steps, and open to types."""
    return not declared_in(owner) and bool(getattr(owner, "__parameters__", ()))
