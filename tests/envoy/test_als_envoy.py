"""Access logs of a real Envoy compared with the records of its clients and backends."""

import asyncio
import http.client
import http.server
import socket
import threading
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowd.capture.envoy.server import AlsServer
from flowd.model.address import unpack
from flowd.model.enums import EntryKind, HttpVersion
from flowd.model.losses import Losses
from flowd.model.records.connection import ConnectionBatch
from flowd.model.records.request import RequestBatch
from flowd.pipeline.join.join import Join
from flowd.runtime.queue import Queue
from tests.envoy.envoy import (
    Json,
    als_logger,
    cluster,
    http_filter,
    listener,
    running_envoy,
    tcp_filter,
)
from tests.support.join_rows import KnownAddresses, connection

pytestmark = pytest.mark.envoy

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SIDES = ("client", "local", "up_local", "up_remote")


class Backend(http.server.ThreadingHTTPServer):
    """Answers every request and records its peer's socket."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.peers: dict[str, str] = {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        assert isinstance(self.server, Backend)
        self.server.peers[self.path] = "{}:{}".format(*self.client_address)
        body = b"x" * int(self.headers["x-size"] or 0)
        self.send_response(int(self.headers["x-status"] or 200))
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Als:
    """A running access-log server and its rows."""

    server: AlsServer
    losses: Losses
    queue: Queue[RequestBatch]

    @property
    def port(self) -> int:
        return int(self.server.address.rpartition(":")[2])

    async def rows(self, count: int) -> RequestBatch:
        """The next entries, `count` of them."""
        batches: list[RequestBatch] = []
        while sum(map(len, batches)) < count:
            batches.append(await self.queue.get())
        rows = np.concatenate(batches)
        assert len(rows) == count
        return rows


@pytest.fixture
async def als() -> AsyncGenerator[Als]:
    losses = Losses()
    server = AlsServer("127.0.0.1:0", losses)
    await server.start()
    queue: Queue[RequestBatch] = Queue("requests", 100_000, losses)
    task = asyncio.create_task(server.run(queue))
    try:
        yield Als(server, losses, queue)
    finally:
        await server.close()
        await task


def gateway(als_port: int, backend_port: int) -> Json:
    """An Envoy with an HTTP and a TCP listener for the backend, which logs to the server."""
    routes: list[Json] = [
        {
            "name": "rewritten",
            "match": {"prefix": "/old"},
            "route": {"cluster": "backend", "prefix_rewrite": "/new"},
        },
        {"name": "away", "match": {"path": "/away"}, "redirect": {"path_redirect": "/"}},
        {"name": "main", "match": {"prefix": "/p"}, "route": {"cluster": "backend"}},
    ]
    http_logger = als_logger("Http", "t/http", "als", "traceparent", "x-flowd-seq")
    tcp_logger = als_logger("Tcp", "t/tcp", "als")
    options = {"flush_access_log_on_connected": True}
    return {
        "node": {"id": "pod-a", "cluster": "infra/public"},
        "static_resources": {
            "listeners": [
                listener("http", http_filter(routes, http_logger)),
                listener("tcp", tcp_filter("backend", tcp_logger, access_log_options=options)),
            ],
            "clusters": [
                cluster("backend", ("127.0.0.1", backend_port)),
                cluster("als", ("127.0.0.1", als_port), http2=True),
            ],
        },
    }


def ask(port: int, requests: list[tuple[str, dict[str, str]]]) -> tuple[str, list[int]]:
    """Send requests over one connection; returns its local address, and the statuses."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        client.connect()
        local = "{}:{}".format(*client.sock.getsockname())
        statuses: list[int] = []
        for path, headers in requests:
            client.request("GET", path, headers=headers)
            answer = client.getresponse()
            answer.read()
            statuses.append(answer.status)
        return local, statuses
    finally:
        client.close()


def sockets(row: Any) -> list[str]:
    """The four addresses as address:port, "" for an absent one."""
    ports = [int(row[f"{side}_port"]) for side in SIDES]
    texts = [unpack(row[f"{side}_addr"].tobytes()) for side in SIDES]
    return [f"{text}:{port}" if port else "" for text, port in zip(texts, ports, strict=True)]


def connections(rows: RequestBatch) -> ConnectionBatch:
    """The records that the kernel would give for the entries' sockets."""
    pairs = {tuple(ends) for row in rows for ends in (sockets(row)[:2], sockets(row)[2:])}
    begun = np.uint64(rows["time_ns"].min() - 10**9)
    return np.concatenate(
        [
            connection(number, src, dst, time_ns=begun, first_ns=begun)
            for number, (src, dst) in enumerate(sorted(pairs), 1)
            if dst
        ]
    )


async def test_entries_say_what_was_sent(als: Als, backend: Backend, tmp_path: Path) -> None:
    backend_port = backend.server_address[1]
    with running_envoy(gateway(als.port, backend_port), tmp_path / "a b", concurrency=2) as envoy:
        sent = [
            (
                f"/p/{n}?q={n}",
                {"x-status": str(status), "x-size": str(n), "traceparent": TRACEPARENT},
            )
            for n, status in enumerate([200, 404, 503, 200, 201])
        ]
        local, statuses = await asyncio.to_thread(ask, envoy.ports["http"], sent)
        other, odd = await asyncio.to_thread(
            ask, envoy.ports["http"], [("/old/a", {}), ("/away", {}), ("/none", {})]
        )
        rows = await als.rows(8)
        assert als.server.status()[0].detail.endswith("entries 8")
    listening, serving = f"127.0.0.1:{envoy.ports['http']}", f"127.0.0.1:{backend_port}"
    assert statuses == [200, 404, 503, 200, 201]
    assert odd == [200, 301, 404]
    by_path = {row["path"]: row for row in rows}
    for (path, headers), status in zip(sent, statuses, strict=True):
        row = by_path[path]
        assert sockets(row) == [local, listening, backend.peers[path], serving]
        assert (row["status"], row["method"], row["scheme"]) == (status, "GET", "http")
        assert row["bytes_sent"] == int(headers["x-size"])
        assert row["headers"] == {"traceparent": TRACEPARENT}
        assert row["traceparent"] == TRACEPARENT
        names = [row[name] for name in ("route_name", "cluster", "details")]
        assert names == ["main", "backend", "via_upstream"]
        assert 0 < row["upstream_ns"] <= row["duration_ns"]
        assert row["http_version"] == HttpVersion.HTTP11
        assert row["attempts"] == 1
    rewritten, away, none = (by_path[path] for path in ("/new/a", "/away", "/none"))
    assert rewritten["original_path"] == "/old/a"
    assert sockets(away) == sockets(none) == [other, listening, "", ""]
    assert (away["route_name"], away["cluster"], away["upstream_ns"]) == ("away", "", 0)
    assert (none["route_name"], none["details"], none["flags"]) == ("", "route_not_found", 1 << 8)
    for name, value in {
        "node_id": "pod-a",
        "node_cluster": "infra/public",
        "log_name": "t/http",
    }.items():
        assert set(rows[name]) == {value}
    assert (rows["kind"] == EntryKind.HTTP).all()
    assert not als.losses.total()


async def test_real_entries_find_their_connections(
    als: Als, backend: Backend, tmp_path: Path
) -> None:
    with running_envoy(gateway(als.port, backend.server_address[1]), tmp_path) as envoy:
        asked = [(f"/p/{n}", dict[str, str]()) for n in range(20)]
        clients = [asyncio.to_thread(ask, envoy.ports["http"], asked) for _ in range(4)]
        locals_ = [local for local, _ in await asyncio.gather(*clients)]
        rows = await als.rows(80)
    records = connections(rows)
    now = int(rows["time_ns"].max()) + 10**9
    joined = Join(KnownAddresses("127.0.0.1"), Losses()).step(records, rows, now)
    assert len(joined.requests) == 80
    ids = {record["conn_id"]: record for record in records}
    for row in joined.requests:
        assert ids[row["down_conn"]]["src_port"] == row["client_port"]
        assert ids[row["up_conn"]]["src_port"] == row["up_local_port"]
    assert len(set(joined.requests["down_conn"].tolist())) == len(set(locals_)) == 4
    assert len(joined.flows) == len(records) + 160


async def test_tcp_connection_is_one_entry(als: Als, backend: Backend, tmp_path: Path) -> None:
    with running_envoy(gateway(als.port, backend.server_address[1]), tmp_path) as envoy:
        port = envoy.ports["tcp"]
        local, statuses = await asyncio.to_thread(ask, port, [("/p/tcp", {"x-size": "7"})])
        (row,) = await als.rows(1)
    serving = f"127.0.0.1:{backend.server_address[1]}"
    assert statuses == [200]
    assert sockets(row) == [local, f"127.0.0.1:{port}", backend.peers["/p/tcp"], serving]
    assert (row["kind"], row["log_type"]) == (EntryKind.TCP, 3)
    assert (row["cluster"], row["method"], row["log_name"]) == ("backend", "", "t/tcp")
    assert row["bytes_received"] > 0
    assert row["bytes_sent"] > 7
    assert row["request_id"]
    assert "left out 1" in als.server.status()[0].detail, "TcpUpstreamConnected"
    assert not als.losses.total()


async def test_envoy_that_restarts_is_heard_again(
    als: Als, backend: Backend, tmp_path: Path
) -> None:
    config = gateway(als.port, backend.server_address[1])
    for life in range(2):
        config["node"]["id"] = f"pod-{life}"
        with running_envoy(config, tmp_path / str(life)) as envoy:
            await asyncio.to_thread(ask, envoy.ports["http"], [(f"/p/{life}", {})])
            (row,) = await als.rows(1)
            assert (row["node_id"], row["path"]) == (f"pod-{life}", f"/p/{life}")


async def test_backend_that_refuses_is_told_by_its_flag(als: Als, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        closed = holder.getsockname()[1]
    with running_envoy(gateway(als.port, closed), tmp_path) as envoy:
        _, statuses = await asyncio.to_thread(ask, envoy.ports["http"], [("/p/x", {})])
        (row,) = await als.rows(1)
    assert statuses == [503]
    assert row["flags"] == 1 << 5, "UF"
    assert sockets(row)[2:] == ["", f"127.0.0.1:{closed}"]
    assert row["transport_failure"]
