"""From the kernel's records and table entries to connection rows, column by column."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.model.connection import ConnectionBatch, empty_connections
from flowd.model.enums import Reason
from flowd.model.rows import chosen, joined
from flowd_bpf.layout import MARK_ANNOUNCED
from flowd_bpf.table import closed, flags_seen

_SAME = (
    "conn_id",
    "src_addr",
    "dst_addr",
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
_COUNTERS = ("bytes", "packets", "total_bytes", "total_packets")


def from_events(events: NDArray[Any], epoch: int) -> ConnectionBatch:
    """Rows of EVENT records; `epoch` is the Unix time in ns at which CLOCK_MONOTONIC was 0.

    The column `tunnel` has the kernel's ids, here and in `from_entries`: see TunnelNames.
    """
    rows = empty_connections(len(events))
    rows["time_ns"] = events["time_ns"] + np.uint64(epoch)
    rows["first_ns"] = events["first_ns"] + np.uint64(epoch)
    for column in _SAME:
        rows[column] = events[column]
    for column in _COUNTERS:
        rows[f"{column}_fwd"] = events[column][:, 0]
        rows[f"{column}_rev"] = events[column][:, 1]
    rows["flags_fwd"] = events["flags_seen"][:, 0]
    rows["flags_rev"] = events["flags_seen"][:, 1]
    return rows


def from_entries(
    keys: NDArray[Any], values: NDArray[Any], epoch: int, now: int, *, ended: bool
) -> ConnectionBatch:
    """Rows for KEY and CONNECTION arrays taken out of the table, with what no record has brought.

    Args:
        epoch: as in `from_events`.
        now: Unix time of the rows, ns.
        ended: all are over; otherwise those that are not closed give an ACTIVE row if anything is
            left to tell.

    An entry whose first record the ring had no space for gives a NEW row before any other.
    """
    every = np.arange(len(keys))
    forward = (values["forward"] & 1).astype("i8")
    sent = values["side"][every, forward]
    answered = values["side"][every, 1 - forward]

    rows = empty_connections(len(keys))
    rows["time_ns"] = now
    rows["first_ns"] = values["first_ns"] + np.uint64(epoch)
    rows["conn_id"] = values["conn_id"]
    rows["src_addr"] = keys["addr"][every, forward]
    rows["dst_addr"] = keys["addr"][every, 1 - forward]
    rows["src_port"] = keys["port"][every, forward]
    rows["dst_port"] = keys["port"][every, 1 - forward]
    rows["src_endpoint"] = values["endpoint"][every, forward]
    rows["dst_endpoint"] = values["endpoint"][every, 1 - forward]
    rows["protocol"] = keys["protocol"]
    for column in ("family", "initiator", "icmp_type", "icmp_code", "tunnel"):
        rows[column] = values[column]
    rows["flags_fwd"] = flags_seen(values, forward)
    rows["flags_rev"] = flags_seen(values, 1 - forward)
    for way, side in (("fwd", sent), ("rev", answered)):
        for column in ("bytes", "packets"):
            rows[f"{column}_{way}"] = side[column]
            rows[f"total_{column}_{way}"] = side[f"total_{column}"] + side[column]
    owner = np.where(sent["owner"] != 0, sent["owner"], answered["owner"])
    rows["ifindex"] = owner >> np.uint64(1)
    rows["hook"] = owner & np.uint64(1)

    over = closed(values) | ended
    announced = (values["marks"] & np.uint64(MARK_ANNOUNCED)) != 0
    left = (rows["packets_fwd"] != 0) | (rows["packets_rev"] != 0)
    late = chosen(rows, ~announced)
    late["reason"] = Reason.NEW
    late["is_reply"] = sent["packets"][~announced] == 0
    for column in ("bytes_fwd", "bytes_rev", "packets_fwd", "packets_rev"):
        rows[column][~announced] = 0
    rows["reason"] = np.where(over, int(Reason.END), int(Reason.ACTIVE))
    return joined([late, chosen(rows, over | (announced & left))])
