"""From the address a proxy sent to, to the Service behind it and the backendRef that names it."""

from collections import defaultdict
from typing import NamedTuple

from flowd.gateway.rules import Rule
from flowd.kubernetes.core import EndpointSlice, Pod, Service, ServicePort
from flowd.kubernetes.objects import Objects
from flowd.model.address import pack
from flowd.model.route import BackendRef


class ServicePoint(NamedTuple):
    """A port of a Service; port 0 stands for any."""

    namespace: str
    name: str
    port: int


class Services:
    """Services by the addresses behind and before them, and how many endpoints each has.

    EndpointSlices decide; a Service without any gets the running Pods that it selects.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._sockets: dict[tuple[bytes, int], list[ServicePoint]] = defaultdict(list)
        self._addresses: dict[bytes, list[ServicePoint]] = defaultdict(list)
        self._counts: dict[tuple[str, str], tuple[int, int]] = {}
        slices: dict[tuple[str, str], list[EndpointSlice]] = defaultdict(list)
        for part in objects.slices.values():
            if part.service and part.address_type != "FQDN":
                slices[part.metadata.namespace, part.service].append(part)
        pods: dict[str, list[Pod]] = defaultdict(list)
        for pod in objects.pods.values():
            if not pod.finished:
                pods[pod.metadata.namespace].append(pod)
        for name, parts in slices.items():
            self._add_slices(name, parts)
        for name, service in objects.services.items():
            for address in service.addresses():
                for port in service.spec.ports:
                    self._add(pack(address), port.port, name, port.port)
            if name not in slices and service.spec.selector:
                self._add_pods(name, service, pods[service.metadata.namespace])

    def _add(self, address: bytes, port: int, name: tuple[str, str], service_port: int) -> None:
        point = ServicePoint(*name, service_port)
        if point not in self._sockets[address, port]:
            self._sockets[address, port].append(point)
        if (anywhere := ServicePoint(*name, 0)) not in self._addresses[address]:
            self._addresses[address].append(anywhere)

    def _add_slices(self, name: tuple[str, str], parts: list[EndpointSlice]) -> None:
        service = self._objects.services.get(name)
        ports = {port.name: port for port in service.spec.ports} if service else {}
        ready: set[str] = set()
        total: set[str] = set()
        for part in parts:
            for endpoint in part.endpoints:
                holder = endpoint.target_ref.name or "".join(endpoint.addresses[:1])
                total.add(holder)
                if endpoint.conditions.ready:
                    ready.add(holder)
                for address in endpoint.addresses:
                    for port in part.ports:
                        known = ports.get(port.name)
                        self._add(pack(address), port.port, name, known.port if known else 0)
        self._counts[name] = len(ready), len(total)

    def _add_pods(self, name: tuple[str, str], service: Service, pods: list[Pod]) -> None:
        chosen = [
            pod for pod in pods if service.spec.selector.items() <= pod.metadata.labels.items()
        ]
        if chosen:
            self._counts[name] = len(chosen), len(chosen)
        for pod in chosen:
            for address in pod.addresses():
                for port in service.spec.ports:
                    self._add(pack(address), _target(port), name, port.port)

    def count(self, namespace: str, name: str) -> tuple[int, int]:
        """(ready, all) endpoints of a Service; (-1, -1) when the objects do not tell."""
        return self._counts.get((namespace, name), (-1, -1))

    def confirms(self, ref: BackendRef) -> bool:
        """Whether the Service of a reference is among the objects; true of no reference at all."""
        return not ref.name or (ref.namespace, ref.name) in self._objects.services

    def at(self, address: bytes, port: int) -> list[ServicePoint]:
        """The Services that a socket address belongs to, or else those of the address alone."""
        return self._sockets.get((address, port)) or self._addresses.get(address) or []


def _target(port: ServicePort) -> int:
    """The pod's port where the Service gives a number; 0 for a name that only the Pod knows."""
    if isinstance(port.target_port, str):
        return 0
    return port.target_port or port.port


def backend_of(
    rule: Rule, points: list[ServicePoint], hint: ServicePoint | None
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


def serves(rule: Rule, points: list[ServicePoint]) -> bool:
    """Whether one of these Services is among the rule's backends."""
    return any(_names(backend.ref, point) for backend in rule.backends for point in points)


def _names(ref: BackendRef, point: ServicePoint) -> bool:
    same = (ref.namespace, ref.name) == (point.namespace, point.name)
    return same and (ref.port == point.port or not ref.port or not point.port)
