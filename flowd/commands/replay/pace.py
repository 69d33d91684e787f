"""When each recorded entry is due: as it was, faster, or at once."""

import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from flowd.commands.replay.inputs import Entries

LONGEST_NS = 24 * 3600 * 10**9
"""Most that a replay waits for one entry: a clock that jumped must not hold it for ever."""


def paced(
    entries: Iterable[Entries], speed: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[tuple[float, Entries]]:
    """Entries in pieces, and the seconds to wait before each.

    Args:
        speed: times faster than recorded; 0 is without any waiting.
    """
    begun, first, last = clock(), 0, 0
    for chunk in entries:
        if not speed or not len(chunk.batch):
            yield 0.0, chunk
            continue
        times = chunk.batch["time_ns"].astype(np.int64)
        first, last = first or int(times[0]), last or int(times[0])
        # An entry is written when its request ends, so that the next may have begun before it
        due = np.maximum.accumulate(np.maximum(times, last))
        jump = int(due[0]) - last
        if jump > LONGEST_NS:
            first += jump
        last = int(due[-1])
        offsets = (due - first) / 1e9 / speed
        at = 0
        while at < len(offsets):
            now = clock() - begun
            until = max(int(np.searchsorted(offsets, now, side="right")), at + 1)
            yield max(0.0, float(offsets[at]) - now), _part(chunk, at, until)
            at = until


def _part(chunk: Entries, start: int, stop: int) -> Entries:
    recorded = {row - start: told for row, told in chunk.recorded.items() if start <= row < stop}
    return Entries(chunk.batch[start:stop], recorded)
