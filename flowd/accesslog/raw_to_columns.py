"""Convert raw values of access-log entries to REQUEST rows, column by column."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.accesslog.addresses import AddressInterner
from flowd.accesslog.fields import LogField
from flowd.accesslog.metadata import read_metadata
from flowd.accesslog.values import (
    MAX_TEXT,
    durations,
    flags,
    http_version,
    integers,
    is_absent,
    log_type,
    map_distinct,
    texts,
    times,
)
from flowd.model.enums import AccessLogType, EntryKind
from flowd.model.losses import Losses, Place
from flowd.model.records.request import TEXT_COLUMNS, RequestBatch, empty_requests

RawValues = tuple[Any, ...]
"""The raw values of one entry, in the order of its plan."""
Column = Sequence[Any]
"""The raw values of one field, one for each entry."""

TEXTS = tuple(name for name in TEXT_COLUMNS if name not in ("log_name", "node_id", "node_cluster"))
"""Columns of str that an entry fills; the others name the stream that it came by."""
_ADDRESSES = ("client", "local", "up_local", "up_remote")
_MAX_DURATION_NS = 366 * 24 * 3600 * 10**9
_MAX_HEADERS = 64
_HTTP_TYPES = (
    AccessLogType.DOWNSTREAM_START,
    AccessLogType.DOWNSTREAM_PERIODIC,
    AccessLogType.DOWNSTREAM_END,
    AccessLogType.UPSTREAM_POOL_READY,
    AccessLogType.UPSTREAM_PERIODIC,
    AccessLogType.UPSTREAM_END,
    AccessLogType.DOWNSTREAM_TUNNEL_SUCCESSFULLY_ESTABLISHED,
)
_TCP_TYPES = tuple(set(AccessLogType) - {AccessLogType.NOT_SET, *_HTTP_TYPES})
_IS_HTTP, _IS_TCP = (np.isin(np.arange(256), types) for types in (_HTTP_TYPES, _TCP_TYPES))
"""Whether an AccessLogType is about an HTTP request, or about a TCP connection or UDP session."""


class Plan:
    """Maps the positions of raw values to targets.

    Args:
        fields: by position; None for a value to skip.

    Attributes:
        targets: position and field of each source of a target, lowest rank first.
        headers: name and target of each request header.
        metadata: targets of metadata values.
    """

    def __init__(self, fields: Sequence[LogField | None]) -> None:
        self.width = len(fields)
        found: dict[str, list[tuple[int, LogField]]] = {}
        for position, field in enumerate(fields):
            if field:
                found.setdefault(field.target, []).append((position, field))
        for sources in found.values():
            sources.sort(key=lambda source: source[1].rank)
        self.targets = found
        headers = [name for name in found if name.startswith("header:")]
        self.headers = [(name.partition(":")[2], name) for name in headers[:_MAX_HEADERS]]
        self.metadata = [name for name in found if name.startswith("metadata:")][:_MAX_HEADERS]

    @property
    def is_entry(self) -> bool:
        """Whether the targets suffice for an access-log entry."""
        return len(self.targets) >= 3 and not self.targets.keys().isdisjoint(
            ("time", "duration", "status", "flags", "bytes_sent")
        )


class RequestBatchBuilder:
    """Converts the raw values of one plan's entries to REQUEST rows, and counts malformed values.

    Args:
        long: whether a text can be longer than MAX_TEXT.
    """

    def __init__(
        self,
        plan: Plan,
        rows: Sequence[RawValues],
        losses: Losses,
        addresses: AddressInterner,
        *,
        long: bool = True,
    ) -> None:
        self._long = long
        self._plan = plan
        self._addresses = addresses
        self._losses = losses
        self._columns: list[Column] = list(zip(*rows, strict=True))
        self._rows = len(rows)

    def build(self) -> RequestBatch:
        """The rows, shape (N,), in the order of the entries."""
        batch = empty_requests(self._rows)
        self._times(batch)
        for side in _ADDRESSES:
            self._side(batch, side)
        self._forwarded(batch)
        self._numbers(batch)
        for name in TEXTS:
            if name in self._plan.targets and (texts := self._text(name)):
                batch[name] = texts
        self._paths(batch)
        self._headers(batch)
        self._metadata(batch)
        batch["kind"] = _kinds(batch)
        return batch

    def _raw(self, target: str) -> Column | None:
        """A target's raw values, each of the first source that has one; None without sources."""
        sources = self._plan.targets.get(target)
        if not sources:
            return None
        column = self._columns[sources[0][0]]
        for position, _ in sources[1:]:
            if None in column or "-" in column or "" in column:
                more = self._columns[position]
                column = [b if is_absent(a) else a for a, b in zip(column, more, strict=True)]
        return column

    def _times(self, batch: RequestBatch) -> None:
        start = np.zeros(self._rows, np.int64)
        for position, field in self._plan.targets.get("time", ()):
            found = times(self._columns[position], field.form)
            start = np.where(start > 0, start, found)
        self._count("bad_time", start < 0)
        batch["time_ns"] = np.maximum(start, 0)
        for target in ("duration", "upstream"):
            taken = np.zeros(self._rows)
            for position, field in self._plan.targets.get(target, ()):
                found = durations(self._columns[position], field.scale)
                taken = np.where(taken > 0, taken, found)
            odd = ~((taken >= 0) & (taken <= _MAX_DURATION_NS))
            self._count("bad_duration", odd)
            batch[f"{target}_ns"] = np.where(odd, 0, taken).astype(np.uint64)

    def _side(self, batch: RequestBatch, side: str) -> None:
        column = self._raw(side)
        if column is not None:
            batch[f"{side}_addr"], batch[f"{side}_port"] = self._sockets(column)
        if f"{side}_port" in self._plan.targets:
            ports = self._integers(f"{side}_port", 0xFFFF)
            batch[f"{side}_port"] = np.where(
                batch[f"{side}_port"] > 0, batch[f"{side}_port"], ports
            )

    def _sockets(self, column: Column) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        self._addresses.reserve(len(column))
        ids = self._addresses.intern(column)
        self._count("bad_address", self._addresses.malformed[ids])
        return self._addresses.packed[ids], self._addresses.ports[ids]

    def _forwarded(self, batch: RequestBatch) -> None:
        """Read the remote address: the socket's, or one from trusted hops, with port 0."""
        column = self._raw("remote")
        if column is None:
            return
        remote, ports = self._sockets(column)
        if "remote_port" in self._plan.targets:
            ports = np.where(ports > 0, ports, self._integers("remote_port", 0xFFFF))
        present = remote.any(axis=1)
        direct = batch["client_addr"].any(axis=1)
        differs = direct & present & (remote != batch["client_addr"]).any(axis=1)
        fill = present & ~direct
        batch["client_addr"][fill], batch["client_port"][fill] = remote[fill], ports[fill]
        if (portless := fill & (ports == 0)).any():  # port 0 is written, not absent
            written = [value.__class__ is str and value[-2:] == ":0" for value in column]
            differs |= portless & np.array(written)
        batch["forwarded_addr"][differs] = remote[differs]

    def _metadata(self, batch: RequestBatch) -> None:
        if not self._plan.metadata:
            return
        names = [target.split(":", 2)[1] for target in self._plan.metadata]
        columns = [self._raw(target) or () for target in self._plan.metadata]
        found: NDArray[np.object_] = np.empty(self._rows, np.object_)
        found[:] = [read_metadata(names, values) for values in zip(*columns, strict=True)]
        batch["metadata"] = found

    def _numbers(self, batch: RequestBatch) -> None:
        for name in ("bytes_received", "bytes_sent"):
            batch[name] = self._integers(name, np.iinfo(np.int64).max)
        for name in ("status", "attempts"):
            batch[name] = self._integers(name, 0xFFFF)
        for name, read in (("log_type", log_type), ("http_version", http_version)):
            if column := self._raw(name):
                batch[name] = map_distinct(column, read)
        if column := self._raw("flags"):
            bits = np.array(map_distinct(column, flags), np.int64)
            self._count("bad_flags", bits < 0)
            batch["flags"] = np.maximum(bits, 0)

    def _integers(self, target: str, most: int) -> NDArray[np.int64]:
        column = self._raw(target)
        if column is None:
            return np.zeros(self._rows, np.int64)
        found = integers(column)
        odd = (found < 0) | (found > most)
        self._count("bad_number", odd)
        return np.where(odd, 0, found)

    def _text(self, target: str) -> Sequence[str]:
        """A target's texts, shape (N,); an empty sequence if every text is ""."""
        found = texts(self._raw(target) or ())
        if self._long and max(map(len, found), default=0) > MAX_TEXT:
            self._losses.add(
                Place.ACCESS_LOG, "oversize_text", sum(len(value) > MAX_TEXT for value in found)
            )
            found = [value[:MAX_TEXT] for value in found]
        return found

    def _paths(self, batch: RequestBatch) -> None:
        """Split `path_any`, which holds the original path or else the path.

        Without a logged path it is the path; where it differs from one it is the original path.
        """
        if "path_any" not in self._plan.targets or not (either := self._text("path_any")):
            return
        if "path" not in self._plan.targets:
            batch["path"] = either
            return
        found = np.array(either, np.object_)
        differs = (batch["path"] != "") & (found != "") & (batch["path"] != found)
        fill = differs & (batch["original_path"] == "")
        batch["original_path"] = np.where(fill, found, batch["original_path"])
        batch["path"] = np.where(batch["path"] == "", found, batch["path"])

    def _headers(self, batch: RequestBatch) -> None:
        columns = [(name, self._text(target)) for name, target in self._plan.headers]
        if "host_any" in self._plan.targets:
            either = self._text("host_any") or [""] * self._rows
            host = [a or b for a, b in zip(batch["host"].tolist(), either, strict=True)]
            batch["host"] = host
            original = ["" if a == b else a for a, b in zip(either, host, strict=True)]
            columns.append(("x-envoy-original-host", original))
        if "traceparent" in self._plan.targets:
            columns.append(("traceparent", batch["traceparent"].tolist()))
        headers: list[dict[str, str]] = batch["headers"].tolist()
        for name, values in columns:
            if not values:
                continue
            for header, value in zip(headers, values, strict=True):
                if value:
                    header[name] = value

    def _count(self, reason: str, mask: NDArray[np.bool_]) -> None:
        if count := int(np.count_nonzero(mask)):
            self._losses.add(Place.ACCESS_LOG, reason, count)


def _kinds(batch: RequestBatch) -> NDArray[np.uint8]:
    log_type = batch["log_type"]
    typed, streams = _IS_HTTP[log_type], _IS_TCP[log_type]
    http = typed | (batch["http_version"] > 0) | (batch["status"] > 0)
    if len(unsure := np.flatnonzero(~(http | streams))):
        for name in ("method", "path", "host"):
            http[unsure] |= (batch[name][unsure] != "").astype(bool)
    return np.where(http & ~streams, EntryKind.HTTP, EntryKind.TCP)
