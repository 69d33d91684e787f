"""FlowRow: one flow as a tuple of plain Python values, for encoders that go row by row."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flowd.model.address import unpack
from flowd.model.records.dns import Dns
from flowd.model.records.flow import FlowRows
from flowd_exporters.hubble.encode.ring_row import RING_ROW, HeaderPairs

if TYPE_CHECKING:
    from flowd.wire.flow import flow_pb2


class FlowRow(NamedTuple):
    """The columns of RING_ROW by name; addresses are text."""

    seq: int
    time_ns: int
    latency_ns: int
    bytes: int
    packets: int
    envoy_flags: int
    src_addr: str
    dst_addr: str
    src_endpoint: int
    dst_endpoint: int
    src_identity: int
    dst_identity: int
    route: int
    backend: int
    ifindex: int
    drop_reason: int
    src_port: int
    dst_port: int
    status: int
    type: "flow_pb2.FlowType"
    l7_type: "flow_pb2.L7FlowType"
    event_type: int
    sub_type: int
    verdict: "flow_pb2.Verdict"
    direction: "flow_pb2.TrafficDirection"
    observation: "flow_pb2.TraceObservationPoint"
    is_reply: int
    family: int
    protocol: int
    flags: int
    icmp_type: int
    icmp_code: int
    reason: int
    http_version: int
    attribution: int
    outcome: int
    l7_protocol: int
    nat: int
    nat_src_port: int
    nat_dst_port: int
    nat_src_addr: str
    nat_dst_addr: str
    tunnel: int
    connect_us: int
    src_srtt_us: int
    dst_srtt_us: int
    src_retransmits: int
    dst_retransmits: int
    src_pid: int
    dst_pid: int
    src_process: int
    dst_process: int
    src_cookie: int
    dst_cookie: int
    src_name: str | None
    dst_name: str | None
    dns: Dns | None
    method: str | None
    url: str | None
    request_id: str | None
    trace_id: str | None
    headers: dict[str, str] | HeaderPairs | None


def unpack_rows(rows: FlowRows) -> Iterator[FlowRow]:
    """The rows one by one; the call converts every column at once."""
    return map(FlowRow._make, unpack_columns(rows, FlowRow._fields))


def unpack_columns(rows: FlowRows, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Tuples of some columns, one a row; addresses are text."""
    return zip(*[_values(rows, name) for name in names], strict=True)


def _values(rows: FlowRows, name: str) -> list[Any]:
    column = rows[name]
    if name in _MOSTLY_ZERO and not column.any():
        return [_NO_ADDRESS if name.endswith("_addr") else 0] * len(rows)
    return _addresses(column) if name.endswith("_addr") else column.tolist()


def _addresses(column: NDArray[np.uint8]) -> list[str]:
    packed = column.tobytes()
    return [unpack(packed[start : start + 16]) for start in range(0, len(packed), 16)]


_MOSTLY_ZERO = frozenset(
    FlowRow._fields[FlowRow._fields.index("nat") : FlowRow._fields.index("src_name")]
)
_NO_ADDRESS = unpack(bytes(16))

assert set(RING_ROW.names or ()) == set(FlowRow._fields), (
    "FlowRow must have the columns of RING_ROW"
)
