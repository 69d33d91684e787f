"""The `traceparent` of a request (W3C Trace Context, level 1, section 3.2)."""

import re
from typing import NamedTuple

_TRACEPARENT = re.compile(
    "(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?",
    re.DOTALL,
)
_LIMIT = 512


class TraceParent(NamedTuple):
    """Trace and caller's span in lower-case hexadecimal digits."""

    trace_id: str
    span_id: str
    sampled: bool


def parse(header: str) -> TraceParent | None:
    """The parts of a traceparent header, None when it is absent or not valid.

    Version 00 has exactly four fields; a higher version may have more, version ff is not valid.
    """
    if not header or len(header) > _LIMIT:
        return None
    match = _TRACEPARENT.fullmatch(header)
    if match is None or (match[1] == "00" and match[5] is not None):
        return None
    return TraceParent(match[2], match[3], bool(int(match[4], 16) & 1))
