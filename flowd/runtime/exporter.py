"""The protocol of an exporter: a sink of flow batches at the end of the pipeline."""

from typing import Protocol

from flowd.model.records.batch import FlowBatch
from flowd.runtime.queue import Queue


class Exporter(Protocol):
    """A sink of flow batches: runs until its queue is closed and empty, then flushes."""

    @property
    def name(self) -> str: ...
    async def run(self, batches: Queue[FlowBatch]) -> None: ...
