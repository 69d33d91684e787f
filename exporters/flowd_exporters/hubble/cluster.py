"""ClusterView and ClusterEvents: pass changes of the cluster to agent events and Peer.Notify."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flowd.model.directory import Directory
from flowd_exporters.hubble.agent_events import AgentEvents
from flowd_exporters.hubble.peer import PeerNodes


@dataclass(frozen=True, slots=True)
class ClusterView:
    """A snapshot of the cluster.

    Attributes:
        nodes: textual address by node name.
        node_labels: `key=value` of this node's object.
        addresses: index into Directory.endpoints by address, 16 bytes each.
        routes: by `Kind/namespace/name` a value that changes with the object.
    """

    nodes: Mapping[str, str] = field(default_factory=dict[str, str])
    node_labels: tuple[str, ...] = ()
    addresses: Mapping[bytes, int] = field(default_factory=dict[bytes, int])
    routes: Mapping[str, object] = field(default_factory=dict[str, object])


class ClusterEvents:
    """Turns each view into the changes since the previous one.

    Attributes:
        events: for Observer.GetAgentEvents.
        peers: for Peer.Notify.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self.events = AgentEvents(directory)
        self.peers = PeerNodes()

    def update(self, view: ClusterView) -> None:
        """Replace the view, and notify the streams of the differences."""
        self._directory.node_labels = view.node_labels
        self.events.update(view.addresses, view.routes)
        self.peers.update(view.nodes)

    def close(self) -> None:
        """End the streams of agent events and peers."""
        self.events.close()
        self.peers.close()
