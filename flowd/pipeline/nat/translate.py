"""Fill `nat` and the `nat_*` columns of connection rows: the 5-tuple beyond the translation."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from flowd.model.directory import Directory
from flowd.model.endpoint import EndpointKind
from flowd.model.enums import Nat, Protocol, Reason
from flowd.model.losses import Losses, Place
from flowd.model.records.connection import ConnectionBatch, empty_connections
from flowd.model.records.rows import concat_rows, select_rows
from flowd.model.records.translation import TranslationUpdate
from flowd.pipeline.endpoint_tuples import pack_endpoints
from flowd.pipeline.nat.table import BEFORE, NatTable
from flowd.pipeline.sorted_index import U64

HOLD_NS = 200_000_000
HOLD_ROWS = 4096


class NatTranslator:
    """The second half of the identify stage: look up the translation of each connection row.

    The kernel reports a packet before conntrack reports its translation. The first record of a
    connection to a Service is therefore held, for at most `HOLD_NS`, at most `HOLD_ROWS` rows, and
    until the next record of its connection; other rows are never held.

    Args:
        directory: has the kind of each endpoint.
        losses: counts evicted translations as `translations_full` under Place.CAPTURE.
        updates: returns the translation updates since its previous call.
        limit: maximum number of translations in the table.
    """

    def __init__(
        self,
        directory: Directory,
        losses: Losses,
        updates: Callable[[], Sequence[TranslationUpdate]],
        limit: int,
    ) -> None:
        self.table = NatTable(limit)
        self._directory = directory
        self._losses = losses
        self._updates = updates
        self._is_service = np.zeros(0, np.bool_)
        self._held = empty_connections()
        self._since_ns: NDArray[np.int64] = np.zeros(0, np.int64)

    def translate(self, batch: ConnectionBatch) -> ConnectionBatch:
        """Fill the rows in place; returns released rows first, then rows of `batch` not held."""
        held = self._held["conn_id"]
        due = np.isin(held, batch["conn_id"]) if len(held) else np.zeros(0, np.bool_)
        return self._step(batch, due)

    def release(self, final: bool) -> ConnectionBatch:
        """Held rows that are due; all held rows if `final`."""
        return self._step(empty_connections(), np.full(len(self._held), final))

    def _step(self, batch: ConnectionBatch, due: NDArray[np.bool_]) -> ConnectionBatch:
        for update in self._updates():
            self.table.update(update)
        self._losses.set_total(Place.CAPTURE, "translations_full", self.table.evicted)
        if not len(batch) and not len(self._held):
            return batch
        now = time.monotonic_ns()
        held, self._held = self._held, empty_connections()
        self._fill_nat(batch)
        wait = self._must_wait(batch)
        if not len(held) and not wait.any():
            return batch
        self._fill_nat(held)
        due |= (held["nat"] != Nat.NONE) | (now - self._since_ns >= HOLD_NS)
        self._held = concat_rows([select_rows(held, ~due), select_rows(batch, wait)])
        self._since_ns = np.concatenate([self._since_ns[~due], np.full(int(wait.sum()), now)])
        released = [select_rows(held, due)]
        if (surplus := len(self._held) - HOLD_ROWS) > 0:
            released.append(self._held[:surplus])
            self._held, self._since_ns = self._held[surplus:], self._since_ns[surplus:]
        if wait.any():
            batch = select_rows(batch, ~wait)
        return concat_rows([*released, batch])

    def _must_wait(self, batch: ConnectionBatch) -> NDArray[np.bool_]:
        """A mask of the only records of new, untranslated connections to a Service; shape (N,)."""
        self._extend_is_service()
        wait = (batch["reason"] == Reason.NEW) & (batch["nat"] == Nat.NONE)
        wait &= self._is_service[batch["dst_endpoint"]]
        if wait.any():
            several, count = np.unique(batch["conn_id"], return_counts=True)
            wait &= ~np.isin(batch["conn_id"], several[count > 1])
        return wait

    def _extend_is_service(self) -> None:
        known, endpoints = len(self._is_service), self._directory.endpoints
        if known == len(endpoints):
            return
        new = (endpoints[index] for index in range(known, len(endpoints)))
        kinds = [endpoint.kind == EndpointKind.SERVICE for endpoint in new]
        self._is_service = np.concatenate([self._is_service, np.array(kinds, np.bool_)])

    def _fill_nat(self, rows: ConnectionBatch) -> None:
        if not len(rows) or not len(self.table):
            return
        src, dst = (
            pack_endpoints(rows[f"{side}_addr"], rows[f"{side}_port"], rows["protocol"])
            for side in ("src", "dst")
        )
        tcp = rows["protocol"] == Protocol.TCP
        first = rows["first_ns"].astype(np.int64)
        new = np.flatnonzero(tcp & (rows["reason"] == Reason.NEW))
        new = new[np.argsort(first[new], kind="stable")]
        self.table.bind(src[new], dst[new], first[new])
        # TCP: the translation of the first packet. Others: the translation of the latest packet.
        by = np.where(tcp, first, rows["time_ns"].astype(np.int64))
        slots, side, flipped = self.table.find(src, dst, first, by)
        hit = np.flatnonzero(slots >= 0)
        rows["nat"][hit] = np.where(side[hit] == BEFORE, int(Nat.BEFORE), int(Nat.AFTER))
        near, far = self.table.other_side(slots[hit], side[hit])
        swap = flipped[hit][:, None]
        for name, end in (
            ("src", np.where(swap, far, near)),
            ("dst", np.where(swap, near, far)),
        ):
            rows[f"nat_{name}_addr"][hit] = _address(end)
            rows[f"nat_{name}_port"][hit] = end[:, 2] >> np.uint64(8)


def _address(ends: U64) -> NDArray[np.uint8]:
    return np.ascontiguousarray(ends[:, :2]).view(np.uint8)
