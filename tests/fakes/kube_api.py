"""A kube-apiserver double: real HTTP/1.1 over a real socket, lists, pages, watches and discovery.

It follows the API's documented behaviour: a list at resourceVersion 0 comes from the cache and
ignores `limit`, others are paged with `continue`; a watch replays the events after its version, or
ends with 410 if they were compacted; objects keep their versions; unknown paths are 404. A test
injects faults, each for one request.
"""

import asyncio
import json
import ssl
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
GATEWAY = "/apis/gateway.networking.k8s.io"
PODS, SERVICES, NAMESPACES, NODES = (
    f"/api/v1/{plural}" for plural in ("pods", "services", "namespaces", "nodes")
)
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
INGRESSES, CLASSES = (
    f"/apis/networking.k8s.io/v1/{plural}" for plural in ("ingresses", "ingressclasses")
)
REPLICA_SETS, JOBS = "/apis/apps/v1/replicasets", "/apis/batch/v1/jobs"
REQUIRED = (
    PODS, SERVICES, NAMESPACES, NODES, SLICES, INGRESSES, CLASSES, REPLICA_SETS, JOBS
)  # fmt: skip
HTTP_ROUTES = f"{GATEWAY}/v1/httproutes"
REASONS = {200: "OK", 401: "Unauthorized", 404: "Not Found", 410: "Gone", 429: "Too Many Requests"}


@dataclass
class Fault:
    """An injected fault for one request.

    Attributes:
        status: an error, with `headers`; 0 for none.
        hang: the request is read and never answered.
        cut: the connection is closed after this many bytes of the body.
        garbage: the body sent instead of the real one.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    hang: bool = False
    cut: int | None = None
    garbage: bytes | None = None


@dataclass
class Request:
    path: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def watch(self) -> bool:
        return self.query.get("watch") == "true"


class FakeKubeApi:
    """State and controls of the double; `running` serves it."""

    def __init__(self) -> None:
        self.url = ""
        self.version = 100
        self.compacted = 0
        self.token = ""
        self.page_slice = 1 << 16
        self.cache_ignores_limit = True
        self.requests: list[Request] = []
        self.objects: dict[str, dict[tuple[str, str], Json]] = {path: {} for path in REQUIRED}
        self.history: list[tuple[int, str, str, Json]] = []
        self.faults: dict[tuple[str, bool], list[Fault]] = defaultdict(list)
        self.hanging = 0
        self._watches: dict[str, set[asyncio.Queue[bytes | None]]] = defaultdict(set)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._tls: ssl.SSLContext | None = None

    # Changes in the cluster

    def serve(self, path: str) -> None:
        """Install a CRD."""
        self.objects.setdefault(path, {})

    def put(self, path: str, item: Json) -> None:
        """Create or update an object, with a watch event."""
        self.version += 1
        meta = item["metadata"]
        key = meta.get("namespace", ""), meta["name"]
        kind = "MODIFIED" if key in self.objects[path] else "ADDED"
        item = {**item, "metadata": {**meta, "resourceVersion": str(self.version)}}
        self.objects[path][key] = item
        self._tell(path, kind, item)

    def delete(self, path: str, namespace: str, name: str) -> None:
        """Delete an object, with a watch event."""
        self.version += 1
        item = self.objects[path].pop((namespace, name))
        gone = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}}
        self._tell(path, "DELETED", gone)

    def compact(self) -> None:
        """Compact the history: older versions return 410."""
        self.version += 1
        self.compacted = self.version
        self.history.clear()

    def bookmark(self, path: str) -> None:
        """Send a BOOKMARK with the current version to the watches of a path."""
        self.version += 1
        self.send(path, event("BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}}))

    # Faults

    def fail(self, path: str, fault: Fault, *, watch: bool = False, times: int = 1) -> None:
        """Inject faults into the next requests for a path."""
        self.faults[path, watch] += [fault] * times

    def send(self, path: str, data: bytes) -> None:
        """Write bytes into the watches of a path."""
        for queue in self._watches[path]:
            queue.put_nowait(data)

    def cut(self, path: str) -> None:
        """Close the connections of the watches of a path."""
        for queue in self._watches[path]:
            queue.put_nowait(None)

    def seen(self, path: str, *, watch: bool = False) -> list[dict[str, str]]:
        """The query strings of all requests for a path."""
        return [r.query for r in self.requests if r.path == path and r.watch == watch]

    def watchers(self, path: str) -> int:
        """Number of open watches of a path."""
        return len(self._watches[path])

    @asynccontextmanager
    async def running(
        self, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> AsyncGenerator["FakeKubeApi"]:
        """Serve on 127.0.0.1 until the block ends."""
        # A server with `ssl` would not close sockets during their handshake.
        self._tls = tls
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        try:
            yield self
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Stop listening, and close open connections."""
        if self._server:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # let a connection accepted just now be refused
        self._watches.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        if not self._server:
            writer.transport.abort()
            return
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                if self._tls:
                    await writer.start_tls(self._tls)
                while await self._request(reader, writer):
                    pass
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.splitlines()
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        url = urlsplit(first.split()[1])
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        request = Request(url.path, query, headers)
        self.requests.append(request)
        faults = self.faults[request.path, request.watch]
        fault = faults.pop(0) if faults else Fault()
        if fault.hang:
            self.hanging += 1
            await reader.read(1)  # until the client disconnects
            return False
        if fault.status:
            return await self._answer(writer, fault.status, status(fault.status), fault)
        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            return await self._answer(writer, 401, status(401))
        if request.watch and request.path in self.objects:
            return await self._watch(request, writer, fault)
        code, body = self._document(request)
        return await self._answer(writer, code, body, fault)

    def _document(self, request: Request) -> tuple[int, bytes]:
        path, query = request.path, request.query
        if path in self.objects:
            return self._list(path, query)
        served = [known.rpartition("/") for known in self.objects if known.startswith(path + "/")]
        if not served or not path.startswith("/apis/"):
            return 404, status(404)
        if any(base == path for base, _, _ in served):
            verbs = ["create", "delete", "get", "list", "watch"]
            names = [
                {"name": name, "verbs": verbs if part == name else ["get"]}
                for _, _, name in served
                for part in (name, f"{name}/status")
            ]
            return 200, dump({"kind": "APIResourceList", "resources": names})
        versions = sorted({base.rpartition("/")[2] for base, _, _ in served}, reverse=True)
        return 200, dump({"kind": "APIGroup", "versions": [{"version": v} for v in versions]})

    def _list(self, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        items = sorted(self.objects[path].items())
        wanted = query.get("resourceVersion", "")
        size, start = int(query.get("limit", "0")), 0
        meta: Json = {"resourceVersion": str(self.version)}
        if "continue" in query:
            version, start_text = query["continue"].split("-")
            start = int(start_text)
            if int(version) < self.compacted:
                return 410, status(410)
            meta["resourceVersion"] = version
        elif wanted == "0" and self.cache_ignores_limit:
            size = 0
        if wanted and int(wanted) > self.version:
            return 504, status(504)
        page = items[start : start + size] if size else items
        if start + len(page) < len(items):
            meta["continue"] = f"{meta['resourceVersion']}-{start + len(page)}"
            meta["remainingItemCount"] = len(items) - start - len(page)
        # Lists of custom resources have their fields in alphabetical order
        body: Json = {"apiVersion": "v1", "items": [item for _, item in page], "kind": "List"}
        return 200, dump({**body, "metadata": meta})

    async def _answer(
        self, writer: asyncio.StreamWriter, code: int, body: bytes, fault: Fault | None = None
    ) -> bool:
        fault = fault or Fault()
        body = body if fault.garbage is None else fault.garbage
        head = f"HTTP/1.1 {code} {REASONS.get(code, 'Error')}\r\nContent-Type: application/json\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in fault.headers.items())
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        body = body if fault.cut is None else body[: fault.cut]
        for at in range(0, len(body), self.page_slice):
            writer.write(body[at : at + self.page_slice])
            await writer.drain()
            await asyncio.sleep(0)
        return fault.cut is None

    async def _watch(self, request: Request, writer: asyncio.StreamWriter, fault: Fault) -> bool:
        path = request.path
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        since = int(request.query.get("resourceVersion") or 0)
        if since < self.compacted:
            gone = json.loads(status(410))
            writer.write(_chunk(event("ERROR", gone)) + b"0\r\n\r\n")
            await writer.drain()
            return True
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        for version, where, kind, item in self.history:
            if where == path and version > since:
                queue.put_nowait(event(kind, item))
        if fault.garbage is not None:
            queue.put_nowait(fault.garbage)
        self._watches[path].add(queue)
        await writer.drain()
        left = fault.cut
        try:
            while (data := await queue.get()) is not None:
                part = data if left is None else data[:left]
                for at in range(0, len(part), self.page_slice):
                    writer.write(_chunk(part[at : at + self.page_slice]))
                    await writer.drain()
                if left is not None and (left := left - len(part)) <= 0:
                    return False
        finally:
            self._watches[path].discard(queue)
        return False

    def _tell(self, path: str, kind: str, item: Json) -> None:
        self.history.append((self.version, path, kind, item))
        self.send(path, event(kind, item))


def event(kind: str, item: Json) -> bytes:
    """One line of a watch response."""
    return dump({"type": kind, "object": item}) + b"\n"


def dump(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def status(code: int) -> bytes:
    """A Status body."""
    reason = {410: "Expired"}.get(code, REASONS.get(code, "Error"))
    message = f"refused by the double with {code}"
    return dump({"kind": "Status", "code": code, "reason": reason, "message": message})


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def pod(name: str, address: str, namespace: str = "shop", **fields: Any) -> Json:
    """A running Pod, also with fields that flowd ignores."""
    meta: Json = {"name": name, "namespace": namespace, "uid": f"uid-{name}"}
    meta |= {"labels": {"app": name}, "managedFields": [{"manager": "kubelet", "fieldsV1": {}}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"nodeName": "node-1", "containers": [{"name": "main", "image": "x"}]},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
        **fields,
    }


def http_route(name: str, host: str = "shop.example") -> Json:
    """An HTTPRoute of Gateway shop/web."""
    return {
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": None},
        "spec": {"parentRefs": [{"name": "web"}], "hostnames": [host], "rules": None},
    }


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the test's timeout bounds the wait."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.002)
