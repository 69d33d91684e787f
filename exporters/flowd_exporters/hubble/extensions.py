"""What flowd knows of a flow beyond Hubble's fields, as `google.protobuf.Struct`.

Only a type that every client can resolve may go into Flow.extensions: the hubble CLI gives up on
others. What is not known is left out. Keys, numbers unless said otherwise:

* `bytes`, `packets`; `connect_us`; and of the sockets at both ends `source_rtt_us`,
  `destination_rtt_us`, `source_retransmits`, `destination_retransmits`;
* of the processes at both ends `source_pid`, and as text `source_command`, `source_container_id`,
  `source_pod_uid`; the same with `destination_`;
* `translation`, an object with `source_before`, `source_after`, `destination_before` and
  `destination_after` (`address:port`) of the ends that differ: of a Service the virtual address is
  the destination before, the real one after;
* for routed flows, as text, `gateway` (`namespace/name`), `listener`, `route`
  (`Kind/namespace/name`), `rule_name`, `reason`, `backend` (`namespace/name:port`), `attribution`;
  `rule` and `match`; of responses `outcome` (flowd.model.enums.RequestOutcome) and
  `response_flags`, a list;
* `drop_reason` of drops, the kernel's word;
* of DNS messages `dns_type` (`QUERY` or `RESPONSE`) and `num_responses`.
"""

import struct
from collections.abc import Mapping
from typing import Any, TypeAlias

from google.protobuf import any_pb2, struct_pb2

from flowd.filter.endpoints import utf8
from flowd.model.directory import Directory
from flowd.model.enums import RESPONSE_FLAGS, Attribution, L7Type, Nat, RequestOutcome
from flowd.model.process import Process
from flowd_exporters.hubble.l7 import dns_of, is_dns
from flowd_exporters.hubble.row import Row

TYPE_URL = "type.googleapis.com/google.protobuf.Struct"
_MOST_CACHED = 65536


Value: TypeAlias = str | int | list[str] | dict[str, str]


def _number_entry(key: str) -> bytes:
    """Wire form of Struct.fields[key] with a number, up to its 8 bytes."""
    name = key.encode()
    inner = b"\x0a" + bytes([len(name)]) + name + b"\x12\x09\x11"
    return b"\x0a" + bytes([len(inner) + 8]) + inner


BYTES = _number_entry("bytes")
PACKETS = _number_entry("packets")
SOCKET_NUMBERS = {
    "connect_us": "connect_us",
    "src_srtt_us": "source_rtt_us",
    "dst_srtt_us": "destination_rtt_us",
    "src_retransmits": "source_retransmits",
    "dst_retransmits": "destination_retransmits",
    "src_pid": "source_pid",
    "dst_pid": "destination_pid",
}
"""Columns that are left out when they are 0, and their keys."""

ENTRIES = {column: _number_entry(key) for column, key in SOCKET_NUMBERS.items()}
_FIRST_NUMBER = Row._fields.index("connect_us")
_LAST_NUMBER = Row._fields.index("dst_pid") + 1
_double = struct.Struct("<d").pack


class Extensions:
    """Makes the extension of a row; what does not change from row to row is made once."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._lasting: dict[tuple[object, ...], bytes] = {}

    def of(self, row: Row) -> any_pb2.Any | None:
        """The packed Struct, or None when there is nothing to say."""
        value = self.lasting(row)
        if row.packets:
            value += BYTES + _double(row.bytes) + PACKETS + _double(row.packets)
        if any(row[_FIRST_NUMBER:_LAST_NUMBER]):
            value += socket_numbers(row)
        return any_pb2.Any(type_url=TYPE_URL, value=value) if value else None

    def lasting(self, row: Row) -> bytes:
        """Wire form of the Struct's part that does not change from row to row."""
        key = lasting_key(row)
        known = self._lasting.get(key)
        if known is None:
            if len(self._lasting) >= _MOST_CACHED:
                self._lasting.clear()
            known = self._lasting[key] = _serialize(self.lasting_fields(row))
        return known

    def lasting_fields(self, row: Row) -> dict[str, Value]:
        """The same as plain values."""
        route = self._directory.routes[row.route]
        backend = self._directory.backends[row.backend]
        flags = [name for bit, name in enumerate(RESPONSE_FLAGS) if row.envoy_flags >> bit & 1]
        found: dict[str, Value | None] = {
            "gateway": route.gateway_id,
            "listener": route.listener,
            "route": route.route_id,
            "rule": route.rule if route.rule >= 0 else None,
            "match": route.match if route.match >= 0 else None,
            "rule_name": route.rule_name,
            "backend": backend.backend_id,
            "attribution": _attribution(row.attribution) if row.attribution else "",
            "outcome": _outcome(row.outcome) if row.outcome else "",
            "response_flags": flags,
            "reason": route.reason,
            "drop_reason": self._directory.drop_reasons[row.drop_reason],
            "translation": translation(row),
        }
        if row.l7_type and is_dns(row):
            found["dns_type"] = "QUERY" if row.l7_type == L7Type.REQUEST else "RESPONSE"
            found["num_responses"] = len(dns_of(row).ips) or None
        for side, index in (("source", row.src_process), ("destination", row.dst_process)):
            found |= _process(side, self._directory.processes[index])
        return {k: v for k, v in found.items() if v is not None and v not in ("", [], {})}


def lasting_key(row: Row) -> tuple[object, ...]:
    """What tells the lasting parts of two rows apart."""
    key = (row.route, row.backend, row.attribution, row.envoy_flags, row.drop_reason)
    key += (row.outcome,)
    if not (row.nat or row.src_process or row.dst_process or is_dns(row)):
        return key
    moved: tuple[object, ...] = ()
    if row.nat:
        moved = (row.src_addr, row.src_port, row.nat_src_addr, row.nat_src_port)
        moved += (row.dst_addr, row.dst_port, row.nat_dst_addr, row.nat_dst_port)
    answers = (row.l7_type, len(dns_of(row).ips)) if is_dns(row) else ()
    return (*key, row.nat, row.src_process, row.dst_process, answers, moved)


def socket_numbers(row: Row) -> bytes:
    """Wire form of what the sockets at both ends tell."""
    return b"".join(
        [
            entry + _double(value)
            for column, entry in ENTRIES.items()
            if (value := getattr(row, column))
        ]
    )


def translation(row: Row) -> dict[str, str]:
    """Both forms of every end whose address or port is not the same on the other side."""
    if row.nat not in (Nat.BEFORE, Nat.AFTER):
        return {}
    own, other = ("before", "after") if row.nat == Nat.BEFORE else ("after", "before")
    found: dict[str, str] = {}
    for side, here, there in (
        ("source", (row.src_addr, row.src_port), (row.nat_src_addr, row.nat_src_port)),
        ("destination", (row.dst_addr, row.dst_port), (row.nat_dst_addr, row.nat_dst_port)),
    ):
        if here != there:
            found[f"{side}_{own}"] = _address(*here)
            found[f"{side}_{other}"] = _address(*there)
    return found


def _address(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _process(side: str, process: Process) -> dict[str, Value | None]:
    return {
        f"{side}_command": utf8(process.command),
        f"{side}_container_id": utf8(process.container_id),
        f"{side}_pod_uid": utf8(process.pod_uid),
    }


def _outcome(number: int) -> str:
    try:
        return RequestOutcome(number).name.lower()
    except ValueError:
        return str(number)


def _attribution(number: int) -> str:
    try:
        return Attribution(number).name.lower()
    except ValueError:
        return str(number)


def _serialize(fields: Mapping[str, Any]) -> bytes:
    message = struct_pb2.Struct()
    message.update(fields)
    return message.SerializeToString(deterministic=True)
