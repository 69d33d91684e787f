"""From a gateway's pod and container port to Gateway and listener."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from flowd.gateway.attachment.listener import Listener
from flowd.gateway.matching.dialect import Dialect
from flowd.kubernetes.objects.core import EndpointSlice, Pod, Service
from flowd.kubernetes.objects.proxies import Group, gateway_of, group_of, linked_services
from flowd.kubernetes.objects.snapshot import Key, Objects, differences
from flowd.model.address import pack

PRIVILEGED = 1024
Owner: TypeAlias = str | Group
"""`namespace/name` of a Gateway, or several Gateways."""
_Part: TypeAlias = Service | EndpointSlice | Pod


class _Mark(NamedTuple):
    """An object that is part of a data plane, and whose."""

    item: _Part
    owners: tuple[Owner, ...]


class DataPlane:
    """Addresses and ports of the proxies, from their Pods, Services and EndpointSlices.

    What belongs to which Gateway is told by labels and names, or by a Gateway that links a Service
    (flowd.kubernetes.objects.proxies).

    Args:
        before: that of earlier objects; only what differs from them is read.
    """

    def __init__(
        self, objects: Objects, dialect: Dialect, before: "DataPlane | None" = None
    ) -> None:
        self._offset = dialect.container_port_offset
        self._objects = Objects(services=objects.services, slices=objects.slices, pods=objects.pods)
        self._linked = linked_services(objects)
        self._marks: dict[tuple[str, Key], _Mark] = {}
        self._owners: dict[bytes, tuple[Owner, ...]] = {}
        self._ports: dict[tuple[Owner, int], int] = {}
        known = Objects()
        if before and before._linked == self._linked:
            self._marks, known = before._marks, before._objects
        changes = dict(self._changes(known, "services"))
        if changes:
            # Their slices are of the data plane for their sake
            self._marks, known = {}, Objects()
            changes = dict(self._changes(known, "services"))
        changes |= {**dict(self._changes(known, "slices")), **dict(self._changes(known, "pods"))}
        if before and not changes and self._marks is before._marks:
            self._owners, self._ports = before._owners, before._ports
            return
        marks = {**self._marks, **changes}
        self._marks = {key: mark for key, mark in marks.items() if mark}
        for mark in self._marks.values():
            self._read(mark, objects)

    def _changes(
        self, before: Objects, kind: str
    ) -> Iterator[tuple[tuple[str, Key], _Mark | None]]:
        """The objects of data planes that differ, each as it is to be marked now."""
        pairs: Iterable[tuple[Key, tuple[_Part | None, _Part | None]]] = differences(
            getattr(before, kind), getattr(self._objects, kind)
        )
        for key, (_, item) in pairs:
            owners = self._whose(item) if item else ()
            if owners or (kind, key) in self._marks:
                yield (kind, key), _Mark(item, owners) if item and owners else None

    def _whose(self, item: _Part) -> tuple[Owner, ...]:
        if isinstance(item, Pod) and item.finished:
            return ()
        if gateway := gateway_of(item):
            return (gateway,)
        if group := group_of(item):
            return (group,)
        if isinstance(item, EndpointSlice):
            service = self._objects.services.get((item.metadata.namespace, item.service))
            return self._whose(service) if service else ()
        return self._linked.get(item.key, ()) if isinstance(item, Service) else ()

    def _read(self, mark: _Mark, objects: Objects) -> None:
        item, owners = mark
        for address in map(pack, item.addresses()):
            known = self._owners.get(address, ())
            self._owners[address] = tuple(dict.fromkeys((*known, *owners)))
        if isinstance(item, Service):
            self._map_ports(owners, item, objects)

    def _map_ports(self, owners: Iterable[Owner], service: Service, objects: Objects) -> None:
        named = {
            port.name: port.port
            for part in objects.slices.values()
            if part.metadata.namespace == service.metadata.namespace
            and part.service == service.metadata.name
            for port in part.ports
        }
        for port in service.spec.ports:
            target = port.target_port
            container = target if isinstance(target, int) else named.get(port.name, 0)
            for owner in owners:
                self._ports[owner, container or port.port] = port.port

    def owners_at(self, address: bytes) -> Sequence[Owner]:
        """Whose proxy has an address (16 bytes)."""
        return self._owners.get(address, ())

    def behind(
        self, listeners: Sequence[Listener], container_port: int, groups: Iterable[Group] = ()
    ) -> list[Listener]:
        """Those of one Gateway's listeners that the proxy serves on a port of its own.

        By the Gateway's Service where it is known; else the port itself, and then Envoy Gateway's
        shift of privileged ports.

        Args:
            groups: those that the Gateway belongs to.
        """
        if not listeners:
            return []
        owners: tuple[Owner, ...] = (listeners[0].gateway_id, *groups)
        ports = (self._ports.get((owner, container_port)) for owner in owners)
        port = next(filter(None, ports), container_port)
        found = [listener for listener in listeners if listener.port == port]
        shifted = container_port - self._offset
        if not found and self._offset and 0 < shifted < PRIVILEGED:
            found = [listener for listener in listeners if listener.port == shifted]
        return found
