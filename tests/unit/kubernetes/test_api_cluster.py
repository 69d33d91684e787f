"""Cluster informer: served versions, kinds that appear and disappear, and `flowd status`."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from flowd.kubernetes.api import cluster as cluster_module
from flowd.kubernetes.api.resources import RESOURCES
from flowd.kubernetes.objects.snapshot import KINDS
from flowd.model.status import State
from tests.fakes.kube_api import (
    GATEWAY,
    HTTP_ROUTES,
    NODES,
    PODS,
    FakeKubeApi,
    Fault,
    http_route,
    pod,
    until,
)
from tests.support.kube_client import FAST, following

START = 3.25


@pytest.fixture
def api() -> FakeKubeApi:
    double = FakeKubeApi()
    double.put(PODS, pod("p", "10.0.0.1"))
    return double


async def test_no_gateway_api_at_all_is_normal(api: FakeKubeApi, tmp_path: Path):
    async with api.running(), following(api, tmp_path) as client:
        await client.cluster.synced.wait()
        status = client.cluster.status()
        assert status.state == State.ON
        assert status.detail.startswith(f"{api.url}: 1 objects; not served: GatewayClass, Gateway,")
        assert client.cluster.age() == 0


async def test_the_best_version_that_is_served_is_read(api: FakeKubeApi, tmp_path: Path):
    offered = {
        "httproutes": ["v1", "v1beta1"],
        "referencegrants": ["v1beta1"],
        "tlsroutes": ["v1alpha2", "v1alpha3"],
        "tcproutes": ["v1alpha2"],
    }
    for plural, versions in offered.items():
        for version in versions:
            api.serve(f"{GATEWAY}/{version}/{plural}")
    async with api.running(), following(api, tmp_path) as client:
        await client.cluster.synced.wait()
        asked = {
            r.path for r in api.requests if r.path.startswith(GATEWAY) and r.path.count("/") == 4
        }
        assert asked == {
            f"{GATEWAY}/{path}"
            for path in (
                "v1/httproutes",
                "v1beta1/referencegrants",
                "v1alpha3/tlsroutes",
                "v1alpha2/tcproutes",
            )
        }
        await until(lambda: client.cluster.status().state == State.ON)
        absent = client.cluster.status().detail.partition("not served: ")[2].split(", ")
        assert absent[:4] == ["GatewayClass", "Gateway", "GRPCRoute", "UDPRoute"]
        assert not {"HTTPRoute", "ReferenceGrant", "TLSRoute", "TCPRoute"} & set(absent)


async def test_a_kind_that_appears_moves_and_goes(api: FakeKubeApi, tmp_path: Path):
    beta = f"{GATEWAY}/v1beta1/httproutes"
    async with api.running(), following(api, tmp_path) as client:
        await client.cluster.synced.wait()
        api.serve(beta)
        api.put(beta, http_route("r"))
        await until(lambda: client.names("http_routes") == {"r"} and api.watchers(beta))
        # v1beta1 is no longer served, v1 is.
        api.objects[HTTP_ROUTES] = api.objects.pop(beta)
        api.put(HTTP_ROUTES, http_route("later"))
        api.cut(beta)
        await until(lambda: client.names("http_routes") == {"r", "later"})
        await until(lambda: api.watchers(HTTP_ROUTES))
        # The definition is deleted, and all routes with it.
        del api.objects[HTTP_ROUTES]
        api.cut(HTTP_ROUTES)
        await until(lambda: not client.names("http_routes"))
        await until(lambda: client.cluster.status().state == State.ON)
        assert client.names() == {"p"}


async def test_discovery_that_cannot_be_read_is_tried_again(api: FakeKubeApi, tmp_path: Path):
    api.serve(HTTP_ROUTES)
    api.put(HTTP_ROUTES, http_route("r"))
    api.fail(GATEWAY, Fault(garbage=b"{"))
    api.fail(GATEWAY, Fault(status=503))
    api.fail(f"{GATEWAY}/v1", Fault(cut=5))
    async with api.running(), following(api, tmp_path) as client:
        await until(lambda: client.names("http_routes") == {"r"})


async def test_a_kind_that_is_forbidden_does_not_stop_the_others(api: FakeKubeApi, tmp_path: Path):
    api.fail(NODES, Fault(status=403), times=1_000_000)
    async with api.running(), following(api, tmp_path) as client:
        await client.cluster.synced.wait()
        await until(lambda: api.watchers(PODS))
        assert client.names() == {"p"}
        status = client.cluster.status()
        assert status.state == State.DEGRADED
        assert status.detail == (
            f"{api.url}: no contact yet: nodes: 403 refused by the double with 403"
        )


async def test_server_down_at_start_then_up(api: FakeKubeApi, tmp_path: Path):
    async with api.running():
        port = int(api.url.rpartition(":")[2])
    async with following(api, tmp_path) as client:
        await client.cluster.synced.wait()
        status = client.cluster.status()
        assert status.state == State.DEGRADED
        assert "no contact yet: discovery: connection refused, and " in status.detail
        assert client.cluster.age() > 0
        async with api.running(port):
            await until(lambda: client.names() == {"p"})
            await until(lambda: client.cluster.status().state == State.ON)


async def test_server_goes_away_and_comes_back(
    api: FakeKubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with api.running():
        port = int(api.url.rpartition(":")[2])
        async with following(api, tmp_path) as client:
            await until(lambda: client.cluster.status().state == State.ON and api.watchers(NODES))
            await api.stop()
            await until(lambda: "connection refused" in client.cluster.status().detail)
            now = cluster_module.time.monotonic()
            monkeypatch.setattr(cluster_module.time, "monotonic", lambda: now + 42)
            assert "last contact 4" in client.cluster.status().detail
            assert client.cluster.age() >= 42
            assert client.names() == {"p"}
            monkeypatch.undo()
            api.delete(PODS, "shop", "p")
            api.put(PODS, pod("q", "10.0.0.2"))
            async with api.running(port):
                await until(lambda: client.names() == {"q"})
                await until(lambda: client.cluster.status().state == State.ON)
                assert client.cluster.age() == 0


async def test_in_a_cluster_the_first_request_waits_a_drawn_time(
    api: FakeKubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    waited: list[float] = []
    drawn = cluster_module.random.uniform

    def uniform(low: float, high: float) -> float:
        if high == START:
            waited.append(high)
            return 0.0
        return drawn(low, high)

    monkeypatch.setattr(cluster_module.random, "uniform", uniform)
    limits = replace(FAST, start_jitter=START)
    async with api.running():
        async with following(api, tmp_path, limits) as alone:
            await alone.cluster.synced.wait()
        assert not waited
        async with following(api, tmp_path, limits, stagger=True) as one_of_many:
            await one_of_many.cluster.synced.wait()
        assert waited == [START]


def test_the_table_has_every_kind_that_is_read():
    assert {(resource.group, resource.kind) for resource in RESOURCES} == set(KINDS)
    assert len({resource.plural for resource in RESOURCES}) == len(RESOURCES)
    for resource in RESOURCES:
        assert list(resource.versions) == sorted(resource.versions, key=stability)
        assert resource.path("v1").startswith("/api/v1/" if not resource.group else "/apis/")


def stability(version: str) -> tuple[int, int]:
    """Sort key: v1, then betas, then alphas, each with the newest first."""
    found = re.fullmatch(r"v\d+(alpha|beta)?(\d*)", version)
    assert found
    return (None, "beta", "alpha").index(found[1]), -int(found[2] or 0)
