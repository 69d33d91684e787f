"""Run a dialect's Envoy under traffic: its logs in every format, and the truth of each entry."""

import contextlib
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.envoy.dialect_logs import CILIUM, loggers
from tests.envoy.dialects import Names, clusters, objects, truth_text, virtual_hosts
from tests.envoy.envoy import Json, address, cluster, running_envoy
from tests.envoy.sinks import backends, log_sink

_TYPE = "type.googleapis.com/envoy.extensions.filters"
HTTP_SERVICES = ["shop/web", "shop/web-canary", "shop/api", "pay/ledger", "shop/cart-grpc",
                 "shop/cart-grpc-v2"]  # fmt: skip
TLS_SERVICES = ["shop/tls-backend", "shop/tls-backend-2"]
TCP_SERVICES = ["shop/tcp-backend", "shop/tcp-backend-2"]
ADDRESSES = {"public": "127.0.0.2", "internal": "127.0.0.3"}
PORTS = {("public", "http"): 80, ("public", "tls"): 8443, ("public", "tcp"): 9000, ("internal", "http"): 8081}  # fmt: skip
WWW, EXTRAS = "www.shop.example", "extras.example"
PREFLIGHT = {"origin": "http://front.example", "access-control-request-method": "PUT"}
Asked = tuple[str, str, str, str, dict[str, str]]
REQUESTS: list[Asked] = [
    *[("http", "GET", WWW, f"/p/{number}?x=1", {}) for number in range(6)],
    ("http", "GET", WWW, "/api", {}),
    ("http", "GET", WWW, "/api/v1/users?id=7", {}),
    ("http", "GET", WWW, "/apiary", {}),
    ("http", "GET", WWW, "/healthz", {}),
    ("http", "GET", WWW, "/debug/vars", {"x-debug": "1"}),
    ("http", "GET", WWW, "/debug/vars", {}),
    ("http", "GET", WWW, "/old/page", {}),
    ("http", "GET", WWW, "/rewrite/deep/path?y", {}),
    ("http", "POST", WWW, "/submit", {}),
    ("http", "GET", WWW, "/submit", {}),
    ("http", "GET", WWW, "/q?v=2", {}),
    ("http", "GET", WWW, "/q?v=3", {}),
    ("http", "GET", WWW, "/mirror/x", {}),
    ("http", "GET", WWW, "/dead", {}),
    ("http", "GET", WWW, "/refused", {}),
    ("http", "GET", WWW, "/invalid", {}),
    ("http", "GET", WWW, "/retry", {}),
    ("http", "GET", WWW, "/admin/users", {}),
    ("http", "GET", "any.shop.example", "/x", {}),
    ("http", "GET", "nobody.example", "/", {}),
    ("http", "GET", EXTRAS, "/cors/data", {"origin": "http://front.example"}),
    ("http", "OPTIONS", EXTRAS, "/cors/data", PREFLIGHT),
    ("http", "GET", EXTRAS, "/host/x", {}),
    ("http", "GET", EXTRAS, "/full", {}),
    ("http", "GET", EXTRAS, "/full/12", {}),
    ("http", "GET", EXTRAS, "/full/x", {}),
    ("http", "GET", EXTRAS, "/limited", {}),
    ("internal", "POST", "grpc.shop.example", "/cart.v1.Cart/Get", {}),
    ("internal", "POST", "grpc.shop.example", "/cart.v1.Cart/Put", {"canary": "true"}),
    ("internal", "POST", "grpc.shop.example", "/cart.v1.Cart/Put", {}),
    ("internal", "POST", "grpc.shop.example", "/other.v1.Other/Get", {}),
    ("internal", "GET", "whatever.example", "/x/y", {}),
]
"""Listener, method, host, path, headers."""
ROUNDS = 4
SLOW = 2
"""Total of requests to a rule that times out."""
SERVER_NAMES = ["pass.shop.example", "a.wild.example", "a.b.wild.example"]


@dataclass
class Run:
    """The results of a run: entries by source as files for `flowd replay`, and the truth.

    Attributes:
        sources: file, and arguments of `flowd replay`, by name of the source.
        truth: one line for each entry.
        manifests: files of Kubernetes objects.
        sent: number of requests and connections by clients.
        seen: Services that received each seq.
    """

    folder: Path
    truth: list[Json] = field(default_factory=list[Json])
    sources: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    manifests: list[Path] = field(default_factory=list[Path])
    sent: int = 0
    seen: dict[str, list[str]] = field(default_factory=dict[str, list[str]])


def run_dialect(dialect: str, folder: Path) -> Run:
    """Start the servers and Envoy, send the traffic, stop, and leave the files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    documents = objects("routes.yaml", "extras.yaml")
    run = Run(folder)
    with (
        log_sink() as (sink, logs),
        backends(HTTP_SERVICES, TLS_SERVICES + TCP_SERVICES) as (
            endpoints,
            run.seen,
        ),
    ):
        with socket.create_server(("127.0.0.1", 0)) as holder:
            endpoints["shop/refused"] = "127.0.0.1", holder.getsockname()[1]
        config = _config(dialect, documents, endpoints, logs, folder)
        with running_envoy(config, folder / "run") as envoy:
            names = Names(dialect)
            ports = {
                key: envoy.ports[names.listener(*key, port)]
                for key, port in PORTS.items()
                if names.listener(*key, port) in envoy.ports
            }
            run.sent = sum(_traffic(ports))
            deadline = time.monotonic() + 30
            while sink.counts() != (run.sent, run.sent) and time.monotonic() < deadline:
                time.sleep(0.1)
            if sink.counts() != (run.sent, run.sent):
                raise RuntimeError(f"{sink.counts()} entries of {run.sent} arrived")
    _write(run, dialect, sink.streams, sink.exports)
    _write_objects(run, dialect, documents, endpoints, ports)
    by_address = {f"{host}:{port}": name for name, (host, port) in endpoints.items()}
    for line in (folder / "truth.jsonl").read_text().splitlines():
        run.truth.append(_truth(json.loads(line), by_address))
    return run


def _config(
    dialect: str,
    documents: list[Json],
    endpoints: dict[str, tuple[str, int]],
    logs: int,
    folder: Path,
) -> Json:
    names = Names(dialect)
    listeners = [
        _http_listener(names, gateway, listener, documents, folder)
        for gateway, listener in (("public", "http"), ("internal", "http"))
    ]
    if dialect != "kgateway":  # which cannot log TLS and TCP listeners
        listeners.append(_tls_listener(names, documents, folder))
    if dialect == "contour":  # Cilium's TCPRoutes do not go through Envoy
        listeners.append(_tcp_listener(names, documents, folder))
    made = clusters(names, documents, endpoints)
    return {
        "node": {"id": f"{dialect}-pod", "cluster": dialect},
        "static_resources": {
            "listeners": listeners,
            "clusters": [*made, cluster("logs", ("127.0.0.1", logs), http2=True)],
        },
    }


def _http_listener(
    names: Names, gateway: str, listener: str, documents: list[Json], folder: Path
) -> Json:
    http = f"{_TYPE}.http"
    filters = [
        ("cors", {"@type": f"{http}.cors.v3.Cors"}),
        ("local_ratelimit", {"@type": f"{http}.local_ratelimit.v3.LocalRateLimit", "stat_prefix": "x"}),
        ("router", {"@type": f"{http}.router.v3.Router"}),
    ]  # fmt: skip
    manager = {
        "@type": f"{_TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "use_remote_address": True,
        "merge_slashes": names.dialect == "contour",
        "normalize_path": True,
        "access_log": loggers(names.dialect, gateway, listener, "Http", "", folder),
        "http_filters": [
            {"name": f"envoy.filters.http.{name}", "typed_config": config}
            for name, config in filters
        ],
        "route_config": {"virtual_hosts": virtual_hosts(names, gateway, listener, documents)},
    }
    chain = {"filters": [_filter("http_connection_manager", manager)]}
    return _listener(names, gateway, listener, [chain])


def _filter(name: str, config: Json) -> Json:
    return {"name": f"envoy.filters.network.{name}", "typed_config": config}


def _listener(names: Names, gateway: str, listener: str, chains: list[Json]) -> Json:
    return {
        "name": names.listener(gateway, listener, PORTS[gateway, listener]),
        "address": address(ADDRESSES[gateway], 0),
        "filter_chains": chains,
    }


def _proxy(names: Names, route: Json, listener: str, folder: Path) -> Json:
    meta = route["metadata"]
    refs = route["spec"]["rules"][0]["backendRefs"]
    weighted = [
        {"name": names.cluster("public", ref, meta["namespace"]), "weight": ref.get("weight", 1)}
        for ref in refs
    ]
    truth = truth_text([route["kind"], meta["namespace"], meta["name"], 0, 0])
    config = {
        "@type": f"{_TYPE}.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tcp",
        "weighted_clusters": {"clusters": weighted},
        "access_log": loggers(names.dialect, "public", listener, "Tcp", truth, folder),
    }
    return _filter("tcp_proxy", config)


def _tls_listener(names: Names, documents: list[Json], folder: Path) -> Json:
    chains = [
        {
            "filter_chain_match": {"server_names": route["spec"]["hostnames"]},
            "filters": [_proxy(names, route, "tls", folder)],
        }
        for route in documents
        if route["kind"] == "TLSRoute"
    ]
    inspector = {"@type": f"{_TYPE}.listener.tls_inspector.v3.TlsInspector"}
    found = _listener(names, "public", "tls", chains)
    found["listener_filters"] = [
        {"name": "envoy.filters.listener.tls_inspector", "typed_config": inspector}
    ]
    return found


def _tcp_listener(names: Names, documents: list[Json], folder: Path) -> Json:
    (route,) = (entry for entry in documents if entry["kind"] == "TCPRoute")
    return _listener(names, "public", "tcp", [{"filters": [_proxy(names, route, "tcp", folder)]}])


def _traffic(ports: dict[tuple[str, str], int]) -> Iterator[int]:
    """Send all traffic; yields the number of requests or connections of each part."""
    seq = 0
    slow: list[Asked] = [("http", "GET", WWW, "/slow", {})] * SLOW
    for requests in [*[REQUESTS] * ROUNDS, slow]:
        clients = {
            "http": http.client.HTTPConnection("127.0.0.2", ports["public", "http"], timeout=10),
            "internal": http.client.HTTPConnection(
                "127.0.0.3", ports["internal", "http"], timeout=10
            ),
        }
        try:
            for where, method, host, path, headers in requests:
                seq += 1
                sent = headers | {"host": host, "x-flowd-seq": f"s-{seq:04}"}
                clients[where].request(method, path, headers=sent)
                clients[where].getresponse().read()
        finally:
            for client in clients.values():
                client.close()
        yield len(requests)
    if ("public", "tls") in ports:
        for name in SERVER_NAMES * ROUNDS:
            _connect(ports["public", "tls"], _hello(name))
            yield 1
    if ("public", "tcp") in ports:
        for _ in range(ROUNDS * 3):
            _connect(ports["public", "tcp"], b"hello")
            yield 1


def _hello(name: str) -> bytes:
    """A TLS ClientHello for a server name."""
    out = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


def _connect(port: int, data: bytes) -> None:
    with socket.create_connection(("127.0.0.2", port), timeout=10) as client:
        client.sendall(data)
        while client.recv(4096):
            pass


def _write(run: Run, dialect: str, streams: list[list[bytes]], exports: list[bytes]) -> None:
    frames = {"als.bin": [raw for stream in streams for raw in stream], "otlp.bin": exports}
    for name, messages in frames.items():
        data = b"".join(len(raw).to_bytes(4, "big") + raw for raw in messages)
        (run.folder / name).write_bytes(data)
    default = "default.log" if dialect == "contour" else "default.jsonl"
    run.sources = {
        "ALS": [str(run.folder / "als.bin")],
        "JSON of `flowd routes headers`": [str(run.folder / "flowd.jsonl")],
        "default or sample format": [str(run.folder / default)],
        "OTLP logs": [str(run.folder / "otlp.bin")],
    }
    if dialect == "cilium":
        form = run.folder / "format.yaml"
        form.write_text(yaml.safe_dump({"json_format": CILIUM}))
        run.sources["default or sample format"] += ["--access-log-format", str(form)]


def _write_objects(
    run: Run,
    dialect: str,
    documents: list[Json],
    endpoints: dict[str, tuple[str, int]],
    ports: dict[tuple[str, str], int],
) -> None:
    """The Kubernetes objects with this run's addresses of pods and data plane."""
    made = [document for document in documents if document["kind"] != "EndpointSlice"]
    for name, (host, port) in endpoints.items():
        namespace, _, service = name.partition("/")
        made.append(_slice(namespace, service, {}, host, [{"port": port, "protocol": "TCP"}]))
    for gateway, where in ADDRESSES.items():
        mine = {listener: port for (owner, listener), port in ports.items() if owner == gateway}
        labels = {"gateway.networking.k8s.io/gateway-name": gateway}
        name = f"{gateway}-{dialect}"
        spec: Json = {
            "ports": [
                {"name": listener, "port": PORTS[gateway, listener], "targetPort": port}
                for listener, port in mine.items()
            ]
        }
        meta = {"name": name, "namespace": "infra", "labels": labels}
        made.append({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})
        rows = [{"name": listener, "port": port} for listener, port in mine.items()]
        made.append(_slice("infra", name, labels, where, rows))
    path = run.folder / "objects.yaml"
    path.write_text(yaml.safe_dump_all(made, sort_keys=False))
    run.manifests = [path]


def _slice(namespace: str, service: str, labels: Json, host: str, ports: list[Json]) -> Json:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "addressType": "IPv4",
        "metadata": {
            "name": f"{service}-1",
            "namespace": namespace,
            "labels": labels | {"kubernetes.io/service-name": service},
        },
        "endpoints": [{"addresses": [host], "conditions": {"ready": True}}],
        "ports": ports,
    }


def _truth(line: Json, by_address: dict[str, str]) -> Json:
    """A line of the truth log, in the format of the recordings' truth."""
    text = line["truth"] or ""
    kind, namespace, name, rule, match = text.split("/") if text else [""] * 5
    service = by_address.get(line["upstream"] or "", "")
    ports: dict[str, Any] = {
        "shop/cart-grpc": 50051, "shop/cart-grpc-v2": 50051, "shop/tls-backend": 8443,
        "shop/tls-backend-2": 8443, "shop/tcp-backend": 9000, "shop/tcp-backend-2": 9000,
    }  # fmt: skip
    return line | {
        "route": [kind, namespace, name, int(rule), int(match)] if text else None,
        "backend": f"{service}:{ports.get(service, 8080)}" if service else None,
        "status": int(line["status"] or 0),
    }
