"""Access-log entries as attribution reads them: cache key (EntryKey) and remaining fields."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from flowd.model.enums import RESPONSE_FLAGS, EntryKind
from flowd.model.metadata import Metadata
from flowd.model.records.request import RequestBatch

NO_ADDRESS = bytes(16)

_NO_ROUTE = 1 << RESPONSE_FLAGS.index("NR")
_BEFORE_ROUTING = frozenset(
    (
        "absolute_path_rejected",
        "filter_chain_not_found",
        "low_version",
        "missing_host_header",
        "missing_path_rejected",
        "path_normalization_failed",
        "request_headers_failed_strict_check",
        "route_not_found",
    )
)
_CODEC = ("http1.", "http2.", "http3.")


class EntryKey(NamedTuple):
    """Fields that all entries of one route, backend and proxy share; key of the first cache.

    `up_addr` and `local_addr` have 16 bytes.
    """

    kind: int
    route_name: str
    cluster: str
    up_addr: bytes
    up_port: int
    local_addr: bytes
    local_port: int
    node_cluster: str
    metadata: Metadata | None = None


class EntryFields(NamedTuple):
    """Fields that differ between the entries of one EntryKey."""

    scheme: str
    host: str
    path: str
    original_path: str
    method: str
    sni: str
    headers: dict[str, str]
    user_agent: str
    details: str
    flags: int


EntryKeyTuple: TypeAlias = tuple[int, str, str, bytes, int, bytes, int, str, Metadata | None]
"""The fields of an EntryKey as a plain tuple, which costs half as much to build."""


FieldColumns: TypeAlias = list[list[Any]]
"""One list for each field of EntryFields, all of the same length."""


def entry_keys(batch: RequestBatch) -> Iterator[EntryKeyTuple]:
    """The EntryKey of each row, as a plain tuple."""
    up, local = (_addresses(batch, name) for name in ("up_remote_addr", "local_addr"))
    return zip(
        batch["kind"].tolist(),
        batch["route_name"].tolist(),
        batch["cluster"].tolist(),
        up,
        batch["up_remote_port"].tolist(),
        local,
        batch["local_port"].tolist(),
        batch["node_cluster"].tolist(),
        batch["metadata"].tolist(),
        strict=True,
    )


def field_columns(batch: RequestBatch, rows: Sequence[int]) -> FieldColumns:
    """The EntryFields of the selected rows, one list for each field."""
    return [batch[name][rows].tolist() for name in EntryFields._fields]


def no_route_reason(kind: int, details: str, flags: int) -> str:
    """Reason why Envoy found no route, in the words of its response code details, or "".

    The result is one of a small fixed set, so it can be a metric label.

    Args:
        kind: an EntryKind value.
        details: RESPONSE_CODE_DETAILS of the entry.
        flags: bit set of response flags, by position in RESPONSE_FLAGS.
    """
    if details in _BEFORE_ROUTING:
        return details
    if details.startswith(_CODEC):
        return "codec_error"
    if flags & _NO_ROUTE:
        return "route_not_found" if kind == EntryKind.HTTP else "filter_chain_not_found"
    return ""


def _addresses(batch: RequestBatch, column: str) -> list[bytes]:
    data = batch[column].tobytes()
    return [data[at : at + 16] for at in range(0, len(data), 16)]
