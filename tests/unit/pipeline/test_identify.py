"""identify(): endpoints by address, and Hubble's traffic direction."""

import numpy as np
import pytest

from flowd.model.enums import Direction, Hook
from flowd.pipeline.identify import identify
from tests.support.join_rows import KnownAddresses, connection

POD, OTHER_POD, REMOTE = "10.0.0.1", "10.0.0.2", "10.9.0.1"
TABLE = KnownAddresses(POD, OTHER_POD, REMOTE, local=(POD, OTHER_POD))


def test_unknown_endpoints_are_resolved_and_known_ones_kept() -> None:
    row = connection(1, f"{POD}:1", f"{REMOTE}:80", src_endpoint=2)
    found = identify(row, TABLE)
    assert found[["src_endpoint", "dst_endpoint"]].tolist() == [(2, 3)]
    assert row["dst_endpoint"].tolist() == [0], "the argument is not written to"
    stranger = identify(connection(1, "192.0.2.1:1", "192.0.2.2:80"), TABLE)
    assert stranger[["src_endpoint", "dst_endpoint"]].tolist() == [(0, 0)]


@pytest.mark.parametrize(
    ("src", "dst", "hook", "is_reply", "direction"),
    [
        (POD, REMOTE, Hook.INGRESS, 0, Direction.EGRESS),
        (POD, REMOTE, Hook.EGRESS, 1, Direction.EGRESS),
        (REMOTE, POD, Hook.EGRESS, 0, Direction.INGRESS),
        (REMOTE, POD, Hook.INGRESS, 1, Direction.INGRESS),
        (POD, OTHER_POD, Hook.INGRESS, 0, Direction.EGRESS),  # leaves the client's pod
        (POD, OTHER_POD, Hook.EGRESS, 0, Direction.INGRESS),  # enters the server's pod
        (POD, OTHER_POD, Hook.INGRESS, 1, Direction.INGRESS),  # answer leaves the server's pod
        (POD, OTHER_POD, Hook.EGRESS, 1, Direction.EGRESS),  # answer enters the client's pod
        (REMOTE, REMOTE, Hook.INGRESS, 0, Direction.UNKNOWN),
    ],
)
def test_direction_is_the_connections_at_the_local_endpoint(
    src: str, dst: str, hook: Hook, is_reply: int, direction: Direction
) -> None:
    row = connection(1, f"{src}:1", f"{dst}:80", hook=hook, is_reply=is_reply)
    assert identify(row, TABLE)["direction"].tolist() == [direction]


def test_no_rows() -> None:
    assert len(identify(np.zeros(0, connection(1, "1.1.1.1:1", "1.1.1.1:2").dtype), TABLE)) == 0
