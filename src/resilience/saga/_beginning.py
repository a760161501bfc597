"""How a saga comes to run: from an input that somebody gives, or from what a journal holds."""

from typing import Any, cast

from msgspec import Raw

from .. import _checks
from .._core.saga.entries import Resumed, Start, read, write
from ..errors import IdConflict
from ._blueprint import Blueprint
from ._compile import blueprint_of
from ._declaration import Definition
from ._engine import this_process
from ._journal import Opened, Row, checked_id
from ._stage import Stage
from ._watching import watch


class Beginning:
    """A saga that is to be run with an input: begun, taken up, or found to have ended.

    Args:
        saga: Its object.
        input: Its input.
        id: Its id.
        within: Seconds until it turns back; `None`: as its class says.

    Attributes:
        id: Its id.
        saga: Its object.
        name: The name of its class.
        body: Its first record.

    Raises:
        TypeError: The class is wrong, or the input is not what it takes.
        ValueError: The id is none, or the input cannot be kept.
    """

    def __init__(self, saga: Definition[Any, Any], input: Any, id: str, within: Any) -> None:  # noqa: A002
        self.id = checked_id(id)
        self.saga = saga
        self.blueprint: Blueprint = blueprint_of(type(saga))
        plan = self.blueprint.plan
        self.name = plan.saga
        self.input = self.blueprint.input.encode(input)
        self.watch = watch(plan.saga, id)
        if self.watch is not None:
            self.watch.begin()
        limit = plan.within if within is None else _checks.seconds("within", within)
        trace = {} if self.watch is None else self.watch.trace
        self.body = write(Start(plan.saga, Raw(self.input), plan.shape, limit, trace))

    def stage(self, opened: Opened) -> Stage:
        """What is to be done, going by what the journal held.

        Raises:
            IdConflict: The id is that of another saga, or had another input.
        """
        if self.watch is not None:
            self.watch.durable()
        if opened.created:
            return Stage(self.blueprint, self.saga, self.id, opened, self.watch)
        self.compare(opened.rows[0])
        return taken_up(self.blueprint, self.saga, self.id, opened)

    def compare(self, first: Row) -> None:
        """Look whether a saga of this id is this saga, by its first record.

        Raises:
            IdConflict: It is another.
        """
        start = cast("Start", read(first.body))
        if start.saga != self.name:
            raise IdConflict(
                self.name, self.id, f"the journal has a {start.saga} of this id; ids are shared by all classes"
            )
        if not self.blueprint.input.alike(bytes(start.input), self.input):
            raise IdConflict(
                self.name,
                self.id,
                "the journal has it with another input; the same id is the same saga, so take one for each input",
            )


def taken_up(blueprint: Blueprint, saga: Any, id: str, opened: Opened) -> Stage:  # noqa: A002
    """What is to be done about a saga that another run has left."""
    start = cast("Start", read(opened.rows[0].body))
    runs = [record for row in opened.rows if isinstance(record := read(row.body), Resumed)]
    watching = watch(blueprint.plan.saga, id)
    if watching is not None:
        watching.resume(start.trace, runs[-1].trace if runs else start.trace, len(runs) + 2)
    resumed = Resumed(this_process(), {} if watching is None else watching.trace)
    return Stage(blueprint, saga, id, opened, watching, resumed)


def saga_of(opened: Opened) -> str:
    """The name of the class, by the first record."""
    return cast("Start", read(opened.rows[0].body)).saga


def refuse_coroutines(blueprint: Blueprint) -> None:
    """Plain code cannot run a saga with coroutine functions.

    Raises:
        TypeError: It has any.
    """
    if names := blueprint.coroutine_functions:
        raise TypeError(
            f"plain code cannot run {blueprint.plan.saga}: {', '.join(names)} "
            f"{'is a coroutine function' if len(names) == 1 else 'are coroutine functions'}; await its run(...) instead"
        )
