"""One access-log entry as attribution reads it."""

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


class Shape(NamedTuple):
    """What entries of one route, backend and proxy have in common."""

    kind: int
    route_name: str
    cluster: str
    up_addr: bytes
    up_port: int
    local_addr: bytes
    local_port: int
    node_cluster: str
    metadata: Metadata | None = None


class Detail(NamedTuple):
    """What differs from entry to entry."""

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


ShapeKey: TypeAlias = tuple[int, str, str, bytes, int, bytes, int, str, Metadata | None]
"""The fields of a Shape as a plain tuple, which is half the price."""


Columns: TypeAlias = list[list[Any]]
"""A list for each field of Detail."""


def shapes(batch: RequestBatch) -> Iterator[ShapeKey]:
    """The Shape of each row."""
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


def detail_columns(batch: RequestBatch, rows: Sequence[int]) -> Columns:
    """The Details of these rows, column by column."""
    return [batch[name][rows].tolist() for name in Detail._fields]


def no_route_reason(kind: int, details: str, flags: int) -> str:
    """Why Envoy itself found no route, in its response code details' words; "" if it did not say.

    The result is one of a few words, so that it can be a label.
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
