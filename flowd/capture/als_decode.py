"""From Envoy's StreamAccessLogsMessage to REQUEST rows, column by column."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from flowd.accesslog.forwarded import forwarded_address
from flowd.capture.als_entry import (
    COLUMNS,
    HTTP_ENDS,
    MALFORMED,
    METHODS,
    TCP_ENDS,
    address,
    http_row,
    is_forwarded,
    response_flags,
    tcp_row,
)
from flowd.model.address import NONE
from flowd.model.losses import Losses, Place
from flowd.model.request import TEXT_COLUMNS, RequestBatch, empty_requests
from flowd.wire.als.als_pb2 import Message

_EARLY_NS = 24 * 3600 * 10**9
_LATE_NS = 3600 * 10**9
_LONGEST_NS = 366 * 24 * 3600 * 10**9
_MAX_SECONDS = 1 << 32
_LONGEST_FIELD = 256  # of an Address or ResponseFlags

Columns = dict[str, Sequence[Any]]


class Source(NamedTuple):
    """Who sends a stream: the parts of its identifier that rows carry."""

    node_id: str = ""
    node_cluster: str = ""
    log_name: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a client can make the agent hold."""

    message_bytes: int = 4 << 20
    entries: int = 10_000  # of a kind, in a message
    text: int = 8192  # characters of a text field or header
    headers: int = 64  # of an entry
    streams: int = 1024


DEFAULT_LIMITS = Limits()


def source_of(message: Message, known: Source, limits: Limits = DEFAULT_LIMITS) -> Source:
    """The stream's source: from the message's identifier if it has one, else the one known."""
    if not message.HasField("identifier"):
        return known
    identifier, limit = message.identifier, limits.text
    node = identifier.node
    return Source(node.id[:limit], node.cluster[:limit], identifier.log_name[:limit])


class EntryDecoder:
    """Collects the entries of many messages and gives them as one REQUEST array.

    Only ends are taken (AccessLogType NotSet, DownstreamEnd, TcpConnectionEnd); what Envoy logs
    before that about the same request or connection is counted in `intermediate`. For recordings
    `ends_only` can be switched off. `trusted_hops` is that of flowd.accesslog.forwarded.
    """

    def __init__(
        self,
        losses: Losses,
        limits: Limits = DEFAULT_LIMITS,
        *,
        ends_only: bool = True,
        trusted_hops: int = 0,
    ) -> None:
        self.seen = 0
        self.intermediate = 0
        self._losses = losses
        self._limits = limits
        self._every = not ends_only
        self._hops = trusted_hops
        self._rows: list[tuple[Any, ...]] = []
        self._origins: list[tuple[Source, int, int]] = []  # source, received_ns, rows

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, message: Message, source: Source, received_ns: int) -> None:
        """Take a message's entries.

        Args:
            received_ns: Unix time of arrival, to judge the entries' clock by; 0 for recordings.
        """
        http, tcp, most = message.http.entries, message.tcp.entries, self._limits.entries
        before = len(self._rows)
        for entry in islice(http, most):
            common = entry.common
            if self._every or (common.type in HTTP_ENDS and not common.intermediate):
                self._rows.append(http_row(entry, common))
        for entry in islice(tcp, most):
            common = entry.common
            if self._every or (common.type in TCP_ENDS and not common.intermediate):
                self._rows.append(tcp_row(entry, common))
        rows = len(self._rows) - before
        over = max(0, len(http) - most) + max(0, len(tcp) - most)
        self._count("too_many_entries", over)
        self.seen += rows
        self.intermediate += len(http) + len(tcp) - over - rows
        if rows:
            self._origins.append((source, received_ns, rows))

    def take(self) -> RequestBatch:
        """All entries since the last call, shape (len(self),), in order of arrival."""
        batch = empty_requests(len(self._rows))
        if self._rows:
            columns: Columns = dict(zip(COLUMNS, zip(*self._rows, strict=True), strict=True))
            self._times(batch, columns)
            self._addresses(batch, columns)
            self._numbers(batch, columns)
            self._texts(batch, columns)
        self._rows, self._origins = [], []
        return batch

    def _times(self, batch: RequestBatch, columns: Columns) -> None:
        duration = _nanoseconds(columns, "duration")
        sent, answered = _nanoseconds(columns, "us_tx"), _nanoseconds(columns, "us_rx")
        upstream = np.where(answered != 0, answered - sent, 0)
        odd = (duration < 0) | (duration > _LONGEST_NS) | (upstream < 0) | (upstream > _LONGEST_NS)
        self._count("bad_duration", int(np.count_nonzero(odd)))
        batch["duration_ns"] = duration = np.where(odd, 0, duration)
        batch["upstream_ns"] = np.where(odd, 0, upstream)
        start = _nanoseconds(columns, "start")
        received = self._repeat([received for _, received, _ in self._origins], np.int64)
        age = received - (start + duration)
        off = (start <= 0) | (received > 0) & ((age > _EARLY_NS) | (age < -_LATE_NS))
        self._count("bad_time", int(np.count_nonzero(off)))
        batch["time_ns"] = np.where(off, np.maximum(received - duration, 0), start)

    def _addresses(self, batch: RequestBatch, columns: Columns) -> None:
        for side in ("client", "local", "up_local", "up_remote"):
            packed, ports, bad = zip(*map(address, _short(columns[side])), strict=True)
            batch[f"{side}_addr"] = np.frombuffer(b"".join(packed), np.uint8).reshape(-1, 16)
            batch[f"{side}_port"] = ports
            self._count("bad_address", sum(bad))
        self._forwarded(batch, columns)

    def _forwarded(self, batch: RequestBatch, columns: Columns) -> None:
        """The remote address is another than the socket's where trusted hops forwarded it."""
        pairs = zip(columns["client"], _short(columns["remote"]), strict=True)
        found = [
            NONE if remote == direct and not is_forwarded(remote) else address(remote)[0]
            for direct, remote in pairs
        ]
        if self._hops:
            texts = columns["forwarded_for"]
            found = [
                forwarded_address(text, self._hops) if known == NONE else known
                for known, text in zip(found, texts, strict=True)
            ]
        if any(map(NONE.__ne__, found)):
            batch["forwarded_addr"] = np.frombuffer(b"".join(found), np.uint8).reshape(-1, 16)

    def _numbers(self, batch: RequestBatch, columns: Columns) -> None:
        for name in ("kind", "bytes_received", "bytes_sent"):
            batch[name] = columns[name]
        flags = [response_flags(raw) if raw else 0 for raw in _short(columns["flags"])]
        self._count("bad_flags", flags.count(-1))
        batch["flags"] = np.maximum(flags, 0)
        for name in ("log_type", "http_version", "status", "attempts"):
            values = np.array(columns[name], np.int64)
            most = np.iinfo(batch[name].dtype).max
            batch[name] = np.where((values >= 0) & (values <= most), values, 0)

    def _texts(self, batch: RequestBatch, columns: Columns) -> None:
        for name in TEXT_COLUMNS:
            if name in columns and name != "method":
                batch[name] = self._bounded(columns[name])
        batch["method"] = [METHODS[m] if 0 <= m < len(METHODS) else "" for m in columns["method"]]
        for index, name in enumerate(Source._fields):
            batch[name] = self._repeat(
                [source[index] for source, _, _ in self._origins], np.object_
            )
        metadata: NDArray[np.object_] = np.empty(len(batch), np.object_)
        metadata[:] = columns["metadata"]
        batch["metadata"] = metadata
        batch["headers"] = headers = self._bounded_headers(columns["headers"])
        batch["traceparent"] = [fields.get("traceparent", "") for fields in headers]

    def _repeat(self, values: list[Any], dtype: DTypeLike) -> NDArray[Any]:
        column: NDArray[Any] = np.array(values, dtype)
        return np.repeat(column, [rows for _, _, rows in self._origins])

    def _bounded(self, texts: Sequence[str]) -> Sequence[str]:
        limit = self._limits.text
        if max(map(len, texts)) <= limit:
            return texts
        self._count("oversize_text", sum(len(text) > limit for text in texts))
        return [text[:limit] for text in texts]

    def _bounded_headers(self, rows: Sequence[dict[str, str]]) -> Sequence[dict[str, str]]:
        limit, most = self._limits.text, self._limits.headers
        names = map(len, chain.from_iterable(rows))
        texts = map(len, chain.from_iterable(fields.values() for fields in rows))
        if max(chain(names, texts), default=0) <= limit and max(map(len, rows)) <= most:
            return rows
        cut = [
            {name[:limit]: text[:limit] for name, text in islice(fields.items(), most)}
            for fields in rows
        ]
        self._count("oversize_text", sum(old != new for old, new in zip(rows, cut, strict=True)))
        return cut

    def _count(self, reason: str, count: int) -> None:
        if count:
            self._losses.add(Place.ACCESS_LOG, reason, count)


def _nanoseconds(columns: Columns, name: str) -> NDArray[np.int64]:
    seconds = np.array(columns[f"{name}_s"], np.int64).clip(-_MAX_SECONDS, _MAX_SECONDS)
    return seconds * 10**9 + np.array(columns[f"{name}_ns"], np.int64)


def _short(fields: Sequence[bytes]) -> Sequence[bytes]:
    """The fields, those too long to be real replaced: caches keep what they are asked for."""
    if max(map(len, fields)) <= _LONGEST_FIELD:
        return fields
    return [raw if len(raw) <= _LONGEST_FIELD else MALFORMED for raw in fields]
