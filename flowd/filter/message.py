"""Hubble's filters over flow.Flow messages, for flows that come from files.

The rules are those of `compile_filters`, which does the same over columns.
"""

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from flowd.filter import patterns
from flowd.filter.cel import compile_expressions
from flowd.filter.compile import bounded, check_fields
from flowd.filter.errors import FilterError
from flowd.filter.extension import backend_of, route_of, struct_of
from flowd.filter.routes import RouteFilter
from flowd.filter.selector import parse_selector
from flowd.wire.flow.flow_pb2 import DROPPED, Endpoint, Flow, FlowFilter, Service

Passes: TypeAlias = Callable[[Flow], bool]
Builder: TypeAlias = Callable[[str, Sequence[Any]], Passes]
"""Makes the test of one field from its name and its values."""

_L4 = {
    "icmp": ("ICMPv4", "ICMPv6"),
    "icmpv4": ("ICMPv4",),
    "icmpv6": ("ICMPv6",),
    "tcp": ("TCP",),
    "udp": ("UDP",),
    "sctp": ("SCTP",),
    "vrrp": ("VRRP",),
    "igmp": ("IGMP",),
}
_L7 = ("dns", "http", "kafka")
_WITH_PORTS = ("TCP", "UDP", "SCTP")


def message_filter(
    whitelist: Iterable[FlowFilter],
    blacklist: Iterable[FlowFilter],
    routes: RouteFilter | None = None,
) -> Passes:
    """A function that tells whether a flow is whitelisted and not blacklisted.

    Args:
        whitelist: any of them must match; none means everything does.
        blacklist: none of them may match.
        routes: flowd's own filters, all of which must match too.

    Raises:
        FilterError: a value that cannot be used, named in the message; or too many of them.
        UnsupportedFilter: a CEL expression, and the library for it is not installed.
    """
    white, black = bounded(whitelist, blacklist)
    wanted = [_conjunction(one) for one in white]
    refused = [_conjunction(one) for one in black]
    routed = _routed(routes or RouteFilter())

    def passes(flow: Flow) -> bool:
        if wanted and not any(one(flow) for one in wanted):
            return False
        return not any(one(flow) for one in refused) and routed(flow)

    return passes


def _conjunction(wanted: FlowFilter) -> Passes:
    held = check_fields(wanted)
    tests = [build(name, list(held[name])) for name, build in BUILDERS.items() if name in held]
    if wanted.experimental.cel_expression:
        tests.append(compile_expressions(wanted.experimental.cel_expression))
    return lambda flow: all(test(flow) for test in tests)


def _side(field: str) -> str:
    return "source" if field.startswith("source") else "destination"


def _endpoint(field: str) -> Callable[[Flow], Endpoint]:
    if _side(field) == "source":
        return lambda flow: flow.source
    return lambda flow: flow.destination


def _address(field: str, values: Sequence[str]) -> Passes:
    networks = [patterns.network(value, field) for value in values]
    exact = {str(one.network_address) for one in networks if one.prefixlen == one.max_prefixlen}
    networks = [one for one in networks if one.prefixlen < one.max_prefixlen]
    name = "source_xlated" if field == "source_ip_xlated" else _side(field)

    def test(flow: Flow) -> bool:
        text: str = getattr(flow.IP, name)
        if text in exact or not networks:
            return text in exact
        address = _parsed(text)
        return address is not None and any(address in one for one in networks)

    return test


@lru_cache(65536)
def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _pod(field: str, values: Sequence[str]) -> Passes:
    endpoint = _endpoint(field)
    tests = [patterns.name_prefix(value, field) for value in values]

    def test(flow: Flow) -> bool:
        held = endpoint(flow)
        return any(one(held.namespace, held.pod_name) for one in tests)

    return test


def _service(field: str, values: Sequence[str]) -> Passes:
    tests = [patterns.name_prefix(value, field) for value in values]

    def test(flow: Flow) -> bool:
        held: Service = getattr(flow, field)
        return any(one(held.namespace, held.name) for one in tests)

    return test


def _fqdn(field: str, values: Sequence[str]) -> Passes:
    tests = [patterns.glob(value, field) for value in values]
    names = f"{_side(field)}_names"
    return lambda flow: any(one(name) for name in getattr(flow, names) for one in tests)


def _label(field: str, values: Sequence[str]) -> Passes:
    endpoint = _endpoint(field)
    tests = [parse_selector(value) for value in values]
    return lambda flow: any(one(endpoint(flow).labels) for one in tests)


def _node_labels(field: str, values: Sequence[str]) -> Passes:
    tests = [parse_selector(value) for value in values]
    return lambda flow: any(one(flow.node_labels) for one in tests)


def _workload(field: str, values: Sequence[Any]) -> Passes:
    endpoint = _endpoint(field)

    def test(flow: Flow) -> bool:
        return any(
            (not one.name or one.name == held.name) and (not one.kind or one.kind == held.kind)
            for held in endpoint(flow).workloads
            for one in values
        )

    return test


def _cluster(field: str, values: Sequence[str]) -> Passes:
    if "" in values:
        raise FilterError(f"{field}: empty value")
    endpoint = _endpoint(field)
    return lambda flow: endpoint(flow).cluster_name in values


def _node_name(field: str, values: Sequence[str]) -> Passes:
    tests = [patterns.node_glob(value) for value in values]

    def test(flow: Flow) -> bool:
        name = flow.node_name if "/" in flow.node_name else f"default/{flow.node_name}"
        cluster, _, node = name.partition("/")
        return any(one(cluster, node) for one in tests)

    return test


def _identity(field: str, values: Sequence[int]) -> Passes:
    endpoint, side = _endpoint(field), _side(field)
    return lambda flow: flow.HasField(side) and endpoint(flow).identity in values


def _port(field: str, values: Sequence[str]) -> Passes:
    wanted = {patterns.port(value, field) for value in values}

    def test(flow: Flow) -> bool:
        protocol = flow.l4.WhichOneof("protocol")
        return (
            protocol in _WITH_PORTS
            and getattr(getattr(flow.l4, str(protocol)), f"{_side(field)}_port") in wanted
        )

    return test


def _among(name: str) -> Builder:
    def build(field: str, values: Sequence[Any]) -> Passes:
        return lambda flow: getattr(flow, name) in values

    return build


def _ip_version(field: str, values: Sequence[int]) -> Passes:
    return lambda flow: flow.IP.ipVersion in values


def _encrypted(field: str, values: Sequence[bool]) -> Passes:
    return lambda flow: flow.IP.encrypted in values


def _drop_reason(field: str, values: Sequence[int]) -> Passes:
    return lambda flow: flow.verdict == DROPPED and flow.drop_reason_desc in values


def _reply(field: str, values: Sequence[bool]) -> Passes:
    def test(flow: Flow) -> bool:
        if flow.HasField("is_reply"):
            return flow.is_reply.value in values
        return flow.verdict == DROPPED and False in values

    return test


def _interface(field: str, values: Sequence[Any]) -> Passes:
    def test(flow: Flow) -> bool:
        held = flow.interface
        return flow.HasField("interface") and any(
            (not one.index or one.index == held.index) and (not one.name or one.name == held.name)
            for one in values
        )

    return test


def _event_type(field: str, values: Sequence[Any]) -> Passes:
    def test(flow: Flow) -> bool:
        held = flow.event_type
        return flow.HasField("event_type") and any(
            one.type in (0, held.type) and (not one.match_sub_type or one.sub_type == held.sub_type)
            for one in values
        )

    return test


def _protocol(field: str, values: Sequence[str]) -> Passes:
    l4: set[str] = set()
    l7: set[str] = set()
    for value in values:
        name = value.lower()
        if name not in _L4 and name not in _L7:
            raise FilterError(f"protocol: unknown protocol {value!r}")
        l4.update(_L4.get(name, ()))
        l7.update({name} & set(_L7))
    return lambda flow: flow.l4.WhichOneof("protocol") in l4 or flow.l7.WhichOneof("record") in l7


def _tcp_flags(field: str, values: Sequence[Any]) -> Passes:
    wanted = [{part.name for part, _ in value.ListFields()} for value in values]

    def test(flow: Flow) -> bool:
        tcp = flow.l4.TCP
        held = {part.name for part, _ in tcp.flags.ListFields()}
        return tcp.HasField("flags") and any(flags <= held for flags in wanted)

    return test


def _http_status(field: str, values: Sequence[str]) -> Passes:
    ranges = [patterns.status_range(value) for value in values]
    return lambda flow: any(first <= flow.l7.http.code <= last for first, last in ranges)


def _http_method(field: str, values: Sequence[str]) -> Passes:
    wanted = {value.lower() for value in values} - {""}
    return lambda flow: flow.l7.http.method.lower() in wanted


def _http_path(field: str, values: Sequence[str]) -> Passes:
    tests = [patterns.regex(value, field) for value in values]

    def test(flow: Flow) -> bool:
        path = patterns.url_path(flow.l7.http.url)
        return path is not None and any(one(path) for one in tests)

    return test


def _http_url(field: str, values: Sequence[str]) -> Passes:
    tests = [patterns.regex(value, field) for value in values]
    return lambda flow: flow.l7.HasField("http") and any(one(flow.l7.http.url) for one in tests)


def _http_header(field: str, values: Sequence[Any]) -> Passes:
    wanted = {(one.key, one.value) for one in values}
    return lambda flow: any((one.key, one.value) in wanted for one in flow.l7.http.headers)


def _dns_query(field: str, values: Sequence[str]) -> Passes:
    tests = [patterns.regex(value, field) for value in values]
    return lambda flow: flow.l7.HasField("dns") and any(one(flow.l7.dns.query) for one in tests)


def _trace_id(field: str, values: Sequence[str]) -> Passes:
    wanted = set(values) - {""}
    return lambda flow: flow.trace_context.parent.trace_id in wanted


def _ip_trace_id(field: str, values: Sequence[int]) -> Passes:
    wanted = set(values)
    return lambda flow: flow.HasField("ip_trace_id") and flow.ip_trace_id.trace_id in wanted


BUILDERS: dict[str, Builder] = {
    "uuid": _among("uuid"),
    "event_type": _event_type,
    "verdict": _among("verdict"),
    "drop_reason_desc": _drop_reason,
    "reply": _reply,
    "encrypted": _encrypted,
    "source_identity": _identity,
    "destination_identity": _identity,
    "protocol": _protocol,
    "source_ip": _address,
    "destination_ip": _address,
    "source_ip_xlated": _address,
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
    "dns_query": _dns_query,
    "tcp_flags": _tcp_flags,
    "node_name": _node_name,
    "source_cluster_name": _cluster,
    "destination_cluster_name": _cluster,
    "ip_version": _ip_version,
    "trace_id": _trace_id,
    "traffic_direction": _among("traffic_direction"),
    "interface": _interface,
    "ip_trace_id": _ip_trace_id,
}
"""How to test each field of flow.FlowFilter but `experimental`."""


def _routed(wanted: RouteFilter) -> Passes:
    """flowd's own filters over the Struct in `Flow.extensions`."""
    routes, backend, attributions = wanted.predicates()
    if not routes and not backend and not attributions:
        return lambda flow: True
    names = {one.name.lower() for one in attributions}

    def test(flow: Flow) -> bool:
        held = struct_of(flow)
        return (
            all(one(route_of(held)) for one in routes)
            and (not backend or backend(backend_of(held)))
            and (not names or held.get("attribution", "none") in names)
        )

    return test
