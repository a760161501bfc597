"""The gate that makes telemetry free while nobody listens.

It is one look per call: has OpenTelemetry a tracer provider or a meter provider by now? So an SDK that is installed at
any later time is noticed on the very next call, and so is its removal. Only where there is a provider, the gate asks
whether it is silent: an SDK can be disabled. What is done for those who listen is in `_telemetry`.
"""

from typing import Any, cast

import opentelemetry.context as otel_context
import opentelemetry.metrics as metrics_api
import opentelemetry.trace as api
from opentelemetry.metrics import Histogram
from opentelemetry.trace import NoOpTracer, Tracer

from . import _metrics


class _PublicDoor:
    """Stands in for the modules, should a later API hide its providers' names: right, but some 900 ns slower."""

    @property
    def _TRACER_PROVIDER(self) -> object:  # noqa: N802 - the name that it stands in for
        provider = api.get_tracer_provider()
        return None if isinstance(provider, api.ProxyTracerProvider) else provider

    @property
    def _METER_PROVIDER(self) -> object:  # noqa: N802 - the name that it stands in for
        provider = metrics_api.get_meter_provider()
        return None if type(provider).__name__ == "_ProxyMeterProvider" else provider


_inside_metrics = getattr(metrics_api, "_internal", None)

tracing: Any = api if hasattr(api, "_TRACER_PROVIDER") else _PublicDoor()
"""Where the gate looks: `tracing._TRACER_PROVIDER`."""

metering: Any = _inside_metrics if hasattr(_inside_metrics, "_METER_PROVIDER") else _PublicDoor()
"""And here: `metering._METER_PROVIDER`."""


_SUPPRESSED = str(getattr(otel_context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation"))
"""Set in the context where nothing may be traced: in an exporter, a span would have to be exported too."""


class Listeners:
    """Who listens now.

    Attributes:
        tracer: What makes spans; `None` if nobody wants them.
        histograms: What records durations, by name; `None` if nobody wants them.
        untraced: Who listens where no span may be made.
        unsampled: Who listens to a call whose parent was not sampled, where the sampler follows the parent.
    """

    __slots__ = ("histograms", "tracer", "unsampled", "untraced")

    def __init__(self, tracer: Tracer | None, histograms: dict[str, Histogram] | None) -> None:
        self.tracer = tracer
        self.histograms = histograms
        self.untraced: Listeners | None = self
        if tracer is not None:
            self.untraced = None if histograms is None else Listeners(None, histograms)
        self.unsampled = self.untraced if tracer is not None and _follows_parent(tracer) else self


class _Gate:
    """The providers as they were last seen, and who listens there."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: tuple[object, object, Listeners | None] = (None, None, None)

    def listeners(self) -> Listeners | None:
        """Who listens to the call that begins here. Worth a call only where there is a provider."""
        tracers, meters = tracing._TRACER_PROVIDER, metering._METER_PROVIDER
        known = self._known  # read once: another thread may replace it
        if known[0] is not tracers or known[1] is not meters:
            known = self._known = (tracers, meters, self._look(tracers, meters))
        found = known[2]
        if found is None or found.tracer is None:
            return found
        if otel_context.get_value(_SUPPRESSED):
            return found.untraced
        if found.unsampled is found:
            return found
        parent = api.get_current_span().get_span_context()
        return found.unsampled if parent.is_valid and not parent.trace_flags.sampled else found

    def _look(self, tracers: Any, meters: Any) -> Listeners | None:
        tracer = None if tracers is None else tracers.get_tracer("resilience", _metrics.own_version())
        if isinstance(tracer, NoOpTracer):
            tracer = None
        histograms = None if meters is None else _metrics.histograms_of(meters)
        return None if tracer is histograms is None else Listeners(tracer, histograms)


gate = _Gate()


def load_providers() -> None:
    """Load the providers that the environment names, if any, and make the metrics; done with each policy.

    It is quick when there is nothing to do, as from the second policy on, unless somebody has reset the API since.
    """
    api.get_tracer_provider()
    _metrics.load()


def _follows_parent(tracer: Tracer) -> bool:
    """Whether a parent that was not sampled decides for its children: the SDK's default.

    The sampler's description, which the SDK gives out, says so.
    """
    try:
        said: object = cast("Any", tracer).sampler.get_description()
    except Exception:  # noqa: BLE001 - another SDK, or a sampler of the user's: then we ask it for every span
        return False
    return all(f"{side}ParentNotSampled:AlwaysOffSampler" in str(said) for side in ("remote", "local"))
