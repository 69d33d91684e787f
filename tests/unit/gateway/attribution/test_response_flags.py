"""Outcome of requests: entries of a real Envoy, and unusual entries."""

import gzip
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowd.accesslog.lines_to_rows import LineParser
from flowd.accesslog.snippet import load_formats
from flowd.capture.envoy.decode import EntryDecoder, StreamIdentifier, stream_identifier
from flowd.gateway.attribution.attribute import Attributor
from flowd.gateway.attribution.response_flags import RuleTrait, fill_outcomes
from flowd.kubernetes.manifests import load_manifests
from flowd.model.directory import Directory
from flowd.model.enums import RESPONSE_FLAGS, EntryKind, L7Type, RequestOutcome
from flowd.model.losses import Losses
from flowd.model.records.connection import empty_connections
from flowd.model.records.request import RequestBatch, empty_requests
from flowd.pipeline.join.join import Join
from flowd.wire.als.als_pb2 import Envelope
from flowd_exporters.hubble.encode.extensions import ExtensionEncoder
from flowd_exporters.hubble.encode.row import unpack_rows
from flowd_exporters.prometheus.exporter import PrometheusExporter
from tests.support.attribution_truth import DIALECTS, LOGS, OWN_FORMAT, manifests, sources
from tests.support.join_rows import KnownAddresses

BY_PATH = {
    "/old": "REDIRECTED",
    "/api/v1": "REDIRECTED",
    "/invalid": "DIRECT_RESPONSE",
    "/dead": "NO_ENDPOINTS",
    "/refused": "REFUSED",
    "/retry": "RETRIED",
    "/mirror": "MIRRORED",
    "/slow": "TIMED_OUT",
    "/limited": "RATE_LIMITED",
    "/cors": "PREFLIGHT",
}
"""What tests/data/envoy's rules and backends do with these paths."""
OTHERWISE = {
    200: {"FORWARDED"},
    404: {"FORWARDED", "NO_ROUTE"},
    500: {"FORWARDED"},
    0: {"FORWARDED"},
}


def name_of(row: Any) -> str:
    return RequestOutcome(int(row["outcome"])).name


def frames(path: str) -> Iterator[bytes]:
    data, at = gzip.decompress(Path(path).read_bytes()), 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 4 + size]
        at += 4 + size


def attributed(dialect: str, batch: RequestBatch, directory: Directory) -> RequestBatch:
    attributor = Attributor(directory, dialect)
    paths = [Path(path) for path in manifests(dialect)[1::2]]
    attributor.update(load_manifests(paths, Losses()), 0)
    attributor.attribute(batch)
    return batch


def als(dialect: str) -> RequestBatch:
    decoder = EntryDecoder(Losses())
    for path in sources(dialect)["ALS"]:
        source = StreamIdentifier()
        for frame in frames(path):
            message = Envelope.FromString(frame)
            source = stream_identifier(message, source)
            decoder.add(message, source, 0)
    return decoder.take()


def lines(dialect: str) -> RequestBatch:
    form = LOGS / f"{dialect}.format.yaml"
    parser = LineParser(Losses(), load_formats(form) if form.exists() else [])
    for path in sources(dialect)[OWN_FORMAT]:
        for line in gzip.decompress(Path(path).read_bytes()).splitlines():
            parser.add(line)
    return parser.take()


def check(batch: RequestBatch) -> Counter[str]:
    for row in batch:
        path = row["original_path"] or row["path"]
        told = [name for start, name in BY_PATH.items() if path.startswith(start)]
        if "x-debug" in row["headers"]:
            continue
        status = int(row["status"])
        if told and (name_of(row) == told[0] or status != 200):
            assert name_of(row) == told[0], (path, row)
        else:
            assert name_of(row) in OTHERWISE[status] | {"NO_ROUTE"}, (path, row)
        if status == 404 and row["details"] == "route_not_found":
            assert name_of(row) == "NO_ROUTE"
    return Counter(map(name_of, batch))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_recorded_request(dialect: str) -> None:
    found = check(attributed(dialect, als(dialect), Directory()))
    told = {"REDIRECTED", "DIRECT_RESPONSE", "NO_ENDPOINTS", "REFUSED", "RETRIED", "MIRRORED"}
    told |= {"TIMED_OUT", "NO_ROUTE", "FORWARDED"}
    limited = {"RATE_LIMITED", "PREFLIGHT"} if dialect not in ("eg", "istio") else set[str]()
    assert set(found) == told | limited
    if limited:
        counts = {name: found[name] for name in sorted(told | limited - {"FORWARDED"})}
        counts.pop("FORWARDED")
        assert counts == {
            "DIRECT_RESPONSE": 4, "MIRRORED": 4, "NO_ENDPOINTS": 4, "NO_ROUTE": 12, "PREFLIGHT": 4,
            "RATE_LIMITED": 3, "REDIRECTED": 4, "REFUSED": 4, "RETRIED": 4, "TIMED_OUT": 2,
        }  # fmt: skip


@pytest.mark.parametrize("dialect", ["contour", "cilium", "kgateway"])
def test_lines_say_the_same_as_als(dialect: str) -> None:
    by_id: dict[str, str] = {}
    for row in attributed(dialect, als(dialect), Directory()):
        by_id[row["request_id"]] = name_of(row)
    batch = attributed(dialect, lines(dialect), Directory())
    http = batch[batch["kind"] == EntryKind.HTTP]
    assert len(http)
    for row in http:
        said = name_of(row)
        # No log format of `flowd routes headers` contains the attempts
        assert said == by_id[row["request_id"]] or by_id[row["request_id"]] == "RETRIED"


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"flags": "UF", "details": "upstream_reset_before_response_started{connection_timeout}"}, "TIMED_OUT"),
        ({"flags": "UF", "transport_failure": "delayed_connect_error:_111"}, "REFUSED"),
        ({"flags": "UF", "transport_failure": "TLS_error:_x"}, "CONNECT_FAILED"),
        ({"flags": "UF,URX"}, "CONNECT_FAILED"),
        ({"flags": "URX", "up_remote_port": 80, "attempts": 3, "status": 503}, "RETRIED"),
        ({"flags": "UC", "up_remote_port": 80}, "BROKEN_OFF"),
        ({"flags": "UO", "status": 503}, "OVERLOADED"),
        ({"flags": "FI", "status": 503, "details": "fault_filter_abort"}, "FAULT"),
        ({"flags": "UAEX", "status": 403}, "DENIED"),
        ({"status": 403, "details": "rbac_access_denied_matched_policy[none]"}, "DENIED"),
        ({"flags": "DC", "up_remote_port": 80}, "CLIENT_GONE"),
        ({"flags": "DPE", "status": 400, "details": "http1.codec_error"}, "BAD_REQUEST"),
        ({"status": 400, "details": "missing_host_header"}, "BAD_REQUEST"),
        ({"status": 429, "details": "request_rate_limited"}, "RATE_LIMITED"),
        ({"status": 413, "details": "request_payload_too_large"}, "LOCAL_REPLY"),
        ({"status": 304, "up_remote_port": 80}, "FORWARDED"),
        ({"status": 302}, "REDIRECTED"),
        ({"status": 0}, "UNKNOWN"),
        ({"status": 200, "details": "\x1b[2J" * 400}, "LOCAL_REPLY"),
    ],
)  # fmt: skip
def test_what_flags_and_details_say(fields: dict[str, Any], outcome: str) -> None:
    batch = empty_requests(1)
    for name, value in fields.items():
        if name == "flags":
            value = sum(1 << RESPONSE_FLAGS.index(flag) for flag in value.split(","))
        batch[name] = value
    fill_outcomes(batch, np.zeros(1, np.uint8))
    assert name_of(batch[0]) == outcome


def test_a_direct_503_of_a_rule_without_endpoints() -> None:
    batch = empty_requests(2)
    batch["status"], batch["details"] = 503, "direct_response"
    fill_outcomes(batch, np.array([RuleTrait.EMPTY, 0], np.uint8))
    assert [*map(name_of, batch)] == ["NO_ENDPOINTS", "DIRECT_RESPONSE"]


def test_flows_and_metrics_carry_it() -> None:
    directory, losses = Directory(), Losses()
    batch = attributed("kgateway", als("kgateway"), directory)
    join = Join(KnownAddresses(), losses, wait_ns=0)
    join.step(empty_connections(), batch, 1 << 62)  # pending until the next step
    joined = join.step(empty_connections(), empty_requests(), 1 << 62)
    counts = Counter(map(name_of, batch))
    extensions = ExtensionEncoder(directory)
    shown: Counter[str] = Counter()
    for row in unpack_rows(joined.flows):
        said = str(extensions.static_fields(row).get("outcome", ""))
        assert bool(said) == (row.l7_type == L7Type.RESPONSE)
        shown[said.upper()] += bool(said)
    assert +shown == counts
    exporter = PrometheusExporter(directory, losses)
    exporter.observe(joined)
    found: Counter[str] = Counter()
    for family in exporter.collect():
        for sample in family.samples:
            if sample.name == "flowd_route_outcomes_total":
                found[sample.labels["outcome"].upper()] += int(sample.value)
    assert found == counts
