"""The messages that the stories of a saga send it: checked against its steps before the first story is told."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from .._core.saga.plan import Kind, Node
from ..saga._blueprint import Blueprint
from ._stories import Coming


class Mail:
    """What comes to a saga from outside.

    Attributes:
        values: The messages, by the names of the steps that wait for them, as they are sent.
    """

    def __init__(self, values: Mapping[str, bytes] | None = None, nodes: Mapping[str, Node] | None = None) -> None:
        self.values: Mapping[str, bytes] = values or {}
        self._nodes = nodes or {}

    def ways_to_come(self, name: str) -> Iterator[Coming]:
        """How else than once, while it is waited for: early only if a step comes before, late only with a limit."""
        node = self._nodes[name]
        if node.before:
            yield "early"
        yield "again and again"
        if node.seconds is not None:
            yield "too late"
            yield "never"


def mail_for(saga: str, blueprint: Blueprint, messages: object) -> Mail:
    """The messages that somebody wants to be sent.

    Args:
        saga: What the class is called, for the errors.
        blueprint: The saga's class.
        messages: The values, by the names of the steps; `None`: none.

    Raises:
        TypeError: They are no mapping, or one does not fit its step's type.
        ValueError: One is for no such step, or none is there for a step that would wait for ever.
    """
    nodes = {node.name: node for node in blueprint.plan.nodes if node.kind is Kind.MESSAGE}
    values = _mapping({} if messages is None else messages)
    for name in values:
        if name not in nodes:
            waiting = ", ".join(map(repr, nodes)) or "none"
            raise ValueError(f"messages: {name!r} is no message step of {saga}; those that wait for one: {waiting}")
    for name, node in nodes.items():
        if name not in values and node.seconds is None:
            raise ValueError(
                f"messages: {saga} waits for {name!r} without a limit, and would wait for ever; give the message "
                f"(messages={{{name!r}: ...}}), or the step a 'within='"
            )
    return Mail({name: _written(blueprint, name, value) for name, value in values.items()}, nodes)


def _mapping(messages: object) -> Mapping[str, Any]:
    if not isinstance(messages, Mapping):
        raise TypeError(f"messages must be a mapping of the names of message steps to messages, got {messages!r}")
    return cast("Mapping[str, Any]", messages)


def _written(blueprint: Blueprint, name: str, value: object) -> bytes:
    try:
        return blueprint.codecs[name].encode(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"messages: {name!r} cannot be {value!r}: {error}") from error
