"""peer.Peer: tells a relay which nodes there are; an agent knows of one, its own."""

from collections.abc import AsyncIterator, Callable

import grpc.aio

from flowd.model.directory import Directory
from flowd.wire.peer import peer_pb2 as wire
from flowd_exporters.hubble.encode import shown_node
from flowd_exporters.hubble.ring import FlowRing
from flowd_exporters.hubble.rpc import Context, add_service, stream

SERVICE = "peer.Peer"


class Peer:
    """Answers Notify: this node, in plain text, for as long as the agent runs."""

    def __init__(self, ring: FlowRing, directory: Directory, address: Callable[[], str]) -> None:
        self._ring = ring
        self._directory = directory
        self._address = address

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register the service."""
        add_service(server, SERVICE, {"Notify": stream(self.notify, wire.NotifyRequest)})

    async def notify(
        self, request: wire.NotifyRequest, context: Context
    ) -> AsyncIterator[wire.ChangeNotification]:
        """One PEER_ADDED, and then no change."""
        yield wire.ChangeNotification(
            name=shown_node(self._directory), address=self._address(), type=wire.PEER_ADDED
        )
        await self._ring.ended()
