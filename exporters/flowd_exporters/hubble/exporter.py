"""HubbleExporter: keep the last flows in a ring and serve Hubble's Observer and Peer API."""

import asyncio
import contextlib
import time

from flowd.model.directory import Directory
from flowd.model.losses import Losses, Place
from flowd.model.records.batch import FlowBatch
from flowd.runtime.queue import Queue
from flowd.wire.flow.flow_pb2 import OBSERVER_EVENTS_QUEUE, PERF_EVENT_RING_BUFFER
from flowd_exporters.base import consume
from flowd_exporters.h2grpc.service import ServiceTable
from flowd_exporters.hubble.cluster import ClusterEvents
from flowd_exporters.hubble.observer import ObserverService
from flowd_exporters.hubble.peer import PeerService, tls_server_name
from flowd_exporters.hubble.rate import FlowRate, RecentNamespaces
from flowd_exporters.hubble.ring import FlowRing

_QUEUES_BEFORE_RING = frozenset(
    ("connections", "requests", "dns", "drops", "identified", "attributed", "hubble")
)
"""Queues whose overflow loses flows before the ring has them; `sockets` makes no flows."""
_LOSS_SECONDS = 1.0


class HubbleExporter:
    """Keeps the last flows and serves them to any number of clients.

    Args:
        memory: bound of the ring in bytes.
        address: `host:port` where other nodes reach the server; may be set once it listens.
        tls: whether clients must use TLS.

    Attributes:
        ring: the last flows.
        cluster: takes each ClusterView, for agent events and peers.
    """

    name = "hubble"

    def __init__(
        self,
        directory: Directory,
        losses: Losses,
        *,
        memory: int = 64 << 20,
        address: str = "",
        tls: bool = False,
    ) -> None:
        self.address = address
        self.ring = FlowRing(memory)
        self._losses = losses
        self._rate = FlowRate()
        self._namespaces = RecentNamespaces(directory)
        self.cluster = ClusterEvents(directory)
        tls_name = tls_server_name(directory) if tls else ""
        self._observer = ObserverService(
            self.ring,
            directory,
            losses,
            self._rate,
            self._namespaces,
            self.cluster.events,
            lambda: self.address,
            tls_name,
        )
        self._peer = PeerService(self.cluster.peers, directory, lambda: self.address, tls=tls)

    def add_to(self, services: ServiceTable) -> None:
        """Register observer.Observer and peer.Peer."""
        self._observer.add_to(services)
        self._peer.add_to(services)

    async def run(self, batches: Queue[FlowBatch]) -> None:
        """Store flows until the queue is closed and empty; then end every stream."""
        watch = asyncio.create_task(self._watch_losses(), name="hubble-losses")
        try:
            await consume(self.name, batches, self.observe, self._losses)
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            self.ring.close()
            self.cluster.close()

    def observe(self, batch: FlowBatch) -> None:
        """Append the flows of one batch to the ring, and count their rate and namespaces."""
        now = time.monotonic()
        self._rate.add(len(batch.flows), now)
        self._namespaces.add(batch.flows, now)
        self.ring.append(batch.flows)

    async def _watch_losses(self) -> None:
        """Once a second, add a LostEvent mark to the ring for losses before it."""
        reported = {PERF_EVENT_RING_BUFFER: 0, OBSERVER_EVENTS_QUEUE: 0}
        while True:
            totals = dict.fromkeys(reported, 0)
            for (place, reason), count in self._losses.snapshot().items():
                if place in (Place.KERNEL, Place.CAPTURE):
                    totals[PERF_EVENT_RING_BUFFER] += count
                elif place is Place.STAGE or (
                    place is Place.QUEUE and reason in _QUEUES_BEFORE_RING
                ):
                    totals[OBSERVER_EVENTS_QUEUE] += count
            for source, total in totals.items():
                if total > reported[source]:
                    self.ring.lost(source, total - reported[source], time.time_ns())
            reported = totals
            await asyncio.sleep(_LOSS_SECONDS)
