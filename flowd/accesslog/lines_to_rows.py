"""Parse access-log lines (JSON or text) into REQUEST rows."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, cast

import msgspec
import numpy as np
from msgspec.structs import astuple

from flowd.accesslog.addresses import AddressInterner
from flowd.accesslog.jsonformat import JsonFormat, JsonReader, Keys, reader_by_keys
from flowd.accesslog.raw_to_columns import Plan, RawValues, RequestBatchBuilder
from flowd.accesslog.snippet import Format
from flowd.accesslog.textformat import ENVOY, ISTIO, TextFormat
from flowd.accesslog.values import MAX_TEXT, address
from flowd.model.enums import FINAL_TYPES
from flowd.model.losses import Losses, Place
from flowd.model.records.request import RequestBatch, empty_requests

Form: TypeAlias = Literal["auto", "json", "text"]
MAX_LINE = 1 << 20
"""Longest line, in bytes."""
_MAX_KEYS = 512
_MAX_READERS = 256
_decode = msgspec.json.Decoder().decode
_ENVOY_APPLICATION_LOG = re.compile(r"\[\d{4}-\d\d-\d\d [0-9:.]{8,15}\]\[\d+\]\[[a-z]+\]")


class _Bucket:
    """The raw values of one plan, and their positions among all entries.

    Attributes:
        decode: decodes a JSON line with exactly the plan's keys; raises ValueError for other lines.
    """

    __slots__ = ("decode", "plan", "positions", "rows")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rows: list[RawValues] = []
        self.positions: list[int] = []
        self.decode: Callable[[bytes], Any] | None = None


class LineParser:
    """Collects access-log entries and converts them into one REQUEST array.

    Args:
        losses: receives unreadable lines and values under Place.ACCESS_LOG.
        formats: configured formats, tried before the well-known ones.
        final_only: skip entries that Envoy logs before the end of a request or connection.
        form: parse every line as JSON or as text; `auto` decides by its first character.

    Attributes:
        seen, intermediate: totals of converted entries and of skipped ones that are not final.
    """

    def __init__(
        self,
        losses: Losses,
        formats: Sequence[Format] = (),
        *,
        final_only: bool = True,
        form: Form = "auto",
    ) -> None:
        self.seen = 0
        self.intermediate = 0
        self._losses = losses
        self._final_only = final_only
        self._form = form
        self._json = [entry for entry in formats if isinstance(entry, JsonFormat)]
        configured = [entry for entry in formats if isinstance(entry, TextFormat)]
        self._texts = [*configured, TextFormat(ISTIO), TextFormat(ENVOY)]
        self._text_plans = {entry.text: _Bucket(entry.plan) for entry in self._texts}
        self._readers: dict[Keys, tuple[JsonReader, _Bucket] | None] = {}
        self._count = 0
        self._longest = 0
        self._previous: _Bucket | None = None
        self._fast: _Bucket | None = None  # decodes JSON lines without a dict
        self._addresses = AddressInterner(address, None, "?")

    def __len__(self) -> int:
        return self._count

    def add(self, line: bytes) -> bool:
        """Add one line; returns False for a line without an entry, counted unless it is empty."""
        self._longest = max(self._longest, len(line))
        is_object = self._form == "json" or (self._form == "auto" and line[:1] == b"{")
        if is_object and (fast := self._fast) and (decode := fast.decode):
            try:
                fast.rows.append(astuple(decode(line)))
            except (msgspec.DecodeError, ValueError, RecursionError):
                pass
            else:
                fast.positions.append(self._count)
                self._count += 1
                return True
        if not line or line.isspace():
            return False
        if is_object:
            try:
                entry = _decode(line)
            except (msgspec.DecodeError, ValueError, RecursionError):
                entry = _decode_lossy(line)
            if entry.__class__ is dict:
                return self._add_object(cast("dict[str, Any]", entry))
            return self._reject("malformed_json")
        return self._add_text(line)

    def add_object(self, entry: dict[str, Any]) -> bool:
        """Add one entry as a decoded JSON object; returns False for an unknown format."""
        self._longest = MAX_LINE  # the lengths of its values are unknown
        return self._add_object(entry)

    def _add_object(self, entry: dict[str, Any]) -> bool:
        keys = tuple(entry)
        known = self._readers[keys] if keys in self._readers else self._reader(keys)
        if known is None:
            return self._reject("unknown_format")
        reader, bucket = known
        bucket.rows.append(tuple(entry.values()) if reader.is_flat else reader.read(entry))
        bucket.positions.append(self._count)
        self._count += 1
        if bucket is self._previous and bucket is not self._fast and reader.is_flat:
            bucket.decode = bucket.decode or _decoder(keys)
            self._fast = bucket
        self._previous = bucket
        return True

    def recognizes(self, entry: dict[str, Any]) -> bool:
        """Whether an object's keys are those of an access-log entry."""
        keys = tuple(entry)
        known = self._readers[keys] if keys in self._readers else self._reader(keys)
        return known is not None

    def take(self) -> RequestBatch:
        """Convert all entries since the last call, in order of arrival, shape (N,)."""
        converted = [
            (bucket.positions, self._convert(bucket)) for bucket in self._buckets() if bucket.rows
        ]
        if len(converted) == 1:
            batch = converted[0][1]
        else:
            batch = empty_requests(self._count)
            for positions, rows in converted:
                batch[positions] = rows
        if len(self._readers) >= _MAX_READERS:
            self._readers.clear()
            self._previous = self._fast = None
        self._count = self._longest = 0
        if self._final_only and len(batch):
            final = np.isin(batch["log_type"], FINAL_TYPES)
            self.intermediate += len(batch) - int(np.count_nonzero(final))
            batch = batch[final]
        self.seen += len(batch)
        return batch

    def _convert(self, bucket: _Bucket) -> RequestBatch:
        builder = RequestBatchBuilder(
            bucket.plan,
            bucket.rows,
            self._losses,
            self._addresses,
            long=self._longest > MAX_TEXT,
        )
        bucket.rows, bucket.positions = [], []
        return builder.build()

    def _buckets(self) -> list[_Bucket]:
        return [known[1] for known in self._readers.values() if known] + [
            *self._text_plans.values()
        ]

    def _reader(self, keys: Keys) -> "tuple[JsonReader, _Bucket] | None":
        """The reader of objects with these keys, from a bounded cache; None for unknown keys."""
        if len(keys) > _MAX_KEYS or len(self._readers) >= 2 * _MAX_READERS:
            return None
        form = next((form for form in self._json if form.covers(keys)), None)
        reader = form.reader(keys) if form else reader_by_keys(keys)
        found = (reader, _Bucket(reader.plan)) if form or reader.plan.is_entry else None
        if sum(map(len, keys)) <= MAX_LINE >> 6:
            self._readers[keys] = found
            return found
        return None

    def _add_text(self, line: bytes) -> bool:
        text = line.decode(errors="replace").rstrip("\r\n")
        for index, form in enumerate(self._texts):
            row = form.read(text)
            if row is None:
                continue
            if index:  # the next line probably has the same format
                self._texts.insert(0, self._texts.pop(index))
            bucket = self._text_plans[form.text]
            bucket.rows.append(row)
            bucket.positions.append(self._count)
            self._count += 1
            return True
        if _ENVOY_APPLICATION_LOG.match(text):
            return False
        return self._reject("malformed_text")

    def _reject(self, reason: str) -> bool:
        self._losses.add(Place.ACCESS_LOG, reason)
        return False


def _decoder(keys: Keys) -> "Callable[[bytes], Any] | None":
    """A decoder of objects with exactly these keys into a struct, in half the time of a dict."""
    fields = [(f"f{place}", object) for place in range(len(keys))]
    names = {f"f{place}": key for place, key in enumerate(keys)}
    try:
        kind = msgspec.defstruct("Line", fields, rename=names, forbid_unknown_fields=True, gc=False)
    except ValueError:  # a key that msgspec rejects as a name
        return None
    return msgspec.json.Decoder(kind).decode


def _decode_lossy(line: bytes) -> object:
    """The value of a JSON line whose invalid UTF-8 is replaced; None for other lines."""
    try:
        return _decode(line.decode(errors="replace").encode(errors="replace"))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
