"""Resident memory of a whole agent in a large cluster, and its delay after a change.

    python -m tests.bench.bench_agent

`flowd run` follows an API server double with 10,000 Pods of Deployments, 2,000 Services with one
slice each and 5,000 HTTPRoutes of two rules; the server runs in a separate process. Kernel capture
is off, because its maps and programs are not part of the process.
"""

import asyncio
import multiprocessing
import re
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from flowd.client.client import Client
from tests.bench.bench_kubernetes import big_pod
from tests.bench.bench_routes import PODS, ROUTES, SERVICES, TEAMS, cluster, route
from tests.e2e.agent import Agent
from tests.fakes import kube_api
from tests.fakes.kube_api import FakeKubeApi
from tests.support.kube_client import write_kubeconfig

GATEWAYS, CHANGES = f"{kube_api.GATEWAY}/v1/gateways", 20


def filled() -> FakeKubeApi:
    """An API server with the objects of bench_routes, Pods as large as real ones."""
    api, objects = FakeKubeApi(), cluster(ROUTES)
    for path in (GATEWAYS, kube_api.HTTP_ROUTES):
        api.serve(path)
    for number, pod in enumerate(objects.pods.values()):
        item = big_pod(number)
        item["metadata"] |= {"namespace": pod.metadata.namespace, "name": pod.metadata.name}
        name = f"web-{number % SERVICES:x}"
        labels = {"app.kubernetes.io/name": name, "pod-template-hash": "7d4f8b6c9d"}
        item["metadata"]["labels"] = {**labels, **pod.metadata.labels}
        item["metadata"]["ownerReferences"][0]["name"] = f"{name}-7d4f8b6c9d"
        item["spec"]["nodeName"] = f"node-{number % 100}"
        item["status"] = msgspec.to_builtins(pod.status)
        api.put(kube_api.PODS, item)
    for number in range(SERVICES):
        name = f"web-{number:x}-7d4f8b6c9d"
        owner = {"kind": "Deployment", "name": name.rpartition("-")[0], "controller": True}
        item = {"name": name, "namespace": f"team-{number % TEAMS}", "ownerReferences": [owner]}
        api.put(kube_api.REPLICA_SETS, {"metadata": item})
    for path, items in (
        (kube_api.SERVICES, objects.services),
        (kube_api.SLICES, objects.slices),
        (GATEWAYS, objects.gateways),
        (kube_api.HTTP_ROUTES, objects.http_routes),
    ):
        for item in items.values():
            api.put(path, msgspec.to_builtins(item))
    api.compact()
    return api


def serve(out: Connection) -> None:
    """The server's process: sends its URL, and changes a route on request."""
    asyncio.run(_serve(out))


async def _serve(out: Connection) -> None:
    api = filled()
    async with api.running():
        out.send(api.url)
        while True:
            if out.poll():
                number = out.recv()
                if number < 0:
                    return
                item = msgspec.to_builtins(route(number, SERVICES))
                item["spec"]["hostnames"] = [f"changed-{number}.test"]
                api.put(kube_api.HTTP_ROUTES, item)
            await asyncio.sleep(0.001)


def resident(pid: int, field: str) -> float:
    """Resident memory, MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def builds(agent: Agent) -> list[float]:
    """Seconds of each table build in the agent's log."""
    found = re.findall(r'tables built.*?seconds"?[=:] ?([0-9.e-]+)', agent.text())
    return [float(text) for text in found]


async def detail(agent: Agent) -> str:
    """The agent's status detail of the API server."""
    async with Client(agent.hubble, timeout=120) as client:
        parts = (await client.agent_status()).parts
    return next(part.detail for part in parts if part.part == "kubernetes")


def wait_for_objects(agent: Agent, count: int) -> None:
    """Wait until the agent has all objects and has built its tables."""
    while f"{count:,} objects" not in asyncio.run(detail(agent)) or not builds(agent):
        time.sleep(0.2)


def main() -> None:
    """Print one table."""
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,))
    server.start()
    try:
        url = here.recv()
        with tempfile.TemporaryDirectory() as folder:
            config = write_kubeconfig(Path(folder) / "kubeconfig", url, {})
            log = Path(folder) / "log"
            options = ("--kubeconfig", str(config), "--capture", "off", "--log-level", "debug")
            agent = Agent(log, *options)
            agent.start()
            try:
                measure(agent, here)
            finally:
                agent.stop()
        here.send(-1)
        server.join(10)
    finally:
        server.kill()
        server.join()


def measure(agent: Agent, server: Connection) -> None:
    """Print the table's rows."""
    assert agent.process is not None
    pid, count = agent.process.pid, PODS + ROUTES + 3 * SERVICES + 1
    wait_for_objects(agent, count)
    print(f"{PODS:,} Pods, {SERVICES:,} Services, {ROUTES:,} HTTPRoutes; whole agent")
    print(f"  first tables built    {max(builds(agent)):8.2f} s")
    print(f"  resident              {resident(pid, 'VmRSS'):8.1f} MiB")
    print(f"  resident at its peak  {resident(pid, 'VmHWM'):8.1f} MiB")
    before = len(builds(agent))
    for number in range(CHANGES):
        done = len(builds(agent))
        server.send(number)
        while len(builds(agent)) == done:
            time.sleep(0.01)
    spent = builds(agent)[before:]
    print(f"  after one HTTPRoute   {statistics.median(spent) * 1e3:8.1f} ms, {CHANGES} changes")
    print(f"  resident after these  {resident(pid, 'VmRSS'):8.1f} MiB")


if __name__ == "__main__":
    main()
