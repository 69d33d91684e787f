"""Parse FlowFilters from JSON text (`--allowlist`, `--denylist`, flow-log settings)."""

import json
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError

from flowd.filter.grammar.errors import FilterError
from flowd.wire.flow.flow_pb2 import FlowFilter

EXAMPLE = '{"source_pod":["orders/"],"verdict":["DROPPED"]}'


def parse_filters(text: str) -> list[FlowFilter]:
    """Parse any number of JSON objects, separated by spaces or commas.

    Raises:
        FilterError: the text is not JSON, or an object is not a FlowFilter.
    """
    decoder = json.JSONDecoder()
    filters: list[FlowFilter] = []
    rest = text.strip()
    while rest:
        try:
            if not rest.startswith("{"):
                raise ValueError("not an object")
            value, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError) as error:
            raise FilterError(f"{text!r} is not a filter ({error})", f"write {EXAMPLE}") from None
        filters.append(filter_of(value))
        rest = rest[end:].lstrip(" \t\r\n,")
    return filters


def filter_of(fields: dict[str, Any]) -> FlowFilter:
    """Build a filter from fields decoded from JSON or YAML.

    Raises:
        FilterError: an unknown field, or a value of the wrong type.
    """
    try:
        return ParseDict(fields, FlowFilter())
    except (ParseError, ValueError, TypeError, RecursionError) as error:
        reason = str(error).removeprefix("Failed to parse ")
        raise FilterError(f"{fields!r} is not a filter ({reason})", f"write {EXAMPLE}") from None
