"""Claims of one Kubernetes object: addresses with endpoints that have no identity number yet."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from sys import intern
from typing import TypeAlias

from flowd.identity.allocator import IdentityKey
from flowd.identity.owners import workload
from flowd.kubernetes.objects.core import EndpointSlice, Node, Object, Pod, Service
from flowd.kubernetes.objects.gateway_api import Gateway
from flowd.kubernetes.objects.proxies import proxy_name
from flowd.kubernetes.objects.snapshot import ObjectKey, Objects
from flowd.model.address import pack, unpack
from flowd.model.endpoint import Endpoint, EndpointKind, ReservedIdentity


class ClaimRank(IntEnum):
    """Rank of a claim by kind of object; the highest rank at an address wins."""

    GATEWAY = 1
    SLICE = 2
    SERVICE = 3
    NODE = 4
    POD = 5


KINDS = {
    ClaimRank.GATEWAY: "gateways",
    ClaimRank.SLICE: "slices",
    ClaimRank.SERVICE: "services",
    ClaimRank.NODE: "nodes",
    ClaimRank.POD: "pods",
}
"""Attribute of Objects by rank."""


@dataclass(slots=True)
class Claim:
    """Claim of one object to one address.

    Attributes:
        source: namespace and name of the object, whose kind follows from the rank.
        endpoint: the endpoint at the address; its identity is 0 until the key has a number.
        key: key of the numeric identity; () for a reserved identity.
        active: False for a terminating Pod, and for kinds other than Pod. Among claims of one rank
            the greatest wins; several of the greatest are a conflict, decided by age and name.
        created: creationTimestamp of the object.
    """

    rank: ClaimRank
    source: ObjectKey
    endpoint: Endpoint
    key: IdentityKey = ()
    active: bool = False
    created: str = ""

    @property
    def order(self) -> tuple[bool, str, str, str]:
        """Sort key among claims of one rank; the greatest wins."""
        return self.active, self.created, *self.source

    @property
    def name(self) -> str:
        """`kind/namespace/name` of the claiming object."""
        return "/".join((KINDS[self.rank], *self.source))


ClaimList: TypeAlias = list[tuple[bytes, Claim]]


@dataclass(frozen=True, slots=True)
class ClaimReader:
    """Build claims from the objects of one snapshot.

    Attributes:
        services_at: function from an address to the Services that have it as an endpoint.
        shared: interned tuples, so equal ones take memory once.
    """

    objects: Objects
    node_name: str
    cluster_name: str
    services_at: Callable[[bytes], Iterable[ObjectKey]]
    shared: dict[tuple[str, ...], tuple[str, ...]]

    def gateway(self, item: Gateway) -> ClaimList:
        """Claims to the addresses in the status of a Gateway; its Service has precedence."""
        namespace, name = source = item.key
        found: ClaimList = []
        for address in item.addresses():
            endpoint = Endpoint(
                EndpointKind.SERVICE,
                0,
                namespace,
                name,
                self._labels(namespace, {}),
                gateway=f"{namespace}/{name}",
                address=address,
            )
            key = self.cluster_name, namespace, "Gateway", name
            found.append((pack(address), Claim(ClaimRank.GATEWAY, source, endpoint, key)))
        return found

    def node(self, item: Node) -> ClaimList:
        """Claims to the addresses of a node: the host for this node, else a remote node."""
        name = item.metadata.name
        is_this_node = name == self.node_name
        kind = EndpointKind.HOST if is_this_node else EndpointKind.NODE
        identity = ReservedIdentity.HOST if is_this_node else ReservedIdentity.REMOTE_NODE
        labels = ("reserved:host" if is_this_node else "reserved:remote-node",)
        found: ClaimList = []
        for address in item.addresses():
            text = "" if is_this_node else address
            endpoint = Endpoint(kind, identity, name=name, labels=labels, node=name, address=text)
            claim = Claim(ClaimRank.NODE, item.key, endpoint)
            found.append((pack(address), claim))
        return found

    def service(self, item: Service) -> ClaimList:
        """Claims to the cluster, external and load balancer addresses of a Service."""
        namespace, name = source = item.key
        labels = self._labels(namespace, item.spec.selector)
        key = self.cluster_name, namespace, "Service", name
        found: ClaimList = []
        for address in item.addresses():
            endpoint = Endpoint(
                EndpointKind.SERVICE,
                0,
                namespace,
                name,
                labels,
                service_namespace=namespace,
                service=name,
                gateway=proxy_name(item),
                address=address,
            )
            found.append((pack(address), Claim(ClaimRank.SERVICE, source, endpoint, key)))
        return found

    def slice(self, item: EndpointSlice, address: bytes, pod: str, node: str) -> Claim:
        """Claim of an EndpointSlice, which wins where the Pod is not among the objects.

        Args:
            address: address of 16 bytes.
            pod, node: names of Pod and node, or "".
        """
        namespace, name = self.service_at(address) or (item.metadata.namespace, "")
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
            gateway=proxy_name(item),
            address=unpack(address),
        )
        return Claim(ClaimRank.SLICE, item.key, endpoint, self._share((self.cluster_name, *labels)))

    def pod(self, item: Pod, selecting: Sequence[str]) -> ClaimList:
        """Claims of a Pod that does not use the host network and has not finished.

        Args:
            selecting: names of the Services that select the Pod, for addresses in no slice.
        """
        addresses = claimed_addresses(item)
        if not addresses:
            return []
        namespace, name = source = item.key
        labels = self._labels(namespace, item.metadata.labels, item.spec.service_account_name)
        kind, owner = workload(item, self.objects)
        number = (self.cluster_name, *((namespace, kind, owner) if owner else labels))
        number = self._share(number)
        active = not item.metadata.deletion_timestamp
        created = item.metadata.creation_timestamp
        found: ClaimList = []
        for address in addresses:
            packed = pack(address)
            service = self.service_at(packed)
            if service is None and selecting:
                service = namespace, min(selecting)
            endpoint = Endpoint(
                EndpointKind.POD,
                0,
                namespace,
                name,
                labels,
                owner,
                kind,
                *(service or ("", "")),
                node=item.spec.node_name,
                gateway=proxy_name(item),
                address=address,
            )
            found.append((packed, Claim(ClaimRank.POD, source, endpoint, number, active, created)))
        return found

    def service_at(self, address: bytes) -> tuple[str, str] | None:
        """(namespace, name) of the first Service by name whose slices contain an address."""
        return min(self.services_at(address), default=None)

    def _labels(self, namespace: str, labels: dict[str, str], account: str = "") -> tuple[str, ...]:
        return self._share(cilium_labels(self.cluster_name, namespace, labels, account))

    def _share(self, value: tuple[str, ...]) -> tuple[str, ...]:
        return self.shared.setdefault(value, value)


def cilium_labels(
    cluster_name: str, namespace: str, labels: dict[str, str], account: str = ""
) -> tuple[str, ...]:
    """Sorted labels in Cilium's form, including those that Cilium adds itself.

    Args:
        account: name of the service account of the Pod.
    """
    every = {
        **labels,
        "io.kubernetes.pod.namespace": namespace,
        "io.cilium.k8s.policy.cluster": cluster_name,
    }
    if account:
        every["io.cilium.k8s.policy.serviceaccount"] = account
    return tuple(sorted(intern(f"k8s:{key}={value}") for key, value in every.items()))


def claimed_addresses(item: Object) -> list[str]:
    """Textual addresses that an object claims; none for a host-network or finished Pod."""
    if isinstance(item, Pod) and (item.spec.host_network or item.finished):
        return []
    return item.addresses()


def slice_endpoints(item: EndpointSlice) -> Iterator[tuple[str, str, str]]:
    """Yield (address, Pod name or "", node name) for every address in a slice."""
    if item.address_type == "FQDN":
        return
    for endpoint in item.endpoints:
        target = endpoint.target_ref
        pod = target.name if target.kind == "Pod" else ""
        for address in endpoint.addresses:
            yield address, pod, endpoint.node_name
