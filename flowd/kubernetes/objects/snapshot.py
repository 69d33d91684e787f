"""All objects of one moment."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from flowd.kubernetes.objects import core
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects import ingress as ing

T = TypeVar("T", bound=core.Object)
Key: TypeAlias = tuple[str, str]
"""Namespace and name."""

ByName: TypeAlias = dict[Key, T]
"""Objects by namespace and name; the namespace is "" for those of the whole cluster."""


@dataclass(slots=True)
class Objects:
    """Everything known of a cluster at one moment; treated as immutable once built.

    Attributes:
        repeated: objects of files that took the place of one of the same name.
    """

    namespaces: ByName[core.Namespace] = field(default_factory=dict[Key, core.Namespace])
    nodes: ByName[core.Node] = field(default_factory=dict[Key, core.Node])
    pods: ByName[core.Pod] = field(default_factory=dict[Key, core.Pod])
    services: ByName[core.Service] = field(default_factory=dict[Key, core.Service])
    slices: ByName[core.EndpointSlice] = field(default_factory=dict[Key, core.EndpointSlice])
    replica_sets: ByName[core.ReplicaSet] = field(default_factory=dict[Key, core.ReplicaSet])
    jobs: ByName[core.Job] = field(default_factory=dict[Key, core.Job])
    cidr_groups: ByName[core.CIDRGroup] = field(default_factory=dict[Key, core.CIDRGroup])
    gateway_classes: ByName[gw.GatewayClass] = field(default_factory=dict[Key, gw.GatewayClass])
    gateways: ByName[gw.Gateway] = field(default_factory=dict[Key, gw.Gateway])
    http_routes: ByName[gw.HTTPRoute] = field(default_factory=dict[Key, gw.HTTPRoute])
    grpc_routes: ByName[gw.GRPCRoute] = field(default_factory=dict[Key, gw.GRPCRoute])
    tls_routes: ByName[gw.TLSRoute] = field(default_factory=dict[Key, gw.TLSRoute])
    tcp_routes: ByName[gw.TCPRoute] = field(default_factory=dict[Key, gw.TCPRoute])
    udp_routes: ByName[gw.UDPRoute] = field(default_factory=dict[Key, gw.UDPRoute])
    reference_grants: ByName[gw.ReferenceGrant] = field(
        default_factory=dict[Key, gw.ReferenceGrant]
    )
    listener_sets: ByName[gw.ListenerSet] = field(default_factory=dict[Key, gw.ListenerSet])
    x_listener_sets: ByName[gw.XListenerSet] = field(default_factory=dict[Key, gw.XListenerSet])
    backend_tls_policies: ByName[gw.BackendTLSPolicy] = field(
        default_factory=dict[Key, gw.BackendTLSPolicy]
    )
    ingresses: ByName[ing.Ingress] = field(default_factory=dict[Key, ing.Ingress])
    ingress_classes: ByName[ing.IngressClass] = field(default_factory=dict[Key, ing.IngressClass])

    repeated: int = 0

    def add(self, item: core.Object) -> None:
        """Keep an object; a later one of the same kind and name replaces an earlier."""
        getattr(self, KINDS_BY_TYPE[type(item)].attribute)[item.key] = item

    def namespace_labels(self, name: str) -> core.Labels:
        """Labels of a namespace, with the one that the API server always sets."""
        known = self.namespaces.get(("", name))
        labels = known.metadata.labels if known else {}
        return {"kubernetes.io/metadata.name": name, **labels}

    def __len__(self) -> int:
        return sum(len(getattr(self, kind.attribute)) for kind in KINDS.values())


def differences(
    before: ByName[T], after: ByName[T]
) -> Iterator[tuple[Key, tuple[T | None, T | None]]]:
    """What came, went or is another object than before, each as it was and as it is."""
    if before is after:
        return
    fresh = 0
    for key, item in after.items():
        old = before.get(key)
        if old is not item:
            fresh += old is None
            yield key, (old, item)
    if len(before) + fresh > len(after):
        for key, old in before.items():
            if key not in after:
                yield key, (old, None)


@dataclass(frozen=True, slots=True)
class Kind:
    """How one API kind is read and where it is kept."""

    type: type[core.Object]
    attribute: str
    namespaced: bool = True


KINDS: dict[tuple[str, str], Kind] = {
    ("", "Namespace"): Kind(core.Namespace, "namespaces", False),
    ("", "Node"): Kind(core.Node, "nodes", False),
    ("", "Pod"): Kind(core.Pod, "pods"),
    ("", "Service"): Kind(core.Service, "services"),
    ("discovery.k8s.io", "EndpointSlice"): Kind(core.EndpointSlice, "slices"),
    ("apps", "ReplicaSet"): Kind(core.ReplicaSet, "replica_sets"),
    ("batch", "Job"): Kind(core.Job, "jobs"),
    ("cilium.io", "CiliumCIDRGroup"): Kind(core.CIDRGroup, "cidr_groups", False),
    (gw.GROUP, "GatewayClass"): Kind(gw.GatewayClass, "gateway_classes", False),
    (gw.GROUP, "Gateway"): Kind(gw.Gateway, "gateways"),
    (gw.GROUP, "HTTPRoute"): Kind(gw.HTTPRoute, "http_routes"),
    (gw.GROUP, "GRPCRoute"): Kind(gw.GRPCRoute, "grpc_routes"),
    (gw.GROUP, "TLSRoute"): Kind(gw.TLSRoute, "tls_routes"),
    (gw.GROUP, "TCPRoute"): Kind(gw.TCPRoute, "tcp_routes"),
    (gw.GROUP, "UDPRoute"): Kind(gw.UDPRoute, "udp_routes"),
    (gw.GROUP, "ReferenceGrant"): Kind(gw.ReferenceGrant, "reference_grants"),
    (gw.GROUP, "ListenerSet"): Kind(gw.ListenerSet, "listener_sets"),
    (gw.X_GROUP, "XListenerSet"): Kind(gw.XListenerSet, "x_listener_sets"),
    (gw.GROUP, "BackendTLSPolicy"): Kind(gw.BackendTLSPolicy, "backend_tls_policies"),
    (ing.GROUP, "Ingress"): Kind(ing.Ingress, "ingresses"),
    (ing.GROUP, "IngressClass"): Kind(ing.IngressClass, "ingress_classes", False),
}
"""The kinds that are read, by (API group, kind); every other object is passed over."""

KINDS_BY_TYPE = {kind.type: kind for kind in KINDS.values()}
