"""Data plane: from the address and container port of a proxy to Gateway and listener."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from flowd.gateway.attachment.listener import ListenerState
from flowd.gateway.matching.dialect import Dialect
from flowd.kubernetes.objects.core import EndpointSlice, Pod, Service
from flowd.kubernetes.objects.proxies import ProxyGroup, gateway_of, linked_services, proxy_group_of
from flowd.kubernetes.objects.snapshot import ObjectKey, Objects, differences
from flowd.model.address import pack

PRIVILEGED = 1024
ProxyOwner: TypeAlias = str | ProxyGroup
"""`namespace/name` of a Gateway, or a group of Gateways that share proxies."""
_PlaneObject: TypeAlias = Service | EndpointSlice | Pod


class _OwnedObject(NamedTuple):
    """An object of a data plane, and the Gateways or groups it belongs to."""

    item: _PlaneObject
    owners: tuple[ProxyOwner, ...]


class DataPlane:
    """Addresses and ports of the proxies, from their Pods, Services and EndpointSlices.

    Labels and names, or a Gateway that links a Service, assign the objects to Gateways
    (flowd.kubernetes.objects.proxies).

    Args:
        before: the data plane of earlier objects; only differing objects are read again.
    """

    def __init__(
        self, objects: Objects, dialect: Dialect, before: "DataPlane | None" = None
    ) -> None:
        self._offset = dialect.container_port_offset
        self._objects = Objects(services=objects.services, slices=objects.slices, pods=objects.pods)
        self._linked = linked_services(objects)
        self._owned: dict[tuple[str, ObjectKey], _OwnedObject] = {}
        self._owners: dict[bytes, tuple[ProxyOwner, ...]] = {}
        self._ports: dict[tuple[ProxyOwner, int], int] = {}
        known = Objects()
        if before and before._linked == self._linked:
            self._owned, known = before._owned, before._objects
        changes = dict(self._changes(known, "services"))
        if changes:
            # Slices belong to the data plane through their Services, so all are read again
            self._owned, known = {}, Objects()
            changes = dict(self._changes(known, "services"))
        changes |= {**dict(self._changes(known, "slices")), **dict(self._changes(known, "pods"))}
        if before and not changes and self._owned is before._owned:
            self._owners, self._ports = before._owners, before._ports
            return
        owned = {**self._owned, **changes}
        self._owned = {key: entry for key, entry in owned.items() if entry}
        for entry in self._owned.values():
            self._index(entry, objects)

    def _changes(
        self, before: Objects, kind: str
    ) -> Iterator[tuple[tuple[str, ObjectKey], _OwnedObject | None]]:
        """Objects of data planes that differ from before, with their owners now; None when gone."""
        pairs: Iterable[tuple[ObjectKey, tuple[_PlaneObject | None, _PlaneObject | None]]] = (
            differences(getattr(before, kind), getattr(self._objects, kind))
        )
        for key, (_, item) in pairs:
            owners = self._owners_of(item) if item else ()
            if owners or (kind, key) in self._owned:
                yield (kind, key), _OwnedObject(item, owners) if item and owners else None

    def _owners_of(self, item: _PlaneObject) -> tuple[ProxyOwner, ...]:
        if isinstance(item, Pod) and item.finished:
            return ()
        if gateway := gateway_of(item):
            return (gateway,)
        if group := proxy_group_of(item):
            return (group,)
        if isinstance(item, EndpointSlice):
            service = self._objects.services.get((item.metadata.namespace, item.service))
            return self._owners_of(service) if service else ()
        return self._linked.get(item.key, ()) if isinstance(item, Service) else ()

    def _index(self, entry: _OwnedObject, objects: Objects) -> None:
        item, owners = entry
        for address in map(pack, item.addresses()):
            known = self._owners.get(address, ())
            self._owners[address] = tuple(dict.fromkeys((*known, *owners)))
        if isinstance(item, Service):
            self._map_ports(owners, item, objects)

    def _map_ports(self, owners: Iterable[ProxyOwner], service: Service, objects: Objects) -> None:
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

    def owners_at(self, address: bytes) -> Sequence[ProxyOwner]:
        """Gateways or groups whose proxy has an address (16 bytes)."""
        return self._owners.get(address, ())

    def listeners_behind(
        self,
        listeners: Sequence[ListenerState],
        container_port: int,
        groups: Iterable[ProxyGroup] = (),
    ) -> list[ListenerState]:
        """Select the listeners of one Gateway that the proxy serves on a container port.

        The target ports of the Gateway's Service decide where it is known; otherwise the port
        itself, then the port minus Envoy Gateway's offset for privileged ports.

        Args:
            listeners: the listeners of one Gateway.
            groups: groups that the Gateway belongs to.
        """
        if not listeners:
            return []
        owners: tuple[ProxyOwner, ...] = (listeners[0].gateway_id, *groups)
        ports = (self._ports.get((owner, container_port)) for owner in owners)
        port = next(filter(None, ports), container_port)
        found = [listener for listener in listeners if listener.port == port]
        shifted = container_port - self._offset
        if not found and self._offset and 0 < shifted < PRIVILEGED:
            found = [listener for listener in listeners if listener.port == shifted]
        return found
