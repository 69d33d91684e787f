"""The demo's Envoy streams one entry a request to the access-log service, with its identity."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from demo import Demo, DemoError, SentRequest
from demo.lifecycle import envoy_binary
from flowd.capture.envoy.server import AlsServer
from flowd.model.losses import Losses
from flowd.model.records.request import RequestBatch
from flowd.runtime.queue import Queue

COUNT = 300

pytestmark = pytest.mark.envoy


async def entries(directory: Path) -> tuple[list[SentRequest], RequestBatch, str]:
    """Sent requests, received access-log entries, and the name of the gateway pod."""
    losses = Losses()
    server, out = AlsServer("127.0.0.1:0", losses), Queue[RequestBatch]("als", 100_000, losses)
    await server.start()
    reader = asyncio.create_task(server.run(out))
    demo = Demo(directory, loopback=True, als=server.address)
    try:
        await asyncio.to_thread(demo.start)
        pod = demo.topology.gateway.name
        sent = await asyncio.to_thread(demo.run_traffic, COUNT)
        for _ in range(100):
            if out.held >= COUNT:
                break
            await asyncio.sleep(0.1)
    finally:
        await asyncio.to_thread(demo.stop)
        await server.close()
        await reader
    assert losses.total() == 0
    return sent, np.concatenate(out.take()), pod


async def test_one_entry_a_request_with_route_and_node(tmp_path: Path):
    try:
        envoy_binary()
    except DemoError as error:
        pytest.skip(error.message)
    sent, got, pod = await entries(tmp_path / "demo")
    assert set(got["node_id"]) == {pod}
    assert set(got["node_cluster"]) == {"infra/echo"}
    assert len(got) == COUNT
    by_seq = {int(row["headers"]["x-flowd-seq"]): row for row in got if row["method"]}
    assert by_seq.keys() == {each.seq for each in sent if each.listener != "tls"}
    for each in sent:
        if each.listener == "tls":
            continue
        row = by_seq[each.seq]
        assert row["status"] == each.status
        assert row["traceparent"] == each.headers.get("traceparent", "")
        assert row["client_port"] == each.client_port
        route = each.route
        wanted = route and f"httproute/{route.namespace}/{route.name}/rule/{route.rule}"
        assert row["route_name"].startswith(f"{wanted}/match/{route.match}/" if route else "")
        assert bool(row["route_name"]) == bool(route)
    versions = {by_seq[each.seq]["headers"]["version"] for each in sent if each.kind == "version-2"}
    assert versions == {"2"}, "headers that routes match on are in the log"
    tcp = [row for row in got if not row["method"]]
    assert {row["sni"] for row in tcp} == {"pass.example", "nowhere.example"}
    assert {row["log_name"] for row in got} == {"flowd-http", "flowd-tcp"}
