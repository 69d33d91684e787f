"""SpanBuilder: HTTP request rows to OpenTelemetry server spans, with ids, parent and times."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from flowd import __version__
from flowd.model.directory import Directory
from flowd.model.endpoint import Endpoint
from flowd.model.records.request import RequestBatch
from flowd.model.route import RouteRef
from flowd.text import printable
from flowd_exporters.otlp.span_attributes import (
    Attributes,
    SpanRow,
    backend_attributes,
    endpoint_attributes,
    request_attributes,
    route_attributes,
)
from flowd_exporters.trace_context import TraceParent, parse

MAX_CACHED = 4096
SCOPE = InstrumentationScope("flowd", __version__)

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET = Status(StatusCode.UNSET)
_ERROR = Status(StatusCode.ERROR)


class SpanBuilder:
    """Makes one span a sampled request.

    The parent is the request's `traceparent`; a request without a valid one is the root of a new
    trace. The resource is the Gateway.

    Args:
        ratio: share of the requests without traceparent that get a span, 0 to 1.
        unsampled: make spans also for requests whose traceparent is not sampled.
        template: `http.route` of a route: path of its match (Exact or PathPrefix), "" if unknown.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        ratio: float = 1.0,
        unsampled: bool = False,
        template: Callable[[RouteRef], str] = lambda route: "",
    ) -> None:
        self._directory = directory
        self._sampling_bound = round(ratio * (1 << 64))
        self._unsampled = unsampled
        self._template = template
        self._random = random.Random()
        self._base = Resource.create(
            {
                "service.name": "flowd",
                "k8s.node.name": directory.node_name,
                "k8s.cluster.name": directory.cluster_name,
            }
        )
        self._resources: dict[tuple[str, int], Resource] = {}
        self._endpoints: dict[tuple[str, int], Attributes] = {}

    def build(self, batch: RequestBatch) -> Iterator[ReadableSpan]:
        """Spans of the sampled rows of a batch of HTTP requests."""
        routes: dict[int, tuple[str, Attributes]] = {}
        for row in map(
            SpanRow._make, zip(*(_column(batch[name]) for name in SpanRow._fields), strict=True)
        ):
            trace = parse(row.traceparent)
            trace_id = int(trace.trace_id, 16) if trace else self._random.getrandbits(128) or 1
            if self._is_sampled(trace, trace_id):
                if row.route not in routes:
                    routes[row.route] = self._route(row.route)
                yield self._span(row, trace, trace_id, *routes[row.route])

    def _is_sampled(self, trace: TraceParent | None, trace_id: int) -> bool:
        if trace:
            return trace.sampled or self._unsampled
        return trace_id & 0xFFFFFFFFFFFFFFFF < self._sampling_bound

    def _span(
        self,
        row: SpanRow,
        trace: TraceParent | None,
        trace_id: int,
        template: str,
        route: Attributes,
    ) -> ReadableSpan:
        attributes = request_attributes(row)
        attributes |= route
        attributes |= backend_attributes(self._directory.backends[row.backend])
        attributes |= self._endpoint("source", row.client_endpoint)
        attributes |= self._endpoint("destination", row.backend_endpoint)
        method = attributes["http.request.method"]
        name = "HTTP" if method == "_OTHER" else method
        return ReadableSpan(
            f"{name} {template}" if template else name,
            SpanContext(trace_id, self._random.getrandbits(64) or 1, False, _SAMPLED),
            _parent(trace, trace_id) if trace else None,
            self._resource(row.route, row.gateway_endpoint),
            attributes,
            kind=SpanKind.SERVER,
            status=_ERROR if "error.type" in attributes else _UNSET,
            start_time=row.time_ns,
            end_time=row.time_ns + row.duration_ns,
            instrumentation_scope=SCOPE,
        )

    def _route(self, index: int) -> tuple[str, Attributes]:
        route = self._directory.routes[index]
        template = self._template(route)
        return template, route_attributes(route, template)

    def _endpoint(self, side: str, index: int) -> Attributes:
        cached = self._endpoints.get((side, index))
        if cached is None:
            if len(self._endpoints) >= MAX_CACHED:
                self._endpoints.clear()
            cached = endpoint_attributes(f"{side}.", self._directory.endpoints[index])
            self._endpoints[side, index] = cached
        return cached

    def _resource(self, route: int, endpoint: int) -> Resource:
        gateway = self._directory.routes[route].gateway_id
        cached = self._resources.get((gateway, endpoint))
        if cached is None:
            if len(self._resources) >= MAX_CACHED:
                self._resources.clear()
            cached = self._gateway(gateway, self._directory.endpoints[endpoint])
            self._resources[gateway, endpoint] = cached
        return cached

    def _gateway(self, gateway: str, endpoint: Endpoint) -> Resource:
        attributes = endpoint_attributes("", endpoint)
        if name := gateway or endpoint.gateway:
            attributes["service.name"] = printable(name)
            attributes["service.instance.id"] = printable(
                endpoint.name or self._directory.node_name
            )
        return self._base.merge(Resource(attributes))


def _parent(trace: TraceParent, trace_id: int) -> SpanContext:
    return SpanContext(trace_id, int(trace.span_id, 16), True, _SAMPLED)


def _column(values: NDArray[Any]) -> list[Any]:
    """A column as a list of Python values; a row of shape (16,) as bytes."""
    if values.ndim == 2:
        values = np.ascontiguousarray(values).view("V16").ravel()
    return values.tolist()
