"""Select the first or the last N flows of a stream on the client (`--first`, `--last`)."""

from collections import deque

from flowd.observe.options.request import ALL_FLOWS
from flowd.wire.observer.observer_pb2 import GetFlowsRequest, GetFlowsResponse


class Window:
    """Selects responses by `number` and `first` of a request.

    Args:
        only_flows: count only flows, as servers do; else every response, as hubble counts the
            lines of a file.
    """

    def __init__(self, request: GetFlowsRequest, *, only_flows: bool = True) -> None:
        self._only_flows = only_flows
        self._number = 0 if request.number == ALL_FLOWS else request.number
        self._first = request.first
        self._flows = 0
        self._last: deque[GetFlowsResponse] = deque()

    @property
    def full(self) -> bool:
        """Whether every later response will be dropped."""
        return bool(self._number) and self._first and self._flows >= self._number

    def add(self, response: GetFlowsResponse) -> list[GetFlowsResponse]:
        """Add a response; returns the responses that can be printed now."""
        flow = self._counts(response)
        self._flows += flow
        if not self._number or self._first:
            return [response]
        if not flow and not self._last:
            return []
        self._last.append(response)
        if self._flows > self._number:
            self._last.popleft()
            self._flows -= 1
            while self._last and not self._counts(self._last[0]):
                self._last.popleft()
        return []

    def flush(self) -> list[GetFlowsResponse]:
        """Responses to print at the end of the stream."""
        return list(self._last)

    def _counts(self, response: GetFlowsResponse) -> bool:
        return not self._only_flows or response.HasField("flow")
