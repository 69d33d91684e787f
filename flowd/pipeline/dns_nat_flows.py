"""Convert DNS rows to L7 flow rows, and translated connections to SOCK (socket trace) flow rows."""

import numpy as np
from numpy.typing import NDArray

from flowd.model.enums import (
    DnsKind,
    EventType,
    FlowType,
    L7Protocol,
    L7Type,
    Nat,
    Reason,
    Verdict,
)
from flowd.model.records.connection import ConnectionBatch
from flowd.model.records.dns import DnsBatch
from flowd.model.records.flow import FlowRows, empty_flows
from flowd.pipeline.identify import AddressTable, resolve_missing

MAX_SHOWN = 65_536
PRE_FORWARD, POST_FORWARD = 1, 2
"""Numbers of flow.SocketTranslationPoint (Hubble's API)."""

_DNS_COLUMNS = ("time_ns", "conn_id", "ifindex", "direction", "family", "protocol", "dns")
_SOCK_COLUMNS = (
    *("time_ns", "conn_id", "ifindex", "direction", "family", "protocol", "route", "nat"),
    *("connect_us", "src_pid", "src_process", "src_cookie"),
)
_END_COLUMNS = ("addr", "port", "endpoint")


def dns_flows(batch: DnsBatch) -> FlowRows:
    """One L7 flow row for each query and response; `src` is the sender of the message.

    TIMEOUT rows give no flow: their query already has one, and Hubble has no flow for a missing
    response.
    """
    batch = batch[batch["kind"] != DnsKind.TIMEOUT]
    rows = empty_flows(len(batch))
    for name in _DNS_COLUMNS:
        rows[name] = batch[name]
    reply = batch["kind"] == DnsKind.RESPONSE
    for name in _END_COLUMNS:
        src, dst = batch[f"src_{name}"], batch[f"dst_{name}"]
        swapped = reply[:, None] if name == "addr" else reply
        rows[f"src_{name}"] = np.where(swapped, dst, src)
        rows[f"dst_{name}"] = np.where(swapped, src, dst)
    rows["latency_ns"] = np.where(reply, batch["latency_ns"], 0)
    rows["is_reply"] = reply
    rows["type"], rows["event_type"] = FlowType.L7, EventType.L7
    rows["l7_type"] = np.where(reply, L7Type.RESPONSE, L7Type.REQUEST)
    rows["l7_protocol"] = L7Protocol.DNS
    rows["verdict"] = Verdict.FORWARDED
    return rows


class TranslationFlows:
    """Two SOCK rows for each socket with a translated connection: before and after translation.

    Each socket cookie gives its rows once; the last 65,536 cookies are remembered.
    """

    def __init__(self, addresses: AddressTable) -> None:
        self._addresses = addresses
        self._shown: dict[int, None] = {}

    def flows(self, records: ConnectionBatch) -> FlowRows:
        """Rows of new sockets: first all with the dialled address, then all translated."""
        translated = (records["nat"] != Nat.NONE) & (records["src_cookie"] != 0)
        rows = np.flatnonzero(translated & (records["reason"] != Reason.END)).tolist()
        new = [row for row in rows if self._is_new(int(records["src_cookie"][row]))]
        if not new:
            return empty_flows()
        source = records[new]
        before = source["nat"] == Nat.BEFORE
        pre = self._rows(source, ~before, PRE_FORWARD)
        return np.concatenate([pre, self._rows(source, before, POST_FORWARD)])

    def _rows(self, source: ConnectionBatch, swap: NDArray[np.bool_], point: int) -> FlowRows:
        """SOCK rows of one translation point; `swap` rows take the addresses of `nat_*`."""
        rows = empty_flows(len(source))
        for name in _SOCK_COLUMNS:
            rows[name] = source[name]
        for side in ("src", "dst"):
            for name in ("addr", "port"):
                own, other = source[f"{side}_{name}"], source[f"nat_{side}_{name}"]
                swapped = swap[:, None] if name == "addr" else swap
                rows[f"{side}_{name}"] = np.where(swapped, other, own)
                rows[f"nat_{side}_{name}"] = np.where(swapped, own, other)
            known = np.where(swap, 0, source[f"{side}_endpoint"]).astype(np.uint32)
            rows[f"{side}_endpoint"] = resolve_missing(known, rows[f"{side}_addr"], self._addresses)
        rows["dst_endpoint"] = self._addresses.resolve_node_ports(
            rows["dst_endpoint"], rows["dst_port"], rows["protocol"]
        )
        rows["nat"] = Nat.BEFORE if point == PRE_FORWARD else Nat.AFTER
        rows["is_reply"] = -1
        rows["sub_type"] = point
        rows["type"], rows["event_type"] = FlowType.SOCK, EventType.TRACE_SOCK
        rows["verdict"] = Verdict.TRANSLATED
        return rows

    def _is_new(self, cookie: int) -> bool:
        if cookie in self._shown:
            return False
        self._shown[cookie] = None
        if len(self._shown) > MAX_SHOWN:
            del self._shown[next(iter(self._shown))]
        return True
