"""Cells of a printed flow: endpoints, identities, verdict, summary; all are printable."""

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from flowd.observe.options.flags import RESERVED
from flowd.observe.options.types import enum_name, policy_text, type_text, verdict_text
from flowd.observe.output.style import Style, clean
from flowd.wire.flow.flow_pb2 import (
    AuthType,
    Endpoint,
    Flow,
    LostEvent,
    LostEventSource,
    Service,
)
from flowd.wire.observer.observer_pb2 import GetFlowsResponse
from flowd.wire.relay.relay_pb2 import NodeState

_IDENTITIES = {number: name for name, number in RESERVED.items()}
_NAMES_WIDTH = 50


def hosts(flow: Flow, style: Style) -> tuple[str, str]:
    """Cells SOURCE and DESTINATION: `ns/pod:port`, `[address]:port`..."""
    if not flow.HasField("IP"):
        sides = (flow.ethernet.source, flow.ethernet.destination)
        source, destination = (_host(side, 0, style) if side else "" for side in sides)
        return source, destination
    source_port, destination_port = ports(flow)
    source, destination = flow.IP.source, flow.IP.destination
    if style.names:
        source = _named(flow.source, _service(flow, "source"), flow.source_names) or source
        names = flow.destination_names
        destination = _named(flow.destination, _service(flow, "destination"), names) or destination
    return _host(source, source_port, style), _host(destination, destination_port, style)


def ports(flow: Flow) -> tuple[int, int]:
    """Source and destination port of TCP, UDP and SCTP; 0 for none."""
    match flow.l4.WhichOneof("protocol"):
        case "TCP":
            return flow.l4.TCP.source_port, flow.l4.TCP.destination_port
        case "UDP":
            return flow.l4.UDP.source_port, flow.l4.UDP.destination_port
        case "SCTP":
            return flow.l4.SCTP.source_port, flow.l4.SCTP.destination_port
        case _:
            return 0, 0


def _service(flow: Flow, side: str) -> Service | None:
    name = f"{side}_service"
    return getattr(flow, name) if flow.HasField(name) else None


def _named(endpoint: Endpoint, service: Service | None, names: Sequence[str]) -> str:
    namespace = endpoint.namespace if service is None else service.namespace
    name = endpoint.pod_name or (service.name if service else "")
    if name:
        return f"{namespace}/{name}" if namespace else name
    return ",".join(names)


def _host(name: str, port: int, style: Style) -> str:
    host = clean(name)
    if port:
        host = f"{f'[{host}]' if ':' in name else host}:{style.paint.port(str(port))}"
    return style.paint.host(host)


def identity(endpoint: Endpoint, style: Style) -> str:
    """`(ID:40213)`, or the name of a reserved identity."""
    number = endpoint.identity
    text = f"({_IDENTITIES[number]})" if number in _IDENTITIES else f"(ID:{number})"
    return style.paint.identity(text)


def summary(flow: Flow, style: Style) -> str:
    """Cell SUMMARY: IP trace id, the server's summary, authentication type."""
    text = flow.Summary
    if flow.ip_trace_id.trace_id:
        text = f"IP Trace ID: {flow.ip_trace_id.trace_id}; {text}"
    if not flow.auth_type:
        return clean(text)
    kind = style.paint.authentication(enum_name(AuthType, flow.auth_type))
    return f"{clean(text)}; Auth: {kind}"


def node(response: GetFlowsResponse) -> str:
    """Name of the node that sent the response, or of the flow's node."""
    return clean(response.node_name or response.flow.node_name)


def lost_source(lost: LostEvent) -> str:
    """Name of a LostEvent's source: `HUBBLE_RING_BUFFER`."""
    return enum_name(LostEventSource, lost.source)


def lost_span(lost: LostEvent, style: Style) -> str:
    """` (first: ..., last: ...)` if both times are known, else ""."""
    if not (lost.HasField("first") and lost.HasField("last")):
        return ""
    return f" (first: {style.time(lost.first)}, last: {style.time(lost.last)})"


def lost_summary(lost: LostEvent, style: Style) -> str:
    """Cell SUMMARY of a lost event in table and dict."""
    return f"CPU({lost.cpu.value}) - {lost.num_events_lost}{lost_span(lost, style)}"


def state_name(state: int) -> str:
    """Name of a NodeState."""
    return enum_name(NodeState, state)


def joined(names: Sequence[str]) -> str:
    """Comma-separated names, cut after about 50 characters, but never before the first name."""
    shown, width = 0, 0
    for name in names:
        width += len(name) + (2 if shown else 0)
        if shown and width > _NAMES_WIDTH:
            break
        shown += 1
    rest = len(names) - shown
    return clean(", ".join(names[:shown])) + (f" (and {rest} more)" if rest else "")


def when(response: GetFlowsResponse) -> Timestamp | None:
    """Time of the flow, else of the response; None if both are missing."""
    flow = response.flow
    if response.HasField("flow") and flow.HasField("time"):
        return flow.time
    return response.time if response.HasField("time") else None


def verdict(flow: Flow, style: Style) -> str:
    """Cell VERDICT in its colour; with the policies if `style.policy_names`."""
    name = verdict_text(flow)
    text = name + (clean(policy_text(flow)) if style.policy_names else "")
    return style.paint.verdict(name, text)


def kind(flow: Flow) -> str:
    """Cell TYPE."""
    return clean(type_text(flow))
