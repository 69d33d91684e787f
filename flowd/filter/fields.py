"""The fields of flow.FlowFilter (Hubble's API of Cilium 1.19): what is asked of which part of a flow.

Each field has a parser of its values and two places to look: columns of rows, and a flow.Flow. A
field over something that flowd's rows do not have (IP trace ids, encryption) is checked for form
and then answers for rows as for a flow that lacks it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from flowd.filter import columns, wanted
from flowd.filter.endpoints import cluster_name, pod_name, pod_namespace
from flowd.filter.tables import Test, TextTest, constant
from flowd.filter.uuid7 import UuidTest, node_bits
from flowd.filter.wanted import Parser, Predicate
from flowd.model.directory import Directory
from flowd.model.endpoint import Endpoint as Known
from flowd.model.records.dns import Dns
from flowd.wire.flow.flow_pb2 import DROPPED, Endpoint, Flow

Rows: TypeAlias = Callable[[Any, Directory], Test | TextTest]
"""Makes the test over columns of a predicate; most take what a certain parser gives."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of FlowFilter.

    Attributes:
        parse: checks values and makes a predicate of them, over one value that a flow may have.
        rows: where these values are in rows.
        held: the values of a message; it matches if one of them does.
    """

    parse: Parser
    rows: Rows
    held: Callable[[Flow], Iterable[Any]]


def _pod(endpoint: Known, directory: Directory) -> tuple[str, str]:
    return pod_namespace(endpoint), pod_name(endpoint)


def _service(endpoint: Known, directory: Directory) -> tuple[str, str]:
    return (endpoint.service_namespace, endpoint.service) if endpoint.service else ("", "")


def _workload(endpoint: Known, directory: Directory) -> tuple[str, str] | None:
    return (endpoint.workload, endpoint.workload_kind) if endpoint.workload else None


def _labels(endpoint: Known, directory: Directory) -> tuple[str, ...]:
    return endpoint.labels


def _source(flow: Flow) -> Endpoint:
    return flow.source


def _destination(flow: Flow) -> Endpoint:
    return flow.destination


def _port(flow: Flow, side: str) -> list[int]:
    match flow.l4.WhichOneof("protocol"):
        case "TCP" | "UDP" | "SCTP" as protocol:
            return [getattr(getattr(flow.l4, protocol), f"{side}_port")]
        case _:
            return []


def _sides() -> Iterable[tuple[str, Field]]:
    """Fields of either end of a flow."""
    for side, column, end in (("source", "src", _source), ("destination", "dst", _destination)):
        yield (
            f"{side}_identity",
            Field(
                wanted.numbers,
                columns.numbers(f"{column}_identity"),
                lambda flow, side=side, end=end: (
                    [end(flow).identity] if flow.HasField(side) else []
                ),
            ),
        )
        yield (
            f"{side}_ip",
            Field(
                wanted.networks,
                columns.addresses(f"{column}_addr"),
                lambda flow, side=side: [getattr(flow.IP, side)],
            ),
        )
        yield (
            f"{side}_pod",
            Field(
                wanted.name_prefixes,
                columns.endpoint(column, _pod),
                lambda flow, end=end: [(end(flow).namespace, end(flow).pod_name)],
            ),
        )
        yield (
            f"{side}_workload",
            Field(
                wanted.workloads,
                columns.endpoint(column, _workload),
                lambda flow, end=end: [(one.name, one.kind) for one in end(flow).workloads],
            ),
        )
        yield (
            f"{side}_service",
            Field(
                wanted.name_prefixes,
                columns.endpoint(column, _service),
                lambda flow, side=side: [
                    (held.namespace, held.name) for held in (getattr(flow, f"{side}_service"),)
                ],
            ),
        )
        yield (
            f"{side}_label",
            Field(
                wanted.selectors,
                columns.endpoint(column, _labels),
                lambda flow, end=end: [end(flow).labels],
            ),
        )
        yield (
            f"{side}_cluster_name",
            Field(
                wanted.clusters,
                columns.endpoint(column, cluster_name),
                lambda flow, end=end: [end(flow).cluster_name],
            ),
        )
        yield (
            f"{side}_port",
            Field(
                wanted.ports,
                columns.ports(f"{column}_port"),
                lambda flow, side=side: _port(flow, side),
            ),
        )
        yield (
            f"{side}_fqdn",
            Field(
                wanted.globs,
                columns.text(f"{column}_name"),
                lambda flow, side=side: getattr(flow, f"{side}_names"),
            ),
        )


def _reply(flow: Flow) -> list[bool]:
    if flow.HasField("is_reply"):
        return [flow.is_reply.value]
    return [False] if flow.verdict == DROPPED else []


def _protocols(flow: Flow) -> Iterable[str]:
    l4 = (flow.l4.WhichOneof("protocol") or "").lower()
    if l4.startswith("icmp"):
        yield "icmp"
    yield l4
    yield flow.l7.WhichOneof("record") or ""


def _node(flow: Flow) -> tuple[str, str]:
    cluster, slash, node = flow.node_name.partition("/")
    return (cluster, node) if slash else ("default", cluster)


def _url(flow: Flow) -> list[str]:
    return [flow.l7.http.url] if flow.l7.HasField("http") else []


def _uuid(predicate: wanted.OneOf, directory: Directory) -> Test:
    return UuidTest(tuple(predicate.values), node_bits(directory))


def _encrypted(predicate: Predicate, directory: Directory) -> Test:
    return constant(predicate(False))


def _nowhere(predicate: Predicate, directory: Directory) -> Test:
    return constant(False)


_SIDES = dict(_sides())

FIELDS: dict[str, Field] = {
    "uuid": Field(wanted.numbers, _uuid, lambda flow: [flow.uuid]),
    "event_type": Field(
        wanted.event_types,
        columns.event_types,
        lambda flow: (
            [(flow.event_type.type, flow.event_type.sub_type)]
            if flow.HasField("event_type")
            else []
        ),
    ),
    "verdict": Field(wanted.numbers, columns.byte("verdict"), lambda flow: [flow.verdict]),
    "drop_reason_desc": Field(
        wanted.numbers,
        columns.drop_reasons,
        lambda flow: [flow.drop_reason_desc] if flow.verdict == DROPPED else [],
    ),
    "reply": Field(wanted.numbers, columns.replies, _reply),
    "encrypted": Field(wanted.numbers, _encrypted, lambda flow: [flow.IP.encrypted]),
    "protocol": Field(wanted.protocols, columns.protocols, _protocols),
    "source_ip_xlated": Field(
        wanted.networks, columns.xlated, lambda flow: [flow.IP.source_xlated]
    ),
    **{name: field for name, field in _SIDES.items() if not name.endswith("_fqdn")},
    "node_labels": Field(
        wanted.selectors,
        columns.node(lambda directory: directory.node_labels),
        lambda flow: [flow.node_labels],
    ),
    "node_name": Field(
        wanted.node_globs,
        columns.node(lambda known: (known.cluster_name or "default", known.node_name)),
        lambda flow: [_node(flow)],
    ),
    "http_status_code": Field(wanted.statuses, columns.statuses, lambda flow: [flow.l7.http.code]),
    "tcp_flags": Field(
        wanted.tcp_flags,
        columns.tcp_flags,
        lambda flow: [wanted.flag_bits(flow.l4.TCP.flags)] if flow.l4.TCP.HasField("flags") else [],
    ),
    "ip_version": Field(wanted.numbers, columns.ip_versions, lambda flow: [flow.IP.ipVersion]),
    "traffic_direction": Field(
        wanted.numbers, columns.byte("direction"), lambda flow: [flow.traffic_direction]
    ),
    "interface": Field(
        wanted.interfaces,
        columns.interfaces,
        lambda flow: (
            [(flow.interface.index, flow.interface.name)] if flow.HasField("interface") else []
        ),
    ),
    "ip_trace_id": Field(
        wanted.numbers,
        _nowhere,
        lambda flow: [flow.ip_trace_id.trace_id] if flow.HasField("ip_trace_id") else [],
    ),
    **{name: field for name, field in _SIDES.items() if name.endswith("_fqdn")},
    "trace_id": Field(
        wanted.texts,
        columns.text("trace_id"),
        lambda flow: [flow.trace_context.parent.trace_id],
    ),
    "http_method": Field(
        wanted.methods,
        lambda predicate, directory: TextTest("method", lambda name: predicate(name.lower())),
        lambda flow: [flow.l7.http.method.lower()],
    ),
    "http_path": Field(wanted.paths, columns.text("url"), _url),
    "http_url": Field(wanted.regexes, columns.text("url", absent="", among=columns.is_http), _url),
    "http_header": Field(
        wanted.headers,
        lambda predicate, directory: columns.HeaderTest(predicate),
        lambda flow: [(one.key, one.value) for one in flow.l7.http.headers],
    ),
    "dns_query": Field(
        wanted.regexes,
        lambda predicate, directory: TextTest(
            "dns",
            lambda message: predicate(message.query),
            absent=Dns("", ""),
            among=columns.is_dns,
        ),
        lambda flow: [flow.l7.dns.query] if flow.l7.HasField("dns") else [],
    ),
}
"""Every field but `experimental`, those that cost little first."""
