"""The network of the nodes: a bridge in the first, a cable to each other one, no way to anywhere else."""

from tests.cluster.node.namespaces import Node

NOWHERE = "10.77.0.254"  # pods need a default route to reach Services; nobody has this address
SETTINGS = (
    "net.ipv4.ip_forward=1",
    "net.bridge.bridge-nf-call-iptables=1",
    "net.ipv6.conf.all.forwarding=1",
)

# What leaves the nodes' and pods' networks does so under its node's address, as in most clusters.
MASQUERADE = """
table ip pods-masquerade {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    ip saddr 10.244.0.0/16 ip daddr != { 10.244.0.0/16, 10.77.0.0/24, 10.96.0.0/16 } masquerade
  }
}
"""


def begin(first: Node) -> None:
    """Give the first node its address and the bridge to which the others come."""
    first.run("sh", "-eu", stdin=_begin("ip link add node0 type bridge", first))
    first.run("nft", "-f", "-", stdin=MASQUERADE)


def join(other: Node, before: list[Node]) -> None:
    """Lay a cable from a node to the first, and routes between its pods and those of the nodes before."""
    first, cable = before[0], f"to-{other.name}"
    pair = ["type", "veth", "peer", "name", "node0", "netns", str(other.pid())]
    first.run("ip", "link", "add", cable, *pair)
    first.run("ip", "link", "set", cable, "master", "node0", "up")
    other.run("sh", "-eu", stdin=_begin("", other))
    other.run("nft", "-f", "-", stdin=MASQUERADE)
    for node in before:
        node.run("ip", "route", "add", other.pods, "via", other.address, "dev", "node0")
        other.run("ip", "route", "add", node.pods, "via", node.address, "dev", "node0")


def _begin(link: str, node: Node) -> str:
    """A shell script that sets a node's uplink up; `link` makes it where it is not there."""
    lines = [
        "ip link set lo up",
        link,
        f"ip address add {node.address}/24 dev node0",
        "ip link set node0 up",
    ]
    lines += [f"ip route add default via {NOWHERE}"]
    lines += [f"sysctl -qw {setting} || echo cannot set {setting}" for setting in SETTINGS]
    return "\n".join([*lines, ""])
