"""Encode attributed REQUEST rows as JSON lines, the output contract of `flowd replay`."""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from flowd.commands.replay.flows import Recorded
from flowd.identity.table import IdentityTable
from flowd.model.address import unpack
from flowd.model.directory import Directory
from flowd.model.endpoint import EndpointKind
from flowd.model.enums import Attribution, EntryKind
from flowd.model.records.request import RequestBatch
from flowd.model.route import BackendRef, RouteRef
from flowd.text import safe_json
from flowd.wire.json import timestamp


class RouteLine(msgspec.Struct):
    """The route of an entry; `rule` and `match` are indices, None if not known."""

    kind: str
    namespace: str
    name: str
    rule: int | None
    match: int | None


class BackendLine(msgspec.Struct):
    """`pod` is the pod's name if the manifests have its address, else the address."""

    namespace: str
    name: str
    port: int
    pod: str | None


class Downstream(msgspec.Struct):
    """Addresses of the client (remote) and the proxy (local), `ip:port`."""

    remote: str | None
    local: str | None


class Upstream(msgspec.Struct):
    """Addresses of the proxy (local) and the backend (remote), `ip:port`."""

    local: str | None
    remote: str | None


class Line(msgspec.Struct):
    """One output line: these keys, in this order, are the contract of `flowd replay`."""

    input: str
    time: str
    request_id: str | None
    gateway: str | None
    listener: str | None
    route: RouteLine | None
    backend: BackendLine | None
    attribution: str
    status: int | None
    duration_us: int
    downstream: Downstream
    upstream: Upstream
    method: str | None
    host: str | None
    path: str | None


class LineEncoder:
    """Encodes attributed batches.

    Attributes:
        counts: entries encoded or counted so far, by attribution.
    """

    def __init__(self, directory: Directory, identities: IdentityTable) -> None:
        self._directory = directory
        self._identities = identities
        self.counts: dict[str, int] = {}

    def lines(
        self, name: str, batch: RequestBatch, recorded: dict[int, Recorded]
    ) -> Iterator[bytes]:
        """JSON of each row of `batch`, in order, without line ends.

        Args:
            name: name of the input file.
            recorded: by row, the route that a flow log recorded; it goes before the attribution.
        """
        encode = msgspec.json.Encoder().encode
        endpoints = self._identities.resolve(batch["up_remote_addr"]).tolist()
        for at, row in enumerate(batch):
            route = self._directory.routes[int(row["route"])]
            backend = self._directory.backends[int(row["backend"])]
            evidence = Attribution(int(row["attribution"])).name.lower()
            if extension := recorded.get(at):
                route, backend, evidence = _recorded_route(extension)
            self.counts[evidence] = self.counts.get(evidence, 0) + 1
            line = self._line(name, row, (route, backend, evidence), endpoints[at])
            yield safe_json(encode(line))

    def count(self, batch: RequestBatch) -> None:
        """Count the entries of a batch without encoding them."""
        for number in batch["attribution"].tolist():
            evidence = Attribution(number).name.lower()
            self.counts[evidence] = self.counts.get(evidence, 0) + 1

    def _line(
        self, name: str, row: np.void, found: tuple[RouteRef, BackendRef, str], endpoint: int
    ) -> Line:
        route, backend, evidence = found
        http = row["kind"] == EntryKind.HTTP
        return Line(
            input=name,
            time=timestamp(int(row["time_ns"])),
            request_id=row["request_id"] or None,
            gateway=route.gateway_id or None,
            listener=route.listener or None,
            route=_route(route),
            backend=self._backend(backend, row, endpoint),
            attribution=evidence,
            status=int(row["status"]) if http else None,
            duration_us=int(row["duration_ns"]) // 1000,
            downstream=Downstream(_socket(row, "client"), _socket(row, "local")),
            upstream=Upstream(_socket(row, "up_local"), _socket(row, "up_remote")),
            method=row["method"] or None,
            host=row["host"] or row["sni"] or None,
            path=row["original_path"] or row["path"] or None,
        )

    def _backend(self, backend: BackendRef, row: np.void, endpoint: int) -> BackendLine | None:
        if not backend.name:
            return None
        known = self._directory.endpoints[endpoint]
        pod = (
            known.name
            if known.kind == EndpointKind.POD
            else unpack(row["up_remote_addr"].tobytes())
        )
        return BackendLine(backend.namespace, backend.name, backend.port, pod or None)


def _route(route: RouteRef) -> RouteLine | None:
    if not route.kind:
        return None
    rule, match = (index if index >= 0 else None for index in (route.rule, route.match))
    return RouteLine(route.kind, route.namespace, route.name, rule, match)


def _socket(row: np.void, side: str) -> str | None:
    host = unpack(row[f"{side}_addr"].tobytes())
    port = int(row[f"{side}_port"])
    if not host:
        return None
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _recorded_route(extension: dict[str, Any]) -> tuple[RouteRef, BackendRef, str]:
    """Route, backend and attribution of a flow's extension, as exporters/hubble writes it."""
    namespace, _, gateway = _text(extension, "gateway").partition("/")
    kind, _, rest = _text(extension, "route").partition("/")
    route_namespace, _, name = rest.partition("/")
    rule, match = (_index(extension.get(key)) for key in ("rule", "match"))
    route = RouteRef(
        namespace, gateway, _text(extension, "listener"), kind, route_namespace, name, rule, match
    )
    backend_namespace, _, service = _text(extension, "backend").partition("/")
    backend, _, port = service.rpartition(":")
    number = int(port) if port.isascii() and port.isdecimal() and len(port) < 6 else 0
    evidence = _text(extension, "attribution").upper()
    known = evidence if evidence in Attribution.__members__ else "NONE"
    return route, BackendRef("Service", backend_namespace, backend, number), known.lower()


def _text(extension: dict[str, Any], key: str) -> str:
    value = extension.get(key)
    return value[:1024] if isinstance(value, str) else ""


def _index(value: Any) -> int:
    return int(value) if isinstance(value, (int, float)) and 0 <= value < 1 << 16 else -1
