"""Flow.extensions: flowd's own fields of a flow, as `google.protobuf.Struct`.

Flow.extensions may only hold types that every client can resolve: the hubble CLI fails on others.
Unknown values are left out. Keys, with numbers as values unless said otherwise:

* `bytes`, `packets`, and with them `sampling` when one in so many connections is captured;
  `connect_us`; and of the sockets at both ends `source_rtt_us`,
  `destination_rtt_us`, `source_retransmits`, `destination_retransmits`;
* of the processes at both ends `source_pid`, and as text `source_command`, `source_container_id`,
  `source_pod_uid`; the same with `destination_`;
* `translation`, an object with `source_before`, `source_after`, `destination_before` and
  `destination_after` (`address:port`) of the ends that differ: for a Service the virtual address
  is the destination before, the endpoint's address the one after;
* for routed flows, as text, `gateway` (`namespace/name`), `listener`, `route`
  (`Kind/namespace/name`), `rule_name`, `reason`, `backend` (`namespace/name:port`), `attribution`;
  `rule` and `match`; for responses `outcome` (flowd.model.enums.RequestOutcome) and
  `response_flags`, a list;
* `drop_reason` of drops, the kernel's name (enum skb_drop_reason);
* for DNS messages `dns_type` (`QUERY` or `RESPONSE`) and `num_responses`.
"""

from google.protobuf import any_pb2

from flowd.filter.endpoints import utf8
from flowd.model.directory import Directory
from flowd.model.enums import RESPONSE_FLAGS, Attribution, L7Type, RequestOutcome
from flowd.model.process import Process
from flowd_exporters.hubble.encode.l7 import dns_of, is_dns
from flowd_exporters.hubble.encode.row import FlowRow
from flowd_exporters.hubble.encode.structs import StructValue, double, number_entry, serialize
from flowd_exporters.hubble.encode.translation import translation_entry

TYPE_URL = "type.googleapis.com/google.protobuf.Struct"
_MAX_CACHED = 65536

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
"""Keys by column; a column is left out when it is 0."""

SAMPLING = number_entry("sampling")

ENTRIES = {column: number_entry(key) for column, key in SOCKET_NUMBERS.items()}
_FIRST_NUMBER = FlowRow._fields.index("connect_us")
_LAST_NUMBER = FlowRow._fields.index("dst_pid") + 1


def sampling_entry(directory: Directory) -> bytes:
    """The entry `sampling`; empty when every connection is captured."""
    return SAMPLING + double(directory.sampling) if directory.sampling > 1 else b""


class ExtensionEncoder:
    """Encodes the extension of a row; the static part is cached by `static_key`."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._static: dict[tuple[object, ...], bytes] = {}
        self._sampling = sampling_entry(directory)

    def encode(self, row: FlowRow) -> any_pb2.Any | None:
        """The packed Struct; None without any key."""
        value = self.static_part(row) + translation_entry(row)
        if row.packets:
            value += BYTES + double(row.bytes) + PACKETS + double(row.packets) + self._sampling
        if any(row[_FIRST_NUMBER:_LAST_NUMBER]):
            value += socket_numbers(row)
        return any_pb2.Any(type_url=TYPE_URL, value=value) if value else None

    def static_part(self, row: FlowRow) -> bytes:
        """Wire form of the entries that are equal in all rows with one `static_key`."""
        key = static_key(row)
        cached = self._static.get(key)
        if cached is None:
            if len(self._static) >= _MAX_CACHED:
                self._static.clear()
            cached = self._static[key] = serialize(self.static_fields(row))
        return cached

    def static_fields(self, row: FlowRow) -> dict[str, StructValue]:
        """Keys and values of the static part."""
        route = self._directory.routes[row.route]
        backend = self._directory.backends[row.backend]
        flags = [name for bit, name in enumerate(RESPONSE_FLAGS) if row.envoy_flags >> bit & 1]
        fields: dict[str, StructValue | None] = {
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
            fields["dns_type"] = "QUERY" if row.l7_type == L7Type.REQUEST else "RESPONSE"
            fields["num_responses"] = len(dns_of(row).ips) or None
        for side, index in (("source", row.src_process), ("destination", row.dst_process)):
            fields |= _process(side, self._directory.processes[index])
        return {k: v for k, v in fields.items() if v is not None and v not in ("", [], {})}


def static_key(row: FlowRow) -> tuple[object, ...]:
    """The values that determine the static part of a row."""
    key = (row.route, row.backend, row.attribution, row.envoy_flags, row.drop_reason)
    key += (row.outcome,)
    if not (row.src_process or row.dst_process or is_dns(row)):
        return key
    dns = (row.l7_type, len(dns_of(row).ips)) if is_dns(row) else ()
    return (*key, row.src_process, row.dst_process, dns)


def socket_numbers(row: FlowRow) -> bytes:
    """Wire form of the entries of SOCKET_NUMBERS."""
    return b"".join(
        [
            entry + double(value)
            for column, entry in ENTRIES.items()
            if (value := getattr(row, column))
        ]
    )


def _process(side: str, process: Process) -> dict[str, StructValue | None]:
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
