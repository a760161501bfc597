"""Metrics: instruments that read the policies' own numbers.

Counting costs a call nothing: what a policy knows anyway (its state, its totals) is read when a reader of the SDK asks
for it. Only durations are recorded as they happen, and only while somebody listens. Nothing that grows without bound
(a key, an id, a message) is an attribute of a metric.

A pattern declares its instruments beside its code: `declare(Instrument(...))`. They are made through the API's own
meter provider with the first policy, which turns them into real ones when an SDK comes. This module knows no policy.
"""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal
from weakref import WeakKeyDictionary

import opentelemetry.metrics as api
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, NoOpMeter, Observation

from ._totals import Tally

POLICY_NAME = "resilience.policy.name"
OUTCOME = "resilience.outcome"
ERROR_TYPE = "error.type"

Attributes = Mapping[str, str]
Reading = tuple[int, Attributes]

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds: the boundaries that the semantic conventions advise for the duration of an HTTP request."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric, as `docs/telemetry.md` promises it.

    Attributes:
        name: Its name.
        kind: A counter never falls, an up-down counter does; both are read when asked for. A histogram is recorded.
        unit: In UCUM: `s`, or what is counted in braces.
        description: What it measures.
        attributes: The attributes it may have; each takes few values.
        read: The readings now, for all but a histogram. Those with the same attributes are summed.
        buckets: The boundaries that a histogram advises.
    """

    name: str
    kind: Literal["counter", "up_down_counter", "histogram"]
    unit: str
    description: str
    attributes: tuple[str, ...]
    read: Callable[[], Iterable[Reading]] = tuple
    buckets: tuple[float, ...] = BUCKETS

    def observe(self, _: CallbackOptions) -> list[Observation]:
        """What the SDK gets when it asks: one observation for each set of attributes."""
        sums: Counter[tuple[tuple[str, str], ...]] = Counter()
        for value, attributes in self.read():
            sums[tuple(attributes.items())] += value
        return [Observation(value, dict(attributes)) for attributes, value in sums.items()]


_lock = threading.Lock()
_declared: list[Instrument] = []
_made: "WeakKeyDictionary[Any, dict[str, Histogram]]" = WeakKeyDictionary()


def declare(instrument: Instrument) -> Instrument:
    """Promise a metric. It is made on every meter provider from now on, and on those that are in use already."""
    with _lock:
        _declared.append(instrument)
        # A provider and the one that it follows share their instruments.
        for provider, histograms in {id(made): (provider, made) for provider, made in _made.items()}.values():
            _make(instrument, _meter_of(provider), histograms)
    return instrument


def declared() -> tuple[Instrument, ...]:
    """Every metric there is."""
    return tuple(_declared)


def histograms_of(provider: Any) -> dict[str, Histogram] | None:
    """Make the instruments on a meter provider, once, and give its histograms by name; `None` if it is silent."""
    with _lock:
        known = _made.get(provider)
        if known is not None:
            return known
        followed = _followed_by(provider)
        if followed is None:
            meter = _meter_of(provider)
            if isinstance(meter, NoOpMeter):
                return None
            followed = dict[str, Histogram]()
            for instrument in _declared:
                _make(instrument, meter, followed)
        _made[provider] = followed
        return followed


def load() -> None:
    """Make the instruments through the API; load the provider that `OTEL_PYTHON_METER_PROVIDER` names, if any."""
    provider = api.get_meter_provider()
    if provider not in _made:
        histograms_of(provider)


def _followed_by(provider: object) -> dict[str, Histogram] | None:
    """The instruments made before there was an SDK, if the API has turned them into real ones of this provider."""
    for before, histograms in _made.items():
        if getattr(before, "_real_meter_provider", None) is provider:
            return histograms
    return None


def _meter_of(provider: Any) -> Meter:
    meter: Meter = provider.get_meter("resilience", own_version())
    return meter


def _make(instrument: Instrument, meter: Meter, histograms: dict[str, Histogram]) -> None:
    about: Any = {"name": instrument.name, "unit": instrument.unit, "description": instrument.description}
    match instrument.kind:
        case "counter":
            meter.create_observable_counter(**about, callbacks=[instrument.observe])
        case "up_down_counter":
            meter.create_observable_up_down_counter(**about, callbacks=[instrument.observe])
        case "histogram":
            histograms[instrument.name] = _histogram(partial(meter.create_histogram, **about), instrument.buckets)


def _histogram(create: Callable[..., Histogram], buckets: tuple[float, ...]) -> Histogram:
    try:
        return create(explicit_bucket_boundaries_advisory=buckets)
    except TypeError:  # an API that knows no advice yet
        return create()


def _after_fork() -> None:
    """In a forked child: a new lock; the API's own instruments go on."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)


@cache
def own_version() -> str:
    """The version of this library; empty where it was not installed."""
    # Only who hears metrics asks for it; at the top it would bring `email` and `zipfile` into every process.
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version("resilience-patterns")
    except PackageNotFoundError:
        return ""


def type_name(kind: type[BaseException]) -> str:
    """What `error.type` says: the class as it is imported, without a module for what is built in."""
    try:
        return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    except Exception:  # noqa: BLE001 - a metaclass of the user's
        return "_OTHER"  # as the conventions call what has no name


rejections: Tally[tuple[str, str]] = Tally()
"""Refusals, by the policy that refused and the type of the error."""

attempts: Tally[tuple[str, str]] = Tally()
"""Attempts of observed calls, by the name of the call and the attempt's outcome."""

CALL_DURATION = declare(
    Instrument(
        "resilience.call.duration",
        "histogram",
        "s",
        "Duration of guarded calls, with all their attempts and waits",
        (POLICY_NAME, OUTCOME, ERROR_TYPE),
    )
)
declare(
    Instrument(
        "resilience.attempts",
        "counter",
        "{attempt}",
        "Attempts of guarded calls that may be repeated, counted while a meter provider is installed",
        (POLICY_NAME, OUTCOME),
        lambda: [(value, {POLICY_NAME: name, OUTCOME: outcome}) for (name, outcome), value in attempts.read().items()],
    )
)
declare(
    Instrument(
        "resilience.rejections",
        "counter",
        "{rejection}",
        "Calls and attempts that a policy refused to start",
        (POLICY_NAME, ERROR_TYPE),
        lambda: [(value, {POLICY_NAME: name, ERROR_TYPE: kind}) for (name, kind), value in rejections.read().items()],
    )
)
