"""Series: counters by label set of one metric, with a bound on the number of label sets."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.model.losses import Losses, Place
from flowd_exporters.label_values import OTHER

LabelSet = tuple[str, ...]
"""Label values in the order of the metric's labels."""

KeyColumns = Sequence[tuple[NDArray[np.generic], int]]
"""Key columns of shape (n,), each with a bound: its values are 0 to bound-1."""

IDLE_SECONDS = 3600.0
SWEEP_SECONDS = 60.0
_OTHER_ROW = 0
_MAX_TABLE = 1 << 16


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows of a batch grouped by key, as np.unique with return_inverse gives them.

    Attributes:
        keys: the k distinct keys in ascending order, shape (k, columns).
        inverse: index of the key of each row, shape (n,).
    """

    keys: NDArray[np.int64]
    inverse: NDArray[np.intp]


def totals(groups: Groups, *columns: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Sums of columns of shape (n,) by key, shape (k, len(columns))."""
    sums = np.zeros((len(columns), len(groups.keys)), np.uint64)
    for place, column in enumerate(columns):
        np.add.at(sums[place], groups.inverse, column)
    return sums.T


def sizes(groups: Groups) -> NDArray[np.intp]:
    """Number of rows by key, shape (k, 1)."""
    return np.bincount(groups.inverse, minlength=len(groups.keys)).reshape(-1, 1)


def group(columns: KeyColumns) -> Groups:
    """Group rows by key columns, packed into one 63-bit integer where they fit."""
    span = 1
    for _, bound in columns:
        span *= bound
    if span >= 1 << 63:
        stacked = np.stack([column.astype(np.int64) for column, _ in columns], axis=1)
        keys, inverse = np.unique(stacked, axis=0, return_inverse=True)
        return Groups(keys, inverse.reshape(-1))
    code = np.zeros(len(columns[0][0]), np.int64)
    ranges = [_range(column) for column, _ in columns]
    for (column, _), (low, count) in zip(columns, ranges, strict=True):
        if count > 1:
            code *= count
            code += column.astype(np.int64)
            code -= low
    distinct, inverse = _distinct(code, prod(count for _, count in ranges))
    keys = np.empty((len(distinct), len(columns)), np.int64)
    for place, (low, count) in reversed([*enumerate(ranges)]):
        distinct, keys[:, place] = np.divmod(distinct, count)
        keys[:, place] += low
    return Groups(keys, inverse)


def _range(column: NDArray[Any]) -> tuple[int, int]:
    """The minimum of a column, and the number of integers from it to the maximum."""
    if not len(column):
        return 0, 1
    low = int(column.min())
    return low, int(column.max()) - low + 1


def _distinct(code: NDArray[np.int64], bound: int) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """np.unique with inverse, of numbers below a bound."""
    if bound > min(_MAX_TABLE, 4096 + 64 * len(code)):  # a table would cost more than sorting
        distinct = np.unique(code)
        return distinct, np.searchsorted(distinct, code)
    present = np.zeros(bound, np.bool_)
    present[code] = True
    distinct = np.flatnonzero(present)
    place = np.zeros(bound, np.intp)
    place[distinct] = np.arange(len(distinct))
    return distinct, place[code]


class Series:
    """Rows of uint64 counters, one a label set; at most `limit` label sets and `other`.

    A full table first evicts the label sets that were idle for an hour (a counter that comes back
    begins at 0, which Prometheus takes as a reset). Amounts that are over the bound even so are
    added to the row whose labels are all `other`, and counted (place `series`, reason `name`).

    Args:
        name: name of the metric, the reason of its losses.
        width: number of counters in a row.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        name: str,
        width: int,
        limit: int,
        losses: Losses,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._limit = limit
        self._losses = losses
        self._clock = clock
        self._by_key: dict[tuple[int, ...], int] = {}
        self._by_labels: dict[LabelSet, int] = {}
        self._labels: list[LabelSet] = [(OTHER,)]  # as many values as its neighbours, when in use
        self._values = np.zeros((64, width), np.uint64)
        self._used = np.zeros(64)
        self._swept = clock()
        self._overflowed = False
        losses.add(Place.SERIES, name, 0)

    def __len__(self) -> int:
        return len(self._by_labels)

    def rows(
        self, groups: Groups, labels_of: Callable[[tuple[int, ...]], LabelSet]
    ) -> NDArray[np.intp]:
        """Row index of each distinct key, shape (k,); keys with equal labels share a row.

        Args:
            labels_of: makes the label values of a key; called when the key is new.
        """
        now = self._clock()
        keys: list[tuple[int, ...]] = list(map(tuple, groups.keys.tolist()))
        new = {key: labels_of(key) for key in keys if key not in self._by_key}
        if new and self._is_full(set(new.values())) and now - self._swept > SWEEP_SECONDS:
            self._used[[self._by_key[key] for key in keys if key in self._by_key]] = now
            self._sweep(now)
            new = {key: labels_of(key) for key in keys}
        for key, labels in new.items():
            self._by_key[key] = self._find(labels)
        found = np.array([self._by_key[key] for key in keys], np.intp)
        self._used[found] = now
        self._count_over(found[groups.inverse], new)
        return found

    def add(self, rows: NDArray[np.intp], amounts: NDArray[np.generic]) -> None:
        """Add amounts of shape (len(rows), width) to rows; a row index may repeat."""
        np.add.at(self._values, rows, amounts.astype(np.uint64))

    def read(self) -> tuple[list[LabelSet], NDArray[np.uint64]]:
        """Label sets in use and a copy of their counters, shape (rows, width).

        The row `other` is left out until an amount was added to it.
        """
        first = 0 if self._overflowed else 1
        return self._labels[first:], self._values[first : len(self._labels)].copy()

    def _is_full(self, labels: set[LabelSet]) -> bool:
        fresh = sum(one not in self._by_labels for one in labels)
        return len(self) + fresh > self._limit

    def _find(self, labels: LabelSet) -> int:
        row = self._by_labels.get(labels)
        if row is not None:
            return row
        if len(self) == self._limit:
            self._labels[_OTHER_ROW] = (OTHER,) * len(labels)
            return _OTHER_ROW
        row = self._by_labels[labels] = len(self._labels)
        self._labels.append(labels)
        if row == len(self._values):
            self._values = np.concatenate([self._values, np.zeros_like(self._values)])
            self._used = np.concatenate([self._used, np.zeros_like(self._used)])
        return row

    def _count_over(self, rows: NDArray[np.intp], new: Iterable[tuple[int, ...]]) -> None:
        """Count batch rows that went to `other`; their keys are not cached, as room may come."""
        over = int(np.count_nonzero(rows == _OTHER_ROW))
        if over:
            self._overflowed = True
            self._losses.add(Place.SERIES, self.name, over)
            for key in new:
                if self._by_key[key] == _OTHER_ROW:
                    del self._by_key[key]
        if len(self._by_key) > 4 * self._limit:
            self._by_key.clear()

    def _sweep(self, now: float) -> None:
        """Evict idle label sets and compact the rows."""
        self._swept = now
        kept = [
            row
            for row in range(len(self._labels))
            if row == _OTHER_ROW or now - self._used[row] < IDLE_SECONDS
        ]
        self._labels = [self._labels[row] for row in kept]
        self._by_labels = {labels: row for row, labels in enumerate(self._labels) if row}
        self._by_key.clear()
        for array in (self._values, self._used):
            array[: len(kept)] = array[kept]
            array[len(kept) :] = 0
