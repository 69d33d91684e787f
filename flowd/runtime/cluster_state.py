"""What is known of the cluster, kept current: Kubernetes objects in, identity and route tables out.

Objects come from manifest files, from an API server, or from both, and then the server's win.
"""

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flowd.errors import FlowdError
from flowd.kubernetes.manifests import Manifests
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.status import PartStatus, State

if TYPE_CHECKING:
    from flowd.kubernetes.api.cluster import Cluster

log = logging.getLogger(__name__)
POLL_SECONDS = 1.0
REST = 4
"""Rest after building tables, as a multiple of the time it took."""
LONGEST_REST = 0.2
"""Bound on that rest in seconds, so that a new pod is known within half a second."""


class Knowledge:
    """Loads the manifests, tells everyone who builds a table from them, and again on a change.

    Args:
        tell: called in order with the objects after every load.
        cluster: an API server's objects, followed by `run`.
    """

    def __init__(
        self,
        manifests: Manifests,
        tell: Sequence[Callable[[Objects], None]],
        cluster: "Cluster | None" = None,
    ) -> None:
        self._manifests = manifests
        self._tell = tell
        self._cluster = cluster
        self._error = ""
        self._failure = ""
        self._files = Objects()
        self._frozen = 0

    def load(self) -> None:
        """Read the files and tell everyone.

        Raises:
            UsageError: a file that cannot be read or does not parse.
        """
        self._files = self._manifests.load()
        self._build()
        self._error = ""

    async def run(self) -> None:
        """Follow the files and the API server; bad news leave the last good state in force."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_files())
            if self._cluster:
                tasks.create_task(self._follow_server(self._cluster))

    def age(self) -> float:
        """Seconds since the last contact with the API server; 0 while all is well."""
        return self._cluster.age() if self._cluster else 0.0

    def status(self) -> Sequence[PartStatus]:
        """A part for the files and one for the API server: how many objects, or what is wrong."""
        return [self._file_status(), *self._server_status()]

    def _file_status(self) -> PartStatus:
        count = len(self._files)
        if self._error:
            return PartStatus("manifests", State.DEGRADED, self._error)
        if not count:
            rest = "" if self._cluster else ": the host's own names only"
            return PartStatus("manifests", State.OFF, f"none given{rest}")
        repeated = self._files.repeated
        told = f", {repeated} names given more than once" if repeated else ""
        return PartStatus("manifests", State.ON, f"{count} objects{told}")

    def _server_status(self) -> Sequence[PartStatus]:
        if not self._cluster:
            return []
        if self._failure:
            return [PartStatus("kubernetes", State.FAILED, self._failure)]
        return [self._cluster.status()]

    def _build(self) -> None:
        objects = self._cluster.store.snapshot(self._files) if self._cluster else self._files
        for tell in self._tell:
            tell(objects)
        if len(objects) > 2 * self._frozen:
            # What stays is no work for the garbage collector, whose rounds over it take long
            gc.collect()
            gc.freeze()
            self._frozen = len(objects)

    async def _follow_files(self) -> None:
        """Look for changed files once a second."""
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

    async def _follow_server(self, cluster: "Cluster") -> None:
        builds = asyncio.create_task(self._follow_store(cluster))
        try:
            await cluster.run()
        except Exception as error:
            log.exception("part failed", extra={"part": "kubernetes"})
            self._failure = f"{type(error).__name__}: the last state stays in force"
        finally:
            builds.cancel()

    async def _follow_store(self, cluster: "Cluster") -> None:
        """Build the tables when the first picture is whole, and after each burst of changes."""
        try:
            async with asyncio.timeout(cluster.limits.settle + cluster.limits.start):
                await cluster.settled.wait()
        except TimeoutError:
            log.info("kubernetes: not every kind has been listed; going on with what is there")
        while True:
            await cluster.store.changed.wait()
            await asyncio.sleep(cluster.limits.gather)
            started = time.perf_counter()
            try:
                self._build()
            except Exception:
                log.exception("tables not built, the last ones stay in force")
            took = time.perf_counter() - started
            log.debug("tables built", extra={"objects": len(cluster.store), "seconds": took})
            await asyncio.sleep(min(took * REST, LONGEST_REST))
