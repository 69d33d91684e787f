"""Who claims which address: Kubernetes objects as endpoints that have no number yet."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from flowd.identity.numbers import Key
from flowd.kubernetes.core import EndpointSlice, Pod, Service, gateway_of
from flowd.kubernetes.objects import Objects
from flowd.model.address import pack
from flowd.model.endpoint import Endpoint, EndpointKind, ReservedIdentity

_REPLICA_SET = re.compile(r"(?P<deployment>.+)-[bcdf-hj-np-tv-z2456789]{1,10}")


@dataclass(slots=True)
class Claim:
    """An endpoint without its number, and the key that the number is derived from."""

    endpoint: Endpoint
    key: Key = ()


@dataclass(slots=True)
class Claims:
    """Reads the objects once; `by_address` is the outcome, 16 bytes each.

    Stronger claims come later and win: Services, Nodes, endpoints of slices, Pods. Of two running
    Pods with one address the younger has it.
    """

    objects: Objects
    node_name: str
    cluster_name: str
    host: set[bytes]
    by_address: dict[bytes, Claim] = field(default_factory=dict[bytes, Claim])

    def __post_init__(self) -> None:
        services = _services_by_address(self.objects)
        self._services()
        self._nodes()
        self._slices(services)
        self._pods(services)

    def _nodes(self) -> None:
        for node in self.objects.nodes.values():
            name = node.metadata.name
            mine = name == self.node_name
            kind = EndpointKind.HOST if mine else EndpointKind.NODE
            identity = ReservedIdentity.HOST if mine else ReservedIdentity.REMOTE_NODE
            label = "reserved:host" if mine else "reserved:remote-node"
            for address in node.addresses():
                text = "" if mine else address
                endpoint = Endpoint(
                    kind, identity, name=name, labels=(label,), node=name, address=text
                )
                self.by_address[pack(address)] = Claim(endpoint)

    def _services(self) -> None:
        for service in self.objects.services.values():
            for address in service.addresses():
                self.by_address[pack(address)] = self._service(service, address)

    def _service(self, service: Service, address: str) -> Claim:
        namespace, name = service.key
        endpoint = Endpoint(
            EndpointKind.SERVICE,
            0,
            namespace,
            name,
            self._labels(namespace, service.spec.selector),
            service_namespace=namespace,
            service=name,
            address=address,
        )
        return Claim(endpoint, (self.cluster_name, namespace, "Service", name))

    def _slices(self, services: dict[bytes, tuple[str, str]]) -> None:
        """Endpoints whose Pod is not among the objects; what is known comes from the slice.

        The addresses of Nodes stay theirs (pods on the host's network share them), those of this
        host yield to Pods only, and an address that two different Pods claim has no owner.
        """
        taken = set(self.by_address)
        for part, address, pod, node in _slice_endpoints(self.objects):
            packed = pack(address)
            if packed in taken or (not pod and packed in self.host):
                continue
            claim = self._slice_endpoint(part, address, pod, node, services.get(packed))
            known = self.by_address.setdefault(packed, claim)
            if known.endpoint.name != claim.endpoint.name:
                taken.add(packed)
                del self.by_address[packed]

    def _slice_endpoint(
        self,
        part: EndpointSlice,
        address: str,
        pod: str,
        node: str,
        service: tuple[str, str] | None,
    ) -> Claim:
        namespace, name = service or (part.metadata.namespace, "")
        selected = self.objects.services.get((namespace, name))
        labels = self._labels(namespace, selected.spec.selector if selected else {})
        endpoint = Endpoint(
            EndpointKind.POD if pod else EndpointKind.SERVICE,
            0,
            namespace,
            pod or name,
            labels,
            service_namespace=namespace if name else "",
            service=name,
            node=node,
            gateway=gateway_of(part.metadata),
            address=address,
        )
        return Claim(endpoint, (self.cluster_name, *labels))

    def _pods(self, services: dict[bytes, tuple[str, str]]) -> None:
        selected = _Selectors(self.objects)
        living = (pod for pod in self.objects.pods.values() if not pod.finished)
        for pod in sorted(living, key=lambda pod: (pod.metadata.creation_timestamp, pod.key)):
            if pod.spec.host_network:
                continue
            for address in pod.addresses():
                packed = pack(address)
                service = services.get(packed) or selected.service_of(pod)
                self.by_address[packed] = self._pod(pod, address, service)

    def _pod(self, pod: Pod, address: str, service: tuple[str, str]) -> Claim:
        namespace, name = pod.key
        labels = self._labels(namespace, pod.metadata.labels, pod.spec.service_account_name)
        kind, workload = _workload(pod)
        endpoint = Endpoint(
            EndpointKind.POD,
            0,
            namespace,
            name,
            labels,
            workload,
            kind,
            *service,
            node=pod.spec.node_name,
            gateway=gateway_of(pod.metadata),
            address=address,
        )
        what = (namespace, kind, workload) if workload else labels
        return Claim(endpoint, (self.cluster_name, *what))

    def _labels(self, namespace: str, labels: dict[str, str], account: str = "") -> tuple[str, ...]:
        every = {
            **labels,
            "io.kubernetes.pod.namespace": namespace,
            "io.cilium.k8s.policy.cluster": self.cluster_name,
        }
        if account:
            every["io.cilium.k8s.policy.serviceaccount"] = account
        return tuple(sorted(f"k8s:{key}={value}" for key, value in every.items()))


class _Selectors:
    """Services by one pair of their selector, so that a Pod asks only the few it may be in."""

    def __init__(self, objects: Objects) -> None:
        self._by_pair: dict[tuple[str, str, str], list[Service]] = defaultdict(list)
        for _, service in sorted(objects.services.items()):
            for key, value in sorted(service.spec.selector.items())[:1]:
                self._by_pair[service.metadata.namespace, key, value].append(service)

    def service_of(self, pod: Pod) -> tuple[str, str]:
        """(namespace, name) of the first Service by name that selects the Pod, or empty."""
        labels = pod.metadata.labels
        names = [
            service.metadata.name
            for pair in labels.items()
            for service in self._by_pair.get((pod.metadata.namespace, *pair), ())
            if service.spec.selector.items() <= labels.items()
        ]
        return (pod.metadata.namespace, min(names)) if names else ("", "")


def _slice_endpoints(objects: Objects) -> Iterator[tuple[EndpointSlice, str, str, str]]:
    """Slice, address, name of the Pod or "", and node, of every address in a slice."""
    for _, part in sorted(objects.slices.items()):
        if part.address_type == "FQDN":
            continue
        for endpoint in part.endpoints:
            target = endpoint.target_ref
            pod = target.name if target.kind == "Pod" else ""
            for address in endpoint.addresses:
                yield part, address, pod, endpoint.node_name


def _services_by_address(objects: Objects) -> dict[bytes, tuple[str, str]]:
    """(namespace, name) of the Service, the first by name, whose slices have an address."""
    found: dict[bytes, tuple[str, str]] = {}
    for part, address, _, _ in _slice_endpoints(objects):
        if part.service:
            name = (part.metadata.namespace, part.service)
            known = found.setdefault(pack(address), name)
            found[pack(address)] = min(known, name)
    return found


def _workload(pod: Pod) -> tuple[str, str]:
    """(kind, name) of the owning controller; a ReplicaSet of a Deployment counts as that."""
    owners = [owner for owner in pod.metadata.owner_references if owner.controller]
    for owner in owners or pod.metadata.owner_references[:1]:
        if owner.kind == "ReplicaSet" and (match := _REPLICA_SET.fullmatch(owner.name)):
            return "Deployment", match["deployment"]
        return owner.kind, owner.name
    return "", ""
