"""The steps of a saga as data: what its class says, without the functions.

Steps form a graph. *Before* is the order in which they run; *needs* is the part of it that is there for a reason of the
user's (a result that is taken, an `after=` in so many words) and not only because one was written below the other. Both
matter for the way back: undos run in reverse order, and one that cannot be done holds up those that it needs to precede
for a reason, and no others.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from .entries import Shape


class Kind(StrEnum):
    """What a step is, after Richardson ("Microservices Patterns", chapter 4), and the two that only wait."""

    COMPENSATABLE = "compensatable"
    """Can be undone, or needs no undo."""
    PIVOT = "pivot"
    """The point of no return: once it succeeded, the saga goes forward only."""
    RETRIABLE = "retriable"
    """Comes after that point, and is repeated until it succeeds."""
    MESSAGE = "message"
    """Waits for a message from outside, and may be too late."""
    PAUSE = "pause"
    """Waits for a time to pass."""


@dataclass(frozen=True, slots=True)
class Node:
    """One step.

    Attributes:
        name: Its name, which is how journals know it; "deliver.load" for a step of a nested saga.
        kind: What it is.
        before: The steps right before it.
        needs: Those of them, or further back, that it has a reason to come after.
        undoes: Whether it has an undo.
        wanted: Whether another step takes its result, or the saga returns it.
        rerun: Whether it runs again when a crash has left its outcome open.
        interrupt: Whether it is cancelled when the saga turns back meanwhile.
        attempts: How often a pivot or retriable step is tried before it is parked.
        undo_attempts: How often its undo is tried before it is parked.
        seconds: How long a pause lasts, or a message may take; `None`: without limit.
        opens: The seconds that a nested saga may take, where this step begins one; `None`: without limit.
    """

    name: str
    kind: Kind = Kind.COMPENSATABLE
    before: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    undoes: bool = False
    wanted: bool = False
    rerun: bool = True
    interrupt: bool = True
    attempts: int = 10
    undo_attempts: int = 10
    seconds: float | None = None
    opens: float | None = None


@dataclass(frozen=True)
class Plan:
    """All steps of a saga, in the order in which they are written.

    Attributes:
        saga: The name of the class.
        nodes: The steps.
        within: Seconds until it turns back; `None`: without limit.
        renamed: What steps were called before: old name to new.
    """

    saga: str
    nodes: tuple[Node, ...]
    within: float | None = None
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """The steps by their names."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def ancestors(self) -> dict[str, frozenset[str]]:
        """For each step, all that come before it."""
        return _closure((node.name, node.before) for node in self.nodes)

    @cached_property
    def reasons(self) -> dict[str, frozenset[str]]:
        """For each step, all that it has a reason to come after, directly or by way of others."""
        return _closure((node.name, node.needs) for node in self.nodes)

    @cached_property
    def descendants(self) -> dict[str, tuple[str, ...]]:
        """For each step, all that come after it."""
        return {
            name: tuple(later.name for later in self.nodes if name in self.ancestors[later.name])
            for name in self.by_name
        }

    @cached_property
    def forward_only(self) -> frozenset[str]:
        """The steps that come after the point of no return."""
        return frozenset(node.name for node in self.nodes if node.kind is Kind.RETRIABLE)

    @cached_property
    def pivot(self) -> str | None:
        """The point of no return, if a step was named so."""
        return next((node.name for node in self.nodes if node.kind is Kind.PIVOT), None)

    @cached_property
    def limited(self) -> tuple[Node, ...]:
        """The steps that begin a nested saga with a limit of its own."""
        return tuple(node for node in self.nodes if node.opens is not None)

    @cached_property
    def shape(self) -> tuple[Shape, ...]:
        """What a journal remembers of it."""
        return tuple(Shape(node.name, node.kind.value, node.undoes, node.before) for node in self.nodes)

    def current(self, name: str) -> str:
        """What a step is called today that a journal knows by this name."""
        return self.renamed.get(name, name)


def differences(shape: Iterable[Shape], plan: Plan, ran: Collection[str]) -> list[str]:
    """How the class differs from what the journal says, as far as the saga has come: steps to come may change freely.

    Args:
        shape: The steps when the saga began.
        plan: The steps today.
        ran: The steps that have run, by today's names.

    Returns:
        One line for each difference, for people; none if the saga can go on.
    """
    then = {plan.current(step.name): step for step in shape}
    earlier = _closure((name, tuple(plan.current(other) for other in step.after)) for name, step in then.items())
    found: list[str] = []
    for name in ran:
        node, step = plan.by_name.get(name), then.get(name)
        if node is None:
            found.append(f"step {name!r} has run, and the class has no such step; was it renamed? then say renamed=")
            continue
        inserted = sorted(plan.ancestors[name] - frozenset(ran))
        found += [f"step {other!r} now comes before {name!r}, which has run without it" for other in inserted]
        if step is None:
            continue
        if step.undoes != node.undoes:
            found.append(f"step {name!r} has run, and its undo has {'gone' if step.undoes else 'come'} since")
        if step.kind != node.kind:
            found.append(f"step {name!r} has run as {step.kind}; now it is {node.kind.value}")
        moved = sorted((earlier[name] ^ plan.ancestors[name]) & frozenset(ran))
        found += [f"steps {other!r} and {name!r} have run, and their order has changed" for other in moved]
    return found


def _closure(edges: Iterable[tuple[str, tuple[str, ...]]]) -> dict[str, frozenset[str]]:
    """All that can be reached; the edges of each name come after those of the names that they lead to."""
    reached: dict[str, frozenset[str]] = {}
    for name, direct in edges:
        reached[name] = frozenset(direct).union(*(reached.get(other, frozenset()) for other in direct))
    return reached
