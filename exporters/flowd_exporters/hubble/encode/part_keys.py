"""Cache keys of message parts: rows with equal key columns have equal parts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.model.enums import L7Protocol
from flowd.model.records.flow import FLOW, FlowRows


def key_dtype(*columns: str) -> np.dtype[np.void]:
    """A packed dtype of some columns of FLOW."""
    fields: list[tuple[str, np.dtype[Any], tuple[int, ...]]] = []
    for name in columns:
        column = FLOW[name]
        fields.append((name, column.base, column.shape))
    return np.dtype(fields)


def packed(rows: FlowRows, columns: np.dtype[np.void]) -> NDArray[np.void]:
    """The key columns of each row, shape (rows,)."""
    keys = np.empty(len(rows), columns)
    for name in columns.names or ():
        keys[name] = rows[name]
    return keys


_ROUTED = key_dtype("route", "backend", "attribution", "outcome", "envoy_flags", "drop_reason")
_ROUTED_L7 = key_dtype(
    *(_ROUTED.names or ()), "src_process", "dst_process", "l7_protocol", "l7_type"
)
_STATIC = np.dtype([*_ROUTED_L7.descr, ("answers", "u2")])


def static_keys(rows: FlowRows) -> NDArray[np.void]:
    """Keys of the static part of Flow.extensions, shape (rows,).

    The columns are those of `extensions.static_key`; processes and DNS only if a row has some.
    """
    dns = rows["l7_protocol"] == L7Protocol.DNS
    wide = dns.any() or rows["src_process"].any() or rows["dst_process"].any()
    if not wide:
        return packed(rows, _ROUTED)
    keys = np.zeros(len(rows), _STATIC)
    for name in _ROUTED_L7.names or ():
        keys[name] = rows[name]
    for place in np.flatnonzero(dns).tolist():
        message = rows["dns"][place]
        keys["answers"][place] = len(message.ips) if message else 0
    return keys
