"""A pod behind a slow link: frames between its veth and the bridge are delayed.

Like `tc netem delay`, for kernels without netem: a thread forwards every frame from one interface
to the other after a fixed time.
"""

import contextlib
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Generator

from tests.kernel.net import Cluster, Pod, run

_ETH_P_ALL = 3
_OUTGOING = 4  # PACKET_OUTGOING, sll_pkttype of sockaddr_ll
_FRAME = 65536


@contextlib.contextmanager
def slow_link(cluster: Cluster, pod: Pod, seconds: float) -> Generator[None]:
    """Delay every frame from and to the pod by `seconds` until the block ends."""
    ip = ["ip", "-n", cluster.node, "link"]
    near, far = f"slow{pod.number}", f"wols{pod.number}"
    run(*ip, "add", near, "type", "veth", "peer", "name", far)
    for name in (near, far):
        off = ("tso", "off", "gso", "off", "gro", "off", "tx", "off")
        run("ip", "netns", "exec", cluster.node, "ethtool", "-K", name, *off)
        run(*ip, "set", name, "up")
    run(*ip, "set", pod.veth, "nomaster")
    run(*ip, "set", near, "master", "br0")
    ends: list[socket.socket] = []
    stop, stopped = os.pipe()
    try:
        for name in (pod.veth, far):
            with cluster.inside():
                made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
            ends.append(made)
            made.bind((name, _ETH_P_ALL))
        carrying = threading.Thread(target=_carry, args=(ends, seconds, stop))
        carrying.start()
        try:
            yield
        finally:
            os.write(stopped, b".")
            carrying.join()
    finally:
        for made in ends:
            made.close()
        os.close(stop)
        os.close(stopped)
        run(*ip, "del", near)
        run(*ip, "set", pod.veth, "master", "br0")


def _carry(ends: list[socket.socket], seconds: float, stop: int) -> None:
    waiting: deque[tuple[float, socket.socket, bytes]] = deque()
    other = {ends[0].fileno(): ends[1], ends[1].fileno(): ends[0]}
    own = {end.fileno(): end for end in ends}
    while True:
        due = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select([*own, stop], [], [], due)
        if stop in ready:
            return
        for fd in ready:
            frame, where = own[fd].recvfrom(_FRAME)
            if where[2] != _OUTGOING:
                waiting.append((time.monotonic() + seconds, other[fd], frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, end, frame = waiting.popleft()
            end.send(frame)
