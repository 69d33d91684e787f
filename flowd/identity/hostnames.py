"""Gateways and Services whose load balancer has a name instead of an address."""

from collections.abc import Mapping
from dataclasses import replace

from flowd.identity.allocator import Key
from flowd.identity.claims import cilium_labels
from flowd.kubernetes.objects.proxies import gateway_of
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.directory import Directory
from flowd.model.endpoint import Endpoint, EndpointKind


class Hostnames:
    """Endpoints by the DNS names that statuses tell; a Service comes before a Gateway.

    Attributes:
        by_name: endpoint index by name, lower case and without a final dot.
    """

    def __init__(self, cluster_name: str) -> None:
        self._cluster_name = cluster_name
        self._objects = Objects()
        self._held: dict[str, tuple[Key, Endpoint]] = {}
        self.by_name: Mapping[str, int] = {}

    def update(self, objects: Objects) -> tuple[list[Key], list[Key]]:
        """Read the objects; the keys that come and those that go."""
        before, self._objects = self._objects, objects
        if before.gateways is objects.gateways and before.services is objects.services:
            return [], []
        gone, self._held = [key for key, _ in self._held.values()], {}
        for (namespace, name), gateway in sorted(objects.gateways.items(), reverse=True):
            for host in gateway.hostnames():
                told = self._endpoint(namespace, name, {}, gateway=f"{namespace}/{name}")
                self._held[host] = (self._cluster_name, namespace, "Gateway", name), told
        for (namespace, name), service in sorted(objects.services.items(), reverse=True):
            for host in service.hostnames():
                told = self._endpoint(
                    namespace,
                    name,
                    service.spec.selector,
                    service=name,
                    gateway=gateway_of(service),
                )
                self._held[host] = (self._cluster_name, namespace, "Service", name), told
        return [key for key, _ in self._held.values()], gone

    def number(self, numbers: Mapping[Key, int], directory: Directory) -> None:
        """Make the endpoints, now that every key has its number."""
        self.by_name = {
            host: directory.endpoints.index(replace(endpoint, identity=numbers[key]))
            for host, (key, endpoint) in self._held.items()
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
