"""Columns by which the parts of flows are kept: rows with the same key have the same part."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.model.enums import L7Protocol
from flowd.model.flow import FLOW, FlowRows
from flowd_exporters.hubble.extensions import SOCKET_NUMBERS


def key_of(*columns: str) -> np.dtype[np.void]:
    """Columns of FLOW side by side without gaps."""
    packed: list[tuple[str, np.dtype[Any], tuple[int, ...]]] = []
    for name in columns:
        column = FLOW[name]
        packed.append((name, column.base, column.shape))
    return np.dtype(packed)


def packed(rows: FlowRows, columns: np.dtype[np.void]) -> NDArray[np.void]:
    """The columns of a key, of shape (rows,)."""
    keys = np.empty(len(rows), columns)
    for name in columns.names or ():
        keys[name] = rows[name]
    return keys


_ROUTED = key_of(
    "route", "backend", "attribution", "outcome", "envoy_flags", "drop_reason", "packets"
)
_MOVED = (
    *("src_addr", "dst_addr", "src_port", "dst_port"),
    *("nat_src_addr", "nat_dst_addr", "nat_src_port", "nat_dst_port"),
)
_MORE = key_of(
    *(_ROUTED.names or ()), "nat", *_MOVED, "src_process", "dst_process", "l7_protocol", "l7_type"
)
_WIDE = np.dtype([*_MORE.descr, ("answers", "u2"), ("present", "u1")])


def extension_keys(rows: FlowRows) -> tuple[NDArray[np.void], list[str]]:
    """Keys for what of Flow.extensions lasts, and the SOCKET_NUMBERS that some row has."""
    numbers = [name for name in SOCKET_NUMBERS if rows[name].any()]
    dns = rows["l7_protocol"] == L7Protocol.DNS
    plain = not any(rows[name].any() for name in ("nat", "src_process", "dst_process"))
    wide = numbers or dns.any() or not plain
    keys = np.zeros(len(rows), _WIDE) if wide else np.empty(len(rows), _ROUTED)
    for name in (_MORE if wide else _ROUTED).names or ():
        keys[name] = rows[name]
    keys["packets"] = rows["packets"] > 0
    if wide:
        same = rows["nat"] == 0
        for name in _MOVED:
            keys[name][same] = 0
        for bit, name in enumerate(numbers):
            keys["present"] |= (rows[name] > 0).astype(np.uint8) << bit
        for place in np.flatnonzero(dns).tolist():
            message = rows["dns"][place]
            keys["answers"][place] = len(message.ips) if message else 0
    return keys, numbers
