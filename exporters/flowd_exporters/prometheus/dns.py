"""DNS messages added up: as Hubble's dns metric, and how long clients waited."""

import numpy as np

from flowd.model.enums import DnsKind
from flowd.model.records.dns import Dns, DnsBatch
from flowd.wire.names import RCODES
from flowd_exporters.label_values import DirectoryLabels
from flowd_exporters.prometheus.histogram import Histogram, NewSeries
from flowd_exporters.prometheus.metric_definitions import (
    DNS_DURATION,
    DNS_TIMEOUTS,
    HUBBLE_DNS_QUERIES,
    HUBBLE_DNS_RESPONSES,
    HUBBLE_DNS_TYPES,
    OTHER,
)
from flowd_exporters.prometheus.series import Labels, group, sizes

TYPES = (
    *(OTHER, "A", "AAAA", "ANY", "CAA", "CNAME", "DNSKEY", "DS", "HTTPS", "MX", "NAPTR", "NS"),
    *("PTR", "SOA", "SRV", "SVCB", "TXT"),
)
"""Record types that have series of their own: those that clients of a cluster ask for."""

MOST_IPS = 16  # returned, that are told apart

_CODES = {name: code for code, name in enumerate(TYPES)}


class DnsMetrics:
    """Messages by label set; no label is a name that was asked for.

    Attributes:
        queries, responses, types: as Hubble counts them.
        duration: from query to response, of responses whose query was seen.
        timeouts: queries without a response.
    """

    def __init__(self, names: DirectoryLabels, series: NewSeries) -> None:
        self._workloads = names.workloads
        self.queries = series(HUBBLE_DNS_QUERIES, 1)
        self.responses = series(HUBBLE_DNS_RESPONSES, 1)
        self.types = series(HUBBLE_DNS_TYPES, 1)
        self.duration = Histogram(DNS_DURATION, series)
        self.timeouts = series(DNS_TIMEOUTS, 1)

    def observe(self, batch: DnsBatch) -> None:
        """Count DNS rows."""
        queries = batch[batch["kind"] == DnsKind.QUERY]
        if len(queries):
            groups = group([(_types(queries), len(TYPES))])
            self.queries.add(self.queries.rows(groups, _query_labels), sizes(groups))
        responses = batch[batch["kind"] == DnsKind.RESPONSE]
        if len(responses):
            self._count_responses(responses)
        late = batch[batch["kind"] == DnsKind.TIMEOUT]
        if len(late):
            client = self._workloads.ids(late["src_endpoint"])
            server = self._workloads.ids(late["dst_endpoint"])
            bound = len(self._workloads.labels)
            groups = group([(client, bound), (server, bound)])
            self.timeouts.add(self.timeouts.rows(groups, self._timeout_labels), sizes(groups))

    def _count_responses(self, rows: DnsBatch) -> None:
        asked, rcode = _types(rows), (rows["rcode"], 256)
        messages: list[Dns] = rows["dns"].tolist()
        ips = np.array([min(len(dns.ips), MOST_IPS) for dns in messages], np.int64)
        groups = group([rcode, (asked, len(TYPES)), (ips, MOST_IPS + 1)])
        self.responses.add(self.responses.rows(groups, _response_labels), sizes(groups))
        pairs = [
            (_CODES.get(kind, 0), question)
            for dns, question in zip(messages, asked.tolist(), strict=True)
            for kind in dns.rrtypes
        ]
        if pairs:
            told = np.array(pairs, np.int64)
            groups = group([(told[:, 0], len(TYPES)), (told[:, 1], len(TYPES))])
            self.types.add(self.types.rows(groups, _type_labels), sizes(groups))
        timed = rows["latency_ns"] > 0
        if timed.any():
            client = self._workloads.ids(rows["src_endpoint"][timed])
            groups = group([(rows["rcode"][timed], 256), (client, len(self._workloads.labels))])
            self.duration.add(groups, self._duration_labels, rows["latency_ns"][timed])

    def _duration_labels(self, key: tuple[int, ...]) -> Labels:
        return _rcode(key[0]), *self._workloads.labels[key[1]]

    def _timeout_labels(self, key: tuple[int, ...]) -> Labels:
        return *self._workloads.labels[key[0]], *self._workloads.labels[key[1]]


def _types(rows: DnsBatch) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Indexes into TYPES of the questions."""
    messages: list[Dns] = rows["dns"].tolist()
    return np.array([_CODES.get(dns.qtype, 0) for dns in messages], np.int64)


def _rcode(number: int) -> str:
    return RCODES[number] if number < len(RCODES) else OTHER


def _query_labels(key: tuple[int, ...]) -> Labels:
    return "", TYPES[key[0]], "0"


def _response_labels(key: tuple[int, ...]) -> Labels:
    return _rcode(key[0]), TYPES[key[1]], str(key[2])


def _type_labels(key: tuple[int, ...]) -> Labels:
    return TYPES[key[0]], TYPES[key[1]]
