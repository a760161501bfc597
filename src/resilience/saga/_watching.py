"""What is seen of a saga from outside: one trace, however many processes it takes and however many days.

::

    place-order                the anchor: it is over when START is durable, so it is exported even if the process dies
    ├─ run 1                   one for each process that takes the saga up; the last one says how the saga ended
    ├─ step reserve            steps are children of the anchor, not of a run: a crash leaves no orphans
    ├─ step charge
    ├─ run 2                   linked to run 1
    └─ undo reserve            linked to the step that it undoes

The anchor's trace context is written in the START, a run's where the run begins, a step's in its RESULT; all by the W3C
propagator. Ids are on spans only: a metric takes nothing that grows without bound.
"""

from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Self

import opentelemetry.trace as api
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .._clock import clock
from .._core.saga.effects import Done
from .._gate import Listeners, gate, metering, tracing
from .._metrics import ERROR_TYPE, OUTCOME, Instrument, declare
from .._telemetry import conclude, error_type, outcome_of, unharmed, wall_nanoseconds
from .._totals import Tally

SAGA_NAME = "resilience.saga.name"
SAGA_ID = "resilience.saga.id"
SAGA_RUN = "resilience.saga.run"
SAGA_STEP = "resilience.saga.step"
SAGA_OUTCOME = "resilience.saga.outcome"
STEP_OUTCOME = "resilience.saga.step.outcome"

RUN = "run"
"""Where START keeps the trace context of the first run, beside the anchor's."""

Carrier = dict[str, str]

LONG = (0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 600.0, 3_600.0, 86_400.0, 604_800.0)
"""Seconds: a saga takes anything from an instant to a week."""

_propagator = TraceContextTextMapPropagator()


class Watch:
    """One run of a saga that somebody listens to. `watch` makes it.

    Attributes:
        trace: What is to be written where this run begins: in the START, or where it is resumed.
    """

    __slots__ = ("_anchor", "_id", "_listeners", "_parent", "_run", "_saga", "trace")

    def __init__(self, listeners: Listeners, saga: str, id: str) -> None:  # noqa: A002 - it is the saga's id
        self._listeners = listeners
        self._saga = saga
        self._id = id
        self._anchor: Span | None = None
        self._run: Span | None = None
        self._parent: Context | None = None
        self.trace: Carrier = {}

    def begin(self) -> None:
        """The saga's first run: open its anchor. `durable` ends it."""
        self._anchor = self._span(self._saga, None)
        if self._anchor is not None:
            self.trace = _carrier(self._anchor)
            self._parent = api.set_span_in_context(self._anchor, Context())
            self._open_run(1, ())
            if self._run is not None:
                self.trace[RUN] = _carrier(self._run).get("traceparent", "")

    def durable(self) -> None:
        """START is written: whatever happens from here on, the anchor is known."""
        if self._anchor is not None:
            unharmed(partial(self._anchor.end, wall_nanoseconds()))

    def resume(self, start: Mapping[str, str], last: Mapping[str, str], run: int) -> None:
        """Another run, of a saga that has begun elsewhere.

        Args:
            start: What the START keeps.
            last: What was kept where the last run began.
            run: The how-maniest run this is, from 1.
        """
        self._parent = _propagator.extract(start, Context())
        before = {"traceparent": last.get(RUN, "") or last.get("traceparent", "")}
        self._open_run(run, _links(before, "resumed_from"))
        if self._run is not None:
            self.trace = _carrier(self._run)

    def step(self, name: str, *, undo: bool, undoes: Mapping[str, str]) -> "StepSpan":
        """A stretch in which a step, or its undo, runs: a context manager around it.

        Args:
            name: The step.
            undo: Whether it is undone.
            undoes: The trace context of the step that it undoes.
        """
        return StepSpan(self, name, undo=undo, links=_links(undoes, "undoes"))

    def ended(self, outcome: str, began: float | None, error: BaseException | None) -> None:
        """This run is over.

        Args:
            outcome: How the saga ended; "stuck", or "left" if this process only lets go of it.
            began: When the saga began, on the wall clock.
            error: What its caller gets.
        """
        if self._listeners.histograms is not None and began is not None and outcome not in {"stuck", "left"}:
            facts = {SAGA_NAME: self._saga, SAGA_OUTCOME: outcome}
            took = max(0.0, clock.wall() - began)
            unharmed(partial(self._listeners.histograms[SAGA_DURATION.name].record, took, facts))
        if self._run is not None:
            unharmed(partial(conclude, self._run, outcome_of(error), error, {SAGA_OUTCOME: outcome}))

    @property
    def listeners(self) -> Listeners:
        """Who listens."""
        return self._listeners

    @property
    def parent(self) -> Context | None:
        """The context whose span is the anchor."""
        return self._parent

    @property
    def about(self) -> dict[str, str]:
        """What every span of the saga says."""
        return {SAGA_NAME: self._saga, SAGA_ID: self._id}

    def _open_run(self, run: int, links: tuple[Link, ...]) -> None:
        self._run = self._span(f"run {run}", self._parent, {SAGA_RUN: run}, links)

    def _span(
        self,
        name: str,
        parent: Context | None,
        attributes: Mapping[str, str | int] | None = None,
        links: tuple[Link, ...] = (),
    ) -> Span | None:
        tracer = self._listeners.tracer
        return None if tracer is None else start_span(tracer, name, parent, {**self.about, **(attributes or {})}, links)


class StepSpan:
    """A step, or its undo, while it runs: the current span for what the step calls.

    Attributes:
        trace: Its trace context, for the journal.
    """

    __slots__ = ("_began", "_error", "_links", "_name", "_outcome", "_span", "_token", "_undo", "_watch", "trace")

    def __init__(self, watch: Watch, name: str, *, undo: bool, links: tuple[Link, ...]) -> None:
        self._watch = watch
        self._name = name
        self._undo = undo
        self._links = links
        self._span: Span | None = None
        self.trace: Carrier = {}
        self._outcome = "unknown"
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self._began = clock.now()
        tracer = self._watch.listeners.tracer
        if tracer is not None:
            name = f"{'undo' if self._undo else 'step'} {self._name}"
            about = {**self._watch.about, SAGA_STEP: self._name}
            self._span = start_span(tracer, name, self._watch.parent, about, self._links)
        if self._span is not None:
            self.trace = _carrier(self._span)
            self._token = otel_context.attach(api.set_span_in_context(self._span))
        return self

    def ended(self, done: Done, error: BaseException | None) -> Done:
        """How it ended; what is to be written says where it is found in the trace."""
        self._outcome = done.outcome
        self._error = None if done.outcome == "ok" else error
        return done._replace(trace=self.trace)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        error = self._error or error
        if self._span is not None:
            otel_context.detach(self._token)
            unharmed(partial(conclude, self._span, outcome_of(error), error, {STEP_OUTCOME: self._outcome}))
        histograms = self._watch.listeners.histograms
        if histograms is not None and not self._undo:
            facts = {SAGA_NAME: self._watch.about[SAGA_NAME], SAGA_STEP: self._name}
            facts |= {STEP_OUTCOME: self._outcome, **error_type(error)}
            unharmed(partial(histograms[STEP_DURATION.name].record, clock.now() - self._began, facts))


def watch(saga: str, id: str) -> Watch | None:  # noqa: A002 - it is the saga's id
    """Watch a run of a saga; `None` while nobody listens."""
    if tracing._TRACER_PROVIDER is None and metering._METER_PROVIDER is None:
        return None
    listeners = gate.listeners()
    return None if listeners is None else Watch(listeners, saga, id)


def start_span(
    tracer: Tracer, name: str, parent: Context | None, attributes: Mapping[str, str | int], links: tuple[Link, ...]
) -> Span | None:
    """Begin a span, on the library's clock; `None` if that fails."""
    return unharmed(
        partial(tracer.start_span, name, parent, attributes=attributes, links=links, start_time=wall_nanoseconds())
    )


def _carrier(span: Span) -> Carrier:
    carrier: Carrier = {}
    _propagator.inject(carrier, api.set_span_in_context(span, Context()))
    return carrier


def _links(carrier: Mapping[str, str], why: str) -> tuple[Link, ...]:
    span = api.get_current_span(_propagator.extract(carrier, Context())).get_span_context()
    return (Link(span, {"resilience.saga.linked": why}),) if span.is_valid else ()


compensations: Tally[tuple[str, str, str]] = Tally()
"""Undos that have ended, by saga, step and outcome."""

_stuck: dict[str, set[str]] = {}
"""The ids of the sagas that this process knows to be stuck, by saga."""


def note_stuck(saga: str, id: str, *, parked: bool) -> None:  # noqa: A002 - it is the saga's id
    """A run is over, and something waits for an operator, or nothing does."""
    ids = _stuck.setdefault(saga, set())
    if parked:
        ids.add(id)
    else:
        ids.discard(id)


SAGA_DURATION = declare(
    Instrument(
        "resilience.saga.duration",
        "histogram",
        "s",
        "Duration of sagas from START to END, over crashes and waits",
        (SAGA_NAME, SAGA_OUTCOME),
        buckets=LONG,
    )
)
STEP_DURATION = declare(
    Instrument(
        "resilience.saga.step.duration",
        "histogram",
        "s",
        "Duration of the steps of sagas, with all that their policies do",
        (SAGA_NAME, SAGA_STEP, STEP_OUTCOME, ERROR_TYPE),
    )
)
declare(
    Instrument(
        "resilience.saga.compensations",
        "counter",
        "{compensation}",
        "Undos of steps, by whether they succeeded",
        (SAGA_NAME, SAGA_STEP, OUTCOME),
        lambda: [
            (value, {SAGA_NAME: saga, SAGA_STEP: step, OUTCOME: outcome})
            for (saga, step, outcome), value in compensations.read().items()
        ],
    )
)
declare(
    Instrument(
        "resilience.saga.stuck",
        "up_down_counter",
        "{saga}",
        "Sagas that wait for an operator, as far as this process has run them",
        (SAGA_NAME,),
        lambda: [(len(ids), {SAGA_NAME: saga}) for saga, ids in list(_stuck.items())],
    )
)
