"""Access-log entries per second on one core, from bytes to counted flows.

    python -m tests.bench.bench_accesslog

The entries of a real Envoy (tests/data/accesslog) are repeated, each with its own request id and
every eighth with its own client socket. Every request finds both connections among 100,000 others;
the join builds the flow rows, and the Prometheus exporter counts them. Columns are microseconds for
each entry, the median of RUNS runs; the last column is entries per second.
"""

import gc
import gzip
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from flowd.accesslog.lines_to_rows import LineParser
from flowd.capture.envoy.decode import EntryDecoder, StreamIdentifier
from flowd.capture.envoy.server import FLUSH_ROWS
from flowd.gateway.attribution.attribute import Attributor
from flowd.kubernetes.manifests import load_manifests
from flowd.model.directory import Directory
from flowd.model.enums import AccessLogType
from flowd.model.losses import Losses
from flowd.model.records.connection import empty_connections
from flowd.model.records.request import RequestBatch
from flowd.pipeline.join.connection_table import ConnectionTable
from flowd.pipeline.join.join import Join
from flowd.wire.als.als_pb2 import Addr, Envelope, Message, Sock
from flowd_exporters.prometheus.exporter import PrometheusExporter
from tests.bench.bench_als import SECOND, NoAddresses, records
from tests.support.attribution_truth import LOGS, MANIFESTS

ENTRIES, RUNS = 20_000, 7
MESSAGE = 30  # entries of 16 KiB, as Envoy sends them
ISTIO = {
    "authority": "req_authority",
    "method": "req_method",
    "path": "req_x_envoy_original_path_path",
    "request_id": "req_x_request_id",
    "upstream_cluster": "upstream_cluster_raw",
    "user_agent": "req_user_agent",
    "x_forwarded_for": "req_x_forwarded_for",
} | {
    name: name
    for name in (
        *("bytes_received", "bytes_sent", "connection_termination_details", "duration", "protocol"),
        *("downstream_local_address", "downstream_remote_address", "requested_server_name"),
        *("response_code", "response_code_details", "response_flags", "route_name", "start_time"),
        *("upstream_host", "upstream_local_address", "upstream_service_time"),
        "upstream_transport_failure_reason",
    )
}
"""Istio's own keys with `accessLogEncoding: JSON`, by the operator."""
Reader = Callable[[], Iterator[RequestBatch]]


def client(number: int) -> tuple[str, int]:
    """The client socket shared by eight entries."""
    return f"10.0.{number // 8 % 7}.9", 1024 + number // 8


def als(name: str, node_cluster: str) -> Reader:
    """Decode ALS messages of about 16 KiB to batches of the server's size."""
    data, at = gzip.decompress((LOGS / name).read_bytes()), 0
    found: list[Any] = []
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        entries = Message.FromString(data[at + 4 : at + 4 + size]).http.entries
        found += [entry for entry in entries if entry.common.type == AccessLogType.DOWNSTREAM_END]
        at += 4 + size
    made = [Message()]
    for number in range(ENTRIES):
        entry = made[-1].http.entries.add()
        entry.CopyFrom(found[number % len(found)])
        host, port = client(number)
        socket = Addr(socket=Sock(address=host, port=port)).SerializeToString()
        entry.common.direct_remote = entry.common.remote = socket
        entry.request.request_id = f"0000c0de-0000-4000-8000-{number:012d}"
        if len(made[-1].http.entries) == MESSAGE:
            made.append(Message())
    raw = [message.SerializeToString() for message in made]
    decoder = EntryDecoder(Losses())

    def read() -> Iterator[RequestBatch]:
        for each in raw:
            decoder.add(Envelope.FromString(each), StreamIdentifier("pod", node_cluster, "http"), 0)
            if len(decoder) >= FLUSH_ROWS:
                yield decoder.take()
        yield decoder.take()

    return read


def lines(name: str, keys: dict[str, str]) -> Reader:
    """Parse lines of a followed file to batches of the same size."""
    recorded = gzip.decompress((LOGS / name).read_bytes()).splitlines()
    entries = [json.loads(line) for line in recorded]
    made: list[bytes] = []
    for number in range(ENTRIES):
        entry = entries[number % len(entries)]
        entry = {key: entry[name] for key, name in keys.items()} if keys else dict(entry)
        entry["downstream_remote_address"] = "{}:{}".format(*client(number))
        identifier = "request_id" if keys else "x-request-id"
        entry[identifier] = f"0000c0de-0000-4000-8000-{number:012d}"
        made.append(json.dumps(entry, separators=(",", ":")).encode())
    parser = LineParser(Losses())

    def read() -> Iterator[RequestBatch]:
        for start in range(0, len(made), FLUSH_ROWS):
            for line in made[start : start + FLUSH_ROWS]:
                parser.add(line)
            yield parser.take()

    return read


class Pipeline:
    """The agent's stages for access-log entries, with the time spent in each."""

    def __init__(self, dialect: str, manifests: Sequence[str], known: RequestBatch) -> None:
        directory, losses = Directory(), Losses()
        self.attributor = Attributor(directory, dialect)
        objects = load_manifests([MANIFESTS / name for name in manifests], losses)
        self.attributor.update(objects, 0)
        table = ConnectionTable()
        table.update(records(known))
        self.join = Join(NoAddresses(), losses, table)
        self.counters = PrometheusExporter(directory, losses)
        self.now = int(known["time_ns"].max()) + SECOND
        self.spent = np.zeros(4)

    def run(self, read: Reader) -> None:
        batches, clock = read(), time.process_time
        self.spent[:] = 0
        while True:
            marks = [clock()]
            batch = next(batches, None)
            if batch is None:
                return
            marks.append(clock())
            self.attributor.attribute(batch)
            marks.append(clock())
            joined = self.join.step(empty_connections(), batch, self.now)
            marks.append(clock())
            self.counters.observe(joined)
            marks.append(clock())
            self.spent += np.diff(marks)


ROUTES = "routes.yaml"
INPUTS: dict[str, tuple[Callable[[], Reader], str, list[str]]] = {
    "ALS, Envoy Gateway: names": (
        lambda: als("eg.http.als.bin.gz", "infra/public"),
        "eg",
        [ROUTES, "eg.gateways.yaml"],
    ),
    "ALS, Cilium: resolver": (
        lambda: als("cilium.als.bin.gz", "infra"),
        "cilium",
        ["cilium.objects.yaml"],
    ),
    "JSON, Envoy Gateway: names": (
        lambda: lines("eg.http.default.jsonl.gz", {}),
        "eg",
        [ROUTES, "eg.gateways.yaml"],
    ),
    "JSON, Istio: names and resolver": (
        lambda: lines("istio.http.all.jsonl.gz", ISTIO),
        "istio",
        [ROUTES, "istio.gateways.yaml"],
    ),
}


def main() -> None:
    print("| entries | decoded | attributed | joined | counted | all | entries/s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, (make, dialect, manifests) in INPUTS.items():
        read = make()
        pipeline = Pipeline(dialect, manifests, np.concatenate(list(read())))
        gc.collect()
        gc.freeze()  # as the agent does before it begins
        runs: list[list[float]] = []
        for _ in range(RUNS + 1):
            pipeline.run(read)
            runs.append([*pipeline.spent, float(pipeline.spent.sum())])
        columns = [
            statistics.median(run[1:]) / ENTRIES for run in zip(*runs, strict=True)
        ]  # the first run fills the caches
        shown = " | ".join(f"{column * 1e6:.2f}" for column in columns)
        print(f"| {name} | {shown} | {1 / columns[-1]:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
