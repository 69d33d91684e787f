"""Process (owner of a socket) and Tunnel (outer packet of a connection), values of registries."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Process:
    """The owner of a socket; its pid is a column of its own, which keeps distinct values few.

    Attributes:
        command: name of the thread that created the socket (`comm` of proc(5), at most 15 bytes).
        container_id: from the path of its cgroup, "" outside a container.
        pod_uid: from the path of its cgroup, "" outside a pod.
        cgroup: its cgroup id (inode in the cgroup2 file system), 0 when not known.
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
