"""Network paths from a client to servers: a bridge, tunnels between two nodes, a router with NAT.

The capture runs in the client's node; the legs of a path state which connections it must show.
"""

import contextlib
import itertools
import os
import socket
import subprocess
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

import pytest

from tests.kernel.nat_net import PORT, Host, Router, add_namespace, join
from tests.kernel.nat_rules import SERVICE, SERVICE_PORT, Makes, ipvs, nftables
from tests.kernel.net import Cluster, Pod, inside, run

IPV4, IPV6 = socket.AF_INET, socket.AF_INET6
MTU = 1380  # of pods whose packets go through a tunnel
_numbers = itertools.count(1)

_TRACK = """
table inet track {
  chain out { type filter hook output priority 0; ct state new accept; }
  chain forward { type filter hook forward priority 0; ct state new accept; }
}
"""

# Nothing but timestamps in TCP headers after the SYN, and no probes
_PLAIN_TCP = ("tcp_sack=0", "tcp_dsack=0", "tcp_early_retrans=0")


@dataclass(frozen=True, slots=True)
class Device:
    """One direction of an interface's counters, as in /proc/net/dev."""

    namespace: str
    name: str
    way: str  # rx or tx

    def read(self) -> tuple[int, int]:
        """Packets and bytes."""
        with inside(self.namespace), open("/proc/thread-self/net/dev") as file:
            for line in file:
                name, _, numbers = line.partition(":")
                if name.strip() == self.name:
                    fields = [int(number) for number in numbers.split()]
                    at = 0 if self.way == "rx" else 8
                    return fields[at + 1], fields[at]
        raise LookupError(self.name)


@dataclass(frozen=True, slots=True)
class Leg:
    """One connection that flowd shows for each connection of the client.

    Attributes:
        dst: addresses of the responder.
        fwd, rev: device counters of each direction; those of several servers add up.
        outer_fwd, outer_rev: bytes of a packet there beyond an untagged Ethernet frame.
        encrypted: the counters' bytes are of encrypted packets.
    """

    name: str
    dst: frozenset[str]
    fwd: tuple[Device, ...]
    rev: tuple[Device, ...]
    outer_fwd: int = 0
    outer_rev: int = 0
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class Path:
    """A client, its servers, and the namespaces and interfaces to measure in."""

    name: str
    gso: bool
    client: Pod
    servers: tuple[Pod, ...]
    interfaces: tuple[str, ...]  # of the node to capture on
    legs: tuple[Leg, ...]
    tracked: str  # namespace whose conntrack tracks it
    families: tuple[socket.AddressFamily, ...] = (IPV4, IPV6)
    virtual: bool = False
    echoes: bool = True
    only: tuple[int, ...] = ()  # protocols, empty for all

    def target(self, family: socket.AddressFamily) -> tuple[str, int]:
        """Address that the client connects to."""
        if self.virtual:
            return SERVICE[family], SERVICE_PORT
        return self.servers[0].at(family), PORT


def _prepare(client: Pod, servers: tuple[Pod, ...], tracked: str) -> None:
    for pod in (client, *servers):
        settings = [f"net.ipv4.{setting}" for setting in _PLAIN_TCP]
        run("ip", "netns", "exec", pod.namespace, "sysctl", "-qw", *settings)
    run("ip", "netns", "exec", tracked, "nft", "-f", "-", stdin=_TRACK)
    acct = "net.netfilter.nf_conntrack_acct=1"
    run("ip", "netns", "exec", tracked, "sysctl", "-qw", acct)


@contextlib.contextmanager
def bridge(*, gso: bool) -> Generator[Path]:
    """Two pods on one bridge."""
    with Cluster(gso=gso) as cluster:
        client, server = cluster.add_pod(), cluster.add_pod()
        _prepare(client, (server,), client.namespace)
        leg = Leg(
            "",
            frozenset(server.at(family) for family in (IPV4, IPV6)),
            (Device(cluster.node, client.veth, "rx"),),
            (Device(cluster.node, server.veth, "rx"),),
        )
        names = ("br0", client.veth, server.veth)
        with cluster.inside():
            yield Path("bridge", gso, client, (server,), names, (leg,), client.namespace)


@contextlib.contextmanager
def sctp(*, gso: bool) -> Generator[Path]:
    """Two pods on one bridge that speak SCTP."""
    try:
        socket.socket(IPV4, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError:
        pytest.skip("this kernel has no SCTP")
    with bridge(gso=gso) as path:
        yield replace(path, name="bridge", only=(socket.IPPROTO_SCTP,))


@contextlib.contextmanager
def vlan(*, gso: bool) -> Generator[Path]:
    """Two pods on one bridge with VLAN devices, whose tags are in the frames."""
    with Cluster(gso=gso) as cluster:
        client, server = cluster.add_pod(), cluster.add_pod()
        for pod in (client, server):
            inside_pod = ("ip", "netns", "exec", pod.namespace)
            run(*inside_pod, "ethtool", "-K", "eth0", "txvlan", "off")
            tagged = ("type", "vlan", "id", "100")
            made = ("ip", "-n", pod.namespace, "link", "add", "link", "eth0", "name", "eth0.100")
            if subprocess.run([*made, *tagged], capture_output=True, check=False).returncode:
                pytest.skip("this kernel has no VLAN devices")
            run("ip", "-n", pod.namespace, "address", "flush", "dev", "eth0")
            for address in (f"{pod.address}/24", f"{pod.address6}/64"):
                nodad = ("nodad",) if ":" in address else ()
                add = ("address", "add", address, "dev", "eth0.100", *nodad)
                run("ip", "-n", pod.namespace, *add)
            run("ip", "-n", pod.namespace, "link", "set", "eth0.100", "up")
        for pod, other in ((client, server), (server, client)):
            for address in (other.address, other.address6):
                known = (address, "lladdr", other.mac, "dev", "eth0.100", "nud", "permanent")
                run("ip", "-n", pod.namespace, "neigh", "replace", *known)
        _prepare(client, (server,), client.namespace)
        leg = Leg(
            "",
            frozenset(server.at(family) for family in (IPV4, IPV6)),
            (Device(cluster.node, client.veth, "rx"),),
            (Device(cluster.node, server.veth, "rx"),),
            outer_fwd=4,
            outer_rev=4,
        )
        names = ("br0", client.veth, server.veth)
        with cluster.inside():
            yield Path("VLAN", gso, client, (server,), names, (leg,), client.namespace)


@contextlib.contextmanager
def routed(*, gso: bool, makes: Makes = nftables) -> Generator[Path]:
    """A Service whose router translates to its pods (DNAT), for one of them with SNAT too."""
    router = Router(f"acc{next(_numbers)}", gso=gso)
    with router.made(makes):
        client, pods = router.client, (router.one, router.two)
        _prepare(client, pods, router.node)
        legs = (
            Leg(
                "before NAT",
                frozenset(SERVICE.values()),
                (Device(router.node, client.veth, "rx"),),
                (Device(router.node, client.veth, "tx"),),
            ),
            Leg(
                "after NAT",
                frozenset(pod.at(family) for pod in pods for family in (IPV4, IPV6)),
                tuple(Device(router.node, pod.veth, "tx") for pod in pods),
                tuple(Device(router.node, pod.veth, "rx") for pod in pods),
            ),
        )
        names = tuple(pod.veth for pod in (client, *pods))
        name = "IPVS" if makes is ipvs else "routed"
        yield Path(
            *(name, gso, client, pods, names, legs, router.node),
            virtual=True,
            echoes=makes is not ipvs,  # IPVS answers them itself
        )


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A kind of tunnel between two nodes.

    Attributes:
        outer: bytes beyond an Ethernet frame where the other node's packets arrive.
        inner_device: the tunnel's own device counts them, since its outer packets are not readable.
    """

    name: str
    outer: int
    makes: Callable[[str, str, str], list[str]]
    families: tuple[socket.AddressFamily, ...] = (IPV4, IPV6)
    ethernet: bool = True
    inner_device: bool = False


def _udp_tunnel(kind: str, port: int) -> Callable[[str, str, str], list[str]]:
    def words(_namespace: str, local: str, remote: str) -> list[str]:
        ends = ["remote", remote, "dstport", str(port)]
        own = ["local", local] if kind == "vxlan" else []
        return ["type", kind, "id", "42", *own, *ends]

    return words


def _wireguard(_namespace: str, _local: str, _remote: str) -> list[str]:
    return ["type", "wireguard"]


VXLAN = Tunnel("VXLAN", 14 + 20 + 8 + 8, _udp_tunnel("vxlan", 4789))
GENEVE = Tunnel("Geneve", 14 + 20 + 8 + 8, _udp_tunnel("geneve", 6081))
IPIP = Tunnel(
    "IPIP",
    20,
    lambda _namespace, local, remote: ["type", "ipip", "local", local, "remote", remote],
    families=(IPV4,),
    ethernet=False,
)
WIREGUARD = Tunnel("wireguard", -14, _wireguard, ethernet=False, inner_device=True)


@contextlib.contextmanager
def tunnelled(tunnel: Tunnel, *, gso: bool) -> Generator[Path]:
    """Two nodes that route to each other's pod through a tunnel of that kind."""
    prefix = f"fnt{os.getpid()}-tun{next(_numbers)}"
    nodes = (f"{prefix}-a", f"{prefix}-b")
    pods = tuple(Host(f"{node}-pod", node, f"veth{n}", n) for n, node in enumerate(nodes, 1))
    client, server = pods
    with contextlib.ExitStack() as stack:
        for node in nodes:
            add_namespace(stack, node, forward=True)
        for pod in pods:
            add_namespace(stack, pod.namespace)
            join(pod, gso=gso, mtu=MTU)
        _underlay(nodes, gso=gso)
        _overlay(nodes, tunnel)
        for node, other in ((nodes[0], server), (nodes[1], client)):
            far = 2 if node == nodes[0] else 1
            for family, network, via in (
                (IPV4, f"10.{50 + other.number}.0.0/24", f"10.99.0.{far}"),
                (IPV6, f"fd00:{50 + other.number}::/64", f"fd00:99::{far}"),
            ):
                if family in tunnel.families:
                    onlink = ("onlink",) if tunnel.ethernet else ()
                    to = (network, "via", via) if tunnel.ethernet else (network,)
                    run("ip", "-n", node, "route", "add", *to, "dev", "over0", *onlink)
        _prepare(client, (server,), nodes[0])
        leg = Leg(
            "",
            frozenset(server.at(family) for family in (IPV4, IPV6)),
            (Device(nodes[0], client.veth, "rx"),),
            (Device(nodes[0], "over0" if tunnel.inner_device else "under0", "rx"),),
            outer_rev=tunnel.outer,
            encrypted=tunnel.inner_device,
        )
        names = (client.veth, "under0", "over0")
        with inside(nodes[0]):
            yield Path(
                *(tunnel.name, gso, client, (server,), names, (leg,), nodes[0]),
                families=tunnel.families,
            )


def _underlay(nodes: tuple[str, str], *, gso: bool) -> None:
    pair = ("type", "veth", "peer", "name", "under0", "netns", nodes[1])
    run("ip", "-n", nodes[0], "link", "add", "under0", *pair)
    for number, node in enumerate(nodes, 1):
        if not gso:
            off = ("tso", "off", "gso", "off", "gro", "off", "tx", "off")
            run("ip", "netns", "exec", node, "ethtool", "-K", "under0", *off)
        mac = f"02:00:00:00:02:{number:02x}"
        run("ip", "-n", node, "link", "set", "under0", "address", mac, "up")
        run("ip", "-n", node, "address", "add", f"10.98.0.{number}/24", "dev", "under0")
    for number, node in ((2, nodes[0]), (1, nodes[1])):
        known = ("lladdr", f"02:00:00:00:02:{number:02x}", "dev", "under0", "nud", "permanent")
        run("ip", "-n", node, "neigh", "replace", f"10.98.0.{number}", *known)


def _overlay(nodes: tuple[str, str], tunnel: Tunnel) -> None:
    keys = _keys(nodes, tunnel)
    for number, node in enumerate(nodes, 1):
        words = tunnel.makes(node, f"10.98.0.{number}", f"10.98.0.{3 - number}")
        add = ["ip", "-n", node, "link", "add", "over0", *words]
        if subprocess.run(add, capture_output=True, check=False).returncode:
            pytest.skip(f"this kernel has no {tunnel.name} devices")
        if tunnel.ethernet:
            mac = f"02:00:00:00:03:{number:02x}"
            run("ip", "-n", node, "link", "set", "over0", "address", mac)
    for number, node in enumerate(nodes, 1):
        if keys:
            private, public = keys[number - 1][0], keys[2 - number][1]
            peer = ("peer", public, "endpoint", f"10.98.0.{3 - number}:51820")
            own = ("listen-port", "51820", "private-key", "/proc/self/fd/0")
            allowed = ("allowed-ips", "0.0.0.0/0,::/0")
            inside_node = ("ip", "netns", "exec", node)
            run(*inside_node, "wg", "set", "over0", *own, *peer, *allowed, stdin=private)
        run("ip", "-n", node, "link", "set", "over0", "up")
        run("ip", "-n", node, "address", "add", f"10.99.0.{number}/24", "dev", "over0")
        if IPV6 in tunnel.families:
            there = ("dev", "over0", "nodad")
            run("ip", "-n", node, "address", "add", f"fd00:99::{number}/64", *there)
        for address in (f"10.99.0.{3 - number}", f"fd00:99::{3 - number}"):
            if tunnel.ethernet:
                mac = f"02:00:00:00:03:{3 - number:02x}"
                known = ("lladdr", mac, "dev", "over0", "nud", "permanent")
                run("ip", "-n", node, "neigh", "replace", address, *known)


def _keys(nodes: tuple[str, str], tunnel: Tunnel) -> list[tuple[str, str]]:
    """Private and public key of each node of an encrypting tunnel."""
    if not tunnel.inner_device:
        return []
    try:
        private = [run("wg", "genkey") for _ in nodes]
    except FileNotFoundError:
        pytest.skip("wireguard-tools is not installed")
    return [(key, run("wg", "pubkey", stdin=key).strip()) for key in private]
