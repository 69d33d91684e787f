"""Flow rows as Hubble's flow.Flow messages (field numbers and meaning of Cilium 1.19)."""

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
from flowd_exporters.hubble.encode.extensions import Extensions
from flowd_exporters.hubble.encode.l7 import l7_summary, layer7
from flowd_exporters.hubble.encode.row import Row, unpack_rows

_REPLY = {0: BoolValue(value=False), 1: BoolValue(value=True)}
IP_VERSION = {4: IPv4, 6: IPv6}
_FIRST_DROP_REASON = 130
_TUNNELS = {"vxlan": Tunnel.VXLAN, "geneve": Tunnel.GENEVE}


class FlowEncoder:
    """Makes messages of rows; what belongs to an endpoint or a route is made once."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._node = node_bits(directory)
        self.node_name = shown_node(directory)
        self.emitter = Emitter(name="Flowd", version=__version__)
        self._endpoints: dict[tuple[int, int], Endpoint] = {}
        self._services: dict[int, Service | None] = {}
        self.extensions = Extensions(directory)

    def encode(self, rows: FlowRows) -> Iterator[Flow]:
        """A message for every row, made when it is asked for."""
        return map(self._flow, unpack_rows(rows))

    def _flow(self, row: Row) -> Flow:
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
            extensions=self.extensions.of(row),
        )

    def l7_part(self, row: Row) -> Flow:
        """Only what a request or DNS message carries: `l7`, `trace_context` and Summary."""
        return Flow(
            l7=layer7(row) if row.l7_type else None,
            trace_context=_trace_context(row),
            Summary=summary(row) if row.l7_type else "",
        )

    def summary(self, row: Row) -> str:
        """Hubble's one-line text; a drop ends with the kernel's own word for it."""
        text = summary(row)
        if row.l7_type or not row.drop_reason:
            return text
        word = utf8(self._directory.drop_reasons[row.drop_reason])
        return f"{text}; {word}" if text else word

    def endpoint(self, index: int, identity: int) -> Endpoint:
        known = self._endpoints.get((index, identity))
        if known is None:
            known = self._endpoints[index, identity] = self._new_endpoint(index, identity)
        return known

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
        if index not in self._services:
            endpoint = self._directory.endpoints[index]
            self._services[index] = (
                Service(name=utf8(endpoint.service), namespace=utf8(endpoint.service_namespace))
                if endpoint.service
                else None
            )
        return self._services[index]

    def tunnel(self, row: Row) -> Tunnel | None:
        """The outer packet; its ports are not known."""
        if not row.tunnel:
            return None
        held = self._directory.tunnels[row.tunnel]
        source, destination = (held.dst, held.src) if row.is_reply == 1 else (held.src, held.dst)
        known = held.protocol in _TUNNELS
        return Tunnel(
            protocol=_TUNNELS.get(held.protocol, Tunnel.UNKNOWN),
            IP=IP(
                source=source, destination=destination, ipVersion=IPv6 if ":" in source else IPv4
            ),
            l4=Layer4(UDP=UDP()) if known else None,
            vni=held.vni,
        )

    def cgroup(self, row: Row) -> int:
        """Number of the cgroup that owns the source's socket, or else the destination's."""
        processes = self._directory.processes
        return processes[row.src_process].cgroup or processes[row.dst_process].cgroup

    def interface(self, index: int) -> NetworkInterface | None:
        if not index:
            return None
        return NetworkInterface(index=index, name=utf8(self._directory.interfaces.get(index, "")))


def shown_node(directory: Directory) -> str:
    """This node as clients see it."""
    return node_in_cluster(directory, directory.node_name)


def node_in_cluster(directory: Directory, node: str) -> str:
    """`node`, or `cluster/node` when the cluster is not the default one."""
    if directory.cluster_name in ("", "default"):
        return utf8(node)
    return utf8(f"{directory.cluster_name}/{node}")


def summary(row: Row) -> str:
    """Hubble's one-line text of what the flow carried."""
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


def drop_reason(row: Row) -> int:
    """The flow.DropReason of a drop; 0 for other flows."""
    known = row.event_type == EventType.DROP and row.sub_type >= _FIRST_DROP_REASON
    return row.sub_type if known else 0


def sock_point(row: Row) -> "SocketTranslationPoint":
    """Where the address of a socket was translated; 0 for rows of packets."""
    return cast(
        "SocketTranslationPoint", row.sub_type if row.event_type == EventType.TRACE_SOCK else 0
    )


def peer_names(name: str | None) -> list[str] | None:
    """DNS names of one end."""
    return [utf8(name)] if name else None


def ip(row: Row) -> IP | None:
    """Addresses of the packet, and the source's after its translation where the packet is before."""
    if row.family not in IP_VERSION:
        return None
    return IP(
        source=row.src_addr,
        source_xlated=source_xlated(row.nat, row.is_reply, row.src_addr, row.nat_src_addr),
        destination=row.dst_addr,
        ipVersion=IP_VERSION[row.family],
    )


def source_xlated(nat: int, is_reply: int, source: str, other: str) -> str:
    """The source's address after translation, if this row has the one before; else ""."""
    return "" if nat != Nat.BEFORE or is_reply == 1 or other == source else other


def has_flags(row: Row) -> bool:
    """Whether a TCP row is of a packet."""
    return not row.l7_type and row.type != FlowType.SOCK


def _layer4(row: Row) -> Layer4 | None:
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
    """The message of a TCP flag byte, which must not be changed."""
    return TCPFlags(**{name: True for bit, name in enumerate(TCP_FLAGS) if bits >> bit & 1})


def _trace_context(row: Row) -> TraceContext | None:
    if not row.trace_id:
        return None
    return TraceContext(parent=TraceParent(trace_id=utf8(row.trace_id)))
