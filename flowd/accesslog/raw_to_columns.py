"""From rows of raw values to REQUEST arrays, column by column."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.accesslog.addresses import Addresses
from flowd.accesslog.fields import Field
from flowd.accesslog.metadata import read_metadata
from flowd.accesslog.values import (
    MAX_TEXT,
    absent,
    durations,
    each,
    flags,
    http_version,
    log_type,
    texts,
    times,
    whole,
)
from flowd.model.enums import EntryKind
from flowd.model.losses import Losses, Place
from flowd.model.records.request import RequestBatch, empty_requests

Row = tuple[Any, ...]
Values = Sequence[Any]

TEXTS = (
    "method",
    "scheme",
    "host",
    "path",
    "original_path",
    "user_agent",
    "request_id",
    "traceparent",
    "sni",
    "cluster",
    "route_name",
    "details",
    "transport_failure",
)
_SIDES = ("client", "local", "up_local", "up_remote")
_LONGEST_NS = 366 * 24 * 3600 * 10**9
_MAX_HEADERS = 64
HTTP_TYPES, TCP_TYPES = (4, 5, 6, 7, 8, 9, 10), (1, 2, 3, 11, 12, 13, 14)
_HTTP, _TCP = (np.isin(np.arange(256), types) for types in (HTTP_TYPES, TCP_TYPES))
ENDS = (0, 3, 6, 13)
"""AccessLogType of the last entry about a request, connection or UDP session, and NotSet."""


class Plan:
    """Which value of a row fills which target.

    Args:
        fields: by position in a row; None for a value that is passed over.
    """

    def __init__(self, fields: Sequence[Field | None]) -> None:
        self.width = len(fields)
        found: dict[str, list[tuple[int, Field]]] = {}
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
        """Whether a row says enough to be an access-log entry."""
        return len(self.targets) >= 3 and not self.targets.keys().isdisjoint(
            ("time", "duration", "status", "flags", "bytes_sent")
        )


class Converter:
    """Makes REQUEST rows of one plan's raw rows; what is malformed is counted.

    Args:
        long: some text may be longer than MAX_TEXT.
    """

    def __init__(
        self,
        plan: Plan,
        rows: Sequence[Row],
        losses: Losses,
        addresses: Addresses,
        *,
        long: bool = True,
    ) -> None:
        self._long = long
        self._plan = plan
        self._addresses = addresses
        self._losses = losses
        self._columns: list[Values] = list(zip(*rows, strict=True))
        self._rows = len(rows)

    def batch(self) -> RequestBatch:
        """Shape (rows,), in order."""
        batch = empty_requests(self._rows)
        self._times(batch)
        for side in _SIDES:
            self._side(batch, side)
        self._forwarded(batch)
        self._numbers(batch)
        for name in TEXTS:
            if name in self._plan.targets and (texts := self._text(name)):
                batch[name] = texts
        self._rewritten(batch)
        self._headers(batch)
        self._metadata(batch)
        batch["kind"] = _kinds(batch)
        return batch

    def _raw(self, target: str) -> Values | None:
        """A target's values: of the first source that has one."""
        sources = self._plan.targets.get(target)
        if not sources:
            return None
        column = self._columns[sources[0][0]]
        for position, _ in sources[1:]:
            if None in column or "-" in column or "" in column:
                more = self._columns[position]
                column = [b if absent(a) else a for a, b in zip(column, more, strict=True)]
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
            odd = ~((taken >= 0) & (taken <= _LONGEST_NS))
            self._count("bad_duration", odd)
            batch[f"{target}_ns"] = np.where(odd, 0, taken).astype(np.uint64)

    def _side(self, batch: RequestBatch, side: str) -> None:
        column = self._raw(side)
        if column is not None:
            batch[f"{side}_addr"], batch[f"{side}_port"] = self._sockets(column)
        if f"{side}_port" in self._plan.targets:
            told = self._whole(f"{side}_port", 0xFFFF)
            batch[f"{side}_port"] = np.where(batch[f"{side}_port"] > 0, batch[f"{side}_port"], told)

    def _sockets(self, column: Values) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        self._addresses.make_room(len(column))
        numbers = self._addresses.numbers(column)
        self._count("bad_address", self._addresses.bad[numbers])
        return self._addresses.packed[numbers], self._addresses.ports[numbers]

    def _forwarded(self, batch: RequestBatch) -> None:
        """The remote address is the socket's, or one that trusted hops forwarded, with port 0."""
        column = self._raw("remote")
        if column is None:
            return
        remote, ports = self._sockets(column)
        if "remote_port" in self._plan.targets:
            ports = np.where(ports > 0, ports, self._whole("remote_port", 0xFFFF))
        told = remote.any(axis=1)
        direct = batch["client_addr"].any(axis=1)
        differs = direct & told & (remote != batch["client_addr"]).any(axis=1)
        fill = told & ~direct
        batch["client_addr"][fill], batch["client_port"][fill] = remote[fill], ports[fill]
        if (told := fill & (ports == 0)).any():  # with port 0, not without one
            written = [value.__class__ is str and value[-2:] == ":0" for value in column]
            differs |= told & np.array(written)
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
            batch[name] = self._whole(name, np.iinfo(np.int64).max)
        for name in ("status", "attempts"):
            batch[name] = self._whole(name, 0xFFFF)
        for name, read in (("log_type", log_type), ("http_version", http_version)):
            if column := self._raw(name):
                batch[name] = each(column, read)
        if column := self._raw("flags"):
            bits = np.array(each(column, flags), np.int64)
            self._count("bad_flags", bits < 0)
            batch["flags"] = np.maximum(bits, 0)

    def _whole(self, target: str, most: int) -> NDArray[np.int64]:
        column = self._raw(target)
        if column is None:
            return np.zeros(self._rows, np.int64)
        found = whole(column)
        odd = (found < 0) | (found > most)
        self._count("bad_number", odd)
        return np.where(odd, 0, found)

    def _text(self, target: str) -> Sequence[str]:
        """A target's texts, none at all where every row's is ""."""
        found = texts(self._raw(target) or ())
        if self._long and max(map(len, found), default=0) > MAX_TEXT:
            self._losses.add(
                Place.ACCESS_LOG, "oversize_text", sum(len(value) > MAX_TEXT for value in found)
            )
            found = [value[:MAX_TEXT] for value in found]
        return found

    def _rewritten(self, batch: RequestBatch) -> None:
        """A path logged as "the original one, else the path" counts as the path, and as the
        original one where another path is logged too."""
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

    def _count(self, reason: str, which: NDArray[np.bool_]) -> None:
        if count := int(np.count_nonzero(which)):
            self._losses.add(Place.ACCESS_LOG, reason, count)


def _kinds(batch: RequestBatch) -> NDArray[np.uint8]:
    log_type = batch["log_type"]
    typed, streams = _HTTP[log_type], _TCP[log_type]
    http = typed | (batch["http_version"] > 0) | (batch["status"] > 0)
    if len(unsure := np.flatnonzero(~(http | streams))):
        for name in ("method", "path", "host"):
            http[unsure] |= (batch[name][unsure] != "").astype(bool)
    return np.where(http & ~streams, EntryKind.HTTP, EntryKind.TCP)
