"""FlowEncoder: flow rows to Hubble's flow.Flow protobuf messages (API of Cilium 1.19)."""

from collections.abc import Iterator
from functools import lru_cache
from typing import cast

from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import BoolValue

from flowd import __version__
from flowd.filter.endpoints import cluster_name, pod_name, pod_namespace, utf8
from flowd.filter.uuid7 import flow_uuid, node_bits
from flowd.model.directory import Directory
from flowd.model.endpoint import EndpointKind
from flowd.model.enums import TCP_FLAGS, EventType, FlowType, Nat, Protocol
from flowd.model.records.flow import FlowRows
from flowd.wire import names
from flowd.wire.flow.flow_pb2 import (
    IGMP,
    IP,
    SCTP,
    TCP,
    UDP,
    VRRP,
    CiliumEventType,
    DropReason,
    Emitter,
    Endpoint,
    Flow,
    ICMPv4,
    ICMPv6,
    IPv4,
    IPv6,
    Layer4,
    NetworkInterface,
    Service,
    SocketTranslationPoint,
    TCPFlags,
    TraceContext,
    TraceParent,
    Tunnel,
    Workload,
)
from flowd_exporters.hubble.encode.extensions import ExtensionEncoder
from flowd_exporters.hubble.encode.l7 import l7_summary, layer7
from flowd_exporters.hubble.encode.row import FlowRow, unpack_rows

_REPLY = {0: BoolValue(value=False), 1: BoolValue(value=True)}
IP_VERSION = {4: IPv4, 6: IPv6}
_FIRST_DROP_REASON = 130
_TUNNELS = {"vxlan": Tunnel.VXLAN, "geneve": Tunnel.GENEVE}


class FlowEncoder:
    """Encodes rows as messages; parts of an endpoint, a service or a route are cached."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._node = node_bits(directory)
        self.node_name = reported_node_name(directory)
        self.emitter = Emitter(name="Flowd", version=__version__)
        self._endpoints: dict[tuple[int, int], Endpoint] = {}
        self._services: dict[int, Service | None] = {}
        self.extensions = ExtensionEncoder(directory)

    def encode(self, rows: FlowRows) -> Iterator[Flow]:
        """A message for every row, made lazily."""
        return map(self._flow, unpack_rows(rows))

    def _flow(self, row: FlowRow) -> Flow:
        dropped = drop_reason(row)
        return Flow(
            time=Timestamp(seconds=row.time_ns // 10**9, nanos=row.time_ns % 10**9),
            uuid=flow_uuid(row.time_ns, row.seq, self._node),
            emitter=self.emitter,
            verdict=row.verdict,
            drop_reason=dropped,
            drop_reason_desc=cast("DropReason", dropped),
            IP=ip(row),
            l4=_layer4(row),
            tunnel=self.tunnel(row),
            source=self.endpoint(row.src_endpoint, row.src_identity),
            destination=self.endpoint(row.dst_endpoint, row.dst_identity),
            Type=row.type,
            node_name=self.node_name,
            node_labels=map(utf8, self._directory.node_labels),
            source_names=peer_names(row.src_name),
            destination_names=peer_names(row.dst_name),
            l7=layer7(row) if row.l7_type else None,
            reply=row.is_reply == 1,
            event_type=CiliumEventType(type=row.event_type, sub_type=row.sub_type),
            source_service=self.service(row.src_endpoint),
            destination_service=self.service(row.dst_endpoint),
            traffic_direction=row.direction,
            trace_observation_point=row.observation,
            is_reply=_REPLY.get(row.is_reply),
            interface=self.interface(row.ifindex),
            trace_context=_trace_context(row),
            sock_xlate_point=sock_point(row),
            socket_cookie=row.src_cookie or row.dst_cookie,
            cgroup_id=self.cgroup(row),
            Summary=self.summary(row),
            extensions=self.extensions.encode(row),
        )

    def l7_part(self, row: FlowRow) -> Flow:
        """A message with the L7 fields alone: `l7`, `trace_context` and Summary."""
        return Flow(
            l7=layer7(row) if row.l7_type else None,
            trace_context=_trace_context(row),
            Summary=summary(row) if row.l7_type else "",
        )

    def summary(self, row: FlowRow) -> str:
        """Hubble's one-line text; for a drop it ends with the kernel's drop reason."""
        text = summary(row)
        if row.l7_type or not row.drop_reason:
            return text
        reason = utf8(self._directory.drop_reasons[row.drop_reason])
        return f"{text}; {reason}" if text else reason

    def endpoint(self, index: int, identity: int) -> Endpoint:
        """The endpoint with an index into Directory.endpoints."""
        cached = self._endpoints.get((index, identity))
        if cached is None:
            cached = self._endpoints[index, identity] = self._new_endpoint(index, identity)
        return cached

    def _new_endpoint(self, index: int, identity: int) -> Endpoint:
        endpoint = self._directory.endpoints[index]
        local = endpoint.node == self._directory.node_name and endpoint.kind is EndpointKind.POD
        return Endpoint(
            ID=index if local else 0,
            identity=identity,
            cluster_name=utf8(cluster_name(endpoint, self._directory)),
            namespace=utf8(pod_namespace(endpoint)),
            labels=map(utf8, endpoint.labels),
            pod_name=utf8(pod_name(endpoint)),
            workloads=(
                [Workload(name=utf8(endpoint.workload), kind=utf8(endpoint.workload_kind))]
                if endpoint.workload
                else None
            ),
        )

    def service(self, index: int) -> Service | None:
        """The Service of the endpoint with an index."""
        if index not in self._services:
            endpoint = self._directory.endpoints[index]
            self._services[index] = (
                Service(name=utf8(endpoint.service), namespace=utf8(endpoint.service_namespace))
                if endpoint.service
                else None
            )
        return self._services[index]

    def tunnel(self, row: FlowRow) -> Tunnel | None:
        """The outer packet of a tunnel; its ports are unknown."""
        if not row.tunnel:
            return None
        outer = self._directory.tunnels[row.tunnel]
        source, destination = (
            (outer.dst, outer.src) if row.is_reply == 1 else (outer.src, outer.dst)
        )
        known = outer.protocol in _TUNNELS
        return Tunnel(
            protocol=_TUNNELS.get(outer.protocol, Tunnel.UNKNOWN),
            IP=IP(
                source=source, destination=destination, ipVersion=IPv6 if ":" in source else IPv4
            ),
            l4=Layer4(UDP=UDP()) if known else None,
            vni=outer.vni,
        )

    def cgroup(self, row: FlowRow) -> int:
        """Id of the cgroup of the source's process, or else of the destination's."""
        processes = self._directory.processes
        return processes[row.src_process].cgroup or processes[row.dst_process].cgroup

    def interface(self, index: int) -> NetworkInterface | None:
        """The interface with an ifindex; None for 0."""
        if not index:
            return None
        return NetworkInterface(index=index, name=utf8(self._directory.interfaces.get(index, "")))


def reported_node_name(directory: Directory) -> str:
    """Name of this node in the API."""
    return node_in_cluster(directory, directory.node_name)


def node_in_cluster(directory: Directory, node: str) -> str:
    """`node`, or `cluster/node` when the cluster is not the default one."""
    if directory.cluster_name in ("", "default"):
        return utf8(node)
    return utf8(f"{directory.cluster_name}/{node}")


def summary(row: FlowRow) -> str:
    """Hubble's one-line text of a row: protocol, flags, or the L7 message."""
    if row.l7_type:
        return l7_summary(row)
    match row.protocol:
        case Protocol.TCP:
            return "TCP" if row.type == FlowType.SOCK else _tcp_summary(row.flags)
        case Protocol.UDP:
            return "UDP"
        case Protocol.SCTP:
            return "SCTP"
        case Protocol.VRRP:
            return "VRRP"
        case Protocol.IGMP:
            return "IGMP"
        case Protocol.ICMP:
            return f"ICMPv4 {names.icmp(row.icmp_type, row.icmp_code, 4)}"
        case Protocol.ICMPV6:
            return f"ICMPv6 {names.icmp(row.icmp_type, row.icmp_code, 6)}"
        case _:
            return ""


@lru_cache(256)
def _tcp_summary(flags: int) -> str:
    return f"TCP Flags: {names.tcp_flags(flags)}"


def drop_reason(row: FlowRow) -> int:
    """flow.DropReason of a drop; 0 for other flows."""
    known = row.event_type == EventType.DROP and row.sub_type >= _FIRST_DROP_REASON
    return row.sub_type if known else 0


def sock_point(row: FlowRow) -> "SocketTranslationPoint":
    """flow.SocketTranslationPoint of a socket event; 0 for rows of packets."""
    return cast(
        "SocketTranslationPoint", row.sub_type if row.event_type == EventType.TRACE_SOCK else 0
    )


def peer_names(name: str | None) -> list[str] | None:
    """`source_names` or `destination_names`."""
    return [utf8(name)] if name else None


def ip(row: FlowRow) -> IP | None:
    """`IP`: addresses of the packet, and for a packet before SNAT the source's address after it."""
    if row.family not in IP_VERSION:
        return None
    return IP(
        source=row.src_addr,
        source_xlated=source_xlated(row.nat, row.is_reply, row.src_addr, row.nat_src_addr),
        destination=row.dst_addr,
        ipVersion=IP_VERSION[row.family],
    )


def source_xlated(nat: int, is_reply: int, source: str, other: str) -> str:
    """`IP.source_xlated`: the source's address after SNAT, of a row from before it; else ""."""
    return "" if nat != Nat.BEFORE or is_reply == 1 or other == source else other


def has_flags(row: FlowRow) -> bool:
    """Whether a TCP row is of a packet and so has flags."""
    return not row.l7_type and row.type != FlowType.SOCK


def _layer4(row: FlowRow) -> Layer4 | None:
    match row.protocol:
        case Protocol.TCP:
            flags = tcp_flags(row.flags) if has_flags(row) else None
            tcp = TCP(source_port=row.src_port, destination_port=row.dst_port, flags=flags)
            return Layer4(TCP=tcp)
        case Protocol.UDP:
            return Layer4(UDP=UDP(source_port=row.src_port, destination_port=row.dst_port))
        case Protocol.SCTP:
            return Layer4(SCTP=SCTP(source_port=row.src_port, destination_port=row.dst_port))
        case Protocol.ICMP:
            return Layer4(ICMPv4=ICMPv4(type=row.icmp_type, code=row.icmp_code))
        case Protocol.ICMPV6:
            return Layer4(ICMPv6=ICMPv6(type=row.icmp_type, code=row.icmp_code))
        case Protocol.VRRP:
            return Layer4(VRRP=VRRP())
        case Protocol.IGMP:
            return Layer4(IGMP=IGMP())
        case _:
            return None


@lru_cache(256)
def tcp_flags(bits: int) -> TCPFlags:
    """The message of a TCP flag byte; it is cached and must not be changed."""
    return TCPFlags(**{name: True for bit, name in enumerate(TCP_FLAGS) if bits >> bit & 1})


def _trace_context(row: FlowRow) -> TraceContext | None:
    if not row.trace_id:
        return None
    return TraceContext(parent=TraceParent(trace_id=utf8(row.trace_id)))
