"""Endpoint (the pod, Service, node or host of an address) and Hubble's reserved identities."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class ReservedIdentity(IntEnum):
    """Cilium's reserved numeric identities (pkg/identity); all others are 256 or more."""

    UNKNOWN = 0
    HOST = 1
    WORLD = 2
    UNMANAGED = 3
    HEALTH = 4
    INIT = 5
    REMOTE_NODE = 6
    KUBE_APISERVER = 7
    INGRESS = 8
    WORLD_IPV4 = 9
    WORLD_IPV6 = 10


class EndpointKind(StrEnum):
    """The kind of object that an address belongs to."""

    UNKNOWN = "unknown"
    POD = "pod"
    SERVICE = "service"
    NODE = "node"
    HOST = "host"
    WORLD = "world"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One owner of an address; a pod with a new address is a new endpoint.

    Attributes:
        kind: the kind of object.
        identity: Hubble's numeric identity: a ReservedIdentity, or 256..65535 per workload.
        namespace, name: of the pod or Service; of the node for nodes and the host.
        labels: sorted, in Cilium's form `k8s:app=web`, `reserved:world`.
        workload, workload_kind: the owning controller, `Deployment` and the like.
        service_namespace, service: a Service that selects the pod, or the Service itself.
        node: name of the node it runs on.
        gateway: `namespace/name` of the Gateway whose data plane the pod runs; for a data plane of
            several Gateways, `GatewayClass/name` or the name of their controller.
        address: textual IP address.
    """

    kind: EndpointKind
    identity: int
    namespace: str = ""
    name: str = ""
    labels: tuple[str, ...] = ()
    workload: str = ""
    workload_kind: str = ""
    service_namespace: str = ""
    service: str = ""
    node: str = ""
    gateway: str = ""
    address: str = ""


UNKNOWN_ENDPOINT = Endpoint(EndpointKind.UNKNOWN, ReservedIdentity.UNKNOWN)
WORLD = Endpoint(EndpointKind.WORLD, ReservedIdentity.WORLD, labels=("reserved:world",))
HOST = Endpoint(EndpointKind.HOST, ReservedIdentity.HOST, labels=("reserved:host",))
