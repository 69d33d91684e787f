"""From the address a proxy sent to, to the Service behind it and the backendRef that names it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from operator import is_
from typing import NamedTuple, TypeAlias, TypeVar

from flowd.gateway.rules import Rule
from flowd.kubernetes.core import EndpointSlice, Pod, Service, ServicePort
from flowd.kubernetes.objects import Objects
from flowd.model.address import pack
from flowd.model.route import BackendRef

Key = TypeVar("Key")


class ServicePoint(NamedTuple):
    """A port of a Service; port 0 stands for any."""

    namespace: str
    name: str
    port: int


Socket: TypeAlias = tuple[bytes, int]


@dataclass(frozen=True, slots=True)
class _Part:
    """What one Service adds, and the objects that it was read from."""

    source: tuple[object, ...]
    sockets: tuple[tuple[Socket, ServicePoint], ...]
    count: tuple[int, int]


class Services:
    """Services by the addresses behind and before them, and how many endpoints each has.

    EndpointSlices decide; a Service without any gets the running Pods that it selects.

    Args:
        before: those of earlier objects; what did not change is taken over.

    Attributes:
        changed: namespace and name of the Services that differ from those before.
        moved: whether any of the objects that they are read from may have changed.
    """

    def __init__(self, objects: Objects, before: "Services | None" = None) -> None:
        self._objects = objects
        self._sockets: dict[Socket, tuple[ServicePoint, ...]] = {}
        self._addresses: dict[bytes, tuple[ServicePoint, ...]] = {}
        self._parts: dict[tuple[str, str], _Part] = {}
        self.changed: set[tuple[str, str]] = set()
        self.moved = True
        if before:
            if _same(objects, before._objects):
                self._sockets, self._addresses = before._sockets, before._addresses
                self._parts, self.moved = before._parts, False
                return
            self._sockets, self._addresses = dict(before._sockets), dict(before._addresses)
            self._parts = dict(before._parts)
        self._read(objects)

    def _read(self, objects: Objects) -> None:
        slices: dict[tuple[str, str], list[EndpointSlice]] = defaultdict(list)
        for part in objects.slices.values():
            if part.service and part.address_type != "FQDN":
                slices[part.metadata.namespace, part.service].append(part)
        pods = _Selectable(objects)
        gone = self._parts.keys() - objects.services.keys() - slices.keys()
        for name in {**slices, **objects.services}:
            service = objects.services.get(name)
            parts = slices.get(name, [])
            chosen = pods.of(service) if service and not parts else []
            source = (service, *parts, *chosen)
            old = self._parts.get(name)
            if old and len(old.source) == len(source) and all(map(is_, old.source, source)):
                continue
            self._replace(name, _part(name, source, service, parts, chosen))
        for name in gone:
            self._replace(name, None)

    def _replace(self, name: tuple[str, str], part: _Part | None) -> None:
        """Put what a Service adds in the place of what it added before."""
        old = self._parts.pop(name, None)
        for socket, point in old.sockets if old else ():
            _drop(self._sockets, socket, point)
            _drop(self._addresses, socket[0], ServicePoint(*name, 0))
        for socket, point in part.sockets if part else ():
            _put(self._sockets, socket, point)
            _put(self._addresses, socket[0], ServicePoint(*name, 0))
        if part:
            self._parts[name] = part
        self.changed.add(name)

    def count(self, namespace: str, name: str) -> tuple[int, int]:
        """(ready, all) endpoints of a Service; (-1, -1) when the objects do not tell."""
        part = self._parts.get((namespace, name))
        return part.count if part else (-1, -1)

    def confirms(self, ref: BackendRef) -> bool:
        """Whether the Service of a reference is among the objects; true of no reference at all."""
        return not ref.name or (ref.namespace, ref.name) in self._objects.services

    def at(self, address: bytes, port: int) -> Sequence[ServicePoint]:
        """The Services that a socket address belongs to, or else those of the address alone."""
        return self._sockets.get((address, port)) or self._addresses.get(address) or ()


class _Selectable:
    """The running Pods that a Service's selector may choose from, read when first asked for."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._by_label: dict[tuple[str, str, str], list[Pod]] | None = None

    def of(self, service: Service) -> list[Pod]:
        """The Pods that a Service selects."""
        if not service.spec.selector:
            return []
        if self._by_label is None:
            self._by_label = defaultdict(list)
            for pod in self._objects.pods.values():
                if not pod.finished:
                    for key, value in pod.metadata.labels.items():
                        self._by_label[pod.metadata.namespace, key, value].append(pod)
        wanted = service.spec.selector.items()
        namespace = service.metadata.namespace
        lists = [self._by_label.get((namespace, *item), []) for item in wanted]
        return [pod for pod in min(lists, key=len) if wanted <= pod.metadata.labels.items()]


def _same(one: Objects, other: Objects) -> bool:
    """Whether nothing that Services are read from changed between two snapshots."""
    return one.services is other.services and one.slices is other.slices and one.pods is other.pods


def _put(table: dict[Key, tuple[ServicePoint, ...]], key: Key, point: ServicePoint) -> None:
    known = table.get(key, ())
    if point not in known:
        table[key] = (*known, point)


def _drop(table: dict[Key, tuple[ServicePoint, ...]], key: Key, point: ServicePoint) -> None:
    left = tuple(entry for entry in table.get(key, ()) if entry != point)
    if left:
        table[key] = left
    else:
        table.pop(key, None)


def _part(
    name: tuple[str, str],
    source: tuple[object, ...],
    service: Service | None,
    parts: Sequence[EndpointSlice],
    pods: Sequence[Pod],
) -> _Part:
    sockets: list[tuple[Socket, ServicePoint]] = []
    ports = {port.name: port for port in service.spec.ports} if service else {}
    ready: set[str] = set()
    total: set[str] = set()
    for part in parts:
        for endpoint in part.endpoints:
            holder = endpoint.target_ref.name or "".join(endpoint.addresses[:1])
            total.add(holder)
            if endpoint.conditions.ready:
                ready.add(holder)
            for address in map(pack, endpoint.addresses):
                for port in part.ports:
                    known = ports.get(port.name)
                    point = ServicePoint(*name, known.port if known else 0)
                    sockets.append(((address, port.port), point))
    for address in map(pack, service.addresses() if service else ()):
        sockets += [
            ((address, port.port), ServicePoint(*name, port.port)) for port in ports.values()
        ]
    for pod in pods:
        for address in map(pack, pod.addresses()):
            sockets += [
                ((address, _target(port)), ServicePoint(*name, port.port))
                for port in ports.values()
            ]
    count = len(ready), len(total)
    if not parts:
        count = (len(pods), len(pods)) if pods else (-1, -1)
    return _Part(source, tuple(sockets), count)


def _target(port: ServicePort) -> int:
    """The pod's port where the Service gives a number; 0 for a name that only the Pod knows."""
    if isinstance(port.target_port, str):
        return 0
    return port.target_port or port.port


def backend_of(
    rule: Rule, points: Sequence[ServicePoint], hint: ServicePoint | None
) -> BackendRef | None:
    """The backendRef of a rule that took a request.

    Args:
        points: Services of the upstream address, from Services.at.
        hint: the Service that the cluster's name gives, which decides between several.

    Returns:
        The rule's only backend when no evidence speaks for another; None when it stays open.
    """
    refs = [backend.ref for backend in rule.backends]
    hits = [ref for ref in refs if any(_names(ref, point) for point in points)]
    if hint is not None:
        hits = [ref for ref in hits or refs if _names(ref, hint)] or hits
    if hits:
        return hits[0]
    if len(refs) == 1:
        return refs[0]
    return None


def serves(rule: Rule, points: Sequence[ServicePoint]) -> bool:
    """Whether one of these Services is among the rule's backends."""
    return any(_names(backend.ref, point) for backend in rule.backends for point in points)


def _names(ref: BackendRef, point: ServicePoint) -> bool:
    same = (ref.namespace, ref.name) == (point.namespace, point.name)
    return same and (ref.port == point.port or not ref.port or not point.port)
