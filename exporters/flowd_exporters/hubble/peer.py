"""PeerService: peer.Peer, which reports the cluster's nodes to a hubble-relay.

The nodes are those of the cluster's Node objects, each with the port of this node's server; without
Node objects the only peer is this node.
"""

from collections.abc import AsyncIterator, Callable, Mapping

from flowd.model.directory import Directory
from flowd.wire.peer import peer_pb2 as wire
from flowd_exporters.h2grpc.service import Context, ServiceTable, unary_stream
from flowd_exporters.hubble.changes import ChangeNotifier
from flowd_exporters.hubble.encode.flow_to_protobuf import node_in_cluster

SERVICE = "peer.Peer"
DEFAULT_PORT = "4244"


class PeerNodes:
    """The cluster's nodes.

    Attributes:
        nodes: textual address by name.
        changes: notified when `nodes` was replaced.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, str] = {}
        self.changes = ChangeNotifier()

    def update(self, nodes: Mapping[str, str]) -> None:
        """Replace the nodes."""
        if nodes != self.nodes:
            self.nodes = dict(nodes)
            self.changes.notify()

    def close(self) -> None:
        """End the streams of Notify."""
        self.changes.close()


class PeerService:
    """Serves Notify: every node, then changes for as long as the agent runs.

    Args:
        address: `host:port` where other nodes reach this server.
        tls: whether clients must use TLS.
    """

    def __init__(
        self,
        peers: PeerNodes,
        directory: Directory,
        address: Callable[[], str],
        *,
        tls: bool = False,
    ) -> None:
        self._peers = peers
        self._directory = directory
        self._address = address
        self._tls = tls

    def add_to(self, services: ServiceTable) -> None:
        """Register the service."""
        services.add(SERVICE, {"Notify": unary_stream(self.notify, wire.NotifyRequest)})

    async def notify(
        self, request: wire.NotifyRequest, context: Context
    ) -> AsyncIterator[wire.ChangeNotification]:
        """PEER_ADDED for every node, then changes, PEER_DELETED first."""
        sent: dict[str, str] = {}
        more = True
        while more:
            seen = self._peers.changes.count
            nodes = self._nodes()
            for name in sorted(sent.keys() - nodes.keys()):
                yield self._change(name, sent[name], wire.PEER_DELETED)
            for name in sorted(nodes):
                if name not in sent:
                    yield self._change(name, nodes[name], wire.PEER_ADDED)
                elif nodes[name] != sent[name]:
                    yield self._change(name, nodes[name], wire.PEER_UPDATED)
            sent = nodes
            more = await self._peers.changes.wait_after(seen)

    def _nodes(self) -> dict[str, str]:
        """`address:port` by node name."""
        own = self._address()
        port = own.rpartition(":")[2]
        port = port if port.isdecimal() else DEFAULT_PORT
        nodes = {
            name: f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
            for name, ip in self._peers.nodes.items()
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
    """The TLS server name of a node, in Cilium's form (hubble-relay verifies it)."""
    cluster = directory.cluster_name or "default"
    node, cluster = (name.replace(".", "-") for name in (node or directory.node_name, cluster))
    return f"{node}.{cluster}.hubble-grpc.cilium.io"
