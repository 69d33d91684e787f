"""From the address a proxy sent to, to the Service behind it and the backendRef that names it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import is_
from typing import NamedTuple, TypeAlias

from flowd.gateway.matching.rules import Rule
from flowd.kubernetes.objects.core import EndpointSlice, Pod, Service, ServicePort
from flowd.kubernetes.objects.snapshot import Objects, differences
from flowd.model.address import pack
from flowd.model.route import BackendRef


class ServicePoint(NamedTuple):
    """A port of a Service; port 0 stands for any."""

    namespace: str
    name: str
    port: int


Name: TypeAlias = tuple[str, str]
"""Namespace and name of a Service."""

Points: TypeAlias = tuple[tuple[int, ServicePoint], ...]
"""What is at an address: ports, each with the port of the Service that leads there."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What one Service adds, and the objects that it was read from."""

    source: tuple[object, ...]
    addresses: tuple[bytes, ...]
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
        # Not all of them, as an old table's Services would keep every kind
        objects = Objects(services=objects.services, slices=objects.slices, pods=objects.pods)
        self._objects = objects
        self._points: dict[bytes, Points] = {}
        self._parts: dict[Name, _Part] = {}
        self._sliceless: set[Name] = set()
        self.changed: set[Name] = set()
        self.moved = True
        if before:
            self._sliceless = before._sliceless
            if _same(objects, before._objects):
                self._points, self._parts, self.moved = before._points, before._parts, False
                return
            self._points, self._parts = dict(before._points), dict(before._parts)
        self._read(objects, before._objects if before else Objects())

    def _read(self, objects: Objects, before: Objects) -> None:
        names = {key for key, _ in differences(before.services, objects.services)}
        for _, pair in differences(before.slices, objects.slices):
            names |= {(part.metadata.namespace, part.service) for part in pair if part}
        if objects.pods is not before.pods:
            names |= self._sliceless
        slices: dict[Name, list[EndpointSlice]] = defaultdict(list)
        for part in objects.slices.values():
            name = part.metadata.namespace, part.service
            if name in names and part.service and part.address_type != "FQDN":
                slices[name].append(part)
        pods = _Selectable(objects)
        self._sliceless = self._sliceless - names
        for name in sorted(names):
            service, parts = objects.services.get(name), slices.get(name, [])
            chosen = pods.of(service) if service and not parts else []
            if service and not parts:
                self._sliceless.add(name)
            source = (service, *parts, *chosen)
            old = self._parts.get(name)
            if old and len(old.source) == len(source) and all(map(is_, old.source, source)):
                continue
            self._forget(name)
            if service or parts:
                self._add(name, source, service, parts, chosen)

    def _forget(self, name: Name) -> None:
        """Take out what a Service added."""
        part = self._parts.pop(name, None)
        if part is None:
            return
        self.changed.add(name)
        for address in part.addresses:
            left = tuple(entry for entry in self._points.get(address, ()) if entry[1][:2] != name)
            if left:
                self._points[address] = left
            else:
                self._points.pop(address, None)

    def _add(
        self,
        name: Name,
        source: tuple[object, ...],
        service: Service | None,
        parts: Sequence[EndpointSlice],
        pods: Sequence[Pod],
    ) -> None:
        """Put in what a Service adds."""
        self.changed.add(name)
        found: dict[bytes, None] = {}
        for addresses, points in _points(name, service, parts, pods):
            for address in addresses if points else ():
                known = self._points.get(address, ())
                more = tuple(entry for entry in points if entry not in known) if known else points
                self._points[address] = (*known, *more) if known else points
                found[address] = None
        self._parts[name] = _Part(source, tuple(found), _endpoints(parts, pods))

    def count(self, namespace: str, name: str) -> tuple[int, int]:
        """(usable, all) endpoints of a Service; (-1, -1) when the objects do not tell."""
        part = self._parts.get((namespace, name))
        return part.count if part else (-1, -1)

    def confirms(self, ref: BackendRef) -> bool:
        """Whether the Service of a reference is among the objects; true of no reference at all."""
        return not ref.name or (ref.namespace, ref.name) in self._objects.services

    def at(self, address: bytes, port: int) -> Sequence[ServicePoint]:
        """The Services that a socket address belongs to, or else those of the address alone."""
        points = self._points.get(address, ())
        exact = tuple(point for own, point in points if own == port)
        if len(exact) == 1:
            return exact
        every = exact or (ServicePoint(*point[:2], 0) for _, point in points)
        return tuple(dict.fromkeys(every))


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


def _points(
    name: Name, service: Service | None, parts: Sequence[EndpointSlice], pods: Sequence[Pod]
) -> Iterator[tuple[Iterable[bytes], Points]]:
    """Addresses of a Service and what is at them, the same for all of one slice."""
    ports = {port.name: port for port in service.spec.ports} if service else {}
    for part in parts:
        known = ((port.port, ports.get(port.name)) for port in part.ports)
        points = tuple((at, ServicePoint(*name, port.port if port else 0)) for at, port in known)
        yield (pack(text) for entry in part.endpoints for text in entry.addresses), points
    points = tuple((port.port, ServicePoint(*name, port.port)) for port in ports.values())
    yield map(pack, service.addresses() if service else ()), points
    points = tuple((_target(port), ServicePoint(*name, port.port)) for port in ports.values())
    yield (pack(text) for pod in pods for text in pod.addresses()), points


def _endpoints(parts: Sequence[EndpointSlice], pods: Sequence[Pod]) -> tuple[int, int]:
    """(usable, all) endpoints of slices, else of Pods; (-1, -1) where there are neither.

    Usable are the ready ones; where there is none, those that still serve while they terminate
    (discovery/v1 EndpointConditions, as kube-proxy has it since Kubernetes 1.26, KEP-1669).
    """
    if not parts:
        return (len(pods), len(pods)) if pods else (-1, -1)
    ready: set[str] = set()
    leaving: set[str] = set()
    every: set[str] = set()
    for part in parts:
        for endpoint in part.endpoints:
            holder = endpoint.target_ref.name or "".join(endpoint.addresses[:1])
            every.add(holder)
            if endpoint.conditions.ready:
                ready.add(holder)
            elif endpoint.conditions.serving and endpoint.conditions.terminating:
                leaving.add(holder)
    return len(ready or leaving), len(every)


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
