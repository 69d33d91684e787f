"""FlowBatch: one step's rows of every kind, from the join stage to the exporters."""

from dataclasses import dataclass, field

from flowd.model.records.connection import ConnectionBatch
from flowd.model.records.dns import DnsBatch, empty_dns
from flowd.model.records.drop import DropBatch, empty_drops
from flowd.model.records.flow import FlowRows
from flowd.model.records.request import RequestBatch
from flowd.model.records.share import ShareBatch, empty_shares
from flowd.model.records.socket import SocketBatch, empty_sockets


@dataclass(frozen=True, slots=True)
class FlowBatch:
    """One step of the pipeline: enriched records, and the flow rows built from them.

    Exporters that count read `connections`, `requests`, `drops`, `sockets` and `dns`, which have
    each row once. Exporters that print flows read `flows`, where an HTTP request is two rows.
    `shares` splits the traffic of `connections` by route. Exporters share the arrays and must not
    write to them.
    """

    connections: ConnectionBatch
    requests: RequestBatch
    flows: FlowRows
    drops: DropBatch = field(default_factory=empty_drops)
    sockets: SocketBatch = field(default_factory=empty_sockets)
    dns: DnsBatch = field(default_factory=empty_dns)
    shares: ShareBatch = field(default_factory=empty_shares)

    def __len__(self) -> int:
        """Rows to export: a TCP access-log entry is a request without a flow."""
        counted = (self.connections, self.requests, self.drops, self.sockets, self.dns)
        return max(len(self.flows), sum(map(len, counted)))
