"""Snapshot of Kubernetes objects by kind, and the table of kinds that flowd reads."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from flowd.kubernetes.objects import core
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects import ingress as ing

T = TypeVar("T", bound=core.Object)
ObjectKey: TypeAlias = tuple[str, str]
"""Namespace and name."""

ByName: TypeAlias = dict[ObjectKey, T]
"""Objects by namespace and name; the namespace is "" for cluster-scoped objects."""


@dataclass(slots=True)
class Objects:
    """Snapshot of all known objects of a cluster; treated as immutable once built.

    Attributes:
        repeated: number of objects in files that replaced another object of the same name.
    """

    namespaces: ByName[core.Namespace] = field(default_factory=dict[ObjectKey, core.Namespace])
    nodes: ByName[core.Node] = field(default_factory=dict[ObjectKey, core.Node])
    pods: ByName[core.Pod] = field(default_factory=dict[ObjectKey, core.Pod])
    services: ByName[core.Service] = field(default_factory=dict[ObjectKey, core.Service])
    slices: ByName[core.EndpointSlice] = field(default_factory=dict[ObjectKey, core.EndpointSlice])
    replica_sets: ByName[core.ReplicaSet] = field(default_factory=dict[ObjectKey, core.ReplicaSet])
    jobs: ByName[core.Job] = field(default_factory=dict[ObjectKey, core.Job])
    cidr_groups: ByName[core.CiliumCIDRGroup] = field(
        default_factory=dict[ObjectKey, core.CiliumCIDRGroup]
    )
    gateway_classes: ByName[gw.GatewayClass] = field(
        default_factory=dict[ObjectKey, gw.GatewayClass]
    )
    gateways: ByName[gw.Gateway] = field(default_factory=dict[ObjectKey, gw.Gateway])
    http_routes: ByName[gw.HTTPRoute] = field(default_factory=dict[ObjectKey, gw.HTTPRoute])
    grpc_routes: ByName[gw.GRPCRoute] = field(default_factory=dict[ObjectKey, gw.GRPCRoute])
    tls_routes: ByName[gw.TLSRoute] = field(default_factory=dict[ObjectKey, gw.TLSRoute])
    tcp_routes: ByName[gw.TCPRoute] = field(default_factory=dict[ObjectKey, gw.TCPRoute])
    udp_routes: ByName[gw.UDPRoute] = field(default_factory=dict[ObjectKey, gw.UDPRoute])
    reference_grants: ByName[gw.ReferenceGrant] = field(
        default_factory=dict[ObjectKey, gw.ReferenceGrant]
    )
    listener_sets: ByName[gw.ListenerSet] = field(default_factory=dict[ObjectKey, gw.ListenerSet])
    x_listener_sets: ByName[gw.XListenerSet] = field(
        default_factory=dict[ObjectKey, gw.XListenerSet]
    )
    backend_tls_policies: ByName[gw.BackendTLSPolicy] = field(
        default_factory=dict[ObjectKey, gw.BackendTLSPolicy]
    )
    ingresses: ByName[ing.Ingress] = field(default_factory=dict[ObjectKey, ing.Ingress])
    ingress_classes: ByName[ing.IngressClass] = field(
        default_factory=dict[ObjectKey, ing.IngressClass]
    )

    repeated: int = 0

    def add(self, item: core.Object) -> None:
        """Add an object; it replaces an earlier one of the same kind and name."""
        getattr(self, KINDS_BY_TYPE[type(item)].attribute)[item.key] = item

    def namespace_labels(self, name: str) -> core.Labels:
        """Labels of a namespace, including the one that the API server always sets."""
        known = self.namespaces.get(("", name))
        labels = known.metadata.labels if known else {}
        return {"kubernetes.io/metadata.name": name, **labels}

    def __len__(self) -> int:
        return sum(len(getattr(self, kind.attribute)) for kind in KINDS.values())


def differences(
    before: ByName[T], after: ByName[T]
) -> Iterator[tuple[ObjectKey, tuple[T | None, T | None]]]:
    """Yield key and (old, new) of each object that was added, removed or replaced."""
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
class ObjectKind:
    """Struct type of one API kind, and its attribute in Objects."""

    type: type[core.Object]
    attribute: str
    namespaced: bool = True


KINDS: dict[tuple[str, str], ObjectKind] = {
    ("", "Namespace"): ObjectKind(core.Namespace, "namespaces", False),
    ("", "Node"): ObjectKind(core.Node, "nodes", False),
    ("", "Pod"): ObjectKind(core.Pod, "pods"),
    ("", "Service"): ObjectKind(core.Service, "services"),
    ("discovery.k8s.io", "EndpointSlice"): ObjectKind(core.EndpointSlice, "slices"),
    ("apps", "ReplicaSet"): ObjectKind(core.ReplicaSet, "replica_sets"),
    ("batch", "Job"): ObjectKind(core.Job, "jobs"),
    ("cilium.io", "CiliumCIDRGroup"): ObjectKind(core.CiliumCIDRGroup, "cidr_groups", False),
    (gw.GROUP, "GatewayClass"): ObjectKind(gw.GatewayClass, "gateway_classes", False),
    (gw.GROUP, "Gateway"): ObjectKind(gw.Gateway, "gateways"),
    (gw.GROUP, "HTTPRoute"): ObjectKind(gw.HTTPRoute, "http_routes"),
    (gw.GROUP, "GRPCRoute"): ObjectKind(gw.GRPCRoute, "grpc_routes"),
    (gw.GROUP, "TLSRoute"): ObjectKind(gw.TLSRoute, "tls_routes"),
    (gw.GROUP, "TCPRoute"): ObjectKind(gw.TCPRoute, "tcp_routes"),
    (gw.GROUP, "UDPRoute"): ObjectKind(gw.UDPRoute, "udp_routes"),
    (gw.GROUP, "ReferenceGrant"): ObjectKind(gw.ReferenceGrant, "reference_grants"),
    (gw.GROUP, "ListenerSet"): ObjectKind(gw.ListenerSet, "listener_sets"),
    (gw.X_GROUP, "XListenerSet"): ObjectKind(gw.XListenerSet, "x_listener_sets"),
    (gw.GROUP, "BackendTLSPolicy"): ObjectKind(gw.BackendTLSPolicy, "backend_tls_policies"),
    (ing.GROUP, "Ingress"): ObjectKind(ing.Ingress, "ingresses"),
    (ing.GROUP, "IngressClass"): ObjectKind(ing.IngressClass, "ingress_classes", False),
}
"""Kinds that flowd reads, by (API group, kind); objects of other kinds are ignored."""

KINDS_BY_TYPE = {kind.type: kind for kind in KINDS.values()}
