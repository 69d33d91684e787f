"""Cluster informer: reflectors for all resources of one API server, with a shared object store."""

import asyncio
import logging
import random
import time
from dataclasses import dataclass

from flowd.kubernetes.api.client import ApiClient, ApiError, backoff_sleep
from flowd.kubernetes.api.discovery import OPTIONAL, discover
from flowd.kubernetes.api.kubeconfig import KubeconfigSource, in_cluster
from flowd.kubernetes.api.limits import ApiLimits
from flowd.kubernetes.api.reflector import Reflector, ReflectorHealth
from flowd.kubernetes.api.resources import RESOURCES, WatchedResource
from flowd.kubernetes.api.store import ObjectStore
from flowd.model.losses import Losses
from flowd.model.status import PartStatus, State

log = logging.getLogger(__name__)


def connect(kubeconfig: str, context: str, losses: Losses) -> "ClusterInformer | None":
    """Informer for the cluster of a kubeconfig, else of the Pod this runs in, else None.

    Raises:
        UsageError: the configuration cannot be read or is incomplete.
    """
    if not kubeconfig and not in_cluster():
        return None
    limits = ApiLimits()
    api = ApiClient(KubeconfigSource(kubeconfig, context).connection, limits)
    return ClusterInformer(api, losses, limits, stagger=not kubeconfig)


@dataclass(slots=True)
class _Running:
    reflector: Reflector
    task: asyncio.Task[None]


class ClusterInformer:
    """Run a reflector for each served resource; rediscover the others periodically.

    Args:
        stagger: delay the first request at random, because many agents may start at once.

    Attributes:
        store: the objects; they stay available while the API server is unreachable.
        synced: set once each resource has been listed or has failed (client-go's HasSynced).
    """

    def __init__(
        self,
        api: ApiClient,
        losses: Losses,
        limits: ApiLimits | None = None,
        *,
        stagger: bool = False,
    ) -> None:
        self.limits = limits or ApiLimits()
        self.store = ObjectStore()
        self.synced = asyncio.Event()
        self._api = api
        self._losses = losses
        self._stagger = stagger
        self._lists = asyncio.Semaphore(self.limits.parallel_lists)
        self._running: dict[WatchedResource, _Running] = {}
        self._discovery = ReflectorHealth("discovery")
        self._rediscover = asyncio.Event()
        self._started = time.monotonic()

    async def run(self) -> None:
        """Keep the store in sync until cancelled."""
        try:
            if self._stagger:
                await asyncio.sleep(random.uniform(0, self.limits.start_jitter))
            async with asyncio.TaskGroup() as tasks:
                for resource in RESOURCES:
                    if resource.required:
                        self._start(tasks, resource, resource.versions[0])
                await self._discover(tasks)
        finally:
            await self._api.close()

    def status(self) -> PartStatus:
        """Status: the number of objects, or the error and the time of the last contact."""
        states = self._health()
        failing = [health for health in states if health.error]
        if failing:
            worst = min(failing, key=lambda health: health.last_contact)
            seconds = time.monotonic() - worst.last_contact
            contact = (
                f"last contact {seconds:.0f} s ago" if worst.last_contact else "no contact yet"
            )
            others = f", and {len(failing) - 1} more" if len(failing) > 1 else ""
            detail = f"{self._api.url}: {contact}: {worst.name}: {worst.error}{others}"
            return PartStatus("kubernetes", State.DEGRADED, detail)
        if not all(health.tried for health in states):
            return PartStatus(
                "kubernetes", State.DEGRADED, f"{self._api.url}: first list under way"
            )
        detail = f"{self._api.url}: {len(self.store):,} objects"
        absent = [resource.kind for resource in OPTIONAL if resource not in self._running]
        if absent:
            detail += f"; not served: {', '.join(absent)}"
        return PartStatus("kubernetes", State.ON, detail)

    def age(self) -> float:
        """Seconds since the oldest last contact of the failing resources; 0 without failures."""
        contacts = [
            health.last_contact or self._started for health in self._health() if health.error
        ]
        return time.monotonic() - min(contacts) if contacts else 0.0

    def _health(self) -> list[ReflectorHealth]:
        return [self._discovery, *(entry.reflector.health for entry in self._running.values())]

    async def _discover(self, tasks: asyncio.TaskGroup) -> None:
        failures = 0
        while True:
            self._rediscover.clear()
            try:
                served = await discover(self._api)
            except ApiError as error:
                failures += 1
                self._discovery.failed(error.message)
                self._check_synced()
                await backoff_sleep(error, failures, self.limits)
                continue
            failures = 0
            self._discovery.succeeded()
            for resource in OPTIONAL:
                self._reconcile(tasks, resource, served.get(resource))
            self._check_synced()
            if len(served) == len(OPTIONAL):
                await self._rediscover.wait()
            else:
                await self._wait()
            # A resource that just disappeared may reappear in another version.
            await asyncio.sleep(random.uniform(0, self.limits.backoff[0]))

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self.limits.discovery_interval * random.uniform(0.75, 1.25)):
                await self._rediscover.wait()
        except TimeoutError:
            return

    def _reconcile(
        self, tasks: asyncio.TaskGroup, resource: WatchedResource, version: str | None
    ) -> None:
        """Start, restart (another version) or stop the reflector of a resource."""
        running = self._running.get(resource)
        if running and running.reflector.version == version:
            return
        if running:
            running.task.cancel()
            del self._running[resource]
        if version:
            self._start(tasks, resource, version)
            log.info("kubernetes: %s %s is watched", resource.plural, version)
        elif running:
            self.store.replace(resource.object_kind, {})
            log.info("kubernetes: %s is no longer served", resource.plural)

    def _start(self, tasks: asyncio.TaskGroup, resource: WatchedResource, version: str) -> None:
        reflector = Reflector(
            self._api,
            resource,
            version,
            self.store,
            self._losses,
            self.limits,
            lists=self._lists,
            on_not_found=self._rediscover.set,
            on_contact=self._check_synced,
        )
        self._running[resource] = _Running(reflector, tasks.create_task(reflector.run()))

    def _check_synced(self) -> None:
        if all(health.tried for health in self._health()):
            self.synced.set()
