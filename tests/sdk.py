"""A real SDK of OpenTelemetry that keeps what it is told in memory, and how to be rid of it again."""

import logging
from collections.abc import Mapping
from typing import Any

import opentelemetry.metrics as metrics_api
import opentelemetry.metrics._internal as metering
import opentelemetry.trace as api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once

Attributes = frozenset[tuple[str, Any]]


def forget_providers() -> None:
    """As the test utilities of OpenTelemetry do it."""
    api._TRACER_PROVIDER = None
    api._TRACER_PROVIDER_SET_ONCE = Once()
    metering._METER_PROVIDER = None
    metering._METER_PROVIDER_SET_ONCE = Once()
    metering._PROXY_METER_PROVIDER = metering._ProxyMeterProvider()


def facts(attributes: Mapping[str, Any] | None = None, /, **short: Any) -> Attributes:
    """Attributes to look a point up by; `policy_name="x"` is `resilience.policy.name`, given in short."""
    names = {"policy": "resilience.policy.name", "outcome": "resilience.outcome", "error": "error.type"}
    names |= {key: f"resilience.circuit_breaker.{key}" for key in ("state", "verdict")}
    return frozenset({**(attributes or {}), **{names[key]: value for key, value in short.items()}}.items())


class Sdk:
    """Traces, metrics, or both."""

    def __init__(self, *, traces: bool = True, metrics: bool = False) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader])
        self._traces = traces
        self._metrics = metrics

    def install(self) -> "Sdk":
        """Make it the one that everybody talks to."""
        forget_providers()
        return self.add()

    def add(self) -> "Sdk":
        """The same in a process that had none: what was made before hears of it."""
        if self._traces:
            api.set_tracer_provider(self.provider)
        if self._metrics:
            metrics_api.set_meter_provider(self.meters)
        return self

    @property
    def spans(self) -> list[ReadableSpan]:
        """In the order in which they started, which is also that of their depth."""
        return sorted(
            self.exporter.get_finished_spans(), key=lambda span: (span.start_time or 0, -(span.end_time or 0))
        )

    @property
    def tree(self) -> list[Any]:
        """The names, as nested lists: `["parent", ["child"]]`."""
        return self._below(None)

    def _below(self, parent: int | None) -> list[Any]:
        finished = sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
        mine = [span for span in finished if (span.parent.span_id if span.parent else None) == parent]
        return [part for span in mine for part in (span.name, self._below(span.context.span_id)) if part]

    def named(self, name: str) -> ReadableSpan:
        """The one span of this name."""
        (span,) = (span for span in self.spans if span.name == name)
        return span

    def metrics(self) -> dict[str, Metric]:
        """What a reader reads now, by name; one name is one metric."""
        data = self.reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        found = [metric for scope in scopes for metric in scope.metrics]
        assert len({metric.name for metric in found}) == len(found)
        return {metric.name: metric for metric in found}

    def points(self, name: str) -> dict[Attributes, Any]:
        """The points of one metric, by their attributes: values of counters, whole points of histograms."""
        metric = self.metrics().get(name)
        points: Any = metric.data.data_points if metric is not None else ()
        return {facts(point.attributes): getattr(point, "value", point) for point in points}


class Complaints(logging.Handler):
    """Collects what OpenTelemetry warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep its text."""
        self.heard.append(record.getMessage())

    def __enter__(self) -> list[str]:
        logging.getLogger("opentelemetry").addHandler(self)
        return self.heard

    def __exit__(self, *_: object) -> None:
        logging.getLogger("opentelemetry").removeHandler(self)
