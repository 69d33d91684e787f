"""Rates of the Prometheus and OTLP exporters: `python -m tests.bench.bench_exporters`."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import generate_latest

from flowd.model.losses import Losses
from flowd.model.records.batch import FlowBatch
from flowd.model.records.connection import empty_connections
from flowd.model.records.flow import empty_flows
from flowd.model.records.request import empty_requests
from flowd_exporters.otlp.spans import SpanBuilder
from flowd_exporters.prometheus.exporter import PrometheusExporter
from tests.support.exporter_batches import SPAN, TRACE, cluster, random_batch, web_requests

ROWS = 4096
ROUNDS = 20


class Encoder(SpanExporter):
    """Encodes and serialises like the SDK's exporters, without sending."""

    def __init__(self) -> None:
        self.bytes = 0
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.bytes += len(encode_spans(spans).SerializeToString())
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


def per_row(work: Callable[[], object], rows: int = ROWS) -> float:
    """Best of the rounds, microseconds for each row."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best / rows * 1e6


def main() -> None:
    directory = cluster()
    rng = np.random.default_rng(0)
    batch = random_batch(rng, directory, ROWS)
    plain = web_requests(ROWS)
    plain.requests["traceparent"] = f"00-{TRACE}-{SPAN}-01"
    nothing = empty_connections(), empty_requests(), empty_flows()
    connections = FlowBatch(batch.connections, nothing[1], nothing[2])
    mixed = FlowBatch(nothing[0], batch.requests, nothing[2])
    flows = FlowBatch(nothing[0], nothing[1], batch.flows)
    exporter = PrometheusExporter(directory, Losses())
    print(f"prometheus, batches of {ROWS} rows, microseconds a row")
    print(f"  connection            {per_row(lambda: exporter.observe(connections)):6.2f}")
    print(f"  request, one route    {per_row(lambda: exporter.observe(plain)):6.2f}")
    print(f"  request, mixed        {per_row(lambda: exporter.observe(mixed)):6.2f}")
    print(f"  flow                  {per_row(lambda: exporter.observe(flows)):6.2f}")
    lines = generate_latest(exporter.registry).count(b"\n")
    scrape = per_row(lambda: generate_latest(exporter.registry), lines)
    print(f"  scrape                {scrape:6.2f} a line, {lines} lines")

    builder = SpanBuilder(directory)
    encoder = Encoder()
    processor = BatchSpanProcessor(encoder, max_queue_size=ROWS * 2, schedule_delay_millis=3600_000)
    spans = list(builder.build(plain.requests))
    build = per_row(lambda: list(builder.build(plain.requests)))

    def hand_on() -> None:
        for span in spans[:500]:
            processor.on_end(span)
        processor.force_flush()

    total = per_row(hand_on, 500)
    processor.shutdown()
    print("otlp, microseconds a span")
    print(f"  build                 {build:6.2f}")
    print(f"  on_end and encode     {total:6.2f}, {encoder.bytes // encoder.spans} bytes")
    print(f"  spans a second        {1e6 / (build + total):6.0f}")


if __name__ == "__main__":
    main()
