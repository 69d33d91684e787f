"""Decode the Gateway API route of a flow from `Flow.extensions`, as flowd's server writes it."""

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from flowd.observe.output.style import clean
from flowd.wire.flow.flow_pb2 import Flow

KEYS = (
    "gateway",
    "listener",
    "route",
    "rule",
    "backend",
    "attribution",
    "response_flags",
    "reason",
)


def route_pairs(flow: Flow) -> list[tuple[str, str]]:
    """Pairs of key and printable text, in the order of KEYS; [] for other servers' extensions."""
    extensions = Struct()
    try:
        if not flow.HasField("extensions") or not flow.extensions.Unpack(extensions):
            return []
    except DecodeError:
        return []
    pairs: list[tuple[str, str]] = []
    for key in KEYS:
        value = extensions.fields.get(key)
        if value is None:
            continue
        if value.HasField("number_value"):
            pairs.append((key, f"{value.number_value:g}"))
        else:
            texts = [each.string_value for each in value.list_value.values] or [value.string_value]
            text = clean(",".join(filter(None, texts)))
            pairs += [(key, text)] if text else []
    return pairs
