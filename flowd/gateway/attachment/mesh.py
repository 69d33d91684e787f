"""Mesh routes: routes whose parent is a Service (GAMMA, GEP-1426), matched at the client."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from flowd.gateway.attachment.parent_ref import Condition, ParentStatus, resolved_refs
from flowd.gateway.matching.rules import Route
from flowd.gateway.matching.virtual_host import Candidate, VirtualHost
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects.core import Service
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.address import pack

_STREAMS = ("TCPRoute", "TLSRoute", "UDPRoute")


@dataclass(frozen=True, slots=True)
class MeshPort:
    """A port of a Service to which routes are attached."""

    namespace: str
    name: str
    port: int


class Mesh:
    """Routes of Services, by Service port and namespace of the client.

    A consumer route (in another namespace than the Service) applies to clients in its own namespace
    only, and replaces the producer routes for these clients.
    """

    def __init__(self, objects: Objects) -> None:
        self._services = objects.services
        self._routes: dict[MeshPort, list[Route]] = defaultdict(list)
        self._hosts: dict[tuple[MeshPort, str], VirtualHost] = {}
        self._addresses: dict[bytes, Service] | None = None

    def attach(self, route: Route, ref: gw.ParentReference) -> ParentStatus:
        """Attach a route to the Service of a parentRef; return the status of the parentRef."""
        namespace = ref.namespace or route.namespace
        service = self._services.get((namespace, ref.name))
        reason, message = "Accepted", route.problem
        ports = [port.port for port in service.spec.ports] if service else []
        matching_ports = [port for port in ports if ref.port in (None, port)]
        if service is None:
            reason, message = "NoMatchingParent", f"Service {namespace}/{ref.name} is not there"
        elif not matching_ports:
            missing = f"has no port {ref.port}" if ref.port else "has no ports"
            reason, message = "NoMatchingParent", f"Service {namespace}/{ref.name} {missing}"
        elif not route.rules:
            reason, message = route.reason, route.problem or "no rules"
        if reason == "Accepted":
            for port in matching_ports:
                routes = self._routes[MeshPort(namespace, ref.name, port)]
                if route not in routes:
                    routes.append(route)
        accepted = Condition("Accepted", reason == "Accepted", reason, message)
        conditions = (accepted, resolved_refs(route))
        return ParentStatus(namespace, ref.name, ref.section_name, (), conditions, "Service")

    def target(self, host: str, port: int | None, namespace: str) -> MeshPort | None:
        """The Service port with routes that a client addresses, or None.

        Args:
            host: normalized DNS name or address.
            port: None stands for 80, else for the only port with routes.
            namespace: namespace of the client; resolves names of one label.
        """
        if not self._routes:
            return None
        service = self._service(host, namespace)
        if service is None:
            return None
        ports = [key for key in self._routes if (key.namespace, key.name) == service.key]
        chosen = [key for key in ports if key.port == (80 if port is None else port)]
        if not chosen and port is None and len(ports) == 1:
            chosen = ports
        return chosen[0] if chosen else None

    def _service(self, host: str, namespace: str) -> Service | None:
        labels = host.split(".")
        if host.startswith("[") or ":" in host or labels[-1].isdigit():
            return self._at(host.strip("[]"))
        if len(labels) > 2 and labels[2] != "svc":
            return None
        service_namespace = labels[1] if len(labels) > 1 else namespace
        return self._services.get((service_namespace, labels[0]))

    def _at(self, address: str) -> Service | None:
        if self._addresses is None:
            keys = {(key.namespace, key.name) for key in self._routes}
            services = (self._services[key] for key in sorted(keys))
            self._addresses = {
                pack(text): service for service in services for text in service.addresses()
            }
        try:
            return self._addresses.get(pack(address))
        except ValueError:
            return None

    def routes(self, port: MeshPort, namespace: str) -> list[Route]:
        """Routes that apply to clients of a namespace ("" when unknown), oldest first."""
        attached = self._routes.get(port, [])
        consumer = [route for route in attached if route.namespace == namespace != port.namespace]
        chosen = consumer or [route for route in attached if route.namespace == port.namespace]
        return sorted(chosen, key=lambda route: route.age)

    def find(
        self,
        port: MeshPort,
        namespace: str,
        path: str,
        query: str,
        method: str,
        headers: Mapping[str, str],
    ) -> Candidate | None:
        """The match that accepts the request of a client; arguments as VirtualHost.find."""
        routes = self.routes(port, namespace)
        key = port, namespace if any(entry.namespace != port.namespace for entry in routes) else ""
        if key not in self._hosts:
            routes = [entry for entry in routes if entry.kind not in _STREAMS]
            self._hosts[key] = VirtualHost.build(port.name, routes)
        return self._hosts[key].find(path, query, method, headers)

    def stream(self, port: MeshPort, namespace: str) -> Candidate | None:
        """The oldest TCPRoute, TLSRoute or UDPRoute for a client's connection, or None."""
        for route in self.routes(port, namespace):
            if route.kind in _STREAMS:
                return Candidate(route, route.rules[0], route.rules[0].matches[0])
        return None
