"""What a composition promises, worked out from the traits of its layers.

Durations are computed from the inside out, as `calls * f + seconds`, where `f` is how long the function itself takes.
What an opaque layer does is unknown, and so is all that rests on it, but for one thing: what is cut off ends.
"""

from collections.abc import Sequence
from math import inf

from ._traits import Traits
from .errors import ResilienceError, TimedOut

UNKNOWN = "unknown: it depends on the key's policy"


class Explanation(str):
    """A text that shows itself as it reads."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def explain(name: str, traits: Sequence[Traits]) -> Explanation:
    """The layers in order, and below them what they promise together."""
    lines = [f"{name} (outermost first)"]
    lines += [f"  {number}. {layer.summary}" for number, layer in enumerate(traits, 1)] or [
        "  (no policies: the function itself)"
    ]
    lines += [
        f"worst case:     {_worst_case(traits)}",
        f"calls per call: {_most_calls(traits)}",
        f"may raise:      {_refusals(traits)}",
    ]
    return Explanation("\n".join(lines))


def _worst_case(traits: Sequence[Traits]) -> str:
    calls, seconds, unknown = 1.0, 0.0, False
    for layer in reversed(traits):
        if layer.opaque:
            calls, seconds, unknown = 1.0, 0.0, True
        calls = _times(layer.most_calls, calls)
        seconds = _times(layer.most_calls, seconds) + layer.waits
        if layer.cuts and (unknown or calls or seconds > layer.seconds):
            calls, seconds, unknown = 0.0, layer.seconds, False
        elif layer.seconds < inf:
            # Announced: nothing starts or waits later than that; what has started by then runs to its end.
            seconds = layer.seconds if calls > 1 else min(seconds, layer.seconds)
            calls = min(calls, 1.0)
    if inf in (calls, seconds):
        return "unbounded; a timeout around it would bound it"
    if unknown:
        return UNKNOWN
    if not calls:
        return f"{seconds:g} s"
    own = "the function's own duration" if calls == 1 else f"{calls:g} times the function's own duration"
    return f"{own} + {seconds:g} s" if seconds else own


def _times(calls: float, each: float) -> float:
    """Nothing, however often, is nothing: `inf * 0` would be no number."""
    return calls * each if each else 0.0


def _most_calls(traits: Sequence[Traits]) -> str:
    if any(layer.opaque for layer in traits):
        return UNKNOWN
    product = 1.0
    for layer in traits:
        product *= layer.most_calls
    return f"at most {product:g}" if product < inf else "unbounded"


def _refusals(traits: Sequence[Traits]) -> str:
    kinds: dict[type[ResilienceError], None] = {}
    for layer in traits:
        kinds.update(dict.fromkeys(layer.raises))
    names = [kind.__name__ + (" (cut off)" if kind is TimedOut else " (not started)") for kind in kinds]
    names.append("whatever the function raises")
    if any(layer.opaque for layer in traits):
        names.append(f"more that is {UNKNOWN}")
    return ", and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
