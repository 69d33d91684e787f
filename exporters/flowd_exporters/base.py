"""Parts that several exporters share: the batch loop, the final log entries, flow-log health."""

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from flowd.model.enums import FINAL_TYPES, EntryKind
from flowd.model.losses import Losses, Place
from flowd.model.records.batch import FlowBatch
from flowd.model.records.request import RequestBatch
from flowd.runtime.queue import Closed, Queue

log = logging.getLogger(__name__)

_FINAL = np.isin(np.arange(256), FINAL_TYPES)


class FlowLogHealth(NamedTuple):
    """State of a flow log.

    Attributes:
        up: whether the last attempt to write succeeded.
        last_write: Unix time of the last line in seconds; 0 for none.
        behind: seconds for which flows have been unwritten; 0 when all are written.
    """

    name: str
    up: bool
    last_write: float
    behind: float


def final_entries(batch: RequestBatch, kind: EntryKind) -> RequestBatch:
    """Rows of a kind that are the final entry of a request or connection, one for each."""
    mask = (batch["kind"] == kind) & _FINAL[batch["log_type"]]
    return batch if mask.all() else batch[mask]


async def consume(
    name: str, batches: Queue[FlowBatch], observe: Callable[[FlowBatch], None], losses: Losses
) -> None:
    """Call `observe` with every batch until the queue is closed and empty.

    When `observe` raises, the batch is logged, counted (place `export`, reason `name`) and skipped.
    """
    while True:
        try:
            batch = await batches.get()
        except Closed:
            return
        try:
            observe(batch)
        except Exception:
            log.exception("batch left out", extra={"exporter": name, "rows": len(batch)})
            losses.add(Place.EXPORT, name, len(batch))
