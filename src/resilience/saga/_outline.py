"""How the steps of a saga's class fit together: their order, and where each parameter comes from.

Steps run in the order in which they are written, unless `after=` says otherwise; what takes a result comes after the
step that gives it, in any case. The steps of a nested saga stand in the same graph, under prefixed names: what is true
of undo, crash and turn for a step is then true for them.

Nothing is known here of types, except of the classes of nested sagas.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast, get_args, get_origin

from .._core.saga.plan import Kind, Node, Plan
from ._declaration import Declared, Definition, Message, Nested, Pause
from ._kinds import settle
from ._names import check_parameters, declared_in, uses_of
from ._signature import hints_of
from ._step import Step
from ._types import is_saga
from ._wrong import meant, wrong

Class = type[Definition[Any, Any]]


@dataclass(frozen=True)
class Outline:
    """The structure of a saga's class.

    Attributes:
        declared: What stands in the class, in order.
        children: The classes of nested sagas, by the names of the steps that they are.
        plan: All steps, those of nested sagas too.
        gives: For each step of the class, the step in the plan that has its result: another one for a nested saga.
        unsettled: Steps in the plan with neither an undo nor a word that none is needed.
    """

    declared: Mapping[str, Declared]
    children: Mapping[str, Class]
    plan: Plan
    gives: Mapping[str, str]
    unsettled: frozenset[str]

    @cached_property
    def output(self) -> str:
        """The step in the plan whose result the saga returns: the one written last."""
        return self.gives[[*self.gives][-1]]


def outline_of(owner: Class, inside: tuple[Class, ...] = ()) -> Outline:
    """Read a class.

    Args:
        owner: The class.
        inside: The sagas that it is nested in.

    Raises:
        TypeError: The class is wrong.
        UnresolvedError: The class of a nested saga cannot be told yet.
    """
    declared = declared_in(owner)
    if not declared:
        raise wrong(owner.__name__, "has no steps; put @step above the methods that are steps")
    check_parameters(declared)
    nested = {name: cast("Nested[..., Any]", one) for name, one in declared.items() if isinstance(one, Nested)}
    children = {name: _child(owner, one, (*inside, owner)) for name, one in nested.items()}
    outlines = {name: outline_of(child, (*inside, owner)) for name, child in children.items()}
    graph = _Graph(owner, declared)
    for name, one in declared.items():
        graph.add(name, one, outlines.get(name))
    graph.check_undos()
    nodes = settle(owner, graph.marked(), declared, graph.unsettled)
    options = owner.__saga_options__
    _check_renamed(owner, options.renamed, {node.name for node in nodes})
    plan = Plan(options.name, nodes, options.within, _renamed(options.renamed, outlines))
    return Outline(declared, children, plan, graph.gives, frozenset(graph.unsettled))


class _Graph:
    """The steps in the plan, as they are put together one after another.

    Attributes:
        nodes: The steps so far.
        gives: See `Outline`.
        unsettled: See `Outline`.
    """

    def __init__(self, owner: Class, declared: Mapping[str, Declared]) -> None:
        self._owner = owner
        self._declared = declared
        self.nodes: dict[str, Node] = {}
        self.gives: dict[str, str] = {}
        self.unsettled: set[str] = set()
        self._ends: dict[str, tuple[str, ...]] = {}
        self._before: dict[str, frozenset[str]] = {}
        self._taken: set[str] = set()

    def add(self, name: str, one: Declared, child: Outline | None) -> None:
        """Put the next step behind those it comes after."""
        data = self._sources(name)
        named = (
            None if one.after is None else [end for other in one.after for end in self._ends[self._named(name, other)]]
        )
        node = Node(
            name,
            kind=_kind(one),
            before=self._last(self.nodes if named is None else [*named, *data]),
            needs=self._in_order([*(named or ()), *data]),
        )
        self._place(_with_options(node, one))
        self.gives[name], self._ends[name] = name, (name,)
        if isinstance(one, Step) and one.undone_by is None and not one.needs_no_undo:
            self.unsettled.add(name)
        if child is not None:
            self._inline(name, child)

    def check_undos(self) -> None:
        """What an undo takes is known by then."""
        for step, function, undo in uses_of(self._declared):
            sources = [self.gives[name] for name in function.parameters if name in self.gives and name != step]
            beside = [name for name in sources if name not in self._before[step]]
            if undo and beside:
                raise function.wrong(
                    f"{beside[0]!r} runs beside {step!r}, and may have no result by then; let {step!r} come after it, "
                    "or leave the parameter out"
                )
            self._taken.update(sources)

    def marked(self) -> tuple[Node, ...]:
        """The steps, those marked whose result is taken."""
        self._taken.add(self.gives[[*self.gives][-1]])
        return tuple(replace(node, wanted=node.wanted or node.name in self._taken) for node in self.nodes.values())

    def _inline(self, name: str, child: Outline) -> None:
        """The first steps of a nested saga come after the step that it is; what comes after that, after its last."""
        inside = {other: f"{name}.{other}" for other in child.plan.by_name}
        for node in child.plan.nodes:
            before = tuple(inside[other] for other in node.before) or (name,)
            needs = (name, *(inside[other] for other in node.needs))
            self._place(replace(node, name=inside[node.name], before=before, needs=needs))
        self.nodes[name] = replace(self.nodes[name], opens=child.plan.within, wanted=True)
        self.gives[name] = inside[child.output]
        self._ends[name] = self._last(inside.values())
        self.unsettled.update(inside[other] for other in child.unsettled)

    def _place(self, node: Node) -> None:
        self.nodes[node.name] = node
        self._before[node.name] = frozenset(node.before).union(*(self._before[other] for other in node.before))

    def _sources(self, name: str) -> list[str]:
        """The steps whose results a step takes."""
        uses = [use for use in uses_of({name: self._declared[name]}) if not use.undo]
        return [
            self.gives[parameter] for use in uses for parameter in use.function.parameters if parameter in self.gives
        ]

    def _last(self, many: Iterable[str]) -> tuple[str, ...]:
        """Those of them that none of the others comes after: the rest follows."""
        given = list(many)
        behind = frozenset[str]().union(*(self._before[name] for name in given))
        return self._in_order(name for name in given if name not in behind)

    def _in_order(self, many: Iterable[str]) -> tuple[str, ...]:
        given = set(many)
        return tuple(name for name in self.nodes if name in given)

    def _named(self, name: str, other: Declared | str) -> str:
        """What one part of `after=` means."""
        called = other if isinstance(other, str) else other.name
        if isinstance(other, Declared) and self._declared.get(called) is not other:
            what = f"after={called} is a step of another class; a step comes after steps of its own"
        elif called in self.gives:
            return called
        elif called in self._declared:
            what = f"after={called!r} is not written above it; a step comes after steps above it"
        else:
            what = f"after={called!r} is no step{meant(called, self.gives)}"
        raise wrong(f"{self._owner.__name__}.{name}", what)


def _kind(one: Declared) -> Kind:
    if isinstance(one, Message):
        return Kind.MESSAGE
    if isinstance(one, Pause):
        return Kind.PAUSE
    return one.kind if isinstance(one, Step) else Kind.COMPENSATABLE


def _with_options(node: Node, one: Declared) -> Node:
    if isinstance(one, Message):
        return replace(node, seconds=one.within)
    if isinstance(one, Pause):
        return replace(node, seconds=one.seconds)
    if not isinstance(one, Step):
        return node
    undo = one.undone_by
    return replace(
        node,
        undoes=undo is not None,
        rerun=one.rerun,
        interrupt=one.interrupt,
        attempts=node.attempts if one.attempts is None else one.attempts,
        undo_attempts=node.undo_attempts if undo is None else undo.attempts,
    )


def _child(owner: Class, one: Nested[..., Any], inside: tuple[Class, ...]) -> Class:
    """The class of a nested saga, from what the method says it returns."""
    returned = hints_of(one.function.written, owner)["return"]
    made, *rest = get_args(returned) if get_origin(returned) is tuple else (None,)
    child = get_origin(made) or made
    if not is_saga(child) or len(rest) != 1:
        raise one.function.wrong(
            "a nested step returns a saga's object and its input; write '-> tuple[<the saga's class>, <its input>]'"
        )
    if child in inside:
        raise one.function.wrong(f"{child.__name__} would hold itself, without end")
    return child


def _renamed(renamed: Mapping[str, str], outlines: Mapping[str, Outline]) -> dict[str, str]:
    """What steps were called before, those of nested sagas too: they have changed their names with theirs."""
    found = dict(renamed)
    for name, outline in outlines.items():
        inner = {**{same: same for same in outline.plan.by_name}, **outline.plan.renamed}
        for before in (name, *(old for old, new in renamed.items() if new == name)):
            found |= {f"{before}.{old}": f"{name}.{new}" for old, new in inner.items() if (before, old) != (name, new)}
    return found


def _check_renamed(owner: Class, renamed: Mapping[str, str], known: set[str]) -> None:
    for old, new in renamed.items():
        if new not in known:
            raise wrong(owner.__name__, f"renamed={{{old!r}: {new!r}}}: there is no step {new!r}{meant(new, known)}")
        if old in known:
            raise wrong(
                owner.__name__,
                f"renamed={{{old!r}: {new!r}}}: there is a step {old!r} today, so a journal's {old!r} could be either; "
                "give the new step another name",
            )
