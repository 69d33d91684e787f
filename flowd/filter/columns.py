"""Tests over columns of FLOW rows, one maker for each kind of filter field."""

from collections.abc import Callable, Hashable
from typing import Any, TypeAlias

import numpy as np

from flowd.filter.tables import Mask, RegistryTest, SetTest, Test, TextTest, both, either
from flowd.filter.wanted import L4_NAMES, EventTypes, NetworkSet, OneOf, Predicate, Ranges
from flowd.model.directory import Directory
from flowd.model.endpoint import Endpoint
from flowd.model.enums import EventType, FlowType, L7Protocol, L7Type, Nat, Protocol, Verdict
from flowd.model.records.flow import FlowRows

EndpointView: TypeAlias = Callable[[Endpoint, Directory], Any]
"""The value of an endpoint that a predicate tests; None never matches."""

_FIRST_DROP_REASON = 130
_IP_VERSIONS = {4: 1, 6: 2}
_BYTE = range(256)
_STATUSES = 1000

_with_ports = SetTest("protocol", (Protocol.TCP, Protocol.UDP, Protocol.SCTP))
_is_drop = SetTest("event_type", (EventType.DROP,))
_is_dropped = SetTest("verdict", (Verdict.DROPPED,))


def is_http(rows: FlowRows) -> Mask:
    """A mask of the HTTP request and response rows."""
    return (rows["l7_type"] != L7Type.UNKNOWN) & (rows["l7_protocol"] != L7Protocol.DNS)


def is_dns(rows: FlowRows) -> Mask:
    """A mask of the DNS rows."""
    return (rows["l7_type"] != L7Type.UNKNOWN) & (rows["l7_protocol"] == L7Protocol.DNS)


def byte(column: str) -> Callable[[Predicate, Directory], Test]:
    """Test a uint8 column."""
    return lambda predicate, directory: SetTest(column, filter(predicate, _BYTE))


def numbers(column: str) -> Callable[[OneOf, Directory], Test]:
    """Test a uint32 column."""

    def make(predicate: OneOf, directory: Directory) -> Test:
        chosen = np.array(sorted(predicate.values), np.uint32)
        return lambda rows: np.isin(rows[column], chosen)

    return make


def ports(column: str) -> Callable[[OneOf, Directory], Test]:
    """Test a port column; rows of protocols without ports never match."""
    return lambda predicate, directory: both(numbers(column)(predicate, directory), _with_ports)


def addresses(column: str) -> Callable[[NetworkSet, Directory], Test]:
    """Test an address column."""
    return lambda predicate, directory: predicate.over(column)


def endpoint(side: str, view: EndpointView) -> Callable[[Predicate, Directory], Test]:
    """Test the endpoint of a side (`src` or `dst`), by its entry in the directory."""

    def make(predicate: Predicate, directory: Directory) -> Test:
        def matches(one: Endpoint) -> bool:
            value = view(one, directory)
            return value is not None and predicate(value)

        return RegistryTest(f"{side}_endpoint", directory.endpoints, matches)

    return make


def node(view: Callable[[Directory], Any]) -> Callable[[Predicate, Directory], Test]:
    """Test a value of this node, read from the directory for each batch."""
    return lambda predicate, directory: lambda rows: np.full(len(rows), predicate(view(directory)))


def text(
    column: str, absent: Hashable = None, among: Test | None = None
) -> Callable[[Predicate, Directory], TextTest]:
    """Test a text column; `absent` and `among` as in TextTest."""
    return lambda predicate, directory: TextTest(column, predicate, absent=absent, among=among)


def source_xlated(predicate: NetworkSet, directory: Directory) -> Test:
    """Test the translated source address, in rows with the address before translation."""
    chosen = predicate.over("nat_src_addr")

    def test(rows: FlowRows) -> Mask:
        before = (rows["nat"] == Nat.BEFORE) & (rows["is_reply"] != 1)
        if not before.any():
            return before
        translated = (rows["nat_src_addr"] != rows["src_addr"]).any(axis=1)
        return before & translated & chosen(rows)

    return test


def event_types(predicate: EventTypes, directory: Directory) -> Test:
    """Test event types, with their sub-types if given."""

    def one(kind: int, sub: int | None) -> Test:
        def test(rows: FlowRows) -> Mask:
            mask = rows["event_type"] == kind if kind else rows["event_type"] > 0
            return mask if sub is None else mask & (rows["sub_type"] == sub)

        return test

    return either(one(kind, sub) for kind, sub in predicate.pairs)


def drop_reasons(predicate: Predicate, directory: Directory) -> Test:
    """Test the drop reason of rows with verdict DROPPED; 0 if Hubble has no such reason."""
    known = SetTest("sub_type", [one for one in _BYTE[_FIRST_DROP_REASON:] if predicate(one)])
    if not predicate(0):
        return both(_is_dropped, _is_drop, known)
    other = SetTest("sub_type", _BYTE[:_FIRST_DROP_REASON])
    return both(_is_dropped, either([known, other, lambda rows: ~_is_drop(rows)]))


def replies(predicate: Predicate, directory: Directory) -> Test:
    """Test `is_reply`; dropped rows with an unknown direction count as not a reply."""
    table = np.array([predicate(False), predicate(True), False])

    def test(rows: FlowRows) -> Mask:
        mask = table[rows["is_reply"]]
        if predicate(False):
            mask |= (rows["is_reply"] < 0) & _is_dropped(rows)
        return mask

    return test


def protocols(predicate: Predicate, directory: Directory) -> Test:
    """Test protocol names of layer 4 and layer 7."""
    chosen = [one for one, names in L4_NAMES.items() if any(map(predicate, names))]
    tests: list[Test] = [SetTest("protocol", chosen)]
    tests += [test for name, test in (("http", is_http), ("dns", is_dns)) if predicate(name)]
    return either(tests)


def tcp_flags(predicate: Predicate, directory: Directory) -> Test:
    """Test the TCP flags of packet rows."""
    chosen = SetTest("flags", filter(predicate, _BYTE))

    def test(rows: FlowRows) -> Mask:
        packet = (rows["l7_type"] == L7Type.UNKNOWN) & (rows["type"] != FlowType.SOCK)
        return chosen(rows) & (rows["protocol"] == Protocol.TCP) & packet

    return test


def statuses(predicate: Ranges, directory: Directory) -> Test:
    """Test HTTP status codes."""
    table = np.zeros(_STATUSES + 1, np.bool_)
    for first, last in predicate.bounds:
        table[first : last + 1] = True
    return lambda rows: table[np.minimum(rows["status"], _STATUSES)] & is_http(rows)


def ip_versions(predicate: Predicate, directory: Directory) -> Test:
    """Test IP versions by Hubble's numbers; 0 for rows without addresses."""
    return SetTest("family", [one for one in _BYTE if predicate(_IP_VERSIONS.get(one, 0))])


def interfaces(predicate: Predicate, directory: Directory) -> Test:
    """Test interface index and name."""

    def test(rows: FlowRows) -> Mask:
        present = np.unique(rows["ifindex"])
        chosen = [
            number
            for number in present[present > 0].tolist()
            if predicate((number, directory.interfaces.get(number, "")))
        ]
        return np.isin(rows["ifindex"], np.array(chosen, np.uint32))

    return test


class HeaderTest(TextTest):
    """A test of HTTP rows: at least one header passes; `request_id` counts as x-request-id."""

    def __init__(self, predicate: Predicate) -> None:
        super().__init__("headers", predicate, among=is_http)
        self._one = predicate

    def narrow(self, rows: FlowRows, mask: Mask) -> None:
        """Clear the rows of `mask` that do not pass; tests only rows still set."""
        mask &= is_http(rows)
        places = np.flatnonzero(mask)
        chosen = rows[places]
        pairs = zip(chosen["headers"].tolist(), chosen["request_id"].tolist(), strict=True)
        mask[places] = [self._any(headers, request_id) for headers, request_id in pairs]

    def _any(self, headers: Any, request_id: str | None) -> bool:
        known = dict(headers.items()) if headers else {}
        if request_id:
            known.setdefault("x-request-id", request_id)
        return any(map(self._one, known.items()))
