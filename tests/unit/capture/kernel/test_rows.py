"""Connection rows from table entries and records, without a kernel."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.capture.kernel.rows import from_entries, from_events
from flowd.model.address import pack, unpack
from flowd.model.enums import Protocol, Reason
from flowd_bpf.layout import CONNECTION, EVENT, MARK_ANNOUNCED

FIN_ACK, ACK = 0x11, 0x10


def entries(count: int) -> NDArray[Any]:
    """Announced UDP connections that side 1 (10.0.0.2:5000) began to side 0 (10.0.0.1:53)."""
    values = np.zeros(count, CONNECTION)
    keys = values["key"]
    keys["addr"] = np.frombuffer(pack("10.0.0.1") + pack("10.0.0.2"), "u1").reshape(2, 16)
    keys["port"] = (53, 5000)
    keys["protocol"] = Protocol.UDP
    values["forward"] = 1
    values["marks"] = MARK_ANNOUNCED
    values["conn_id"] = np.arange(count) + 1
    values["endpoint"] = (10, 20)
    values["side"]["counting_if"] = (7 << 1 | 1, 9 << 1)
    values["side"]["packets"] = (1, 2)
    values["side"]["bytes"] = (100, 200)
    values["side"]["total_packets"] = (10, 20)
    values["side"]["total_bytes"] = (1000, 2000)
    return values


def test_rows_are_turned_to_the_initiator() -> None:
    values = entries(1)
    (row,) = from_entries(values, 0, 123, ended=True)
    assert (unpack(bytes(row["src_addr"])), int(row["src_port"])) == ("10.0.0.2", 5000)
    assert (unpack(bytes(row["dst_addr"])), int(row["dst_port"])) == ("10.0.0.1", 53)
    assert (row["src_endpoint"], row["dst_endpoint"]) == (20, 10)
    assert (row["packets_fwd"], row["packets_rev"]) == (2, 1)
    assert (row["total_bytes_fwd"], row["total_bytes_rev"]) == (2200, 1100)
    assert (row["ifindex"], row["hook"]) == (9, 0)
    assert (row["reason"], row["time_ns"]) == (Reason.END, 123)


def test_connection_that_was_never_announced_begins_before_it_ends() -> None:
    values = entries(2)
    values["marks"][1] = 0
    rows = from_entries(values, 0, 1, ended=True)
    mine = rows[rows["conn_id"] == 2]
    assert list(mine["reason"]) == [Reason.NEW, Reason.END]
    assert list(mine["bytes_fwd"]) == [200, 0]
    assert list(rows[rows["conn_id"] == 1]["reason"]) == [Reason.END]


def test_open_connections_are_active_if_there_is_news() -> None:
    values = entries(3)
    values["side"]["packets"][1] = 0
    values["marks"][2] |= FIN_ACK | FIN_ACK << 8
    values["key"]["protocol"][2] = Protocol.TCP
    rows = from_entries(values, 0, 1, ended=False)
    assert [(int(r["conn_id"]), Reason(r["reason"])) for r in rows] == [
        (1, Reason.ACTIVE),
        (3, Reason.END),
    ]
    assert (rows["flags_fwd"][1], rows["flags_rev"][1]) == (FIN_ACK, FIN_ACK)


def test_side_that_answered_alone_owns_the_row() -> None:
    values = entries(1)
    values["side"]["counting_if"][0, 1] = 0
    (row,) = from_entries(values, 0, 1, ended=True)
    assert (row["ifindex"], row["hook"]) == (7, 1)


def test_records_keep_every_column() -> None:
    events = np.zeros(1, EVENT)
    events["time_ns"], events["first_ns"] = 50, 40
    events["bytes"], events["packets"] = (1, 2), (3, 4)
    events["total_bytes"], events["total_packets"] = (5, 6), (7, 8)
    events["flags_seen"] = (ACK, FIN_ACK)
    events["reason"], events["src_port"], events["is_reply"] = Reason.FLAGS, 80, 1
    (row,) = from_events(events, 1000)
    assert (row["time_ns"], row["first_ns"]) == (1050, 1040)
    assert (row["bytes_fwd"], row["bytes_rev"]) == (1, 2)
    assert (row["packets_fwd"], row["packets_rev"]) == (3, 4)
    assert (row["total_bytes_fwd"], row["total_bytes_rev"]) == (5, 6)
    assert (row["total_packets_fwd"], row["total_packets_rev"]) == (7, 8)
    assert (row["flags_fwd"], row["flags_rev"]) == (ACK, FIN_ACK)
    assert (row["reason"], row["src_port"], row["is_reply"]) == (Reason.FLAGS, 80, 1)


def test_nothing_gives_no_rows() -> None:
    assert len(from_events(np.zeros(0, EVENT), 0)) == 0
    assert len(from_entries(entries(0), 0, 1, ended=True)) == 0
