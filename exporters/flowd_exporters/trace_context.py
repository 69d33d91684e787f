"""Parse the `traceparent` header (W3C Trace Context, level 1, section 3.2)."""

import re
from typing import NamedTuple

_TRACEPARENT = re.compile(
    "(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?",
    re.DOTALL,
)
_MAX_LENGTH = 512


class TraceParent(NamedTuple):
    """Ids of the trace and of the parent span, in lower-case hexadecimal digits."""

    trace_id: str
    span_id: str
    sampled: bool


def parse(header: str) -> TraceParent | None:
    """The fields of a traceparent header; None when it is absent or invalid.

    Version 00 has exactly four fields; a higher version may have more; version ff is invalid.
    """
    if not header or len(header) > _MAX_LENGTH:
        return None
    match = _TRACEPARENT.fullmatch(header)
    if match is None or (match[1] == "00" and match[5] is not None):
        return None
    return TraceParent(match[2], match[3], bool(int(match[4], 16) & 1))
