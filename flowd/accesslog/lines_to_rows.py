"""Access-log lines of any form to REQUEST rows."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, cast

import msgspec
import numpy as np
from msgspec.structs import astuple

from flowd.accesslog.addresses import Addresses
from flowd.accesslog.jsonformat import JsonFormat, Keys, Reader, reader_by_keys
from flowd.accesslog.raw_to_columns import ENDS, Converter, Plan, Row
from flowd.accesslog.snippet import Format
from flowd.accesslog.textformat import ENVOY, ISTIO, TextFormat
from flowd.accesslog.values import MAX_TEXT, address
from flowd.model.losses import Losses, Place
from flowd.model.records.request import RequestBatch, empty_requests

Form: TypeAlias = Literal["auto", "json", "text"]
MAX_LINE = 1 << 20
"""Most bytes of a line."""
_MAX_KEYS = 512
_MAX_READERS = 256
_decode = msgspec.json.Decoder().decode
_ENVOY_ITSELF = re.compile(r"\[\d{4}-\d\d-\d\d [0-9:.]{8,15}\]\[\d+\]\[[a-z]+\]")


class _Bucket:
    """Rows of one plan, and where each stands among all rows.

    Attributes:
        decode: reads a JSON line with exactly these keys, and raises ValueError for any other.
    """

    __slots__ = ("decode", "order", "plan", "rows")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rows: list[Row] = []
        self.order: list[int] = []
        self.decode: Callable[[bytes], Any] | None = None


class LineParser:
    """Collects entries and gives them as one REQUEST array.

    Args:
        formats: those that were given; the known ones are tried after them.
        ends_only: leave out what Envoy logs before the end of a request or connection.
        form: read every line as JSON, or as text, instead of looking at it.
    """

    def __init__(
        self,
        losses: Losses,
        formats: Sequence[Format] = (),
        *,
        ends_only: bool = True,
        form: Form = "auto",
    ) -> None:
        self.seen = 0
        self.intermediate = 0
        self._losses = losses
        self._ends_only = ends_only
        self._form = form
        self._json = [entry for entry in formats if isinstance(entry, JsonFormat)]
        given = [entry for entry in formats if isinstance(entry, TextFormat)]
        self._texts = [*given, TextFormat(ISTIO), TextFormat(ENVOY)]
        self._text_plans = {entry.text: _Bucket(entry.plan) for entry in self._texts}
        self._readers: dict[Keys, tuple[Reader, _Bucket] | None] = {}
        self._count = 0
        self._longest = 0
        self._last: _Bucket | None = None
        self._usual: _Bucket | None = None
        self._addresses = Addresses(address, None, "?")

    def __len__(self) -> int:
        return self._count

    def add(self, line: bytes) -> bool:
        """Take one line; False when it was no entry, which is counted. Empty lines are nothing."""
        self._longest = max(self._longest, len(line))
        is_object = self._form == "json" or (self._form == "auto" and line[:1] == b"{")
        if is_object and (usual := self._usual) and (decode := usual.decode):
            try:
                usual.rows.append(astuple(decode(line)))
            except (msgspec.DecodeError, ValueError, RecursionError):
                pass
            else:
                usual.order.append(self._count)
                self._count += 1
                return True
        if not line or line.isspace():
            return False
        if is_object:
            try:
                entry = _decode(line)
            except (msgspec.DecodeError, ValueError, RecursionError):
                entry = _repaired(line)
            if entry.__class__ is dict:
                return self._add_object(cast("dict[str, Any]", entry))
            return self._lost("malformed_json")
        return self._add_text(line)

    def add_object(self, entry: dict[str, Any]) -> bool:
        """Take one entry as the object that its JSON was; False when it was none."""
        self._longest = MAX_LINE  # of its values nothing is known
        return self._add_object(entry)

    def _add_object(self, entry: dict[str, Any]) -> bool:
        keys = tuple(entry)
        known = self._readers[keys] if keys in self._readers else self._reader(keys)
        if known is None:
            return self._lost("unknown_format")
        reader, bucket = known
        bucket.rows.append(tuple(entry.values()) if reader.is_flat else reader.row(entry))
        bucket.order.append(self._count)
        self._count += 1
        if bucket is self._last and bucket is not self._usual and reader.is_flat:
            bucket.decode = bucket.decode or _decoder(keys)
            self._usual = bucket
        self._last = bucket
        return True

    def knows(self, entry: dict[str, Any]) -> bool:
        """Whether `add_object` would take an object."""
        keys = tuple(entry)
        known = self._readers[keys] if keys in self._readers else self._reader(keys)
        return known is not None

    def take(self) -> RequestBatch:
        """All entries since the last call, in order of arrival."""
        found = [
            (bucket.order, self._converted(bucket)) for bucket in self._buckets() if bucket.rows
        ]
        if len(found) == 1:
            batch = found[0][1]
        else:
            batch = empty_requests(self._count)
            for order, rows in found:
                batch[order] = rows
        if len(self._readers) >= _MAX_READERS:
            self._readers.clear()
            self._last = self._usual = None
        self._count = self._longest = 0
        if self._ends_only and len(batch):
            ends = np.isin(batch["log_type"], ENDS)
            self.intermediate += len(batch) - int(np.count_nonzero(ends))
            batch = batch[ends]
        self.seen += len(batch)
        return batch

    def _converted(self, bucket: _Bucket) -> RequestBatch:
        long = self._longest > MAX_TEXT
        rows = Converter(bucket.plan, bucket.rows, self._losses, self._addresses, long=long).batch()
        bucket.rows, bucket.order = [], []
        return rows

    def _buckets(self) -> list[_Bucket]:
        return [known[1] for known in self._readers.values() if known] + [
            *self._text_plans.values()
        ]

    def _reader(self, keys: Keys) -> "tuple[Reader, _Bucket] | None":
        """How to read objects with these keys: kept for the next one, within bounds."""
        if len(keys) > _MAX_KEYS or len(self._readers) >= 2 * _MAX_READERS:
            return None
        given = next((form for form in self._json if form.covers(keys)), None)
        reader = given.reader(keys) if given else reader_by_keys(keys)
        found = (reader, _Bucket(reader.plan)) if given or reader.plan.is_entry else None
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
            if index:  # the next line is likely of the same format
                self._texts.insert(0, self._texts.pop(index))
            bucket = self._text_plans[form.text]
            bucket.rows.append(row)
            bucket.order.append(self._count)
            self._count += 1
            return True
        if _ENVOY_ITSELF.match(text):
            return False
        return self._lost("malformed_text")

    def _lost(self, reason: str) -> bool:
        self._losses.add(Place.ACCESS_LOG, reason)
        return False


def _decoder(keys: Keys) -> "Callable[[bytes], Any] | None":
    """What reads an object with exactly these keys into a struct, in half the time of a dict."""
    fields = [(f"f{place}", object) for place in range(len(keys))]
    names = {f"f{place}": key for place, key in enumerate(keys)}
    try:
        kind = msgspec.defstruct("Line", fields, rename=names, forbid_unknown_fields=True, gc=False)
    except ValueError:  # a key that msgspec takes for no name
        return None
    return msgspec.json.Decoder(kind).decode


def _repaired(line: bytes) -> object:
    """The object of a line that is JSON but for bytes that are no UTF-8; None when it is not."""
    try:
        return _decode(line.decode(errors="replace").encode(errors="replace"))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
