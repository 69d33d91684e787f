"""Convert Kubernetes objects to the view of the cluster that Hubble's API serves."""

from collections.abc import Mapping

from flowd.kubernetes.objects.snapshot import Objects
from flowd_exporters.hubble.cluster import ClusterView

_ROUTES = {
    "HTTPRoute": "http_routes",
    "GRPCRoute": "grpc_routes",
    "TLSRoute": "tls_routes",
    "TCPRoute": "tcp_routes",
    "UDPRoute": "udp_routes",
    "Ingress": "ingresses",
}


def cluster_view(objects: Objects, node_name: str, addresses: Mapping[bytes, int]) -> ClusterView:
    """Nodes, node labels, addresses and routes of a snapshot of objects.

    Args:
        node_name: the node whose labels flows carry.
        addresses: endpoint index by address (16 bytes), as the identity table has them.
    """
    mine = objects.nodes.get(("", node_name))
    labels = mine.metadata.labels if mine else {}
    return ClusterView(
        nodes={
            node.metadata.name: node.addresses()[0]
            for node in objects.nodes.values()
            if node.addresses()
        },
        node_labels=tuple(f"{key}={value}" for key, value in sorted(labels.items())),
        addresses=addresses,
        routes={
            f"{kind}/{namespace}/{name}": route
            for kind, attribute in _ROUTES.items()
            for (namespace, name), route in getattr(objects, attribute).items()
        },
    )
