"""Agent events: the start, pods of this node, identities of addresses, routes.

Hubble has no event for routes, so theirs are of type AGENT_EVENT_UNKNOWN with `route-created`,
`route-updated` or `route-deleted` and the route's `Kind/namespace/name`. Services show as the
addresses they have.
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
from flowd_exporters.hubble.changes import Changes
from flowd_exporters.hubble.lost import stamp

_MOST = 4096


@dataclass(frozen=True, slots=True)
class Happened:
    """Something that happened at a Unix time; `make` gives its message."""

    number: int
    time_ns: int
    make: Callable[[], wire.AgentEvent]


class AgentEvents:
    """The start and the last 4,096 changes after it; messages are made when they are asked for.

    Attributes:
        changes: told after events were added.
    """

    def __init__(self, directory: Directory) -> None:
        self.changes = Changes()
        self._directory = directory
        self._events: deque[Happened] = deque(maxlen=_MOST)
        self._next = 1
        self._addresses: Mapping[bytes, int] = {}
        self._routes: Mapping[str, object] = {}
        self.start = Happened(0, time.time_ns(), self._started)

    def held(self) -> list[Happened]:
        """Every event that is held, oldest first."""
        return [self.start, *self._events]

    def after(self, number: int) -> list[Happened]:
        """Events that came after the one with a number."""
        return [one for one in self.held() if one.number > number]

    @property
    def last(self) -> int:
        """Number of the newest event."""
        return self._next - 1

    def close(self) -> None:
        """No more events will come."""
        self.changes.close()

    def update(self, addresses: Mapping[bytes, int], routes: Mapping[str, object]) -> None:
        """Note what differs from the previous call; the mappings must not change after it."""
        before = self._next
        old = self._addresses
        same = addresses is old
        gone = {} if same else {at: old[at] for at in old.keys() - addresses.keys()}
        moved = [] if same else [item for item in addresses.items() if old.get(item[0]) != item[1]]
        indices = {old[address] for address, _ in moved if address in old}
        self._pods({*gone.values(), *indices}, {index for _, index in moved})
        for address, was in gone.items():
            self._add(lambda address=address, was=was: self._gone(address, was))
        for address, index in moved:
            was = old.get(address)
            if was is None or self._identity(was) != self._identity(index):
                self._add(
                    lambda address=address, index=index, was=was: self._claimed(address, index, was)
                )
        for what, name in _differences(self._routes, routes):
            self._add(lambda what=what, name=name: _unknown(what, name))
        self._addresses, self._routes = addresses, routes
        if self._next > before:
            self.changes.tell()

    def _pods(self, old: set[int], new: set[int]) -> None:
        for indices, kind in (
            (old - new, wire.ENDPOINT_DELETED),
            (new - old, wire.ENDPOINT_CREATED),
        ):
            for index in sorted(indices):
                endpoint = self._directory.endpoints[index]
                if endpoint.kind is EndpointKind.POD and endpoint.node == self._directory.node_name:
                    self._add(lambda index=index, kind=kind: self._pod(index, kind))

    def _add(self, make: Callable[[], wire.AgentEvent]) -> None:
        self._events.append(Happened(self._next, time.time_ns(), make))
        self._next += 1

    def _identity(self, index: int) -> int:
        return self._directory.endpoints[index].identity

    def _started(self) -> wire.AgentEvent:
        moment = wire.TimeNotification(time=stamp(self.start.time_ns))
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

    def _claimed(self, address: bytes, index: int, was: int | None) -> wire.AgentEvent:
        update = self._address(address, index)
        if was is not None:
            update.old_identity.CopyFrom(UInt32Value(value=self._identity(was)))
        return wire.AgentEvent(type=wire.IPCACHE_UPSERTED, ipcache_update=update)

    def _gone(self, address: bytes, was: int) -> wire.AgentEvent:
        update = self._address(address, was)
        return wire.AgentEvent(type=wire.IPCACHE_DELETED, ipcache_update=update)

    def _address(self, address: bytes, index: int) -> wire.IPCacheNotification:
        endpoint = self._directory.endpoints[index]
        text = unpack(address)
        return wire.IPCacheNotification(
            cidr=f"{text}/{128 if ':' in text else 32}",
            identity=endpoint.identity,
            namespace=utf8(pod_namespace(endpoint)),
            pod_name=utf8(pod_name(endpoint)),
        )


def _unknown(what: str, name: str) -> wire.AgentEvent:
    told = wire.AgentEventUnknown(type=what, notification=utf8(name))
    return wire.AgentEvent(type=wire.AGENT_EVENT_UNKNOWN, unknown=told)


def _differences(old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name in sorted(old.keys() - new.keys()):
        yield "route-deleted", name
    for name in sorted(name for name, item in new.items() if old.get(name) is not item):
        if name not in old:
            yield "route-created", name
        elif old[name] != new[name]:
            yield "route-updated", name
