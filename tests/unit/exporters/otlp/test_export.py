"""OtlpExporter against real OTLP receivers over gRPC and HTTP that stop and start again."""

import asyncio
import gzip
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import grpc.aio
import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from flowd.errors import UsageError
from flowd.model.losses import Losses, Place
from flowd.model.records.batch import FlowBatch
from flowd.model.status import State
from flowd.runtime.queue import Queue
from flowd_exporters.otlp import exporter
from flowd_exporters.otlp.exporter import FAILED, FULL, OtlpExporter
from flowd_exporters.otlp.sender import span_exporter
from tests.support.exporter_batches import NOW, SPAN, TRACE, cluster, random_batch, web_requests

Start = Callable[..., "Running"]


class Receiver(service.TraceServiceServicer):
    """An OTLP receiver that keeps the spans, and fails if the test says so."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.refuse: grpc.StatusCode | None = None
        self.hang = asyncio.Event()
        self.hang.set()
        self._server: grpc.aio.Server | None = None

    async def Export(self, request: ExportTraceServiceRequest, context: Any) -> Any:
        await self.hang.wait()
        if self.refuse:
            await context.abort(self.refuse, "told to refuse")
        self.requests.append(request)
        return ExportTraceServiceResponse()

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    async def start(self, port: int = 0) -> int:
        self._server = grpc.aio.server()  # pyright: ignore[reportUnknownMemberType]
        service.add_TraceServiceServicer_to_server(self, self._server)  # pyright: ignore[reportUnknownMemberType]
        port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        await self._server.start()
        return port

    async def stop(self) -> None:
        self.hang.set()
        if self._server:
            await self._server.stop(None)


class Running:
    """A running exporter with its queue and losses."""

    def __init__(self, endpoint: str, **options: Any) -> None:
        self.losses = Losses()
        self.queue = Queue[FlowBatch]("otlp", 100000, self.losses)
        self.exporter = OtlpExporter(
            cluster(),
            self.losses,
            endpoint=endpoint,
            **options,
        )
        self.task = asyncio.create_task(self.exporter.run(self.queue))

    def lost(self, reason: str) -> int:
        return self.losses.snapshot()[Place.EXPORT, reason]

    async def close(self) -> None:
        self.queue.close()
        await self.task


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    try:
        yield receiver
    finally:
        await receiver.stop()


@pytest.fixture
async def start(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    monkeypatch.setattr(exporter, "DELAY_SECONDS", 0.05)
    running: list[Running] = []

    def begin(endpoint: str, **options: Any) -> Running:
        running.append(Running(endpoint, **options))
        return running[-1]

    monkeypatch.setattr(exporter, "CLOSE_SECONDS", 5.0)
    try:
        yield begin
    finally:
        monkeypatch.setattr(exporter, "CLOSE_SECONDS", 0.1)
        for one in running:
            await one.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - another thread makes it true
            await asyncio.sleep(0.02)


async def test_spans_arrive_with_parent_attributes_and_times(
    receiver: Receiver, start: Start
) -> None:
    running = start(f"http://127.0.0.1:{await receiver.start()}")
    batch = web_requests(1000)
    batch.requests["traceparent"][:10] = f"00-{TRACE}-{SPAN}-01"
    running.queue.put(batch)
    await running.close()
    assert len(receiver.spans) == 1000
    children = [span for span in receiver.spans if span.parent_span_id]
    assert len(children) == 10
    for span in children:
        assert span.trace_id.hex() == TRACE
        assert span.parent_span_id.hex() == SPAN
    span = children[0]
    assert span.name == "GET"
    assert span.kind == Span.SpanKind.SPAN_KIND_SERVER
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (NOW, NOW + 20_000_000)
    found = {pair.key: pair.value for pair in span.attributes}
    assert found["flowd.route.name"].string_value == "web"
    assert found["http.response.status_code"].int_value == 200
    assert found["flowd.upstream.duration"].double_value == 0.015
    [resource] = receiver.requests[0].resource_spans
    names = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
    assert names["service.name"] == "infra/edge"
    assert resource.scope_spans[0].scope.name == "flowd"
    assert running.losses.total() == 0


async def test_only_final_http_entries_become_spans(receiver: Receiver, start: Start) -> None:
    running = start(f"127.0.0.1:{await receiver.start()}")
    batch = web_requests(4)
    batch.requests["kind"] = [1, 1, 1, 2]
    batch.requests["log_type"] = [6, 5, 0, 3]
    running.queue.put(batch)
    await running.close()
    assert len(receiver.spans) == 2


async def test_down_then_up(
    receiver: Receiver, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    port = await receiver.start()
    await receiver.stop()
    caplog.set_level(logging.INFO)
    running = start(f"http://127.0.0.1:{port}", timeout=0.5)
    for _ in range(3):
        running.queue.put(web_requests(20))
        lost = running.lost(FAILED)
        await until(lambda lost=lost: running.lost(FAILED) > lost)
    assert running.lost(FAILED) == 60
    status = running.exporter.status()[0]
    assert status.state is State.DEGRADED
    assert "UNAVAILABLE" in status.detail

    restarted = Receiver()
    assert await restarted.start(port) == port
    try:
        running.queue.put(web_requests(20))
        await until(lambda: len(restarted.spans) == 20)
        await until(lambda: running.exporter.status()[0].state is State.ON)
    finally:
        await restarted.stop()
    assert running.lost(FAILED) == 60
    assert [record.getMessage() for record in caplog.records] == [
        "spans cannot be delivered and are dropped",
        "spans are delivered again",
    ]
    assert "UNAVAILABLE" in vars(caplog.records[0])["reason"]


async def test_a_refusal_is_counted(receiver: Receiver, start: Start) -> None:
    receiver.refuse = grpc.StatusCode.INVALID_ARGUMENT
    running = start(f"http://127.0.0.1:{await receiver.start()}")
    running.queue.put(web_requests(600))
    await until(lambda: running.lost(FAILED) == 600)


async def test_more_than_the_queue_holds_is_counted(
    receiver: Receiver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "QUEUE_SPANS", 100)
    monkeypatch.setattr(exporter, "BATCH_SPANS", 50)
    receiver.hang.clear()
    running = start(f"http://127.0.0.1:{await receiver.start()}")
    running.queue.put(web_requests(70))
    running.queue.put(web_requests(70))
    await until(lambda: running.lost(FULL) == 40)
    receiver.hang.set()
    await until(lambda: len(receiver.spans) == 100)
    running.queue.put(web_requests(70))
    await running.close()
    assert len(receiver.spans) == 170
    assert running.losses.total() == 40


async def test_a_receiver_that_hangs_does_not_hold_up_the_end(
    receiver: Receiver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "CLOSE_SECONDS", 0.2)
    receiver.hang.clear()
    running = start(f"http://127.0.0.1:{await receiver.start()}", timeout=60)
    running.queue.put(web_requests(1500))
    async with asyncio.timeout(20):
        await running.close()
    assert running.lost(FAILED) == 1500
    assert receiver.spans == []


async def test_cancelling_flushes(receiver: Receiver, start: Start) -> None:
    running = start(f"http://127.0.0.1:{await receiver.start()}")
    running.exporter.observe(web_requests(5))
    await asyncio.sleep(0)
    running.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running.task
    assert len(receiver.spans) == 5
    running.task = asyncio.create_task(asyncio.sleep(0))


@pytest.fixture
def web_receiver() -> Iterator[tuple[int, list[tuple[str, ExportTraceServiceRequest]]]]:
    got: list[tuple[str, ExportTraceServiceRequest]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            got.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Suppress the log of http.server."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1], got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_http_protobuf(
    web_receiver: tuple[int, list[tuple[str, ExportTraceServiceRequest]]], start: Start
) -> None:
    port, got = web_receiver
    running = start(f"http://127.0.0.1:{port}/v1/traces")
    running.queue.put(web_requests(7))
    await running.close()
    [(path, request)] = got
    assert path == "/v1/traces"
    assert len(request.resource_spans[0].scope_spans[0].spans) == 7
    assert running.losses.total() == 0


async def test_http_down_is_counted(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        running = start(f"http://127.0.0.1:{taken.getsockname()[1]}/otlp", timeout=0.5)
        running.queue.put(web_requests(7))
        await until(lambda: running.lost(FAILED) == 7)
    assert running.exporter.status()[0].state is State.DEGRADED


async def test_any_batch_is_taken(receiver: Receiver, start: Start) -> None:
    running = start(f"http://127.0.0.1:{await receiver.start()}")
    for seed in range(5):
        running.queue.put(random_batch(np.random.default_rng(seed), cluster(), 100))
    await running.close()
    assert len(receiver.spans) > 100
    assert running.losses.total() == 0


@pytest.mark.parametrize(
    ("endpoint", "kind", "target"),
    [
        ("http://collector:4317", "grpc", "collector:4317"),
        ("http://collector", "grpc", "collector:4317"),
        ("collector:5000", "grpc", "collector:5000"),
        ("https://[::1]:9", "grpc", "[::1]:9"),
        ("http://collector:4318", "http", "http://collector:4318/v1/traces"),
        ("http://collector:4318/v1/traces", "http", "http://collector:4318/v1/traces"),
        ("https://api.example/otlp/", "http", "https://api.example/otlp/v1/traces"),
    ],
)
def test_endpoints(endpoint: str, kind: str, target: str) -> None:
    exporter = span_exporter(endpoint, 1)
    try:
        assert f".{kind}." in type(exporter).__module__
        assert vars(exporter)["_endpoint"] == target
    finally:
        exporter.shutdown()


@pytest.mark.parametrize(
    "endpoint", ["", "ftp://x", "http://", "http://u:secret@x:4317", "http://x:port", "http://[::1"]
)
def test_malformed_endpoints(endpoint: str) -> None:
    with pytest.raises(UsageError) as failure:
        span_exporter(endpoint, 1)
    assert "secret" not in failure.value.message
