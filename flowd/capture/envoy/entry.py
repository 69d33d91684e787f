"""Fields of access-log entries as columns of spans and numbers.

Field meanings: Envoy's data/accesslog/v3/accesslog.proto.
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


def _moment(name: str) -> dict[str, str]:
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
        (Timestamp, _moment("start")),
        (Duration, _moment("duration")),
        (Duration, _moment("us_tx")),
        (Duration, _moment("us_rx")),
        (UInt32Value, {"value": "status"}),
        (Tls, {"sni": "sni"}),
        (Req.HeadersEntry, {"key": "header_name", "value": "header_value"}),
        (Common.CustomTagsEntry, {"key": "tag_name", "value": "tag_value"}),
    ]
)


_TEXTS = SpanCache(64, 12)
_STRINGS: Texts = np.full(_TEXTS.size, "", np.object_)


class Entries:
    """Entries by their columns.

    Args:
        entries: serialized HTTPAccessLogEntry and TCPAccessLogEntry messages.
        is_tcp: which of them are the latter, shape (entries,).

    Attributes:
        buffer: the bytes of all.
        malformed: which are no messages, or hold text that is no UTF-8.
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
        self._every = found.every

    def number(self, name: str) -> I64:
        """A number of each entry, modulo 2**64; 0 where it is absent."""
        return self._values[name]

    def keep(self, rows: I64) -> None:
        """Leave out all other entries; then `details` may be read."""
        if len(rows) < len(self.malformed):
            self._leave_out(rows)
        taken = self._first("duration", "t_last_ds_tx")
        moments = [self._values["start"], taken, *(self._values[name] for name in _UPSTREAM)]
        headers, tags = self._every["headers"], self._every["custom_tags"]
        single = [*moments, self._values["code"], self._values["tls"]]
        found = _DETAILS.scan(self.buffer, [*single, headers[1], tags[1]])
        owners = np.concatenate([*[np.arange(len(rows))] * len(single), headers[0], tags[0]])
        self.malformed[owners[found.malformed]] = True
        self._values |= found.values

    def _leave_out(self, rows: I64) -> None:
        moved = np.full(len(self.malformed), -1, np.int64)
        moved[rows] = np.arange(len(rows))
        self.is_tcp, self.malformed = self.is_tcp[rows], self.malformed[rows]
        self._values = {name: values[rows] for name, values in self._values.items()}
        for name, (owners, spans) in self._every.items():
            owners = moved[owners]
            self._every[name] = owners[owners >= 0], spans[owners >= 0]

    def nanoseconds(self, name: str, most: int) -> I64:
        """A moment or duration, its seconds cut to `most` in either direction."""
        seconds, nanos = self._values[f"{name}_s"], self._values[f"{name}_ns"]
        return seconds.clip(-most, most) * 10**9 + nanos.clip(-(2**31), 2**31)

    def texts(self, *names: str, of: NDArray[np.bool_] | None = None) -> tuple[I64, list[str], int]:
        """Entries that have the first of these fields, else the next, its texts, most bytes of one.

        Args:
            of: the only entries to look at.
        """
        rows, found = self._there(names, of)
        return rows, self._slices(rows, found), int(lengths(found).max(initial=0))

    def few(self, *names: str, of: NDArray[np.bool_] | None = None) -> tuple[I64, Texts, int]:
        """The same for fields that are the same in many entries; texts of shape (rows,)."""
        rows, found = self._there(names, of)
        return rows, self._known(rows, found), int(lengths(found).max(initial=0))

    def _there(self, names: Sequence[str], of: NDArray[np.bool_] | None) -> tuple[I64, Spans]:
        """Entries that have one of the fields, and its spans, for the first that they have."""
        spans = self._first(*names)
        if of is not None:
            spans = np.where(of, spans, 0)
        rows = np.flatnonzero(lengths(spans))
        return rows, spans[rows]

    def octets(self, *names: str) -> tuple[I64, list[bytes]]:
        """Entries that have the first of these fields, else the next, and its bytes."""
        spans = self._first(*names)
        rows = np.flatnonzero(lengths(spans))
        return rows, self.octets_of(spans[rows])

    def octets_of(self, spans: Spans) -> list[bytes]:
        """The bytes of spans."""
        data, begin = self.buffer.data, starts(spans)
        ends = begin + lengths(spans)
        return [data[at:end] for at, end in zip(begin.tolist(), ends.tolist(), strict=True)]

    def spans(self, *names: str) -> Spans:
        """Where the first of these fields is in each entry, else the next; 0 where neither is."""
        return self._first(*names)

    def every(self, name: str) -> tuple[I64, list[bytes]]:
        """Entries and bytes of a repeated field, those of an entry in order."""
        rows, spans = self._every[name]
        return rows, self.octets_of(spans)

    def pairs(self, name: str) -> tuple[I64, Texts, list[str], int]:
        """Entries, keys and values of the map `header` or `tag`, most bytes of a key or value."""
        rows, _ = self._every["headers" if name == "header" else "custom_tags"]
        keys, values = (self._values[f"{name}_{part}"] for part in ("name", "value"))
        longest = int(np.maximum(lengths(keys), lengths(values)).max(initial=0))
        return rows, self._known(rows, keys), self._slices(rows, values), longest

    def _first(self, *names: str) -> Spans:
        spans = self._values[names[0]]
        for name in names[1:]:
            spans = np.where(lengths(spans), spans, self._values[name])
        return spans

    def _known(self, rows: I64, spans: Spans) -> Texts:
        """Texts, of those that were met before the very same string."""
        if not len(rows):
            return np.zeros(0, np.object_)
        looked = _TEXTS.look(self.buffer, spans)
        texts = _STRINGS[looked.slots]
        if not looked.known.all():
            missed = np.flatnonzero(~looked.known)
            texts[missed] = list(map(sys.intern, self._slices(rows[missed], spans[missed])))
            sound = missed[~self.malformed[rows[missed]]]
            put, slots = _TEXTS.put(looked, sound)
            _STRINGS[slots] = texts[put]
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
        """What was taken for Latin-1 as the UTF-8 that it is."""
        try:
            return text.encode("latin-1").decode()
        except UnicodeDecodeError:
            self.malformed[row] = True
            return ""
