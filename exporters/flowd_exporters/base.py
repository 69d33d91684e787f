"""What every exporter has in common."""

import logging
from collections.abc import Callable

import numpy as np

from flowd.model.enums import EntryKind
from flowd.model.losses import Losses, Place
from flowd.model.records.batch import FlowBatch
from flowd.model.records.request import RequestBatch
from flowd.runtime.queue import Closed, Queue

log = logging.getLogger(__name__)


FINAL_LOG_TYPES = (0, 3, 6, 13)
"""Envoy's AccessLogTypes that end a request or connection: NotSet, TcpConnectionEnd, DownstreamEnd,
UdpSessionEnd (envoy.data.accesslog.v3). Others tell of one that goes on, or of one attempt."""

_FINAL = np.isin(np.arange(256), FINAL_LOG_TYPES)


def final(batch: RequestBatch, kind: EntryKind) -> RequestBatch:
    """The rows that are the one final entry of a request or connection of that kind."""
    mask = (batch["kind"] == kind) & _FINAL[batch["log_type"]]
    return batch if mask.all() else batch[mask]


async def consume(
    name: str, batches: Queue[FlowBatch], take: Callable[[FlowBatch], None], losses: Losses
) -> None:
    """Hand every batch to `take` until the queue is closed and empty.

    A batch that `take` fails on is logged, counted (place `export`, reason `name`) and left out.
    """
    while True:
        try:
            batch = await batches.get()
        except Closed:
            return
        try:
            take(batch)
        except Exception:
            log.exception("batch left out", extra={"exporter": name, "rows": len(batch)})
            losses.add(Place.EXPORT, name, len(batch))
