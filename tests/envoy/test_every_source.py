"""A real Envoy between pods that logs to every source at once, with a complete agent.

Each request and connection is compared three ways: the client's record, the backend's record, and
the agent's entry of each source, joined to the connections of its kernel programs.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demo.envoy.certificates import make as make_certificate
from flowd.accesslog.textformat import ISTIO
from flowd.capture.preflight import unsupported_reason
from flowd.commands.routes.headers import operators
from flowd.model.address import unpack
from flowd.model.enums import EntryKind, HttpVersion, Reason
from flowd.model.records.request import RequestBatch
from tests.envoy.agent_rows import RunningAgent, running_agent, soon
from tests.envoy.envoy import (
    Json,
    als_logger,
    cluster,
    http_filter,
    listener,
    running_envoy,
    tcp_filter,
)
from tests.envoy.pods import NODE, Pods, pods_on_a_node
from tests.kernel.net import Pod

ROOT = Path(__file__).parents[2]
AMOUNTS = {
    "http1": (8, 100),
    "http2": (4, 150),
    "grpc": (4, 100),
    "websocket": (80, 1),
    "tls": (80, 1),
    "tcp": (160, 1),
}
"""Numbers of connections, and of requests on each, by protocol."""
TOTAL = sum(connections * each for connections, each in AMOUNTS.values())
STREAMS = ("tls", "tcp")
SOURCES = ("als", "otlp", "json", "text")
_TYPE = "type.googleapis.com/envoy.extensions"

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.kernel,
    pytest.mark.skipif(bool(unsupported_reason()), reason=unsupported_reason() or ""),
]


@pytest.fixture
def pods() -> Iterator[Pods]:
    with pods_on_a_node() as made:
        yield made


@contextlib.contextmanager
def process_in(pod: Pod, module: str, *words: str) -> Generator[subprocess.Popen[str]]:
    """Run a module of the tests as a process in a pod."""
    command = ["ip", "netns", "exec", pod.namespace, sys.executable, "-m", f"tests.envoy.{module}"]
    with subprocess.Popen(
        [*command, *words], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def loggers(kind: str, folder: Path) -> list[Json]:
    """Access loggers: ALS and OTLP to the agent, and two files."""
    kept = f"{_TYPE}.access_loggers"
    values = [{"key": key, "value": {"string_value": text}} for key, text in operators(()).items()]
    otlp: Json = {
        "@type": f"{kept}.open_telemetry.v3.OpenTelemetryAccessLogConfig",
        "common_config": {
            "log_name": "otlp",
            "transport_api_version": "V3",
            "buffer_flush_interval": "0.1s",
            "grpc_service": {"envoy_grpc": {"cluster_name": "otlp"}},
        },
        "attributes": {"values": values},
    }
    formats: list[tuple[str, Json]] = [
        ("json", {"json_format": operators(())}),
        ("text", {"text_format_source": {"inline_string": ISTIO + "\n"}}),
    ]
    files: list[Json] = [
        {
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": f"{kept}.file.v3.FileAccessLog",
                "path": str(folder / f"{name}.log"),
                "log_format": form,
            },
        }
        for name, form in formats
    ]
    return [
        als_logger(kind, "als", "als"),
        {"name": "envoy.access_loggers.open_telemetry", "typed_config": otlp},
        *files,
    ]


def gateway_config(
    host: str, backend: str, ports: dict[str, int], agent: RunningAgent, folder: Path
) -> Json:
    """Listeners for HTTP, for TLS passthrough, and for TCP."""
    routes: list[Json] = [
        {"name": "calls", "match": {"prefix": "/echo.Echo/"}, "route": {"cluster": "grpc"}},
        {"name": "rest", "match": {"prefix": "/"}, "route": {"cluster": "web"}},
    ]
    upgrades = [{"upgrade_type": "websocket"}]
    http = http_filter(routes, *loggers("Http", folder), upgrade_configs=upgrades)
    tls = listener("tls", tcp_filter("tls", *loggers("Tcp", folder)), host)
    tls["filter_chains"][0]["filter_chain_match"] = {"server_names": ["pass.example"]}
    inspector = {"@type": f"{_TYPE}.filters.listener.tls_inspector.v3.TlsInspector"}
    tls["listener_filters"] = [
        {"name": "envoy.filters.listener.tls_inspector", "typed_config": inspector}
    ]
    return {
        "node": {"id": "gateway-pod", "cluster": "infra/public"},
        "static_resources": {
            "listeners": [
                listener("http", http, host),
                tls,
                listener("tcp", tcp_filter("tcp", *loggers("Tcp", folder)), host),
            ],
            "clusters": [
                *(cluster(name, (backend, ports[name])) for name in ("web", "tls", "tcp")),
                cluster("grpc", (backend, ports["grpc"]), http2=True),
                cluster("als", (NODE, agent.als), http2=True),
                cluster("otlp", (NODE, agent.otlp), http2=True),
            ],
        },
    }


def source_of(row: Any) -> str:
    """The source of an entry, one of four."""
    log = str(row["log_name"])
    return log.removesuffix(".log").rpartition("/")[2]


def ends(row: Any, side: str) -> str:
    """One socket of an entry or record, `ip:port`."""
    return f"{unpack(row[f'{side}_addr'].tobytes())}:{row[f'{side}_port']}"


def counts(requests: RequestBatch) -> Counter[str]:
    return Counter(source_of(row) for row in requests)


async def test_each_request_once_a_source_and_joined_to_both_sockets(
    pods: Pods, tmp_path: Path
) -> None:
    client, gateway, backend = pods.client, pods.gateway, pods.backend
    make_certificate(tmp_path, "pass", ["pass.example"])
    certificate, key = str(tmp_path / "pass.crt"), str(tmp_path / "pass.key")
    settings = {
        "capture": "on",
        "als_listen": f"{NODE}:0",
        "otlp_logs_listen": f"{NODE}:0",
        "access_log": (str(tmp_path / "json.log"), str(tmp_path / "text.log")),
    }
    async with running_agent(**settings) as agent:
        with process_in(backend, "pod_backend", backend.address, certificate, key) as serving:
            assert serving.stdout
            ports = json.loads(await asyncio.to_thread(serving.stdout.readline))
            config = gateway_config(gateway.address, backend.address, ports, agent, tmp_path)
            with running_envoy(config, tmp_path / "envoy", netns=gateway.namespace) as envoy:
                plan = json.dumps(
                    {"host": gateway.address, "ports": envoy.ports}
                    | {"certificate": certificate, "amounts": AMOUNTS}
                )
                with process_in(client, "pod_client", plan) as sending:
                    out, _ = await asyncio.to_thread(sending.communicate)
                    assert sending.returncode == 0
                sent = {(kind, number): local for kind, number, local in json.loads(out)}
                await soon(lambda: agent.rows.received >= 4 * TOTAL)
            out, _ = await asyncio.to_thread(serving.communicate)
        seen = {number: (kind, peer) for kind, number, peer in json.loads(out)}
        await agent.stop()
    assert len(sent) == len(seen) == len(json.loads(out)) == TOTAL
    assert agent.lost() == {}
    requests, connections = agent.rows.requests, agent.rows.connections
    assert counts(requests) == dict.fromkeys(SOURCES, TOTAL)
    # Linux can assign the same source port to connections to two listeners
    streams_by = {(kind, local): number for (kind, number), local in sent.items()}
    occurrences: Counter[tuple[str, str]] = Counter()
    firsts = {int(row["conn_id"]): row for row in connections[connections["reason"] == Reason.NEW]}
    locals_ = {number: local for (_, number), local in sent.items()}
    kinds = {number: kind for kind, number in sent}
    for row in requests:
        number = row["request_id"]
        if row["kind"] != EntryKind.HTTP:
            number = streams_by["tls" if row["sni"] else "tcp", ends(row, "client")]
        occurrences[source_of(row), number] += 1
        assert locals_[number] in (ends(row, "client"), "")
        assert seen[number][1] == ends(row, "up_local"), "the backend's peer"
        down, up = firsts[int(row["down_conn"])], firsts[int(row["up_conn"])]
        assert [ends(down, "src"), ends(down, "dst")] == [ends(row, "client"), ends(row, "local")]
        assert [ends(up, "src"), ends(up, "dst")] == [ends(row, "up_local"), ends(row, "up_remote")]
        kind = kinds[number]
        assert row["status"] == {"websocket": 101, "tls": 0, "tcp": 0}.get(kind, 200)
        version = HttpVersion.HTTP2 if kind in ("http2", "grpc") else HttpVersion.HTTP11
        assert row["http_version"] == (0 if kind in STREAMS else version)
        assert row["sni"] == ("pass.example" if kind == "tls" else "")
    assert set(occurrences.values()) == {1}
    assert len(occurrences) == len(SOURCES) * TOTAL
    streams = requests[requests["kind"] == EntryKind.TCP]
    assert len(np.unique(streams["up_conn"])) == sum(AMOUNTS[kind][0] for kind in STREAMS)
    _same_in_every_source(requests)


def _same_in_every_source(requests: RequestBatch) -> None:
    """Sources differ in precision, not in the connections that they name."""
    pairs: dict[str, set[tuple[int, int]]] = {source: set() for source in SOURCES}
    for row in requests:
        pairs[source_of(row)].add((int(row["down_conn"]), int(row["up_conn"])))
    assert all(each == pairs["als"] for each in pairs.values())
