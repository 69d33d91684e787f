"""peer.Peer: tells a relay which nodes there are; an agent knows of one, its own."""

from collections.abc import AsyncIterator, Callable

from flowd.model.directory import Directory
from flowd.wire.peer import peer_pb2 as wire
from flowd_exporters.h2grpc.service import Context, Services, stream
from flowd_exporters.hubble.encode import shown_node
from flowd_exporters.hubble.ring import FlowRing

SERVICE = "peer.Peer"


class Peer:
    """Answers Notify: this node, for as long as the agent runs.

    Args:
        address: where other nodes reach this one.
        tls_name: the name in its certificate; empty without TLS.
    """

    def __init__(
        self, ring: FlowRing, directory: Directory, address: Callable[[], str], tls_name: str = ""
    ) -> None:
        self._tls = wire.TLS(server_name=tls_name) if tls_name else None
        self._ring = ring
        self._directory = directory
        self._address = address

    def add_to(self, services: Services) -> None:
        """Register the service."""
        services.add(SERVICE, {"Notify": stream(self.notify, wire.NotifyRequest)})

    async def notify(
        self, request: wire.NotifyRequest, context: Context
    ) -> AsyncIterator[wire.ChangeNotification]:
        """One PEER_ADDED, and then no change."""
        yield wire.ChangeNotification(
            name=shown_node(self._directory),
            address=self._address(),
            type=wire.PEER_ADDED,
            tls=self._tls,
        )
        await self._ring.ended()


def tls_server_name(directory: Directory) -> str:
    """The name that clients of this node look for in its certificate, in Cilium's form."""
    cluster = directory.cluster_name or "default"
    node, cluster = (name.replace(".", "-") for name in (directory.node_name, cluster))
    return f"{node}.{cluster}.hubble-grpc.cilium.io"
