"""How often the kernel's table is looked through."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from numpy.typing import NDArray

SECONDS = 1.0
SHARE = 0.05  # of the time, at most, is spent on connections that turn out not to be over

Batch = NDArray[Any]


class Pace:
    """When the next look is due: a full table of idle connections is not looked at all the time.

    What ends has its price however often it is looked for, and waiting only makes the table fill,
    so its part of a look does not count.

    Args:
        clock: seconds, monotonic.
        cpu: seconds of CPU of this thread.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self._clock = clock
        self._cpu = cpu
        self._at = 0.0

    def due(self) -> bool:
        """Whether it is time."""
        return self._clock() >= self._at

    def timed(self, look: Iterator[Batch], live: int) -> Iterator[Batch]:
        """The batches of a look that takes out what is over; `live` entries were there before it."""
        spent, ended = 0.0, 0
        while True:
            began = self._cpu()
            batch = next(look, None)
            spent += self._cpu() - began
            if batch is None:
                break
            ended += len(batch)
            yield batch
        stayed = max(0, live - ended) / max(1, live)
        self._at = self._clock() + max(SECONDS, spent * stayed / SHARE)
