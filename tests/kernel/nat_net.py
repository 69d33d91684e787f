"""A network with NAT: a client, a router that translates, and two pods behind it.

The Service is 10.96.0.1 and fd00:96::1, TCP and UDP port 80; port 80 of 203.0.113.10 and
2001:db8:10::1 is its load balancer, port 30080 of the node its NodePort. With nftables echo requests
to it go to the first pod. Connections to the second pod and all through load balancer and NodePort
come from the node's own address, as with kube-proxy's masquerade. The translating rules are in
tests/kernel/nat_rules.py.
"""

import contextlib
import os
import selectors
import socket
import subprocess
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass

from tests.kernel.nat_rules import LOAD_BALANCER, NODE_PORT, SERVICE, SERVICE_PORT, Makes, nftables
from tests.kernel.net import QUIET, Pod, inside, run

PORT = 8080


@dataclass(frozen=True, slots=True)
class Host(Pod):
    """A namespace on a network of its own, where the router has .1."""

    @property
    def address(self) -> str:
        return f"10.{50 + self.number}.0.2"

    @property
    def address6(self) -> str:
        return f"fd00:{50 + self.number}::2"

    def router(self, family: socket.AddressFamily) -> str:
        """The router's address on this network."""
        return self.at(family)[:-1] + "1"


def add_namespace(stack: contextlib.ExitStack, name: str, *, forward: bool = False) -> None:
    """Add a namespace that sends nothing on its own; the stack deletes it."""
    run("ip", "netns", "add", name)
    stack.callback(subprocess.run, ["ip", "netns", "del", name], capture_output=True)
    run("ip", "-n", name, "link", "set", "lo", "up")
    with inside(name):
        for path, value in (
            ("ipv6/conf/default/addr_gen_mode", "1"),
            ("ipv6/conf/default/accept_ra", "0"),
            ("ipv4/ping_group_range", "0 0"),
            ("ipv4/ip_forward", str(int(forward))),
            ("ipv6/conf/all/forwarding", str(int(forward))),
        ):
            with open(f"/proc/sys/net/{path}", "w") as file:
                file.write(value)
    run("ip", "netns", "exec", name, "nft", "-f", "-", stdin=QUIET)


def join(host: Host, *, gso: bool = False, mtu: int = 1500) -> None:
    """A veth between a host and the router of its node."""
    near = f"02:00:00:00:01:{host.number:02x}"
    pair = ["type", "veth", "peer", "name", "eth0", "netns", host.namespace]
    link = ["link", "add", host.veth, "address", near, *pair, "address", host.mac]
    run("ip", "-n", host.node, *link)
    for namespace, device in ((host.node, host.veth), (host.namespace, "eth0")):
        if not gso:
            off = ("tso", "off", "gso", "off", "gro", "off", "tx", "off")
            run("ip", "netns", "exec", namespace, "ethtool", "-K", device, *off)
        run("ip", "-n", namespace, "link", "set", device, "mtu", str(mtu), "up")
    for family, bits in ((socket.AF_INET, "24"), (socket.AF_INET6, "64")):
        mine, yours = host.at(family), host.router(family)
        nodad = ["nodad"] if family == socket.AF_INET6 else []
        for namespace, device, address, far, mac in (
            (host.namespace, "eth0", mine, yours, near),
            (host.node, host.veth, yours, mine, host.mac),
        ):
            words = ["address", "add", f"{address}/{bits}", "dev", device, *nodad]
            run("ip", "-n", namespace, *words)
            neighbour = [far, "lladdr", mac, "dev", device, "nud", "permanent"]
            run("ip", "-n", namespace, "neigh", "replace", *neighbour)
        run("ip", "-n", host.namespace, "route", "add", "default", "via", yours)


@dataclass(frozen=True, slots=True)
class Truth:
    """Addresses and ports of a connection at both ends, before and after translation."""

    before: tuple[str, int, str, int]
    after: tuple[str, int, str, int]


class Router:
    """The namespaces of the network; the context deletes them at exit.

    Args:
        gso: whether senders leave segmentation to the device, and receivers merge segments.
    """

    def __init__(self, name: str, *, gso: bool = False) -> None:
        self._gso = gso
        self.node = f"fnt{os.getpid()}-{name}"
        self.client, self.one, self.two = (
            Host(f"{self.node}-{number}", self.node, f"veth{number}", number)
            for number in (1, 2, 3)
        )

    @contextlib.contextmanager
    def made(self, makes: Makes = nftables) -> Generator["Router"]:
        """Create the network, with this thread in the router's namespace until the block ends."""
        with contextlib.ExitStack() as stack:
            add_namespace(stack, self.node, forward=True)
            for host in (self.client, self.one, self.two):
                add_namespace(stack, host.namespace)
                join(host, gso=self._gso)
            for family in SERVICE:
                pods = self.one.at(family), self.two.at(family)
                makes(self.node, family, self.client.router(family), pods)
            with inside(self.node):
                yield self

    def virtual(self, family: socket.AddressFamily) -> list[tuple[str, int]]:
        """ClusterIP, NodePort and load balancer of the Service."""
        node = self.client.router(family)
        service, balancer = SERVICE[family], LOAD_BALANCER[family]
        return [(service, SERVICE_PORT), (node, NODE_PORT), (balancer, SERVICE_PORT)]

    @contextlib.contextmanager
    def serving(self, family: socket.AddressFamily, kind: socket.SocketKind) -> Generator[None]:
        """Both pods answer each request with the addresses and ports of its connection."""
        over = threading.Event()
        with contextlib.ExitStack() as stack:
            threads: list[threading.Thread] = []
            for pod in (self.one, self.two):
                server = stack.enter_context(pod.socket(family, kind))
                server.bind((pod.at(family), PORT))
                if kind == socket.SOCK_STREAM:
                    server.listen(256)
                threads.append(threading.Thread(target=_serve, args=(server, over)))
            for thread in threads:
                thread.start()
            try:
                yield
            finally:
                over.set()
                for thread in threads:
                    thread.join()

    def ask(self, peer: socket.socket) -> Truth:
        """One exchange over a connected socket of the client."""
        peer.sendall(b"who?")
        theirs, their_port, mine, my_port = peer.recv(200).decode().split()
        here, to = peer.getsockname(), peer.getpeername()
        return Truth(
            (here[0], here[1], to[0], to[1]), (theirs, int(their_port), mine, int(my_port))
        )


def _serve(server: socket.socket, over: threading.Event) -> None:
    def answer(peer: tuple[str, int]) -> bytes:
        here = server.getsockname()
        return f"{peer[0]} {peer[1]} {here[0]} {here[1]}".encode()

    with selectors.DefaultSelector() as ready, contextlib.ExitStack() as stack:
        ready.register(server, selectors.EVENT_READ)
        while not over.is_set():
            for key, _ in ready.select(0.1):
                one = key.data or server
                if one is not server:
                    if not _reply(one, answer):
                        ready.unregister(one)
                        one.close()
                elif server.type == socket.SOCK_DGRAM:
                    _, peer = server.recvfrom(16)
                    server.sendto(answer(peer), peer)
                else:
                    accepted = stack.enter_context(server.accept()[0])
                    ready.register(accepted, selectors.EVENT_READ, accepted)


def _reply(peer: socket.socket, answer: Callable[[tuple[str, int]], bytes]) -> bool:
    """Answer one request of a peer; False when it has closed."""
    try:
        if not peer.recv(16):
            return False
        peer.sendall(answer(peer.getpeername()))
    except OSError:
        return False
    return True
