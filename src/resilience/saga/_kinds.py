"""Which steps can be taken back, and from where on a saga goes forward only.

After a pivot has succeeded, or a retriable step has begun, there is no way back: so nothing may come after them, or run
beside them, that could fail for good, or that would have to be undone.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from .._core.saga.plan import Kind, Node, Plan
from ._declaration import Declared
from ._step import Step
from ._wrong import names, wrong


def settle(
    owner: type[Any], nodes: tuple[Node, ...], declared: Mapping[str, Declared], unsettled: Collection[str]
) -> tuple[Node, ...]:
    """Make retriable what comes after the point of no return, and check that all fits.

    Args:
        owner: The class.
        nodes: Its steps, as they are said to be.
        declared: What stands in the class.
        unsettled: Steps with neither an undo nor a word that none is needed.

    Raises:
        TypeError: The class is wrong.
    """
    return _Kinds(owner, nodes, declared).settled(unsettled)


class _Kinds:
    def __init__(self, owner: type[Any], nodes: tuple[Node, ...], declared: Mapping[str, Declared]) -> None:
        self._owner = owner
        self._declared = declared
        self._plan = Plan(owner.__name__, nodes)

    def settled(self, unsettled: Collection[str]) -> tuple[Node, ...]:
        self._check_pivots()
        nodes = tuple(map(self._placed, self._plan.nodes))
        self._plan = Plan(self._owner.__name__, nodes)
        for node in nodes:
            self._check_beside(node)
            self._check_attempts(node)
            if node.name in unsettled:
                self._check_unsettled(node)
        return nodes

    def _wrong(self, name: str, what: str) -> TypeError:
        """An error about a step; one of a nested saga is told of by the step that this saga is."""
        one = self._declared.get(name)
        return wrong(f"{self._owner.__name__}.{name}", what, one.function.written if isinstance(one, Step) else None)

    def _check_pivots(self) -> None:
        pivots = [node.name for node in self._plan.nodes if node.kind is Kind.PIVOT]
        if len(pivots) > 1:
            raise self._wrong(
                pivots[1],
                f"is a second point of no return, after {pivots[0]!r}. There is one, and what comes after it is "
                "repeated until it succeeds; leave out the second pivot=True",
            )
        for pivot in pivots:
            tied = {pivot, *self._plan.ancestors[pivot], *self._plan.descendants[pivot]}
            loose = [node.name for node in self._plan.nodes if node.name not in tied]
            if loose:
                raise self._wrong(
                    pivot,
                    f"is the point of no return, and {names(loose)} would run beside it; each other step has to come "
                    "before it or after it: see after=",
                )

    def _placed(self, node: Node) -> Node:
        """A step, retriable if it comes after what cannot be taken back."""
        points = (name for name in self._plan.by_name if name in self._plan.ancestors[node.name])
        point = next((name for name in points if self._plan.by_name[name].kind in {Kind.PIVOT, Kind.RETRIABLE}), None)
        if point is None:
            return node
        behind = f"comes after {point!r}, and from there on the saga goes forward only"
        if node.undoes:
            raise self._wrong(
                node.name,
                f"{behind}, so its undo would never run; write the step above {point!r}, or leave out the undo",
            )
        if not node.rerun:
            raise self._wrong(node.name, f"{behind}: it is repeated until it succeeds; leave out rerun=False")
        if node.kind is Kind.MESSAGE and node.seconds is not None:
            raise self._wrong(node.name, f"{behind}: no message can be too late; leave out within=")
        return replace(node, kind=Kind.RETRIABLE) if node.kind is Kind.COMPENSATABLE else node

    def _check_beside(self, node: Node) -> None:
        """What may fail for good comes before what cannot be taken back."""
        may_fail = node.kind is Kind.COMPENSATABLE or (node.kind is Kind.MESSAGE and node.seconds is not None)
        for other in sorted(self._plan.forward_only, key=list(self._plan.by_name).index) if may_fail else ():
            if node.name not in self._plan.ancestors[other]:
                raise self._wrong(
                    other,
                    f"cannot be taken back, and {node.name!r} runs beside it and may fail; let {other!r} come after "
                    "it: see after=",
                )

    def _check_attempts(self, node: Node) -> None:
        one = self._declared.get(node.name)
        if isinstance(one, Step) and one.attempts is not None and node.kind is Kind.COMPENSATABLE:
            raise self._wrong(
                node.name,
                f"attempts={one.attempts} is for a pivot or retriable step; to repeat calls that fail for a passing "
                "reason, give it policy=retry(on=...)",
            )

    def _check_unsettled(self, node: Node) -> None:
        """Only what nothing can go wrong after needs no undo."""
        others = [name for name in self._plan.by_name if name != node.name]
        later = [name for name in others if name not in self._plan.ancestors[node.name]]
        if node.kind is Kind.COMPENSATABLE and later:
            name = node.name.rpartition(".")[2]
            raise self._wrong(
                node.name,
                f"has no undo, and the saga may still turn back at {later[0]!r}; put @{name}.undo above a method that "
                "takes it back, or write @step(undo=None) if there is nothing to take back",
            )
