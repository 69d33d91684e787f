"""Network namespaces of the pods, joined by veth pairs to one bridge (ip-netns(8), veth(4))."""

import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from demo.cluster.errors import NetworkError
from demo.cluster.topology import PODS, DemoPod, Topology

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
NETNS = Path("/run/netns")


def create(topology: Topology, directory: Path) -> None:
    """Create bridge, namespaces and addresses; the bridge's alias names the demo's directory.

    Raises:
        NetworkError: user or kernel do not allow it; nothing is left behind.
    """
    bridge = topology.bridge
    try:
        _ip(
            [
                f"link add {bridge} type bridge",
                f"addr add {topology.host_address}/24 dev {bridge}",
                f"addr add {topology.host_address6}/64 dev {bridge} nodad",
                f"link set {bridge} up",
            ]
        )
        _run(["ip", "link", "set", bridge, "alias", alias(directory)])
        _ip([f"netns add {topology.netns(pod)}" for pod in PODS])
        for pod in PODS:
            peer = f"peer name eth0 netns {topology.netns(pod)}"
            _ip(
                [
                    f"link add {topology.link(pod)} type veth {peer}",
                    f"link set {topology.link(pod)} master {bridge} up",
                ]
            )
            _ip(
                [
                    "link set lo up",
                    f"addr add {topology.address(pod)}/24 dev eth0",
                    f"addr add {topology.addresses(pod)[1]}/64 dev eth0 nodad",
                    "link set eth0 up",
                ],
                topology.netns(pod),
            )
    except BaseException:
        delete(topology)
        raise


def delete(topology: Topology) -> None:
    """Remove everything that create() made; missing parts are skipped."""
    for pod in PODS:
        if (NETNS / topology.netns(pod)).exists():
            _run(["ip", "netns", "del", topology.netns(pod)])
        if link_exists(topology.link(pod)):
            _run(["ip", "link", "del", topology.link(pod)], check=False)
    if link_exists(topology.bridge):
        _run(["ip", "link", "del", topology.bridge], check=False)


def link_exists(name: str) -> bool:
    return Path("/sys/class/net", name).exists()


def alias(directory: Path) -> str:
    """Alias of the bridge for a demo's directory: its last 255 bytes, the kernel's limit."""
    return os.fsencode(directory)[-255:].decode("utf-8", "replace")


def owner(topology: Topology) -> str | None:
    """Alias of the directory that owns an instance's bridge; None without a bridge."""
    try:
        return Path("/sys/class/net", topology.bridge, "ifalias").read_text().strip()
    except OSError:
        return None


def inside(topology: Topology, pod: DemoPod, work: Callable[[], T]) -> T:
    """Call `work` in the pod's network namespace, in a new thread; returns its result.

    Sockets that `work` creates stay in that namespace. Exceptions of `work` are raised again.
    """

    def body() -> T:
        enter(topology, pod)
        return work()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(body).result()


def enter(topology: Topology, pod: DemoPod) -> None:
    """Move the calling thread into the pod's network namespace (setns(2)); no-op with loopback."""
    if topology.loopback:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(NETNS / topology.netns(pod), os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {topology.netns(pod)}")
    finally:
        os.close(descriptor)


def listen(topology: Topology, pod: DemoPod, port: int) -> socket.socket:
    """A listening socket of the pod, dual-stack, or on its loopback address."""
    if topology.loopback:
        return socket.create_server((topology.address(pod), port), backlog=256)
    return inside(topology, pod, lambda: _dual_stack(port))


def _dual_stack(port: int) -> socket.socket:
    server = socket.socket(socket.AF_INET6)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(("::", port))
    server.listen(256)
    return server


def command(topology: Topology, pod: DemoPod, arguments: list[str]) -> list[str]:
    """Command line that runs in the pod's namespace; ip(8) uses exec, so it keeps the pid."""
    if topology.loopback:
        return arguments
    return ["ip", "netns", "exec", topology.netns(pod), *arguments]


def _ip(lines: list[str], netns: str | None = None) -> None:
    options = ["-n", netns] if netns else []
    _run(["ip", *options, "-batch", "-"], "\n".join(lines))


def _run(arguments: list[str], text: str = "", check: bool = True) -> None:
    if not shutil.which(arguments[0]):
        raise NetworkError(f"{arguments[0]} is not installed", "apt-get install iproute2")
    done = subprocess.run(arguments, input=text, capture_output=True, text=True, check=False)
    if check and done.returncode:
        reason = done.stderr.strip().splitlines()
        raise NetworkError(f"{' '.join(arguments[:3])}: {reason[0] if reason else done.returncode}")
