"""A cluster's objects from its API server, current for as long as `run` runs."""

import asyncio
import logging
import random
import time
from dataclasses import dataclass

from flowd.kubernetes.api.client import Api, ApiError, pause
from flowd.kubernetes.api.discovery import OPTIONAL, discover
from flowd.kubernetes.api.kubeconfig import Access, in_cluster
from flowd.kubernetes.api.limits import Limits
from flowd.kubernetes.api.reflector import Health, Reflector
from flowd.kubernetes.api.resources import RESOURCES, Resource
from flowd.kubernetes.api.store import Store
from flowd.model.losses import Losses
from flowd.model.status import PartStatus, State

log = logging.getLogger(__name__)


def connect(kubeconfig: str, context: str, losses: Losses) -> "Cluster | None":
    """The cluster of a kubeconfig, or else of the pod this runs in; None where there is neither.

    Raises:
        UsageError: the configuration cannot be read or does not say how to connect.
    """
    if not kubeconfig and not in_cluster():
        return None
    limits = Limits()
    api = Api(Access(kubeconfig, context).connection, limits)
    return Cluster(api, losses, limits, apart=not kubeconfig)


@dataclass(slots=True)
class _Running:
    reflector: Reflector
    task: asyncio.Task[None]


class Cluster:
    """A reflector for each resource that is served; those that are not are looked for again.

    Args:
        apart: this agent is one of many, and they must not all ask at the same moment.

    Attributes:
        store: what is known, also while the API server is away.
        settled: set when every resource has been listed or could not be.
    """

    def __init__(
        self, api: Api, losses: Losses, limits: Limits | None = None, *, apart: bool = False
    ) -> None:
        self.limits = limits or Limits()
        self.store = Store()
        self.settled = asyncio.Event()
        self._api = api
        self._losses = losses
        self._apart = apart
        self._lists = asyncio.Semaphore(self.limits.lists)
        self._running: dict[Resource, _Running] = {}
        self._discovery = Health("discovery")
        self._look = asyncio.Event()
        self._started = time.monotonic()

    async def run(self) -> None:
        """Keep the store current until cancelled."""
        try:
            if self._apart:
                await asyncio.sleep(random.uniform(0, self.limits.start))
            async with asyncio.TaskGroup() as tasks:
                for resource in RESOURCES:
                    if resource.required:
                        self._start(tasks, resource, resource.versions[0])
                await self._discover(tasks)
        finally:
            await self._api.close()

    def status(self) -> PartStatus:
        """One part: how much is known, or since when the server is away and why."""
        every = self._health()
        bad = [health for health in every if health.error]
        if bad:
            worst = min(bad, key=lambda health: health.contact)
            seconds = time.monotonic() - worst.contact
            contact = f"last contact {seconds:.0f} s ago" if worst.contact else "no contact yet"
            others = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
            detail = f"{self._api.url}: {contact}: {worst.name}: {worst.error}{others}"
            return PartStatus("kubernetes", State.DEGRADED, detail)
        if not all(health.tried for health in every):
            return PartStatus(
                "kubernetes", State.DEGRADED, f"{self._api.url}: first list under way"
            )
        detail = f"{self._api.url}: {len(self.store):,} objects"
        absent = [resource.kind for resource in OPTIONAL if resource not in self._running]
        if absent:
            detail += f"; not served: {', '.join(absent)}"
        return PartStatus("kubernetes", State.ON, detail)

    def age(self) -> float:
        """Seconds since the last contact of what is longest without; 0 while all is well."""
        away = [health.contact or self._started for health in self._health() if health.error]
        return time.monotonic() - min(away) if away else 0.0

    def _health(self) -> list[Health]:
        return [self._discovery, *(entry.reflector.health for entry in self._running.values())]

    async def _discover(self, tasks: asyncio.TaskGroup) -> None:
        failures = 0
        while True:
            self._look.clear()
            try:
                served = await discover(self._api)
            except ApiError as error:
                failures += 1
                self._discovery.failed(error.message)
                self._note()
                await pause(error, failures, self.limits)
                continue
            failures = 0
            self._discovery.well()
            for resource in OPTIONAL:
                self._follow(tasks, resource, served.get(resource))
            self._note()
            if len(served) == len(OPTIONAL):
                await self._look.wait()
            else:
                await self._wait()
            # One that was just found missing may be on its way to another version.
            await asyncio.sleep(random.uniform(0, self.limits.backoff[0]))

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self.limits.discover * random.uniform(0.75, 1.25)):
                await self._look.wait()
        except TimeoutError:
            return

    def _follow(self, tasks: asyncio.TaskGroup, resource: Resource, version: str | None) -> None:
        """Start, move or stop the reflector of a resource."""
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
            self.store.replace(resource.read_as, {})
            log.info("kubernetes: %s is no longer served", resource.plural)

    def _start(self, tasks: asyncio.TaskGroup, resource: Resource, version: str) -> None:
        reflector = Reflector(
            self._api,
            resource,
            version,
            self.store,
            self._losses,
            self.limits,
            lists=self._lists,
            missing=self._look.set,
            noted=self._note,
        )
        self._running[resource] = _Running(reflector, tasks.create_task(reflector.run()))

    def _note(self) -> None:
        if all(health.tried for health in self._health()):
            self.settled.set()
