"""Endpoints of Gateways and Services whose load balancer has a DNS name."""

from collections.abc import Mapping
from dataclasses import replace

from flowd.identity.allocator import IdentityKey
from flowd.identity.claims import cilium_labels
from flowd.kubernetes.objects.proxies import gateway_of
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.directory import Directory
from flowd.model.endpoint import Endpoint, EndpointKind


class Hostnames:
    """Endpoints by the DNS names in statuses; a Service has precedence over a Gateway.

    Attributes:
        by_name: endpoint index by name, lower case and without a final dot.
    """

    def __init__(self, cluster_name: str) -> None:
        self._cluster_name = cluster_name
        self._objects = Objects()
        self._by_host: dict[str, tuple[IdentityKey, Endpoint]] = {}
        self.by_name: Mapping[str, int] = {}

    def update(self, objects: Objects) -> tuple[list[IdentityKey], list[IdentityKey]]:
        """Apply a snapshot; return the identity keys that were added and removed."""
        before, self._objects = self._objects, objects
        if before.gateways is objects.gateways and before.services is objects.services:
            return [], []
        removed, self._by_host = [key for key, _ in self._by_host.values()], {}
        for (namespace, name), gateway in sorted(objects.gateways.items(), reverse=True):
            for host in gateway.hostnames():
                endpoint = self._endpoint(namespace, name, {}, gateway=f"{namespace}/{name}")
                self._by_host[host] = (self._cluster_name, namespace, "Gateway", name), endpoint
        for (namespace, name), service in sorted(objects.services.items(), reverse=True):
            for host in service.hostnames():
                endpoint = self._endpoint(
                    namespace,
                    name,
                    service.spec.selector,
                    service=name,
                    gateway=gateway_of(service),
                )
                self._by_host[host] = (self._cluster_name, namespace, "Service", name), endpoint
        return [key for key, _ in self._by_host.values()], removed

    def assign(self, numbers: Mapping[IdentityKey, int], directory: Directory) -> None:
        """Build the endpoints with the allocated identities."""
        self.by_name = {
            host: directory.endpoints.index(replace(endpoint, identity=numbers[key]))
            for host, (key, endpoint) in self._by_host.items()
        }

    def _endpoint(
        self,
        namespace: str,
        name: str,
        labels: dict[str, str],
        *,
        service: str = "",
        gateway: str = "",
    ) -> Endpoint:
        return Endpoint(
            EndpointKind.SERVICE,
            0,
            namespace,
            name,
            cilium_labels(self._cluster_name, namespace, labels),
            service_namespace=namespace if service else "",
            service=service,
            gateway=gateway,
        )
