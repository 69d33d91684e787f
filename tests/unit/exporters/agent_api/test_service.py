"""AgentService (flowd.v1.Agent) over a real server with the real client."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace as NS
from typing import Any, cast

import numpy as np
import pytest

from flowd.client.client import Client
from flowd.model.losses import Losses, Place
from flowd.model.status import PartStatus, State
from flowd_exporters.agent_api.service import AgentService
from flowd_exporters.agent_api.traffic import TopExporter
from flowd_exporters.api_server import ApiServer
from tests.support.exporter_batches import cluster, random_batch

LISTENER = NS(name="https", port=443, protocol="HTTPS", hostname="*.example.com")
CONDITION = NS(
    type="ResolvedRefs", status=False, reason="BackendNotFound", message="no Service shop/web"
)
WEB = NS(
    kind="Service", namespace="shop", name="web", port=80, weight=90,
    ready_endpoints=2, endpoints=3, counted=True, reason="", tls="",
)  # fmt: skip
API = NS(
    kind="Service", namespace="shop", name="api", port=81, weight=10,
    ready_endpoints=0, endpoints=0, counted=False, reason="gone", tls="",
)  # fmt: skip
RULE = NS(
    name="all", matches=["PathPrefix /"], filters=["RequestRedirect 301"], backends=[WEB, API]
)
PARENT = NS(gateway_namespace="infra", gateway="public", listener="https", conditions=[CONDITION])
ROUTES = NS(
    gateways=[NS(namespace="infra", name="public", class_name="eg", listeners=[LISTENER])],
    routes=[
        NS(
            kind="HTTPRoute", namespace="shop", name="shop", hostnames=["shop.example.com"],
            parents=[PARENT], rules=[RULE],
        )
    ],
    problems=[NS(object="BackendTLSPolicy/shop/web", what="Conflicted: old has its target")],
)  # fmt: skip


@pytest.fixture
async def served() -> AsyncIterator[tuple[TopExporter, Client]]:
    losses = Losses()
    losses.add(Place.KERNEL, "ring_full", 7)
    top = TopExporter(cluster(), losses)
    service = AgentService(
        cluster(),
        losses,
        top,
        status=lambda: [PartStatus("capture", State.DEGRADED, "no BTF")],
        routes=lambda: cast("Any", ROUTES),
        explain=bytes,
        live_connections=lambda: 42,
    )
    server = ApiServer(["127.0.0.1:0"], [service.add_to])
    await server.start()
    try:
        async with Client(server.addresses[0]) as client:
            yield top, client
    finally:
        await server.stop()


async def test_status(served: tuple[TopExporter, Client]) -> None:
    top, client = served
    top.observe(random_batch(np.random.default_rng(1), cluster(), 9))
    status = await client.agent_status()
    assert (status.node_name, status.cluster_name) == ("n1", "test")
    assert [(p.part, p.state, p.detail) for p in status.parts] == [
        ("capture", "degraded", "no BTF")
    ]
    assert ("kernel", "ring_full", 7) in [(x.place, x.reason, x.count) for x in status.losses]
    assert status.live_connections == 42
    assert status.seen_flows == top.seen_flows > 0
    assert status.resident_bytes > 1 << 20
    assert status.uptime_ns > 0
    assert status.version


async def test_routes(served: tuple[TopExporter, Client]) -> None:
    _, client = served
    answer = await client.routes()
    gateway, route = answer.gateways[0], answer.routes[0]
    assert (gateway.namespace, gateway.name, gateway.class_name) == ("infra", "public", "eg")
    listener = gateway.listeners[0]
    assert (listener.name, listener.port, listener.protocol) == ("https", 443, "HTTPS")
    assert (route.kind, route.namespace, route.name) == ("HTTPRoute", "shop", "shop")
    condition = route.parents[0].conditions[0]
    assert (condition.type, condition.status) == ("ResolvedRefs", False)
    assert (condition.reason, condition.message) == ("BackendNotFound", "no Service shop/web")
    rule = route.rules[0]
    assert (rule.name, list(rule.matches), list(rule.filters)) == (
        "all",
        ["PathPrefix /"],
        ["RequestRedirect 301"],
    )
    web, api = rule.backends
    assert (web.weight, web.ready_endpoints, web.endpoints, web.endpoints_known) == (90, 2, 3, True)
    assert (api.reason, api.endpoints_known) == ("gone", False)


async def test_watch_streams_history_and_news(served: tuple[TopExporter, Client]) -> None:
    top, client = served
    top.observe(random_batch(np.random.default_rng(2), cluster(), 50))
    past = top.close_interval()
    stream = client.watch()
    first = await anext(stream)
    assert first.history
    assert first.routes == past.routes
    top.observe(random_batch(np.random.default_rng(3), cluster(), 5))
    now = top.close_interval()
    second = await anext(stream)
    assert not second.history
    assert second == now


async def test_a_client_that_leaves_is_forgotten(served: tuple[TopExporter, Client]) -> None:
    top, client = served
    top.close_interval()
    stream: Any = client.watch()
    await anext(stream)
    assert top.watchers == 1
    await stream.aclose()
    async with asyncio.timeout(10):
        while top.watchers:  # noqa: ASYNC110 - the exporter has no event for it
            await asyncio.sleep(0.01)
    assert (await anext(client.watch())).history
