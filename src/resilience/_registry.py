"""The named policies that are alive now: to list, to inspect, to operate.

Nothing is kept alive here: a policy that nobody holds is gone.
"""

from difflib import get_close_matches
from typing import Any, TypeVar, overload

from ._budget import RetryBudget
from ._live import living
from ._policy import Policy, Shared

S = TypeVar("S", bound=Shared | RetryBudget)


@overload
def policies() -> list[Policy]: ...
@overload
def policies(kind: type[S]) -> list[S]: ...
def policies(kind: type[Any] = Shared) -> list[Any]:
    """All live policies that have a name, sorted by name.

    Args:
        kind: Only those of this class: `policies(CircuitBreaker)`. Default: all.
    """
    named = [policy for policy in living() if isinstance(policy, kind) and policy.name is not None]
    return sorted(named, key=lambda policy: (policy.name, type(policy).__name__))


def find(kind: type[S], name: str) -> S:
    """The live policy of a class and name.

    Raises:
        LookupError: There is none now; the text names the nearest.
    """
    alive = policies(kind)
    for policy in alive:
        if policy.name == name:
            return policy
    names = [policy.name or "" for policy in alive]
    near = ", ".join(get_close_matches(name, names, n=3) or names[:3])
    raise LookupError(
        f"no live {kind.__name__} is named {name!r}; {f'there is {near}' if near else 'there is none now'}"
    )
