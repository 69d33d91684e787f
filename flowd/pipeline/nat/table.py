"""Translations by what either side sees, and by time."""

import numpy as np
from numpy.typing import NDArray

from flowd.model.records.translation import TranslationBatch, Translations
from flowd.pipeline.endpoint_tuples import pair_hash, sockets
from flowd.pipeline.sorted_index import U64, Slots, SortedIndex

KEEP_NS = 45 * 10**9
SLACK_NS = 10**7
EXPIRE_NS = 10**9
ALIVE = np.iinfo(np.int64).max
DEPTH = 256  # uses of one tuple that are looked at, newest first

BEFORE, AFTER = 0, 1

_ROW = np.dtype(
    [
        ("src", "u8", (2, 3)),  # initiator's socket BEFORE and AFTER
        ("dst", "u8", (2, 3)),
        ("begun_ns", "i8"),  # at the earliest
        ("told_ns", "i8"),
        ("ended_ns", "i8"),  # at the latest; ALIVE
        ("pinned", "?"),  # begun_ns is that of its connection, or long ago
        ("listed", "?"),
    ],
    align=True,
)


class NatTable:
    """Translations, while they last and a moment longer.

    A pair of sockets is used again and again, each time perhaps with another backend. When a
    translation began is known only as a span of time; the connection that caused it makes it
    exact (`pin`).

    Args:
        limit: translations held; above it those longest over, then the oldest, go (`evicted`).
    """

    def __init__(self, limit: int, keep_ns: int = KEEP_NS) -> None:
        self.limit = limit
        self.evicted = 0
        self._keep_ns = keep_ns
        self._rows = np.zeros(1024, _ROW)
        self._used = 0
        self._index = SortedIndex()  # pair hash to 2 * slot + BEFORE or AFTER
        self._expired_ns = 0

    def __len__(self) -> int:
        return self._used

    @property
    def live(self) -> int:
        """Translations that are not over."""
        return int(np.count_nonzero(self._rows["ended_ns"][: self._used] == ALIVE))

    def update(self, news: Translations) -> None:
        """Take news in."""
        src, dst = _ends(news.rows, "")
        hashes = pair_hash(src, dst)
        order = np.argsort(hashes, kind="stable")
        other = hashes[order][1:] != hashes[order][:-1]
        first, last = np.ones(len(order), np.bool_), np.ones(len(order), np.bool_)
        first[order[1:]], last[order[:-1]] = other, other
        if news.complete:
            self._rows["listed"] = False
            last[:] = True  # a list may have an entry twice, and nothing is over in it
        # Only the first news of a tuple can be about what is known; all others follow each other
        fresh = first.copy()
        fresh[first], begun_ns = self._meet(news, src, dst, hashes, first, last)
        # None of a tuple began before the one that was known
        group = np.empty(len(order), np.int64)
        group[order] = np.cumsum(first[order]) - 1
        by_group = np.empty(len(begun_ns), np.int64)
        by_group[group[first]] = begun_ns
        if not news.complete:
            fresh |= ~first & ~news.rows["ended"]
        self._insert(news, src, dst, hashes, by_group[group], np.flatnonzero(fresh), last)
        known = self._rows[: self._used]
        if news.complete:
            gone = ~known["listed"] & (known["ended_ns"] == ALIVE)
            known["ended_ns"][gone] = news.until_ns
        self._expire(news.until_ns)
        if self._used > self.limit:
            self._evict()

    def find(
        self, src: U64, dst: U64, first_ns: NDArray[np.int64], by_ns: NDArray[np.int64]
    ) -> tuple[Slots, Slots, NDArray[np.bool_]]:
        """The translation of N pairs of sockets: the newest that had begun by `by_ns`, unless it
        was over before `first_ns`.

        Returns:
            Slot, -1 for none; BEFORE or AFTER; and whether `src` is the responder of it.
        """
        found = np.full(len(src), -1, np.int64)
        side, flipped = np.zeros(len(src), np.int64), np.zeros(len(src), np.bool_)
        if not self._used:
            return found, side, flipped
        low, high = self._index.spans(pair_hash(src, dst))
        left = np.flatnonzero(high > low)
        for back in range(1, DEPTH + 1):
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

    def other(self, slots: Slots, side: Slots) -> tuple[U64, U64]:
        """Initiator's and responder's socket on the side of the translation that is not `side`."""
        rows = self._rows[slots]
        every = np.arange(len(slots))
        return rows["src"][every, 1 - side], rows["dst"][every, 1 - side]

    def pin(self, src: U64, dst: U64, first_ns: NDArray[np.int64]) -> None:
        """New connections, in order of time: each began the oldest translation that nobody did."""
        if not self._used or not len(src):
            return
        low, high = self._index.spans(pair_hash(src, dst))
        only = np.flatnonzero(high - low == 1)
        slots, side = np.divmod(self._index.slots[low[only]], 2)
        rows = self._rows[slots]
        fits = (side == BEFORE) & ~rows["pinned"] & _same(rows["src"][:, BEFORE], src[only])
        fits &= _same(rows["dst"][:, BEFORE], dst[only])
        fits &= (rows["begun_ns"] <= first_ns[only]) & (first_ns[only] <= rows["told_ns"])
        self._rows["begun_ns"][slots[fits]] = first_ns[only[fits]]
        self._rows["pinned"][slots[fits]] = True
        for one in np.flatnonzero(high - low > 1).tolist():
            codes = self._index.slots[low[one] : high[one]]
            self._pin_one(codes, src[one], dst[one], int(first_ns[one]))

    def _pin_one(self, codes: Slots, src: U64, dst: U64, first_ns: int) -> None:
        slots = codes[codes % 2 == BEFORE] // 2
        rows = self._rows[slots]
        fits = ~rows["pinned"] & (rows["begun_ns"] <= first_ns) & (first_ns <= rows["told_ns"])
        fits &= _same(rows["src"][:, BEFORE], src) & _same(rows["dst"][:, BEFORE], dst)
        if not fits.any():
            return
        slot, later = slots[fits][0], slots[fits][1:]
        self._rows["begun_ns"][slot], self._rows["pinned"][slot] = first_ns, True
        self._rows["begun_ns"][later] = np.maximum(self._rows["begun_ns"][later], first_ns + 1)

    def _meet(
        self,
        news: Translations,
        src: U64,
        dst: U64,
        hashes: U64,
        first: NDArray[np.bool_],
        last: NDArray[np.bool_],
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """End what is over by the first news of each tuple.

        Returns:
            Which of them are to be added, and the least time at which they began.
        """
        rows = news.rows[first]
        nat_src, nat_dst = _ends(rows, "nat_")
        known = self._last(src[first], dst[first], hashes[first])
        there = self._rows[known]
        alive = (known >= 0) & (there["ended_ns"] == ALIVE)
        same = alive & _same(there["src"][:, AFTER], nat_src)
        same &= _same(there["dst"][:, AFTER], nat_dst)
        self._rows["listed"][known[same]] = True
        over = (rows["ended"] & same) | (~rows["ended"] & alive & ~(same & last[first]))
        self._rows["ended_ns"][known[over]] = news.until_ns
        floor = np.where((known >= 0) & there["pinned"], there["begun_ns"] + 1, 0)
        return ~rows["ended"] & ~same, np.maximum(floor, news.since_ns - SLACK_NS)

    def _last(self, src: U64, dst: U64, hashes: U64) -> Slots:
        """The newest translation of each BEFORE tuple, -1 for none."""
        found = np.full(len(src), -1, np.int64)
        low, high = self._index.spans(hashes)
        left = np.flatnonzero(high > low)
        for back in range(1, DEPTH + 1):
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
        news: Translations,
        src: U64,
        dst: U64,
        hashes: U64,
        begun_ns: NDArray[np.int64],
        which: Slots,
        last: NDArray[np.bool_],
    ) -> None:
        """Add translations; those that are not the last of their tuple are over."""
        if not len(which):
            return
        rows = np.zeros(len(which), _ROW)
        nat_src, nat_dst = _ends(news.rows[which], "nat_")
        rows["src"], rows["dst"] = (
            np.stack([src[which], nat_src], 1),
            np.stack([dst[which], nat_dst], 1),
        )
        rows["begun_ns"], rows["told_ns"] = begun_ns[which], news.until_ns
        rows["ended_ns"] = np.where(last[which], ALIVE, news.until_ns)
        rows["pinned"], rows["listed"] = news.since_ns == 0, True
        slots = np.arange(self._used, self._used + len(rows))
        self._used += len(rows)
        if self._used > len(self._rows):
            grown = np.zeros(max(self._used, 2 * len(self._rows)), _ROW)
            grown[: len(self._rows)] = self._rows
            self._rows = grown
        self._rows[slots] = rows
        codes = np.concatenate([2 * slots + BEFORE, 2 * slots + AFTER])
        self._index.insert(np.concatenate([hashes[which], pair_hash(nat_src, nat_dst)]), codes)

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
        order = np.lexsort((rows["told_ns"], rows["ended_ns"]))
        keep = np.ones(self._used, np.bool_)
        keep[order[:surplus]] = False
        self.evicted += surplus
        self._keep(keep)

    def _keep(self, keep: NDArray[np.bool_]) -> None:
        moved = np.where(keep, np.cumsum(keep) - 1, -1)
        kept = self._rows[: self._used][keep]
        self._rows[: len(kept)] = kept
        self._used = len(kept)
        codes = np.where(moved < 0, -1, 2 * moved)
        self._index.remap(np.stack([codes, np.where(moved < 0, -1, codes + 1)], axis=1).reshape(-1))


def _ends(rows: TranslationBatch, prefix: str) -> tuple[U64, U64]:
    src, dst = (
        sockets(rows[f"{prefix}{side}_addr"], rows[f"{prefix}{side}_port"], rows["protocol"])
        for side in ("src", "dst")
    )
    return src, dst


def _same(these: U64, those: U64) -> NDArray[np.bool_]:
    return (these == those).all(axis=1)
