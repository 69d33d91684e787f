"""What is known of the cluster, kept current: manifest files in, identity and route tables out."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from flowd.errors import FlowdError
from flowd.kubernetes.manifests import Manifests
from flowd.kubernetes.objects import Objects
from flowd.model.status import PartStatus, State

log = logging.getLogger(__name__)
POLL_SECONDS = 1.0


class Knowledge:
    """Loads the manifests, tells everyone who builds a table from them, and again on a change.

    Args:
        tell: called in order with the objects after every load.
    """

    def __init__(self, manifests: Manifests, tell: Sequence[Callable[[Objects], None]]) -> None:
        self._manifests = manifests
        self._tell = tell
        self._error = ""
        self._loaded = 0.0
        self._count = 0

    def load(self) -> None:
        """Read the files and tell everyone.

        Raises:
            UsageError: a file that cannot be read or does not parse.
        """
        objects = self._manifests.load()
        for tell in self._tell:
            tell(objects)
        self._error, self._loaded, self._count = "", time.time(), len(objects)

    async def run(self) -> None:
        """Look for changed files once a second; a bad change leaves the last good state in force."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if not self._manifests.changed():
                continue
            try:
                self.load()
                log.info("manifests loaded again", extra={"objects": self._count})
            except FlowdError as error:
                self._error = error.message
                log.warning(
                    "manifests not loaded, the last good ones stay in force: %s", error.message
                )

    def status(self) -> Sequence[PartStatus]:
        """One part: how many objects, or what is wrong with the files."""
        if self._error:
            return [PartStatus("manifests", State.DEGRADED, self._error)]
        if not self._count:
            return [PartStatus("manifests", State.OFF, "none given: the host's own names only")]
        return [PartStatus("manifests", State.ON, f"{self._count} objects")]
