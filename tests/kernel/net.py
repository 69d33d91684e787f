"""Pods without Kubernetes: namespaces joined by veth to a bridge in a node namespace.

The wires carry only the traffic of the test: addresses are static, neighbours permanent, IPv6 has
no router solicitations, and multicast reports are dropped before they leave a pod.
"""

import contextlib
import ctypes
import itertools
import os
import socket
import subprocess
from collections.abc import Generator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)

QUIET = """
table ip6 quiet {
  chain out {
    type filter hook output priority 0;
    icmpv6 type { mld-listener-report, mld2-listener-report, nd-router-solicit } drop
  }
}
"""


def run(*words: str, stdin: str = "") -> str:
    """Run a command and return its output; a failure raises with its stderr."""
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


@contextlib.contextmanager
def inside(namespace: str) -> Generator[None]:
    """Move this thread into a network namespace until the block ends; its sockets stay there."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(there)
        yield
    finally:
        _enter(before)
        os.close(there)
        os.close(before)


def _enter(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@dataclass(frozen=True, slots=True)
class Counts:
    """Counters of an interface, as in /proc/net/dev."""

    rx_bytes: int
    rx_packets: int
    tx_bytes: int
    tx_packets: int

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(
            self.rx_bytes - other.rx_bytes,
            self.rx_packets - other.rx_packets,
            self.tx_bytes - other.tx_bytes,
            self.tx_packets - other.tx_packets,
        )


@dataclass(frozen=True, slots=True)
class Pod:
    """A namespace with eth0 in it; `veth` is the other end, a port of the node's bridge."""

    namespace: str
    node: str
    veth: str
    number: int

    @property
    def address(self) -> str:
        return f"10.244.0.{self.number}"

    @property
    def address6(self) -> str:
        return f"fd00:244::{self.number:x}"

    @property
    def mac(self) -> str:
        return f"02:00:00:00:00:{self.number:02x}"

    def at(self, family: socket.AddressFamily) -> str:
        """The pod's address of a family."""
        return self.address if family == socket.AF_INET else self.address6

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket in the pod, with a time limit on every call."""
        with inside(self.namespace):
            made = socket.socket(family, kind, protocol)
        made.settimeout(20)
        return made

    def counts(self) -> Counts:
        """Counters of the host-side veth: rx is what the pod sent."""
        with inside(self.node), open("/proc/thread-self/net/dev") as file:
            for line in file:
                name, _, numbers = line.partition(":")
                if name.strip() == self.veth:
                    fields = [int(number) for number in numbers.split()]
                    return Counts(fields[0], fields[1], fields[8], fields[9])
        raise LookupError(self.veth)


class Cluster:
    """A node namespace with a bridge, and the pods on it; the context deletes them at exit.

    Args:
        gso: whether senders leave segmentation to the device, and receivers merge segments.
    """

    def __init__(self, *, gso: bool = False) -> None:
        self.prefix = f"fbpf{os.getpid()}-{next(_numbers)}"
        self.node = f"{self.prefix}-node"
        self.pods: list[Pod] = []
        self._gso = gso
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._add_namespace(stack, self.node)
            self._ip(self.node, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
            self._ip(self.node, "link", "set", "br0", "up")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def inside(self) -> contextlib.AbstractContextManager[None]:
        """Move this thread into the node's namespace until the block ends."""
        return inside(self.node)

    def add_pod(self, number: int = 0) -> Pod:
        """Add a pod that all others have as neighbour; `number` gives its addresses, 0 the next."""
        number = number or len(self.pods) + 1
        pod = Pod(f"{self.prefix}-pod{next(_numbers)}", self.node, f"veth{number}", number)
        self._add_namespace(self._stack, pod.namespace)
        peer = ["peer", "name", "eth0", "netns", pod.namespace, "address", pod.mac]
        self._ip(self.node, "link", "add", pod.veth, "type", "veth", *peer)
        features = () if self._gso else ("tso", "off", "gso", "off", "gro", "off", "tx", "off")
        if features:
            run("ip", "netns", "exec", self.node, "ethtool", "-K", pod.veth, *features)
            run("ip", "netns", "exec", pod.namespace, "ethtool", "-K", "eth0", *features)
        self._ip(self.node, "link", "set", pod.veth, "master", "br0", "up")
        run("ip", "netns", "exec", pod.namespace, "nft", "-f", "-", stdin=QUIET)
        self._ip(pod.namespace, "address", "add", f"{pod.address}/24", "dev", "eth0")
        self._ip(pod.namespace, "address", "add", f"{pod.address6}/64", "dev", "eth0", "nodad")
        self._ip(pod.namespace, "link", "set", "eth0", "up")
        for other in self.pods:
            self._introduce(pod, other)
            self._introduce(other, pod)
        self.pods.append(pod)
        return pod

    def remove_pod(self, pod: Pod) -> None:
        """Delete a pod and with it its veth."""
        self.pods.remove(pod)
        run("ip", "netns", "del", pod.namespace)
        with contextlib.suppress(AssertionError):  # the kernel removes it soon, or has
            self._ip(self.node, "link", "del", pod.veth)

    def _introduce(self, pod: Pod, other: Pod) -> None:
        for address in (other.address, other.address6):
            neighbour = [address, "lladdr", other.mac, "dev", "eth0", "nud", "permanent"]
            self._ip(pod.namespace, "neigh", "replace", *neighbour)

    def _add_namespace(self, stack: contextlib.ExitStack, name: str) -> None:
        run("ip", "netns", "add", name)
        stack.callback(subprocess.run, ["ip", "netns", "del", name], capture_output=True)
        self._ip(name, "link", "set", "lo", "up")
        with inside(name):
            for path, value in (
                ("ipv6/conf/default/addr_gen_mode", "1"),
                ("ipv6/conf/default/accept_ra", "0"),
                ("ipv6/conf/default/disable_ipv6", "1" if name == self.node else "0"),
                ("ipv4/ping_group_range", "0 0"),
            ):
                with open(f"/proc/sys/net/{path}", "w") as file:
                    file.write(value)

    def _ip(self, namespace: str, *words: str) -> None:
        run("ip", "-n", namespace, *words)
