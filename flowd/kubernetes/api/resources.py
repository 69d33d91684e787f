"""Watched resources of the API server: the table for lists, watches and RBAC rules."""

from dataclasses import dataclass

from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects import ingress as ing
from flowd.kubernetes.objects.snapshot import KINDS, ObjectKind

VERBS = ("list", "watch")
"""All verbs that the agent uses on a resource."""


@dataclass(frozen=True, slots=True)
class WatchedResource:
    """One resource of the API server.

    Attributes:
        versions: readable API versions, the preferred one first.
        required: every API server serves the resource; the others are discovered.
        metadata_only: request only metadata, so that the rest is not transferred.
    """

    group: str
    kind: str
    plural: str
    versions: tuple[str, ...] = ("v1",)
    required: bool = False
    metadata_only: bool = False

    @property
    def object_kind(self) -> ObjectKind:
        """Kind of the objects: struct type and attribute in Objects."""
        return KINDS[self.group, self.kind]

    def accept(self, watch: bool) -> str:
        """Accept header (Kubernetes API concepts, metadata-only fetches).

        A server that does not support metadata-only fetches sends whole objects, which also work.
        """
        if not self.metadata_only:
            return "application/json"
        form = "PartialObjectMetadata" if watch else "PartialObjectMetadataList"
        return f"application/json;as={form};g=meta.k8s.io;v=v1,application/json"

    def path(self, version: str) -> str:
        """Path of the collection over all namespaces."""
        base = f"/apis/{self.group}" if self.group else "/api"
        return f"{base}/{version}/{self.plural}"


RESOURCES = (
    WatchedResource("", "Pod", "pods", required=True),
    WatchedResource("", "Service", "services", required=True),
    WatchedResource("discovery.k8s.io", "EndpointSlice", "endpointslices", required=True),
    WatchedResource("", "Namespace", "namespaces", required=True),
    WatchedResource("", "Node", "nodes", required=True),
    WatchedResource("apps", "ReplicaSet", "replicasets", required=True, metadata_only=True),
    WatchedResource("batch", "Job", "jobs", required=True, metadata_only=True),
    WatchedResource(gw.GROUP, "GatewayClass", "gatewayclasses", ("v1", "v1beta1")),
    WatchedResource(gw.GROUP, "Gateway", "gateways", ("v1", "v1beta1")),
    WatchedResource(gw.GROUP, "HTTPRoute", "httproutes", ("v1", "v1beta1")),
    WatchedResource(gw.GROUP, "GRPCRoute", "grpcroutes", ("v1", "v1alpha2")),
    WatchedResource(gw.GROUP, "TLSRoute", "tlsroutes", ("v1", "v1alpha3", "v1alpha2")),
    WatchedResource(gw.GROUP, "TCPRoute", "tcproutes", ("v1", "v1alpha2")),
    WatchedResource(gw.GROUP, "UDPRoute", "udproutes", ("v1", "v1alpha2")),
    WatchedResource(gw.GROUP, "ReferenceGrant", "referencegrants", ("v1", "v1beta1", "v1alpha2")),
    WatchedResource(gw.GROUP, "ListenerSet", "listenersets"),
    WatchedResource(gw.X_GROUP, "XListenerSet", "xlistenersets", ("v1alpha1",)),
    WatchedResource(gw.GROUP, "BackendTLSPolicy", "backendtlspolicies", ("v1", "v1alpha3")),
    WatchedResource("cilium.io", "CiliumCIDRGroup", "ciliumcidrgroups", ("v2", "v2alpha1")),
    WatchedResource(ing.GROUP, "Ingress", "ingresses", required=True),
    WatchedResource(ing.GROUP, "IngressClass", "ingressclasses", required=True),
)
"""In the order of the first lists: objects with addresses first."""
