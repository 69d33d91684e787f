"""Load access-log formats from a snippet of Envoy configuration (YAML or JSON)."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast

import yaml

from flowd.accesslog.fields import field_of
from flowd.accesslog.jsonformat import JsonFormat
from flowd.accesslog.operators import Operator, split_format
from flowd.accesslog.textformat import TextFormat
from flowd.errors import UsageError

Format: TypeAlias = JsonFormat | TextFormat
MAX_BYTES = 4 << 20
_JSON_KEYS = (
    "json_format",
    "typed_json_format",
    "jsonFormat",
    "json",
    "labels",
    "attributes",
)
_TEXT_KEYS = ("text_format", "textFormat", "stringFormat", "inline_string", "inlineString", "text")
_MAX_DEPTH = 64


def load_formats(path: Path) -> list[Format]:
    """Load the formats in a file.

    The file is YAML or JSON with a `json_format` or `text_format` at any depth (keys of Envoy,
    Envoy Gateway, Istio, kgateway and Envoy's OpenTelemetry logger), or only the mapping of a JSON
    format, or only the text of a text format.

    Raises:
        UsageError: the file is unreadable or has no format.
    """
    hint = "give the json_format or text_format of the Envoy configuration"
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"access-log format {path}: {error.strerror or error}", hint) from None
    if len(data) > MAX_BYTES:
        raise UsageError(f"access-log format {path}: larger than {MAX_BYTES >> 20} MiB", hint)
    text = data.decode(errors="replace")
    try:
        formats = list(_formats(text))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"access-log format {path}: {error}", hint) from None
    if not formats:
        raise UsageError(f"access-log format {path}: no operator that is known in it", hint)
    return formats


def _formats(text: str) -> Iterator[Format]:
    try:
        documents: list[object] = list(yaml.safe_load_all(text))
    except yaml.YAMLError:
        documents = [text.strip()]  # a bare text format: `[%START_TIME%] ...` is no YAML
    for document in documents:
        if isinstance(document, str):
            yield from _text(document)
            continue
        found = list(_walk(document, 0))
        if not found and isinstance(document, dict):
            found = list(_json(cast("dict[str, object]", document)))
        yield from found


def _walk(value: object, depth: int) -> Iterator[Format]:
    if depth > _MAX_DEPTH:
        raise ValueError(f"nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, list):
        for item in cast("list[object]", value):
            yield from _walk(item, depth + 1)
    if not isinstance(value, dict):
        return
    for key, inner in cast("dict[str, object]", value).items():
        if key in _JSON_KEYS and isinstance(inner, dict):
            yield from _json(cast("dict[str, object]", inner))
        elif key in _TEXT_KEYS and isinstance(inner, str):
            yield from _text(inner)
        else:
            yield from _walk(inner, depth + 1)


def _json(spec: dict[str, object]) -> Iterator[Format]:
    pairs = spec.get("values")
    if isinstance(pairs, list):
        spec = dict(_pairs(cast("list[Any]", pairs)))
    if any(_has_fields(value) for value in spec.values()):
        yield JsonFormat(spec)


def _text(text: str) -> Iterator[Format]:
    if _has_fields(text):
        yield TextFormat(text)


def _has_fields(value: object) -> bool:
    """Whether a value has a known operator at any depth."""
    if isinstance(value, Mapping):
        return any(map(_has_fields, cast("Mapping[str, object]", value).values()))
    if not isinstance(value, str) or "%" not in value:
        return False
    return any(isinstance(part, Operator) and field_of(part) for part in split_format(value))


def _pairs(items: list[Any]) -> Iterator[tuple[str, object]]:
    """Pairs of an OpenTelemetry KeyValueList: `{key, value: {string_value}}`."""
    for item in items:
        if isinstance(item, dict) and "key" in item:
            pair = cast("dict[str, Any]", item)
            value = pair.get("value")
            text = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
            yield str(pair["key"]), text.get("string_value", text.get("stringValue"))
