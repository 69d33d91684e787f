"""Columns by which the parts of flows are kept: rows with the same key have the same part."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.model.enums import L7Protocol
from flowd.model.records.flow import FLOW, FlowRows


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


_ROUTED = key_of("route", "backend", "attribution", "outcome", "envoy_flags", "drop_reason")
_MORE = key_of(*(_ROUTED.names or ()), "src_process", "dst_process", "l7_protocol", "l7_type")
_WIDE = np.dtype([*_MORE.descr, ("answers", "u2")])


def lasting_keys(rows: FlowRows) -> NDArray[np.void]:
    """Keys for what of Flow.extensions does not change from row to row."""
    dns = rows["l7_protocol"] == L7Protocol.DNS
    wide = dns.any() or rows["src_process"].any() or rows["dst_process"].any()
    if not wide:
        return packed(rows, _ROUTED)
    keys = np.zeros(len(rows), _WIDE)
    for name in _MORE.names or ():
        keys[name] = rows[name]
    for place in np.flatnonzero(dns).tolist():
        message = rows["dns"][place]
        keys["answers"][place] = len(message.ips) if message else 0
    return keys
