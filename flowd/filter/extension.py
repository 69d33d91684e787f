"""What `Flow.extensions` of a message from a flowd says of route and backend."""

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from flowd.model.route import BackendRef, RouteRef
from flowd.wire.flow.flow_pb2 import Flow


def struct_of(flow: Flow) -> dict[str, str]:
    """The texts of the flow's extension; none for extensions of other servers."""
    struct = Struct()
    try:
        if not flow.extensions.Unpack(struct):
            return {}
    except DecodeError:
        return {}
    return {key: value.string_value for key, value in struct.fields.items()}


def route_of(held: dict[str, str]) -> RouteRef:
    """The route that it names, as far as it is named."""
    gateway_namespace, _, gateway = held.get("gateway", "").partition("/")
    kind, _, rest = held.get("route", "").partition("/")
    namespace, _, name = rest.partition("/")
    listener = held.get("listener", "")
    return RouteRef(gateway_namespace, gateway, listener, kind, namespace, name)


def backend_of(held: dict[str, str]) -> BackendRef:
    """The backend that it names."""
    name, _, port = held.get("backend", "").rpartition(":")
    namespace, _, name = name.partition("/")
    number = int(port) if port.isascii() and port.isdecimal() and len(port) < 6 else 0
    return BackendRef("Service", namespace, name, number)
