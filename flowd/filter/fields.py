"""Tests for the fields of flow.FlowFilter (Hubble's API of Cilium 1.19).

A field over something that flowd's rows do not have (IP trace ids, encryption) is checked for form
and then answers as for a flow that lacks it.
"""

import ipaddress
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from flowd.filter import patterns
from flowd.filter.endpoints import cluster_name, pod_name, pod_namespace
from flowd.filter.errors import FilterError
from flowd.filter.selector import parse_selector
from flowd.filter.tables import Mask, RegistryTest, SetTest, Test, TextTest, constant, either
from flowd.filter.uuid7 import UuidTest, node_bits
from flowd.model.directory import Directory
from flowd.model.endpoint import Endpoint
from flowd.model.enums import (
    TCP_FLAGS,
    EventType,
    FlowType,
    L7Protocol,
    L7Type,
    Nat,
    Protocol,
    Verdict,
)
from flowd.model.flow import FlowRows
from flowd.wire.flow.flow_pb2 import EventTypeFilter, HTTPHeader, NetworkInterface, TCPFlags

Builder: TypeAlias = Callable[[str, Sequence[Any], Directory], Test | TextTest]
"""Makes the test of one field: its name, its values (as protobuf gives them), the directory."""

_FAMILIES = {0: 0, 1: 4, 2: 6}  # flow.IPVersion to the family column
_WITH_PORTS = (Protocol.TCP, Protocol.UDP, Protocol.SCTP)
_L4 = {
    "icmp": (Protocol.ICMP, Protocol.ICMPV6),
    "icmpv4": (Protocol.ICMP,),
    "icmpv6": (Protocol.ICMPV6,),
    "tcp": (Protocol.TCP,),
    "udp": (Protocol.UDP,),
    "sctp": (Protocol.SCTP,),
    "vrrp": (112,),
    "igmp": (2,),
}


def _prefix(field: str) -> str:
    return "src" if field.startswith("source") else "dst"


def _endpoints(
    field: str, directory: Directory, tests: Sequence[Callable[[Endpoint], bool]]
) -> Test:
    def matches(endpoint: Endpoint) -> bool:
        return any(test(endpoint) for test in tests)

    return RegistryTest(f"{_prefix(field)}_endpoint", directory.endpoints, matches)


def _ip(field: str, values: Sequence[str], directory: Directory) -> Test:
    return either(_in_network(f"{_prefix(field)}_addr", patterns.network(v, field)) for v in values)


def _in_network(column: str, network: patterns.Network) -> Test:
    version, length = network.version, network.prefixlen
    address = network.network_address
    if isinstance(address, ipaddress.IPv4Address):
        address = ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)
        length += 96
    bits = ((1 << length) - 1) << (128 - length)
    wanted = [np.uint64(int(address) >> shift & 0xFFFFFFFFFFFFFFFF) for shift in (64, 0)]
    kept = [np.uint64(bits >> shift & 0xFFFFFFFFFFFFFFFF) for shift in (64, 0)]

    def test(rows: FlowRows) -> Mask:
        halves = np.ascontiguousarray(rows[column]).view(">u8")
        high = halves[:, 0] & kept[0] == wanted[0]
        low = halves[:, 1] & kept[1] == wanted[1]
        return high & low & (rows["family"] == version)

    return test


def _xlated(field: str, values: Sequence[str], directory: Directory) -> Test:
    wanted = either(_in_network("nat_src_addr", patterns.network(v, field)) for v in values)

    def test(rows: FlowRows) -> Mask:
        before = (rows["nat"] == Nat.BEFORE) & (rows["is_reply"] != 1)
        if not before.any():
            return before
        moved = (rows["nat_src_addr"] != rows["src_addr"]).any(axis=1)
        return before & moved & wanted(rows)

    return test


def _pod(field: str, values: Sequence[str], directory: Directory) -> Test:
    tests = [patterns.name_prefix(value, field) for value in values]

    def matches(endpoint: Endpoint) -> bool:
        return any(test(pod_namespace(endpoint), pod_name(endpoint)) for test in tests)

    return _endpoints(field, directory, [matches])


def _service(field: str, values: Sequence[str], directory: Directory) -> Test:
    tests = [patterns.name_prefix(value, field) for value in values]

    def matches(endpoint: Endpoint) -> bool:
        return any(test(endpoint.service_namespace, endpoint.service) for test in tests)

    return _endpoints(field, directory, [matches])


def _fqdn(field: str, values: Sequence[str], directory: Directory) -> TextTest:
    tests = [patterns.glob(value, field) for value in values]
    return TextTest(f"{_prefix(field)}_name", lambda name: any(test(name) for test in tests))


def _label(field: str, values: Sequence[str], directory: Directory) -> Test:
    tests = [parse_selector(value) for value in values]
    return _endpoints(field, directory, [lambda e: any(test(e.labels) for test in tests)])


def _node_labels(field: str, values: Sequence[str], directory: Directory) -> Test:
    tests = [parse_selector(value) for value in values]
    return lambda rows: np.full(len(rows), any(test(directory.node_labels) for test in tests))


def _workload(field: str, values: Sequence[Any], directory: Directory) -> Test:
    wanted = [(value.name, value.kind) for value in values]

    def matches(endpoint: Endpoint) -> bool:
        return bool(endpoint.workload) and any(
            (not name or name == endpoint.workload) and (not kind or kind == endpoint.workload_kind)
            for name, kind in wanted
        )

    return _endpoints(field, directory, [matches])


def _cluster(field: str, values: Sequence[str], directory: Directory) -> Test:
    if "" in values:
        raise FilterError(f"{field}: empty value")
    return _endpoints(field, directory, [lambda e: cluster_name(e, directory) in values])


def _node_name(field: str, values: Sequence[str], directory: Directory) -> Test:
    tests = [patterns.node_glob(value) for value in values]
    return constant(any(test(directory.cluster_name, directory.node_name) for test in tests))


def _identity(field: str, values: Sequence[int], directory: Directory) -> Test:
    column, wanted = f"{_prefix(field)}_identity", np.array(values, np.uint32)
    return lambda rows: np.isin(rows[column], wanted)


def _port(field: str, values: Sequence[str], directory: Directory) -> Test:
    wanted = np.array([patterns.port(value, field) for value in values], np.uint16)
    column, protocols = f"{_prefix(field)}_port", SetTest("protocol", _WITH_PORTS)
    return lambda rows: np.isin(rows[column], wanted) & protocols(rows)


def _numbers(column: str) -> Builder:
    return lambda field, values, directory: SetTest(column, values)


def _ip_version(field: str, values: Sequence[int], directory: Directory) -> Test:
    return SetTest("family", [_FAMILIES[value] for value in values if value in _FAMILIES])


def _drop_reason(field: str, values: Sequence[int], directory: Directory) -> Test:
    reasons = SetTest("sub_type", values)
    return lambda rows: (
        (rows["verdict"] == Verdict.DROPPED)
        & (rows["event_type"] == EventType.DROP)
        & reasons(rows)
    )


def _interface(field: str, values: Sequence[NetworkInterface], directory: Directory) -> Test:
    wanted = [(value.index, value.name) for value in values]

    def test(rows: FlowRows) -> Mask:
        present = np.unique(rows["ifindex"])
        chosen = [
            number
            for number in present[present > 0].tolist()
            for index, name in wanted
            if (not index or index == number)
            and (not name or name == directory.interfaces.get(number))
        ]
        return np.isin(rows["ifindex"], np.array(chosen, np.uint32))

    return test


def _event_type(field: str, values: Sequence[EventTypeFilter], directory: Directory) -> Test:
    def one(kind: int, match_sub: bool, sub: int) -> Test:
        def test(rows: FlowRows) -> Mask:
            mask = rows["event_type"] == kind if kind else rows["event_type"] > 0
            return mask & (rows["sub_type"] == sub) if match_sub else mask

        return test

    return either(one(value.type, value.match_sub_type, value.sub_type) for value in values)


def _protocol(field: str, values: Sequence[str], directory: Directory) -> Test:
    wanted = {value.lower() for value in values}
    if unknown := wanted - _L4.keys() - {"dns", "http", "kafka"}:
        raise FilterError(f"protocol: unknown protocol {min(unknown)!r}")
    tests: list[Test] = [SetTest("protocol", chain(*(_L4.get(name, ()) for name in wanted)))]
    tests += [test for name, test in (("http", _is_http), ("dns", _is_dns)) if name in wanted]
    return either(tests)


def _is_http(rows: FlowRows) -> Mask:
    return (rows["l7_type"] != L7Type.UNKNOWN) & (rows["l7_protocol"] != L7Protocol.DNS)


def _is_dns(rows: FlowRows) -> Mask:
    return (rows["l7_type"] != L7Type.UNKNOWN) & (rows["l7_protocol"] == L7Protocol.DNS)


def _reply(field: str, values: Sequence[bool], directory: Directory) -> Test:
    def test(rows: FlowRows) -> Mask:
        reply = rows["is_reply"]
        mask = np.isin(reply, np.array([int(value) for value in values], np.int8))
        if False in values:
            mask |= (reply < 0) & (rows["verdict"] == Verdict.DROPPED)
        return mask

    return test


def _encrypted(field: str, values: Sequence[bool], directory: Directory) -> Test:
    return constant(False in values)


def _tcp_flags(field: str, values: Sequence[TCPFlags], directory: Directory) -> Test:
    wanted: list[int] = []
    for value in values:
        names = [set_field.name for set_field, _ in value.ListFields()]
        if "NS" not in names:  # the flag byte has no such bit
            wanted.append(sum(1 << TCP_FLAGS.index(name) for name in names))

    def test(rows: FlowRows) -> Mask:
        mask = np.zeros(len(rows), np.bool_)
        for bits in wanted:
            mask |= rows["flags"] & bits == bits
        packet = (rows["l7_type"] == L7Type.UNKNOWN) & (rows["type"] != FlowType.SOCK)
        return mask & (rows["protocol"] == Protocol.TCP) & packet

    return test


def _http_status(field: str, values: Sequence[str], directory: Directory) -> Test:
    ranges = [patterns.status_range(value) for value in values]

    def test(rows: FlowRows) -> Mask:
        status = rows["status"]
        mask = np.zeros(len(rows), np.bool_)
        for first, last in ranges:
            mask |= (status >= first) & (status <= last)
        return mask & _is_http(rows)

    return test


def _http_method(field: str, values: Sequence[str], directory: Directory) -> TextTest:
    wanted = {value.lower() for value in values}
    return TextTest("method", lambda method: bool(method) and method.lower() in wanted)


def _http_path(field: str, values: Sequence[str], directory: Directory) -> TextTest:
    tests = [patterns.regex(value, field) for value in values]

    def matches(url: str) -> bool:
        path = patterns.url_path(url)
        return path is not None and any(test(path) for test in tests)

    return TextTest("url", matches)


def _http_url(field: str, values: Sequence[str], directory: Directory) -> TextTest:
    tests = [patterns.regex(value, field) for value in values]
    return TextTest("url", lambda url: any(test(url) for test in tests))


def _http_header(field: str, values: Sequence[HTTPHeader], directory: Directory) -> TextTest:
    wanted = [(value.key, value.value) for value in values]
    return TextTest(
        "headers", lambda held: any(held.get(key) == value for key, value in wanted), cached=False
    )


def _dns_query(field: str, values: Sequence[str], directory: Directory) -> TextTest:
    tests = [patterns.regex(value, field) for value in values]
    return TextTest("dns", lambda message: any(test(message.query) for test in tests))


def _trace_id(field: str, values: Sequence[str], directory: Directory) -> TextTest:
    wanted = frozenset(values)
    return TextTest("trace_id", lambda trace_id: trace_id in wanted)


def _ip_trace_id(field: str, values: Sequence[int], directory: Directory) -> Test:
    return constant(False)


def _uuid(field: str, values: Sequence[str], directory: Directory) -> Test:
    return UuidTest(tuple(values), node_bits(directory))


BUILDERS: dict[str, Builder] = {
    "uuid": _uuid,
    "event_type": _event_type,
    "verdict": _numbers("verdict"),
    "drop_reason_desc": _drop_reason,
    "reply": _reply,
    "encrypted": _encrypted,
    "source_identity": _identity,
    "destination_identity": _identity,
    "protocol": _protocol,
    "source_ip": _ip,
    "destination_ip": _ip,
    "source_ip_xlated": _xlated,
    "source_pod": _pod,
    "destination_pod": _pod,
    "source_workload": _workload,
    "destination_workload": _workload,
    "source_service": _service,
    "destination_service": _service,
    "source_fqdn": _fqdn,
    "destination_fqdn": _fqdn,
    "source_label": _label,
    "destination_label": _label,
    "node_labels": _node_labels,
    "source_port": _port,
    "destination_port": _port,
    "http_status_code": _http_status,
    "http_method": _http_method,
    "http_path": _http_path,
    "http_url": _http_url,
    "http_header": _http_header,
    "tcp_flags": _tcp_flags,
    "node_name": _node_name,
    "source_cluster_name": _cluster,
    "destination_cluster_name": _cluster,
    "ip_version": _ip_version,
    "trace_id": _trace_id,
    "traffic_direction": _numbers("direction"),
    "dns_query": _dns_query,
    "interface": _interface,
    "ip_trace_id": _ip_trace_id,
}
"""How to test each field of flow.FlowFilter but `experimental`."""
