"""Flow rows of DNS messages and of translated connections, as Hubble shows them."""

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
from flowd.pipeline.identify import Addresses, resolve_missing

REMEMBERED = 65_536
PRE_FORWARD, POST_FORWARD = 1, 2
"""Points of a translation, as flow.SocketTranslationPoint of Hubble's API numbers them."""

_DNS = ("time_ns", "conn_id", "ifindex", "direction", "family", "protocol", "dns")
_TRANSLATED = (
    *("time_ns", "conn_id", "ifindex", "direction", "family", "protocol", "route", "nat"),
    *("connect_us", "src_pid", "src_process", "src_cookie"),
)
_ENDS = ("addr", "port", "endpoint")


def dns_flows(batch: DnsBatch) -> FlowRows:
    """An L7 row a query or response, in the direction it went.

    A TIMEOUT makes none: its query has been shown, and Hubble has no flow for what did not come.
    """
    batch = batch[batch["kind"] != DnsKind.TIMEOUT]
    rows = empty_flows(len(batch))
    for name in _DNS:
        rows[name] = batch[name]
    reply = batch["kind"] == DnsKind.RESPONSE
    for name in _ENDS:
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


class Translations:
    """Two SOCK rows for each socket whose connection is translated, before and after, once.

    A socket is known by its cookie; the last 65,536 are remembered.
    """

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._shown: dict[int, None] = {}

    def flows(self, records: ConnectionBatch) -> FlowRows:
        """Rows of sockets not shown yet; what the initiator dialled, then what it was turned to."""
        translated = (records["nat"] != Nat.NONE) & (records["src_cookie"] != 0)
        told = np.flatnonzero(translated & (records["reason"] != Reason.END))
        new = [place for place in told.tolist() if self._is_new(int(records["src_cookie"][place]))]
        if not new:
            return empty_flows()
        source = records[new]
        before = source["nat"] == Nat.BEFORE
        rows = [self._rows(source, ~before, PRE_FORWARD), self._rows(source, before, POST_FORWARD)]
        return np.concatenate(rows)

    def _rows(self, source: ConnectionBatch, beyond: NDArray[np.bool_], point: int) -> FlowRows:
        """Rows with the ends of one side of the translation: where `beyond`, the other one."""
        rows = empty_flows(len(source))
        for name in _TRANSLATED:
            rows[name] = source[name]
        for side in ("src", "dst"):
            for name in ("addr", "port"):
                own, other = source[f"{side}_{name}"], source[f"nat_{side}_{name}"]
                swapped = beyond[:, None] if name == "addr" else beyond
                rows[f"{side}_{name}"] = np.where(swapped, other, own)
                rows[f"nat_{side}_{name}"] = np.where(swapped, own, other)
            known = np.where(beyond, 0, source[f"{side}_endpoint"]).astype(np.uint32)
            rows[f"{side}_endpoint"] = resolve_missing(known, rows[f"{side}_addr"], self._addresses)
        asked = rows["dst_endpoint"], rows["dst_port"], rows["protocol"]
        rows["dst_endpoint"] = self._addresses.at_ports(*asked)
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
        if len(self._shown) > REMEMBERED:
            del self._shown[next(iter(self._shown))]
        return True
