"""Build FLOW rows (Hubble's flows) from connection, request, drop and DNS rows, and number them."""

import re
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flowd.model.address import MAPPED
from flowd.model.enums import (
    Direction,
    EntryKind,
    EventType,
    FlowType,
    Hook,
    HttpVersion,
    Initiator,
    L7Protocol,
    L7Type,
    ObservationPoint,
    Protocol,
    Verdict,
)
from flowd.model.records.connection import SHARED_BYTES, SIDE_BYTES, ConnectionBatch
from flowd.model.records.dns import DnsBatch
from flowd.model.records.drop import DropBatch
from flowd.model.records.flow import FLOW, FlowRows, empty_flows
from flowd.model.records.request import RequestBatch
from flowd.model.records.rows import byte_view, concat_ordered
from flowd.pipeline.dns_nat_flows import TranslationFlows, dns_flows
from flowd.pipeline.identify import AddressTable, PeerNames, is_outside

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_MAPPED = np.frombuffer(MAPPED, np.uint8)
_SAME_BYTES = SHARED_BYTES + 2 * SIDE_BYTES
"""Bytes at the start of CONNECTION that are copied to FLOW; replies then swap the two sides."""
OWNER_COLUMNS = ("pid", "process", "cookie")
SOCKET_OWNERS = np.dtype(
    [
        (name, FLOW[name])
        for name in (f"{side}_{one}" for side in ("src", "dst") for one in OWNER_COLUMNS)
    ]
)
"""Owners of the sockets at the source's and the destination's end; columns as in FLOW."""
SocketOwners: TypeAlias = NDArray[np.void]
"""A one-dimensional array of SOCKET_OWNERS."""
_RESPONSE_COLUMNS = {
    "latency_ns": "duration_ns",
    "status": "status",
    "envoy_flags": "flags",
    "outcome": "outcome",
}
"""FLOW columns of RESPONSE rows, each with its REQUEST column."""
_DROP_COLUMNS = [
    *("time_ns", "packets", "bytes", "src_addr", "dst_addr", "src_endpoint", "dst_endpoint"),
    *("src_port", "dst_port", "ifindex", "direction", "family", "protocol", "flags"),
]
"""Columns copied unchanged from DROP to FLOW."""


class FlowBuilder:
    """Builds flow rows and numbers them: `seq` from 1 without gaps, `time_ns` strictly rising.

    Args:
        names: DNS names of outside peers; None without DNS capture.
        translations: add SOCK rows for sockets with translated connections.
    """

    def __init__(
        self, addresses: AddressTable, names: PeerNames | None = None, *, translations: bool = True
    ) -> None:
        self._addresses = addresses
        self._names = names
        self._translations = TranslationFlows(addresses) if translations else None
        self._seq = 0
        self._time_ns = 0

    def build(
        self,
        connections: ConnectionBatch,
        requests: RequestBatch,
        now_ns: int,
        drops: DropBatch | None = None,
        dns: DnsBatch | None = None,
        owners: SocketOwners | None = None,
        drop_owners: SocketOwners | None = None,
    ) -> FlowRows:
        """One row for each record, drop and DNS message, two for an HTTP request, none for TCP.

        Rows are in order of time. A row older than rows built before (an access log reports a
        request up to a second late) gets the next free nanosecond as its time; a row from the
        future (another machine's clock) gets `now_ns`, so that it does not shift all later rows.

        Args:
            now_ns: Unix time, nanoseconds.
            owners: socket owners of each request, shape (len(requests),); None for unknown.
            drop_owners: socket owners of each drop, shape (len(drops),); None for unknown.

        Returns:
            FLOW rows in order of time.
        """
        is_http = requests["kind"] == EntryKind.HTTP
        if not is_http.all():
            requests, owners = requests[is_http], None if owners is None else owners[is_http]
        parts = [self._connections(connections)] if len(connections) else []
        if len(requests):
            parts.append(self._requests(requests, owners))
        if drops is not None and len(drops):
            parts.append(_drops(drops, drop_owners))
        if dns is not None and len(dns):
            parts.append(dns_flows(dns))
        if self._translations and connections["nat"].any():
            parts.append(self._translations.flows(connections))
        if not any(map(len, parts)):
            return empty_flows()
        for part in parts:
            part["time_ns"] = np.minimum(part["time_ns"], np.uint64(now_ns))
        if len(parts) > 1:
            times = np.concatenate([part["time_ns"] for part in parts])
            rows = concat_ordered(parts, np.argsort(times, kind="stable"))
        else:
            rows = parts[0]
        identities = self._addresses.identity_of
        rows["src_identity"] = identities[rows["src_endpoint"]]
        rows["dst_identity"] = identities[rows["dst_endpoint"]]
        if self._names:
            for side in ("src", "dst"):
                by_hostname = np.isin(
                    rows[f"{side}_endpoint"], list(self._addresses.hostnames.values())
                )
                outside = np.flatnonzero(is_outside(rows[f"{side}_identity"]) | by_hostname)
                if len(outside):
                    names = self._names.name_of(rows[f"{side}_addr"][outside])
                    rows[f"{side}_name"][outside] = names
                    self._resolve_by_name(rows, side, outside)
        return self._numbered(rows)

    def _resolve_by_name(self, rows: FlowRows, side: str, outside: NDArray[np.intp]) -> None:
        """Set the endpoint of outside peers to the Gateway or Service that lists their DNS name."""
        if not self._names or not (hostnames := self._addresses.hostnames):
            return
        found = self._names.endpoints_by_name(rows[f"{side}_addr"][outside], hostnames)
        known = outside[found != 0]
        rows[f"{side}_endpoint"][known] = found[found != 0]
        rows[f"{side}_identity"][known] = self._addresses.identity_of[found[found != 0]]

    def _numbered(self, rows: FlowRows) -> FlowRows:
        position = np.arange(len(rows))
        time_ns = rows["time_ns"].astype(np.int64) - position
        time_ns[0] = max(int(time_ns[0]), self._time_ns + 1)
        rows["time_ns"] = np.maximum.accumulate(time_ns) + position
        rows["seq"] = self._seq + 1 + position
        self._seq += len(rows)
        self._time_ns = int(rows["time_ns"][-1])
        return rows

    def _connections(self, records: ConnectionBatch) -> FlowRows:
        """One TRACE row for each record; `src` is the sender of the packet that caused it."""
        rows = empty_flows(len(records))
        byte_view(rows, "conn_id", _SAME_BYTES)[:] = byte_view(records, "conn_id", _SAME_BYTES)
        reply = records["is_reply"] != 0
        swap = np.flatnonzero(reply)
        for own, other in (("src_addr", "dst_addr"), ("dst_addr", "src_addr")):
            swapped = byte_view(records, other, SIDE_BYTES)[swap]
            byte_view(rows, own, SIDE_BYTES)[swap] = swapped
        guessed = records["initiator"] == Initiator.FIRST_PACKET
        unsure = guessed & (records["protocol"] == Protocol.TCP)
        rows["is_reply"] = np.where(unsure, -1, reply)
        rows["bytes"] = records["bytes_fwd"] + records["bytes_rev"]
        rows["packets"] = records["packets_fwd"] + records["packets_rev"]
        rows["type"] = FlowType.L3_L4
        rows["verdict"] = Verdict.FORWARDED
        rows["event_type"] = EventType.TRACE
        rows["observation"] = point = self._observation(rows, records["hook"])
        rows["sub_type"] = np.where(point == ObservationPoint.TO_ENDPOINT, 0, point)
        return rows

    def _observation(self, rows: FlowRows, hook: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Observation point: at a local pod's interface, else at the node's own interface.

        A packet at tc ingress of a pod's interface enters the node's stack; a packet at tc egress
        leaves it for the pod.
        """
        local = self._addresses.is_local
        ingress = hook == Hook.INGRESS
        at_pod = local[np.where(ingress, rows["src_endpoint"], rows["dst_endpoint"])]
        entering = np.where(at_pod, ObservationPoint.TO_STACK, ObservationPoint.FROM_NETWORK)
        leaving = np.where(at_pod, ObservationPoint.TO_ENDPOINT, ObservationPoint.TO_NETWORK)
        return np.where(ingress, entering, leaving).astype(np.uint8)

    def _requests(self, http: RequestBatch, owners: SocketOwners | None) -> FlowRows:
        """REQUEST rows, and RESPONSE rows with the sides swapped, in order of time.

        As in Hubble's flows through an ingress, the source is the client and the destination the
        workload that served the request, or the gateway where no backend was chosen (redirect,
        404). The direction is INGRESS, or EGRESS if only the client is on this node.
        """
        if not len(http):
            return empty_flows()
        begun: NDArray[np.uint64] = http["time_ns"]
        times = np.concatenate([begun, begun + http["duration_ns"]])
        order = np.argsort(times, kind="stable")
        request, is_response = order % len(http), order >= len(http)
        rows = empty_flows(len(order))
        rows["time_ns"] = times[order]
        _fill_ends(rows, http, order, owners)
        for name in ("route", "backend", "attribution", "http_version"):
            rows[name] = http[name][request]
        down: NDArray[np.uint64] = http["down_conn"]
        rows["conn_id"] = np.where(down != 0, down, http["up_conn"])[request]
        rows["connect_us"] = http["down_connect_us"][request]
        rows["type"], rows["event_type"] = FlowType.L7, EventType.L7
        rows["l7_protocol"] = L7Protocol.HTTP
        rows["verdict"] = Verdict.FORWARDED
        quic = http["http_version"] == HttpVersion.HTTP3
        rows["protocol"] = np.where(quic, Protocol.UDP, Protocol.TCP)[request]
        mapped = (http["client_addr"][:, :12] == _MAPPED).all(axis=1)
        rows["family"] = np.where(mapped, 4, 6)[request]
        rows["direction"] = self._direction(http)[request]
        rows["l7_type"] = np.where(is_response, L7Type.RESPONSE, L7Type.REQUEST)
        rows["is_reply"] = is_response
        for name, text in _texts(http).items():
            rows[name] = text[request]
        headers = _objects([fields or None for fields in http["headers"].tolist()])
        asked, answered = np.flatnonzero(~is_response), np.flatnonzero(is_response)
        rows["headers"][asked] = headers[request[asked]]
        for name, column in _RESPONSE_COLUMNS.items():
            rows[name][answered] = http[column][request[answered]]
        return rows

    def _direction(self, http: RequestBatch) -> NDArray[np.intp]:
        local = self._addresses.is_local
        outward = local[http["client_endpoint"]] & ~local[_server(http, "endpoint")]
        return np.where(outward, Direction.EGRESS, Direction.INGRESS)


def _server(http: RequestBatch, column: str) -> NDArray[Any]:
    """A column of the answering end: the backend, or the gateway where no backend was chosen."""
    served = http["up_remote_port"] != 0
    if column == "endpoint":
        return np.where(served, http["backend_endpoint"], http["gateway_endpoint"])
    served = served[:, None] if column == "addr" else served
    return np.where(served, http[f"up_remote_{column}"], http[f"local_{column}"])


def _fill_ends(
    rows: FlowRows, http: RequestBatch, order: NDArray[np.intp], owners: SocketOwners | None
) -> None:
    """Fill the columns of both ends; responses get them with the sides swapped."""
    ends = [
        (name, http[f"client_{name}"], _server(http, name)) for name in ("addr", "endpoint", "port")
    ]
    ends += [
        (name, http[f"down_{name}"], http[f"up_{name}"]) for name in ("srtt_us", "retransmits")
    ]
    if owners is not None:
        ends += [(name, owners[f"src_{name}"], owners[f"dst_{name}"]) for name in OWNER_COLUMNS]
    for name, client, server in ends:
        if name == "addr" or client.any() or server.any():
            rows[f"src_{name}"] = np.concatenate([client, server])[order]
            rows[f"dst_{name}"] = np.concatenate([server, client])[order]


def _drops(drops: DropBatch, owners: SocketOwners | None) -> FlowRows:
    """One DROP row for each DROP record, from the sender to the receiver of the packets."""
    rows = empty_flows(len(drops))
    for name in _DROP_COLUMNS:
        rows[name] = drops[name]
    if owners is not None:
        for name in SOCKET_OWNERS.names or ():
            rows[name] = owners[name]
    rows["drop_reason"] = drops["reason"]
    rows["sub_type"] = drops["hubble_reason"]
    rows["type"] = FlowType.L3_L4
    rows["verdict"] = Verdict.DROPPED
    rows["event_type"] = EventType.DROP
    rows["is_reply"] = -1
    return rows


def _texts(http: RequestBatch) -> dict[str, NDArray[np.object_]]:
    """Text columns of both REQUEST and RESPONSE rows."""
    schemes, hosts, paths, originals = (
        http[name].tolist() for name in ("scheme", "host", "path", "original_path")
    )
    return {
        "url": _objects(
            [
                f"{scheme or 'http'}://{host}{original or path}"
                for scheme, host, path, original in zip(
                    schemes, hosts, paths, originals, strict=True
                )
            ]
        ),
        "method": _objects([text or None for text in http["method"].tolist()]),
        "request_id": _objects([text or None for text in http["request_id"].tolist()]),
        "trace_id": _objects(
            [trace_id(text) if text else None for text in http["traceparent"].tolist()]
        ),
    }


def _objects(values: list[Any]) -> NDArray[np.object_]:
    column: NDArray[np.object_] = np.empty(len(values), np.object_)
    column[:] = values
    return column


def trace_id(traceparent: str) -> str | None:
    """The trace id (32 hex digits) of a traceparent header, None for a malformed header.

    Source: W3C Trace Context, section 3.2.2.
    """
    match = _TRACEPARENT.match(traceparent)
    return match[1] if match else None
