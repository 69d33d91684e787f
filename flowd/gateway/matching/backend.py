"""Index of Services by address and port, and the backendRef that an upstream address belongs to."""

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


class ServicePortRef(NamedTuple):
    """A Service and one of its ports; port 0 stands for any port."""

    namespace: str
    name: str
    port: int


ServiceKey: TypeAlias = tuple[str, str]
"""Namespace and name of a Service."""

AddressPorts: TypeAlias = tuple[tuple[int, ServicePortRef], ...]
"""Ports at one address, each with the Service port that leads there."""


@dataclass(frozen=True, slots=True)
class _ServiceEntry:
    """Index entries of one Service, and the objects they were built from."""

    source: tuple[object, ...]
    addresses: tuple[bytes, ...]
    count: tuple[int, int]


class ServiceIndex:
    """Services by their own and their endpoints' addresses, with their numbers of endpoints.

    Endpoints come from EndpointSlices; for a Service without slices, from the running Pods that its
    selector matches.

    Args:
        before: the index of earlier objects, whose unchanged entries are reused.

    Attributes:
        changed: namespace and name of each Service whose entries differ from `before`.
        moved: whether any Service, EndpointSlice or Pod object may differ from `before`.
    """

    def __init__(self, objects: Objects, before: "ServiceIndex | None" = None) -> None:
        # Keep only these kinds: the index of an old table must not hold all objects alive
        objects = Objects(services=objects.services, slices=objects.slices, pods=objects.pods)
        self._objects = objects
        self._by_address: dict[bytes, AddressPorts] = {}
        self._entries: dict[ServiceKey, _ServiceEntry] = {}
        self._without_slices: set[ServiceKey] = set()
        self.changed: set[ServiceKey] = set()
        self.moved = True
        if before:
            self._without_slices = before._without_slices
            if _same(objects, before._objects):
                self._by_address, self._entries, self.moved = (
                    before._by_address,
                    before._entries,
                    False,
                )
                return
            self._by_address, self._entries = dict(before._by_address), dict(before._entries)
        self._read(objects, before._objects if before else Objects())

    def _read(self, objects: Objects, before: Objects) -> None:
        names = {key for key, _ in differences(before.services, objects.services)}
        for _, pair in differences(before.slices, objects.slices):
            names |= {(part.metadata.namespace, part.service) for part in pair if part}
        if objects.pods is not before.pods:
            names |= self._without_slices
        slices: dict[ServiceKey, list[EndpointSlice]] = defaultdict(list)
        for part in objects.slices.values():
            name = part.metadata.namespace, part.service
            if name in names and part.service and part.address_type != "FQDN":
                slices[name].append(part)
        pods = _PodSelector(objects)
        self._without_slices = self._without_slices - names
        for name in sorted(names):
            service, parts = objects.services.get(name), slices.get(name, [])
            chosen = pods.select(service) if service and not parts else []
            if service and not parts:
                self._without_slices.add(name)
            source = (service, *parts, *chosen)
            old = self._entries.get(name)
            if old and len(old.source) == len(source) and all(map(is_, old.source, source)):
                continue
            self._forget(name)
            if service or parts:
                self._add(name, source, service, parts, chosen)

    def _forget(self, name: ServiceKey) -> None:
        """Remove the entries of a Service."""
        part = self._entries.pop(name, None)
        if part is None:
            return
        self.changed.add(name)
        for address in part.addresses:
            left = tuple(
                entry for entry in self._by_address.get(address, ()) if entry[1][:2] != name
            )
            if left:
                self._by_address[address] = left
            else:
                self._by_address.pop(address, None)

    def _add(
        self,
        name: ServiceKey,
        source: tuple[object, ...],
        service: Service | None,
        parts: Sequence[EndpointSlice],
        pods: Sequence[Pod],
    ) -> None:
        """Add the entries of a Service."""
        self.changed.add(name)
        found: dict[bytes, None] = {}
        for addresses, service_ports in _address_ports(name, service, parts, pods):
            for address in addresses if service_ports else ():
                known = self._by_address.get(address, ())
                more = (
                    tuple(entry for entry in service_ports if entry not in known)
                    if known
                    else service_ports
                )
                self._by_address[address] = (*known, *more) if known else service_ports
                found[address] = None
        self._entries[name] = _ServiceEntry(source, tuple(found), _endpoints(parts, pods))

    def endpoint_count(self, namespace: str, name: str) -> tuple[int, int]:
        """(usable, all) endpoints of a Service; (-1, -1) when they are not known."""
        part = self._entries.get((namespace, name))
        return part.count if part else (-1, -1)

    def contains(self, ref: BackendRef) -> bool:
        """Whether the referenced Service is among the objects; True for the empty reference."""
        return not ref.name or (ref.namespace, ref.name) in self._objects.services

    def at(self, address: bytes, port: int) -> Sequence[ServicePortRef]:
        """Service ports at an address (16 bytes) and port, else all Services at the address."""
        service_ports = self._by_address.get(address, ())
        exact = tuple(point for own, point in service_ports if own == port)
        if len(exact) == 1:
            return exact
        every = exact or (ServicePortRef(*point[:2], 0) for _, point in service_ports)
        return tuple(dict.fromkeys(every))


class _PodSelector:
    """Running Pods by label, indexed on first use."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._by_label: dict[tuple[str, str, str], list[Pod]] | None = None

    def select(self, service: Service) -> list[Pod]:
        """Running Pods that the selector of a Service matches."""
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
    """Whether two snapshots hold the same Services, EndpointSlices and Pods."""
    return one.services is other.services and one.slices is other.slices and one.pods is other.pods


def _address_ports(
    name: ServiceKey, service: Service | None, parts: Sequence[EndpointSlice], pods: Sequence[Pod]
) -> Iterator[tuple[Iterable[bytes], AddressPorts]]:
    """Groups of addresses of a Service with the ports at them; one group for each slice."""
    ports = {port.name: port for port in service.spec.ports} if service else {}
    for part in parts:
        known = ((port.port, ports.get(port.name)) for port in part.ports)
        service_ports = tuple(
            (at, ServicePortRef(*name, port.port if port else 0)) for at, port in known
        )
        yield (pack(text) for entry in part.endpoints for text in entry.addresses), service_ports
    service_ports = tuple((port.port, ServicePortRef(*name, port.port)) for port in ports.values())
    yield map(pack, service.addresses() if service else ()), service_ports
    service_ports = tuple(
        (_target(port), ServicePortRef(*name, port.port)) for port in ports.values()
    )
    yield (pack(text) for pod in pods for text in pod.addresses()), service_ports


def _endpoints(parts: Sequence[EndpointSlice], pods: Sequence[Pod]) -> tuple[int, int]:
    """(usable, all) endpoints of slices, else of Pods; (-1, -1) without either.

    Usable endpoints are the ready ones; if there are none, those that serve while terminating
    (discovery/v1 EndpointConditions; kube-proxy since Kubernetes 1.26, KEP-1669).
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
    """Numeric target port of a Service port; 0 for a named one, which only the Pod resolves."""
    if isinstance(port.target_port, str):
        return 0
    return port.target_port or port.port


def backend_of(
    rule: Rule, service_ports: Sequence[ServicePortRef], hint: ServicePortRef | None
) -> BackendRef | None:
    """The backendRef of a rule that served a request.

    Args:
        service_ports: Service ports at the upstream address, from ServiceIndex.at.
        hint: Service in the cluster name; it decides between several candidates.

    Returns:
        The only backend of the rule when nothing indicates another; None when it is ambiguous.
    """
    refs = [backend.ref for backend in rule.backends]
    hits = [ref for ref in refs if any(_names(ref, point) for point in service_ports)]
    if hint is not None:
        hits = [ref for ref in hits or refs if _names(ref, hint)] or hits
    if hits:
        return hits[0]
    if len(refs) == 1:
        return refs[0]
    return None


def serves(rule: Rule, service_ports: Sequence[ServicePortRef]) -> bool:
    """Whether one of these Service ports is a backend of the rule."""
    return any(_names(backend.ref, point) for backend in rule.backends for point in service_ports)


def _names(ref: BackendRef, point: ServicePortRef) -> bool:
    same = (ref.namespace, ref.name) == (point.namespace, point.name)
    return same and (ref.port == point.port or not ref.port or not point.port)
