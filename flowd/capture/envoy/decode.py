"""From Envoy's StreamAccessLogsMessage to REQUEST rows, column by column."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from flowd.accesslog.forwarded import forwarded_address
from flowd.capture.envoy.addresses import Peers, response_flags
from flowd.capture.envoy.entry import Entries, Texts
from flowd.capture.envoy.metadata import entry_metadata
from flowd.capture.envoy.protoscan import I64
from flowd.model.enums import EntryKind
from flowd.model.losses import Losses, Place
from flowd.model.records.request import RequestBatch, empty_requests
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
_OTHER = 15  # any number above those of AccessLogType
_ENDS = np.array([kind in ends for ends in (HTTP_ENDS, TCP_ENDS) for kind in range(_OTHER + 1)])
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
_FEW = frozenset(("scheme", "host", "user_agent", "sni", "cluster", "route_name"))
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
        self._peers = Peers()
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
        batch, filled = empty_requests(len(entries)), 0
        for at, end in pairwise(marks):
            piece = Entries(entries[at:end], is_tcp[at:end])
            filled += self._read(piece, origin[at:end], origins, batch[filled:])
        self.seen += filled
        return batch[:filled]

    def _read(
        self,
        entries: Entries,
        origin: I64,
        origins: Sequence[tuple[Source, int, int, int]],
        out: RequestBatch,
    ) -> int:
        """Fill the first rows of `out`, which are empty ones; returns how many."""
        kind = entries.number("type")
        ends = _ENDS[kind.clip(0, _OTHER) + (_OTHER + 1) * entries.is_tcp]
        wanted = ends & (entries.number("intermediate") == 0) | self._every
        malformed = int(np.count_nonzero(entries.malformed))
        self.intermediate += int(np.count_nonzero(~wanted & ~entries.malformed))
        rows = np.flatnonzero(wanted & ~entries.malformed)
        entries.keep(rows)
        origin = origin[rows]
        batch = out[: len(rows)]
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
        if not entries.malformed.any():
            return len(batch)
        sound = batch[~entries.malformed]
        batch[:] = empty_requests(len(batch))
        batch[: len(sound)] = sound
        return len(sound)

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
        for side in _SIDES:
            spans = entries.spans(*_FIELDS.get(side, (side,)))
            batch[f"{side}_addr"], batch[f"{side}_port"], bad = self._peers.read(entries, spans)
            self._count("bad_address", int(np.count_nonzero(bad)))
        self._forwarded(batch, entries)

    def _forwarded(self, batch: RequestBatch, entries: Entries) -> None:
        """The remote address is another than the socket's where trusted hops forwarded it."""
        packed, ports, bad = self._peers.read(entries, entries.spans("remote"))
        words, client = (each.view(np.uint64) for each in (packed, batch["client_addr"].copy()))
        same = (words[:, 0] == client[:, 0]) & (words[:, 1] == client[:, 1])
        same &= ports == batch["client_port"]
        told = np.flatnonzero(~bad & (words[:, 1] | words[:, 0] != 0) & (~same | (ports == 0)))
        batch["forwarded_addr"][told] = packed[told]
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
            read = entries.few if name in _FEW else entries.texts
            self._text(batch, name, *read(*fields))
        for field, of in (("details", ~entries.is_tcp), ("termination_details", entries.is_tcp)):
            self._text(batch, "details", *entries.few(field, of=of))
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

    def _headers(self, batch: RequestBatch, entries: Entries) -> None:
        rows, names, values, longest = entries.pairs("header")
        if not len(rows):
            return
        limit, most = self._limits.text, self._limits.headers
        headers: list[dict[str, str]] = batch["headers"].tolist()
        told: list[str] = names.tolist()
        lower = {name: name.lower() for name in set(told)}
        owners = map(headers.__getitem__, rows.tolist())
        for held, name, value in zip(owners, map(lower.__getitem__, told), values, strict=True):
            held[name] = value
        if longest > limit or (len(rows) > most and np.bincount(rows).max() > most):
            self._cut(batch, headers)
        if "traceparent" in lower.values():
            batch["traceparent"] = [fields.get("traceparent", "") for fields in headers]

    def _cut(self, batch: RequestBatch, headers: list[dict[str, str]]) -> None:
        """Hold headers to the limits, in their dicts."""
        limit, most = self._limits.text, self._limits.headers
        changed = 0
        for fields in headers:
            cut = {name[:limit]: text[:limit] for name, text in islice(fields.items(), most)}
            if fields != cut:
                changed += 1
                fields.clear()
                fields.update(cut)
        self._count("oversize_text", changed)

    def _metadata(self, batch: RequestBatch, entries: Entries) -> None:
        tags: dict[int, list[tuple[str, str]]] = {}
        states: dict[int, list[bytes]] = {}
        rows, names, values, _ = entries.pairs("tag")
        for row, name, value in zip(rows.tolist(), names.tolist(), values, strict=True):
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
