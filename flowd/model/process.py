"""Processes and tunnels, as far as a flow needs them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Process:
    """What owns a socket; the pid is in a column of its own, so that these stay few.

    Attributes:
        command: the thread's name when it made the socket (15 bytes at most, `comm` of proc(5)).
        container_id: from the path of its cgroup, "" outside a container.
        pod_uid: from the path of its cgroup, "" outside a pod.
        cgroup: number of its cgroup (inode in the cgroup2 file system), 0 when not known.
    """

    command: str = ""
    container_id: str = ""
    pod_uid: str = ""
    cgroup: int = 0


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The outer packet of an encapsulated connection, in the direction of its first packet.

    Attributes:
        protocol: `vxlan`, `geneve` or `ipip`; "" for none.
        src, dst: textual outer addresses.
        vni: virtual network identifier; 0 for protocols without one.
    """

    protocol: str = ""
    src: str = ""
    dst: str = ""
    vni: int = 0


NO_PROCESS = Process()
NO_TUNNEL = Tunnel()
