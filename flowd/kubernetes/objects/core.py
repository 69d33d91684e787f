"""Core Kubernetes API objects (v1, apps, batch, discovery, cilium.io): the fields flowd needs."""

from typing import Annotated

import msgspec

from flowd.model.address import network, pack

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Labels = dict[str, str]


class Struct(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Base of all partial API structs: camel case names, unknown fields are ignored.

    Instances never form cycles, so the garbage collector does not track them.
    """


class OwnerReference(Struct, frozen=True, kw_only=True):
    """metadata.ownerReferences[]."""

    kind: str = ""
    name: str = ""
    controller: bool = False


class ObjectMeta(Struct, frozen=True, kw_only=True):
    """ObjectMeta (meta/v1). Timestamps are RFC 3339 text in UTC, so they sort as text.

    `deletion_timestamp` is set from the deletion request until the object is gone.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    namespace: Annotated[str, msgspec.Meta(max_length=63)] = ""
    labels: Labels = msgspec.field(default_factory=dict[str, str])
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    owner_references: tuple[OwnerReference, ...] = ()


class Object(Struct, frozen=True, kw_only=True):
    """Base of all objects with metadata."""

    metadata: ObjectMeta

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return self.metadata.namespace, self.metadata.name

    def addresses(self) -> list[str]:
        """Textual IP addresses that belong to the object."""
        return []

    def check(self) -> None:
        """Validate what the field types do not express.

        Raises:
            ValueError: an address or network is invalid.
        """
        for text in self.addresses():
            pack(text)


class Namespace(Object, frozen=True, kw_only=True):
    """v1 Namespace."""


class NodeAddress(Struct, frozen=True, kw_only=True):
    type: str = ""
    address: str = ""


class NodeStatus(Struct, frozen=True, kw_only=True):
    addresses: tuple[NodeAddress, ...] = ()


class Node(Object, frozen=True, kw_only=True):
    """v1 Node."""

    status: NodeStatus = NodeStatus()

    def addresses(self) -> list[str]:
        wanted = ("InternalIP", "ExternalIP")
        return [entry.address for entry in self.status.addresses if entry.type in wanted]


class PodSpec(Struct, frozen=True, kw_only=True):
    node_name: str = ""
    host_network: bool = False
    service_account_name: str = ""


class PodIP(Struct, frozen=True, kw_only=True):
    ip: str = ""


class PodStatus(Struct, frozen=True, kw_only=True):
    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] = msgspec.field(default=(), name="podIPs")


class Pod(Object, frozen=True, kw_only=True):
    """v1 Pod."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    def addresses(self) -> list[str]:
        every = [self.status.pod_ip, *(entry.ip for entry in self.status.pod_ips)]
        return list(dict.fromkeys(filter(None, every)))

    @property
    def finished(self) -> bool:
        """Whether the Pod has terminated, so its address may belong to another Pod."""
        return self.status.phase in ("Succeeded", "Failed")


class Controlled(Object, frozen=True, kw_only=True):
    """Base of objects of which only the controller matters; spec and status are not read."""

    @property
    def controller(self) -> OwnerReference | None:
        """Owner that controls the object, or None."""
        return controller_of(self.metadata)


class ReplicaSet(Controlled, frozen=True, kw_only=True):
    """apps/v1 ReplicaSet."""


class Job(Controlled, frozen=True, kw_only=True):
    """batch/v1 Job."""


class CiliumCIDRGroupSpec(Struct, frozen=True, kw_only=True):
    external_cidrs: tuple[str, ...] = msgspec.field(default=(), name="externalCIDRs")


class CiliumCIDRGroup(Object, frozen=True, kw_only=True):
    """cilium.io/v2 CiliumCIDRGroup: named group of networks outside of the cluster."""

    spec: CiliumCIDRGroupSpec = CiliumCIDRGroupSpec()

    def check(self) -> None:
        for text in self.spec.external_cidrs:
            network(text)


class ServicePort(Struct, frozen=True, kw_only=True):
    name: str = ""
    port: Port
    target_port: int | str | None = None
    protocol: str = "TCP"
    node_port: Port = 0


class ServiceSpec(Struct, frozen=True, kw_only=True):
    type: str = "ClusterIP"
    selector: Labels = msgspec.field(default_factory=dict[str, str])
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")
    external_ips: tuple[str, ...] = msgspec.field(default=(), name="externalIPs")


class LoadBalancerIngress(Struct, frozen=True, kw_only=True):
    ip: str = ""
    hostname: Annotated[str, msgspec.Meta(max_length=253)] = ""


class LoadBalancerStatus(Struct, frozen=True, kw_only=True):
    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(Struct, frozen=True, kw_only=True):
    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Service(Object, frozen=True, kw_only=True):
    """v1 Service."""

    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()

    def addresses(self) -> list[str]:
        spec = self.spec
        balanced = [entry.ip for entry in self.status.load_balancer.ingress]
        every = [spec.cluster_ip, *spec.cluster_ips, *spec.external_ips, *balanced]
        return [text for text in dict.fromkeys(every) if text and text != "None"]

    def hostnames(self) -> list[str]:
        """DNS names of the load balancer, lower case and without a final dot."""
        every = (entry.hostname for entry in self.status.load_balancer.ingress)
        return [text.lower().removesuffix(".") for text in every if text]


class EndpointConditions(Struct, frozen=True, kw_only=True):
    """endpoints[].conditions with the defaults of discovery/v1 for missing values."""

    ready: bool = True
    serving: bool = True
    terminating: bool = False


class ObjectReference(Struct, frozen=True, kw_only=True):
    kind: str = ""
    namespace: str = ""
    name: str = ""


class SliceEndpoint(Struct, frozen=True, kw_only=True):
    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    target_ref: ObjectReference = ObjectReference()
    node_name: str = ""


class EndpointPort(Struct, frozen=True, kw_only=True):
    name: str = ""
    port: Port = 0
    protocol: str = "TCP"


class EndpointSlice(Object, frozen=True, kw_only=True):
    """discovery.k8s.io/v1 EndpointSlice."""

    address_type: str = "IPv4"
    endpoints: tuple[SliceEndpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()

    @property
    def service(self) -> str:
        """Name of the Service that the slice belongs to, or ""."""
        return self.metadata.labels.get("kubernetes.io/service-name", "")

    def addresses(self) -> list[str]:
        if self.address_type not in ("IPv4", "IPv6"):
            return []
        return [address for endpoint in self.endpoints for address in endpoint.addresses]


def controller_of(metadata: ObjectMeta) -> OwnerReference | None:
    """The controlling owner of an object, else its first owner, else None."""
    owners = [owner for owner in metadata.owner_references if owner.controller]
    return next(iter(owners or metadata.owner_references), None)
