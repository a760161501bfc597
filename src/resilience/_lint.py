"""What is doubtful in a composition: more than is said when a pipeline is built.

A pipeline warns about what is wrong in nearly every case. Here is also asked what only somebody who looks for trouble
wants to be asked: a wait without end, a limiter that counts calls where the service counts attempts. And decorators
that are stacked, which no pipeline has seen together, are judged as the one composition that they are.

As in `_orders`, each rule reads the traits of the layers, outermost first, and knows no class. Each doubt has a code,
so that whoever has a reason can say that this one is meant.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf, prod

from ._explain import explain
from ._orders import check
from ._traits import Role, Traits
from .errors import ResilienceWarning


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something that was perhaps not meant.

    Attributes:
        code: Which rule says so: a key of `CODES`.
        text: What is doubtful here, and the better spelling.
    """

    code: str
    text: str


CODES = {
    "senseless": "the order cannot have been meant",
    "doubtful": "the order, or an on=, that a pipeline warns about when it is built",
    "unbounded": "nothing bounds how long a call may take",
    "no-timeout": "a coroutine function under a bulkhead or breaker, and no timeout",
    "hidden-attempts": "a policy that counts calls, around one that makes several of each",
    "cache-inside": "a cache inside what refuses",
    "wait-too-long": "a wait that the timeout around it never lets end",
    "second-attempt": "a total limit that no second attempt fits into",
    "any-error": "mistakes of the program are repeated, or answered for",
    "many-calls": "more than 10 calls of the function for one",
}
"""The doubts there are."""

_MANY = 10
"""Calls for one. The SRE book (chapter "Handling Overload") allows three in all for a request."""

_COUNTING = (Role.RATE_LIMITER, Role.THROTTLE, Role.CIRCUIT_BREAKER, Role.BULKHEAD)
_TOLD_BY_ORDER = ((Role.CIRCUIT_BREAKER, Role.RETRY), (Role.BULKHEAD, Role.RETRY))


def doubts(traits: Sequence[Traits], *, layers: Sequence[object] = (), coroutine: bool = False) -> list[Doubt]:
    """All that is doubtful in a composition.

    Args:
        traits: Of its layers, outermost first.
        layers: The layers themselves, where one that stands there twice shall be found.
        coroutine: Whether it guards a coroutine function, which nothing but a timeout ends.

    Returns:
        The doubts, each once, the gravest first.
    """
    found = [*_said_when_built(traits, layers or traits)]
    for pair in combinations(traits, 2):
        found += (doubt for rule in _PAIRS if (doubt := rule(*pair)))
    found += (doubt for rule in _WHOLES if (doubt := rule(traits)))
    if coroutine and (doubt := _hangs(traits)):
        found.append(doubt)
    return sorted(dict.fromkeys(found), key=lambda doubt: [*CODES].index(doubt.code))


def promises(traits: Sequence[Traits]) -> dict[str, str]:
    """What `explain()` says below the layers: "worst case", "calls per call" and "may raise"."""
    ends = explain("", traits).splitlines()[-3:]
    return {what: promise.strip() for what, _, promise in (line.partition(":") for line in ends)}


def most_calls(traits: Sequence[Traits]) -> float:
    """How often these layers call what is inside, for one call from outside, at most."""
    return prod(layer.most_calls for layer in traits)


def _said_when_built(traits: Sequence[Traits], layers: Sequence[object]) -> Iterator[Doubt]:
    """Two by two, since the first senseless pair would end the search."""
    for pair in zip(combinations(layers, 2), combinations(traits, 2), strict=True):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", ResilienceWarning)
            try:
                check(*pair)
            except ValueError as error:
                senseless = [Doubt("senseless", str(error))]
            else:
                senseless = []
        yield from senseless
        yield from (Doubt("doubtful", str(one.message)) for one in said)


# Of two layers


def _hides_attempts(outer: Traits, inner: Traits) -> Doubt | None:
    if outer.role not in _COUNTING or not inner.repeats or (outer.role, inner.role) in _TOLD_BY_ORDER:
        return None
    often = f"up to {inner.most_calls:g} times" if inner.most_calls < inf else "any number of times"
    return Doubt(
        "hidden-attempts",
        f"{outer.summary}: it counts a call once, and the {_named(inner)} inside makes it {often}; write the "
        f"{_named(inner)} outside, and each attempt counts",
    )


def _hides_answers(outer: Traits, inner: Traits) -> Doubt | None:
    if inner.role is not Role.CACHE or outer.role not in _COUNTING:
        return None
    return Doubt(
        "cache-inside",
        f"a cache inside a {_named(outer)}: what it could answer at once counts as a call of the service, and is "
        "refused with the others; write the cache outside",
    )


def _waits_in_vain(outer: Traits, inner: Traits) -> Doubt | None:
    waits = inner.role in (Role.BULKHEAD, Role.RATE_LIMITER) and inner.waits
    if outer.role is not Role.TIMEOUT or not waits or not outer.seconds <= inner.waits < inf:
        return None
    return Doubt(
        "wait-too-long",
        f"{inner.summary}: nobody gets to wait so long, for the timeout around it ends the call after "
        f"{outer.seconds:g} s; give a shorter max_wait, or None: as long as the deadline allows",
    )


_PAIRS: tuple[Callable[[Traits, Traits], Doubt | None], ...] = (_hides_attempts, _hides_answers, _waits_in_vain)


# Of all layers


def _takes_for_ever(traits: Sequence[Traits]) -> Doubt | None:
    if not promises(traits)["worst case"].startswith("unbounded"):
        return None
    guilty = next((layer for layer in traits if inf in (layer.most_calls, layer.waits)), traits[0])
    return Doubt(
        "unbounded",
        f"{guilty.summary}: and nothing around it says when to give up; put a timeout around it, or a limit",
    )


def _leaves_no_second(traits: Sequence[Traits]) -> Doubt | None:
    """A total limit, a retry, and a limit for each attempt, of which two do not fit."""
    for outer, between, inner in combinations(traits, 3):
        limits = outer.role is inner.role is Role.TIMEOUT and between.role is Role.RETRY and between.repeats
        if limits and inner.seconds < outer.seconds < 2 * inner.seconds:
            return Doubt(
                "second-attempt",
                f"an attempt may take {inner.seconds:g} s, and the whole call {outer.seconds:g} s: after an attempt "
                f"that hangs, the next one is cut short; a limit of {outer.seconds / 2:g} s for each leaves room for "
                "two",
            )
    return None


def _mends_mistakes(traits: Sequence[Traits]) -> Doubt | None:
    for layer in traits:
        if layer.role in (Role.RETRY, Role.FALLBACK) and layer.handles and layer.handles.covers(TypeError):
            does = "repeats" if layer.role is Role.RETRY else "answers for, and hides,"
            return Doubt(
                "any-error",
                f"{layer.summary}: it {does} also a TypeError or KeyError, a mistake that only a programmer can mend; "
                "name the errors that you expect",
            )
    return None


def _calls_often(traits: Sequence[Traits]) -> Doubt | None:
    most = most_calls(traits)
    if not _MANY < most < inf:
        return None
    return Doubt(
        "many-calls",
        f"one call may become {most:g} calls of the function, at the very time when what it calls is in trouble; three "
        "are enough for most",
    )


_WHOLES: tuple[Callable[[Sequence[Traits]], Doubt | None], ...] = (
    _takes_for_ever,
    _leaves_no_second,
    _mends_mistakes,
    _calls_often,
)


def _hangs(traits: Sequence[Traits]) -> Doubt | None:
    guarding = next((layer for layer in traits if layer.role in (Role.BULKHEAD, Role.CIRCUIT_BREAKER)), None)
    if guarding is None or any(layer.seconds < inf for layer in traits):
        return None
    harm = "keeps its place for ever" if guarding.role is Role.BULKHEAD else "is no failure to it, for it never ends"
    return Doubt(
        "no-timeout",
        f"{guarding.summary}: a call that hangs {harm}; put a timeout inside, unless the client has a limit of its own",
    )


def _named(layer: Traits) -> str:
    return layer.role.name.lower().replace("_", " ")
