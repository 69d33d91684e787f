"""Which Service is behind a port of the nodes."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flowd.kubernetes.objects.core import Service
from flowd.model.directory import Directory
from flowd.model.endpoint import EndpointKind
from flowd.model.enums import Protocol

_PROTOCOLS = {entry.name: entry.value for entry in (Protocol.TCP, Protocol.UDP, Protocol.SCTP)}
_NODES = (EndpointKind.HOST, EndpointKind.NODE)


class NodePorts:
    """Tells a node as the Service whose NodePort is asked for, still under the node's identity.

    Every node answers on every NodePort, so what an address alone tells is the node.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._services: Mapping[tuple[str, str], Service] | None = None
        self._by_port: dict[int, tuple[str, str]] = {}
        self._ports: NDArray[np.uint32] = np.empty(0, np.uint32)
        self._known: dict[tuple[int, int], int] = {}

    def update(self, services: Mapping[tuple[str, str], Service]) -> None:
        """Make these Services the ones in force; of two with one port the first by name has it."""
        if services is self._services:
            return
        self._services = services
        held = {
            _PROTOCOLS[port.protocol] << 16 | port.node_port: key
            for key, service in sorted(services.items(), reverse=True)
            for port in service.spec.ports
            if port.node_port and port.protocol in _PROTOCOLS
        }
        if held != self._by_port:
            self._by_port = held
            self._ports = np.array(sorted(held), np.uint32)
            self._known.clear()

    def tell(
        self,
        endpoints: NDArray[np.uint32],
        ports: NDArray[np.uint16],
        protocols: NDArray[np.uint8],
    ) -> NDArray[np.uint32]:
        """Endpoint indices, shape (N,), with the Service where a node is asked on its NodePort."""
        if not len(self._ports):
            return endpoints
        asked = protocols.astype(np.uint32) << 16 | ports
        hits = np.flatnonzero(np.isin(asked, self._ports))
        if not len(hits):
            return endpoints
        told = endpoints.copy()
        pairs = zip(endpoints[hits].tolist(), asked[hits].tolist(), strict=True)
        told[hits] = [self._endpoint(*pair) for pair in pairs]
        return told

    def _endpoint(self, index: int, port: int) -> int:
        known = self._known.get((index, port))
        if known is None:
            endpoint = self._directory.endpoints[index]
            if endpoint.kind not in _NODES:
                return index
            namespace, name = self._by_port[port]
            fronted = replace(endpoint, service_namespace=namespace, service=name)
            known = self._known[index, port] = self._directory.endpoints.index(fronted)
        return known
