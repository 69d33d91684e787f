"""The sink that makes a node look like a Hubble server."""

import asyncio
import contextlib
import time

from flowd.model.directory import Directory
from flowd.model.losses import Losses, Place
from flowd.model.records.batch import FlowBatch
from flowd.runtime.queue import Queue
from flowd.wire.flow.flow_pb2 import OBSERVER_EVENTS_QUEUE, PERF_EVENT_RING_BUFFER
from flowd_exporters.base import consume
from flowd_exporters.h2grpc.service import Services
from flowd_exporters.hubble.cluster import Cluster
from flowd_exporters.hubble.observer import Observer
from flowd_exporters.hubble.peer import Peer, tls_server_name
from flowd_exporters.hubble.rate import FlowRate, Namespaces
from flowd_exporters.hubble.ring import FlowRing

_BEFORE_RING = {"connections", "requests", "identified", "attributed", "hubble"}
_SECOND = 1.0


class HubbleExporter:
    """Keeps the last flows and serves them to any number of clients.

    Args:
        memory: bytes that the ring of flows may use.
        address: `host:port` where other nodes reach the server; may be set later, when it listens.
        tls: whether they must use TLS.

    Attributes:
        cluster: takes in pictures of the cluster, for agent events and peers.
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
        self._namespaces = Namespaces(directory)
        self.cluster = Cluster(directory)
        tls_name = tls_server_name(directory) if tls else ""
        self._observer = Observer(
            self.ring,
            directory,
            losses,
            self._rate,
            self._namespaces,
            self.cluster.events,
            lambda: self.address,
            tls_name,
        )
        self._peer = Peer(self.cluster.peers, directory, lambda: self.address, tls=tls)

    def add_to(self, services: Services) -> None:
        """Register Observer and Peer."""
        self._observer.add_to(services)
        self._peer.add_to(services)

    async def run(self, batches: Queue[FlowBatch]) -> None:
        """Take in flows until the queue is closed and empty; then every stream ends."""
        watch = asyncio.create_task(self._watch_losses(), name="hubble-losses")
        try:
            await consume(self.name, batches, self._take, self._losses)
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            self.ring.close()
            self.cluster.close()

    def _take(self, batch: FlowBatch) -> None:
        now = time.monotonic()
        self._rate.add(len(batch.flows), now)
        self._namespaces.add(batch.flows, now)
        self.ring.append(batch.flows)

    async def _watch_losses(self) -> None:
        """Once a second, tell clients what was lost on the way here."""
        known = {PERF_EVENT_RING_BUFFER: 0, OBSERVER_EVENTS_QUEUE: 0}
        while True:
            totals = dict.fromkeys(known, 0)
            for (place, reason), count in self._losses.snapshot().items():
                if place in (Place.KERNEL, Place.CAPTURE):
                    totals[PERF_EVENT_RING_BUFFER] += count
                elif place is Place.STAGE or (place is Place.QUEUE and reason in _BEFORE_RING):
                    totals[OBSERVER_EVENTS_QUEUE] += count
            for source, total in totals.items():
                if total > known[source]:
                    self.ring.lost(source, total - known[source], time.time_ns())
            known = totals
            await asyncio.sleep(_SECOND)
