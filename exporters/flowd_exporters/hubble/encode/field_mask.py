"""Field masks of GetFlowsRequest: which parts of flow.Flow a client wants."""

from collections.abc import Iterable
from typing import Any, TypeAlias

from google.protobuf.message import Message

from flowd.wire.flow.flow_pb2 import Flow

Tree: TypeAlias = "dict[str, Tree]"
"""Names that are kept, each with those kept inside it; an empty dict keeps all of it."""

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
"""What the hubble CLI asks for when it prints for people."""

_MISSED_BY_CLI = frozenset(
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
    """A path that is not one of flow.Flow."""


def parse_mask(paths: Iterable[str]) -> Tree:
    """The tree of a mask; an empty one keeps everything.

    To exactly the CLI's default mask are added the fields that it would print if it had them.

    Raises:
        MaskError: a path does not exist, or goes on inside a repeated field.
    """
    wanted = frozenset(paths)
    if wanted == CLI_DEFAULT:
        wanted |= _MISSED_BY_CLI
    tree: Tree = {}
    for path in sorted(wanted):
        _add(tree, path)
    return tree


def _add(tree: Tree, path: str) -> None:
    descriptor = Flow.DESCRIPTOR
    node = tree
    fresh = True
    names = path.split(".")
    for name in names:
        field = descriptor.fields_by_name.get(name) if descriptor else None
        if field is None:
            raise MaskError(f"field mask: {path!r} is not a path of flow.Flow")
        if not fresh and not node:
            return  # the whole of it is wanted already
        fresh = name not in node
        node = node.setdefault(name, {})
        descriptor = None if field.is_repeated else field.message_type
    node.clear()


def apply_mask(tree: Tree, message: Message) -> None:
    """Clear what the tree does not keep."""
    if not tree:
        return
    for field, value in message.ListFields():
        inner = tree.get(field.name)
        if inner is None:
            message.ClearField(field.name)
        elif inner:
            held: Any = value
            apply_mask(inner, held)
