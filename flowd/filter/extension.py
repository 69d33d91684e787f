"""Read route and backend from `Flow.extensions` of messages that flowd encoded."""

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from flowd.model.route import BackendRef, RouteRef
from flowd.wire.flow.flow_pb2 import Flow


def extension_fields(flow: Flow) -> dict[str, str]:
    """The string fields of the flow's Struct extension; empty for other extensions."""
    struct = Struct()
    try:
        if not flow.extensions.Unpack(struct):
            return {}
    except DecodeError:
        return {}
    return {key: value.string_value for key, value in struct.fields.items()}


def route_from_extension(extension: dict[str, str]) -> RouteRef:
    """The route named by an extension; missing names are ""."""
    gateway_namespace, _, gateway = extension.get("gateway", "").partition("/")
    kind, _, rest = extension.get("route", "").partition("/")
    namespace, _, name = rest.partition("/")
    listener = extension.get("listener", "")
    return RouteRef(gateway_namespace, gateway, listener, kind, namespace, name)


def backend_from_extension(extension: dict[str, str]) -> BackendRef:
    """The backend named by an extension; a missing or malformed port is 0."""
    name, _, port = extension.get("backend", "").rpartition(":")
    namespace, _, name = name.partition("/")
    number = int(port) if port.isascii() and port.isdecimal() and len(port) < 6 else 0
    return BackendRef("Service", namespace, name, number)
