"""promtool and a real Prometheus read the agent's metrics endpoint."""

import asyncio
import json
import re
import shutil
import socket
import urllib.parse
import urllib.request
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowd.model.losses import Losses, Place
from flowd_exporters.prometheus.exporter import PrometheusExporter
from flowd_exporters.prometheus.http_server import MetricsServer
from flowd_exporters.prometheus.metric_definitions import METRICS
from tests.support.exporter_batches import SPAN, TRACE, cluster, random_batch, web_requests

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: flowd
  static_configs: [{{targets: ["{target}"]}}]
"""


def binary(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: apt-get install prometheus")
    return path


@pytest.fixture
async def exporter() -> PrometheusExporter:
    """An exporter that has observed 9 successful and 2 failed requests."""
    losses = Losses()
    losses.add(Place.KERNEL, "ring_full", 3)
    exporter = PrometheusExporter(
        cluster(),
        losses,
        live_connections=lambda: 12,
        packets=lambda: {"counted": 11, "filtered": 2},
        conntrack_entries=lambda: {"tracked": 3, "translated": 2},
        gateway_connections=lambda: (1, 2),
        access_log=lambda: ({"envoy-als": 7}, 3),
        envoy_logs=lambda: {("127.0.0.1:9901", "envoy-als", "dropped"): 2},
        kubernetes_age=lambda: 0.0,
        address_conflicts=lambda: 0,
    )
    batch = web_requests(11)
    batch.requests["status"][:2] = 503
    batch.requests["traceparent"] = f"00-{TRACE}-{SPAN}-01"
    exporter.observe(batch)
    return exporter


@pytest.fixture
async def target(exporter: PrometheusExporter) -> AsyncIterator[str]:
    """host:port of the exporter's endpoint."""
    server = MetricsServer("127.0.0.1:0", exporter.registry)
    await server.start()
    try:
        yield server.address
    finally:
        await server.stop()


def complaints(log: Path) -> list[str]:
    """Warnings and errors of Prometheus's log."""
    lines = log.read_text().splitlines()
    assert any("Server is ready" in line for line in lines)
    return [line for line in lines if re.search("level=(warn|error)", line)]


async def fetch(url: str) -> bytes:
    def read() -> bytes:
        with urllib.request.urlopen(url, timeout=10) as answer:
            body: bytes = answer.read()
            return body

    return await asyncio.to_thread(read)


async def test_promtool_finds_nothing_to_say(exporter: PrometheusExporter, target: str) -> None:
    promtool = binary("promtool")
    exporter.observe(random_batch(np.random.default_rng(5), cluster(), 500))
    page = await fetch(f"http://{target}/metrics")
    for metric in METRICS:
        assert f"# TYPE {metric.name} {metric.type}\n".encode() in page
    check = await asyncio.create_subprocess_exec(
        promtool, "check", "metrics", stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    out, error = await check.communicate(page)
    assert (check.returncode, out, error) == (0, b"", b"")


async def test_a_real_prometheus_scrapes_it(target: str, tmp_path: Path) -> None:
    prometheus = binary("prometheus")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config, log = tmp_path / "prometheus.yml", tmp_path / "log"
    config.write_text(CONFIG.format(target=target))
    with log.open("wb") as stderr:
        server = await asyncio.create_subprocess_exec(
            prometheus,
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address={address}",
            "--enable-feature=exemplar-storage",
            stdout=DEVNULL,
            stderr=stderr,
        )
    try:
        await _check(address)
        assert complaints(log) == []
    finally:
        server.terminate()
        try:
            await asyncio.wait_for(server.wait(), 20)
        except TimeoutError:
            server.kill()
            await server.wait()


async def _check(address: str) -> None:
    async with asyncio.timeout(60):
        up: list[Any] = []
        while not up:
            await asyncio.sleep(0.3)
            try:
                up = await query(address, "up == 1")
            except OSError:
                continue
    answers = await query(
        address, "sum by (route, backend, code_class) (flowd_route_requests_total)"
    )
    assert {tuple(sorted(one["metric"].items())): one["value"][1] for one in answers} == {
        (("backend", "web"), ("code_class", "2xx"), ("route", "web")): "9",
        (("backend", "web"), ("code_class", "5xx"), ("route", "web")): "2",
    }
    [answer] = await query(address, "flowd_live_connections")
    assert answer["value"][1] == "12"
    [answer] = await query(address, 'flowd_lost_total{place="kernel",reason="ring_full"}')
    assert answer["value"][1] == "3"
    [answer] = await query(
        address, "histogram_quantile(0.5, sum by (le) (flowd_route_duration_seconds_bucket))"
    )
    assert 0.01 < float(answer["value"][1]) < 0.025
    exemplars = await ask(
        address,
        "query_exemplars",
        query="flowd_route_duration_seconds_bucket",
        start="1789999990",
        end="1790000010",
    )
    assert {one["labels"]["trace_id"] for series in exemplars for one in series["exemplars"]} == {
        TRACE
    }


async def query(address: str, text: str) -> list[Any]:
    return (await ask(address, "query", query=text))["result"]


async def ask(address: str, path: str, **values: str) -> Any:
    url = f"http://{address}/api/v1/{path}?{urllib.parse.urlencode(values)}"
    return json.loads(await fetch(url))["data"]
