"""What is asked of the API server: the one table that listing, watching and RBAC go by."""

from dataclasses import dataclass

from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects import ingress as ing
from flowd.kubernetes.objects.snapshot import KINDS, Kind

VERBS = ("list", "watch")
"""Every verb the agent uses on a resource."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind on the wire.

    Attributes:
        versions: those that can be read, the best first.
        names_only: only metadata is asked for, so that the rest never crosses the network.
        required: part of every API server; the others are looked for and may come later.
    """

    group: str
    kind: str
    plural: str
    versions: tuple[str, ...] = ("v1",)
    required: bool = False
    names_only: bool = False

    @property
    def read_as(self) -> Kind:
        """How its objects are decoded and where they are kept."""
        return KINDS[self.group, self.kind]

    def accept(self, watch: bool) -> str:
        """What form of the objects to ask for (Kubernetes API concepts, metadata-only fetches).

        A server that does not have the form sends whole objects, which are read as well.
        """
        if not self.names_only:
            return "application/json"
        form = "PartialObjectMetadata" if watch else "PartialObjectMetadataList"
        return f"application/json;as={form};g=meta.k8s.io;v=v1,application/json"

    def path(self, version: str) -> str:
        """Path of the collection over all namespaces."""
        base = f"/apis/{self.group}" if self.group else "/api"
        return f"{base}/{version}/{self.plural}"


RESOURCES = (
    Resource("", "Pod", "pods", required=True),
    Resource("", "Service", "services", required=True),
    Resource("discovery.k8s.io", "EndpointSlice", "endpointslices", required=True),
    Resource("", "Namespace", "namespaces", required=True),
    Resource("", "Node", "nodes", required=True),
    Resource("apps", "ReplicaSet", "replicasets", required=True, names_only=True),
    Resource("batch", "Job", "jobs", required=True, names_only=True),
    Resource(gw.GROUP, "GatewayClass", "gatewayclasses", ("v1", "v1beta1")),
    Resource(gw.GROUP, "Gateway", "gateways", ("v1", "v1beta1")),
    Resource(gw.GROUP, "HTTPRoute", "httproutes", ("v1", "v1beta1")),
    Resource(gw.GROUP, "GRPCRoute", "grpcroutes", ("v1", "v1alpha2")),
    Resource(gw.GROUP, "TLSRoute", "tlsroutes", ("v1", "v1alpha3", "v1alpha2")),
    Resource(gw.GROUP, "TCPRoute", "tcproutes", ("v1", "v1alpha2")),
    Resource(gw.GROUP, "UDPRoute", "udproutes", ("v1", "v1alpha2")),
    Resource(gw.GROUP, "ReferenceGrant", "referencegrants", ("v1", "v1beta1", "v1alpha2")),
    Resource(gw.GROUP, "ListenerSet", "listenersets"),
    Resource(gw.X_GROUP, "XListenerSet", "xlistenersets", ("v1alpha1",)),
    Resource(gw.GROUP, "BackendTLSPolicy", "backendtlspolicies", ("v1", "v1alpha3")),
    Resource("cilium.io", "CiliumCIDRGroup", "ciliumcidrgroups", ("v2", "v2alpha1")),
    Resource(ing.GROUP, "Ingress", "ingresses", required=True),
    Resource(ing.GROUP, "IngressClass", "ingressclasses", required=True),
)
"""In the order in which they are asked for: addresses first."""
