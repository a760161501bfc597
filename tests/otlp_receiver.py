"""A collector, as small as one can be: a program that takes OTLP over HTTP and prints what it understood.

    python tests/otlp_receiver.py

It prints its port, then one line of JSON for each span and each metric that arrives. The answer to an export is sent
after its lines, so whoever has flushed can read them. It ends with its standard input, so with whoever started it, and
after a minute in any case.
"""

import gzip
import json
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

SECONDS = 60.0


def say(line: str) -> None:
    """Print a line, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def plain(attributes: Iterable[Any]) -> dict[str, Any]:
    """Attributes as a dict of Python's own types."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


def spans(body: bytes) -> Iterator[dict[str, Any]]:
    """What a request to `/v1/traces` says."""
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield {
                    "is": "span",
                    "service": plain(resource.resource.attributes).get("service.name"),
                    "scope": [scope.scope.name, scope.scope.version],
                    "name": span.name,
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "kind": type(span).SpanKind.Name(span.kind),
                    "status": [span.status.code, span.status.message],
                    "seconds": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                    "attributes": plain(span.attributes),
                    "events": [event.name for event in span.events],
                }


def metrics(body: bytes) -> Iterator[dict[str, Any]]:
    """What a request to `/v1/metrics` says."""
    for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                data = getattr(metric, kind)
                yield {
                    "is": "metric",
                    "scope": [scope.scope.name, scope.scope.version],
                    "name": metric.name,
                    "unit": metric.unit,
                    "description": metric.description,
                    "kind": kind,
                    "cumulative": data.aggregation_temporality == 2,
                    "monotonic": getattr(data, "is_monotonic", None),
                    "points": [[plain(point.attributes), value(kind, point)] for point in data.data_points],
                }


def value(kind: str, point: Any) -> Any:
    """The number of a point; of a histogram, how many and how much."""
    return [point.count, point.sum] if kind == "histogram" else getattr(point, point.WhichOneof("value"))


class Receiver(BaseHTTPRequestHandler):
    """Answers as a collector does."""

    paths = {  # noqa: RUF012 - nobody changes it
        "/v1/traces": (spans, ExportTraceServiceResponse),
        "/v1/metrics": (metrics, ExportMetricsServiceResponse),
    }

    def do_POST(self) -> None:
        """Print what came, then say thanks."""
        read, thanks = self.paths[self.path]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for line in read(body):
            say(json.dumps(line))
        answer = thanks().SerializeToString()
        self.send_response_only(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve until nobody is there any more."""
    bound = threading.Timer(SECONDS, os._exit, (1,))
    bound.daemon = True
    bound.start()
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    say(str(server.server_port))
    sys.stdin.read()


if __name__ == "__main__":
    main()
