"""A ClusterInformer that follows the API server double, with short timeouts."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flowd.kubernetes.api.client import ApiClient
from flowd.kubernetes.api.cluster import ClusterInformer
from flowd.kubernetes.api.kubeconfig import KubeconfigSource
from flowd.kubernetes.api.limits import ApiLimits
from flowd.model.losses import Losses, Place
from tests.fakes.kube_api import FakeKubeApi

FAST = ApiLimits(
    page_size=3,
    connect=5.0,
    read=60.0,
    watch_idle=60.0,
    min_watch=0.0,
    backoff=(0.005, 0.01),
    retry_after=0.02,
    discovery_interval=0.02,
    start_jitter=0.0,
    debounce=0.0,
)
"""Short pauses, and timeouts longer than a test unless it sets its own."""


@dataclass
class Client:
    """A running ClusterInformer and its loss counters."""

    cluster: ClusterInformer
    losses: Losses

    def names(self, attribute: str = "pods") -> set[str]:
        """Names of the objects of a kind."""
        return {name for _, name in self.objects(attribute)}

    def objects(self, attribute: str = "pods") -> dict[tuple[str, str], Any]:
        """The objects of a kind, read without a snapshot."""
        live: dict[str, dict[tuple[str, str], Any]] = self.cluster.store._live  # pyright: ignore[reportPrivateUsage, reportAssignmentType]
        return live[attribute]

    def lost(self, reason: str) -> int:
        return self.losses.snapshot().get((Place.MANIFEST, reason), 0)


def write_kubeconfig(path: Path, server: str, user: dict[str, Any], **cluster: Any) -> Path:
    """A kubeconfig with one context."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


@asynccontextmanager
async def following(
    api: FakeKubeApi,
    folder: Path,
    limits: ApiLimits = FAST,
    *,
    stagger: bool = False,
    cluster: dict[str, Any] | None = None,
    **user: Any,
) -> AsyncGenerator[Client]:
    """Run the client until the block ends; a failure of its task fails the test."""
    path = write_kubeconfig(folder / "kubeconfig", api.url, user, **(cluster or {}))
    losses = Losses()
    followed = ClusterInformer(
        ApiClient(KubeconfigSource(str(path)).connection, limits), losses, limits, stagger=stagger
    )
    task = asyncio.create_task(followed.run())
    try:
        yield Client(followed, losses)
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()
