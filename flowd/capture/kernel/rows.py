"""From the kernel's records and table entries to connection rows, column by column."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.model.enums import Reason
from flowd.model.records.connection import ConnectionBatch, empty_connections
from flowd.model.records.rows import chosen, joined, plain_bytes
from flowd_bpf.layout import CONNECTION, KEY_AT, MARK_ANNOUNCED
from flowd_bpf.maps.connection_table import closed, flags_seen

_SAME = (
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
_WHOLE = (
    ("src_addr", "src_addr", 16),
    ("dst_addr", "dst_addr", 16),
    ("bytes_fwd", "bytes", 32),
    ("total_bytes_fwd", "total_bytes", 32),
)
"""Columns of rows and of EVENT from which on bytes are the same: counters are two and two."""
BATCH = 4096
"""Rows of a batch, at most: as much as a processor's cache holds, for all that is done to them."""


def batches(events: NDArray[Any], epoch: int) -> Iterator[ConnectionBatch]:
    """All EVENT records as `from_events` gives them, in batches."""
    for begin in range(0, len(events), BATCH):
        yield from_events(events[begin : begin + BATCH], epoch)


def from_events(events: NDArray[Any], epoch: int) -> ConnectionBatch:
    """Rows of EVENT records; `epoch` is the Unix time in ns at which CLOCK_MONOTONIC was 0.

    The column `tunnel` has the kernel's ids, here and in `from_entries`: see TunnelNames.
    """
    rows = empty_connections(len(events))
    rows["time_ns"] = events["time_ns"] + np.uint64(epoch)
    rows["first_ns"] = events["first_ns"] + np.uint64(epoch)
    for column in _SAME:
        rows[column] = events[column]
    for column, source, length in _WHOLE:
        plain_bytes(rows, column, length)[:] = plain_bytes(events, source, length)
    rows["flags_fwd"] = events["flags_seen"][:, 0]
    rows["flags_rev"] = events["flags_seen"][:, 1]
    return rows


def from_entries(entries: NDArray[Any], epoch: int, now: int, *, ended: bool) -> ConnectionBatch:
    """Rows for CONNECTION arrays taken out of the table, with what no record has brought.

    Args:
        epoch: as in `from_events`.
        now: Unix time of the rows, ns.
        ended: all are over; otherwise those that are not closed give an ACTIVE row if anything is
            left to tell.

    An entry whose first record the ring had no space for gives a NEW row before any other.
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
        rows[f"src_{column}"], rows[f"dst_{column}"] = _turned(pair, forward)
    ends = _turned(entries.view(_ADDRESSES)["addr"], forward)
    for column, end in zip(("src_addr", "dst_addr"), ends, strict=True):
        plain_bytes(rows, column, 16)[:] = end
    rows["protocol"] = keys["protocol"]
    for column in ("conn_id", "family", "initiator", "icmp_type", "icmp_code", "tunnel"):
        rows[column] = entries[column]
    seen = _turned(np.stack([flags_seen(entries, 0), flags_seen(entries, 1)], axis=1), forward)
    rows["flags_fwd"], rows["flags_rev"] = seen
    side = entries["side"]
    for column in ("bytes", "packets"):
        fresh, before = _turned(side[column], forward), _turned(side[f"total_{column}"], forward)
        for way, added, so_far in zip(("fwd", "rev"), fresh, before, strict=True):
            rows[f"{column}_{way}"] = added
            rows[f"total_{column}_{way}"] = so_far + added
    sent, answered = _turned(side["owner"], forward)
    owner = np.where(sent != 0, sent, answered)
    rows["ifindex"] = owner >> np.uint64(1)
    rows["hook"] = owner & np.uint64(1)

    over = closed(entries) | ended
    announced = (entries["marks"] & np.uint64(MARK_ANNOUNCED)) != 0
    left = (rows["packets_fwd"] != 0) | (rows["packets_rev"] != 0)
    late = chosen(rows, ~announced)
    late["reason"] = Reason.NEW
    late["is_reply"] = late["packets_fwd"] == 0
    for column in ("bytes_fwd", "bytes_rev", "packets_fwd", "packets_rev"):
        rows[column][~announced] = 0
    rows["reason"] = np.where(over, int(Reason.END), int(Reason.ACTIVE))
    told = over | (announced & left)
    return joined([late, rows if told.all() else chosen(rows, told)])


_ADDRESSES = np.dtype(
    {
        "names": ["addr"],
        "formats": [("V16", (2,))],
        "offsets": [KEY_AT],
        "itemsize": CONNECTION.itemsize,
    }
)
"""CONNECTION with its addresses, which are first in its key, as whole values."""


def _turned(pair: NDArray[Any], forward: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """What is the initiator's and the responder's of values of both sides, shape (N, 2)."""
    zero, one = pair[:, 0], pair[:, 1]
    return np.where(forward, one, zero), np.where(forward, zero, one)
