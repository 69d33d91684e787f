"""What Hubble's API tells of the cluster itself, from each picture of it that is handed over."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flowd.model.directory import Directory
from flowd_exporters.hubble.agent_events import AgentEvents
from flowd_exporters.hubble.peer import Peers


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The cluster at one moment.

    Attributes:
        nodes: a textual address by name of every node.
        node_labels: `key=value` of this node's object.
        addresses: index into Directory.endpoints by address, 16 bytes each.
        routes: by `Kind/namespace/name` a value that differs when the object does.
    """

    nodes: Mapping[str, str] = field(default_factory=dict[str, str])
    node_labels: tuple[str, ...] = ()
    addresses: Mapping[bytes, int] = field(default_factory=dict[bytes, int])
    routes: Mapping[str, object] = field(default_factory=dict[str, object])


class Cluster:
    """Hands each view to those who tell clients of changes.

    Attributes:
        events: for GetAgentEvents.
        peers: for Peer.Notify.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self.events = AgentEvents(directory)
        self.peers = Peers()

    def update(self, view: ClusterView) -> None:
        """Make this view the one in force."""
        self._directory.node_labels = view.node_labels
        self.events.update(view.addresses, view.routes)
        self.peers.update(view.nodes)

    def close(self) -> None:
        """No more changes will come; streams end."""
        self.events.close()
        self.peers.close()
