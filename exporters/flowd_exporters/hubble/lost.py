"""LostEvent messages of a GetFlows stream, at most one a second for overwritten flows."""

import time

from google.protobuf.timestamp_pb2 import Timestamp

from flowd.wire.flow.flow_pb2 import HUBBLE_RING_BUFFER, LostEvent, LostEventSource
from flowd.wire.observer.observer_pb2 import GetFlowsResponse

INTERVAL = 1.0


def to_timestamp(time_ns: int) -> Timestamp:
    """A Unix time as protobuf's Timestamp."""
    return Timestamp(seconds=time_ns // 10**9, nanos=time_ns % 10**9)


def lost_response(node_name: str, event: LostEvent, time_ns: int) -> GetFlowsResponse:
    """The GetFlows response with a LostEvent."""
    return GetFlowsResponse(lost_events=event, node_name=node_name, time=to_timestamp(time_ns))


class OverwriteCounter:
    """Counts flows that the ring overwrote before a reader read them, and limits the messages.

    Attributes:
        pending: flows that no message has reported yet.
    """

    def __init__(self) -> None:
        self.pending = 0
        self._first_ns = 0
        self._last_ns = 0
        self._sent_at = float("-inf")

    def add(self, count: int) -> None:
        """Count overwritten flows that the reader missed now."""
        if count:
            now_ns = time.time_ns()  # the clock may be set back
            self._first_ns = min(self._first_ns, now_ns) if self.pending else now_ns
            self._last_ns = max(self._last_ns, now_ns) if self.pending else now_ns
            self.pending += count

    def wait(self) -> float | None:
        """Seconds until the next message is due; None without pending flows."""
        if not self.pending:
            return None
        return max(0.0, self._sent_at + INTERVAL - time.monotonic())

    def take_event(self, *, final: bool = False) -> LostEvent | None:
        """The message that is due, if any; with `final` without waiting for its second."""
        wait = self.wait()
        if wait is None or (wait > 0 and not final):
            return None
        event = LostEvent(
            source=HUBBLE_RING_BUFFER,
            num_events_lost=self.pending,
            first=to_timestamp(self._first_ns),
            last=to_timestamp(self._last_ns),
        )
        self.pending = 0
        self._sent_at = time.monotonic()
        return event


def mark_event(source: LostEventSource, count: int) -> LostEvent:
    """The LostEvent of a loss before the ring."""
    return LostEvent(source=source, num_events_lost=count)
