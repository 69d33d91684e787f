"""Pace recorded entries: as recorded, faster, or without waiting (`flowd replay --speed`)."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from flowd.commands.replay.inputs import RecordedEntries

LONGEST_NS = 24 * 3600 * 10**9
"""Longest wait for one entry: a jump of the recorded clock must not stop the replay for ever."""


def paced(
    entries: Iterable[RecordedEntries], speed: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[tuple[float, RecordedEntries]]:
    """Split entries into pieces that are due at the same time.

    Args:
        speed: times faster than recorded; 0 does not wait.
        clock: monotonic seconds.

    Returns:
        Pairs of seconds to wait, from now, and the piece.
    """
    begun, first, last = clock(), 0, 0
    for chunk in entries:
        if not speed or not len(chunk.batch):
            yield 0.0, chunk
            continue
        times = chunk.batch["time_ns"].astype(np.int64)
        first, last = first or int(times[0]), last or int(times[0])
        # Entries are logged when requests end, so a later entry may have an earlier start time
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
            yield max(0.0, float(offsets[at]) - now), _slice(chunk, at, until)
            at = until


def _slice(chunk: RecordedEntries, start: int, stop: int) -> RecordedEntries:
    recorded = {row - start: route for row, route in chunk.recorded.items() if start <= row < stop}
    return replace(chunk, batch=chunk.batch[start:stop], recorded=recorded)
