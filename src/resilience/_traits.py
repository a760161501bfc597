"""What a policy tells a pipeline about itself.

A pipeline checks orders and explains promises without knowing one class of policy: it reads these traits. A new pattern
describes itself here, and neither the checks nor the explanation need to be touched.
"""

from dataclasses import dataclass
from enum import IntEnum
from math import inf

from ._matching import Matcher
from .errors import ResilienceError


class Role(IntEnum):
    """The patterns, in the recommended order, outermost first. A timeout for each attempt stands inside a bulkhead."""

    FALLBACK = 0
    CACHE = 1
    TIMEOUT = 2
    RETRY = 3
    HEDGE = 4
    RATE_LIMITER = 5
    THROTTLE = 6
    CIRCUIT_BREAKER = 7
    BULKHEAD = 8
    CHAOS = 9
    CUSTOM = 10


@dataclass(frozen=True, slots=True)
class Traits:
    """One policy, as a pipeline sees it.

    Attributes:
        role: Which pattern it is.
        summary: What it does, in one line, with its figures.
        most_calls: The most times it calls what is inside, for one call from outside; `inf` if unbounded.
        seconds: The longest it lets what is inside run, in seconds; `inf` if it sets no limit.
        cuts: Whether it enforces `seconds` by cutting off, in sync and in async code.
        waits: The longest it may wait itself, over one call, in seconds; `inf` if unbounded.
        raises: The errors it adds of its own.
        handles: The errors it acts upon; `None` if it asks about none.
        lease: How long the outcome of a probe counts for something, in seconds; `inf` if it makes no probes.
        opaque: Whether nothing more is known of it before a call: it does what is made only then, for a key.
    """

    role: Role
    summary: str
    most_calls: float = 1
    seconds: float = inf
    cuts: bool = False
    waits: float = 0.0
    raises: tuple[type[ResilienceError], ...] = ()
    handles: Matcher | None = None
    lease: float = inf
    opaque: bool = False

    @property
    def repeats(self) -> bool:
        """Whether it may call what is inside more than once."""
        return self.most_calls > 1
