"""GetAgentEvents and Peer.Notify as clients see them: raw protobuf by field number."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc.aio

from flowd.kubernetes.manifests import Manifests
from flowd.model.address import pack
from flowd.model.endpoint import Endpoint
from flowd.model.losses import Losses
from flowd.wiring.cluster_view import cluster_view
from flowd_exporters.hubble.cluster import ClusterView
from tests.support.flow_samples import (
    CART,
    DNS,
    ENDPOINTS,
    SAMPLES,
    SERVICE,
    WEB,
    cluster,
    sample_rows,
)
from tests.support.hubble_server import END, SECONDS, Served, serve
from tests.support.raw_wire import Raw, message, one, parse, text

EVENTS = "/observer.Observer/GetAgentEvents"
NOTIFY = "/peer.Peer/Notify"


def addresses(**owners: Endpoint) -> dict[bytes, int]:
    return {
        pack(f"10.1.0.{name.removeprefix('a')}"): ENDPOINTS.index(endpoint) + 1
        for name, endpoint in owners.items()
    }


def kinds(answers: Sequence[Raw]) -> list[object]:
    return [one(answer, 1, 1) or 0 for answer in answers]


async def changed(served: Served) -> None:
    """A pod is added, its address moves to another, a Service is removed; a route is added and removed."""
    update = served.hubble.cluster.update
    update(ClusterView(addresses=addresses(a1=WEB, a9=SERVICE)))
    update(ClusterView(addresses=addresses(a1=CART, a9=SERVICE), routes={"HTTPRoute/s/w": 1}))
    update(ClusterView(addresses=addresses(a1=CART), routes={"HTTPRoute/s/w": 2}))
    update(ClusterView(addresses=addresses(a1=CART)))


EXPECTED = [2, 7, 9, 9, 8, 7, 9, 0, 10, 0, 0]


async def test_what_happened_is_told_in_order() -> None:
    async with serve() as served:
        await changed(served)
        answers = await served.all(EVENTS, (1, 2**64 - 1))
        newest = await served.all(EVENTS, (1, 2))
        oldest = await served.all(EVENTS, (1, 2), (9, 1))
        none = await served.all(EVENTS, (7, [(1, 9_000_000_000)]))
    assert kinds(answers) == EXPECTED
    assert (kinds(newest), kinds(oldest), none) == ([0, 0], [2, 7], [])
    created, upserted = answers[1], answers[2]
    assert one(created, 1, 104, 1) == ENDPOINTS.index(WEB) + 1
    assert (text(created, 1, 104, 4), text(created, 1, 104, 5)) == ("web-7f", "shop")
    assert (text(upserted, 1, 105, 1), one(upserted, 1, 105, 2)) == ("10.1.0.1/32", 400)
    upserted = answers[6]
    assert (one(upserted, 1, 105, 2), one(upserted, 1, 105, 3, 1)) == (401, 400)
    assert text(answers[8], 1, 105, 1) == "10.1.0.9/32"
    routes = [(text(answers[at], 1, 100, 1), text(answers[at], 1, 100, 2)) for at in (7, 9, 10)]
    assert routes == [
        ("route-created", "HTTPRoute/s/w"),
        ("route-updated", "HTTPRoute/s/w"),
        ("route-deleted", "HTTPRoute/s/w"),
    ]
    assert all(text(answer, 1000) == "node-a" and 1001 in answer for answer in answers)


async def test_a_follower_is_told_of_what_comes_and_ends_with_the_agent() -> None:
    async with serve() as served:
        call = served.stream(EVENTS, (2, 1), (1, 20))
        assert kinds(await read(call, 1)) == [2]
        served.hubble.cluster.update(ClusterView(addresses=addresses(a53=DNS)))
        assert kinds(await read(call, 2)) == [7, 9]
        served.hubble.cluster.update(ClusterView())
        assert kinds(await read(call, 2)) == [8, 10]
        served.hubble.cluster.close()
        assert await call.read() is END


async def test_old_events_make_room() -> None:
    async with serve() as served:
        update = served.hubble.cluster.update
        for number in range(3000):
            update(ClusterView(routes={"HTTPRoute/s/w": number} if number % 2 else {}))
            update(ClusterView(routes={"HTTPRoute/s/v": number}))
        answers = await served.all(EVENTS)
    assert len(answers) == 4097
    assert one(answers[0], 1, 1) == 2  # the start is always kept


async def read(call: Any, count: int) -> list[Raw]:
    async with asyncio.timeout(SECONDS):
        return [parse(await call.read()) for _ in range(count)]


def peer(answer: Raw) -> tuple[object, str, str]:
    return one(answer, 3), text(answer, 1), text(answer, 2)


async def test_peers_are_the_nodes_and_changes_are_told() -> None:
    async with serve() as served:
        nodes = {"node-b": "192.0.2.2", "node-a": "192.0.2.1"}
        served.hubble.cluster.update(ClusterView(nodes=nodes))
        call = served.stream(NOTIFY)
        assert [peer(answer) for answer in await read(call, 2)] == [
            (1, "node-a", "192.0.2.1:4244"),
            (1, "node-b", "192.0.2.2:4244"),
        ]
        nodes = {"node-c": "2001:db8::3", "node-a": "192.0.2.9"}
        served.hubble.cluster.update(ClusterView(nodes=nodes))
        assert [peer(answer) for answer in await read(call, 3)] == [
            (2, "node-b", "192.0.2.2:4244"),
            (3, "node-a", "192.0.2.9:4244"),
            (1, "node-c", "[2001:db8::3]:4244"),
        ]
        served.hubble.cluster.close()
        assert await call.read() is END


async def test_what_a_relay_does_reaches_every_agent_through_one() -> None:
    """Notify of one agent, a connection to each peer, health, then all flows merged by time."""
    second = cluster()
    second.node_name = "node-b"
    async with serve(sample_rows()) as first:
        port = first.server.addresses[0].rpartition(":")[2]
        where = f"127.0.0.2:{port}"
        async with serve(sample_rows(), directory=second, listen=lambda: where):
            first.hubble.address = first.server.addresses[0]
            nodes = {"node-a": "127.0.0.1", "node-b": "127.0.0.2"}
            first.hubble.cluster.update(ClusterView(nodes=nodes))
            peers = [text(answer, 2) for answer in await read(first.stream(NOTIFY), 2)]
            assert peers == [f"127.0.0.1:{port}", where]
            answers: list[Raw] = []
            for address in peers:
                answers += await asked_of(address)
    merged = sorted(answers, key=moment)
    assert [text(answer, 1000) for answer in merged] == ["node-a", "node-b"] * len(SAMPLES)
    assert {text(answer, 1, 11) for answer in merged} == {"node-a", "node-b"}
    assert len({text(answer, 1, 34) for answer in merged}) == 2 * len(SAMPLES)  # ids


def moment(answer: Raw) -> tuple[int, int]:
    seconds, nanos = one(answer, 1001, 1), one(answer, 1001, 2)
    assert isinstance(seconds, int)
    assert isinstance(nanos, int)
    return seconds, nanos


async def asked_of(address: str) -> list[Raw]:
    """The responses of one agent to a relay."""
    async with grpc.aio.insecure_channel(address) as channel:
        peer: Any = channel
        check = peer.unary_unary("/grpc.health.v1.Health/Check", None, None)
        health = await check(message((1, "hubble.server.Observer")), timeout=SECONDS)
        assert parse(health) == {1: [1]}  # SERVING
        call = peer.unary_stream("/observer.Observer/GetFlows", None, None)
        return [parse(answer) async for answer in call(message((1, 100)), timeout=SECONDS)]


MANIFEST = """
apiVersion: v1
kind: Node
metadata: {name: node-a, labels: {zone: a, arch: arm64}}
status: {addresses: [{type: Hostname, address: node-a}, {type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: node-b}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec: {hostnames: [a.example]}
"""


def view(path: Path, manifest: str) -> ClusterView:
    file = path / "cluster.yaml"
    file.write_text(manifest)
    return cluster_view(Manifests([file], Losses()).load(), "node-a", {})


def test_the_view_of_kubernetes_objects(tmp_path: Path) -> None:
    found = view(tmp_path, MANIFEST)
    assert found.nodes == {"node-a": "192.0.2.1"}
    assert found.node_labels == ("arch=arm64", "zone=a")
    assert list(found.routes) == ["HTTPRoute/shop/web"]
    assert found.routes == view(tmp_path, MANIFEST).routes
    assert found.routes != view(tmp_path, MANIFEST.replace("a.example", "b.example")).routes
