"""All measured paths by name."""

import contextlib
from collections.abc import Callable
from functools import partial

from tests.kernel.nat_rules import ipvs
from tests.kernel.paths import (
    GENEVE,
    IPIP,
    VXLAN,
    WIREGUARD,
    Path,
    bridge,
    routed,
    sctp,
    tunnelled,
    vlan,
)

Makes = Callable[..., contextlib.AbstractContextManager[Path]]

USUAL: dict[str, Makes] = {
    "bridge": bridge,
    "VXLAN": partial(tunnelled, VXLAN),
    "routed": routed,
}

SELDOM: dict[str, Makes] = {
    "VLAN": vlan,
    "Geneve": partial(tunnelled, GENEVE),
    "IPIP": partial(tunnelled, IPIP),
    "wireguard": partial(tunnelled, WIREGUARD),
    "SCTP": sctp,
    "IPVS": partial(routed, makes=ipvs),
}
"""Paths whose kernel features not every kernel has; their tests are skipped without these."""
