"""Pods as network namespaces joined by veth to one bridge (ip-netns(8), veth(4))."""

import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from demo.errors import NetworkError
from demo.topology import PODS, Pod, Topology

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
NETNS = Path("/run/netns")


def create(topology: Topology, directory: Path) -> None:
    """Make bridge, namespaces and addresses; the bridge's alias says whose they are.

    Raises:
        NetworkError: this user or kernel may not; nothing is left behind then.
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
    """Remove everything that create() made; what is not there is skipped."""
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
    """How a bridge names the demo's directory; the kernel keeps 255 bytes."""
    return os.fsencode(directory)[-255:].decode("utf-8", "replace")


def owner(topology: Topology) -> str | None:
    """Alias of the directory whose bridge this is; None when there is no bridge."""
    try:
        return Path("/sys/class/net", topology.bridge, "ifalias").read_text().strip()
    except OSError:
        return None


def inside(topology: Topology, pod: Pod, work: Callable[[], T]) -> T:
    """Run work in the pod's network namespace, in a thread that then ends.

    Sockets made by work stay in that namespace. Raises what work raises.
    """

    def body() -> T:
        enter(topology, pod)
        return work()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(body).result()


def enter(topology: Topology, pod: Pod) -> None:
    """Move the calling thread into the pod's network namespace (setns(2)); loopback: nothing."""
    if topology.loopback:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(NETNS / topology.netns(pod), os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {topology.netns(pod)}")
    finally:
        os.close(descriptor)


def listen(topology: Topology, pod: Pod, port: int) -> socket.socket:
    """A listening socket of the pod: dual-stack, or its loopback address."""
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


def command(topology: Topology, pod: Pod, arguments: list[str]) -> list[str]:
    """The arguments, run in the pod's namespace; ip(8) executes in place, so the pid is the same."""
    if topology.loopback:
        return arguments
    return ["ip", "netns", "exec", topology.netns(pod), *arguments]


def _ip(lines: list[str], netns: str | None = None) -> None:
    where = ["-n", netns] if netns else []
    _run(["ip", *where, "-batch", "-"], "\n".join(lines))


def _run(arguments: list[str], text: str = "", check: bool = True) -> None:
    if not shutil.which(arguments[0]):
        raise NetworkError(f"{arguments[0]} is not installed", "apt-get install iproute2")
    done = subprocess.run(arguments, input=text, capture_output=True, text=True, check=False)
    if check and done.returncode:
        reason = done.stderr.strip().splitlines()
        raise NetworkError(f"{' '.join(arguments[:3])}: {reason[0] if reason else done.returncode}")
