"""Tunnels by name: ports to the kernel programs' settings, and ids in rows to the directory."""

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
"""How many ports the programs compare a datagram's with."""

UNNAMED = 1  # TUNNEL_UNNAMED of event.h

_NAMES = {TunnelKind.VXLAN: "vxlan", TunnelKind.GENEVE: "geneve", TunnelKind.IP: "ipip"}
_KINDS = {"vxlan": TunnelKind.VXLAN, "geneve": TunnelKind.GENEVE}


def port_settings(ports: Sequence[str]) -> Mapping[str, int]:
    """TUNNEL_0 and its like of config.h, for ports as in `vxlan:4789`.

    Raises:
        UsageError: a port or protocol that cannot be, or more than PORTS of them.
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
    """From the kernel's tunnel ids to indexes into Directory.tunnels.

    An id keeps its tunnel for as long as the map flowd_tunnels lives, so each is looked up once and
    there are never more than the map has room for.
    """

    def __init__(self, directory: Directory, fd: int) -> None:
        self._directory = directory
        self._map = HashMap(fd, np.dtype("u4"), TUNNEL)
        self._indexes: dict[int, int] = {0: 0, UNNAMED: 0}

    def resolve(self, rows: ConnectionBatch) -> ConnectionBatch:
        """The same rows, their column `tunnel` changed from ids to indexes in place.

        Raises:
            BpfError: the kernel refused it.
        """
        column = rows["tunnel"]
        held = np.flatnonzero(column)
        if not len(held):
            return rows
        ids, which = np.unique(column[held], return_inverse=True)
        self._learn(np.array([i for i in ids.tolist() if i not in self._indexes], "u4"))
        column[held] = np.array([self._indexes.get(i, 0) for i in ids.tolist()], "u4")[which]
        return rows

    def _learn(self, ids: "np.ndarray[tuple[int], np.dtype[np.uint32]]") -> None:
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
