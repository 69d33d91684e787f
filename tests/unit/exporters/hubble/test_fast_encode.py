"""FastFlowEncoder writes the messages that FlowEncoder makes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowd.model.directory import Directory
from flowd.model.records.dns import Dns
from flowd.model.records.flow import FlowRows
from flowd.wire.observer.observer_pb2 import GetFlowsResponse
from flowd_exporters.hubble.encode.fast_encode import FastFlowEncoder
from flowd_exporters.hubble.encode.field_mask import CLI_DEFAULT, MaskTree, apply_mask, parse_mask
from flowd_exporters.hubble.encode.flow_to_protobuf import FlowEncoder
from tests.support.flow_samples import cluster, random_rows, sample_rows

MASKS = [
    (),
    tuple(CLI_DEFAULT),
    ("uuid", "source.labels", "extensions"),
    ("time",),
    ("node_name", "l4", "l7", "trace_context"),
    ("verdict", "l4.TCP.flags", "IP.source"),
    ("l7.http.url", "Summary"),
    ("l7.dns", "tunnel.IP", "source_names", "socket_cookie", "cgroup_id", "node_labels"),
]
TEXTS = st.text(max_size=12) | st.sampled_from(["\ud800", 'a"\\\n<&>\u2028', "http://h/é"])


def cut(framed: bytes) -> list[GetFlowsResponse]:
    """Split an uncompressed gRPC stream into messages."""
    found: list[GetFlowsResponse] = []
    while framed:
        assert framed[0] == 0
        end = 5 + int.from_bytes(framed[1:5])
        found.append(GetFlowsResponse.FromString(framed[5:end]))
        framed = framed[end:]
    return found


def by_class(directory: Directory, rows: FlowRows, tree: MaskTree) -> list[GetFlowsResponse]:
    found: list[GetFlowsResponse] = []
    for flow in FlowEncoder(directory).encode(rows):
        apply_mask(tree, flow)
        time = flow.time if flow.HasField("time") else None
        found.append(GetFlowsResponse(flow=flow, node_name=flow.node_name, time=time))
    return found


@pytest.mark.parametrize("paths", MASKS, ids=str)
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(TEXTS, min_size=6, max_size=6))
def test_frames_equal_messages(paths: tuple[str, ...], seed: int, texts: list[str]) -> None:
    directory = cluster(texts[0] or "default")
    directory.sampling = seed % 3 + 1
    rng = np.random.default_rng(seed)
    rows = random_rows(30, seed)
    for column in rows.dtype.names or ():
        kind = rows.dtype[column]
        if kind.kind in "ui" and column not in DIRECTORY_COLUMNS:
            strange = rng.random(30) < 0.2
            info = np.iinfo(kind)
            values = rng.integers(info.min, int(info.max), 30, kind.type, endpoint=True)
            rows[column][strange] = values[strange]
    rows["route"], rows["backend"], rows["drop_reason"] = rng.integers(0, 2, (3, 30))
    rows["tunnel"] = rng.integers(0, len(directory.tunnels), 30)
    rows["src_process"], rows["dst_process"] = rng.integers(0, len(directory.processes), (2, 30))
    directory.drop_reasons.index("NETFILTER_DROP")
    rows["src_addr"][::4] = rng.integers(0, 256, (8, 16))
    for column, value in zip(("method", "url", "request_id", "trace_id"), texts[1:], strict=False):
        rows[column][rng.random(30) < 0.3] = value
    rows["headers"][::5] = [{texts[1]: texts[2], "k": ""}] * 6
    rows["src_name"][::7] = texts[3]
    rows["dns"][::3] = Dns(
        texts[4], "A", 3, (texts[5], "10.0.0.1"), (texts[1],), 30, ("CNAME", "A")
    )
    directory.node_labels = ("zone=a", texts[2])
    tree = parse_mask(paths)
    frames = FastFlowEncoder(directory, tree)
    expected = by_class(directory, rows, tree)
    assert cut(frames.encode(rows)) == expected
    assert cut(frames.encode(rows[::-1])) == expected[::-1]  # every part is cached


DIRECTORY_COLUMNS = {
    *("src_endpoint", "dst_endpoint", "route", "backend", "drop_reason"),
    *("tunnel", "src_process", "dst_process"),
}


def test_an_interface_that_is_renamed() -> None:
    directory = cluster()
    frames = FastFlowEncoder(directory, {})
    rows = sample_rows("syn")
    before = cut(frames.encode(rows))[0].flow.interface.name
    directory.interfaces[2] = "eth9"
    assert (before, cut(frames.encode(rows))[0].flow.interface.name) == ("eth0", "eth9")


def test_more_parts_than_are_kept() -> None:
    directory = cluster()
    rows = sample_rows("syn")[np.zeros(40_000, int)]
    rows["dst_identity"] = np.arange(40_000)
    frames = FastFlowEncoder(directory, {})
    for start in range(0, 40_000, 1000):
        frames.encode(rows[start : start + 1000])
    assert cut(frames.encode(rows[-3:])) == by_class(directory, rows[-3:], {})


def test_readers_of_the_same_rows_share_the_work() -> None:
    frames = FastFlowEncoder(cluster(), {})
    rows = sample_rows()
    first = frames.shared(0, rows)
    assert frames.shared(0, rows) is first
    for position in range(1, 20):
        frames.shared(position, rows)
    assert frames.shared(0, rows) == first
    assert frames.encode(rows[:0]) == b""
