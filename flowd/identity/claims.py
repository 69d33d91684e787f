"""What one Kubernetes object claims: addresses, each with an endpoint that has no number yet."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from sys import intern
from typing import TypeAlias

from flowd.identity.allocator import Key
from flowd.identity.owners import workload
from flowd.kubernetes.objects.core import EndpointSlice, Node, Object, Pod, Service
from flowd.kubernetes.objects.gateway_api import Gateway
from flowd.kubernetes.objects.proxies import proxy_name
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.address import pack, unpack
from flowd.model.endpoint import Endpoint, EndpointKind, ReservedIdentity

ObjectKey: TypeAlias = tuple[str, str]
"""Namespace and name of an object."""


class Rank(IntEnum):
    """Of the claims to one address the one of the highest rank counts."""

    GATEWAY = 1
    SLICE = 2
    SERVICE = 3
    NODE = 4
    POD = 5


KINDS = {
    Rank.GATEWAY: "gateways",
    Rank.SLICE: "slices",
    Rank.SERVICE: "services",
    Rank.NODE: "nodes",
    Rank.POD: "pods",
}
"""Names of the kinds in Objects; each has a rank of its own."""


@dataclass(slots=True)
class Claim:
    """An address held by an endpoint.

    Attributes:
        source: the object behind it, of the kind that the rank tells.
        endpoint: with identity 0 as long as the key has no number.
        key: what the number is derived from; () where the identity is a reserved one.
        strength: the greatest counts among claims of one rank; several of the greatest are a
            conflict, and then age and name decide.
        created: when the object was made.
    """

    rank: Rank
    source: ObjectKey
    endpoint: Endpoint
    key: Key = ()
    strength: bool = False
    created: str = ""

    @property
    def order(self) -> tuple[bool, str, str, str]:
        """The greatest counts among claims of one rank."""
        return self.strength, self.created, *self.source

    @property
    def name(self) -> str:
        """`kind/namespace/name` of the object behind it."""
        return "/".join((KINDS[self.rank], *self.source))


Claimed: TypeAlias = list[tuple[bytes, Claim]]


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads objects of one moment as claims.

    Attributes:
        fronts: namespace and name of the Services that have an address behind them.
        shared: tuples already made, so that equal ones take memory once.
    """

    objects: Objects
    node_name: str
    cluster_name: str
    fronts: Callable[[bytes], Iterable[ObjectKey]]
    shared: dict[tuple[str, ...], tuple[str, ...]]

    def gateway(self, item: Gateway) -> Claimed:
        """The addresses of a Gateway's status; a Service in front of it is told instead."""
        namespace, name = source = item.key
        found: Claimed = []
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
            found.append((pack(address), Claim(Rank.GATEWAY, source, endpoint, key)))
        return found

    def node(self, item: Node) -> Claimed:
        """The addresses of a node: of this one it is the host, of all others a remote node."""
        name = item.metadata.name
        mine = name == self.node_name
        kind = EndpointKind.HOST if mine else EndpointKind.NODE
        identity = ReservedIdentity.HOST if mine else ReservedIdentity.REMOTE_NODE
        labels = ("reserved:host" if mine else "reserved:remote-node",)
        found: Claimed = []
        for address in item.addresses():
            text = "" if mine else address
            endpoint = Endpoint(kind, identity, name=name, labels=labels, node=name, address=text)
            claim = Claim(Rank.NODE, item.key, endpoint)
            found.append((pack(address), claim))
        return found

    def service(self, item: Service) -> Claimed:
        """Cluster addresses, external ones and those of a load balancer."""
        namespace, name = source = item.key
        labels = self._labels(namespace, item.spec.selector)
        key = self.cluster_name, namespace, "Service", name
        found: Claimed = []
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
            found.append((pack(address), Claim(Rank.SERVICE, source, endpoint, key)))
        return found

    def slice(self, item: EndpointSlice, address: bytes, pod: str, node: str) -> Claim:
        """An endpoint of a slice, which counts where its Pod is not among the objects.

        Args:
            pod, node: their names, or "".
        """
        namespace, name = self.service_before(address) or (item.metadata.namespace, "")
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
        return Claim(Rank.SLICE, item.key, endpoint, self._share((self.cluster_name, *labels)))

    def pod(self, item: Pod, selecting: Sequence[str]) -> Claimed:
        """A Pod with an address of its own, until it is finished, also while it is terminating.

        Args:
            selecting: names of the Services that select it, for an address in no slice.
        """
        addresses = claimed_addresses(item)
        if not addresses:
            return []
        namespace, name = source = item.key
        labels = self._labels(namespace, item.metadata.labels, item.spec.service_account_name)
        kind, owner = workload(item, self.objects)
        number = (self.cluster_name, *((namespace, kind, owner) if owner else labels))
        number = self._share(number)
        staying = not item.metadata.deletion_timestamp
        created = item.metadata.creation_timestamp
        found: Claimed = []
        for address in addresses:
            packed = pack(address)
            service = self.service_before(packed)
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
            found.append((packed, Claim(Rank.POD, source, endpoint, number, staying, created)))
        return found

    def service_before(self, address: bytes) -> tuple[str, str] | None:
        """(namespace, name) of the first Service by name whose slices have an address."""
        return min(self.fronts(address), default=None)

    def _labels(self, namespace: str, labels: dict[str, str], account: str = "") -> tuple[str, ...]:
        return self._share(cilium_labels(self.cluster_name, namespace, labels, account))

    def _share(self, value: tuple[str, ...]) -> tuple[str, ...]:
        return self.shared.setdefault(value, value)


def cilium_labels(
    cluster_name: str, namespace: str, labels: dict[str, str], account: str = ""
) -> tuple[str, ...]:
    """Labels in Cilium's form, sorted, with those that Cilium adds itself.

    Args:
        account: name of the Pod's service account.
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
    """The textual addresses that an object claims; of a Pod those that are its own."""
    if isinstance(item, Pod) and (item.spec.host_network or item.finished):
        return []
    return item.addresses()


def slice_endpoints(item: EndpointSlice) -> Iterator[tuple[str, str, str]]:
    """Address, name of the Pod or "", and node, of every address in a slice."""
    if item.address_type == "FQDN":
        return
    for endpoint in item.endpoints:
        target = endpoint.target_ref
        pod = target.name if target.kind == "Pod" else ""
        for address in endpoint.addresses:
            yield address, pod, endpoint.node_name
