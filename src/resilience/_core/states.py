"""The states of a circuit breaker, and what moves it between them: the graph, as data.

The machine moves by `TRANSITIONS` and `diagram` draws it, so that the picture in the documentation cannot be wrong.
What makes a cause come about is the machine's; here nothing happens.
"""

from enum import StrEnum


class State(StrEnum):
    """Where a breaker can be."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    ISOLATED = "isolated"
    DISABLED = "disabled"
    DRY_RUN = "dry_run"


class Cause(StrEnum):
    """What moves it: the first four by themselves, the others are verbs."""

    TRIPPED = "a rule is met"
    COOLED = "the cooldown is over and a call comes"
    RECOVERED = "every probe succeeded"
    RELAPSED = "a probe failed"
    RESET = "reset()"
    ISOLATE = "isolate()"
    DISABLE = "disable()"
    DRY_RUN = "dry_run()"
    RESTORE = "restore() of an open one"


VERBS = {
    Cause.RESET: State.CLOSED,
    Cause.ISOLATE: State.ISOLATED,
    Cause.DISABLE: State.DISABLED,
    Cause.DRY_RUN: State.DRY_RUN,
    Cause.RESTORE: State.OPEN,
}
"""Where each verb leads, from any state."""

TRANSITIONS: dict[tuple[State, Cause], State] = {
    (State.CLOSED, Cause.TRIPPED): State.OPEN,
    (State.OPEN, Cause.COOLED): State.HALF_OPEN,
    (State.HALF_OPEN, Cause.RECOVERED): State.CLOSED,
    (State.HALF_OPEN, Cause.RELAPSED): State.OPEN,
    **{(state, verb): after for state in State for verb, after in VERBS.items()},
}
"""The state graph. A step that is not here cannot be made."""


def diagram() -> str:
    """The state graph as Mermaid text."""
    own = [(before, after, cause) for (before, cause), after in TRANSITIONS.items() if cause not in VERBS]
    forced = [(after, verb) for verb, after in VERBS.items() if after not in {after for _, after, _ in own}]
    return "\n".join(
        (
            "stateDiagram-v2",
            "  [*] --> automatic",
            "  state automatic {",
            "    [*] --> closed",
            *(f"    {before} --> {after} : {cause}" for before, after, cause in own),
            "  }",
            *(f"  automatic --> {after} : {verb}" for after, verb in forced),
            *(f"  {before} --> closed : {Cause.RESET}" for before, _ in forced),
        )
    )


class Outcome(StrEnum):
    """How an admitted call can end. Nothing is learned from the last two."""

    SUCCESS = "success"
    FAILURE = "failure"
    SLOW = "slow"
    IGNORED = "ignored"
    CANCELLED = "cancelled"
