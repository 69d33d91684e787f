"""Backends of the demo: HTTP/1.1 servers that answer with their pod's name and the request.

One process serves all pods; each listening socket is in its pod's network namespace.
"""

import ipaddress
import json
import socket
import ssl
import sys
import threading
import time
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from demo import network
from demo.cluster.topology import DemoPod, Topology
from demo.state import DemoState

MAX_BODY = 1 << 20


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One request as a backend received it; a line of `seen.jsonl`.

    Attributes:
        seq: number of the request from header x-flowd-seq; 0 without one.
        time_ns: Unix time of arrival.
        pod, namespace, app: the serving pod.
        peer, peer_port, local, local_port: addresses of the backend's socket.
        headers: as received, names in lower case; the last of duplicates.
        status: status of the response.
    """

    seq: int
    time_ns: int
    pod: str
    namespace: str
    app: str
    peer: str
    peer_port: int
    local: str
    local_port: int
    method: str
    host: str
    path: str
    request_id: str
    headers: dict[str, str]
    status: int


def flaky_status(seq: int) -> int:
    """Status of the flaky backend: 500 for a quarter of requests, 503 for a quarter, else 200."""
    return {1: 500, 3: 503}.get(seq % 4, 200)


def delay(app: str, path: str, seq: int) -> float:
    """Seconds that a backend waits before it answers."""
    if app != "slow":
        return 0.0
    return 1.0 if path.startswith("/timeout") else 0.2 + seq % 4 * 0.1


class Recorder:
    """Appends JSON lines to a file, from any thread; None as path discards them."""

    def __init__(self, path: Path | None) -> None:
        self._stream = path.open("a", buffering=1) if path else None
        self._lock = threading.Lock()

    def write(self, record: dict[str, Any]) -> None:
        if self._stream:
            with self._lock:
                self._stream.write(json.dumps(record) + "\n")

    def close(self) -> None:
        if self._stream:
            self._stream.close()


class Handler(BaseHTTPRequestHandler):
    """Answers any method with a JSON description of the request."""

    protocol_version = "HTTP/1.1"
    server_version = "flowd-demo"
    disable_nagle_algorithm = True
    wbufsize = -1
    pod: DemoPod
    recorder: Recorder

    def _answer(self) -> None:
        body_length = min(int(self.headers.get("content-length") or 0), MAX_BODY)
        self.rfile.read(body_length)
        if "chunked" in self.headers.get("transfer-encoding", ""):
            self.close_connection = True
        seen = self._record()
        self.recorder.write(asdict(seen))
        time.sleep(delay(self.pod.app, self.path, seen.seq))
        body = json.dumps(asdict(seen), indent=1).encode() + b"\n"
        self.send_response(seen.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("x-flowd-backend", f"{self.pod.namespace}/{self.pod.name}")
        self.send_header("x-request-id", seen.request_id)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _answer

    def _record(self) -> SeenRequest:
        headers = {name.lower(): value for name, value in self.headers.items()}
        number = headers.get("x-flowd-seq", "")
        seq = int(number) if number.isdecimal() and len(number) < 19 else 0
        local = self.connection.getsockname()
        return SeenRequest(
            seq=seq,
            time_ns=time.time_ns(),
            pod=self.pod.name,
            namespace=self.pod.namespace,
            app=self.pod.app,
            peer=plain(self.client_address[0]),
            peer_port=self.client_address[1],
            local=plain(local[0]),
            local_port=local[1],
            method=self.command,
            host=headers.get("host", ""),
            path=self.path,
            request_id=headers.get("x-request-id", ""),
            headers=headers,
            status=flaky_status(seq) if self.pod.app == "flaky" else 200,
        )

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the gateway writes the access log."""


class Server(ThreadingHTTPServer):
    """HTTP server on a socket that already listens."""

    daemon_threads = True

    def __init__(self, listening: socket.socket, handler: type[Handler]) -> None:
        super().__init__(("", 0), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore closed connections; log every other error."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError, TimeoutError)):
            super().handle_error(request, client_address)  # pyright: ignore[reportArgumentType]


def plain(address: str) -> str:
    """An IP address without the IPv4-mapped prefix of a dual-stack socket."""
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def serve(
    topology: Topology, pod: DemoPod, directory: Path, recorder: Recorder
) -> threading.Thread:
    """Serve a pod from a new thread, which is returned."""
    listening = network.listen(topology, pod, pod.port)
    if pod.role == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "tls-echo.crt", directory / "tls-echo.key")
        listening = context.wrap_socket(listening, server_side=True, do_handshake_on_connect=False)
    handler = type(f"Handler_{pod.short}", (Handler,), {"pod": pod, "recorder": recorder})
    server = Server(listening, handler)
    thread = threading.Thread(target=server.serve_forever, args=(60,))
    thread.start()
    return thread


def serve_all(state: DemoState, directory: Path) -> None:
    """Serve all backends of a demo from threads that keep running after the return."""
    recorder = Recorder(directory / "seen.jsonl" if state.record else None)
    for pod in state.topology.backends:
        serve(state.topology, pod, directory, recorder)
