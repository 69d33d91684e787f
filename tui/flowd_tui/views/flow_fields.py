"""The filter language's fields for flows, named as hubble's flags are without their dashes."""

from collections.abc import Callable, Sequence

from flowd_tui.data.flow_line import FlowLine, Peer
from flowd_tui.views.query import Field, Kind, Schema

SIDED: dict[str, tuple[Kind, Callable[[Peer], Sequence[str | float]]]] = {
    "pod": (Kind.PREFIX, lambda peer: [peer.name] if peer.pod else []),
    "ns": (Kind.WORD, lambda peer: [peer.namespace]),
    "svc": (Kind.NAME, lambda peer: [peer.service] if peer.service else []),
    "workload": (Kind.NAME, lambda peer: [peer.workload]),
    "label": (Kind.NAME, lambda peer: peer.labels),
    "ip": (Kind.IP, lambda peer: [peer.ip]),
    "port": (Kind.NUMBER, lambda peer: [peer.port]),
}


def _field(kind: Kind, values: Callable[[FlowLine], Sequence[str | float]]) -> Field[FlowLine]:
    return Field(kind, values)


PLAIN: dict[str, Field[FlowLine]] = {
    "proto": _field(Kind.WORD, lambda flow: [flow.protocol]),
    "verdict": _field(Kind.WORD, lambda flow: [flow.verdict]),
    "drop-reason": _field(Kind.WORD, lambda flow: [flow.drop_reason]),
    "tcp-flags": _field(Kind.WORD, lambda flow: flow.tcp_flags.split()),
    "http-status": _field(Kind.NUMBER, lambda flow: [flow.status]),
    "http-method": _field(Kind.WORD, lambda flow: [flow.method]),
    "http-path": _field(Kind.NAME, lambda flow: [flow.path]),
    "latency": _field(Kind.NUMBER, lambda flow: [flow.latency_ns]),
    "bytes": _field(Kind.NUMBER, lambda flow: [flow.bytes]),
    "node": _field(Kind.NAME, lambda flow: [flow.node]),
    "trace-id": _field(Kind.WORD, lambda flow: [flow.trace_id]),
    "gateway": _field(Kind.NAME, lambda flow: [flow.route.gateway]),
    "listener": _field(Kind.WORD, lambda flow: [flow.route.listener]),
    "route": _field(Kind.NAME, lambda flow: [flow.route.route]),
    "rule": _field(Kind.WORD, lambda flow: [flow.route.rule]),
    "backend": _field(Kind.NAME, lambda flow: [flow.route.backend]),
    "attribution": _field(Kind.WORD, lambda flow: [flow.route.attribution]),
    "flag": _field(Kind.WORD, lambda flow: flow.route.flags.split(",")),
}


def _sided(name: str) -> dict[str, Field[FlowLine]]:
    kind, values = SIDED[name]
    return {
        name: _field(kind, lambda flow: [*values(flow.source), *values(flow.destination)]),
        f"from-{name}": _field(kind, lambda flow: values(flow.source)),
        f"to-{name}": _field(kind, lambda flow: values(flow.destination)),
    }


FIELDS = {name: field for side in SIDED for name, field in _sided(side).items()} | PLAIN
SCHEMA = Schema(FIELDS, lambda flow: flow.text)
