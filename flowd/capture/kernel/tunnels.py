"""Tunnels (VXLAN, Geneve, IPIP): ports as macros of the programs, and ids in rows as names."""

from collections.abc import Mapping, Sequence

import numpy as np

from flowd.errors import UsageError
from flowd.model.address import unpack
from flowd.model.directory import Directory
from flowd.model.process import Tunnel
from flowd.model.records.connection import ConnectionBatch
from flowd_bpf.layout import TUNNEL, TunnelKind
from flowd_bpf.maps.maps import HashMap

PORTS = 4
"""Most tunnel ports that the programs recognize."""

UNNAMED = 1  # TUNNEL_UNNAMED of event.h

_NAMES = {TunnelKind.VXLAN: "vxlan", TunnelKind.GENEVE: "geneve", TunnelKind.IP: "ipip"}
_KINDS = {"vxlan": TunnelKind.VXLAN, "geneve": TunnelKind.GENEVE}


def port_settings(ports: Sequence[str]) -> Mapping[str, int]:
    """The macros TUNNEL_0 to TUNNEL_3 of config.h for ports such as `vxlan:4789`.

    Raises:
        UsageError: an invalid port or protocol, or more than PORTS ports.
    """
    if len(ports) > PORTS:
        raise UsageError(f"{len(ports)} tunnel ports", f"there can be {PORTS} at most")
    settings = dict.fromkeys((f"TUNNEL_{number}" for number in range(PORTS)), 0)
    for name, text in zip(settings, ports, strict=False):
        protocol, _, port = text.partition(":")
        if protocol not in _KINDS or not (port.isascii() and port.isdecimal()):
            raise UsageError(f"tunnel port {text!r}", "write vxlan:PORT or geneve:PORT")
        if not 0 < int(port) < 65536:
            raise UsageError(f"tunnel port {text!r}", "a port is 1 to 65535")
        settings[name] = _KINDS[protocol] << 16 | int(port)
    return settings


class TunnelNames:
    """Resolves the kernel's tunnel ids to indexes into Directory.tunnels.

    An id keeps its tunnel for the lifetime of the map flowd_tunnels, so each id is looked up once,
    and the cache is bounded by the size of the map.
    """

    def __init__(self, directory: Directory, fd: int) -> None:
        self._directory = directory
        self._map = HashMap(fd, np.dtype("u4"), TUNNEL)
        self._indexes: dict[int, int] = {0: 0, UNNAMED: 0}

    def resolve(self, rows: ConnectionBatch) -> ConnectionBatch:
        """Replace the ids in the column `tunnel` by indexes, in place; returns the same rows.

        Raises:
            BpfError: the kernel refuses a map operation.
        """
        column = rows["tunnel"]
        tunnelled = np.flatnonzero(column)
        if not len(tunnelled):
            return rows
        ids, inverse = np.unique(column[tunnelled], return_inverse=True)
        self._look_up(np.array([i for i in ids.tolist() if i not in self._indexes], "u4"))
        column[tunnelled] = np.array([self._indexes.get(i, 0) for i in ids.tolist()], "u4")[inverse]
        return rows

    def _look_up(self, ids: "np.ndarray[tuple[int], np.dtype[np.uint32]]") -> None:
        found, tunnels = self._map.get(ids)
        for number, tunnel in zip(found.tolist(), tunnels, strict=True):
            kind = TunnelKind(int(tunnel["kind"]))
            self._indexes[number] = self._directory.tunnels.index(
                Tunnel(
                    _NAMES[kind],
                    unpack(tunnel["src"].tobytes()),
                    unpack(tunnel["dst"].tobytes()),
                    int(tunnel["vni"]),
                )
            )
