"""From a gateway's pod and container port to Gateway and listener."""

from collections.abc import Iterable, Sequence

from flowd.gateway.dialect import Dialect
from flowd.gateway.listener import Listener
from flowd.kubernetes.core import Object, Service
from flowd.kubernetes.objects import Objects
from flowd.kubernetes.proxies import controller_of_proxy, gateway_of
from flowd.model.address import pack

PRIVILEGED = 1024


class DataPlane:
    """Addresses and ports of the proxies, from their Pods, Services and EndpointSlices.

    What belongs to which Gateway is told by labels and names (flowd.kubernetes.proxies).
    """

    def __init__(self, objects: Objects, dialect: Dialect) -> None:
        self._offset = dialect.container_port_offset
        self._gateways: dict[bytes, str] = {}
        self._controllers: dict[bytes, str] = {}
        self._ports: dict[tuple[str, int], int] = {}
        for service in objects.services.values():
            if gateway := gateway_of(service):
                self._claim(gateway, service.addresses())
                self._map_ports(gateway, service, objects)
        for part in objects.slices.values():
            self._label(part)
        for pod in objects.pods.values():
            if not pod.finished:
                self._label(pod)
                if controller := controller_of_proxy(pod):
                    self._controllers.update((pack(at), controller) for at in pod.addresses())

    def _label(self, item: Object) -> None:
        if gateway := gateway_of(item):
            self._claim(gateway, item.addresses())

    def _claim(self, gateway: str, addresses: Iterable[str]) -> None:
        for address in addresses:
            self._gateways[pack(address)] = gateway

    def _map_ports(self, gateway: str, service: Service, objects: Objects) -> None:
        named = {
            port.name: port.port
            for part in objects.slices.values()
            if part.metadata.namespace == service.metadata.namespace
            and part.service == service.metadata.name
            for port in part.ports
        }
        for port in service.spec.ports:
            target = port.target_port
            container = target if isinstance(target, int) else named.get(port.name, 0)
            self._ports[gateway, container or port.port] = port.port

    def gateway_at(self, address: bytes) -> str:
        """`namespace/name` of the Gateway whose proxy has an address (16 bytes), or ""."""
        return self._gateways.get(address, "")

    def controller_at(self, address: bytes) -> str:
        """The controller all of whose Gateways the proxy at an address (16 bytes) serves, or ""."""
        return self._controllers.get(address, "")

    def behind(self, listeners: Sequence[Listener], container_port: int) -> list[Listener]:
        """Those of one Gateway's listeners that the proxy serves on a port of its own.

        By the Gateway's Service where it is known; else the port itself, and then Envoy Gateway's
        shift of privileged ports.
        """
        if not listeners:
            return []
        port = self._ports.get((listeners[0].gateway_id, container_port), container_port)
        found = [listener for listener in listeners if listener.port == port]
        shifted = container_port - self._offset
        if not found and self._offset and 0 < shifted < PRIVILEGED:
            found = [listener for listener in listeners if listener.port == shifted]
        return found
