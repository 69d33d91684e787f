"""The flow log: Hubble's exporter format, one ExportEvent as JSON a line, in a file that rotates.

`hubble observe --input-file` reads it back.
"""

import asyncio
import logging
import os
from itertools import islice
from pathlib import Path

from flowd.errors import UsageError
from flowd.model.batch import FlowBatch
from flowd.model.directory import Directory
from flowd.model.flow import FlowRows
from flowd.model.losses import Losses, Place
from flowd.queue import Closed, Queue
from flowd_exporters.hubble.jsonline import FlowJson
from flowd_exporters.rotate import RotatingFile

log = logging.getLogger(__name__)

_LINES_A_WRITE = 256


class FlowLogExporter:
    """Appends flows to a file; what cannot be written is counted, and the agent lives on.

    Args:
        max_size: bytes after which the file is put aside as `<stem>-<UTC time><suffix>[.gz]`.
        max_backups: how many of those are kept; 0 keeps all.
        compress: whether they are compressed.

    Raises:
        UsageError: the file cannot be opened for appending.
    """

    name = "flowlog"

    def __init__(
        self,
        path: str | os.PathLike[str],
        directory: Directory,
        losses: Losses,
        max_size: int = 10 << 20,
        max_backups: int = 5,
        compress: bool = False,
    ) -> None:
        self._file = RotatingFile(Path(path), max_size, max_backups, compress)
        self._json = FlowJson(directory)
        self._losses = losses
        losses.add(Place.EXPORT, self.name, 0)
        try:
            self._file.open()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            hint = "the folder must exist and be writable"
            raise UsageError(f"cannot write the flow log {path}: {reason}", hint) from None

    async def run(self, batches: Queue[FlowBatch]) -> None:
        """Write until the queue is closed and empty, then flush to the disk."""
        try:
            while True:
                batch = await batches.get()
                await self._write(batch.flows)
        except Closed:
            pass
        finally:
            self._file.close()

    async def _write(self, rows: FlowRows) -> None:
        events = self._json.events(rows)
        left = len(rows)
        try:
            while left:
                lines = [f"{event}\n".encode() for event in islice(events, _LINES_A_WRITE)]
                left -= len(lines)
                written, error = await asyncio.to_thread(self._file.write, lines)
                if error:
                    self._lost(len(lines) - written, error.strerror or str(error))
        except Exception:
            log.exception("batch left out", extra={"exporter": self.name, "rows": left})
            self._losses.add(Place.EXPORT, self.name, left)

    def _lost(self, count: int, reason: str) -> None:
        log.warning(
            "flow log cannot be written", extra={"path": str(self._file.path), "reason": reason}
        )
        self._losses.add(Place.EXPORT, self.name, count)
