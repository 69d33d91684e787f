"""A process with a backend of every protocol, which records the received requests.

`python -m tests.envoy.pod_backend HOST CERTIFICATE KEY` prints its ports as JSON and, at the end of
its standard input, the requests: `[protocol, id, peer]` each.
"""

# grpc's handler factories are generic without bounds, which strict checking calls unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import base64
import hashlib
import http.server
import json
import socket
import socketserver
import ssl
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
SEEN: list[tuple[str, str, str]] = []


def note(protocol: str, number: str, peer: tuple[str, int]) -> None:
    SEEN.append((protocol, number, "{}:{}".format(*peer)))


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True
    protocol = "tcp"
    context: ssl.SSLContext | None = None


class Web(http.server.BaseHTTPRequestHandler):
    """Answers with as many bytes as it received; echoes one message of a web socket."""

    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)

    def do_GET(self) -> None:
        upgrade = self.headers["upgrade"] == "websocket"
        note("websocket" if upgrade else "web", self.headers["x-request-id"], self.client_address)
        if upgrade:
            self._websocket()
            return
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def _websocket(self) -> None:
        key = self.headers["sec-websocket-key"].encode() + WEBSOCKET
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "Upgrade")
        self.send_header(
            "sec-websocket-accept", base64.b64encode(hashlib.sha1(key).digest()).decode()
        )
        self.end_headers()
        head = self.rfile.read(6)  # a text of less than 126 bytes, masked
        text = bytes(a ^ head[2 + at % 4] for at, a in enumerate(self.rfile.read(head[1] & 127)))
        self.wfile.write(bytes([0x81, len(text)]) + text)
        self.rfile.read()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""


class Stream(socketserver.BaseRequestHandler):
    """Echoes one line, over TLS if the server has a certificate."""

    def handle(self) -> None:
        assert isinstance(self.server, Server)
        peer: socket.socket = self.request
        if self.server.context:
            peer = self.server.context.wrap_socket(peer, server_side=True)
        with peer:
            line = peer.makefile("rb").readline()
            note(self.server.protocol, line.decode().strip(), self.client_address)
            peer.sendall(line)


def _echo(request: bytes, context: grpc.ServicerContext) -> bytes:
    _, _, peer = context.peer().partition(":")  # ipv4:10.0.0.1:40000
    found = {str(key): str(value) for key, value in context.invocation_metadata()}
    SEEN.append(("grpc", found["x-request-id"], peer))
    return request


def main(host: str, certificate: str, key: str) -> None:
    """Serve until the end of standard input."""
    ports: dict[str, int] = {}
    for name, handler in (("web", Web), ("tls", Stream), ("tcp", Stream)):
        server = Server((host, 0), handler)
        server.protocol = name
        if name == "tls":
            server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.context.load_cert_chain(certificate, key)
        ports[name] = server.socket.getsockname()[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
    calls = grpc.server(ThreadPoolExecutor(8))
    methods = {"Say": grpc.unary_unary_rpc_method_handler(_echo)}
    calls.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo.Echo", methods),))
    ports["grpc"] = calls.add_insecure_port(f"{host}:0")
    calls.start()
    print(json.dumps(ports), flush=True)
    sys.stdin.read()
    calls.stop(grace=None).wait()
    print(json.dumps(SEEN), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:4])
