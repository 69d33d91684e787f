"""Pod, namespace and cluster of an endpoint in Hubble's API, for filters and for the encoder."""

from flowd.model.directory import Directory
from flowd.model.endpoint import Endpoint, EndpointKind

_NAMESPACED = {EndpointKind.POD, EndpointKind.SERVICE}
_IN_CLUSTER = _NAMESPACED | {EndpointKind.NODE, EndpointKind.HOST}


def pod_name(endpoint: Endpoint) -> str:
    """The pod's name; "" for other kinds."""
    return endpoint.name if endpoint.kind is EndpointKind.POD else ""


def pod_namespace(endpoint: Endpoint) -> str:
    """The namespace of a pod or Service; "" for other kinds."""
    return endpoint.namespace if endpoint.kind in _NAMESPACED else ""


def cluster_name(endpoint: Endpoint, directory: Directory) -> str:
    """The cluster of a pod, Service or node; "" for the world and the unknown."""
    return directory.cluster_name if endpoint.kind in _IN_CLUSTER else ""


def utf8(text: str) -> str:
    """Valid UTF-8 for protobuf: lone surrogates become `?`."""
    return text if text.isascii() else text.encode(errors="replace").decode()
