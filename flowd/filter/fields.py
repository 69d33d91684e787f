"""The fields of flow.FlowFilter (Hubble's API of Cilium 1.19): parser, columns and message values.

Each field parses its values, and then tests either columns of FLOW or the fields of a flow.Flow.
The values of a field without a column (IP trace ids, encryption) are checked; its test over rows
gives the result of a flow that lacks the value.
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
from flowd.model.endpoint import Endpoint as DirectoryEndpoint
from flowd.model.records.dns import Dns
from flowd.wire.flow.flow_pb2 import DROPPED, Endpoint, Flow

TestMaker: TypeAlias = Callable[[Any, Directory], Test | TextTest]
"""Makes a test over columns from the predicate that the field's parser returns."""


@dataclass(frozen=True, slots=True)
class FilterField:
    """One field of FlowFilter.

    Attributes:
        parse: checks the filter's values, and returns a predicate over one value of a flow.
        make_test: makes a test over rows from that predicate.
        message_values: the values of a message; the message matches if one of them does.
    """

    parse: Parser
    make_test: TestMaker
    message_values: Callable[[Flow], Iterable[Any]]


def _pod(endpoint: DirectoryEndpoint, directory: Directory) -> tuple[str, str]:
    return pod_namespace(endpoint), pod_name(endpoint)


def _service(endpoint: DirectoryEndpoint, directory: Directory) -> tuple[str, str]:
    return (endpoint.service_namespace, endpoint.service) if endpoint.service else ("", "")


def _workload(endpoint: DirectoryEndpoint, directory: Directory) -> tuple[str, str] | None:
    return (endpoint.workload, endpoint.workload_kind) if endpoint.workload else None


def _labels(endpoint: DirectoryEndpoint, directory: Directory) -> tuple[str, ...]:
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


def _side_fields(side: str, prefix: str, end: Callable[[Flow], Endpoint]) -> dict[str, FilterField]:
    """The fields of one end: `source_*` or `destination_*`, over columns `src_*` or `dst_*`."""

    def identity(flow: Flow) -> list[int]:
        return [end(flow).identity] if flow.HasField(side) else []

    def pod(flow: Flow) -> list[tuple[str, str]]:
        return [(end(flow).namespace, end(flow).pod_name)]

    def workloads(flow: Flow) -> list[tuple[str, str]]:
        return [(one.name, one.kind) for one in end(flow).workloads]

    def service(flow: Flow) -> list[tuple[str, str]]:
        known = getattr(flow, f"{side}_service")
        return [(known.namespace, known.name)]

    make, endpoint = FilterField, columns.endpoint
    fields = {
        "identity": make(wanted.numbers, columns.numbers(f"{prefix}_identity"), identity),
        "ip": make(
            wanted.networks,
            columns.addresses(f"{prefix}_addr"),
            lambda flow: [getattr(flow.IP, side)],
        ),
        "pod": make(wanted.name_prefixes, endpoint(prefix, _pod), pod),
        "workload": make(wanted.workloads, endpoint(prefix, _workload), workloads),
        "service": make(wanted.name_prefixes, endpoint(prefix, _service), service),
        "label": make(wanted.selectors, endpoint(prefix, _labels), lambda flow: [end(flow).labels]),
        "cluster_name": make(
            wanted.clusters, endpoint(prefix, cluster_name), lambda flow: [end(flow).cluster_name]
        ),
        "port": make(wanted.ports, columns.ports(f"{prefix}_port"), lambda flow: _port(flow, side)),
    }
    return {f"{side}_{name}": field for name, field in fields.items()}


def _fqdn(side: str, prefix: str) -> FilterField:
    return FilterField(
        wanted.globs, columns.text(f"{prefix}_name"), lambda flow: getattr(flow, f"{side}_names")
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


def _never(predicate: Predicate, directory: Directory) -> Test:
    return constant(False)


FIELDS: dict[str, FilterField] = {
    "uuid": FilterField(wanted.numbers, _uuid, lambda flow: [flow.uuid]),
    "event_type": FilterField(
        wanted.event_types,
        columns.event_types,
        lambda flow: (
            [(flow.event_type.type, flow.event_type.sub_type)]
            if flow.HasField("event_type")
            else []
        ),
    ),
    "verdict": FilterField(wanted.numbers, columns.byte("verdict"), lambda flow: [flow.verdict]),
    "drop_reason_desc": FilterField(
        wanted.numbers,
        columns.drop_reasons,
        lambda flow: [flow.drop_reason_desc] if flow.verdict == DROPPED else [],
    ),
    "reply": FilterField(wanted.numbers, columns.replies, _reply),
    "encrypted": FilterField(wanted.numbers, _encrypted, lambda flow: [flow.IP.encrypted]),
    "protocol": FilterField(wanted.protocols, columns.protocols, _protocols),
    "source_ip_xlated": FilterField(
        wanted.networks, columns.source_xlated, lambda flow: [flow.IP.source_xlated]
    ),
    **_side_fields("source", "src", _source),
    **_side_fields("destination", "dst", _destination),
    "node_labels": FilterField(
        wanted.selectors,
        columns.node(lambda directory: directory.node_labels),
        lambda flow: [flow.node_labels],
    ),
    "node_name": FilterField(
        wanted.node_globs,
        columns.node(lambda directory: (directory.cluster_name or "default", directory.node_name)),
        lambda flow: [_node(flow)],
    ),
    "http_status_code": FilterField(
        wanted.statuses, columns.statuses, lambda flow: [flow.l7.http.code]
    ),
    "tcp_flags": FilterField(
        wanted.tcp_flags,
        columns.tcp_flags,
        lambda flow: [wanted.flag_bits(flow.l4.TCP.flags)] if flow.l4.TCP.HasField("flags") else [],
    ),
    "ip_version": FilterField(
        wanted.numbers, columns.ip_versions, lambda flow: [flow.IP.ipVersion]
    ),
    "traffic_direction": FilterField(
        wanted.numbers, columns.byte("direction"), lambda flow: [flow.traffic_direction]
    ),
    "interface": FilterField(
        wanted.interfaces,
        columns.interfaces,
        lambda flow: (
            [(flow.interface.index, flow.interface.name)] if flow.HasField("interface") else []
        ),
    ),
    "ip_trace_id": FilterField(
        wanted.numbers,
        _never,
        lambda flow: [flow.ip_trace_id.trace_id] if flow.HasField("ip_trace_id") else [],
    ),
    "source_fqdn": _fqdn("source", "src"),
    "destination_fqdn": _fqdn("destination", "dst"),
    "trace_id": FilterField(
        wanted.texts,
        columns.text("trace_id"),
        lambda flow: [flow.trace_context.parent.trace_id],
    ),
    "http_method": FilterField(
        wanted.methods,
        lambda predicate, directory: TextTest("method", lambda name: predicate(name.lower())),
        lambda flow: [flow.l7.http.method.lower()],
    ),
    "http_path": FilterField(wanted.paths, columns.text("url"), _url),
    "http_url": FilterField(
        wanted.regexes, columns.text("url", absent="", among=columns.is_http), _url
    ),
    "http_header": FilterField(
        wanted.headers,
        lambda predicate, directory: columns.HeaderTest(predicate),
        lambda flow: [(one.key, one.value) for one in flow.l7.http.headers],
    ),
    "dns_query": FilterField(
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
"""Every field except `experimental`, in order of evaluation: cheap tests first."""
