"""Order that does not jump: siblings move at most every two seconds, and not for one place."""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

T = TypeVar("T")
PATIENCE_SECONDS = 2.0
PLACES = 2


class Order:
    """Remembers how rows stood, and keeps them so as long as that is good enough."""

    def __init__(self) -> None:
        self.locked = False
        self._rank: dict[Hashable, int] = {}
        self._changed = 0.0

    def forget(self) -> None:
        """Take the next order as it comes."""
        self._rank.clear()

    def settle(
        self,
        rows: Sequence[T],
        key: Callable[[T], Hashable],
        depth: Callable[[T], int],
        now: float,
    ) -> Sequence[T]:
        """Rows in the order to show; a row of a tree keeps its descendants right below it.

        Args:
            now: monotonic seconds.
        """
        if self._rank and (self.locked or not self._worth(rows, key, now)):
            rows = _arranged(rows, lambda row: self._rank.get(key(row), len(self._rank)), depth)
        elif [key(row) for row in rows] != list(self._rank):
            self._changed = now
        self._rank = {key(row): index for index, row in enumerate(rows)}
        return rows

    def _worth(self, rows: Sequence[T], key: Callable[[T], Hashable], now: float) -> bool:
        if now - self._changed < PATIENCE_SECONDS:
            return False
        fresh = [k for row in rows if (k := key(row)) in self._rank]
        old = {k: index for index, k in enumerate(sorted(fresh, key=self._rank.__getitem__))}
        return any(abs(old[k] - index) >= PLACES for index, k in enumerate(fresh))


def _arranged(
    rows: Sequence[T], rank: Callable[[T], int], depth: Callable[[T], int]
) -> Sequence[T]:
    """Siblings sorted by rank, each followed by its descendants, sorted likewise."""
    groups: list[list[T]] = []
    for row in rows:
        if groups and depth(row) > depth(groups[-1][0]):
            groups[-1].append(row)
        else:
            groups.append([row])
    groups.sort(key=lambda group: rank(group[0]))
    return [row for group in groups for row in (group[0], *_arranged(group[1:], rank, depth))]
