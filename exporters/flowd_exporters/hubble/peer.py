"""peer.Peer: tells a relay which nodes there are.

The nodes are those of the cluster's Node objects, each at the port that this one listens on; with
none known it is this node alone.
"""

from collections.abc import AsyncIterator, Callable, Mapping

from flowd.model.directory import Directory
from flowd.wire.peer import peer_pb2 as wire
from flowd_exporters.h2grpc.service import Context, Services, stream
from flowd_exporters.hubble.changes import Changes
from flowd_exporters.hubble.encode.flow_to_protobuf import node_in_cluster

SERVICE = "peer.Peer"
PORT = "4244"


class Peers:
    """The nodes that are known.

    Attributes:
        nodes: a textual address by name.
        changes: told when `nodes` is another.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, str] = {}
        self.changes = Changes()

    def update(self, nodes: Mapping[str, str]) -> None:
        """Make these the nodes that are known."""
        if nodes != self.nodes:
            self.nodes = dict(nodes)
            self.changes.tell()

    def close(self) -> None:
        """Nothing will change any more."""
        self.changes.close()


class Peer:
    """Answers Notify: every node, then what changes for as long as the agent runs.

    Args:
        address: where other nodes reach this one.
        tls: whether nodes must be spoken to with TLS.
    """

    def __init__(
        self, peers: Peers, directory: Directory, address: Callable[[], str], *, tls: bool = False
    ) -> None:
        self._peers = peers
        self._directory = directory
        self._address = address
        self._tls = tls

    def add_to(self, services: Services) -> None:
        """Register the service."""
        services.add(SERVICE, {"Notify": stream(self.notify, wire.NotifyRequest)})

    async def notify(
        self, request: wire.NotifyRequest, context: Context
    ) -> AsyncIterator[wire.ChangeNotification]:
        """PEER_ADDED for every node, then changes; a node that is gone first."""
        told: dict[str, str] = {}
        more = True
        while more:
            seen = self._peers.changes.count
            nodes = self._nodes()
            for name in sorted(told.keys() - nodes.keys()):
                yield self._change(name, told[name], wire.PEER_DELETED)
            for name in sorted(nodes):
                if name not in told:
                    yield self._change(name, nodes[name], wire.PEER_ADDED)
                elif nodes[name] != told[name]:
                    yield self._change(name, nodes[name], wire.PEER_UPDATED)
            told = nodes
            more = await self._peers.changes.after(seen)

    def _nodes(self) -> dict[str, str]:
        """`address:port` by name."""
        own = self._address()
        port = own.rpartition(":")[2]
        port = port if port.isdecimal() else PORT
        known = self._peers.nodes
        nodes = {
            name: f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}" for name, ip in known.items()
        }
        return (
            nodes
            if self._directory.node_name in nodes
            else nodes | {self._directory.node_name: own}
        )

    def _change(
        self, name: str, address: str, kind: wire.ChangeNotificationType
    ) -> wire.ChangeNotification:
        tls = wire.TLS(server_name=tls_server_name(self._directory, name)) if self._tls else None
        return wire.ChangeNotification(
            name=node_in_cluster(self._directory, name), address=address, type=kind, tls=tls
        )


def tls_server_name(directory: Directory, node: str = "") -> str:
    """The name that clients of a node look for in its certificate, in Cilium's form."""
    cluster = directory.cluster_name or "default"
    node, cluster = (name.replace(".", "-") for name in (node or directory.node_name, cluster))
    return f"{node}.{cluster}.hubble-grpc.cilium.io"
