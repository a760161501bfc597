"""What must not pass a type checker, of sagas: each marked line is refused by mypy and by pyright; never run."""

from dataclasses import dataclass

from resilience.saga import MemoryJournal, Saga, message, nested, pause, step


@dataclass
class Deliver(Saga[str, int]):
    vans: int

    @step
    async def load(self, address: str) -> int:
        return len(address)

    @load.undo  # E: an undo returns nothing
    def unload(self, load: int | None) -> bool:
        return True

    approval = message(str, within="3 days")  # E: seconds or a timedelta
    cooling = pause()  # E: how long?
    cooling_down = pause("1 h")  # E: seconds or a timedelta

    @step(undo=True)  # E: only None, in so many words
    def drive(self, load: int) -> int:
        return load

    @step(no_effect="declined")  # E: exception types or predicates
    def ship(self, load: int) -> int:
        return load

    @step(after=3)  # E: steps or names
    def later(self, load: int) -> int:
        return load

    @step(retries=3)  # E: no such option
    def often(self, load: int) -> int:
        return load

    @step(policy=OSError)  # E: a policy
    def guarded(self, load: int) -> int:
        return load

    @drive.undo(policy="retry")  # E: a policy
    def undrive(self) -> None: ...

    @drive.undo(retries=3)  # E: no such option
    def undriven(self) -> None: ...


@dataclass
class Parent(Saga[str, int]):
    @nested
    def deliver(self, address: str) -> tuple[Deliver, str]:
        return Deliver(3), address

    @nested  # E: a saga and its input
    def deliver_nothing(self, address: str) -> Deliver:
        return Deliver(3)


class Unlimited(Saga[str, int], within="1 h"):  # E: seconds or a timedelta
    pass


class Optional(Saga[str, int], retries=3):  # E: no such option
    pass


class OneSided(Saga[str]):  # E: input and output
    pass


saga = Deliver(3)
journal = MemoryJournal()


async def run() -> None:
    await saga.run(3)  # E: its input is a str
    await saga.run("Main Street", "order-42")  # E: options are written by name
    await saga.run("Main Street", id=42)  # E: an id is a str
    await saga.run("Main Street", journal="sagas.db")  # E: a journal
    text: str = await saga.run("Main Street")  # E: it returns an int
    await saga.start("Main Street", id="order-42")  # E: without a journal nothing is begun
    await Deliver.approval.send("order-42", 3, journal=journal)  # E: the message is a str
    await Deliver.approval.send("order-42", "yes")  # E: in which journal?
    await saga.load(3)  # E: the method takes a str
    await saga.load()  # E: and it takes it
    count: str = await saga.load("Main Street")  # E: it returns an int


saga.run_sync(3)  # E: its input is a str
saga.unload("three")  # E: it takes an int or None
saga.key = "mine"  # E: it is told, not set
Deliver.load("Main Street")  # E: a step of the class is no function
Parent().deliver(3)  # E: it takes a str
Deliver.handle(42, journal=journal)  # E: an id is a str
