"""A table of NAT translations, indexed by the 5-tuples before and after, and by time."""

import numpy as np
from numpy.typing import NDArray

from flowd.model.records.translation import TranslationBatch, TranslationUpdate
from flowd.pipeline.endpoint_tuples import hash_pairs, pack_endpoints
from flowd.pipeline.sorted_index import U64, Slots, SortedIndex

KEEP_NS = 45 * 10**9
SLACK_NS = 10**7
EXPIRE_NS = 10**9
ALIVE = np.iinfo(np.int64).max
SEARCH_DEPTH = 256  # translations of one 5-tuple that a lookup tries, newest first

BEFORE, AFTER = 0, 1

_ROW = np.dtype(
    [
        ("src", "u8", (2, 3)),  # initiator's packed endpoint tuple, BEFORE and AFTER
        ("dst", "u8", (2, 3)),
        ("begun_ns", "i8"),  # lower bound of the begin, Unix ns
        ("reported_ns", "i8"),  # end of the update that reported it: upper bound of the begin
        ("ended_ns", "i8"),  # upper bound of the end; ALIVE
        ("bound", "?"),  # begun_ns is exact, from a connection, or the begin is long ago
        ("listed", "?"),  # part of the complete list being processed
    ],
    align=True,
)


class NatTable:
    """Live translations, and ended ones for `keep_ns` longer.

    A 5-tuple is reused, possibly with another backend each time. Updates give the begin of a
    translation only as a time span; the connection that caused it makes the begin exact (`bind`).

    Args:
        limit: maximum number of translations; above it the table evicts those that ended first,
            then the oldest, and counts them in `evicted`.
        keep_ns: time to keep a translation after its end, nanoseconds.
    """

    def __init__(self, limit: int, keep_ns: int = KEEP_NS) -> None:
        self.limit = limit
        self.evicted = 0
        self._keep_ns = keep_ns
        self._rows = np.zeros(1024, _ROW)
        self._used = 0
        self._index = SortedIndex()  # hash_pairs() to 2 * slot + BEFORE or AFTER
        self._expired_ns = 0

    def __len__(self) -> int:
        return self._used

    @property
    def live(self) -> int:
        """Number of translations that have not ended."""
        return int(np.count_nonzero(self._rows["ended_ns"][: self._used] == ALIVE))

    def update(self, update: TranslationUpdate) -> None:
        """Apply an update: insert new translations, and end those that it reports as ended."""
        src, dst = _endpoint_tuples(update.rows, "")
        hashes = hash_pairs(src, dst)
        order = np.argsort(hashes, kind="stable")
        other = hashes[order][1:] != hashes[order][:-1]
        first, last = np.ones(len(order), np.bool_), np.ones(len(order), np.bool_)
        first[order[1:]], last[order[:-1]] = other, other
        if update.complete:
            self._rows["listed"] = False
            last[:] = True  # a list may repeat an entry, and has no ended ones
        # Only the first row of a 5-tuple can match the table; its other rows follow each other
        fresh = first.copy()
        fresh[first], begun_ns = self._match_known(update, src, dst, hashes, first, last)
        # No translation of a 5-tuple began before the one already in the table
        group = np.empty(len(order), np.int64)
        group[order] = np.cumsum(first[order]) - 1
        by_group = np.empty(len(begun_ns), np.int64)
        by_group[group[first]] = begun_ns
        if not update.complete:
            fresh |= ~first & ~update.rows["ended"]
        self._insert(update, src, dst, hashes, by_group[group], np.flatnonzero(fresh), last)
        known = self._rows[: self._used]
        if update.complete:
            gone = ~known["listed"] & (known["ended_ns"] == ALIVE)
            known["ended_ns"][gone] = update.until_ns
        self._expire(update.until_ns)
        if self._used > self.limit:
            self._evict()

    def find(
        self, src: U64, dst: U64, first_ns: NDArray[np.int64], by_ns: NDArray[np.int64]
    ) -> tuple[Slots, Slots, NDArray[np.bool_]]:
        """Find the newest translation of each 5-tuple that began by `by_ns`, unless it had ended.

        Args:
            src, dst: packed endpoint tuples, shape (N, 3).
            first_ns: a translation that ended before this time does not match, Unix ns, (N,).
            by_ns: latest begin, Unix ns, shape (N,).

        Returns:
            Slots, -1 for none; the side of the translation that matched, BEFORE or AFTER; and
            whether `src` is its responder. Shape (N,) each.
        """
        found = np.full(len(src), -1, np.int64)
        side, flipped = np.zeros(len(src), np.int64), np.zeros(len(src), np.bool_)
        if not self._used:
            return found, side, flipped
        low, high = self._index.spans(hash_pairs(src, dst))
        left = np.flatnonzero(high > low)
        for back in range(1, SEARCH_DEPTH + 1):
            left = left[high[left] - back >= low[left]]
            if not len(left):
                break
            slots, sides = np.divmod(self._index.slots[high[left] - back], 2)
            rows = self._rows[slots]
            near, far = (
                rows["src"][np.arange(len(left)), sides],
                rows["dst"][np.arange(len(left)), sides],
            )
            forward = _same(near, src[left]) & _same(far, dst[left])
            inverse = _same(near, dst[left]) & _same(far, src[left])
            fits = forward | inverse
            fits &= rows["begun_ns"] <= by_ns[left] + SLACK_NS * sides
            fits &= rows["ended_ns"] >= first_ns[left] - SLACK_NS
            hit = left[fits]
            found[hit], side[hit], flipped[hit] = slots[fits], sides[fits], ~forward[fits]
            left = left[~fits]
        return found, side, flipped

    def other_side(self, slots: Slots, side: Slots) -> tuple[U64, U64]:
        """Endpoint tuples of initiator and responder, (N, 3) each, on the opposite of `side`."""
        rows = self._rows[slots]
        every = np.arange(len(slots))
        return rows["src"][every, 1 - side], rows["dst"][every, 1 - side]

    def bind(self, src: U64, dst: U64, first_ns: NDArray[np.int64]) -> None:
        """Bind each new connection to the oldest unbound translation of its 5-tuple.

        Args:
            src, dst: packed endpoint tuples, shape (N, 3), in order of `first_ns`.
            first_ns: Unix time of the first packet, shape (N,); becomes the translation's begin.
        """
        if not self._used or not len(src):
            return
        low, high = self._index.spans(hash_pairs(src, dst))
        only = np.flatnonzero(high - low == 1)
        slots, side = np.divmod(self._index.slots[low[only]], 2)
        rows = self._rows[slots]
        fits = (side == BEFORE) & ~rows["bound"] & _same(rows["src"][:, BEFORE], src[only])
        fits &= _same(rows["dst"][:, BEFORE], dst[only])
        fits &= (rows["begun_ns"] <= first_ns[only]) & (first_ns[only] <= rows["reported_ns"])
        self._rows["begun_ns"][slots[fits]] = first_ns[only[fits]]
        self._rows["bound"][slots[fits]] = True
        for one in np.flatnonzero(high - low > 1).tolist():
            codes = self._index.slots[low[one] : high[one]]
            self._bind_one(codes, src[one], dst[one], int(first_ns[one]))

    def _bind_one(self, codes: Slots, src: U64, dst: U64, first_ns: int) -> None:
        slots = codes[codes % 2 == BEFORE] // 2
        rows = self._rows[slots]
        fits = ~rows["bound"] & (rows["begun_ns"] <= first_ns) & (first_ns <= rows["reported_ns"])
        fits &= _same(rows["src"][:, BEFORE], src) & _same(rows["dst"][:, BEFORE], dst)
        if not fits.any():
            return
        slot, later = slots[fits][0], slots[fits][1:]
        self._rows["begun_ns"][slot], self._rows["bound"][slot] = first_ns, True
        self._rows["begun_ns"][later] = np.maximum(self._rows["begun_ns"][later], first_ns + 1)

    def _match_known(
        self,
        update: TranslationUpdate,
        src: U64,
        dst: U64,
        hashes: U64,
        first: NDArray[np.bool_],
        last: NDArray[np.bool_],
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Match the first update row of each 5-tuple with the table; end replaced translations.

        Returns:
            A mask of the rows to insert, and lower bounds of their begin, Unix ns.
        """
        rows = update.rows[first]
        nat_src, nat_dst = _endpoint_tuples(rows, "nat_")
        known = self._newest(src[first], dst[first], hashes[first])
        row = self._rows[known]
        alive = (known >= 0) & (row["ended_ns"] == ALIVE)
        same = alive & _same(row["src"][:, AFTER], nat_src)
        same &= _same(row["dst"][:, AFTER], nat_dst)
        self._rows["listed"][known[same]] = True
        over = (rows["ended"] & same) | (~rows["ended"] & alive & ~(same & last[first]))
        self._rows["ended_ns"][known[over]] = update.until_ns
        floor = np.where((known >= 0) & row["bound"], row["begun_ns"] + 1, 0)
        return ~rows["ended"] & ~same, np.maximum(floor, update.since_ns - SLACK_NS)

    def _newest(self, src: U64, dst: U64, hashes: U64) -> Slots:
        """The slot of the newest translation of each BEFORE 5-tuple, -1 for none."""
        found = np.full(len(src), -1, np.int64)
        low, high = self._index.spans(hashes)
        left = np.flatnonzero(high > low)
        for back in range(1, SEARCH_DEPTH + 1):
            left = left[high[left] - back >= low[left]]
            if not len(left):
                break
            slots, sides = np.divmod(self._index.slots[high[left] - back], 2)
            rows = self._rows[slots]
            fits = (sides == BEFORE) & _same(rows["src"][:, BEFORE], src[left])
            fits &= _same(rows["dst"][:, BEFORE], dst[left])
            found[left[fits]] = slots[fits]
            left = left[~fits]
        return found

    def _insert(
        self,
        update: TranslationUpdate,
        src: U64,
        dst: U64,
        hashes: U64,
        begun_ns: NDArray[np.int64],
        which: Slots,
        last: NDArray[np.bool_],
    ) -> None:
        """Insert rows `which` of the update; all but the last of each 5-tuple have ended."""
        if not len(which):
            return
        rows = np.zeros(len(which), _ROW)
        nat_src, nat_dst = _endpoint_tuples(update.rows[which], "nat_")
        rows["src"], rows["dst"] = (
            np.stack([src[which], nat_src], 1),
            np.stack([dst[which], nat_dst], 1),
        )
        rows["begun_ns"], rows["reported_ns"] = begun_ns[which], update.until_ns
        rows["ended_ns"] = np.where(last[which], ALIVE, update.until_ns)
        rows["bound"], rows["listed"] = update.since_ns == 0, True
        slots = np.arange(self._used, self._used + len(rows))
        self._used += len(rows)
        if self._used > len(self._rows):
            grown = np.zeros(max(self._used, 2 * len(self._rows)), _ROW)
            grown[: len(self._rows)] = self._rows
            self._rows = grown
        self._rows[slots] = rows
        codes = np.concatenate([2 * slots + BEFORE, 2 * slots + AFTER])
        self._index.insert(np.concatenate([hashes[which], hash_pairs(nat_src, nat_dst)]), codes)

    def _expire(self, now_ns: int) -> None:
        if 0 <= now_ns - self._expired_ns < EXPIRE_NS:
            return
        self._expired_ns = now_ns
        ended = self._rows["ended_ns"][: self._used]
        old = ended < now_ns - self._keep_ns
        if old.any():
            self._keep(~old)

    def _evict(self) -> None:
        rows = self._rows[: self._used]
        surplus = self._used - self.limit * 9 // 10
        order = np.lexsort((rows["reported_ns"], rows["ended_ns"]))
        keep = np.ones(self._used, np.bool_)
        keep[order[:surplus]] = False
        self.evicted += surplus
        self._keep(keep)

    def _keep(self, keep: NDArray[np.bool_]) -> None:
        new_slots = np.where(keep, np.cumsum(keep) - 1, -1)
        kept = self._rows[: self._used][keep]
        self._rows[: len(kept)] = kept
        self._used = len(kept)
        codes = np.where(new_slots < 0, -1, 2 * new_slots)
        self._index.remap(
            np.stack([codes, np.where(new_slots < 0, -1, codes + 1)], axis=1).reshape(-1)
        )


def _endpoint_tuples(rows: TranslationBatch, prefix: str) -> tuple[U64, U64]:
    src, dst = (
        pack_endpoints(rows[f"{prefix}{side}_addr"], rows[f"{prefix}{side}_port"], rows["protocol"])
        for side in ("src", "dst")
    )
    return src, dst


def _same(left: U64, right: U64) -> NDArray[np.bool_]:
    return (left == right).all(axis=1)
