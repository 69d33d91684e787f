"""The first or the last N flows of a stream, for input that no server has counted."""

from collections import deque

from flowd.observe.options.request import ALL
from flowd.wire.observer.observer_pb2 import GetFlowsRequest, GetFlowsResponse


class Window:
    """Lets through what `--first`, `--last` and `--all` ask for.

    Args:
        only_flows: whether lost events come on top of the number, as servers count, or are part
            of it, as hubble counts the lines of a file.
    """

    def __init__(self, request: GetFlowsRequest, *, only_flows: bool = True) -> None:
        self._only_flows = only_flows
        self._number = 0 if request.number == ALL else request.number
        self._first = request.first
        self._flows = 0
        self._held: deque[GetFlowsResponse] = deque()

    @property
    def full(self) -> bool:
        """Whether nothing that comes now can pass."""
        return bool(self._number) and self._first and self._flows >= self._number

    def take(self, response: GetFlowsResponse) -> list[GetFlowsResponse]:
        """What may be printed now that this one has come."""
        flow = self._counts(response)
        self._flows += flow
        if not self._number or self._first:
            return [response]
        if not flow and not self._held:
            return []
        self._held.append(response)
        if self._flows > self._number:
            self._held.popleft()
            self._flows -= 1
            while self._held and not self._counts(self._held[0]):
                self._held.popleft()
        return []

    def rest(self) -> list[GetFlowsResponse]:
        """What is left to print at the end."""
        return list(self._held)

    def _counts(self, response: GetFlowsResponse) -> bool:
        return not self._only_flows or response.HasField("flow")
