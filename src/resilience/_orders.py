"""Which compositions are senseless or doubtful, said when a pipeline is built, with the better spelling.

Each rule reads the traits of the layers, outermost first, and knows no class. A senseless order raises `ValueError`; a
doubtful one warns, for there may be a reason.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from math import inf

from ._traits import Role, Traits
from .errors import BulkheadFull, CircuitOpen, RateLimited, ResilienceError, ResilienceWarning, Throttled, TimedOut

_TOLD_BY_FALLBACK = (TimedOut, CircuitOpen, BulkheadFull, RateLimited, Throttled)


def check(layers: Sequence[object], traits: Sequence[Traits]) -> None:
    """Refuse what is senseless, warn about what is doubtful.

    Raises:
        ValueError: The order cannot have been meant.
    """
    for first, second in combinations(layers, 2):
        if first is second:
            raise ValueError(
                f"{first!r} stands twice in this pipeline: the inner one would compete with the outer one of the "
                "same call; name it once"
            )
    for traits_inside in traits[1:]:
        if traits_inside.role is Role.FALLBACK:
            raise ValueError(
                "a fallback changes the type of the answer, and inside it would hide failures from the policies "
                "around it; put it first: Pipeline(fallback(...), ...)"
            )
    for pair in combinations(traits, 2):
        for problem in _senseless(*pair):
            raise ValueError(problem)
        for doubt in _doubtful(*pair):
            warnings.warn(doubt, ResilienceWarning, stacklevel=3)


def _senseless(outer: Traits, inner: Traits) -> Iterator[str]:
    if outer.role is Role.TIMEOUT and inner.role is Role.TIMEOUT and inner.seconds >= outer.seconds:
        yield (
            f"the inner timeout ({inner.seconds:g} s) can never expire before the outer one ({outer.seconds:g} s); "
            "make the inner one shorter, or leave one out"
        )


def _doubtful(outer: Traits, inner: Traits) -> Iterator[str]:
    for rule in _RULES:
        doubt = rule(outer, inner)
        if doubt:
            yield doubt


def _two_repeat(outer: Traits, inner: Traits) -> str | None:
    if outer.role is Role.RETRY and inner.role is Role.RETRY:
        return (
            "two retries in one pipeline: what the inner one gives up on, the outer one does not repeat (unless "
            "again=True); one retry with the attempts you want says it better"
        )
    return None


def _holds_while_waiting(outer: Traits, inner: Traits) -> str | None:
    if outer.role is Role.BULKHEAD and inner.role is Role.RETRY:
        return (
            "a retry inside a bulkhead keeps its place while it waits between attempts; write the retry outside: "
            "Pipeline(retry(...), Bulkhead(...))"
        )
    return None


def _sees_too_little(outer: Traits, inner: Traits) -> str | None:
    if outer.role is Role.CIRCUIT_BREAKER and inner.role is Role.RETRY:
        return (
            "a retry inside a circuit breaker hides the failed attempts from it, and goes on calling when it has "
            "opened; write the retry outside: Pipeline(retry(...), CircuitBreaker(...))"
        )
    return None


def _misses_timeouts(outer: Traits, inner: Traits) -> str | None:
    if outer.role in (Role.RETRY, Role.CIRCUIT_BREAKER, Role.THROTTLE) and _misses(outer, (TimedOut,), inner):
        return (
            f"{outer.summary}: its on= does not name the TimedOut that the timeout inside raises, so a call that hangs "
            "is no failure to it; add TimedOut: on=(..., TimedOut)"
        )
    return None


def _misses_refusals(outer: Traits, inner: Traits) -> str | None:
    missed = _misses(outer, _TOLD_BY_FALLBACK, inner) if outer.role is Role.FALLBACK else None
    if missed:
        return (
            f"{outer.summary}: its on= does not name {missed}, which a policy inside raises, so the caller gets that "
            f"and not the fallback; add {missed}, or Rejected for every refusal"
        )
    return None


def _outlives_its_lease(outer: Traits, inner: Traits) -> str | None:
    if inner.role is Role.TIMEOUT and outer.lease <= inner.seconds < inf:
        return (
            f"{outer.summary}: a probe's outcome counts for {outer.lease:g} s, and the timeout inside lets it hang for "
            f"{inner.seconds:g} s, so a probe that hangs never says so; give a probe_lease longer than "
            f"{inner.seconds:g} s"
        )
    return None


_RULES: tuple[Callable[[Traits, Traits], str | None], ...] = (
    _two_repeat,
    _holds_while_waiting,
    _sees_too_little,
    _misses_timeouts,
    _misses_refusals,
    _outlives_its_lease,
)


def _misses(outer: Traits, kinds: tuple[type[ResilienceError], ...], inner: Traits) -> str | None:
    """The first of these errors that the inner layer raises and the outer one certainly does not handle."""
    if outer.handles is None:
        return None
    raised = (kind for kind in kinds if kind in inner.raises)
    return next((kind.__name__ for kind in raised if outer.handles.covers(kind) is False), None)
