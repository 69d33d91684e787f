"""From rows of raw values to REQUEST arrays, column by column."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.accesslog.addresses import Addresses
from flowd.accesslog.fields import Field
from flowd.accesslog.metadata import read_metadata
from flowd.accesslog.values import (
    LOG_TYPES,
    MAX_TEXT,
    VERSIONS,
    absent,
    durations,
    flags,
    number,
    text,
    times,
)
from flowd.model.enums import EntryKind
from flowd.model.losses import Losses, Place
from flowd.model.request import RequestBatch, empty_requests

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
    """Makes REQUEST rows of one plan's raw rows; what is malformed is counted."""

    def __init__(
        self, plan: Plan, rows: Sequence[Row], losses: Losses, addresses: Addresses
    ) -> None:
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
            if name in self._plan.targets:
                batch[name] = self._text(name)
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
            if any(map(absent, column)):
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
        forwarded = differs | (fill & (ports == 0) & self._has_port(column))
        batch["forwarded_addr"][forwarded] = remote[forwarded]

    def _has_port(self, column: Values) -> NDArray[np.bool_]:
        """Which addresses are written with a port, be it 0."""
        return np.array([value.__class__ is str and value[-2:] == ":0" for value in column])

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
        for name, known in (("log_type", LOG_TYPES), ("http_version", VERSIONS)):
            if column := self._raw(name):
                batch[name] = [
                    known.get(value, 0) if value.__class__ is str else 0 for value in column
                ]
        if column := self._raw("flags"):
            bits = np.array(list(map(flags, column)), np.int64)
            self._count("bad_flags", bits < 0)
            batch["flags"] = np.maximum(bits, 0)

    def _whole(self, target: str, most: int) -> NDArray[np.int64]:
        column = self._raw(target)
        if column is None:
            return np.zeros(self._rows, np.int64)
        told = [
            value if value.__class__ is int and 0 <= value <= most else number(value)
            for value in column
        ]
        found = np.array(told, np.int64)
        odd = (found < 0) | (found > most)
        self._count("bad_number", odd)
        return np.where(odd, 0, found)

    def _text(self, target: str) -> list[str]:
        column = self._raw(target) or ()
        texts = [
            value if value.__class__ is str and value != "-" else text(value) for value in column
        ]
        if max(map(len, texts), default=0) > MAX_TEXT:
            self._losses.add(
                Place.ACCESS_LOG, "oversize_text", sum(len(value) > MAX_TEXT for value in texts)
            )
            texts = [value[:MAX_TEXT] for value in texts]
        return texts

    def _rewritten(self, batch: RequestBatch) -> None:
        """A path logged as "the original one, else the path" counts as the path, and as the
        original one where another path is logged too."""
        if "path_any" in self._plan.targets:
            either = np.array(self._text("path_any"), np.object_)
            differs = (batch["path"] != "") & (either != "") & (batch["path"] != either)
            fill = differs & (batch["original_path"] == "")
            batch["original_path"] = np.where(fill, either, batch["original_path"])
            batch["path"] = np.where(batch["path"] == "", either, batch["path"])

    def _headers(self, batch: RequestBatch) -> None:
        columns = [(name, self._text(target)) for name, target in self._plan.headers]
        if "host_any" in self._plan.targets:
            either = self._text("host_any")
            host = [a or b for a, b in zip(batch["host"].tolist(), either, strict=True)]
            batch["host"] = host
            original = ["" if a == b else a for a, b in zip(either, host, strict=True)]
            columns.append(("x-envoy-original-host", original))
        if "traceparent" in self._plan.targets:
            columns.append(("traceparent", batch["traceparent"].tolist()))
        headers: list[dict[str, str]] = batch["headers"].tolist()
        for name, values in columns:
            for header, value in zip(headers, values, strict=True):
                if value:
                    header[name] = value

    def _count(self, reason: str, which: NDArray[np.bool_]) -> None:
        if count := int(np.count_nonzero(which)):
            self._losses.add(Place.ACCESS_LOG, reason, count)


def _kinds(batch: RequestBatch) -> NDArray[np.uint8]:
    log_type = batch["log_type"]
    told = (batch["http_version"] > 0) | (batch["status"] > 0)
    spoken = (batch["method"] != "") | (batch["path"] != "") | (batch["host"] != "")
    http = np.isin(log_type, HTTP_TYPES) | told | spoken.astype(bool)
    return np.where(http & ~np.isin(log_type, TCP_TYPES), EntryKind.HTTP, EntryKind.TCP)
