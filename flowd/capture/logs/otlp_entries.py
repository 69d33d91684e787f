"""From OTLP export requests of Envoy's OpenTelemetry access logger to REQUEST rows."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from flowd.accesslog.lines_to_rows import LineParser
from flowd.accesslog.raw_to_columns import ENDS
from flowd.accesslog.snippet import Format
from flowd.model.losses import Losses, Place
from flowd.model.records.request import RequestBatch

MAX_RECORDS = 10_000
_MAX_ATTRIBUTES = 256
_MAX_TEXT = 8192
_COLUMNS = ("log_name", "node_id", "node_cluster")
Origin = tuple[str, str, str]


class OtlpEntries:
    """Collects log records and gives them as one REQUEST array.

    The attributes of a record are read as the keys of a JSON entry; where they say too little, the
    body is read as a line. The record's own time, in microseconds, goes before a logged one.
    """

    def __init__(
        self, losses: Losses, formats: Sequence[Format] = (), *, ends_only: bool = True
    ) -> None:
        self._losses = losses
        self._lines = LineParser(losses, formats, ends_only=False)
        self._ends_only = ends_only
        self._origins: list[Origin] = []
        self._times: list[int] = []
        self.seen = 0
        self.intermediate = 0

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, request: ExportLogsServiceRequest) -> None:
        """Take a request's records; those over MAX_RECORDS are counted."""
        taken = 0
        for group in request.resource_logs:
            origin = _origin(group.resource)
            for scope in group.scope_logs:
                room = max(0, MAX_RECORDS - taken)
                for record in islice(scope.log_records, room):
                    self._record(record, origin)
                taken += min(room, len(scope.log_records))
                if (over := len(scope.log_records) - room) > 0:
                    self._losses.add(Place.ACCESS_LOG, "too_many_entries", over)

    def take(self) -> RequestBatch:
        """All entries since the last call, in order of arrival."""
        batch = self._lines.take()
        for index, name in enumerate(_COLUMNS):
            batch[name] = [origin[index] for origin in self._origins]
        told = np.array(self._times, np.uint64)
        batch["time_ns"] = np.where(told > 0, told, batch["time_ns"])
        self._origins, self._times = [], []
        if self._ends_only:
            batch = self._ends(batch)
        self.seen += len(batch)
        return batch

    def _ends(self, batch: RequestBatch) -> RequestBatch:
        ends = np.isin(batch["log_type"], ENDS)
        self.intermediate += len(batch) - int(np.count_nonzero(ends))
        return batch[ends]

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
        if self._lines.knows(entry):
            taken = self._lines.add_object(entry)
        elif line:
            taken = self._lines.add(line[: _MAX_TEXT * 4].encode(errors="replace"))
        else:
            taken = self._lines.add_object(entry)
        if taken:
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
