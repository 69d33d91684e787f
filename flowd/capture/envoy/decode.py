"""Decode Envoy StreamAccessLogsMessage bytes into REQUEST rows, column by column."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from flowd.accesslog.forwarded import forwarded_address
from flowd.capture.envoy.addresses import AddressCache, response_flags
from flowd.capture.envoy.entry import EntryColumns, Texts
from flowd.capture.envoy.metadata import entry_metadata
from flowd.capture.envoy.protoscan import I64
from flowd.model.enums import FINAL_HTTP_TYPES, FINAL_TCP_TYPES, EntryKind
from flowd.model.losses import Losses, Place
from flowd.model.records.request import RequestBatch, empty_requests
from flowd.wire.als.als_pb2 import Envelope

METHODS = ("", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
"""Method by number of envoy.config.core.v3.RequestMethod; 0 stands for every other method."""

_EARLY_NS = 24 * 3600 * 10**9
_LATE_NS = 3600 * 10**9
_LONGEST_NS = 366 * 24 * 3600 * 10**9
_MAX_SECONDS = 1 << 32
_PIECE = 2048  # entries that are scanned together
_OTHER = 15  # stands for every number above those of AccessLogType
_FINAL = np.array(
    [
        log_type in final
        for final in (FINAL_HTTP_TYPES, FINAL_TCP_TYPES)
        for log_type in range(_OTHER + 1)
    ]
)
_METHODS: NDArray[np.object_] = np.array(METHODS, np.object_)
_ADDRESSES = ("client", "local", "up_local", "up_remote")
_ADDRESS_FIELDS = {"client": ("direct_remote", "remote")}
_TEXTS = {
    "scheme": ("scheme",),
    "host": ("authority",),
    "path": ("path",),
    "original_path": ("original_path",),
    "user_agent": ("user_agent",),
    "request_id": ("request_id", "stream_id"),
    "sni": ("sni",),
    "cluster": ("cluster",),
    "route_name": ("route_name",),
    "transport_failure": ("up_transport_failure", "down_transport_failure"),
}
_NUMBERS = {
    "log_type": "type",
    "http_version": "version",
    "status": "status",
    "attempts": "attempts",
}
_INTERNED = frozenset(("scheme", "host", "user_agent", "sni", "cluster", "route_name"))
"""Columns of text with few distinct values."""


class StreamIdentifier(NamedTuple):
    """The fields of StreamAccessLogsMessage.Identifier that rows carry."""

    node_id: str = ""
    node_cluster: str = ""
    log_name: str = ""


@dataclass(frozen=True, slots=True)
class AlsLimits:
    """Bounds on the memory that one client can use."""

    message_bytes: int = 4 << 20
    entries: int = 10_000  # HTTP entries, and as many TCP entries, of a message
    text: int = 8192  # characters of a text field or header
    headers: int = 64  # headers of an entry
    streams: int = 1024


DEFAULT_LIMITS = AlsLimits()


def stream_identifier(
    message: Envelope, current: StreamIdentifier, limits: AlsLimits = DEFAULT_LIMITS
) -> StreamIdentifier:
    """The message's identifier, or the current one; Envoy sends it in the first message only."""
    if not message.HasField("identifier"):
        return current
    identifier, limit = message.identifier, limits.text
    node = identifier.node
    return StreamIdentifier(node.id[:limit], node.cluster[:limit], identifier.log_name[:limit])


class EntryDecoder:
    """Collects the entries of many messages and decodes them into one REQUEST array.

    Args:
        losses: under Place.ACCESS_LOG entries and fields that are malformed or above the limits.
        final_only: decode only final entries (FINAL_HTTP_TYPES, FINAL_TCP_TYPES), not the entries
            that Envoy logs earlier about the same request or connection.
        trusted_hops: as in flowd.accesslog.forwarded.

    Attributes:
        pending_bytes: size of the entries that wait for `take`.
        seen, intermediate: totals of decoded entries and of skipped ones that are not final.
    """

    def __init__(
        self,
        losses: Losses,
        limits: AlsLimits = DEFAULT_LIMITS,
        *,
        final_only: bool = True,
        trusted_hops: int = 0,
    ) -> None:
        self.pending_bytes = 0
        self.seen = 0
        self.intermediate = 0
        self._losses = losses
        self._limits = limits
        self._all_types = not final_only
        self._hops = trusted_hops
        self._address_cache = AddressCache()
        self._entries: list[bytes] = []
        # identifier, received_ns, and numbers of HTTP and TCP entries of each message
        self._origins: list[tuple[StreamIdentifier, int, int, int]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, message: Envelope, identifier: StreamIdentifier, received_ns: int) -> None:
        """Add a message's entries.

        Args:
            received_ns: Unix time of arrival, to check the entries' times; 0 for recordings.
        """
        most, before = self._limits.entries, len(self._entries)
        http, tcp = message.http.entries, message.tcp.entries
        self._count("too_many_entries", max(0, len(http) - most) + max(0, len(tcp) - most))
        self._entries += islice(http, most)
        self._entries += islice(tcp, most)
        if len(self._entries) > before:
            self.pending_bytes += sum(map(len, islice(self._entries, before, None)))
            self._origins.append(
                (identifier, received_ns, min(len(http), most), min(len(tcp), most))
            )

    def take(self) -> RequestBatch:
        """Decode all entries since the last call, in order of arrival, shape (N,).

        Malformed entries are counted and skipped.
        """
        entries, origins = self._entries, self._origins
        self._entries, self._origins, self.pending_bytes = [], [], 0
        if not entries:
            return empty_requests()
        kinds = np.tile([False, True], len(origins))
        is_tcp = np.repeat(kinds, [count for *_, http, tcp in origins for count in (http, tcp)])
        origin = np.repeat(np.arange(len(origins)), [http + tcp for *_, http, tcp in origins])
        pieces = -(-len(entries) // _PIECE)
        marks = [len(entries) * piece // pieces for piece in range(pieces + 1)]
        batch, filled = empty_requests(len(entries)), 0
        for at, end in pairwise(marks):
            piece = EntryColumns(entries[at:end], is_tcp[at:end])
            filled += self._read(piece, origin[at:end], origins, batch[filled:])
        self.seen += filled
        return batch[:filled]

    def _read(
        self,
        entries: EntryColumns,
        origin: I64,
        origins: Sequence[tuple[StreamIdentifier, int, int, int]],
        out: RequestBatch,
    ) -> int:
        """Fill the first rows of `out`, which are empty; returns their number."""
        log_type = entries.number("type")
        final = _FINAL[log_type.clip(0, _OTHER) + (_OTHER + 1) * entries.is_tcp]
        wanted = final & (entries.number("intermediate") == 0) | self._all_types
        malformed = int(np.count_nonzero(entries.malformed))
        self.intermediate += int(np.count_nonzero(~wanted & ~entries.malformed))
        rows = np.flatnonzero(wanted & ~entries.malformed)
        entries.select(rows)
        origin = origin[rows]
        batch = out[: len(rows)]
        for index, name in enumerate(StreamIdentifier._fields):
            batch[name] = _column([identifier[index] for identifier, *_ in origins], np.object_)[
                origin
            ]
        self._texts(batch, entries)
        self._headers(batch, entries)
        self._metadata(batch, entries)
        received = _column([received for _, received, *_ in origins], np.int64)[origin]
        self._times(batch, entries, received)
        self._addresses(batch, entries)
        self._numbers(batch, entries)
        self._count("malformed", malformed + int(np.count_nonzero(entries.malformed)))
        if not entries.malformed.any():
            return len(batch)
        sound = batch[~entries.malformed]
        batch[:] = empty_requests(len(batch))
        batch[: len(sound)] = sound
        return len(sound)

    def _times(self, batch: RequestBatch, entries: EntryColumns, received: I64) -> None:
        duration = entries.nanoseconds("duration", _MAX_SECONDS)
        sent, answered = (entries.nanoseconds(name, _MAX_SECONDS) for name in ("us_tx", "us_rx"))
        upstream = np.where(answered != 0, answered - sent, 0)
        odd = (duration < 0) | (duration > _LONGEST_NS) | (upstream < 0) | (upstream > _LONGEST_NS)
        self._count("bad_duration", int(np.count_nonzero(odd)))
        batch["duration_ns"] = duration = np.where(odd, 0, duration)
        batch["upstream_ns"] = np.where(odd, 0, upstream)
        start = entries.nanoseconds("start", _MAX_SECONDS)
        age = received - (start + duration)
        off = (start <= 0) | (received > 0) & ((age > _EARLY_NS) | (age < -_LATE_NS))
        self._count("bad_time", int(np.count_nonzero(off)))
        batch["time_ns"] = np.where(off, np.maximum(received - duration, 0), start)

    def _addresses(self, batch: RequestBatch, entries: EntryColumns) -> None:
        for side in _ADDRESSES:
            spans = entries.spans(*_ADDRESS_FIELDS.get(side, (side,)))
            batch[f"{side}_addr"], batch[f"{side}_port"], bad = self._address_cache.read(
                entries, spans
            )
            self._count("bad_address", int(np.count_nonzero(bad)))
        self._forwarded(batch, entries)

    def _forwarded(self, batch: RequestBatch, entries: EntryColumns) -> None:
        """Set `forwarded_addr` where trusted hops forwarded another address than the socket's."""
        packed, ports, bad = self._address_cache.read(entries, entries.spans("remote"))
        words, client = (each.view(np.uint64) for each in (packed, batch["client_addr"].copy()))
        same = (words[:, 0] == client[:, 0]) & (words[:, 1] == client[:, 1])
        same &= ports == batch["client_port"]
        differs = ~same | (ports == 0)
        forwarded = np.flatnonzero(~bad & (words[:, 1] | words[:, 0] != 0) & differs)
        batch["forwarded_addr"][forwarded] = packed[forwarded]
        if self._hops:
            rows, texts, _ = entries.texts("forwarded_for")
            for row, text in zip(rows.tolist(), texts, strict=True):
                if not batch["forwarded_addr"][row].any():
                    found = forwarded_address(text, self._hops)
                    batch["forwarded_addr"][row] = np.frombuffer(found, np.uint8)

    def _numbers(self, batch: RequestBatch, entries: EntryColumns) -> None:
        tcp = entries.is_tcp
        batch["kind"] = np.where(tcp, EntryKind.TCP, EntryKind.HTTP)
        for name, field in (("bytes_received", "received"), ("bytes_sent", "sent")):
            octets = np.where(tcp, entries.number(f"tcp_{field}"), entries.number(field))
            batch[name] = octets.view(np.uint64)
        rows, messages = entries.raw("response_flags")
        flags = response_flags(messages)
        self._count("bad_flags", int(np.count_nonzero(flags < 0)))
        batch["flags"][rows] = np.maximum(flags, 0)
        for name, field in _NUMBERS.items():
            values = entries.number(field)
            most = np.iinfo(batch[name].dtype).max
            batch[name] = np.where((values >= 0) & (values <= most), values, 0)

    def _texts(self, batch: RequestBatch, entries: EntryColumns) -> None:
        for name, fields in _TEXTS.items():
            read = entries.interned if name in _INTERNED else entries.texts
            self._text(batch, name, *read(*fields))
        for field, of in (("details", ~entries.is_tcp), ("termination_details", entries.is_tcp)):
            self._text(batch, "details", *entries.interned(field, of=of))
        method = entries.number("method")
        known = (method >= 0) & (method < len(METHODS))
        batch["method"] = _METHODS[np.where(known, method, 0)]

    def _text(
        self, batch: RequestBatch, name: str, rows: I64, texts: Texts | list[str], longest: int
    ) -> None:
        limit = self._limits.text
        if longest > limit and max(map(len, texts)) > limit:
            self._count("oversize_text", sum(len(text) > limit for text in texts))
            texts = [text[:limit] for text in texts]
        if len(rows) == len(batch):
            batch[name] = texts
        elif len(rows):
            batch[name][rows] = texts

    def _headers(self, batch: RequestBatch, entries: EntryColumns) -> None:
        rows, names, values, longest = entries.pairs("header")
        if not len(rows):
            return
        limit, most = self._limits.text, self._limits.headers
        headers: list[dict[str, str]] = batch["headers"].tolist()
        written: list[str] = names.tolist()
        lower = {name: name.lower() for name in set(written)}
        owners = map(headers.__getitem__, rows.tolist())
        for fields, name, value in zip(
            owners, map(lower.__getitem__, written), values, strict=True
        ):
            fields[name] = value
        if longest > limit or (len(rows) > most and np.bincount(rows).max() > most):
            self._truncate(headers)
        if "traceparent" in lower.values():
            batch["traceparent"] = [fields.get("traceparent", "") for fields in headers]

    def _truncate(self, headers: list[dict[str, str]]) -> None:
        """Apply the limits to headers, in place."""
        limit, most = self._limits.text, self._limits.headers
        changed = 0
        for fields in headers:
            cut = {name[:limit]: text[:limit] for name, text in islice(fields.items(), most)}
            if fields != cut:
                changed += 1
                fields.clear()
                fields.update(cut)
        self._count("oversize_text", changed)

    def _metadata(self, batch: RequestBatch, entries: EntryColumns) -> None:
        tags: dict[int, list[tuple[str, str]]] = {}
        states: dict[int, list[bytes]] = {}
        rows, names, values, _ = entries.pairs("tag")
        for row, name, value in zip(rows.tolist(), names.tolist(), values, strict=True):
            tags.setdefault(row, []).append((name, value))
        rows, objects = entries.repeated("filter_state")
        for row, raw in zip(rows.tolist(), objects, strict=True):
            states.setdefault(row, []).append(raw)
        rows, messages = entries.raw("metadata")
        dynamic = dict(zip(rows.tolist(), messages, strict=True))
        for row in {**tags, **states, **dynamic}:
            batch["metadata"][row] = entry_metadata(
                tuple(tags.get(row, ())), dynamic.get(row, b""), tuple(states.get(row, ()))
            )

    def _count(self, reason: str, count: int) -> None:
        if count:
            self._losses.add(Place.ACCESS_LOG, reason, count)


def _column(values: list[Any], dtype: DTypeLike) -> NDArray[Any]:
    column: NDArray[Any] = np.array(values, dtype)
    return column
