"""The connection table: open and recently ended connections, indexed by 5-tuple, NAT and id."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowd.model.enums import TCP_FLAGS, Nat, Reason, ShareSide
from flowd.model.records.connection import CONNECTION, SOCKET_BYTES, SOCKET_SIDE, ConnectionBatch
from flowd.model.records.rows import byte_view, select_rows, write_rows
from flowd.pipeline.endpoint_tuples import (
    EndpointPairs,
    hash_endpoints,
    hash_pairs,
    pack_endpoints,
    same_endpoints,
)
from flowd.pipeline.join.route_sets import RouteSets
from flowd.pipeline.sorted_index import U64, Slots, SortedIndex

LIMIT = 262_144
KEEP_NS = 15 * 10**9
SLACK_NS = 10**9 // 2
EXPIRE_NS = 10**9
MAX_LISTENERS = 4096
_PUSH = 1 << TCP_FLAGS.index("PSH")

_ROW = np.dtype(
    [
        ("conn_id", "u8"),
        ("first_ns", "i8"),
        ("last_ns", "i8"),
        ("src", "u8", (3,)),  # packed endpoint tuple
        ("dst", "u8", (3,)),
        ("src_endpoint", "u4"),
        ("dst_endpoint", "u4"),
        ("route", "u4"),
        ("ended", "?"),
        ("nat_src", "u8"),  # hash_endpoints() of the source beyond the translation; 0 for none
        ("nat", "u1"),  # Nat
        ("talked", "?"),  # data went both ways
        ("logged", "?"),  # an access-log entry names it as its downstream connection
    ],
    align=True,
)

_SIDES = [f"{side}_{name}" for side in ("src", "dst") for name, _ in SOCKET_SIDE]
_SOCKET_STATS = np.dtype(
    [
        (name, CONNECTION[name])
        for name in (*_SIDES, "src_min_rtt_us", "dst_min_rtt_us", "connect_us")
    ],
    align=True,
)
_SOCKET_STATS_BYTES = (
    ("src_cookie", SOCKET_BYTES),
    ("dst_cookie", SOCKET_BYTES),
    ("src_min_rtt_us", 8),
    ("connect_us", 4),
)
"""First column and byte length of runs of columns with the same layout as in CONNECTION."""


@dataclass(frozen=True, slots=True)
class FoundConnections:
    """The connections of N lookups, columns of shape (N,); no match is slot -1 and zeros."""

    slot: Slots  # valid until the table changes
    conn_id: U64
    near_endpoint: NDArray[np.uint32]
    far_endpoint: NDArray[np.uint32]


class ConnectionTable:
    """Connections by 5-tuple, in either direction, and by time.

    Each use of a 5-tuple is one connection, from its first packet to its last one, or to now while
    it is open. A lookup finds the newest connection of the 5-tuple that began by the given time,
    unless it had ended: with exact times first, then with `slack_ns` on both sides. A translated
    connection is also found by its 5-tuple beyond the translation, unless another connection has
    that 5-tuple.

    Args:
        limit: maximum number of connections; above it the table evicts ended ones first, then
            those longest without a record, and counts them in `evicted`.
        keep_ns: time to keep a connection after its end, nanoseconds.
        slack_ns: tolerance between the clocks of kernel and access log, nanoseconds.

    Attributes:
        logged, unlogged: numbers of expired connections to a logged listener that carried data in
            both directions, with and without an access-log entry.
        socket_stats: by slot, the last reports of the sockets at both ends; columns of CONNECTION.
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
        self.socket_stats = np.zeros(1024, _SOCKET_STATS)
        self.route_sets = RouteSets()
        self._used = 0
        self._by_pair = SortedIndex()
        self._by_nat = SortedIndex()
        self._by_id = SortedIndex()
        self._listeners: U64 = np.zeros(0, np.uint64)  # hash_endpoints(), sorted
        self._expired_ns = 0

    def __len__(self) -> int:
        return self._used

    @property
    def live(self) -> int:
        """Number of connections that have not ended."""
        return int(np.count_nonzero(~self._rows["ended"][: self._used]))

    def update(self, batch: ConnectionBatch) -> U64:
        """Apply connection records; returns `hash_pairs` of the new connections, shape (K,)."""
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

    def find(self, pairs: EndpointPairs) -> FoundConnections:
        """Find the connection of each 5-tuple at its time.

        If both sides of a translation are known, the initiator's endpoint comes from the side
        before it, and the responder's endpoint from the side after it.
        """
        own = self._search(self._by_pair, pairs)
        if not len(self._by_nat):
            return FoundConnections(own, self._ids(own), *self._ends(own, pairs.near))
        other = self._search(self._by_nat, pairs)
        slots = np.where(own >= 0, own, other)
        near, far = self._ends(slots, pairs.near)
        both = (own >= 0) & (other >= 0)
        if both.any():
            near_other, far_other = self._ends(other, pairs.near)
            side = self._rows["nat"][own]
            near = np.where(both & (side == Nat.AFTER) & (near_other != 0), near_other, near)
            far = np.where(both & (side == Nat.BEFORE) & (far_other != 0), far_other, far)
        return FoundConnections(slots, self._ids(slots), near, far)

    def find_both_sides(self, pairs: EndpointPairs, keep_ns: int = 0) -> list[Slots]:
        """Slots of each 5-tuple's connections, one array for each side of a translation.

        Args:
            keep_ns: also match connections that ended up to this long before the lookup's time.

        Returns:
            One or two arrays of shape (N,); -1 for no connection.
        """
        slots = [self._search(self._by_pair, pairs, keep_ns)]
        return [*slots, self._search(self._by_nat, pairs, keep_ns)] if len(self._by_nat) else slots

    def is_source(self, slots: Slots, near: U64) -> NDArray[np.bool_]:
        """Whether `near`, shape (N, 3), is the source of each connection, on either side of NAT."""
        same = same_endpoints(self._rows["src"][slots], near)
        if len(self._by_nat):
            same |= self._rows["nat_src"][slots] == hash_endpoints(near)
        return same

    def fill_socket_stats(self, records: ConnectionBatch, slots: Slots) -> None:
        """Copy the socket statistics of each record's connection into it; slot -1 is skipped."""
        found = np.flatnonzero(slots >= 0)
        at = found if len(found) < len(slots) else slice(None)
        for column, length in _SOCKET_STATS_BYTES:
            known = byte_view(self.socket_stats, column, length)[slots[at]]
            byte_view(records, column, length)[at] = known

    def slots(self, conn_ids: U64) -> Slots:
        """The slot of each connection id, valid until the table changes; -1 for an unknown id."""
        return self._by_id.last(conn_ids)

    def first_packet_ns(self, slots: Slots) -> NDArray[np.int64]:
        """Unix time of each connection's first packet, ns; undefined for slot -1."""
        return self._rows["first_ns"][slots]

    def count_requests(self, slots: Slots, routes: NDArray[np.uint32], side: ShareSide) -> None:
        """Count one request for each pair of slot and route, and set the slot's last route."""
        self._rows["route"][slots] = routes
        self.route_sets.count_requests(slots, routes, side)

    def mark_logged(self, slots: Slots, clients: U64) -> None:
        """Mark connections as named by an access-log entry, and their destinations as logged.

        Args:
            clients: packed endpoint tuples of the clients, shape (N, 3).
        """
        self._rows["logged"][slots] = True
        from_client = slots[self.is_source(slots, clients)]
        if len(self._listeners) < MAX_LISTENERS:
            self._listeners = np.union1d(
                self._listeners, hash_endpoints(self._rows["dst"][from_client])
            )

    def routes(self, slots: Slots) -> NDArray[np.uint32]:
        """The last route of each connection, 0 for none."""
        return self._rows["route"][slots] * (slots >= 0)

    def expire_and_count(self, now_ns: int) -> None:
        """Remove connections that ended over `keep_ns` ago, and count them as logged or unlogged.

        Runs at most once a second.
        """
        if 0 <= now_ns - self._expired_ns < EXPIRE_NS:
            return
        self._expired_ns = now_ns
        rows = self._rows[: self._used]
        old = rows["ended"] & (rows["last_ns"] + self._keep_ns < now_ns)
        if old.any():
            expected = select_rows(rows, old & rows["talked"])
            expected = expected[np.isin(hash_endpoints(expected["dst"]), self._listeners)]
            logged = int(np.count_nonzero(expected["logged"]))
            self.logged += logged
            self.unlogged += len(expected) - logged
            self._keep(~old)

    def _ids(self, slots: Slots) -> U64:
        return self._rows["conn_id"][slots] * (slots >= 0)

    def _ends(self, slots: Slots, near: U64) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Endpoint indices of the near and the far end, shape (N,) each; 0 for slot -1."""
        found, rows = slots >= 0, self._rows
        is_source = self.is_source(slots, near)
        src, dst = (rows[f"{side}_endpoint"][slots] * found for side in ("src", "dst"))
        return np.where(is_source, src, dst), np.where(is_source, dst, src)

    def _add(self, batch: ConnectionBatch, new: Slots, ids: U64) -> tuple[Slots, U64]:
        """Allocate slots for the connections of records `new`; returns slots and `hash_pairs`."""
        _, first, back = np.unique(ids, return_index=True, return_inverse=True)
        order = np.argsort(first)
        source = select_rows(batch, new[first[order]])
        slots = np.arange(self._used, self._used + len(source))
        by_id = np.empty_like(slots)
        by_id[order] = slots
        self._used += len(source)
        if self._used > len(self._rows):
            size = max(self._used, 2 * len(self._rows))
            self._rows = _grown(self._rows, size)
            self.socket_stats = _grown(self.socket_stats, size)
        rows = np.zeros(len(source), _ROW)
        for name in ("conn_id", "first_ns", "src_endpoint", "dst_endpoint"):
            rows[name] = source[name]
        rows["last_ns"] = rows["first_ns"]
        rows["src"] = pack_endpoints(source["src_addr"], source["src_port"], source["protocol"])
        rows["dst"] = pack_endpoints(source["dst_addr"], source["dst_port"], source["protocol"])
        write_rows(self._rows[slots[0] : self._used], rows)
        hashes = hash_pairs(rows["src"], rows["dst"])
        self._by_id.insert(rows["conn_id"], slots)
        reused = len(np.unique(hashes)) < len(hashes) or (self._by_pair.last(hashes) >= 0).any()
        self._by_pair.insert(hashes, slots)
        if reused:
            self._by_pair.order_by(self._rows["first_ns"])
        return by_id[back], hashes

    def _add_translations(self, batch: ConnectionBatch, slots: Slots) -> U64:
        """Index connections by their 5-tuple beyond a new translation; returns its `hash_pairs`."""
        translated = np.flatnonzero((batch["nat"] != 0) & (self._rows["nat_src"][slots] == 0))
        new, first = np.unique(slots[translated], return_index=True)
        source = select_rows(batch, translated[first])
        if not len(new):
            return np.zeros(0, np.uint64)
        ends = [
            pack_endpoints(
                source[f"nat_{side}_addr"], source[f"nat_{side}_port"], source["protocol"]
            )
            for side in ("src", "dst")
        ]
        self._rows["nat_src"][new] = np.maximum(hash_endpoints(ends[0]), np.uint64(1))
        self._rows["nat"][new] = source["nat"]
        hashes = hash_pairs(ends[0], ends[1])
        self._by_nat.insert(hashes, new)
        self._by_nat.order_by(self._rows["first_ns"])
        return hashes

    def _search(self, index: SortedIndex, pairs: EndpointPairs, keep_ns: int = 0) -> Slots:
        hashes = hash_pairs(pairs.near, pairs.far)
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
        pairs: EndpointPairs,
        slack_ns: int,
    ) -> Slots:
        """The newest connection of each 5-tuple that began by its time; -1 for none."""
        slots, by_ns = index.slots[places], pairs.end_ns + slack_ns
        late = self._rows["first_ns"][slots] > by_ns
        if late.any():
            slots[late] = -1
            retry = np.flatnonzero(late & several)
            low, high = index.spans(hashes[retry])
            place = self._last_begun(index, low, high, by_ns[retry])
            slots[retry] = np.where(place >= low, index.slots[place], -1)
        return slots

    def _fitting(
        self, index: SortedIndex, slots: Slots, pairs: EndpointPairs, slack_ns: int
    ) -> Slots:
        """The slots, with -1 for connections that had ended or have another 5-tuple."""
        rows = self._rows
        alive = ~rows["ended"][slots] | (rows["last_ns"][slots] + slack_ns >= pairs.start_ns)
        if index is self._by_nat:
            nat_src = rows["nat_src"][slots]
            same = nat_src == hash_endpoints(pairs.near)
            same |= nat_src == hash_endpoints(pairs.far)
        else:
            src, dst = rows["src"][slots], rows["dst"][slots]
            same = same_endpoints(src, pairs.near) & same_endpoints(dst, pairs.far)
            same |= same_endpoints(src, pairs.far) & same_endpoints(dst, pairs.near)
        return np.where((slots >= 0) & alive & same, slots, -1)

    def _last_begun(
        self, index: SortedIndex, low: Slots, high: Slots, by_ns: NDArray[np.int64]
    ) -> Slots:
        """The last position in [low, high) whose connection began by `by_ns`, or low - 1."""
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
        new_slots = np.where(keep, np.cumsum(keep) - 1, -1)
        used, left = self._used, int(np.count_nonzero(keep))
        for rows in (self._rows, self.socket_stats):
            write_rows(rows[:left], select_rows(rows[:used], keep))
        write_rows(self.socket_stats[left:used], np.zeros(used - left, _SOCKET_STATS))
        self._used = left
        for index in (self._by_pair, self._by_nat, self._by_id):
            index.remap(new_slots)
        self.route_sets.remap(new_slots)


def _grown(rows: NDArray[np.void], size: int) -> NDArray[np.void]:
    grown = np.zeros(size, rows.dtype)
    write_rows(grown[: len(rows)], rows)
    return grown
