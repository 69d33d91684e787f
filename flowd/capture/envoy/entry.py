"""Columns of the fields of HTTPAccessLogEntry and TCPAccessLogEntry messages.

Fields: envoy/data/accesslog/v3/accesslog.proto; names: flowd/wire/als/als.proto.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import UInt32Value
from numpy.typing import NDArray

from flowd.capture.envoy.protoscan import I64, Buffer, Scanner, Spans, lengths, starts
from flowd.capture.envoy.span_cache import SpanCache
from flowd.wire.als.als_pb2 import Common, Http, Req, Resp, Tcp, Tls, Volume

Texts: TypeAlias = NDArray[np.object_]
"""An array of str."""
_COMMON = (
    *("remote", "local", "direct_remote", "up_remote", "up_local", "tls", "start", "duration"),
    *("t_last_ds_tx", "t_first_us_tx", "t_first_us_rx", "cluster", "route_name", "stream_id"),
    *("response_flags", "metadata", "filter_state", "custom_tags", "attempts", "type"),
    *("up_transport_failure", "down_transport_failure", "termination_details", "intermediate"),
)
_UPSTREAM = ("t_first_us_tx", "t_first_us_rx")
_REQUEST = (
    *("method", "scheme", "authority", "path", "original_path", "user_agent", "forwarded_for"),
    *("request_id", "headers"),
)


def _same(names: Iterable[str], prefix: str = "") -> dict[str, str]:
    return {name: prefix + name for name in names}


def _seconds_and_nanos(name: str) -> dict[str, str]:
    return {"seconds": f"{name}_s", "nanos": f"{name}_ns"}


_ENTRIES = Scanner(
    [
        (Http, _same(("common", "version", "request", "response"))),
        (Tcp, {"common": "tcp_common", "volume": "volume"}),
    ]
)
_PARTS = Scanner(
    [
        (Common, _same(_COMMON)),
        (Req, {**_same(_REQUEST), "body_bytes": "received"}),
        (Resp, {"code": "code", "body_bytes": "sent", "details": "details"}),
        (Volume, {"received": "tcp_received", "sent": "tcp_sent"}),
    ]
)
_DETAILS = Scanner(
    [
        (Timestamp, _seconds_and_nanos("start")),
        (Duration, _seconds_and_nanos("duration")),
        (Duration, _seconds_and_nanos("us_tx")),
        (Duration, _seconds_and_nanos("us_rx")),
        (UInt32Value, {"value": "status"}),
        (Tls, {"sni": "sni"}),
        (Req.HeadersEntry, {"key": "header_name", "value": "header_value"}),
        (Common.CustomTagsEntry, {"key": "tag_name", "value": "tag_value"}),
    ]
)


_TEXTS = SpanCache(64, 12)
_STRINGS: Texts = np.full(_TEXTS.size, "", np.object_)


class EntryColumns:
    """The columns of a batch of entries.

    Args:
        entries: serialized HTTPAccessLogEntry and TCPAccessLogEntry messages.
        is_tcp: whether each is a TCPAccessLogEntry, shape (entries,).

    Attributes:
        buffer: the bytes of all entries.
        malformed: whether each entry is no valid message or has text that is not UTF-8.
    """

    def __init__(self, entries: Sequence[bytes], is_tcp: NDArray[np.bool_]) -> None:
        self.buffer = Buffer(entries)
        self._text = self.buffer.data.decode("latin-1")
        self.is_tcp = is_tcp
        self.malformed = np.zeros(len(entries), np.bool_)
        spans = self.buffer.spans
        kinds = np.flatnonzero(~is_tcp), np.flatnonzero(is_tcp)
        found = _ENTRIES.scan(self.buffer, [spans[rows] for rows in kinds])
        self.malformed[np.concatenate(kinds)] = found.malformed
        self._values: dict[str, I64] = {}
        for name, values in found.values.items():
            rows = kinds[name in ("tcp_common", "volume")]
            column = values
            if len(rows) < len(entries):
                column = np.zeros(len(entries), np.int64)
                column[rows] = values
            self._values[name] = column
        common = np.where(is_tcp, self._values["tcp_common"], self._values["common"])
        parts = [common, *(self._values[name] for name in ("request", "response", "volume"))]
        found = _PARTS.scan(self.buffer, parts)
        self.malformed |= found.malformed.reshape(len(parts), -1).any(axis=0)
        self._values |= found.values
        self._repeated = found.repeated

    def number(self, name: str) -> I64:
        """A number of each entry, modulo 2**64, shape (entries,); 0 where the field is absent."""
        return self._values[name]

    def select(self, rows: I64) -> None:
        """Keep only these entries, and scan their nested messages; call it once."""
        if len(rows) < len(self.malformed):
            self._take(rows)
        duration = self._first("duration", "t_last_ds_tx")
        moments = [self._values["start"], duration, *(self._values[name] for name in _UPSTREAM)]
        headers, tags = self._repeated["headers"], self._repeated["custom_tags"]
        single = [*moments, self._values["code"], self._values["tls"]]
        found = _DETAILS.scan(self.buffer, [*single, headers[1], tags[1]])
        owners = np.concatenate([*[np.arange(len(rows))] * len(single), headers[0], tags[0]])
        self.malformed[owners[found.malformed]] = True
        self._values |= found.values

    def _take(self, rows: I64) -> None:
        new_index = np.full(len(self.malformed), -1, np.int64)
        new_index[rows] = np.arange(len(rows))
        self.is_tcp, self.malformed = self.is_tcp[rows], self.malformed[rows]
        self._values = {name: values[rows] for name, values in self._values.items()}
        for name, (owners, spans) in self._repeated.items():
            owners = new_index[owners]
            self._repeated[name] = owners[owners >= 0], spans[owners >= 0]

    def nanoseconds(self, name: str, most: int) -> I64:
        """A Timestamp or Duration of each entry in ns; the seconds are clipped to +-`most`."""
        seconds, nanos = self._values[f"{name}_s"], self._values[f"{name}_ns"]
        return seconds.clip(-most, most) * 10**9 + nanos.clip(-(2**31), 2**31)

    def texts(self, *names: str, of: NDArray[np.bool_] | None = None) -> tuple[I64, list[str], int]:
        """The first present of these text fields in each entry.

        Args:
            of: whether to read each entry, shape (entries,).

        Returns:
            indexes of entries that have one, their texts, and the length of the longest in bytes.
        """
        rows, found = self._present(names, of)
        return rows, self._slices(rows, found), int(lengths(found).max(initial=0))

    def interned(self, *names: str, of: NDArray[np.bool_] | None = None) -> tuple[I64, Texts, int]:
        """As `texts`, for fields with few distinct values; returns shared strings."""
        rows, found = self._present(names, of)
        return rows, self._intern(rows, found), int(lengths(found).max(initial=0))

    def _present(self, names: Sequence[str], of: NDArray[np.bool_] | None) -> tuple[I64, Spans]:
        """Indexes of entries that have one of the fields, and the span of the first present one."""
        spans = self._first(*names)
        if of is not None:
            spans = np.where(of, spans, 0)
        rows = np.flatnonzero(lengths(spans))
        return rows, spans[rows]

    def raw(self, *names: str) -> tuple[I64, list[bytes]]:
        """Indexes of entries with one of the fields, and the bytes of the first present one."""
        spans = self._first(*names)
        rows = np.flatnonzero(lengths(spans))
        return rows, self.bytes_at(spans[rows])

    def bytes_at(self, spans: Spans) -> list[bytes]:
        """The bytes of spans."""
        data, begin = self.buffer.data, starts(spans)
        ends = begin + lengths(spans)
        return [data[at:end] for at, end in zip(begin.tolist(), ends.tolist(), strict=True)]

    def spans(self, *names: str) -> Spans:
        """Span of the first present field in each entry, shape (entries,); 0 without one."""
        return self._first(*names)

    def repeated(self, name: str) -> tuple[I64, list[bytes]]:
        """Index of the entry and bytes of each occurrence of a repeated field, in order."""
        rows, spans = self._repeated[name]
        return rows, self.bytes_at(spans)

    def pairs(self, name: str) -> tuple[I64, Texts, list[str], int]:
        """Entry index, key and value of the pairs of map `header` or `tag`; longest in bytes."""
        rows, _ = self._repeated["headers" if name == "header" else "custom_tags"]
        keys, values = (self._values[f"{name}_{part}"] for part in ("name", "value"))
        longest = int(np.maximum(lengths(keys), lengths(values)).max(initial=0))
        return rows, self._intern(rows, keys), self._slices(rows, values), longest

    def _first(self, *names: str) -> Spans:
        spans = self._values[names[0]]
        for name in names[1:]:
            spans = np.where(lengths(spans), spans, self._values[name])
        return spans

    def _intern(self, rows: I64, spans: Spans) -> Texts:
        """Texts of spans; equal texts are the same object."""
        if not len(rows):
            return np.zeros(0, np.object_)
        lookup = _TEXTS.lookup(self.buffer, spans)
        texts = _STRINGS[lookup.slots]
        if not lookup.hits.all():
            missed = np.flatnonzero(~lookup.hits)
            texts[missed] = list(map(sys.intern, self._slices(rows[missed], spans[missed])))
            sound = missed[~self.malformed[rows[missed]]]
            stored, slots = _TEXTS.store(lookup, sound)
            _STRINGS[slots] = texts[stored]
        return texts

    def _slices(self, rows: I64, spans: Spans) -> list[str]:
        text, begin = self._text, starts(spans)
        ends = begin + lengths(spans)
        found = [text[at:end] for at, end in zip(begin.tolist(), ends.tolist(), strict=True)]
        if not "".join(found).isascii():
            for place, each in enumerate(found):
                if not each.isascii():
                    found[place] = self._decoded(each, int(rows[place]))
        return found

    def _decoded(self, text: str, row: int) -> str:
        """Decode as UTF-8 a text that was decoded as Latin-1."""
        try:
            return text.encode("latin-1").decode()
        except UnicodeDecodeError:
            self.malformed[row] = True
            return ""
