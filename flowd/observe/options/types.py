"""Hubble event types: parse `--type`, and format the TYPE and VERDICT columns."""

from typing import Any, Protocol

from flowd.wire.flow.flow_pb2 import (
    DebugCapturePoint,
    DropReason,
    EventTypeFilter,
    Flow,
    L7FlowType,
    TrafficDirection,
    Verdict,
)
from flowd.wire.names import (
    AGENT_EVENTS,
    DROP_REASONS,
    EVENT_TYPES,
    POLICY_MATCHES,
    SOCKET_POINTS,
    TRACE_POINTS,
)

_DROP, _TRACE, _POLICY, _AGENT = 1, 4, 5, 130
_SUB_TYPES: dict[int, dict[str, int]] = {
    _TRACE: {name: number for number, name in enumerate(TRACE_POINTS)},
    _AGENT: {name: number for number, name in enumerate(AGENT_EVENTS)},
    _DROP: dict(DropReason.items()),
}


class Enum(Protocol):
    """A protobuf enum."""

    def Name(self, number: Any) -> str: ...


def event_type_filter(text: str) -> EventTypeFilter:
    """Parse `TYPE[:SUBTYPE]`, each a name or a number.

    Raises:
        ValueError: a name is unknown or a number is above 255.
    """
    name, colon, sub = text.partition(":")
    kind = EVENT_TYPES.get(name, _number(name))
    if kind < 0:
        raise ValueError(f"{name!r} is not one of {', '.join(EVENT_TYPES)}, nor a number to 255")
    if not colon:
        return EventTypeFilter(type=kind)
    known = _SUB_TYPES.get(kind, {})
    sub_type = known.get(sub, known.get(sub.upper(), _number(sub)))
    if sub_type < 0:
        names = ", ".join(known) if kind != _DROP else "a drop reason"
        raise ValueError(f"{sub!r} is not a sub-type of {name}: {names or 'numbers to 255'}")
    return EventTypeFilter(type=kind, match_sub_type=True, sub_type=sub_type)


def _number(text: str) -> int:
    number = int(text) if text.isdecimal() and len(text) <= 3 else -1
    return number if number <= 255 else -1


def type_text(flow: Flow) -> str:
    """Text of the TYPE column, not yet printable."""
    if flow.HasField("l7"):
        return _l7_text(flow)
    kind, sub = flow.event_type.type, flow.event_type.sub_type
    match kind:
        case 4:
            return TRACE_POINTS[sub] if 0 <= sub < len(TRACE_POINTS) else str(sub)
        case 1:
            return DROP_REASONS.get(sub, f"{sub}, 0")
        case 5:
            match_type = flow.policy_match_type
            known = match_type < len(POLICY_MATCHES)
            matched = POLICY_MATCHES[match_type] if known else str(match_type)
            direction = enum_name(TrafficDirection, flow.traffic_direction)
            return f"policy-verdict:{matched} {direction}"
        case 7:
            point = flow.sock_xlate_point
            return SOCKET_POINTS[point] if point < len(SOCKET_POINTS) else str(point)
        case 3:
            return enum_name(DebugCapturePoint, flow.debug_capture_point)
        case _:
            return "UNKNOWN"


def _l7_text(flow: Flow) -> str:
    kind = enum_name(L7FlowType, flow.l7.type).lower()
    match flow.l7.WhichOneof("record"):
        case "dns":
            source = flow.l7.dns.observation_source
            return f"dns-{kind} {source}".rstrip()
        case None:
            return f"l7-{kind}"
        case record:
            return f"{record}-{kind}"


def verdict_text(flow: Flow) -> str:
    """Text of the VERDICT column: the verdict, or ALLOWED, DENIED, AUDITED for a policy verdict."""
    name = enum_name(Verdict, flow.verdict)
    if flow.event_type.type != _POLICY:
        return name
    if name in ("FORWARDED", "REDIRECTED"):
        return "ALLOWED"
    if name in ("DROPPED", "ERROR"):
        return "DENIED"
    return "AUDITED" if name == "AUDIT" else name


def policy_text(flow: Flow) -> str:
    """` BY name (Kind), ...`: the policies of the verdict in the flow's direction; "" for none."""
    match verdict_text(flow), flow.traffic_direction:
        case "ALLOWED", TrafficDirection.EGRESS:
            policies = flow.egress_allowed_by
        case "ALLOWED", TrafficDirection.INGRESS:
            policies = flow.ingress_allowed_by
        case "DENIED", TrafficDirection.EGRESS:
            policies = flow.egress_denied_by
        case "DENIED", TrafficDirection.INGRESS:
            policies = flow.ingress_denied_by
        case _:
            policies = ()
    return " BY " + ", ".join(f"{p.name} ({p.kind})" for p in policies) if policies else ""


def enum_name(enum: Enum, number: int) -> str:
    """Name of an enum's value, or the number if it has none."""
    try:
        return enum.Name(number)
    except ValueError:
        return str(number)
