"""Receivers for a test's Envoy: backends that record requests, and access-log services."""

# grpc's handler factories are generic without bounds, which strict checking calls unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import http.server
import socketserver
import threading
import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from flowd.wire.als.als_pb2 import Message

ALS = "envoy.service.accesslog.v3.AccessLogService"
OTLP = "opentelemetry.proto.collector.logs.v1.LogsService"


class LogSink:
    """Keeps the raw messages of both services, those of ALS by stream."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.streams: list[list[bytes]] = []
        self.exports: list[bytes] = []

    def stream(self, messages: Iterator[bytes], _: Any) -> bytes:
        mine: list[bytes] = []
        with self._lock:
            self.streams.append(mine)
        for raw in messages:
            with self._lock:
                mine.append(raw)
        return b""

    def export(self, raw: bytes, _: Any) -> bytes:
        with self._lock:
            self.exports.append(raw)
        return b""

    def counts(self) -> tuple[int, int]:
        """Numbers of received entries: ALS, OTLP."""
        with self._lock:
            als = [Message.FromString(raw) for stream in self.streams for raw in stream]
            logs = [ExportLogsServiceRequest.FromString(raw) for raw in self.exports]
        return (
            sum(len(message.http.entries) + len(message.tcp.entries) for message in als),
            sum(
                len(scope.log_records)
                for request in logs
                for group in request.resource_logs
                for scope in group.scope_logs
            ),
        )


@contextmanager
def log_sink() -> Generator[tuple[LogSink, int]]:
    """A server for ALS and OTLP logs, and its port on loopback."""
    sink = LogSink()
    server = grpc.server(ThreadPoolExecutor(16))
    services = {
        ALS: {"StreamAccessLogs": grpc.stream_unary_rpc_method_handler(sink.stream)},
        OTLP: {"Export": grpc.unary_unary_rpc_method_handler(sink.export)},
    }
    for name, methods in services.items():
        handler = grpc.method_handlers_generic_handler(name, methods)
        server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield sink, port
    finally:
        server.stop(grace=None).wait()


class _Http(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, service: str, seen: dict[str, list[str]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.service = service
        self.seen = seen


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        assert isinstance(self.server, _Http)
        self.rfile.read(int(self.headers["content-length"] or 0))
        visits = self.server.seen[self.headers["x-flowd-seq"]]
        visits.append(self.server.service)
        if self.path.startswith("/slow"):
            time.sleep(0.6)  # longer than the rule's timeout
        status = 503 if self.path.startswith("/retry") and len(visits) == 1 else 200
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    do_POST = do_OPTIONS = do_PUT = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True


class _Once(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(4096)
        self.request.sendall(b"bye")


def _port(server: socketserver.TCPServer) -> int:
    return server.socket.getsockname()[1]


@contextmanager
def backends(
    http_services: list[str], tcp_services: list[str]
) -> Generator[tuple[dict[str, tuple[str, int]], dict[str, list[str]]]]:
    """Servers by `namespace/name` of their Service, and the Services that received each seq."""
    seen: dict[str, list[str]] = defaultdict(list)
    with ExitStack() as stack:
        found: dict[str, tuple[str, int]] = {}
        servers: dict[str, socketserver.TCPServer] = {
            name: _Http(name, seen) for name in http_services
        }
        servers |= {name: _Tcp(("127.0.0.1", 0), _Once) for name in tcp_services}
        for name, server in servers.items():
            stack.callback(server.server_close)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            found[name] = "127.0.0.1", _port(server)
        yield found, seen
