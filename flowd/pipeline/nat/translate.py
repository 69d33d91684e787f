"""Both names of a translated connection: each row gets the tuple of the other side."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from flowd.model.directory import Directory
from flowd.model.endpoint import EndpointKind
from flowd.model.enums import Nat, Protocol, Reason
from flowd.model.losses import Losses, Place
from flowd.model.records.connection import ConnectionBatch, empty_connections
from flowd.model.records.rows import chosen, joined
from flowd.model.records.translation import Translations
from flowd.pipeline.endpoint_tuples import sockets
from flowd.pipeline.nat.table import BEFORE, NatTable
from flowd.pipeline.sorted_index import U64

HOLD_NS = 200_000_000
HOLD_ROWS = 4096


class Translator:
    """The second half of the identify stage: `nat` and the `nat_*` columns.

    A packet is seen before its translation is told of. The first record of a connection to a
    Service therefore waits, `HOLD_NS` and `HOLD_ROWS` at most and never longer than the next
    record of its connection; no other row waits.

    Args:
        directory: tells which endpoints are Services.
        losses: `translations_full` under Place.CAPTURE: translations that left the table too early.
        news: gives what happened since it was last called.
        limit: translations held.
    """

    def __init__(
        self,
        directory: Directory,
        losses: Losses,
        news: Callable[[], Sequence[Translations]],
        limit: int,
    ) -> None:
        self.table = NatTable(limit)
        self._directory = directory
        self._losses = losses
        self._news = news
        self._is_service = np.zeros(0, np.bool_)
        self._held = empty_connections()
        self._since_ns: NDArray[np.int64] = np.zeros(0, np.int64)

    def translate(self, batch: ConnectionBatch) -> ConnectionBatch:
        """Rows that need not wait, those that waited long enough before them; writes into batch."""
        held = self._held["conn_id"]
        free = np.isin(held, batch["conn_id"]) if len(held) else np.zeros(0, np.bool_)
        return self._step(batch, free)

    def release(self, final: bool) -> ConnectionBatch:
        """Rows that need not wait any longer; with `final` all."""
        return self._step(empty_connections(), np.full(len(self._held), final))

    def _step(self, batch: ConnectionBatch, free: NDArray[np.bool_]) -> ConnectionBatch:
        for news in self._news():
            self.table.update(news)
        self._losses.put(Place.CAPTURE, "translations_full", self.table.evicted)
        if not len(batch) and not len(self._held):
            return batch
        now = time.monotonic_ns()
        held, self._held = self._held, empty_connections()
        self._fill(batch)
        wait = self._waits(batch)
        if not len(held) and not wait.any():
            return batch
        self._fill(held)
        free |= (held["nat"] != Nat.NONE) | (now - self._since_ns >= HOLD_NS)
        self._held = joined([chosen(held, ~free), chosen(batch, wait)])
        self._since_ns = np.concatenate([self._since_ns[~free], np.full(int(wait.sum()), now)])
        released = [chosen(held, free)]
        if (surplus := len(self._held) - HOLD_ROWS) > 0:
            released.append(self._held[:surplus])
            self._held, self._since_ns = self._held[surplus:], self._since_ns[surplus:]
        if wait.any():
            batch = chosen(batch, ~wait)
        return joined([*released, batch])

    def _waits(self, batch: ConnectionBatch) -> NDArray[np.bool_]:
        """First records of untranslated connections to a Service, if no other record is here."""
        self._extend()
        wait = (batch["reason"] == Reason.NEW) & (batch["nat"] == Nat.NONE)
        wait &= self._is_service[batch["dst_endpoint"]]
        if wait.any():
            several, count = np.unique(batch["conn_id"], return_counts=True)
            wait &= ~np.isin(batch["conn_id"], several[count > 1])
        return wait

    def _extend(self) -> None:
        known, endpoints = len(self._is_service), self._directory.endpoints
        if known == len(endpoints):
            return
        fresh = (endpoints[index] for index in range(known, len(endpoints)))
        kinds = [endpoint.kind == EndpointKind.SERVICE for endpoint in fresh]
        self._is_service = np.concatenate([self._is_service, np.array(kinds, np.bool_)])

    def _fill(self, rows: ConnectionBatch) -> None:
        if not len(rows) or not len(self.table):
            return
        src, dst = (
            sockets(rows[f"{side}_addr"], rows[f"{side}_port"], rows["protocol"])
            for side in ("src", "dst")
        )
        tcp = rows["protocol"] == Protocol.TCP
        first = rows["first_ns"].astype(np.int64)
        new = np.flatnonzero(tcp & (rows["reason"] == Reason.NEW))
        new = new[np.argsort(first[new], kind="stable")]
        self.table.pin(src[new], dst[new], first[new])
        # A TCP connection has the translation of its first packet, others that of their latest
        by = np.where(tcp, first, rows["time_ns"].astype(np.int64))
        slots, side, flipped = self.table.find(src, dst, first, by)
        hit = np.flatnonzero(slots >= 0)
        rows["nat"][hit] = np.where(side[hit] == BEFORE, int(Nat.BEFORE), int(Nat.AFTER))
        near, far = self.table.other(slots[hit], side[hit])
        turned = flipped[hit][:, None]
        for name, end in (
            ("src", np.where(turned, far, near)),
            ("dst", np.where(turned, near, far)),
        ):
            rows[f"nat_{name}_addr"][hit] = _address(end)
            rows[f"nat_{name}_port"][hit] = end[:, 2] >> np.uint64(8)


def _address(ends: U64) -> NDArray[np.uint8]:
    return np.ascontiguousarray(ends[:, :2]).view(np.uint8)
