"""The connections of this node by their sockets: open ones, and those that ended a moment ago."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowd.model.enums import TCP_FLAGS, Nat, Reason, ShareSide
from flowd.model.records.connection import CONNECTION, SOCKET_BYTES, SOCKET_SIDE, ConnectionBatch
from flowd.model.records.rows import chosen, plain_bytes, write
from flowd.pipeline.endpoint_tuples import Pairs, mix, pair_hash, same_sockets, sockets
from flowd.pipeline.join.route_sets import RouteSets
from flowd.pipeline.sorted_index import U64, Slots, SortedIndex

LIMIT = 262_144
KEEP_NS = 15 * 10**9
SLACK_NS = 10**9 // 2
EXPIRE_NS = 10**9
LISTENERS = 4096
_PUSH = 1 << TCP_FLAGS.index("PSH")

_ROW = np.dtype(
    [
        ("conn_id", "u8"),
        ("first_ns", "i8"),
        ("last_ns", "i8"),
        ("src", "u8", (3,)),  # sockets
        ("dst", "u8", (3,)),
        ("src_endpoint", "u4"),
        ("dst_endpoint", "u4"),
        ("route", "u4"),
        ("ended", "?"),
        ("nat_src", "u8"),  # hash of the source beyond the translation; 0 for none
        ("nat", "u1"),  # Nat
        ("talked", "?"),  # data went both ways
        ("logged", "?"),  # an access-log entry told of it from the listener's side
    ],
    align=True,
)

_SIDES = [f"{side}_{name}" for side in ("src", "dst") for name, _ in SOCKET_SIDE]
_MEASURED = np.dtype(
    [
        (name, CONNECTION[name])
        for name in (*_SIDES, "src_min_rtt_us", "dst_min_rtt_us", "connect_us")
    ],
    align=True,
)
_MEASURED_BYTES = (
    ("src_cookie", SOCKET_BYTES),
    ("dst_cookie", SOCKET_BYTES),
    ("src_min_rtt_us", 8),
    ("connect_us", 4),
)
"""Stretches of columns that lie together here as they do in CONNECTION."""


@dataclass(frozen=True, slots=True)
class Found:
    """The connections of N pairs; 0, and slot -1, where there is none."""

    slot: Slots  # good until the table changes
    conn_id: U64
    near_endpoint: NDArray[np.uint32]
    far_endpoint: NDArray[np.uint32]


class ConnectionTable:
    """Connections by their pair of sockets, whichever side began, and by time.

    A pair of sockets is used again and again; every use is a life, from the first packet to the
    last one, or to now while the connection is open. A lookup gets the newest life that had begun
    by then, unless it had ended: by exact times first, else with `slack_ns` on both sides. A
    translated connection is also found by its pair of sockets beyond the translation, where no
    other connection has that pair.

    Args:
        limit: connections held; above it those longest without a record go (`evicted`).
        keep_ns: how long a connection is kept after its end.

    Attributes:
        logged, unlogged: connections to a logged listener that carried data both ways and are
            forgotten, by whether an access-log entry told of them.
        measured: by slot, what the sockets at both ends reported; columns as in CONNECTION.
        route_sets: the routes of each slot.
    """

    def __init__(
        self, limit: int = LIMIT, keep_ns: int = KEEP_NS, slack_ns: int = SLACK_NS
    ) -> None:
        self.limit = limit
        self.evicted = self.logged = self.unlogged = 0
        self._keep_ns = keep_ns
        self._slack_ns = slack_ns
        self._rows = np.zeros(1024, _ROW)
        self.measured = np.zeros(1024, _MEASURED)
        self.route_sets = RouteSets()
        self._used = 0
        self._by_pair = SortedIndex()
        self._by_nat = SortedIndex()
        self._by_id = SortedIndex()
        self._listeners: U64 = np.zeros(0, np.uint64)  # hashes of sockets, sorted
        self._expired_ns = 0

    def __len__(self) -> int:
        return self._used

    @property
    def live(self) -> int:
        """Connections that have not ended."""
        return int(np.count_nonzero(~self._rows["ended"][: self._used]))

    def update(self, batch: ConnectionBatch) -> U64:
        """Take records in; returns the pair hashes of connections that are new, shape (K,)."""
        ids = np.ascontiguousarray(batch["conn_id"])
        slots = self._by_id.last(ids)
        new = np.flatnonzero(slots < 0)
        fresh: U64 = np.zeros(0, np.uint64)
        if len(new):
            slots[new], fresh = self._add(batch, new, ids[new])
        if batch["nat"].any():
            fresh = np.concatenate([fresh, self._add_translations(batch, slots)])
        rows = self._rows
        np.maximum.at(rows["last_ns"], slots, batch["time_ns"].astype(np.int64))
        rows["ended"][slots[batch["reason"] == Reason.END]] = True
        both = batch["flags_fwd"] & batch["flags_rev"] & _PUSH
        rows["talked"][slots[both != 0]] = True
        for side in ("src_endpoint", "dst_endpoint"):
            known = batch[side] != 0
            rows[side][slots[known]] = batch[side][known]
        if self._used > self.limit:
            self._evict()
        return fresh

    def find(self, pairs: Pairs) -> Found:
        """The connection of each pair at its time.

        Of a translated one the initiator is whom the side before tells, and the responder whom the
        side after does, where both sides are known.
        """
        own = self._search(self._by_pair, pairs)
        if not len(self._by_nat):
            return Found(own, self._ids(own), *self._ends(own, pairs.near))
        other = self._search(self._by_nat, pairs)
        slots = np.where(own >= 0, own, other)
        near, far = self._ends(slots, pairs.near)
        both = (own >= 0) & (other >= 0)
        if both.any():
            near_other, far_other = self._ends(other, pairs.near)
            side = self._rows["nat"][own]
            near = np.where(both & (side == Nat.AFTER) & (near_other != 0), near_other, near)
            far = np.where(both & (side == Nat.BEFORE) & (far_other != 0), far_other, far)
        return Found(slots, self._ids(slots), near, far)

    def lives(self, pairs: Pairs, keep_ns: int = 0) -> list[Slots]:
        """The connections of each pair on both sides of a translation; -1 where there is none.

        Args:
            keep_ns: look this much longer after the end of one.
        """
        slots = [self._search(self._by_pair, pairs, keep_ns)]
        return [*slots, self._search(self._by_nat, pairs, keep_ns)] if len(self._by_nat) else slots

    def forward(self, slots: Slots, near: U64) -> NDArray[np.bool_]:
        """Whether `near`, shape (N, 3), is at the source's end of each connection."""
        same = same_sockets(self._rows["src"][slots], near)
        if len(self._by_nat):
            same |= self._rows["nat_src"][slots] == mix(near)
        return same

    def fill_measures(self, records: ConnectionBatch, slots: Slots) -> None:
        """Write what the sockets of each record's connection reported; slot -1 is passed over."""
        there = np.flatnonzero(slots >= 0)
        at = there if len(there) < len(slots) else slice(None)
        for column, length in _MEASURED_BYTES:
            known = plain_bytes(self.measured, column, length)[slots[at]]
            plain_bytes(records, column, length)[at] = known

    def slots(self, conn_ids: U64) -> Slots:
        """Where each connection is, good until the table changes; -1 where it is not."""
        return self._by_id.last(conn_ids)

    def began(self, slots: Slots) -> NDArray[np.int64]:
        """Unix time of each connection's first packet, ns; of no meaning for slot -1."""
        return self._rows["first_ns"][slots]

    def mark(self, slots: Slots, routes: NDArray[np.uint32], side: ShareSide) -> None:
        """Count a request on each connection; of several the last one's route is shown."""
        self._rows["route"][slots] = routes
        self.route_sets.count(slots, routes, side)

    def told(self, slots: Slots, clients: U64) -> None:
        """Note that entries told of connections, and where these lead to: a logged listener.

        Args:
            clients: sockets that began them, shape (N, 3).
        """
        self._rows["logged"][slots] = True
        begun = slots[self.forward(slots, clients)]
        if len(self._listeners) < LISTENERS:
            self._listeners = np.union1d(self._listeners, mix(self._rows["dst"][begun]))

    def routes(self, slots: Slots) -> NDArray[np.uint32]:
        """The route last marked on each connection, 0 for none."""
        return self._rows["route"][slots] * (slots >= 0)

    def expire(self, now_ns: int) -> None:
        """Forget connections that ended longer than `keep_ns` ago; at most once a second."""
        if 0 <= now_ns - self._expired_ns < EXPIRE_NS:
            return
        self._expired_ns = now_ns
        rows = self._rows[: self._used]
        old = rows["ended"] & (rows["last_ns"] + self._keep_ns < now_ns)
        if old.any():
            ours = chosen(rows, old & rows["talked"])
            ours = ours[np.isin(mix(ours["dst"]), self._listeners)]
            told = int(np.count_nonzero(ours["logged"]))
            self.logged, self.unlogged = self.logged + told, self.unlogged + len(ours) - told
            self._keep(~old)

    def _ids(self, slots: Slots) -> U64:
        return self._rows["conn_id"][slots] * (slots >= 0)

    def _ends(self, slots: Slots, near: U64) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Endpoints at the near and the far end; 0 for slot -1."""
        there, rows = slots >= 0, self._rows
        forward = self.forward(slots, near)
        src, dst = (rows[f"{side}_endpoint"][slots] * there for side in ("src", "dst"))
        return np.where(forward, src, dst), np.where(forward, dst, src)

    def _add(self, batch: ConnectionBatch, new: Slots, ids: U64) -> tuple[Slots, U64]:
        """Make slots for records `new`, whose ids these are: slots of them, hashes of the slots."""
        _, first, back = np.unique(ids, return_index=True, return_inverse=True)
        order = np.argsort(first)
        source = chosen(batch, new[first[order]])
        slots = np.arange(self._used, self._used + len(source))
        by_id = np.empty_like(slots)
        by_id[order] = slots
        self._used += len(source)
        if self._used > len(self._rows):
            size = max(self._used, 2 * len(self._rows))
            self._rows = _grown(self._rows, size)
            self.measured = _grown(self.measured, size)
        rows = np.zeros(len(source), _ROW)
        for name in ("conn_id", "first_ns", "src_endpoint", "dst_endpoint"):
            rows[name] = source[name]
        rows["last_ns"] = rows["first_ns"]
        rows["src"] = sockets(source["src_addr"], source["src_port"], source["protocol"])
        rows["dst"] = sockets(source["dst_addr"], source["dst_port"], source["protocol"])
        write(self._rows[slots[0] : self._used], rows)
        hashes = pair_hash(rows["src"], rows["dst"])
        self._by_id.insert(rows["conn_id"], slots)
        again = len(np.unique(hashes)) < len(hashes) or (self._by_pair.last(hashes) >= 0).any()
        self._by_pair.insert(hashes, slots)
        if again:
            self._by_pair.order_by(self._rows["first_ns"])
        return by_id[back], hashes

    def _add_translations(self, batch: ConnectionBatch, slots: Slots) -> U64:
        """Index connections whose translation is told for the first time; their hashes beyond."""
        told = np.flatnonzero((batch["nat"] != 0) & (self._rows["nat_src"][slots] == 0))
        new, first = np.unique(slots[told], return_index=True)
        source = chosen(batch, told[first])
        if not len(new):
            return np.zeros(0, np.uint64)
        ends = [
            sockets(source[f"nat_{side}_addr"], source[f"nat_{side}_port"], source["protocol"])
            for side in ("src", "dst")
        ]
        self._rows["nat_src"][new] = np.maximum(mix(ends[0]), np.uint64(1))
        self._rows["nat"][new] = source["nat"]
        hashes = pair_hash(ends[0], ends[1])
        self._by_nat.insert(hashes, new)
        self._by_nat.order_by(self._rows["first_ns"])
        return hashes

    def _search(self, index: SortedIndex, pairs: Pairs, keep_ns: int = 0) -> Slots:
        hashes = pair_hash(pairs.near, pairs.far)
        places, several = index.newest(hashes)
        slots = np.full(len(hashes), -1, np.int64)
        left = np.flatnonzero(places >= 0)
        for slack_ns in (0, max(self._slack_ns, keep_ns)):
            if not len(left):
                break
            wanted = pairs[left]
            begun = self._begun(index, places[left], several[left], hashes[left], wanted, slack_ns)
            slots[left] = self._fitting(index, begun, wanted, slack_ns)
            left = left[slots[left] < 0]
        return slots

    def _begun(
        self,
        index: SortedIndex,
        places: Slots,
        several: NDArray[np.bool_],
        hashes: U64,
        pairs: Pairs,
        slack_ns: int,
    ) -> Slots:
        """The newest life of each pair that had begun by its time; -1 for none."""
        slots, by_ns = index.slots[places], pairs.end_ns + slack_ns
        late = self._rows["first_ns"][slots] > by_ns
        if late.any():
            slots[late] = -1
            again = np.flatnonzero(late & several)
            low, high = index.spans(hashes[again])
            place = self._last_begun(index, low, high, by_ns[again])
            slots[again] = np.where(place >= low, index.slots[place], -1)
        return slots

    def _fitting(self, index: SortedIndex, slots: Slots, pairs: Pairs, slack_ns: int) -> Slots:
        """The slots, -1 in place of those that had ended by then or are of another pair."""
        rows = self._rows
        alive = ~rows["ended"][slots] | (rows["last_ns"][slots] + slack_ns >= pairs.start_ns)
        if index is self._by_nat:
            beyond = rows["nat_src"][slots]
            same = beyond == mix(pairs.near)
            same |= beyond == mix(pairs.far)
        else:
            src, dst = rows["src"][slots], rows["dst"][slots]
            same = same_sockets(src, pairs.near) & same_sockets(dst, pairs.far)
            same |= same_sockets(src, pairs.far) & same_sockets(dst, pairs.near)
        return np.where((slots >= 0) & alive & same, slots, -1)

    def _last_begun(
        self, index: SortedIndex, low: Slots, high: Slots, by_ns: NDArray[np.int64]
    ) -> Slots:
        """Of the positions [low, high) the last whose life began by then, or low - 1."""
        left, right = low.copy(), high.copy()
        while (undecided := np.flatnonzero(left < right)).size:
            middle = (left[undecided] + right[undecided]) // 2
            first = self._rows["first_ns"][index.slots[middle]]
            begun = first <= by_ns[undecided]
            left[undecided[begun]] = middle[begun] + 1
            right[undecided[~begun]] = middle[~begun]
        return left - 1

    def _evict(self) -> None:
        rows = self._rows[: self._used]
        surplus = self._used - self.limit * 9 // 10
        order = np.lexsort((rows["last_ns"], ~rows["ended"]))
        keep = np.ones(self._used, np.bool_)
        keep[order[:surplus]] = False
        self.evicted += surplus
        self._keep(keep)

    def _keep(self, keep: NDArray[np.bool_]) -> None:
        moved = np.where(keep, np.cumsum(keep) - 1, -1)
        used, left = self._used, int(np.count_nonzero(keep))
        for rows in (self._rows, self.measured):
            write(rows[:left], chosen(rows[:used], keep))
        write(self.measured[left:used], np.zeros(used - left, _MEASURED))
        self._used = left
        for index in (self._by_pair, self._by_nat, self._by_id):
            index.remap(moved)
        self.route_sets.remap(moved)


def _grown(rows: NDArray[np.void], size: int) -> NDArray[np.void]:
    grown = np.zeros(size, rows.dtype)
    write(grown[: len(rows)], rows)
    return grown
