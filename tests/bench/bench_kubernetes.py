"""Listing 10,000 pods from an API server: time and memory.

    python -m tests.bench.bench_kubernetes

Pods are those of a small web service, 4 kB of JSON each, of which flowd keeps a few hundred bytes.
The server and each client run in separate processes, so that memory is measured for each.
lightkube's list with its own models is measured for comparison.
"""

import asyncio
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.fakes.kube_api import PODS, FakeKubeApi, pod, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

COUNT, RUNS = 10_000, 3


def big_pod(number: int) -> dict[str, Any]:
    """A Pod of a Deployment."""
    item = pod(
        f"web-{number // 5:x}-7d4f8b6c9d-{number:05d}",
        f"10.{number >> 12}.{number >> 6 & 63}.{number & 63}",
    )
    item["metadata"]["labels"] = {
        "app.kubernetes.io/name": f"web-{number // 5}",
        "app.kubernetes.io/instance": f"web-{number // 5}",
        "pod-template-hash": "7d4f8b6c9d",
    }
    owner: dict[str, Any] = {"apiVersion": "apps/v1", "uid": f"owner-{number}", "controller": True}
    owner |= {"kind": "ReplicaSet", "name": f"web-{number // 5:x}-7d4f8b6c9d"}
    item["metadata"]["ownerReferences"] = [owner]
    fields: dict[str, Any] = {
        f"f:field{n}": {"f:name": {}, "f:value": {".": {}}} for n in range(60)
    }
    item["metadata"]["managedFields"] = [{"manager": "kubelet", "fieldsV1": fields}]
    env = [{"name": f"VARIABLE_{n}", "value": 'a value in "quotes"'} for n in range(20)]
    item["spec"]["containers"] = [{"name": "main", "image": "registry.example/web:1", "env": env}]
    return item


def serve(out: Connection, pages: bool) -> None:
    """The server's process: sends its URL, and stops on request."""
    asyncio.run(_serve(out, pages))


async def _serve(out: Connection, pages: bool) -> None:
    api = FakeKubeApi()
    api.cache_ignores_limit = not pages
    for number in range(COUNT):
        api.put(PODS, big_pod(number))
    api.compact()
    async with api.running():
        out.send(api.url)
        while not out.poll():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def rss() -> tuple[float, float]:
    """Resident memory now and at its peak, MiB."""
    now = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return now / 2**20, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def client_flowd(url: str) -> dict[str, float]:
    """flowd's ClusterInformer, until every resource is synced."""
    from flowd.kubernetes.api.cluster import ClusterInformer, connect
    from flowd.model.losses import Losses

    base = rss()[0]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        context = {"name": "c", "context": {"cluster": "c"}}
        config = {"clusters": [{"name": "c", "cluster": {"server": url}}], "contexts": [context]}
        json.dump({**config, "current-context": "c"}, file)
        file.flush()
        cluster = connect(file.name, "", Losses())
    assert isinstance(cluster, ClusterInformer)
    started, cpu = time.perf_counter(), time.process_time()
    task = asyncio.create_task(cluster.run())
    await until(lambda: len(cluster.store) == COUNT)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    now, peak = rss()
    task.cancel()
    await asyncio.wait([task])
    return {"seconds": seconds, "cpu": cpu, "base": base, "now": now, "peak": peak}


async def client_lightkube(url: str) -> dict[str, float]:
    """lightkube's list with its models; keeps address and name only."""
    from lightkube import AsyncClient, KubeConfig
    from lightkube.config.models import Cluster as KubeCluster
    from lightkube.config.models import User
    from lightkube.resources.core_v1 import Pod

    base = rss()[0]
    config = KubeConfig.from_one(cluster=KubeCluster(server=url), user=User())
    client = AsyncClient(config=config)
    started, cpu = time.perf_counter(), time.process_time()
    kept: dict[str, Any] = {}
    pods: AsyncIterable[Any] = client.list(Pod, namespace="*", chunk_size=500)  # pyright: ignore[reportUnknownMemberType]
    async for item in pods:
        meta = item.metadata
        kept[item.status.podIP] = meta.namespace, meta.name, dict(meta.labels)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    now, peak = rss()
    await client.close()
    return {"seconds": seconds, "cpu": cpu, "base": base, "now": now, "peak": peak}


def main() -> None:
    """Print one table: a row for each client and way of listing."""
    print(f"{COUNT:,} pods, {len(json.dumps(big_pod(1)))} bytes each, median of {RUNS} runs")
    print("client      list     seconds   CPU s   MiB before   after    peak")
    for pages in (False, True):
        here, there = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(there, pages))
        server.start()
        try:
            url = here.recv()
            for name in ("flowd", "lightkube"):
                runs = [run(name, url) for _ in range(RUNS)]
                middle = {key: statistics.median(each[key] for each in runs) for key in runs[0]}
                print(
                    f"{name:10}  {'paged' if pages else 'whole':6} {middle['seconds']:9.2f}"
                    f" {middle['cpu']:7.2f} {middle['base']:12.0f} {middle['now']:7.0f}"
                    f" {middle['peak']:7.0f}"
                )
            here.send("end")
            server.join(10)
        finally:
            server.kill()
            server.join()


def run(name: str, url: str) -> dict[str, float]:
    """Run one client in a new process."""
    command = [sys.executable, "-m", "tests.bench.bench_kubernetes", name, url]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        client = {"flowd": client_flowd, "lightkube": client_lightkube}[sys.argv[1]]
        print(json.dumps(asyncio.run(client(sys.argv[2]))))
    else:
        main()
