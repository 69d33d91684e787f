"""MetricsServer: a small HTTP/1.1 server for /metrics, /healthz and /readyz."""

import asyncio
import gzip
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from http import HTTPStatus

from prometheus_client.exposition import choose_encoder, gzip_accepted
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector, CollectorRegistry

from flowd.errors import UsageError
from flowd.model.status import PartStatus, State
from flowd.text import printable

log = logging.getLogger(__name__)

REQUEST_BYTES = 16384
REQUEST_SECONDS = 5.0
RESPONSE_SECONDS = 15.0
CONNECTIONS = 32
TEXT = "text/plain; charset=utf-8"

HttpResponse = tuple[HTTPStatus, list[tuple[str, str]], bytes]
"""Status, header fields, body."""


class MetricsServer:
    """Serves a registry and the agent's health; one request a connection.

    A client has 5 s to send its request and 15 s to read the response. At most 32 clients are
    served at a time.

    Args:
        listen: `host:port`, `:port` for every address, `[::1]:port`; port 0 picks one.
        registry: collected on the event loop, encoded in a thread.
        health: state of every part; /readyz is 503 while a part has failed.
    """

    def __init__(
        self,
        listen: str,
        registry: CollectorRegistry,
        health: Callable[[], Sequence[PartStatus]] = tuple,
    ) -> None:
        self._listen = listen
        self._registry = registry
        self._health = health
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._writing = asyncio.Semaphore(2)

    async def start(self) -> None:
        """Listen and begin to serve.

        Raises:
            UsageError: the address is malformed or cannot be bound.
        """
        host, port = split_listen(self._listen)
        try:
            self._server = await asyncio.start_server(
                self._serve_client, host or None, port, limit=REQUEST_BYTES
            )
        except OSError as error:
            number = error.errno or 0
            reason = os.strerror(number) if number > 0 else error.strerror or str(error)
            raise UsageError(
                f"metrics: cannot listen on {self._listen}: {reason}",
                "choose another address with --metrics-listen",
            ) from error

    @property
    def address(self) -> str:
        """The listen address as `host:port`, with the real port."""
        if self._server is None or not self._server.sockets:
            return self._listen
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def stop(self) -> None:
        """Close the listening socket and the open connections."""
        if self._server is None:
            return
        self._server.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._clients) >= CONNECTIONS:
            writer.transport.abort()
            return
        self._clients.add(task)
        writer.transport.set_write_buffer_limits(0)  # drain() then waits for the last byte
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            method, response = await self._respond(head)
            async with asyncio.timeout(RESPONSE_SECONDS):
                writer.write(_encode(method, response))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            log.debug("client gave up or was too slow")
        finally:
            writer.transport.abort()
            self._clients.discard(task)

    async def _respond(self, head: bytes) -> tuple[str, HttpResponse]:
        request = _parse(head)
        if request is None:
            return "GET", _text(HTTPStatus.BAD_REQUEST)
        method, path, headers = request
        if method not in ("GET", "HEAD"):
            status, fields, body = _text(HTTPStatus.METHOD_NOT_ALLOWED)
            return method, (status, [*fields, ("Allow", "GET, HEAD")], body)
        if path == "/metrics":
            return method, await self._metrics(headers)
        if path in ("/healthz", "/readyz"):
            parts = self._health()
            failed = path == "/readyz" and any(part.state is State.FAILED for part in parts)
            status = HTTPStatus.SERVICE_UNAVAILABLE if failed else HTTPStatus.OK
            return method, _text(status, [_status_line(part) for part in parts])
        return method, _text(HTTPStatus.NOT_FOUND)

    async def _metrics(self, headers: dict[str, str]) -> HttpResponse:
        async with self._writing:
            families: list[Family] = []
            for family in self._registry.collect():
                families.append(family)
                await asyncio.sleep(0)
            return await asyncio.to_thread(
                _encode_families,
                families,
                headers.get("accept", ""),
                gzip_accepted(headers.get("accept-encoding", "")),
            )


class _Collected(Collector):
    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Family]:
        return iter(self._families)


def _encode_families(families: list[Family], accept: str, compress: bool) -> HttpResponse:
    encoder, content_type = choose_encoder(accept)
    body = encoder(_Collected(families))
    fields = [("Content-Type", content_type), ("Vary", "Accept, Accept-Encoding")]
    if compress:
        body = gzip.compress(body, compresslevel=5)
        fields.append(("Content-Encoding", "gzip"))
    return HTTPStatus.OK, fields, body


def split_listen(listen: str) -> tuple[str, int]:
    """Host (without brackets, "" for all) and port of `host:port`.

    Raises:
        UsageError: the address has another form.
    """
    host, colon, port = listen.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if (
        not colon
        or not (port.isascii() and port.isdecimal())
        or int(port) > 65535
        or (":" in host and not bracketed)
    ):
        raise UsageError(
            f"metrics: {listen!r} is no address to listen on",
            "write host:port, [::1]:port or :port",
        )
    return host[1:-1] if bracketed else host, int(port)


def _parse(head: bytes) -> tuple[str, str, dict[str, str]] | None:
    """Method, path without query, and headers by lower-case name; None when it is not HTTP/1."""
    request, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    words = request.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        key = name.strip().lower()
        headers[key] = f"{headers[key]},{value.strip()}" if key in headers else value.strip()
    return words[0], words[1].partition("?")[0], headers


def _encode(method: str, response: HttpResponse) -> bytes:
    status, fields, body = response
    lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
    lines += [f"{name}: {value}" for name, value in fields]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + (b"" if method == "HEAD" else body)


def _text(status: HTTPStatus, lines: Iterable[str] = ()) -> HttpResponse:
    body = "".join(f"{line}\n" for line in (status.phrase, *lines))
    return status, [("Content-Type", TEXT)], body.encode()


def _status_line(part: PartStatus) -> str:
    return printable(f"{part.part} {part.state} {part.detail}".rstrip())
