"""MetricsServer with well-behaved, slow and malformed clients."""

import asyncio
import contextlib
import gzip
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

import pytest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.registry import CollectorRegistry

from flowd.errors import UsageError
from flowd.model.losses import Losses
from flowd.model.status import PartStatus, State
from flowd_exporters.prometheus import http_server
from flowd_exporters.prometheus.exporter import PrometheusExporter
from flowd_exporters.prometheus.http_server import MetricsServer, split_listen
from tests.support.exporter_batches import TRACE, cluster, web_requests


@dataclass
class Running:
    """A server on a free port, with the statuses that its health returns."""

    server: MetricsServer
    parts: list[PartStatus] = field(default_factory=list[PartStatus])

    async def ask(self, text: str) -> tuple[int, dict[str, str], bytes]:
        host, port = split_listen(self.server.address)
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(text.encode())
            answer = await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        return int(first.split(" ")[1]), dict(line.split(": ", 1) for line in lines), body

    async def get(self, path: str, *headers: str) -> tuple[int, dict[str, str], bytes]:
        return await self.ask("\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]))


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    exporter = PrometheusExporter(cluster(), Losses())
    batch = web_requests(3)
    batch.requests["traceparent"] = f"00-{TRACE}-00f067aa0ba902b7-01"
    exporter.observe(batch)
    parts: list[PartStatus] = []
    server = MetricsServer("127.0.0.1:0", exporter.registry, lambda: parts)
    await server.start()
    try:
        yield Running(server, parts)
    finally:
        await server.stop()


async def test_text(running: Running) -> None:
    status, headers, body = await running.get("/metrics?x=1")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert int(headers["Content-Length"]) == len(body)
    assert re.search(
        r"^flowd_route_requests_total\{.*route=\"web\".*\} 3\.0$", body.decode(), re.MULTILINE
    )
    assert b"trace_id" not in body


async def test_openmetrics_with_exemplars(running: Running) -> None:
    accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    _, headers, body = await running.get("/metrics", accept)
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in _families(body)}
    exemplars = [s.exemplar for s in families["flowd_route_duration_seconds"].samples if s.exemplar]
    assert [one.labels["trace_id"] for one in exemplars] == [TRACE]


async def test_gzip(running: Running) -> None:
    _, headers, body = await running.get("/metrics", "Accept-Encoding: deflate, gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert b"flowd_route_requests_total" in gzip.decompress(body)


async def test_health(running: Running) -> None:
    running.parts.append(PartStatus("capture", State.DEGRADED, "no tcx\n, clsact"))
    for path in ("/healthz", "/readyz"):
        status, _, body = await running.get(path)
        assert status == 200
        assert body == b"OK\ncapture degraded no tcx^J, clsact\n"
    running.parts.append(PartStatus("envoy-als", State.FAILED, "gone"))
    assert (await running.get("/healthz"))[0] == 200
    assert (await running.get("/readyz"))[0] == 503


def _families(body: bytes) -> Iterator[Family]:
    parse = cast("Callable[[str], Iterator[Family]]", openmetrics.text_string_to_metric_families)  # pyright: ignore[reportUnknownMemberType]
    return parse(body.decode())


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("GET / HTTP/1.1\r\n\r\n", 404),
        ("GET /metricsx HTTP/1.1\r\n\r\n", 404),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405),
        ("\x00\x01\r\n\r\n", 400),
        ("GET /metrics HTTP/9\r\n\r\n", 400),
    ],
)
async def test_others(running: Running, request_text: str, status: int) -> None:
    assert (await running.ask(request_text))[0] == status


async def test_head_has_no_body(running: Running) -> None:
    status, headers, body = await running.ask("HEAD /metrics HTTP/1.1\r\n\r\n")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 1000


async def test_an_endless_request_is_cut(running: Running) -> None:
    host, port = split_listen(running.server.address)
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 20000)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
    finally:
        writer.close()


async def test_silent_and_never_reading_clients_do_not_stay(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 0.2)
    monkeypatch.setattr(http_server, "RESPONSE_SECONDS", 0.2)
    monkeypatch.setattr(http_server, "_encode_families", _huge)
    host, port = split_listen(running.server.address)
    clients = [await asyncio.open_connection(host, port, limit=1024) for _ in range(3)]
    try:
        clients[1][1].write(b"GET /metrics HTTP/1.1\r\n\r\n")
        clients[2][1].write(b"GET /metr")
        assert (await running.get("/healthz"))[0] == 200
        silent = [asyncio.wait_for(clients[place][0].read(), 10) for place in (0, 2)]
        for outcome in await asyncio.gather(*silent, return_exceptions=True):
            assert outcome == b"" or isinstance(outcome, ConnectionResetError)
        got = 0
        with contextlib.suppress(ConnectionResetError):
            while piece := await asyncio.wait_for(clients[1][0].read(1 << 20), 10):
                got += len(piece)
                await asyncio.sleep(0.5 if got < 1 << 20 else 0)  # longer than the server waits
        assert got < HUGE
    finally:
        for _, writer in clients:
            writer.close()


HUGE = 64 << 20


def _huge(*_: object) -> http_server.HttpResponse:
    return http_server.HTTPStatus.OK, [], bytes(HUGE)


async def test_too_many_clients_are_turned_away(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "CONNECTIONS", 2)
    host, port = split_listen(running.server.address)
    connections = [await asyncio.open_connection(host, port) for _ in range(2)]
    try:
        reader, writer = await asyncio.open_connection(host, port)
        connections.append((reader, writer))
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
    finally:
        for _, writer in connections:
            writer.close()


async def test_port_in_use_is_a_usage_error(running: Running) -> None:
    other = MetricsServer(running.server.address, CollectorRegistry())
    with pytest.raises(UsageError) as failure:
        await other.start()
    assert failure.value.message == (
        f"metrics: cannot listen on {running.server.address}: Address already in use"
    )
    assert "--metrics-listen" in failure.value.hint
    await other.stop()


@pytest.mark.parametrize(
    ("listen", "parts"),
    [
        ("127.0.0.1:9965", ("127.0.0.1", 9965)),
        ("[::1]:0", ("::1", 0)),
        (":80", ("", 80)),
        ("localhost:1", ("localhost", 1)),
    ],
)
def test_listen_addresses(listen: str, parts: tuple[str, int]) -> None:
    assert split_listen(listen) == parts


@pytest.mark.parametrize("listen", ["", "9965", "::1:9965", "a:b", "a:70000", "a:-1", "a:\u0665"])
def test_malformed_listen_addresses(listen: str) -> None:
    with pytest.raises(UsageError):
        split_listen(listen)
