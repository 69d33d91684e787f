"""Filter flags of `flowd observe`, and the FlowFilter field that each value is added to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flowd.model.endpoint import ReservedIdentity
from flowd.observe.options.types import event_type_filter
from flowd.wire.flow.flow_pb2 import (
    DropReason,
    FlowFilter,
    HTTPHeader,
    IPVersion,
    NetworkInterface,
    TCPFlags,
    TrafficDirection,
    Verdict,
    Workload,
)
from flowd.wire.names import EVENT_TYPES

AddValue = Callable[[FlowFilter, str, str], None]
"""Adds a value to a filter; the side is `source`, `destination` or "".

Raises ValueError, with a message for the user, if the value cannot be used.
"""

RESERVED = {
    identity.name.lower().replace("_", "-"): identity.value for identity in ReservedIdentity
}
"""Cilium's reserved security identities: number by name."""

DIRECTIONS = {"ingress": TrafficDirection.INGRESS, "egress": TrafficDirection.EGRESS}
IP_VERSIONS = {"none": "IP_NOT_USED", "v4": "IPv4", "v6": "IPv6"}


@dataclass(frozen=True, slots=True)
class FilterFlag:
    """One flag, or three when `sided`: `--x`, `--from-x` and `--to-x`.

    Attributes:
        name: without dashes and without `from-` or `to-`.
        add_value: adds a value to a filter; None for flags that `filters._Scope` combines.
        of_endpoint: the flag filters by endpoint, not by event; chooses the heading in the help.
        constant: value of a flag that takes no argument.
        choices: values that completion offers; if `strict`, the only ones that are accepted.
    """

    name: str
    help: str
    add_value: AddValue | None
    sided: bool = False
    short: str = ""
    metavar: str = "TEXT"
    of_endpoint: bool = False
    constant: str = ""
    choices: tuple[str, ...] = ()
    strict: bool = False


def _text(field: str, *, sided: bool = False) -> AddValue:
    def add_value(filters: FlowFilter, side: str, value: str) -> None:
        values: Any = getattr(filters, f"{side}_{field}" if sided else field)
        values.append(value)

    return add_value


def _identity(filters: FlowFilter, side: str, value: str) -> None:
    number = RESERVED.get(value.lower(), int(value) if value.isdecimal() else -1)
    if not 0 <= number < 1 << 32:
        raise ValueError(f"{value!r} is neither a number nor one of {', '.join(RESERVED)}")
    getattr(filters, f"{side}_identity").append(number)


def _workload(filters: FlowFilter, side: str, value: str) -> None:
    kind, slash, name = value.partition("/")
    workload = Workload(kind=kind, name=name) if slash else Workload(name=value)
    getattr(filters, f"{side}_workload").append(workload)


def _enum(field: str, enum: Any, names: dict[str, str] | None = None) -> AddValue:
    def add_value(filters: FlowFilter, side: str, value: str) -> None:
        known: list[str] = list(names or enum.keys())
        if value not in known:
            raise ValueError(f"{value!r} is not one of {', '.join(known)}")
        getattr(filters, field).append(enum.Value(names[value] if names else value))

    return add_value


def _tcp_flags(filters: FlowFilter, side: str, value: str) -> None:
    flags = TCPFlags()
    for name in value.upper().split(","):
        if name not in TCPFlags.DESCRIPTOR.fields_by_name:
            raise ValueError(f"{name!r} is no TCP flag: write `syn,ack`")
        setattr(flags, name, True)
    filters.tcp_flags.append(flags)


def _direction(filters: FlowFilter, side: str, value: str) -> None:
    try:
        filters.traffic_direction.append(DIRECTIONS[value.lower()])
    except KeyError:
        raise ValueError(f"{value!r} is neither ingress nor egress") from None


def _header(filters: FlowFilter, side: str, value: str) -> None:
    key, colon, text = value.partition(":")
    if not colon:
        raise ValueError(f"{value!r} has no colon: write `name:value`")
    filters.http_header.append(HTTPHeader(key=key, value=text))


def _ip_trace_id(filters: FlowFilter, side: str, value: str) -> None:
    if not value.isdecimal() or not 0 < int(value) < 1 << 64:
        raise ValueError(f"{value!r} is no IP trace id: a number above 0")
    filters.ip_trace_id.append(int(value))


def _interface(filters: FlowFilter, side: str, value: str) -> None:
    filters.interface.append(NetworkInterface(name=value))


def _event_type(filters: FlowFilter, side: str, value: str) -> None:
    filters.event_type.append(event_type_filter(value))


def _cel(filters: FlowFilter, side: str, value: str) -> None:
    filters.experimental.cel_expression.append(value)


def _encrypted(filters: FlowFilter, side: str, value: str) -> None:
    filters.encrypted.append(value == "true")


PROTOCOLS = ("icmp", "icmpv4", "icmpv6", "tcp", "udp", "sctp", "vrrp", "igmp", "dns", "http")
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")


def _endpoint(name: str, help_: str, add_value: AddValue | None, **rest: Any) -> FilterFlag:
    return FilterFlag(name, help_, add_value, sided=True, of_endpoint=True, **rest)


def _names(*fields: tuple[str, str], metavar: str = "TEXT") -> list[FilterFlag]:
    return [
        FilterFlag(name, text, _text(name.replace("-", "_")), metavar=metavar)
        for name, text in fields
    ]


_ip_version = _enum("ip_version", IPVersion, IP_VERSIONS)

FLAGS: tuple[FilterFlag, ...] = (
    _endpoint("namespace", "Any flow of this namespace.", None, short="n", metavar="NAMESPACE"),
    _endpoint("all-namespaces", "Flows of pods in any namespace.", None, short="A", constant="/"),
    _endpoint("pod", "Pods by `[namespace/]prefix`; `/prefix` means any namespace.", None),
    _endpoint("service", "Services by `[namespace/]prefix`.", None),
    _endpoint("workload", "Workloads by `name`, `Kind/name` or `Kind/`.", _workload),
    _endpoint("label", "Label selector: `app=web`, `tier in (a, b)`, `!key`.",
         _text("label", sided=True), short="l", metavar="SELECTOR"),
    _endpoint("ip", "Addresses or CIDRs.", _text("ip", sided=True), metavar="ADDRESS"),
    _endpoint("fqdn", "DNS names; `*` is any run of letters, digits, `-` and `.`.",
         _text("fqdn", sided=True), metavar="NAME"),
    _endpoint("port", "Port numbers.", _text("port", sided=True), metavar="PORT"),
    _endpoint("identity", "Security identities, by number or reserved name.", _identity,
         metavar="ID", choices=tuple(RESERVED)),
    _endpoint("cluster", "Clusters by name.", _text("cluster_name", sided=True), metavar="NAME"),
    FilterFlag("snat-ip", "Addresses that sources were translated to.",
               _text("source_ip_xlated"), of_endpoint=True, metavar="ADDRESS"),
    FilterFlag("node-name", "Nodes by `[cluster/]name`, globs allowed.",
               _text("node_name"), of_endpoint=True, metavar="NAME"),
    FilterFlag("node-label", "Label selector on nodes.",
               _text("node_labels"), of_endpoint=True, metavar="SELECTOR"),
    FilterFlag("interface", "Network interfaces by name.", _interface, of_endpoint=True,
               metavar="NAME"),
    FilterFlag("type", "Event types `TYPE[:SUBTYPE]`: `l7`, `drop:133`, `trace:to-stack`.",
               _event_type, short="t", metavar="TYPE", choices=tuple(EVENT_TYPES)),
    FilterFlag("verdict", "Verdicts, such as FORWARDED or DROPPED.", _enum("verdict", Verdict),
               metavar="VERDICT", choices=tuple(Verdict.keys()), strict=True),
    FilterFlag("drop-reason-desc", "Drop reasons, such as POLICY_DENIED.",
               _enum("drop_reason_desc", DropReason), metavar="REASON",
               choices=tuple(DropReason.keys()), strict=True),
    FilterFlag("protocol", "L4 or L7 protocols: tcp, udp, icmp, http, dns.", _text("protocol"),
               metavar="PROTOCOL", choices=PROTOCOLS),
    FilterFlag("tcp-flags", "Flags that are all set: `syn,ack`.", _tcp_flags, metavar="FLAGS"),
    FilterFlag("traffic-direction", "`ingress` or `egress`, seen from the pod.", _direction,
               metavar="DIRECTION", choices=tuple(DIRECTIONS)),
    FilterFlag("ip-version", "`none`, `v4` or `v6`.", _ip_version, metavar="VERSION",
               choices=tuple(IP_VERSIONS), strict=True),
    FilterFlag("ipv4", "Only IPv4.", _ip_version, short="4", constant="v4"),
    FilterFlag("ipv6", "Only IPv6.", _ip_version, short="6", constant="v6"),
    FilterFlag("encrypted", "Only what was seen encrypted.", _encrypted, constant="true"),
    FilterFlag("unencrypted", "Only what was not seen encrypted.", _encrypted, constant="false"),
    FilterFlag("http-status", "Status codes or prefixes: `404`, `5+`.",
               _text("http_status_code"), metavar="STATUS"),
    FilterFlag("http-method", "Methods, in any case.", _text("http_method"),
               metavar="METHOD", choices=METHODS),
    *_names(("http-path", "RE2 expression found in the path."),
            ("http-url", "RE2 expression found in the URL."), metavar="REGEX"),
    FilterFlag("http-header", "A header that is there: `name:value`.", _header,
               metavar="NAME:VALUE"),
    *_names(("trace-id", "W3C trace ids."), ("uuid", "Flows by their own id."), metavar="ID"),
    FilterFlag("ip-trace-id", "IP trace ids.", _ip_trace_id, metavar="ID"),
    FilterFlag("cel-expression", "CEL over `_flow`; dear.", _cel, metavar="CEL"),
)  # fmt: skip
