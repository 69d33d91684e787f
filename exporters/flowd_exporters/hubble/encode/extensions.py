"""What flowd knows of a flow beyond Hubble's fields, as `google.protobuf.Struct`.

Only a type that every client can resolve may go into Flow.extensions: the hubble CLI gives up on
others. What is not known is left out. Keys, numbers unless said otherwise:

* `bytes`, `packets`, and `sampling` beside them where only one in so many connections is captured;
  `connect_us`; and of the sockets at both ends `source_rtt_us`,
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

from google.protobuf import any_pb2

from flowd.filter.endpoints import utf8
from flowd.model.directory import Directory
from flowd.model.enums import RESPONSE_FLAGS, Attribution, L7Type, RequestOutcome
from flowd.model.process import Process
from flowd_exporters.hubble.encode.l7 import dns_of, is_dns
from flowd_exporters.hubble.encode.row import Row
from flowd_exporters.hubble.encode.structs import Value, double, number_entry, serialize
from flowd_exporters.hubble.encode.translation import translation_entry

TYPE_URL = "type.googleapis.com/google.protobuf.Struct"
_MOST_CACHED = 65536

BYTES = number_entry("bytes")
PACKETS = number_entry("packets")
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

SAMPLING = number_entry("sampling")

ENTRIES = {column: number_entry(key) for column, key in SOCKET_NUMBERS.items()}
_FIRST_NUMBER = Row._fields.index("connect_us")
_LAST_NUMBER = Row._fields.index("dst_pid") + 1


def scale(directory: Directory) -> bytes:
    """What stands beside the counts of every flow: nothing where every connection is captured."""
    return SAMPLING + double(directory.sampling) if directory.sampling > 1 else b""


class Extensions:
    """Makes the extension of a row; what does not change from row to row is made once."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._lasting: dict[tuple[object, ...], bytes] = {}
        self._scale = scale(directory)

    def of(self, row: Row) -> any_pb2.Any | None:
        """The packed Struct, or None when there is nothing to say."""
        value = self.lasting(row) + translation_entry(row)
        if row.packets:
            value += BYTES + double(row.bytes) + PACKETS + double(row.packets) + self._scale
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
            known = self._lasting[key] = serialize(self.lasting_fields(row))
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
    if not (row.src_process or row.dst_process or is_dns(row)):
        return key
    answers = (row.l7_type, len(dns_of(row).ips)) if is_dns(row) else ()
    return (*key, row.src_process, row.dst_process, answers)


def socket_numbers(row: Row) -> bytes:
    """Wire form of what the sockets at both ends tell."""
    return b"".join(
        [
            entry + double(value)
            for column, entry in ENTRIES.items()
            if (value := getattr(row, column))
        ]
    )


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
