"""Convert OTLP log records of Envoy's OpenTelemetry access logger to REQUEST rows."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from flowd.accesslog.lines_to_rows import LineParser
from flowd.accesslog.snippet import Format
from flowd.model.enums import FINAL_TYPES
from flowd.model.losses import Losses, Place
from flowd.model.records.request import RequestBatch

MAX_RECORDS = 10_000
_MAX_ATTRIBUTES = 256
_MAX_TEXT = 8192
_COLUMNS = ("log_name", "node_id", "node_cluster")
Origin = tuple[str, str, str]


class OtlpEntries:
    """Collects log records and converts them into one REQUEST array.

    The attributes of a record are read as the keys of a JSON entry; if they are not recognized as
    one, the body is read as a line. The record's `time_unix_nano` takes precedence over a logged
    time.

    Args:
        losses: receives excess records and unreadable entries under Place.ACCESS_LOG.
        formats: configured formats, as in LineParser.
        final_only: skip entries that Envoy logs before the end of a request or connection.

    Attributes:
        seen, intermediate: totals of converted entries and of skipped ones that are not final.
    """

    def __init__(
        self, losses: Losses, formats: Sequence[Format] = (), *, final_only: bool = True
    ) -> None:
        self._losses = losses
        self._lines = LineParser(losses, formats, final_only=False)
        self._final_only = final_only
        self._origins: list[Origin] = []
        self._times: list[int] = []
        self.seen = 0
        self.intermediate = 0

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, request: ExportLogsServiceRequest) -> None:
        """Add a request's records; records above MAX_RECORDS are counted and skipped."""
        added = 0
        for group in request.resource_logs:
            origin = _origin(group.resource)
            for scope in group.scope_logs:
                room = max(0, MAX_RECORDS - added)
                for record in islice(scope.log_records, room):
                    self._record(record, origin)
                added += min(room, len(scope.log_records))
                if (over := len(scope.log_records) - room) > 0:
                    self._losses.add(Place.ACCESS_LOG, "too_many_entries", over)

    def take(self) -> RequestBatch:
        """Convert all entries since the last call, in order of arrival, shape (N,)."""
        batch = self._lines.take()
        for index, name in enumerate(_COLUMNS):
            batch[name] = [origin[index] for origin in self._origins]
        times = np.array(self._times, np.uint64)
        batch["time_ns"] = np.where(times > 0, times, batch["time_ns"])
        self._origins, self._times = [], []
        if self._final_only:
            batch = self._final(batch)
        self.seen += len(batch)
        return batch

    def _final(self, batch: RequestBatch) -> RequestBatch:
        final = np.isin(batch["log_type"], FINAL_TYPES)
        self.intermediate += len(batch) - int(np.count_nonzero(final))
        return batch[final]

    def _record(self, record: LogRecord, origin: Origin) -> None:
        entry = {
            attribute.key: _value(attribute.value)
            for attribute in islice(record.attributes, _MAX_ATTRIBUTES)
        }
        body = record.body
        if body.HasField("kvlist_value"):
            pairs = islice(body.kvlist_value.values, _MAX_ATTRIBUTES)
            entry |= {pair.key: _value(pair.value) for pair in pairs}
        line = body.string_value
        if self._lines.recognizes(entry):
            added = self._lines.add_object(entry)
        elif line:
            added = self._lines.add(line[: _MAX_TEXT * 4].encode(errors="replace"))
        else:
            added = self._lines.add_object(entry)
        if added:
            self._origins.append(origin)
            self._times.append(record.time_unix_nano if record.time_unix_nano < 1 << 63 else 0)


def _origin(resource: Resource) -> Origin:
    found = {
        attribute.key: attribute.value.string_value[:_MAX_TEXT]
        for attribute in islice(resource.attributes, _MAX_ATTRIBUTES)
    }
    return found.get("log_name", ""), found.get("node_name", ""), found.get("cluster_name", "")


def _value(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case "bool_value":
            return value.bool_value
        case _:
            return None
