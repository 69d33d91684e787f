"""Run nginx and a backend that echoes the request line and the headers it gets."""

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

from flowd.parity.nginx.servers import Configuration
from tests.nginx.render import nginx_conf

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client of nginx got.

    Attributes:
        backend: name of the backend that nginx chose; "" if nginx answered itself.
        target: target that the backend got.
        names: header names that the backend got, in lower case.
    """

    status: int
    location: str = ""
    backend: str = ""
    target: str = ""
    names: frozenset[str] = frozenset()


class Backend:
    """An HTTP/1.1 server that answers each request with its target and headers as JSON."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as file:
            line = file.readline().decode("latin-1").split(" ")
            headers: dict[str, str] = {}
            while (header := file.readline().decode("latin-1").strip()) != "":
                name, _, value = header.partition(":")
                headers[name.strip().lower()] = value.strip()
            file.read(int(headers.get("content-length", "0")))
            body = json.dumps({"target": line[1], "headers": headers}).encode()
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nX-Echo: 1\r\n"
                + f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )

    def close(self) -> None:
        """Stop accepting."""
        self._socket.close()


class Client:
    """Sends raw requests to nginx, so that no library changes their target."""

    def __init__(self, port: int) -> None:
        self.port = port

    def send(
        self,
        target: str,
        host: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body_bytes: int = 0,
    ) -> Answer:
        """Send one request and read its answer."""
        fields = {"Host": host, "Connection": "close", **(headers or {})}
        if body_bytes:
            fields["Content-Length"] = str(body_bytes)
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(
            f"{k}: {v}\r\n" for k, v in fields.items()
        )
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            connection.sendall(head.encode("latin-1") + b"\r\n")
            with contextlib.suppress(OSError):  # nginx may refuse a large body before it is sent
                connection.sendall(b"x" * body_bytes)
            raw = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(1 << 16):
                    raw += piece
        return _answer(raw)


def _answer(raw: bytes) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    status, location = int(first.split(" ")[1]), fields.get("location", "")
    if "x-echo" not in fields:
        return Answer(status, location)
    echoed = json.loads(body)
    got: dict[str, str] = echoed["headers"]
    return Answer(status, location, got.get("x-backend", ""), echoed["target"], frozenset(got))


@contextlib.contextmanager
def running_nginx(configuration: Configuration, folder: Path) -> Generator[Client]:
    """nginx with a configuration and its backend inside the block; both are stopped after it."""
    assert NGINX
    backend = Backend()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    path = folder / "nginx.conf"
    path.write_text(nginx_conf(configuration, str(folder), port, backend.port))
    errors = (folder / "stderr.log").open("wb")
    process = subprocess.Popen([NGINX, "-c", path, "-p", folder, "-e", "stderr"], stderr=errors)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                text = (folder / "stderr.log").read_text()
                assert process.poll() is None, text
                assert time.monotonic() < deadline, text
                time.sleep(0.02)
        yield Client(port)
    finally:
        process.terminate()
        process.wait()
        errors.close()
        backend.close()
