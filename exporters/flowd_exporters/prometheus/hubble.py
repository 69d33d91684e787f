"""Count flow rows as Hubble's metrics flow, tcp and httpV2 do."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from prometheus_client.metrics_core import Metric as Family

from flowd.model.enums import EventType, L7Protocol, L7Type, Protocol, Verdict
from flowd.model.losses import Place
from flowd.model.records.flow import FlowRows
from flowd.wire.names import TRACE_POINTS
from flowd_exporters.label_values import (
    FAMILIES,
    HTTP_VERSIONS,
    METHODS,
    PROTOCOLS,
    REPORTERS,
    method_codes,
)
from flowd_exporters.prometheus.families import counter_family, histogram_family, plain_family
from flowd_exporters.prometheus.histogram import Histogram, SeriesFactory
from flowd_exporters.prometheus.metric_definitions import (
    HUBBLE_FLAGS,
    HUBBLE_FLOWS,
    HUBBLE_HTTP,
    HUBBLE_HTTP_DURATION,
)
from flowd_exporters.prometheus.series import LabelSet, group, sizes

LOST_SOURCES = {
    Place.KERNEL: "perf_event_ring_buffer",
    Place.CAPTURE: "perf_event_ring_buffer",
    Place.QUEUE: "observer_events_queue",
    Place.STORE: "hubble_ring_buffer",
}
"""Label `source` of hubble_lost_events_total: Hubble's buffer at the same point of the data flow."""

_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_FLAGS = {"FIN": (_FIN, _FIN), "SYN": (_SYN | _ACK, _SYN), "RST": (_RST, _RST)}
_FLAGS["SYN-ACK"] = (_SYN | _ACK, _SYN | _ACK)
_FLAG_MATRIX = np.array(
    [[flags & mask == value for mask, value in _FLAGS.values()] for flags in range(256)], np.int64
)
"""Whether a flag byte matches each of _FLAGS, shape (256, len(_FLAGS)), 0 or 1."""


class HubbleMetrics:
    """Flows, TCP flags and HTTP requests under Hubble's names and labels."""

    def __init__(self, new_series: SeriesFactory) -> None:
        self.flows = new_series(HUBBLE_FLOWS, 1)
        self.http = new_series(HUBBLE_HTTP, 1)
        self.duration = Histogram(HUBBLE_HTTP_DURATION, new_series)
        self.flags: Counter[LabelSet] = Counter()

    def families(self) -> Iterator[Family]:
        """Flows, TCP flags, HTTP requests and their duration."""
        yield counter_family(HUBBLE_FLOWS, self.flows, {0: ()})
        yield plain_family(HUBBLE_FLAGS, self.flags)
        yield counter_family(HUBBLE_HTTP, self.http, {0: ()})
        yield histogram_family(self.duration)

    def observe(self, rows: FlowRows) -> None:
        """Count flow rows; HTTP is counted on responses."""
        groups = group(
            [
                (rows[name], 256)
                for name in ("protocol", "event_type", "sub_type", "verdict", "l7_protocol")
            ]
        )
        self.flows.add(self.flows.rows(groups, _flow_labels), sizes(groups))
        self._count_flags(rows)
        is_response = rows["l7_type"] == L7Type.RESPONSE
        responses = np.flatnonzero(is_response & (rows["l7_protocol"] != L7Protocol.DNS))
        if len(responses):
            self._count_http(rows, responses)

    def _count_flags(self, rows: FlowRows) -> None:
        forwarded = (
            (rows["event_type"] == EventType.TRACE)
            & (rows["protocol"] == Protocol.TCP)
            & (rows["verdict"] == Verdict.FORWARDED)
        )
        for number, family in FAMILIES.items():
            flags = rows["flags"][forwarded & (rows["family"] == number)]
            if not len(flags):
                continue
            counts = np.bincount(flags, minlength=256) @ _FLAG_MATRIX
            for name, count in zip(_FLAGS, counts.tolist(), strict=True):
                if count:
                    self.flags[name, family] += count

    def _count_http(self, rows: FlowRows, places: NDArray[np.intp]) -> None:
        method = (method_codes(rows["method"][places]), len(METHODS))
        reporter = (rows["direction"][places], 256)
        status: NDArray[np.uint16] = rows["status"][places]
        status = np.where(status < 1000, status, 0)
        version = (rows["http_version"][places], 256)
        groups = group([method, version, (status, 1000), reporter])
        self.http.add(self.http.rows(groups, _http_labels), sizes(groups))
        self.duration.add(group([method, reporter]), _duration_labels, rows["latency_ns"][places])


def _flow_labels(key: tuple[int, ...]) -> LabelSet:
    protocol, event, sub_type, verdict, l7_protocol = key
    name = Verdict(verdict).name if 0 < verdict <= max(Verdict) else "VERDICT_UNKNOWN"
    if event == EventType.L7:
        protocol7 = "DNS" if l7_protocol == L7Protocol.DNS else "HTTP"
        return protocol7, "L7", protocol7, name
    transport = PROTOCOLS.get(protocol, "Unknown L4")
    if event == EventType.DROP:
        return transport, "Drop", "", name
    if event == EventType.TRACE:
        known = sub_type < len(TRACE_POINTS)
        return transport, "Trace", TRACE_POINTS[sub_type] if known else str(sub_type), name
    return "Unknown flow", "Unknown", str(event), name


def _http_labels(key: tuple[int, ...]) -> LabelSet:
    method, version, status, direction = key
    return (
        METHODS[method],
        HTTP_VERSIONS.get(version, ""),
        str(status),
        REPORTERS.get(direction, "unknown"),
    )


def _duration_labels(key: tuple[int, ...]) -> LabelSet:
    return METHODS[key[0]], REPORTERS.get(key[1], "unknown")
