"""Counts of gateway connections with and without an access-log entry."""

from typing import Any

import numpy as np

from flowd.model.enums import Nat
from flowd.model.losses import Losses
from flowd.model.records.connection import ConnectionBatch, empty_connections
from flowd.model.records.request import empty_requests
from flowd.pipeline.join.join import Join
from tests.support.join_rows import SECOND, T0, KnownAddresses, connection, ended, request

GATEWAY, OTHER, POD = "10.0.1.1:10080", "10.0.1.1:15021", "10.0.2.1:3000"
TALKED = {"flags_fwd": 0x1B, "flags_rev": 0x1B}  # SYN, ACK, PSH and FIN
NO_RECORDS, NO_ENTRIES = empty_connections(), empty_requests()


def over(number: int, dst: str = GATEWAY, **columns: Any) -> ConnectionBatch:
    """The records of a connection that lasts one second."""
    first = connection(number, f"10.0.0.9:{40000 + number}", dst, **(TALKED | columns))
    return np.concatenate([first, ended(first, 1)])


def counted(join: Join, *records: ConnectionBatch) -> tuple[int, int]:
    """(logged, unlogged) after all connections have expired."""
    join.step(np.concatenate([NO_RECORDS, *records]), NO_ENTRIES, T0 + 2 * SECOND)
    join.step(NO_RECORDS, NO_ENTRIES, T0 + 40 * SECOND)
    return join.table.logged, join.table.unlogged


def entry(number: int, at: float = 0.1) -> np.ndarray[Any, Any]:
    return request(f"10.0.0.9:{40000 + number}", GATEWAY, "10.0.1.1:50000", POD, at)


def test_what_no_entry_tells_of_is_counted_when_it_is_forgotten() -> None:
    join = Join(KnownAddresses(), Losses())
    join.step(over(1), entry(1), T0 + SECOND)
    assert counted(join, over(2), over(3)) == (1, 2)


def test_an_entry_that_comes_late_is_not_missed() -> None:
    join = Join(KnownAddresses(), Losses())
    join.step(over(1), entry(1), T0 + SECOND)
    join.step(over(2), NO_ENTRIES, T0 + 2 * SECOND)
    join.step(NO_RECORDS, entry(2), T0 + 11 * SECOND)
    assert counted(join) == (2, 0)


def test_only_what_a_log_should_tell_of_counts() -> None:
    join = Join(KnownAddresses(), Losses())
    join.step(over(1), entry(1), T0 + SECOND)
    probe = over(2, flags_fwd=0x13, flags_rev=0x12)
    unanswered = over(3, flags_rev=0x12)
    upstream = over(4, POD)
    health = over(5, OTHER)
    still_open = connection(6, "10.0.0.9:40006", GATEWAY, **TALKED)
    assert counted(join, probe, unanswered, upstream, health, still_open) == (1, 0)


def test_nothing_counts_before_a_listener_has_logged() -> None:
    join = Join(KnownAddresses(), Losses())
    assert counted(join, over(1), over(2)) == (0, 0)


def test_connection_seen_from_its_reply_makes_no_listener_of_its_client() -> None:
    join = Join(KnownAddresses(), Losses())
    backwards = connection(1, GATEWAY, "10.0.0.9:40001", **TALKED)
    join.step(backwards, entry(1), T0 + SECOND)
    assert counted(join, over(2, "10.0.0.9:40001"), over(3)) == (0, 0)


def test_service_address_before_the_gateway_is_a_listener_too() -> None:
    join = Join(KnownAddresses(), Losses())
    nat = {"nat": Nat.BEFORE, "nat_dst_port": 10080}
    rows = [over(number, "10.96.0.1:80", **nat) for number in (1, 2)]
    for number, row in enumerate(rows, 1):
        row["nat_src_addr"], row["nat_src_port"] = row["src_addr"], 40000 + number
        row["nat_dst_addr"] = request("", GATEWAY)["local_addr"]
    join.step(rows[0], entry(1), T0 + SECOND)
    assert counted(join, rows[1]) == (1, 1)
