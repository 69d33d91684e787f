"""FlowAggregator: count flows that are equal in some fields, one JSON line a group (as Hubble's)."""

from collections.abc import Iterable
from dataclasses import dataclass

from flowd.model.directory import Directory
from flowd.model.records.flow import FlowRows
from flowd.wire.flow.flow_pb2 import EGRESS, INGRESS, Flow
from flowd.wire.json import flow_to_json
from flowd.wire.observer.observer_pb2 import ExportEvent
from flowd_exporters.hubble.encode.field_mask import apply_mask, parse_mask
from flowd_exporters.hubble.encode.flow_to_protobuf import FlowEncoder

MAX_GROUPS = 65536
"""Bound on the number of groups; a full aggregator is flushed before its interval is over."""


@dataclass(slots=True)
class _Group:
    first: Flow
    ingress: int = 0
    egress: int = 0
    unknown: int = 0


class FlowAggregator:
    """Counts flows grouped by the values of some fields.

    Args:
        fields: paths of flow.Flow to group by. A line has these fields, the time of the group's
            first flow, and the number of flows by direction.
    """

    def __init__(self, directory: Directory, fields: Iterable[str]) -> None:
        self._encoder = FlowEncoder(directory)
        self._mask = parse_mask(fields)
        self._groups: dict[bytes, _Group] = {}

    @property
    def full(self) -> bool:
        """Whether `lines` must be called before more flows are added."""
        return len(self._groups) >= MAX_GROUPS

    def add(self, rows: FlowRows) -> None:
        """Count the flows."""
        for flow in self._encoder.encode(rows):
            time, direction = flow.time, flow.traffic_direction
            masked = Flow()
            masked.CopyFrom(flow)
            apply_mask(self._mask, masked)
            masked.ClearField("time")
            key = masked.SerializeToString(deterministic=True)
            group = self._groups.get(key)
            if group is None:
                masked.time.CopyFrom(time)
                group = self._groups[key] = _Group(masked)
            if direction == INGRESS:
                group.ingress += 1
            elif direction == EGRESS:
                group.egress += 1
            else:
                group.unknown += 1

    def lines(self) -> list[tuple[str, int]]:
        """Remove all groups; returns each as ExportEvent in JSON, with the number of its flows."""
        groups, self._groups = self._groups, {}
        return [
            (self._line(one), one.ingress + one.egress + one.unknown) for one in groups.values()
        ]

    def _line(self, group: _Group) -> str:
        flow = group.first
        flow.aggregate.ingress_flow_count = group.ingress
        flow.aggregate.egress_flow_count = group.egress
        flow.aggregate.unknown_direction_flow_count = group.unknown
        event = ExportEvent(node_name=self._encoder.node_name, time=flow.time)
        event.flow.CopyFrom(flow)
        return flow_to_json(event)
