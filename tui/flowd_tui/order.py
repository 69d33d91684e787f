"""Stable order of rows: rows move at most every 2 s, and only for a move of 2 places or more."""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

T = TypeVar("T")
MIN_INTERVAL_SECONDS = 2.0
MIN_MOVE = 2


class StableOrder:
    """Keeps the previous order of rows while it differs little from the wanted one (hysteresis)."""

    def __init__(self) -> None:
        self.locked = False
        self._rank: dict[Hashable, int] = {}
        self._changed = 0.0

    def forget(self) -> None:
        """Accept the next order without damping."""
        self._rank.clear()

    def settle(
        self,
        rows: Sequence[T],
        key: Callable[[T], Hashable],
        depth: Callable[[T], int],
        now: float,
    ) -> Sequence[T]:
        """Rows in the order to show; the descendants of a tree's row stay right below it.

        Args:
            rows: rows in the wanted order.
            key: identity of a row over time.
            depth: depth of a row in the tree.
            now: monotonic seconds.
        """
        if self._rank and (self.locked or not self._should_move(rows, key, now)):
            rows = _sort_tree(rows, lambda row: self._rank.get(key(row), len(self._rank)), depth)
        elif [key(row) for row in rows] != list(self._rank):
            self._changed = now
        self._rank = {key(row): index for index, row in enumerate(rows)}
        return rows

    def _should_move(self, rows: Sequence[T], key: Callable[[T], Hashable], now: float) -> bool:
        if now - self._changed < MIN_INTERVAL_SECONDS:
            return False
        fresh = [k for row in rows if (k := key(row)) in self._rank]
        old = {k: index for index, k in enumerate(sorted(fresh, key=self._rank.__getitem__))}
        return any(abs(old[k] - index) >= MIN_MOVE for index, k in enumerate(fresh))


def _sort_tree(
    rows: Sequence[T], rank: Callable[[T], int], depth: Callable[[T], int]
) -> Sequence[T]:
    """Rows sorted by rank among their siblings, each followed by its descendants."""
    groups: list[list[T]] = []
    for row in rows:
        if groups and depth(row) > depth(groups[-1][0]):
            groups[-1].append(row)
        else:
            groups.append([row])
    groups.sort(key=lambda group: rank(group[0]))
    return [row for group in groups for row in (group[0], *_sort_tree(group[1:], rank, depth))]
