"""What travels from the join to the exporters."""

from dataclasses import dataclass, field

from flowd.model.connection import ConnectionBatch
from flowd.model.drop import DropBatch, empty_drops
from flowd.model.flow import FlowRows
from flowd.model.request import RequestBatch


@dataclass(frozen=True, slots=True)
class FlowBatch:
    """One step of the pipeline: enriched records, and the flow rows that show them.

    `connections`, `requests` and `drops` are for those who count (each row once); `flows` is for
    those who show (an HTTP request is two rows). Exporters share the arrays and must not write to
    them.
    """

    connections: ConnectionBatch
    requests: RequestBatch
    flows: FlowRows
    drops: DropBatch = field(default_factory=empty_drops)

    def __len__(self) -> int:
        """Rows to show or to count: a TCP entry is a request without a flow."""
        return max(len(self.flows), len(self.connections) + len(self.requests))
