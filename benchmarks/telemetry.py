"""What it costs to be seen: spans and metrics of a guarded call, beside the same made by hand around each pattern.

    python -m benchmarks.telemetry               # this interpreter, about two minutes
    python -m benchmarks.telemetry --rounds 60   # calmer figures on a busy machine

Every candidate is measured in every round under every kind of listener, so that what disturbs one disturbs all; the
tables show the minimum over the rounds, in nanoseconds and as a multiple of a pass-through (S for plain functions, A
for coroutine functions). The process is pinned to one core and the garbage collector is off while the clock runs. The
exporter throws everything away: what is measured is what the call pays.

By hand means what people write: the very same policies, and around each of them `start_as_current_span`, a counter
and a histogram with two attributes.
"""

import argparse
import asyncio
import functools
import gc
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import opentelemetry.metrics as metrics_api
import opentelemetry.metrics._internal as metering_api
import opentelemetry.trace as trace_api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from benchmarks.units import Async, Sync, aanswer, answer, apassthrough, passthrough
from resilience import Bulkhead, CircuitBreaker, Pipeline, retry
from resilience._gate import metering, tracing

CALLS = 1_000
ONE, FIVE, REPEATING = "one pattern", "pipeline of 5", "pipeline of 5 with attempts"
BY_HAND = "  by hand"
GATE = 0.25  # of a pass-through, at most, while nobody listens
SHARES = {FIVE: 6, REPEATING: 4}  # the sampled call costs at most this fraction of the one made by hand
SAMPLED = ("spans (simple)", "spans (batch)", "spans and metrics")


class Nowhere(SpanExporter):
    """Throws spans away."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - it throws them away
        """Keep nothing."""
        return SpanExportResult.SUCCESS


@dataclass
class Listening:
    """One way to listen.

    Attributes:
        title: Its column.
        tracers: The tracer provider, if any.
        meters: The meter provider, if any.
        around: The context that the calls are made in.
    """

    title: str
    tracers: TracerProvider | None = None
    meters: MeterProvider | None = None
    around: Callable[[], Any] = nullcontext
    plain: dict[str, Sync] = field(default_factory=dict)
    coroutine: dict[str, Async] = field(default_factory=dict)

    def install(self) -> None:
        """Make it the one that everybody talks to; there is no public way to replace another."""
        trace_api._TRACER_PROVIDER = self.tracers  # noqa: SLF001
        metering_api._METER_PROVIDER = self.meters  # noqa: SLF001


def traced(sampler: Sampler = ALWAYS_ON, processor: Any = SimpleSpanProcessor) -> TracerProvider:
    """A tracer provider whose spans end nowhere."""
    provider = TracerProvider(sampler=ParentBased(sampler), shutdown_on_exit=False)
    provider.add_span_processor(processor(Nowhere()))
    return provider


def metered() -> MeterProvider:
    """A meter provider that nobody reads while the clock runs."""
    return MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)


@contextmanager
def unsampled() -> Iterator[None]:
    """Below a span that was not sampled, as most requests are."""
    parent = NonRecordingSpan(SpanContext(trace_id=7, span_id=7, is_remote=True, trace_flags=TraceFlags(0)))
    with trace_api.use_span(parent):
        yield


def ways_to_listen() -> list[Listening]:
    """The columns."""
    return [
        Listening("nobody"),
        Listening("parent not sampled", traced(), around=unsampled),
        Listening("never sampled", traced(ALWAYS_OFF)),
        Listening("1 % sampled", traced(TraceIdRatioBased(0.01))),
        Listening("spans (simple)", traced()),
        Listening("spans (batch)", traced(processor=BatchSpanProcessor)),
        Listening("metrics", meters=metered()),
        Listening("spans and metrics", traced(), metered()),
    ]


def gated(fn: Sync) -> Sync:
    """The unit with the gate in front, as the library has it."""

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> int:
        if tracing._TRACER_PROVIDER is not None or metering._METER_PROVIDER is not None:  # noqa: SLF001 - the gate
            raise AssertionError
        return fn(*args, **kwargs)

    return call


class ByHand:
    """What people write around each pattern."""

    def __init__(self, listening: Listening) -> None:
        tracers: Any = listening.tracers or trace_api
        meters: Any = listening.meters or metrics_api
        self.tracer = tracers.get_tracer("by hand")
        meter = meters.get_meter("by hand")
        self.calls = meter.create_counter("calls", unit="{call}")
        self.took = meter.create_histogram("duration", unit="s")

    def seen(self, name: str, fn: Sync) -> Sync:
        """A span, a count and a duration."""

        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> int:
            began = time.perf_counter()
            outcome = "success"
            with self.tracer.start_as_current_span(name) as span:
                span.set_attribute("policy.name", name)
                try:
                    return fn(*args, **kwargs)
                except Exception:
                    outcome = "error"
                    raise
                finally:
                    span.set_attribute("outcome", outcome)
                    attributes = {"policy.name": name, "outcome": outcome}
                    self.calls.add(1, attributes)
                    self.took.record(time.perf_counter() - began, attributes)

        return call

    def aseen(self, name: str, fn: Async) -> Async:
        """The async twin."""

        @functools.wraps(fn)
        async def call(*args: Any, **kwargs: Any) -> int:
            began = time.perf_counter()
            outcome = "success"
            with self.tracer.start_as_current_span(name) as span:
                span.set_attribute("policy.name", name)
                try:
                    return await fn(*args, **kwargs)
                except Exception:
                    outcome = "error"
                    raise
                finally:
                    span.set_attribute("outcome", outcome)
                    attributes = {"policy.name": name, "outcome": outcome}
                    self.calls.add(1, attributes)
                    self.took.record(time.perf_counter() - began, attributes)

        return call

    def around_each(self, layers: Sequence[Any], fn: Sync) -> Sync:
        """Each pattern, and around it what is above."""
        for layer in reversed(layers):
            fn = self.seen(type(layer).__name__, layer.bind(fn))
        return fn

    def around_aeach(self, layers: Sequence[Any], fn: Async) -> Async:
        """The async twin."""
        for layer in reversed(layers):
            fn = self.aseen(type(layer).__name__, layer.abind(fn))
        return fn


def patterns() -> dict[str, tuple[Any, ...]]:
    """What is measured: in the first two nothing repeats, so they make one span; the third makes two."""
    four = (CircuitBreaker(), Bulkhead(1_000), CircuitBreaker(), Bulkhead(1_000))
    return {
        ONE: (CircuitBreaker(),),
        FIVE: (CircuitBreaker(), *four),
        REPEATING: (retry(on=OSError), *four),
    }


def prepare(listening: Listening) -> None:
    """Make everything that is called under one way to listen, and call it once."""
    listening.install()
    by_hand = ByHand(listening)
    for name, layers in patterns().items():
        policy = Pipeline(*layers, name=name)
        listening.plain |= {name: policy(answer), name + BY_HAND: by_hand.around_each(layers, answer)}
        listening.coroutine |= {name: policy(aanswer), name + BY_HAND: by_hand.around_aeach(layers, aanswer)}


def time_sync(fn: Sync, calls: int = CALLS) -> float:
    """Nanoseconds per call."""
    loop = itertools.repeat(None, calls)
    start = time.perf_counter_ns()
    for _ in loop:
        fn(1)
    return (time.perf_counter_ns() - start) / calls


async def time_async(fn: Async, calls: int = CALLS) -> float:
    """Nanoseconds per awaited call."""
    loop = itertools.repeat(None, calls)
    start = time.perf_counter_ns()
    for _ in loop:
        await fn(1)
    return (time.perf_counter_ns() - start) / calls


Times = dict[tuple[str, str], float]
"""The least nanoseconds of a call, by who listens and what is called."""


def measure(rounds: int, ways: list[Listening]) -> tuple[Times, Times]:
    """All candidates under all listeners, interleaved."""
    sync_times: Times = {}
    async_times: Times = {}

    def keep(times: Times, key: tuple[str, str], value: float) -> None:
        times[key] = min(value, times.get(key, value))

    units: dict[str, Sync] = {"S": passthrough(answer), "gate": gated(answer)}
    aunit = apassthrough(aanswer)

    async def async_round(way: Listening) -> None:
        with way.around():
            for name, fn in way.coroutine.items():
                await time_async(fn, 20)
                keep(async_times, (way.title, name), await time_async(fn))

    async def async_unit() -> None:
        keep(async_times, ("", "A"), await time_async(aunit, 10 * CALLS))

    gc.disable()
    for number in range(rounds):
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr)
        Listening("nobody").install()
        for name, unit in units.items():
            keep(sync_times, ("", name), time_sync(unit, 20 * CALLS))
        asyncio.run(async_unit())
        for way in ways:
            way.install()
            with way.around():
                for name, fn in way.plain.items():
                    time_sync(fn, 20)
                    keep(sync_times, (way.title, name), time_sync(fn))
            asyncio.run(async_round(way))
            gc.collect()
    print(file=sys.stderr)
    gc.enable()
    return sync_times, async_times


def report(unit: str, times: Times, ways: list[Listening]) -> None:
    """One table, and whether the goals are met."""
    floor = times["", unit]
    names = list(ways[0].plain)
    print(f"\n{unit} = {floor:.0f} ns. Each cell: ns, and how many {unit}")
    print(
        f"{'who listens':<20}" + "".join(f"{name.replace(' with ', ', '):>37}" for name in names if BY_HAND not in name)
    )
    print(" " * 20 + "".join(f"{'ours':>15}{'by hand':>15}{'share':>7}" for name in names if BY_HAND not in name))
    for way in ways:
        line = f"{way.title:<20}"
        for name in (ONE, FIVE, REPEATING):
            ours, theirs = times[way.title, name], times[way.title, name + BY_HAND]
            line += f"{ours:>8.0f} {ours / floor:>6.1f}{theirs:>8.0f} {theirs / floor:>6.1f}"
            line += f"{'1/' + format(theirs / ours, '.1f'):>7}"
        print(line)
    for name, share in SHARES.items():
        for title in SAMPLED:
            reached = times[title, name + BY_HAND] / times[title, name]
            print(f"{name}, {title}: 1/{reached:.1f} of by hand (wanted: at most 1/{share})")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="how often everything is measured (default: 20)")
    rounds = parser.parse_args().rounds
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    ways = ways_to_listen()
    for way in ways:
        prepare(way)
    sync_times, async_times = measure(rounds, ways)
    print(f"CPython {sys.version.split()[0]}, {rounds} rounds of {CALLS:,} calls")
    report("S", sync_times, ways)
    gate = (sync_times["", "gate"] - sync_times["", "S"]) / sync_times["", "S"]
    print(f"the gate while nobody listens: {gate:.2f} S (wanted: at most {GATE})  {'ok' if gate <= GATE else 'MISSED'}")
    report("A", async_times, ways)
    for way in ways:
        if way.tracers is not None:
            way.tracers.shutdown()


if __name__ == "__main__":
    main()
