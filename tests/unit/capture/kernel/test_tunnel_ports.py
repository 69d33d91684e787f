"""Tunnel ports of the setting as macros of the programs."""

import pytest

from flowd.capture.kernel.tunnels import port_settings
from flowd.errors import UsageError


def test_ports_are_numbered_with_their_kind() -> None:
    settings = port_settings(("geneve:6081", "vxlan:65535"))
    assert settings == {"TUNNEL_0": 0x217C1, "TUNNEL_1": 0x1FFFF, "TUNNEL_2": 0, "TUNNEL_3": 0}


@pytest.mark.parametrize(
    "text", ["", "4789", "gre:1", "vxlan:", "vxlan:0", "vxlan:65536", "vxlan:-1", "vxlan:4_7"]
)
def test_port_that_cannot_be(text: str) -> None:
    with pytest.raises(UsageError, match="tunnel port"):
        port_settings((text,))


def test_more_ports_than_there_is_room_for() -> None:
    with pytest.raises(UsageError, match="5 tunnel ports"):
        port_settings(tuple(f"vxlan:{port}" for port in range(1, 6)))
