"""Field masks of GetFlowsRequest: parse their paths, and clear unwanted fields of flow.Flow."""

from collections.abc import Iterable
from typing import Any, TypeAlias

from google.protobuf.message import Message

from flowd.wire.flow.flow_pb2 import Flow

MaskTree: TypeAlias = "dict[str, MaskTree]"
"""Kept field names, each with the tree inside it; an empty tree keeps all fields."""

CLI_DEFAULT = frozenset(
    [
        "time",
        "verdict",
        "ethernet",
        "IP",
        "l4",
        "source.identity",
        "source.namespace",
        "source.pod_name",
        "destination.identity",
        "destination.namespace",
        "destination.pod_name",
        "Type",
        "node_name",
        "l7",
        "event_type",
        "source_service",
        "destination_service",
        "is_reply",
        "Summary",
        "ip_trace_id",
    ]
)
"""The hubble CLI's default mask for its text formats."""

_ADDED_TO_CLI_DEFAULT = frozenset(
    [
        "source_names",
        "destination_names",
        "traffic_direction",
        "policy_match_type",
        "sock_xlate_point",
        "egress_allowed_by",
        "ingress_allowed_by",
        "egress_denied_by",
        "ingress_denied_by",
    ]
)


class MaskError(ValueError):
    """A path that does not exist in flow.Flow."""


def parse_mask(paths: Iterable[str]) -> MaskTree:
    """The tree of a mask; an empty mask keeps everything.

    The CLI's default mask, and no other, gets the fields that the CLI prints but does not request.

    Raises:
        MaskError: a path does not exist, or goes on inside a repeated field.
    """
    wanted = frozenset(paths)
    if wanted == CLI_DEFAULT:
        wanted |= _ADDED_TO_CLI_DEFAULT
    tree: MaskTree = {}
    for path in sorted(wanted):
        _add(tree, path)
    return tree


def _add(tree: MaskTree, path: str) -> None:
    descriptor = Flow.DESCRIPTOR
    node = tree
    is_new = True
    names = path.split(".")
    for name in names:
        field = descriptor.fields_by_name.get(name) if descriptor else None
        if field is None:
            raise MaskError(f"field mask: {path!r} is not a path of flow.Flow")
        if not is_new and not node:
            return  # the mask keeps the whole field already
        is_new = name not in node
        node = node.setdefault(name, {})
        descriptor = None if field.is_repeated else field.message_type
    node.clear()


def apply_mask(tree: MaskTree, message: Message) -> None:
    """Clear the fields of a message that the tree does not keep."""
    if not tree:
        return
    for field, value in message.ListFields():
        inner = tree.get(field.name)
        if inner is None:
            message.ClearField(field.name)
        elif inner:
            submessage: Any = value
            apply_mask(inner, submessage)
