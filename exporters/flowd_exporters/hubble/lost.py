"""Lost events of one stream: at most one message a second tells what its reader missed."""

import time

from google.protobuf.timestamp_pb2 import Timestamp

from flowd.wire.flow.flow_pb2 import HUBBLE_RING_BUFFER, LostEvent, LostEventSource
from flowd.wire.observer.observer_pb2 import GetFlowsResponse

INTERVAL = 1.0


def stamp(time_ns: int) -> Timestamp:
    """A Unix time as a message."""
    return Timestamp(seconds=time_ns // 10**9, nanos=time_ns % 10**9)


def lost_response(node_name: str, event: LostEvent, time_ns: int) -> GetFlowsResponse:
    """The message that tells of a loss."""
    return GetFlowsResponse(lost_events=event, node_name=node_name, time=stamp(time_ns))


class Overwritten:
    """Counts flows that were overwritten before this reader got to them."""

    def __init__(self) -> None:
        self.pending = 0
        self._first_ns = 0
        self._last_ns = 0
        self._sent_at = float("-inf")

    def add(self, count: int) -> None:
        """Count flows found missing now."""
        if count:
            now_ns = time.time_ns()  # of a clock that may be set back
            self._first_ns = min(self._first_ns, now_ns) if self.pending else now_ns
            self._last_ns = max(self._last_ns, now_ns) if self.pending else now_ns
            self.pending += count

    def wait(self) -> float | None:
        """Seconds until the next message is due; None when there is nothing to tell."""
        if not self.pending:
            return None
        return max(0.0, self._sent_at + INTERVAL - time.monotonic())

    def take(self, *, final: bool = False) -> LostEvent | None:
        """The message that is due, if any; a final one does not wait for its second."""
        wait = self.wait()
        if wait is None or (wait > 0 and not final):
            return None
        event = LostEvent(
            source=HUBBLE_RING_BUFFER,
            num_events_lost=self.pending,
            first=stamp(self._first_ns),
            last=stamp(self._last_ns),
        )
        self.pending = 0
        self._sent_at = time.monotonic()
        return event


def mark_event(source: LostEventSource, count: int) -> LostEvent:
    """The message of a loss before the ring."""
    return LostEvent(source=source, num_events_lost=count)
