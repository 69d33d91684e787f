"""State of the cluster: Kubernetes objects from files and the API server, handed to the tables.

Where a file and the API server have an object of the same name, the API server's is taken.
"""

import asyncio
import gc
import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flowd.errors import FlowdError
from flowd.kubernetes.manifests import Manifests
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.losses import Losses
from flowd.model.status import PartStatus, State
from flowd.settings import Settings

if TYPE_CHECKING:
    from flowd.kubernetes.api.cluster import ClusterInformer

log = logging.getLogger(__name__)
POLL_SECONDS = 1.0
REST = 4
"""Pause after building tables, as a multiple of the time that it took."""
LONGEST_REST = 0.2
"""Bound on that pause in seconds, so that a new pod is known within half a second."""


def connect(settings: Settings, losses: Losses) -> "ClusterInformer | None":
    """The informer of the API server that the settings or the pod's environment name, or None.

    The HTTP client is imported only where there is an API server.
    """
    if not settings.kubeconfig and "KUBERNETES_SERVICE_HOST" not in os.environ:
        return None
    from flowd.kubernetes.api import cluster

    return cluster.connect(settings.kubeconfig, settings.kube_context, losses)


class ClusterState:
    """Loads and follows the cluster's objects, and calls the builders of tables on every change.

    Args:
        subscribers: called in order with all objects after every change.
        cluster: the informer of an API server, followed by `run`.
    """

    def __init__(
        self,
        manifests: Manifests,
        subscribers: Sequence[Callable[[Objects], None]],
        cluster: "ClusterInformer | None" = None,
    ) -> None:
        self._manifests = manifests
        self._subscribers = subscribers
        self._cluster = cluster
        self._error = ""
        self._failure = ""
        self._files = Objects()
        self._frozen = 0

    def load(self) -> None:
        """Read the files and call the subscribers.

        Raises:
            UsageError: a file that cannot be read or does not parse.
        """
        self._files = self._manifests.load()
        self._build()
        self._error = ""

    async def run(self) -> None:
        """Follow the files and the API server; on an error the last good state stays in force."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_files())
            if self._cluster:
                tasks.create_task(self._follow_server(self._cluster))

    def age(self) -> float:
        """Seconds since the last contact with the API server; 0 while all is well."""
        return self._cluster.age() if self._cluster else 0.0

    def status(self) -> Sequence[PartStatus]:
        """Status of the files and of the API server: number of objects, or the error."""
        return [self._file_status(), *self._server_status()]

    def _file_status(self) -> PartStatus:
        count = len(self._files)
        if self._error:
            return PartStatus("manifests", State.DEGRADED, self._error)
        if not count:
            rest = "" if self._cluster else ": the host's own names only"
            return PartStatus("manifests", State.OFF, f"none given{rest}")
        repeated = self._files.repeated
        note = f", {repeated} names given more than once" if repeated else ""
        return PartStatus("manifests", State.ON, f"{count} objects{note}")

    def _server_status(self) -> Sequence[PartStatus]:
        if not self._cluster:
            return []
        if self._failure:
            return [PartStatus("kubernetes", State.FAILED, self._failure)]
        return [self._cluster.status()]

    def _build(self) -> None:
        objects = self._cluster.store.snapshot(self._files) if self._cluster else self._files
        for update in self._subscribers:
            update(objects)
        if len(objects) > 2 * self._frozen:
            # Long-lived objects are exempt from collection: a full collection over them takes long
            gc.collect()
            gc.freeze()
            self._frozen = len(objects)

    async def _follow_files(self) -> None:
        """Load the files again when one of them has changed; checked once a second."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if not self._manifests.changed():
                continue
            try:
                self.load()
                log.info("manifests loaded again", extra={"objects": len(self._files)})
            except FlowdError as error:
                self._error = error.message
                log.warning(
                    "manifests not loaded, the last good ones stay in force: %s", error.message
                )

    async def _follow_server(self, cluster: "ClusterInformer") -> None:
        builds = asyncio.create_task(self._follow_store(cluster))
        try:
            await cluster.run()
        except Exception as error:
            log.exception("part failed", extra={"part": "kubernetes"})
            self._failure = f"{type(error).__name__}: the last state stays in force"
        finally:
            builds.cancel()

    async def _follow_store(self, cluster: "ClusterInformer") -> None:
        """Build the tables when the first lists are complete, and after each burst of changes."""
        try:
            async with asyncio.timeout(cluster.limits.sync_timeout + cluster.limits.start_jitter):
                await cluster.synced.wait()
        except TimeoutError:
            log.info("kubernetes: not every kind has been listed; going on with what is there")
        while True:
            await cluster.store.changed.wait()
            await asyncio.sleep(cluster.limits.debounce)
            started = time.perf_counter()
            try:
                self._build()
            except Exception:
                log.exception("tables not built, the last ones stay in force")
            took = time.perf_counter() - started
            log.debug("tables built", extra={"objects": len(cluster.store), "seconds": took})
            await asyncio.sleep(min(took * REST, LONGEST_REST))
