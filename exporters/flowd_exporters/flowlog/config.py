"""FlowLogSpec: settings of a flow log, and the YAML file of several logs in Hubble's form.

flowLogs:
- name: drops
  filePath: /var/log/flowd/drops.log
  fieldMask: [time, verdict, source, destination]
  includeFilters: [{verdict: [DROPPED]}]
  end: "2026-12-31T00:00:00Z"
"""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from msgspec import Meta

from flowd.errors import UsageError
from flowd.filter import FilterError, filter_of, parse_filters
from flowd.wire.flow.flow_pb2 import FlowFilter
from flowd_exporters.hubble.encode.field_mask import MaskError, parse_mask

STATIC = "static"
"""Name of the log from the agent's settings."""

MAX_CONFIG = 1 << 20
MAX_LOGS = 64

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 0.0}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|)")
_DURATION = re.compile(r"0|(?:\d{1,9}(?:\.\d{1,9})?(?:ms|s|m|h)){1,4}")

_Text = Annotated[str, Meta(min_length=1, max_length=4096)]


@dataclass(frozen=True)
class FlowLogSpec:
    """Settings of one flow log.

    Attributes:
        name: unique among the logs of an agent.
        fields: paths of flow.Flow to write; none means all.
        include, exclude: a flow must match one of the former, if any, and none of the latter.
        max_size: size of the file in bytes at which it is rotated.
        max_backups: bound on the number of rotated files; 0 keeps all.
        compress: whether rotated files are compressed with gzip.
        end: Unix time in seconds at which writing stops; 0 for never.
        aggregate: paths of flow.Flow to group flows by, one line with counts a group; none for one
            line a flow.
        interval: seconds between the lines of groups.
    """

    name: str
    path: Path
    fields: tuple[str, ...] = ()
    include: tuple[FlowFilter, ...] = ()
    exclude: tuple[FlowFilter, ...] = ()
    max_size: int = 10 << 20
    max_backups: int = 5
    compress: bool = False
    end: float = 0.0
    aggregate: tuple[str, ...] = ()
    interval: float = 30.0


class _LogEntry(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=64)]
    file_path: _Text
    field_mask: list[str] = []
    include_filters: list[dict[str, Any]] = []
    exclude_filters: list[dict[str, Any]] = []
    field_aggregate: list[str] = []
    aggregation_interval: str | int | float = 0
    file_max_size_mb: Annotated[int, Meta(ge=0, le=1 << 20)] = 0
    file_max_backups: Annotated[int, Meta(ge=0, le=1 << 20)] = 0
    file_compress: bool = False
    end: Annotated[datetime, Meta(tz=True)] | None = None


class _ConfigFile(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    flow_logs: Annotated[list[_LogEntry], Meta(max_length=MAX_LOGS)] = []


def static_log(
    path: str,
    allowlist: str,
    denylist: str,
    field_mask: tuple[str, ...],
    max_size: int,
    max_backups: int,
    compress: bool,
    aggregate: tuple[str, ...] = (),
    interval: float = 30.0,
) -> FlowLogSpec:
    """The log from the agent's settings; filters are concatenated JSON objects.

    Raises:
        UsageError: a filter or a field cannot be used.
    """
    try:
        include, exclude = parse_filters(allowlist), parse_filters(denylist)
    except FilterError as error:
        raise UsageError(f"flow log filters: {error.message}", error.hint) from None
    _check_fields(STATIC, (*field_mask, *aggregate))
    return FlowLogSpec(
        STATIC,
        Path(path),
        field_mask,
        tuple(include),
        tuple(exclude),
        max_size,
        max_backups,
        compress,
        aggregate=aggregate,
        interval=interval,
    )


def read_config(path: Path) -> bytes:
    """The contents of a configuration file, at most MAX_CONFIG bytes.

    Raises:
        UsageError: the file cannot be read or is too large.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CONFIG + 1)
    except OSError as error:
        raise UsageError(f"cannot read flow logs {path}: {error.strerror}") from None
    if len(text) > MAX_CONFIG:
        raise UsageError(f"flow logs {path}: larger than {MAX_CONFIG >> 20} MiB")
    return text


def parse_config(path: Path, text: bytes) -> list[FlowLogSpec]:
    """The logs of a configuration file.

    Raises:
        UsageError: the file is not YAML, or an entry is invalid; the message names the entry.
    """
    try:
        document = msgspec.convert(yaml.safe_load(text) or {}, _ConfigFile)
        logs = [_spec(entry) for entry in document.flow_logs]
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"flow logs {path}: not YAML: {str(error).splitlines()[0]}") from None
    except (msgspec.ValidationError, FilterError, UsageError) as error:
        raise UsageError(f"flow logs {path}: {error}") from None
    for key, values in (("name", [log.name for log in logs]), ("filePath", _paths(logs))):
        duplicates = sorted({value for value in values if values.count(value) > 1})
        if duplicates or STATIC in values:
            raise UsageError(f"flow logs {path}: {key} {(duplicates or [STATIC])[0]!r} is taken")
    return logs


def _paths(logs: list[FlowLogSpec]) -> list[str]:
    return [str(log.path) for log in logs]


def _spec(entry: _LogEntry) -> FlowLogSpec:
    _check_fields(entry.name, (*entry.field_mask, *entry.field_aggregate))
    interval = _seconds(entry.aggregation_interval)
    if bool(entry.field_aggregate) != bool(interval):
        raise UsageError(f"{entry.name}: fieldAggregate and aggregationInterval need each other")
    return FlowLogSpec(
        entry.name,
        Path(entry.file_path),
        tuple(entry.field_mask),
        tuple(filter_of(one) for one in entry.include_filters),
        tuple(filter_of(one) for one in entry.exclude_filters),
        (entry.file_max_size_mb or 10) << 20,
        entry.file_max_backups or 5,
        entry.file_compress,
        entry.end.timestamp() if entry.end else 0.0,
        tuple(entry.field_aggregate),
        interval or 30.0,
    )


def _seconds(text: str | float) -> float:
    """Seconds of a number, or of a Go duration such as `1m30s`.

    Raises:
        UsageError: the text is no duration.
    """
    if not isinstance(text, str):
        return float(max(text, 0))
    if not _DURATION.fullmatch(text):
        raise UsageError(f"aggregationInterval {text[:40]!r} is no duration: write 30s")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def _check_fields(name: str, fields: tuple[str, ...]) -> None:
    try:
        parse_mask(fields)
    except MaskError as error:
        raise UsageError(f"flow log {name}: {error}") from None
