"""Convert the kernel's EVENT records and table entries to connection rows, column by column."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.model.enums import Reason
from flowd.model.records.connection import ConnectionBatch, empty_connections
from flowd.model.records.rows import byte_view, concat_rows, select_rows
from flowd_bpf.layout import CONNECTION, KEY_OFFSET, MARK_ANNOUNCED
from flowd_bpf.maps.connection_table import closed, flags_seen

_COPIED = (
    "conn_id",
    "src_endpoint",
    "dst_endpoint",
    "ifindex",
    "tunnel",
    "src_port",
    "dst_port",
    "protocol",
    "family",
    "reason",
    "hook",
    "is_reply",
    "initiator",
    "flags",
    "icmp_type",
    "icmp_code",
)
_COPIED_BYTES = (
    ("src_addr", "src_addr", 16),
    ("dst_addr", "dst_addr", 16),
    ("bytes_fwd", "bytes", 32),
    ("total_bytes_fwd", "total_bytes", 32),
)
"""Columns of rows and of EVENT, and the bytes to copy from there: both directions are adjacent."""
BATCH = 4096
"""Most rows of a batch, so that it stays in the processor's cache through the pipeline."""


def batches(events: NDArray[Any], epoch: int) -> Iterator[ConnectionBatch]:
    """Rows of EVENT records, as `from_events` converts them, in batches of at most BATCH."""
    for begin in range(0, len(events), BATCH):
        yield from_events(events[begin : begin + BATCH], epoch)


def from_events(events: NDArray[Any], epoch: int) -> ConnectionBatch:
    """Convert EVENT records, shape (N,), to rows, shape (N,).

    The column `tunnel` holds the kernel's ids, here and in `from_entries`; TunnelNames resolves
    them.

    Args:
        epoch: Unix time in ns at which CLOCK_MONOTONIC was 0.
    """
    rows = empty_connections(len(events))
    rows["time_ns"] = events["time_ns"] + np.uint64(epoch)
    rows["first_ns"] = events["first_ns"] + np.uint64(epoch)
    for column in _COPIED:
        rows[column] = events[column]
    for column, source, length in _COPIED_BYTES:
        byte_view(rows, column, length)[:] = byte_view(events, source, length)
    rows["flags_fwd"] = events["flags_seen"][:, 0]
    rows["flags_rev"] = events["flags_seen"][:, 1]
    return rows


def from_entries(entries: NDArray[Any], epoch: int, now: int, *, ended: bool) -> ConnectionBatch:
    """Convert evicted CONNECTION entries, shape (N,), to rows with their unreported counters.

    An entry whose first record found the ring full gives a NEW row before any other.

    Args:
        epoch: as in `from_events`.
        now: Unix time of the rows, ns.
        ended: every entry gives an END row; otherwise an entry that is not closed gives an ACTIVE
            row if it has unreported packets.
    """
    keys = entries["key"]
    forward = (entries["forward"] & 1) != 0

    rows = empty_connections(len(entries))
    rows["time_ns"] = now
    rows["first_ns"] = entries["first_ns"] + np.uint64(epoch)
    for column, pair in (
        ("port", keys["port"]),
        ("endpoint", entries["endpoint"]),
    ):
        rows[f"src_{column}"], rows[f"dst_{column}"] = _by_initiator(pair, forward)
    ends = _by_initiator(entries.view(_ADDRESSES)["addr"], forward)
    for column, end in zip(("src_addr", "dst_addr"), ends, strict=True):
        byte_view(rows, column, 16)[:] = end
    rows["protocol"] = keys["protocol"]
    for column in ("conn_id", "family", "initiator", "icmp_type", "icmp_code", "tunnel"):
        rows[column] = entries[column]
    seen = _by_initiator(
        np.stack([flags_seen(entries, 0), flags_seen(entries, 1)], axis=1), forward
    )
    rows["flags_fwd"], rows["flags_rev"] = seen
    side = entries["side"]
    for column in ("bytes", "packets"):
        fresh, before = (
            _by_initiator(side[column], forward),
            _by_initiator(side[f"total_{column}"], forward),
        )
        for direction, added, reported in zip(("fwd", "rev"), fresh, before, strict=True):
            rows[f"{column}_{direction}"] = added
            rows[f"total_{column}_{direction}"] = reported + added
    sent, answered = _by_initiator(side["counting_if"], forward)
    owner = np.where(sent != 0, sent, answered)
    rows["ifindex"] = owner >> np.uint64(1)
    rows["hook"] = owner & np.uint64(1)

    over = closed(entries) | ended
    announced = (entries["marks"] & np.uint64(MARK_ANNOUNCED)) != 0
    unreported = (rows["packets_fwd"] != 0) | (rows["packets_rev"] != 0)
    late = select_rows(rows, ~announced)
    late["reason"] = Reason.NEW
    late["is_reply"] = late["packets_fwd"] == 0
    for column in ("bytes_fwd", "bytes_rev", "packets_fwd", "packets_rev"):
        rows[column][~announced] = 0
    rows["reason"] = np.where(over, int(Reason.END), int(Reason.ACTIVE))
    kept = over | (announced & unreported)
    return concat_rows([late, rows if kept.all() else select_rows(rows, kept)])


_ADDRESSES = np.dtype(
    {
        "names": ["addr"],
        "formats": [("V16", (2,))],
        "offsets": [KEY_OFFSET],
        "itemsize": CONNECTION.itemsize,
    }
)
"""CONNECTION with the two addresses of its key as values of 16 bytes."""


def _by_initiator(
    pair: NDArray[Any], forward: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Values of the initiator and of the responder, shape (N,) each, from pairs, shape (N, 2)."""
    zero, one = pair[:, 0], pair[:, 1]
    return np.where(forward, one, zero), np.where(forward, zero, one)
