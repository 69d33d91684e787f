"""NodePorts: from a node address and port to the Service behind it."""

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
    """Resolve the Service of a NodePort; the endpoint keeps the identity of the node.

    Every node answers on every NodePort, so the address alone identifies only the node.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._services: Mapping[tuple[str, str], Service] | None = None
        self._by_port: dict[int, tuple[str, str]] = {}
        self._ports: NDArray[np.uint32] = np.empty(0, np.uint32)
        self._known: dict[tuple[int, int], int] = {}

    def update(self, services: Mapping[tuple[str, str], Service]) -> None:
        """Apply a snapshot of Services; the first by name wins a port that two Services have."""
        if services is self._services:
            return
        self._services = services
        by_port = {
            _PROTOCOLS[port.protocol] << 16 | port.node_port: key
            for key, service in sorted(services.items(), reverse=True)
            for port in service.spec.ports
            if port.node_port and port.protocol in _PROTOCOLS
        }
        if by_port != self._by_port:
            self._by_port = by_port
            self._ports = np.array(sorted(by_port), np.uint32)
            self._known.clear()

    def resolve(
        self,
        endpoints: NDArray[np.uint32],
        ports: NDArray[np.uint16],
        protocols: NDArray[np.uint8],
    ) -> NDArray[np.uint32]:
        """Replace node endpoints on a NodePort by endpoints with the Service.

        Args:
            endpoints: endpoint indices, shape (N,).
            ports: ports, shape (N,).
            protocols: IP protocol numbers, shape (N,).

        Returns:
            Endpoint indices, shape (N,).
        """
        if not len(self._ports):
            return endpoints
        keys = protocols.astype(np.uint32) << 16 | ports
        hits = np.flatnonzero(np.isin(keys, self._ports))
        if not len(hits):
            return endpoints
        resolved = endpoints.copy()
        pairs = zip(endpoints[hits].tolist(), keys[hits].tolist(), strict=True)
        resolved[hits] = [self._endpoint(*pair) for pair in pairs]
        return resolved

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
