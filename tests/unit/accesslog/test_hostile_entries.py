"""Control characters, markup, odd durations and times in every field are never printed raw."""

import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.exposition import generate_latest

from flowd.accesslog.lines_to_rows import LineParser
from flowd.capture.envoy.decode import EntryDecoder, StreamIdentifier
from flowd.commands.replay.output import LineEncoder
from flowd.gateway.attribution.attribute import Attributor
from flowd.identity.table import IdentityTable
from flowd.kubernetes.manifests import load_manifests
from flowd.model.directory import Directory
from flowd.model.losses import Losses, Place
from flowd.model.records.connection import empty_connections
from flowd.model.records.request import RequestBatch, empty_requests
from flowd.pipeline.join.join import Join
from flowd.wire.als.als_pb2 import Common, Envelope, Http, Req, Resp
from flowd_exporters.prometheus.exporter import PrometheusExporter
from tests.support.attribution_truth import MANIFESTS
from tests.support.join_rows import KnownAddresses

NOW = 1_795_248_845 * 10**9
HOSTILE = "\x1b[2J\x1b]0;x\x07<script>\u202e\x9b31m\x7f\u2028"
COMMON = ("cluster", "route_name", "stream_id", "up_transport_failure", "down_transport_failure")
REQUEST = (
    *("scheme", "authority", "path", "original_path", "user_agent", "forwarded_for", "request_id"),
)


def shown(batch: RequestBatch) -> str:
    """All output of a batch: lines of `flowd replay`, and metrics."""
    losses, directory = Losses(), Directory()
    attributor = Attributor(directory, "kgateway")
    attributor.update(load_manifests([MANIFESTS / "kgateway.objects.yaml"], losses), 0)
    attributor.attribute(batch)
    identities = IdentityTable(directory, node_name="", cluster_name="", proc=Path("/nonexistent"))
    lines = list(LineEncoder(directory, identities).lines("test", batch, {}))
    for line in lines:
        json.loads(line)
    join = Join(KnownAddresses(), losses, wait_ns=0)
    exporter = PrometheusExporter(directory, losses)
    exporter.observe(join.step(empty_connections(), batch, NOW))
    exporter.observe(join.step(empty_connections(), empty_requests(), NOW + 1))
    metrics = generate_latest(exporter.registry).decode()
    assert "flowd_route_outcomes_total{" in metrics
    return metrics.replace("\n", "") + "".join(line.decode() for line in lines)


def check(batch: RequestBatch) -> None:
    text = shown(batch)
    raw = {
        char for char in text if char < " " or "\x7f" <= char <= "\x9f" or char in "\u202e\u2028"
    }
    assert not raw


@pytest.mark.parametrize("field", [*COMMON, *REQUEST, "details", "header", "tag", "node"])
def test_text_of_als(field: str) -> None:
    entry = Http(common=Common(type=6, start={"seconds": NOW // 10**9 - 1}), request=Req(path="/"))
    if field in COMMON:
        setattr(entry.common, field, HOSTILE)
    elif field in REQUEST:
        setattr(entry.request, field, HOSTILE)
    elif field == "details":
        entry.response.CopyFrom(Resp(details=HOSTILE))
    elif field == "header":
        entry.request.headers[HOSTILE] = entry.request.headers["traceparent"] = HOSTILE
    elif field == "tag":
        entry.common.custom_tags[f"flowd.listener{HOSTILE}"] = HOSTILE
        entry.common.custom_tags["flowd.filter_chain"] = f"tcproute/a/{HOSTILE}"
    source = StreamIdentifier(*[HOSTILE] * 3) if field == "node" else StreamIdentifier()
    decoder = EntryDecoder(Losses(), trusted_hops=1)
    decoder.add(Envelope(http={"entries": [entry.SerializeToString()]}), source, NOW)
    batch = decoder.take()
    assert len(batch) == 1
    check(batch)


def test_text_of_lines() -> None:
    keys = ("method", "path", "authority", "user_agent", "route_name", "upstream_cluster")
    keys += ("response_code_details", "request_id", "requested_server_name", "upstream_host")
    parser = LineParser(Losses())
    for key in keys:
        line: dict[str, Any] = {"start_time": "2026-11-21T08:14:05.574Z", "duration": 1}
        parser.add(json.dumps(line | {"response_code": 200, key: HOSTILE}).encode())
    batch = parser.take()
    assert len(batch) == len(keys)
    check(batch)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"duration": {"seconds": -1}}, "bad_duration"),
        ({"duration": {"nanos": -(2**31)}}, "bad_duration"),
        ({"duration": {"seconds": 2**62}}, "bad_duration"),
        ({"start": {"seconds": -(2**63)}}, "bad_time"),
        ({"start": {"seconds": 2**63 - 1}}, "bad_time"),
        ({"start": {"seconds": 253402300800}}, "bad_time"),
    ],
)
def test_durations_and_times_far_off(fields: dict[str, Any], reason: str) -> None:
    values: dict[str, Any] = {"start": {"seconds": NOW // 10**9 - 1}} | fields
    common = Common(type=6, **values)
    losses = Losses()
    decoder = EntryDecoder(losses)
    entry = Http(common=common).SerializeToString()
    decoder.add(Envelope(http={"entries": [entry]}), StreamIdentifier(), NOW)
    batch = decoder.take()
    assert losses.snapshot() == {(Place.ACCESS_LOG, reason): 1}
    assert NOW - 2 * 10**9 <= int(batch["time_ns"][0]) + int(batch["duration_ns"][0]) <= NOW
    check(batch)
