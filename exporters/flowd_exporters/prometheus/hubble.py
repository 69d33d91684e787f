"""Flow rows added up as Hubble's flow, tcp and httpV2 metrics add them up."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from flowd.model.enums import EventType, L7Protocol, L7Type, Protocol, Verdict
from flowd.model.losses import Place
from flowd.model.records.flow import FlowRows
from flowd_exporters.label_values import (
    FAMILIES,
    HTTP_VERSIONS,
    METHODS,
    PROTOCOLS,
    REPORTERS,
    method_codes,
)
from flowd_exporters.prometheus.histogram import Histogram, NewSeries
from flowd_exporters.prometheus.metric_definitions import (
    HUBBLE_FLOWS,
    HUBBLE_HTTP,
    HUBBLE_HTTP_DURATION,
)
from flowd_exporters.prometheus.series import Labels, group, sizes

OBSERVATION_POINTS = (
    "to-endpoint",
    "to-proxy",
    "to-host",
    "to-stack",
    "to-overlay",
    "from-endpoint",
    "from-proxy",
    "from-host",
    "from-stack",
    "from-overlay",
    "from-network",
    "to-network",
    "from-crypto",
    "to-crypto",
)
"""Names of the sub-types of trace events, by number."""

LOST_SOURCES = {
    Place.KERNEL: "perf_event_ring_buffer",
    Place.CAPTURE: "perf_event_ring_buffer",
    Place.QUEUE: "observer_events_queue",
    Place.STORE: "hubble_ring_buffer",
}
"""Hubble's name of the buffer that stands at the same point of its data flow."""

_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_FLAGS = {"FIN": (_FIN, _FIN), "SYN": (_SYN | _ACK, _SYN), "RST": (_RST, _RST)}
_FLAGS["SYN-ACK"] = (_SYN | _ACK, _SYN | _ACK)
_NAMED = np.array(
    [[flags & mask == value for mask, value in _FLAGS.values()] for flags in range(256)], np.int64
)
"""By value of the flags, which of _FLAGS they amount to."""


class HubbleNames:
    """Flows, TCP flags and HTTP requests under Hubble's names and labels."""

    def __init__(self, series: NewSeries) -> None:
        self.flows = series(HUBBLE_FLOWS, 1)
        self.http = series(HUBBLE_HTTP, 1)
        self.duration = Histogram(HUBBLE_HTTP_DURATION, series)
        self.flags: Counter[tuple[str, str]] = Counter()

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
        answered = rows["l7_type"] == L7Type.RESPONSE
        responses = np.flatnonzero(answered & (rows["l7_protocol"] != L7Protocol.DNS))
        if len(responses):
            self._count_http(rows, responses)

    def _count_flags(self, rows: FlowRows) -> None:
        seen = (
            (rows["event_type"] == EventType.TRACE)
            & (rows["protocol"] == Protocol.TCP)
            & (rows["verdict"] == Verdict.FORWARDED)
        )
        for number, family in FAMILIES.items():
            flags = rows["flags"][seen & (rows["family"] == number)]
            if not len(flags):
                continue
            counts = np.bincount(flags, minlength=256) @ _NAMED
            for name, count in zip(_FLAGS, counts.tolist(), strict=True):
                if count:
                    self.flags[name, family] += count

    def _count_http(self, rows: FlowRows, which: NDArray[np.intp]) -> None:
        method = (method_codes(rows["method"][which]), len(METHODS))
        reporter = (rows["direction"][which], 256)
        status: NDArray[np.uint16] = rows["status"][which]
        status = np.where(status < 1000, status, 0)
        version = (rows["http_version"][which], 256)
        groups = group([method, version, (status, 1000), reporter])
        self.http.add(self.http.rows(groups, _http_labels), sizes(groups))
        self.duration.add(group([method, reporter]), _duration_labels, rows["latency_ns"][which])


def _flow_labels(key: tuple[int, ...]) -> Labels:
    protocol, event, sub_type, verdict, l7_protocol = key
    name = Verdict(verdict).name if 0 < verdict <= max(Verdict) else "VERDICT_UNKNOWN"
    if event == EventType.L7:
        protocol7 = "DNS" if l7_protocol == L7Protocol.DNS else "HTTP"
        return protocol7, "L7", protocol7, name
    transport = PROTOCOLS.get(protocol, "Unknown L4")
    if event == EventType.DROP:
        return transport, "Drop", "", name
    if event == EventType.TRACE:
        known = sub_type < len(OBSERVATION_POINTS)
        return transport, "Trace", OBSERVATION_POINTS[sub_type] if known else str(sub_type), name
    return "Unknown flow", "Unknown", str(event), name


def _http_labels(key: tuple[int, ...]) -> Labels:
    method, version, status, direction = key
    return (
        METHODS[method],
        HTTP_VERSIONS.get(version, ""),
        str(status),
        REPORTERS.get(direction, "unknown"),
    )


def _duration_labels(key: tuple[int, ...]) -> Labels:
    return METHODS[key[0]], REPORTERS.get(key[1], "unknown")
