"""Agent with an API server instead of manifests: start, lost connection, reconnect."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.e2e.agent import Agent, flowd
from tests.fakes.kube_api import GATEWAY, HTTP_ROUTES, PODS, FakeKubeApi, http_route, pod
from tests.support.kube_client import write_kubeconfig

pytestmark = pytest.mark.e2e


@pytest.fixture
async def api() -> AsyncIterator[FakeKubeApi]:
    double = FakeKubeApi()
    double.put(PODS, pod("p", "10.0.0.1"))
    gateways = f"{GATEWAY}/v1/gateways"
    double.serve(gateways)
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    meta = {"name": "web", "namespace": "shop"}
    double.put(gateways, {"metadata": meta, "spec": {"listeners": [listener]}})
    double.serve(HTTP_ROUTES)
    double.put(HTTP_ROUTES, http_route("r"))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(double.running())
        yield double


async def told(agent: Agent, text: str) -> None:
    """Wait until the line of `flowd status` about the API server contains a text."""
    while True:
        done = await asyncio.to_thread(flowd, "status", "--server", agent.hubble)
        lines = [line for line in done.stdout.splitlines() if "kubernetes" in line]
        if lines and text in lines[0]:
            return
        await asyncio.sleep(0.1)


async def test_objects_of_an_api_server(api: FakeKubeApi, tmp_path: Path):
    path = write_kubeconfig(tmp_path / "kubeconfig", api.url, {})
    port = int(api.url.rpartition(":")[2])
    await api.stop()
    agent = Agent(tmp_path / "log", "--capture", "off", "--kubeconfig", str(path))
    try:
        await asyncio.to_thread(agent.start)
        await told(agent, "no contact yet")
        async with api.running(port):
            await told(agent, "3 objects")
            routes = await asyncio.to_thread(flowd, "routes", "list", "--server", agent.hubble)
            assert "shop/r" in routes.stdout
        await told(agent, "last contact")
        assert await asyncio.to_thread(agent.stop) == 0
    finally:
        if agent.process and agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait()


def test_bad_kubeconfig_is_one_line_and_a_hint(tmp_path: Path):
    path = tmp_path / "kubeconfig"
    path.write_text("kind: Config\n")
    done = flowd("run", "--capture", "off", "--kubeconfig", str(path))
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if not line.startswith("time=")]
    assert lines[0] == f"flowd: error: kubeconfig {path}: 'clusters' is missing"
    assert lines[1].startswith("hint: ")
    assert len(lines) == 2
