"""FlowJson: flow rows to lines of proto3 JSON, without protobuf messages.

The text equals `flow_to_json` over the message of `FlowEncoder` byte for byte (a test compares
them), at a sixth of the time: the texts of endpoints, routes and flag bytes are cached.
"""

from collections.abc import Iterator
from functools import cache, lru_cache
from json.encoder import encode_basestring

from google.protobuf.message import Message

from flowd.filter.endpoints import utf8
from flowd.filter.uuid7 import flow_uuid, node_bits
from flowd.model.directory import Directory
from flowd.model.enums import Protocol
from flowd.model.records.flow import FlowRows
from flowd.wire.flow import flow_pb2
from flowd.wire.json import escape_html, flow_to_json, timestamp
from flowd_exporters.hubble.encode.extensions import SOCKET_NUMBERS, TYPE_URL, static_key
from flowd_exporters.hubble.encode.flow_to_protobuf import (
    FlowEncoder,
    drop_reason,
    has_flags,
    sock_point,
    source_xlated,
    tcp_flags,
)
from flowd_exporters.hubble.encode.l7 import http_headers, http_version, is_dns, layer7
from flowd_exporters.hubble.encode.row import FlowRow, unpack_rows
from flowd_exporters.hubble.encode.structs import StructValue
from flowd_exporters.hubble.encode.translation import translation

_PORTS = {Protocol.TCP: "TCP", Protocol.UDP: "UDP", Protocol.SCTP: "SCTP"}
_WITHOUT_FIELDS = {Protocol.VRRP: "VRRP", Protocol.IGMP: "IGMP"}
_ICMP = {Protocol.ICMP: "ICMPv4", Protocol.ICMPV6: "ICMPv6"}


class FlowJson:
    """Encodes each row as one line of JSON."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._encoder = FlowEncoder(directory)
        self._node_bits = node_bits(directory)
        self._node = _quoted(self._encoder.node_name)
        self._emitter = flow_to_json(self._encoder.emitter)
        self._endpoints: dict[tuple[int, int], str] = {}
        self._services: dict[int, str] = {}
        self._static: dict[tuple[object, ...], list[str]] = {}

    def events(self, rows: FlowRows) -> Iterator[str]:
        """observer.ExportEvent of every row: `{"flow":{...},"node_name":...,"time":...}`."""
        for row in unpack_rows(rows):
            moment = timestamp(row.time_ns)
            flow = self._flow(row, moment)
            yield f'{{"flow":{flow},"node_name":{self._node},"time":"{moment}"}}'

    def _flow(self, row: FlowRow, moment: str) -> str:
        dropped = drop_reason(row)
        parts = [
            f'"time":"{moment}","uuid":"{flow_uuid(row.time_ns, row.seq, self._node_bits)}"',
            f'"emitter":{self._emitter}',
            _enum("verdict", "Verdict", row.verdict),
            f'"drop_reason":{dropped}' if dropped else "",
            _ip(row),
            _layer4(row),
            self._tunnel(row) if row.tunnel else "",
            f'"source":{self._endpoint(row.src_endpoint, row.src_identity)}',
            f'"destination":{self._endpoint(row.dst_endpoint, row.dst_identity)}',
            _enum("Type", "FlowType", row.type),
            f'"node_name":{self._node}' if len(self._node) > 2 else "",
            self._node_labels(),
            f'"source_names":[{_text(row.src_name)}]' if row.src_name else "",
            f'"destination_names":[{_text(row.dst_name)}]' if row.dst_name else "",
            _layer7(row) if row.l7_type else "",
            '"reply":true' if row.is_reply == 1 else "",
            _event_type(row.event_type, row.sub_type),
            self._service("source_service", row.src_endpoint),
            self._service("destination_service", row.dst_endpoint),
            _enum("traffic_direction", "TrafficDirection", row.direction),
            _enum("trace_observation_point", "TraceObservationPoint", row.observation),
            _enum("drop_reason_desc", "DropReason", dropped),
            ("", '"is_reply":false', '"is_reply":true')[(row.is_reply + 1) % 3],
            self._interface(row.ifindex),
            f'"trace_context":{{"parent":{{"trace_id":{_text(row.trace_id)}}}}}'
            if row.trace_id
            else "",
            _enum("sock_xlate_point", "SocketTranslationPoint", sock_point(row)),
            _long("socket_cookie", row.src_cookie or row.dst_cookie),
            _long("cgroup_id", self._encoder.cgroup(row)),
            self._summary(row),
            self._extensions(row),
        ]
        return "{" + ",".join([part for part in parts if part]) + "}"

    def _summary(self, row: FlowRow) -> str:
        text = self._encoder.summary(row)
        return f'"Summary":{_text(text)}' if text else ""

    def _endpoint(self, index: int, identity: int) -> str:
        cached = self._endpoints.get((index, identity))
        if cached is None:
            cached = flow_to_json(self._encoder.endpoint(index, identity))
            self._endpoints[index, identity] = cached
        return cached

    def _service(self, key: str, index: int) -> str:
        cached = self._services.get(index)
        if cached is None:
            cached = self._services[index] = _json(self._encoder.service(index))
        return f'"{key}":{cached}' if cached else ""

    def _interface(self, index: int) -> str:
        if not index:
            return ""
        name = self._directory.interfaces.get(index, "")
        named = f',"name":{_quoted(name)}' if name else ""
        return f'"interface":{{"index":{index}{named}}}'

    def _tunnel(self, row: FlowRow) -> str:
        return f'"tunnel":{_json(self._encoder.tunnel(row))}'

    def _node_labels(self) -> str:
        labels = self._directory.node_labels
        return f'"node_labels":[{",".join(map(_quoted, labels))}]' if labels else ""

    def _extensions(self, row: FlowRow) -> str:
        key = static_key(row)
        fields = self._static.get(key)
        if fields is None:
            if len(self._static) >= 65536:
                self._static.clear()
            fields = self._static[key] = self._static_fields(row)
        if row.nat and (ends := translation(row)):
            fields = [*fields, f'"translation":{_plain(ends)}']
        if row.packets:
            fields = [*fields, _count("bytes", row.bytes), _count("packets", row.packets)]
            if self._directory.sampling > 1:
                fields.append(_count("sampling", self._directory.sampling))
        numbers = [
            _count(name, value)
            for column, name in SOCKET_NUMBERS.items()
            if (value := getattr(row, column))
        ]
        if not fields and not numbers:
            return ""
        text = ",".join(sorted(fields + numbers, key=_key))
        return f'"extensions":{{"@type":"{TYPE_URL}","value":{{{text}}}}}'

    def _static_fields(self, row: FlowRow) -> list[str]:
        """`"key":value` of the extension's static part."""
        fields = self._encoder.extensions.static_fields(row)
        return [f'"{key}":{_plain(value)}' for key, value in fields.items()]


def _key(field: str) -> str:
    """The key of `"key":value`."""
    return field[1 : field.index('"', 1)]


def _count(key: str, value: int) -> str:
    return f'"{key}":{int(float(value))}'


def _long(key: str, value: int) -> str:
    return f'"{key}":"{value}"' if value else ""


def _plain(value: StructValue) -> str:
    match value:
        case dict():
            return "{" + ",".join(f'"{key}":{_plain(value[key])}' for key in sorted(value)) + "}"
        case list():
            return "[" + ",".join(_plain(one) for one in value) + "]"
        case int():
            return str(value)
        case _:
            return _text(value)


def _text(text: str | None) -> str:
    return escape_html(encode_basestring(utf8(text or "")))


@lru_cache(65536)
def _quoted(text: str) -> str:
    return _text(text)


def _json(message: Message | None) -> str:
    return flow_to_json(message) if message is not None else ""


@cache
def _names(enum: str) -> dict[int, str]:
    values = flow_pb2.DESCRIPTOR.enum_types_by_name[enum].values
    return {value.number: f'"{value.name}"' for value in values}


def _enum(key: str, enum: str, number: int) -> str:
    return f'"{key}":{_names(enum).get(number, number)}' if number else ""


def _ip(row: FlowRow) -> str:
    if row.family not in (4, 6):
        return ""
    source = f'"source":"{row.src_addr}",' if row.src_addr else ""
    after = source_xlated(row.nat, row.is_reply, row.src_addr, row.nat_src_addr)
    source += f'"source_xlated":"{after}",' if after else ""
    destination = f'"destination":"{row.dst_addr}",' if row.dst_addr else ""
    return f'"IP":{{{source}{destination}"ipVersion":"IPv{row.family}"}}'


def _layer4(row: FlowRow) -> str:
    if row.protocol in _PORTS:
        parts = [
            f'"source_port":{row.src_port}' if row.src_port else "",
            f'"destination_port":{row.dst_port}' if row.dst_port else "",
            _flags(row.flags) if row.protocol == Protocol.TCP and has_flags(row) else "",
        ]
        name = _PORTS[Protocol(row.protocol)]
    elif row.protocol in _ICMP:
        parts = [
            f'"type":{row.icmp_type}' if row.icmp_type else "",
            f'"code":{row.icmp_code}' if row.icmp_code else "",
        ]
        name = _ICMP[Protocol(row.protocol)]
    elif row.protocol in _WITHOUT_FIELDS:
        parts = []
        name = _WITHOUT_FIELDS[Protocol(row.protocol)]
    else:
        return ""
    return f'"l4":{{"{name}":{{{",".join([part for part in parts if part])}}}}}'


@lru_cache(256)
def _flags(bits: int) -> str:
    return f'"flags":{flow_to_json(tcp_flags(bits))}'


@lru_cache(4096)
def _event_type(kind: int, sub: int) -> str:
    return f'"event_type":{flow_to_json(flow_pb2.CiliumEventType(type=kind, sub_type=sub))}'


def _layer7(row: FlowRow) -> str:
    if is_dns(row):
        return f'"l7":{flow_to_json(layer7(row))}'
    http = [
        f'"code":{row.status}' if row.status else "",
        f'"method":{_quoted(row.method)}' if row.method else "",
        f'"url":{_text(row.url)}' if row.url else "",
        f'"protocol":"{http_version(row)}"' if http_version(row) else "",
    ]
    headers = ",".join([_pair(key, value) for key, value in http_headers(row).items()])
    if headers:
        http.append(f'"headers":[{headers}]')
    latency = f',"latency_ns":"{row.latency_ns}"' if row.latency_ns else ""
    kind = _names("L7FlowType").get(row.l7_type, row.l7_type)
    body = ",".join([part for part in http if part])
    return f'"l7":{{"type":{kind}{latency},"http":{{{body}}}}}'


def _pair(key: str, value: str) -> str:
    key_part = f'"key":{_quoted(key)}' if key else ""
    value_part = f'"value":{_text(value)}' if value else ""
    return "{" + key_part + ("," if key_part and value_part else "") + value_part + "}"
