"""Fields of the filter language for flows, named like hubble's flags without dashes."""

from collections.abc import Callable, Sequence

from flowd_tui.data.flow_line import FlowEndpoint, FlowLine
from flowd_tui.views.query import FieldKind, QueryField, Schema

SIDED: dict[str, tuple[FieldKind, Callable[[FlowEndpoint], Sequence[str | float]]]] = {
    "pod": (FieldKind.PREFIX, lambda end: [end.name] if end.pod else []),
    "ns": (FieldKind.WORD, lambda end: [end.namespace]),
    "svc": (FieldKind.NAME, lambda end: [end.service] if end.service else []),
    "workload": (FieldKind.NAME, lambda end: [end.workload]),
    "label": (FieldKind.NAME, lambda end: end.labels),
    "ip": (FieldKind.IP, lambda end: [end.ip]),
    "port": (FieldKind.NUMBER, lambda end: [end.port]),
}


def _field(
    kind: FieldKind, values: Callable[[FlowLine], Sequence[str | float]]
) -> QueryField[FlowLine]:
    return QueryField(kind, values)


PLAIN: dict[str, QueryField[FlowLine]] = {
    "proto": _field(FieldKind.WORD, lambda flow: [flow.protocol]),
    "verdict": _field(FieldKind.WORD, lambda flow: [flow.verdict]),
    "drop-reason": _field(FieldKind.WORD, lambda flow: [flow.drop_reason]),
    "tcp-flags": _field(FieldKind.WORD, lambda flow: flow.tcp_flags.split()),
    "http-status": _field(FieldKind.NUMBER, lambda flow: [flow.status]),
    "http-method": _field(FieldKind.WORD, lambda flow: [flow.method]),
    "http-path": _field(FieldKind.NAME, lambda flow: [flow.path]),
    "latency": _field(FieldKind.NUMBER, lambda flow: [flow.latency_ns]),
    "bytes": _field(FieldKind.NUMBER, lambda flow: [flow.bytes]),
    "node": _field(FieldKind.NAME, lambda flow: [flow.node]),
    "trace-id": _field(FieldKind.WORD, lambda flow: [flow.trace_id]),
    "gateway": _field(FieldKind.NAME, lambda flow: [flow.route.gateway]),
    "listener": _field(FieldKind.WORD, lambda flow: [flow.route.listener]),
    "route": _field(FieldKind.NAME, lambda flow: [flow.route.route]),
    "rule": _field(FieldKind.WORD, lambda flow: [flow.route.rule]),
    "backend": _field(FieldKind.NAME, lambda flow: [flow.route.backend]),
    "attribution": _field(FieldKind.WORD, lambda flow: [flow.route.attribution]),
    "flag": _field(FieldKind.WORD, lambda flow: flow.route.flags.split(",")),
}


def _sided(name: str) -> dict[str, QueryField[FlowLine]]:
    kind, values = SIDED[name]
    return {
        name: _field(kind, lambda flow: [*values(flow.source), *values(flow.destination)]),
        f"from-{name}": _field(kind, lambda flow: values(flow.source)),
        f"to-{name}": _field(kind, lambda flow: values(flow.destination)),
    }


FIELDS = {name: field for side in SIDED for name, field in _sided(side).items()} | PLAIN
SCHEMA = Schema(FIELDS, lambda flow: flow.text)
