"""A naive evaluator of Hubble's filters over one flow.Flow at a time: the reference for masks.

It parses only the values that `filter_values` uses.
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from flowd.wire.flow.flow_pb2 import Endpoint, Flow, FlowFilter, Service


def passes(flow: Flow, white: list[FlowFilter], black: list[FlowFilter]) -> bool:
    if white and not any(matches(flow, one) for one in white):
        return False
    return not any(matches(flow, one) for one in black)


def matches(flow: Flow, wanted: FlowFilter) -> bool:
    return all(ONE[field.name](flow, value) for field, value in wanted.ListFields())


def any_of(test: Callable[[Flow, Any], bool]) -> Callable[[Flow, Sequence[Any]], bool]:
    return lambda flow, values: any(test(flow, value) for value in values)


def in_network(address: str, wanted: str) -> bool:
    return address != "" and ipaddress.ip_address(address) in ipaddress.ip_network(
        wanted, strict=False
    )


def by_prefix(namespace: str, name: str, wanted: str) -> bool:
    space, slash, prefix = wanted.partition("/")
    space, prefix = (space, prefix) if slash else ("default", wanted)
    return (namespace or name) != "" and space in ("", namespace) and name.startswith(prefix)


def in_pod(endpoint: Endpoint, wanted: str) -> bool:
    return by_prefix(endpoint.namespace, endpoint.pod_name, wanted)


def in_service(service: Service, wanted: str) -> bool:
    return by_prefix(service.namespace, service.name, wanted)


def glob(name: str, wanted: str) -> bool:
    pattern = re.escape(wanted.lower().removesuffix(".")).replace(r"\*", "[-.0-9a-z]*")
    return re.fullmatch(pattern, name) is not None


def selected(labels: Sequence[str], wanted: str) -> bool:
    """Evaluate `key=value`, `key!=value`, `key` or `!key`; a key may begin with `k8s:`."""
    held: dict[str, str] = {}
    for label in labels:
        name, _, text = label.partition("=")
        held[name] = held[name.partition(":")[2] or name] = text
    key = wanted.lstrip("!").removeprefix("any:")
    if "!=" in key:
        key, _, text = key.partition("!=")
        return held.get(key) != text
    if "=" in key:
        key, _, text = key.partition("=")
        return held.get(key) == text
    return (key not in held) == wanted.startswith("!")


def has_workload(endpoint: Endpoint, wanted: Any) -> bool:
    return any(
        wanted.name in ("", one.name) and wanted.kind in ("", one.kind)
        for one in endpoint.workloads
    )


def node(flow: Flow, wanted: str) -> bool:
    name = flow.node_name if "/" in flow.node_name else f"default/{flow.node_name}"
    cluster, own = name.split("/")
    if "/" not in wanted:
        return glob(own, wanted)
    parts = wanted.split("/")
    return all(
        not part or glob(held, part) for held, part in zip((cluster, own), parts, strict=True)
    )


def port(flow: Flow, side: str, wanted: str) -> bool:
    match flow.l4.WhichOneof("protocol"):
        case "TCP" | "UDP" | "SCTP" as protocol:
            return getattr(getattr(flow.l4, protocol), side) == int(wanted)
        case _:
            return False


def reply(flow: Flow, wanted: bool) -> bool:
    if flow.HasField("is_reply"):
        return flow.is_reply.value == wanted
    return flow.verdict == 2 and not wanted


def event(flow: Flow, wanted: Any) -> bool:
    held = flow.event_type
    return flow.HasField("event_type") and (
        wanted.type in (0, held.type)
        and (not wanted.match_sub_type or wanted.sub_type == held.sub_type)
    )


def flags(flow: Flow, wanted: Any) -> bool:
    held = {field.name for field, _ in flow.l4.TCP.flags.ListFields()}
    return flow.l4.TCP.HasField("flags") and {f.name for f, _ in wanted.ListFields()} <= held


def status(flow: Flow, wanted: str) -> bool:
    code = str(flow.l7.http.code)
    return code != "0" and (code.startswith(wanted[:-1]) if wanted[-1] == "+" else code == wanted)


def path(flow: Flow, wanted: str) -> bool:
    url = flow.l7.http.url
    return url != "" and re.search(wanted, unquote(urlsplit(url).path)) is not None


def protocol(flow: Flow, wanted: str) -> bool:
    l4 = (flow.l4.WhichOneof("protocol") or "").lower()
    wanted = wanted.lower()
    if wanted in ("http", "dns", "kafka"):
        return flow.l7.WhichOneof("record") == wanted
    return l4 == wanted or (wanted == "icmp" and l4.startswith("icmp"))


def interface(flow: Flow, wanted: Any) -> bool:
    held = flow.interface
    return flow.HasField("interface") and (
        wanted.index in (0, held.index) and wanted.name in ("", held.name)
    )


EXPRESSIONS: dict[str, Callable[[Flow], bool]] = {
    "_flow.verdict == Verdict.DROPPED": lambda flow: flow.verdict == 2,
    "_flow.l4.TCP.destination_port == 8080u": lambda flow: flow.l4.TCP.destination_port == 8080,
    "has(_flow.l7.dns) && _flow.l7.dns.rcode == 0u": lambda flow: flow.l7.HasField("dns"),
    "'k8s:app=web' in _flow.source.labels": lambda flow: "k8s:app=web" in flow.source.labels,
    "_flow.source.labels[0] == 'reserved:world'": (
        lambda flow: list(flow.source.labels[:1]) == ["reserved:world"]
    ),
}
"""CEL expressions, with equal Python functions."""

ONE: dict[str, Callable[[Flow, Any], bool]] = {
    "uuid": any_of(lambda f, v: f.uuid == v),
    "source_ip": any_of(lambda f, v: in_network(f.IP.source, v)),
    "source_ip_xlated": any_of(lambda f, v: in_network(f.IP.source_xlated, v)),
    "source_pod": any_of(lambda f, v: in_pod(f.source, v)),
    "source_fqdn": any_of(lambda f, v: any(glob(name, v) for name in f.source_names)),
    "source_label": any_of(lambda f, v: selected(f.source.labels, v)),
    "source_service": any_of(lambda f, v: in_service(f.source_service, v)),
    "source_workload": any_of(lambda f, v: has_workload(f.source, v)),
    "source_cluster_name": any_of(lambda f, v: f.source.cluster_name == v),
    "destination_ip": any_of(lambda f, v: in_network(f.IP.destination, v)),
    "destination_pod": any_of(lambda f, v: in_pod(f.destination, v)),
    "destination_fqdn": any_of(lambda f, v: any(glob(n, v) for n in f.destination_names)),
    "destination_label": any_of(lambda f, v: selected(f.destination.labels, v)),
    "destination_service": any_of(lambda f, v: in_service(f.destination_service, v)),
    "destination_workload": any_of(lambda f, v: has_workload(f.destination, v)),
    "destination_cluster_name": any_of(lambda f, v: f.destination.cluster_name == v),
    "traffic_direction": any_of(lambda f, v: f.traffic_direction == v),
    "verdict": any_of(lambda f, v: f.verdict == v),
    "drop_reason_desc": any_of(lambda f, v: f.verdict == 2 and f.drop_reason_desc == v),
    "interface": any_of(interface),
    "event_type": any_of(event),
    "http_status_code": any_of(status),
    "protocol": any_of(protocol),
    "source_port": any_of(lambda f, v: port(f, "source_port", v)),
    "destination_port": any_of(lambda f, v: port(f, "destination_port", v)),
    "reply": any_of(reply),
    "dns_query": any_of(lambda f, v: f.l7.HasField("dns") and bool(re.search(v, f.l7.dns.query))),
    "source_identity": any_of(lambda f, v: f.HasField("source") and f.source.identity == v),
    "destination_identity": any_of(
        lambda f, v: f.HasField("destination") and f.destination.identity == v
    ),
    "http_method": any_of(
        lambda f, v: f.l7.http.method != "" and f.l7.http.method.upper() == v.upper()
    ),
    "http_path": any_of(path),
    "http_url": any_of(lambda f, v: f.l7.HasField("http") and bool(re.search(v, f.l7.http.url))),
    "http_header": any_of(
        lambda f, v: any((h.key, h.value) == (v.key, v.value) for h in f.l7.http.headers)
    ),
    "tcp_flags": any_of(flags),
    "node_name": any_of(node),
    "node_labels": any_of(lambda f, v: selected(f.node_labels, v)),
    "ip_version": any_of(lambda f, v: f.IP.ipVersion == v),
    "trace_id": any_of(lambda f, v: v != "" and f.trace_context.parent.trace_id == v),
    "ip_trace_id": any_of(lambda f, v: f.HasField("ip_trace_id") and f.ip_trace_id.trace_id == v),
    "encrypted": any_of(lambda f, v: f.IP.encrypted == v),
    "experimental": lambda f, v: any(EXPRESSIONS[one](f) for one in v.cel_expression),
}
"""The naive test of every field of FlowFilter."""
