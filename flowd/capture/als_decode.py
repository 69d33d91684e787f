"""From Envoy's StreamAccessLogsMessage to REQUEST rows, column by column."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from flowd.accesslog.addresses import Addresses
from flowd.accesslog.forwarded import forwarded_address
from flowd.capture.als_address import address, response_flags
from flowd.capture.als_entry import Entries
from flowd.capture.als_metadata import entry_metadata
from flowd.capture.protoscan import I64
from flowd.model.enums import EntryKind
from flowd.model.losses import Losses, Place
from flowd.model.request import RequestBatch, empty_requests
from flowd.wire.als.als_pb2 import Envelope

METHODS = ("", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
"""By RequestMethod; Envoy logs every other method as 0."""
HTTP_ENDS = (0, 6)
"""AccessLogType NotSet and DownstreamEnd: the last entry about a request."""
TCP_ENDS = (0, 3, 13)
"""NotSet, TcpConnectionEnd and UdpSessionEnd: the last entry about a connection or session."""

_EARLY_NS = 24 * 3600 * 10**9
_LATE_NS = 3600 * 10**9
_LONGEST_NS = 366 * 24 * 3600 * 10**9
_MAX_SECONDS = 1 << 32
_BUFFER = 2048  # entries that are read together
_METHODS: NDArray[np.object_] = np.array(METHODS, np.object_)
_SIDES = ("client", "local", "up_local", "up_remote")
_FIELDS = {"client": ("direct_remote", "remote")}
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
_FEW = frozenset(("scheme", "host", "user_agent", "sni", "cluster", "route_name", "details"))
"""Texts that are the same in many entries."""


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


def source_of(message: Envelope, known: Source, limits: Limits = DEFAULT_LIMITS) -> Source:
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

    Attributes:
        held: bytes of the entries that wait for `take`.
        seen, intermediate: entries that were taken, and that were left out as such.
    """

    def __init__(
        self,
        losses: Losses,
        limits: Limits = DEFAULT_LIMITS,
        *,
        ends_only: bool = True,
        trusted_hops: int = 0,
    ) -> None:
        self.held = 0
        self.seen = 0
        self.intermediate = 0
        self._losses = losses
        self._limits = limits
        self._every = not ends_only
        self._hops = trusted_hops
        self._known = Addresses(address, b"", b"\xff")
        self._entries: list[bytes] = []
        self._origins: list[tuple[Source, int, int, int]] = []  # source, received_ns, HTTP, TCP

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, message: Envelope, source: Source, received_ns: int) -> None:
        """Take a message's entries.

        Args:
            received_ns: Unix time of arrival, to judge the entries' clock by; 0 for recordings.
        """
        most, before = self._limits.entries, len(self._entries)
        http, tcp = message.http.entries, message.tcp.entries
        self._count("too_many_entries", max(0, len(http) - most) + max(0, len(tcp) - most))
        self._entries += islice(http, most)
        self._entries += islice(tcp, most)
        if len(self._entries) > before:
            self.held += sum(map(len, islice(self._entries, before, None)))
            self._origins.append((source, received_ns, min(len(http), most), min(len(tcp), most)))

    def take(self) -> RequestBatch:
        """All entries since the last call, in order of arrival, shape (N,).

        What is no entry is counted as `malformed` and left out.
        """
        entries, origins = self._entries, self._origins
        self._entries, self._origins, self.held = [], [], 0
        if not entries:
            return empty_requests()
        kinds = np.tile([False, True], len(origins))
        is_tcp = np.repeat(kinds, [count for *_, http, tcp in origins for count in (http, tcp)])
        origin = np.repeat(np.arange(len(origins)), [http + tcp for *_, http, tcp in origins])
        pieces = -(-len(entries) // _BUFFER)
        marks = [len(entries) * piece // pieces for piece in range(pieces + 1)]
        batches = [
            self._read(Entries(entries[at:end], is_tcp[at:end]), origin[at:end], origins)
            for at, end in pairwise(marks)
        ]
        batch = batches[0] if len(batches) == 1 else np.concatenate(batches)
        self.seen += len(batch)
        return batch

    def _read(
        self, entries: Entries, origin: I64, origins: Sequence[tuple[Source, int, int, int]]
    ) -> RequestBatch:
        kind = entries.number("type")
        ends = np.where(entries.is_tcp, np.isin(kind, TCP_ENDS), np.isin(kind, HTTP_ENDS))
        wanted = ends & (entries.number("intermediate") == 0) | self._every
        malformed = int(np.count_nonzero(entries.malformed))
        self.intermediate += int(np.count_nonzero(~wanted & ~entries.malformed))
        rows = np.flatnonzero(wanted & ~entries.malformed)
        entries.keep(rows)
        origin = origin[rows]
        batch = empty_requests(len(rows))
        for index, name in enumerate(Source._fields):
            batch[name] = _each([source[index] for source, *_ in origins], np.object_)[origin]
        self._texts(batch, entries)
        self._headers(batch, entries)
        self._metadata(batch, entries)
        received = _each([received for _, received, *_ in origins], np.int64)[origin]
        self._times(batch, entries, received)
        self._addresses(batch, entries)
        self._numbers(batch, entries)
        self._count("malformed", malformed + int(np.count_nonzero(entries.malformed)))
        return batch[~entries.malformed] if entries.malformed.any() else batch

    def _times(self, batch: RequestBatch, entries: Entries, received: I64) -> None:
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

    def _addresses(self, batch: RequestBatch, entries: Entries) -> None:
        known = self._known
        known.make_room(5 * len(batch))
        for side in _SIDES:
            rows, every = entries.octets(*_FIELDS.get(side, (side,)))
            numbers = np.zeros(len(batch), np.int64)
            numbers[rows] = known.numbers(every)
            batch[f"{side}_addr"], batch[f"{side}_port"] = (
                known.packed[numbers],
                known.ports[numbers],
            )
            self._count("bad_address", int(np.count_nonzero(known.bad[numbers])))
        self._forwarded(batch, entries)

    def _forwarded(self, batch: RequestBatch, entries: Entries) -> None:
        """The remote address is another than the socket's where trusted hops forwarded it."""
        known = self._known
        rows, every = entries.octets("remote")
        numbers = known.numbers(every)
        packed, ports = known.packed[numbers], known.ports[numbers]
        same = (packed == batch["client_addr"][rows]).all(axis=1) & (
            ports == batch["client_port"][rows]
        )
        told = ~known.bad[numbers] & packed.any(axis=1) & (~same | (ports == 0))
        batch["forwarded_addr"][rows[told]] = packed[told]
        if self._hops:
            rows, texts, _ = entries.texts("forwarded_for")
            for row, text in zip(rows.tolist(), texts, strict=True):
                if not batch["forwarded_addr"][row].any():
                    found = forwarded_address(text, self._hops)
                    batch["forwarded_addr"][row] = np.frombuffer(found, np.uint8)

    def _numbers(self, batch: RequestBatch, entries: Entries) -> None:
        tcp = entries.is_tcp
        batch["kind"] = np.where(tcp, EntryKind.TCP, EntryKind.HTTP)
        for name, field in (("bytes_received", "received"), ("bytes_sent", "sent")):
            octets = np.where(tcp, entries.number(f"tcp_{field}"), entries.number(field))
            batch[name] = octets.view(np.uint64)
        rows, every = entries.octets("response_flags")
        flags = response_flags(every)
        self._count("bad_flags", int(np.count_nonzero(flags < 0)))
        batch["flags"][rows] = np.maximum(flags, 0)
        for name, field in _NUMBERS.items():
            values = entries.number(field)
            most = np.iinfo(batch[name].dtype).max
            batch[name] = np.where((values >= 0) & (values <= most), values, 0)

    def _texts(self, batch: RequestBatch, entries: Entries) -> None:
        for name, fields in _TEXTS.items():
            self._text(batch, name, *entries.texts(*fields))
        for field, of in (("details", ~entries.is_tcp), ("termination_details", entries.is_tcp)):
            self._text(batch, "details", *entries.texts(field, of=of))
        method = entries.number("method")
        known = (method >= 0) & (method < len(METHODS))
        batch["method"] = _METHODS[np.where(known, method, 0)]

    def _text(
        self, batch: RequestBatch, name: str, rows: I64, texts: list[str], longest: int
    ) -> None:
        limit = self._limits.text
        if longest > limit and max(map(len, texts)) > limit:
            self._count("oversize_text", sum(len(text) > limit for text in texts))
            texts = [text[:limit] for text in texts]
        if name in _FEW:
            texts = list(map(sys.intern, texts))
        if len(rows) == len(batch):
            batch[name] = texts
        elif texts:
            batch[name][rows] = texts

    def _headers(self, batch: RequestBatch, entries: Entries) -> None:
        rows, names, values = entries.pairs("header")
        if not len(rows):
            return
        limit, most = self._limits.text, self._limits.headers
        headers: list[dict[str, str]] = batch["headers"].tolist()
        for row, name, value in zip(rows.tolist(), names, values, strict=True):
            headers[row][name.lower()] = value
        if (
            max(map(len, set(names))) > limit
            or max(map(len, values)) > limit
            or max(map(len, headers)) > most
        ):
            cut = [
                {name[:limit]: text[:limit] for name, text in islice(fields.items(), most)}
                for fields in headers
            ]
            changed = sum(old != new for old, new in zip(headers, cut, strict=True))
            self._count("oversize_text", changed)
            batch["headers"] = headers = cut
        if any(name.lower() == "traceparent" for name in set(names)):
            batch["traceparent"] = [fields.get("traceparent", "") for fields in headers]

    def _metadata(self, batch: RequestBatch, entries: Entries) -> None:
        tags: dict[int, list[tuple[str, str]]] = {}
        states: dict[int, list[bytes]] = {}
        rows, names, values = entries.pairs("tag")
        for row, name, value in zip(rows.tolist(), names, values, strict=True):
            tags.setdefault(row, []).append((name, value))
        rows, every = entries.every("filter_state")
        for row, raw in zip(rows.tolist(), every, strict=True):
            states.setdefault(row, []).append(raw)
        rows, every = entries.octets("metadata")
        dynamic = dict(zip(rows.tolist(), every, strict=True))
        for row in {**tags, **states, **dynamic}:
            batch["metadata"][row] = entry_metadata(
                tuple(tags.get(row, ())), dynamic.get(row, b""), tuple(states.get(row, ()))
            )

    def _count(self, reason: str, count: int) -> None:
        if count:
            self._losses.add(Place.ACCESS_LOG, reason, count)


def _each(values: list[Any], dtype: DTypeLike) -> NDArray[Any]:
    column: NDArray[Any] = np.array(values, dtype)
    return column
