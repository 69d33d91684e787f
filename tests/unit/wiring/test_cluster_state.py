"""From the API server to the tables: who is told what, and when."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flowd.identity.table import IdentityTable
from flowd.kubernetes.api.client import ApiClient
from flowd.kubernetes.api.cluster import ClusterInformer
from flowd.kubernetes.api.kubeconfig import KubeconfigSource
from flowd.kubernetes.api.limits import ApiLimits
from flowd.kubernetes.manifests import Manifests
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.address import pack
from flowd.model.directory import Directory
from flowd.model.losses import Losses
from flowd.model.status import State
from flowd.wiring.cluster_state import LONGEST_REST, ClusterState
from tests.fakes.kube_api import HTTP_ROUTES, PODS, FakeKubeApi, Fault, http_route, pod, until
from tests.support.kube_client import FAST, write_kubeconfig

MANIFEST = """\
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: shop}
status: {podIP: 10.0.9.9}
---
apiVersion: v1
kind: Pod
metadata: {name: only-here, namespace: shop}
status: {podIP: 10.0.9.10}
"""


@pytest.fixture
def api() -> FakeKubeApi:
    double = FakeKubeApi()
    double.put(PODS, pod("p", "10.0.0.1"))
    return double


@asynccontextmanager
async def knowing(
    api: FakeKubeApi,
    folder: Path,
    tell: Sequence[Callable[[Objects], None]],
    limits: ApiLimits = FAST,
    manifests: Sequence[Path] = (),
) -> AsyncGenerator[ClusterState]:
    """ClusterState of the double and of manifests, loaded and running."""
    path = write_kubeconfig(folder / "kubeconfig", api.url, {})
    losses = Losses()
    cluster = ClusterInformer(
        ApiClient(KubeconfigSource(str(path)).connection, limits), losses, limits
    )
    knowledge = ClusterState(Manifests(manifests, losses), tell, cluster)
    knowledge.load()
    task = asyncio.create_task(knowledge.run())
    try:
        yield knowledge
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_first_picture_is_whole(api: FakeKubeApi, tmp_path: Path):
    api.serve(HTTP_ROUTES)
    api.put(HTTP_ROUTES, http_route("r"))
    api.fail(HTTP_ROUTES, Fault(status=429), times=1)
    told: list[Objects] = []
    async with api.running(), knowing(api, tmp_path, [told.append]):
        assert [len(objects) for objects in told] == [0]
        await until(lambda: len(told) > 1)
        assert set(told[1].pods) == {("shop", "p")}
        await until(lambda: set(told[-1].http_routes) == {("shop", "r")})


async def test_changes_are_gathered_and_unchanged_kinds_stay(api: FakeKubeApi, tmp_path: Path):
    told: list[Objects] = []
    limits = replace(FAST, debounce=0.05)
    async with api.running(), knowing(api, tmp_path, [told.append], limits):
        await until(lambda: api.watchers(PODS) and len(told) == 2)
        for number in range(100):
            api.put(PODS, pod(f"burst-{number}", f"10.1.0.{number + 1}"))
        await until(lambda: len(told[-1].pods) == 101)
        assert len(told) < 50
        assert told[-1].services is told[1].services
        assert len(told[1].pods) == 1


async def test_server_wins_over_manifests(api: FakeKubeApi, tmp_path: Path):
    manifest = tmp_path / "pods.yaml"
    manifest.write_text(MANIFEST)
    told: list[Objects] = []
    async with (
        api.running(),
        knowing(api, tmp_path, [told.append], manifests=[manifest]) as knowledge,
    ):
        assert told[0].pods["shop", "p"].addresses() == ["10.0.9.9"]
        await until(lambda: api.watchers(PODS) and len(told) > 1)
        assert told[-1].pods["shop", "p"].addresses() == ["10.0.0.1"]
        assert ("shop", "only-here") in told[-1].pods
        parts = {part.part: part.state for part in knowledge.status()}
        assert parts == {"manifests": State.ON, "kubernetes": State.ON}
        api.delete(PODS, "shop", "p")
        await until(lambda: told[-1].pods["shop", "p"].addresses() == ["10.0.9.9"])


async def test_last_state_stays_while_the_server_is_away(api: FakeKubeApi, tmp_path: Path):
    told: list[Objects] = []
    async with api.running(), knowing(api, tmp_path, [told.append]) as knowledge:
        await until(lambda: api.watchers(PODS) and len(told) > 1)
        await api.stop()
        await until(lambda: knowledge.age() > 0)
        kubernetes = knowledge.status()[-1]
        assert (kubernetes.part, kubernetes.state) == ("kubernetes", State.DEGRADED)
        assert set(told[-1].pods) == {("shop", "p")}


async def test_a_new_pod_reaches_the_identity_table(api: FakeKubeApi, tmp_path: Path):
    directory = Directory("node-1", "default")
    table = IdentityTable(directory, node_name="node-1", cluster_name="default")

    def name_of(address: str) -> str:
        row = np.frombuffer(pack(address), np.uint8).reshape(1, 16)
        return directory.endpoints[int(table.resolve(row)[0])].name

    async with api.running(), knowing(api, tmp_path, [table.update]):
        await until(lambda: api.watchers(PODS) and name_of("10.0.0.1") == "p")
        api.put(PODS, pod("new", "10.0.1.1"))
        await until(lambda: name_of("10.0.1.1") == "new")


async def test_a_table_that_cannot_be_built_is_not_the_end(api: FakeKubeApi, tmp_path: Path):
    told: list[Objects] = []
    refused: list[Objects] = []

    def picky(objects: Objects) -> None:
        if ("shop", "odd") in objects.pods:
            refused.append(objects)
            raise RuntimeError("this object was not foreseen")
        told.append(objects)

    async with api.running(), knowing(api, tmp_path, [picky]):
        await until(lambda: api.watchers(PODS) and len(told) > 1)
        api.put(PODS, pod("odd", "10.0.1.1"))
        api.put(PODS, pod("even", "10.0.1.2"))
        await until(lambda: refused)
        api.delete(PODS, "shop", "odd")
        await until(lambda: ("shop", "even") in told[-1].pods)


def test_half_a_second_is_enough_for_a_new_pod():
    build = 0.2  # with 10,000 pods
    assert ApiLimits().debounce + LONGEST_REST + build <= 0.5
