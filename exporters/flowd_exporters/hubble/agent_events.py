"""AgentEvents: the events of GetAgentEvents for start, local pods, address identities and routes.

Hubble has no event type for routes: they use AGENT_EVENT_UNKNOWN with the type `route-created`,
`route-updated` or `route-deleted` and `Kind/namespace/name` as notification. A Service appears as
IPCACHE events of its addresses.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from google.protobuf.wrappers_pb2 import UInt32Value

from flowd.filter.endpoints import pod_name, pod_namespace, utf8
from flowd.model.address import unpack
from flowd.model.directory import Directory
from flowd.model.endpoint import EndpointKind
from flowd.wire.flow import flow_pb2 as wire
from flowd_exporters.hubble.changes import ChangeNotifier
from flowd_exporters.hubble.lost import to_timestamp

MAX_EVENTS = 4096


@dataclass(frozen=True, slots=True)
class TimedEvent:
    """An agent event before its message is made.

    Attributes:
        number: 0 for the start, then 1, 2, ... in order.
        time_ns: Unix time.
        make: makes the message.
    """

    number: int
    time_ns: int
    make: Callable[[], wire.AgentEvent]


class AgentEvents:
    """The start and the last 4,096 events after it; messages are made when a client reads them.

    Attributes:
        start: the event AGENT_STARTED.
        changes: notified after events were added.
    """

    def __init__(self, directory: Directory) -> None:
        self.changes = ChangeNotifier()
        self._directory = directory
        self._events: deque[TimedEvent] = deque(maxlen=MAX_EVENTS)
        self._next = 1
        self._addresses: Mapping[bytes, int] = {}
        self._routes: Mapping[str, object] = {}
        self.start = TimedEvent(0, time.time_ns(), self._started)

    def events(self) -> list[TimedEvent]:
        """The start and the kept events, oldest first."""
        return [self.start, *self._events]

    def after(self, number: int) -> list[TimedEvent]:
        """Kept events with a higher number, oldest first."""
        return [event for event in self.events() if event.number > number]

    @property
    def last(self) -> int:
        """Number of the newest event."""
        return self._next - 1

    def close(self) -> None:
        """End the events: followers' streams end."""
        self.changes.close()

    def update(self, addresses: Mapping[bytes, int], routes: Mapping[str, object]) -> None:
        """Add events for the differences from the previous call.

        Args:
            addresses: index into Directory.endpoints by address, 16 bytes each.
            routes: by `Kind/namespace/name` a value that changes with the object.
                Neither mapping may be changed after the call.
        """
        first = self._next
        old = self._addresses
        same = addresses is old
        removed = {} if same else {at: old[at] for at in old.keys() - addresses.keys()}
        changed = [] if same else [one for one in addresses.items() if old.get(one[0]) != one[1]]
        replaced = {old[address] for address, _ in changed if address in old}
        self._add_pod_events({*removed.values(), *replaced}, {index for _, index in changed})
        for address, index in removed.items():
            self._add(lambda address=address, index=index: self._ipcache_deleted(address, index))
        for address, index in changed:
            before = old.get(address)
            if before is None or self._identity(before) != self._identity(index):
                self._add(
                    lambda address=address, index=index, before=before: self._ipcache_upserted(
                        address, index, before
                    )
                )
        for kind, name in _route_changes(self._routes, routes):
            self._add(lambda kind=kind, name=name: _unknown(kind, name))
        self._addresses, self._routes = addresses, routes
        if self._next > first:
            self.changes.notify()

    def _add_pod_events(self, old: set[int], new: set[int]) -> None:
        """Add ENDPOINT_DELETED and ENDPOINT_CREATED for pods of this node, by endpoint index."""
        for indices, kind in (
            (old - new, wire.ENDPOINT_DELETED),
            (new - old, wire.ENDPOINT_CREATED),
        ):
            for index in sorted(indices):
                endpoint = self._directory.endpoints[index]
                if endpoint.kind is EndpointKind.POD and endpoint.node == self._directory.node_name:
                    self._add(lambda index=index, kind=kind: self._pod(index, kind))

    def _add(self, make: Callable[[], wire.AgentEvent]) -> None:
        self._events.append(TimedEvent(self._next, time.time_ns(), make))
        self._next += 1

    def _identity(self, index: int) -> int:
        return self._directory.endpoints[index].identity

    def _started(self) -> wire.AgentEvent:
        moment = wire.TimeNotification(time=to_timestamp(self.start.time_ns))
        return wire.AgentEvent(type=wire.AGENT_STARTED, agent_start=moment)

    def _pod(self, index: int, kind: wire.AgentEventType) -> wire.AgentEvent:
        endpoint = self._directory.endpoints[index]
        update = wire.EndpointUpdateNotification(
            id=index,
            labels=map(utf8, endpoint.labels),
            pod_name=utf8(endpoint.name),
            namespace=utf8(endpoint.namespace),
        )
        return wire.AgentEvent(type=kind, endpoint_update=update)

    def _ipcache_upserted(self, address: bytes, index: int, before: int | None) -> wire.AgentEvent:
        update = self._ipcache(address, index)
        if before is not None:
            update.old_identity.CopyFrom(UInt32Value(value=self._identity(before)))
        return wire.AgentEvent(type=wire.IPCACHE_UPSERTED, ipcache_update=update)

    def _ipcache_deleted(self, address: bytes, index: int) -> wire.AgentEvent:
        update = self._ipcache(address, index)
        return wire.AgentEvent(type=wire.IPCACHE_DELETED, ipcache_update=update)

    def _ipcache(self, address: bytes, index: int) -> wire.IPCacheNotification:
        endpoint = self._directory.endpoints[index]
        text = unpack(address)
        return wire.IPCacheNotification(
            cidr=f"{text}/{128 if ':' in text else 32}",
            identity=endpoint.identity,
            namespace=utf8(pod_namespace(endpoint)),
            pod_name=utf8(pod_name(endpoint)),
        )


def _unknown(kind: str, name: str) -> wire.AgentEvent:
    event = wire.AgentEventUnknown(type=kind, notification=utf8(name))
    return wire.AgentEvent(type=wire.AGENT_EVENT_UNKNOWN, unknown=event)


def _route_changes(
    old: Mapping[str, object], new: Mapping[str, object]
) -> Iterator[tuple[str, str]]:
    """Kind of change and name of each route that differs, the deleted ones first."""
    for name in sorted(old.keys() - new.keys()):
        yield "route-deleted", name
    for name in sorted(name for name, item in new.items() if old.get(name) is not item):
        if name not in old:
            yield "route-created", name
        elif old[name] != new[name]:
            yield "route-updated", name
