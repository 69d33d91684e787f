"""Count DNS messages as Hubble's dns metric does, and measure the time to the response."""

from collections.abc import Iterator

import numpy as np
from prometheus_client.metrics_core import Metric as Family

from flowd.model.enums import DnsKind
from flowd.model.records.dns import Dns, DnsBatch
from flowd.wire.names import RCODES
from flowd_exporters.label_values import OTHER, DirectoryLabels
from flowd_exporters.prometheus.families import counter_family, histogram_family
from flowd_exporters.prometheus.histogram import Histogram, SeriesFactory
from flowd_exporters.prometheus.metric_definitions import (
    DNS_DURATION,
    DNS_TIMEOUTS,
    HUBBLE_DNS_QUERIES,
    HUBBLE_DNS_RESPONSES,
    HUBBLE_DNS_TYPES,
)
from flowd_exporters.prometheus.series import LabelSet, group, sizes

TYPES = (
    *(OTHER, "A", "AAAA", "ANY", "CAA", "CNAME", "DNSKEY", "DS", "HTTPS", "MX", "NAPTR", "NS"),
    *("PTR", "SOA", "SRV", "SVCB", "TXT"),
)
"""Record types with series of their own: those that clients in a cluster ask for."""

MAX_IPS = 16  # largest value of the label ips_returned

_CODES = {name: code for code, name in enumerate(TYPES)}


class DnsMetrics:
    """DNS messages by label set; no label is a name from a question.

    Attributes:
        queries, responses, types: counters with the meaning of Hubble's.
        duration: from query to response, of responses whose query was seen.
        timeouts: queries without a response.
    """

    def __init__(self, labels: DirectoryLabels, new_series: SeriesFactory) -> None:
        self._workloads = labels.workloads
        self.queries = new_series(HUBBLE_DNS_QUERIES, 1)
        self.responses = new_series(HUBBLE_DNS_RESPONSES, 1)
        self.types = new_series(HUBBLE_DNS_TYPES, 1)
        self.duration = Histogram(DNS_DURATION, new_series)
        self.timeouts = new_series(DNS_TIMEOUTS, 1)

    def families(self) -> Iterator[Family]:
        """Duration and timeouts, then queries, responses and record types as Hubble has them."""
        yield histogram_family(self.duration)
        yield counter_family(DNS_TIMEOUTS, self.timeouts, {0: ()})
        yield counter_family(HUBBLE_DNS_QUERIES, self.queries, {0: ()})
        yield counter_family(HUBBLE_DNS_RESPONSES, self.responses, {0: ()})
        yield counter_family(HUBBLE_DNS_TYPES, self.types, {0: ()})

    def observe(self, batch: DnsBatch) -> None:
        """Count DNS records."""
        queries = batch[batch["kind"] == DnsKind.QUERY]
        if len(queries):
            groups = group([(_question_types(queries), len(TYPES))])
            self.queries.add(self.queries.rows(groups, _query_labels), sizes(groups))
        responses = batch[batch["kind"] == DnsKind.RESPONSE]
        if len(responses):
            self._count_responses(responses)
        timeouts = batch[batch["kind"] == DnsKind.TIMEOUT]
        if len(timeouts):
            client = self._workloads.ids(timeouts["src_endpoint"])
            server = self._workloads.ids(timeouts["dst_endpoint"])
            bound = len(self._workloads.labels)
            groups = group([(client, bound), (server, bound)])
            self.timeouts.add(self.timeouts.rows(groups, self._timeout_labels), sizes(groups))

    def _count_responses(self, rows: DnsBatch) -> None:
        qtypes, rcode = _question_types(rows), (rows["rcode"], 256)
        messages: list[Dns] = rows["dns"].tolist()
        ips = np.array([min(len(dns.ips), MAX_IPS) for dns in messages], np.int64)
        groups = group([rcode, (qtypes, len(TYPES)), (ips, MAX_IPS + 1)])
        self.responses.add(self.responses.rows(groups, _response_labels), sizes(groups))
        pairs = [
            (_CODES.get(rrtype, 0), qtype)
            for dns, qtype in zip(messages, qtypes.tolist(), strict=True)
            for rrtype in dns.rrtypes
        ]
        if pairs:
            columns = np.array(pairs, np.int64)
            groups = group([(columns[:, 0], len(TYPES)), (columns[:, 1], len(TYPES))])
            self.types.add(self.types.rows(groups, _type_labels), sizes(groups))
        measured = rows["latency_ns"] > 0
        if measured.any():
            client = self._workloads.ids(rows["src_endpoint"][measured])
            groups = group([(rows["rcode"][measured], 256), (client, len(self._workloads.labels))])
            self.duration.add(groups, self._duration_labels, rows["latency_ns"][measured])

    def _duration_labels(self, key: tuple[int, ...]) -> LabelSet:
        return _rcode(key[0]), *self._workloads.labels[key[1]]

    def _timeout_labels(self, key: tuple[int, ...]) -> LabelSet:
        return *self._workloads.labels[key[0]], *self._workloads.labels[key[1]]


def _question_types(rows: DnsBatch) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Indexes into TYPES of the questions, shape (rows,)."""
    messages: list[Dns] = rows["dns"].tolist()
    return np.array([_CODES.get(dns.qtype, 0) for dns in messages], np.int64)


def _rcode(number: int) -> str:
    return RCODES[number] if number < len(RCODES) else OTHER


def _query_labels(key: tuple[int, ...]) -> LabelSet:
    return "", TYPES[key[0]], "0"


def _response_labels(key: tuple[int, ...]) -> LabelSet:
    return _rcode(key[0]), TYPES[key[1]], str(key[2])


def _type_labels(key: tuple[int, ...]) -> LabelSet:
    return TYPES[key[0]], TYPES[key[1]]
