"""Format nodes, namespaces and peer changes as tables, lines or JSON."""

import json
from collections.abc import Iterable

from google.protobuf.message import Message

from flowd.observe.options.times import format_duration
from flowd.observe.options.types import enum_name
from flowd.observe.output.fields import state_name
from flowd.observe.output.printers import json_line
from flowd.observe.output.style import clean
from flowd.observe.output.table import columns
from flowd.wire.json import flow_to_json
from flowd.wire.observer.observer_pb2 import Namespace, Node
from flowd.wire.peer.peer_pb2 import ChangeNotification, ChangeNotificationType

_MISSING = "N/A"


def nodes_text(nodes: Iterable[Node], form: str) -> str:
    """Text of nodes by name; `form` is table, wide or json."""
    ordered = sorted(nodes, key=lambda node: node.name)
    if form == "json":
        return _array(ordered)
    header = ["NAME", "STATUS", "AGE", "FLOWS/S", "CURRENT/MAX-FLOWS"]
    rows = [[*header, "VERSION", "ADDRESS", "TLS"], *map(_node, ordered)]
    return columns(rows if form == "wide" else [row[: len(header)] for row in rows])


def namespaces_text(namespaces: Iterable[Namespace], form: str) -> str:
    """Text of namespaces by cluster and name; `form` is table, wide (with cluster) or json."""
    ordered = sorted(namespaces, key=lambda each: (each.cluster, each.namespace))
    if form == "json":
        return _array(ordered)
    rows = [["NAMESPACE", "CLUSTER"]]
    rows += [[clean(each.namespace), clean(each.cluster)] for each in ordered]
    return columns(rows if form == "wide" else [row[:1] for row in rows])


def peer_text(change: ChangeNotification, form: str) -> str:
    """One line of a peer change; `form` is compact or json."""
    if form == "json":
        return json_line(change)
    kind = enum_name(ChangeNotificationType, change.type)
    name = change.tls.server_name
    tls = f" (TLS.ServerName: {clean(name)})" if name else ""
    return f"{kind:<12} {clean(change.address)} {clean(change.name)}{tls}\n"


def _node(node: Node) -> list[str]:
    state = state_name(node.state).removeprefix("NODE_").capitalize()
    seconds = node.uptime_ns / 1e9
    tls = _MISSING
    if node.HasField("tls"):
        tls = "Enabled" if node.tls.enabled else "Disabled"
    occupancy = f"{node.num_flows}/{node.max_flows}"
    return [
        clean(node.name),
        "Unknown" if state.startswith("Unknown") else state,
        format_duration(node.uptime_ns) if seconds else _MISSING,
        f"{node.seen_flows / seconds:.2f}" if seconds else _MISSING,
        f"{occupancy} ({100 * node.num_flows / node.max_flows:6.2f}%)"
        if node.max_flows
        else _MISSING,
        clean(node.version) or _MISSING,
        clean(node.address) or _MISSING,
        tls,
    ]


def _array(messages: Iterable[Message]) -> str:
    return json.dumps([json.loads(flow_to_json(each)) for each in messages], indent=2) + "\n"
