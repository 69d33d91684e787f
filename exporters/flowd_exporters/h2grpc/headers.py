"""Parse and write gRPC's headers `grpc-timeout`, `grpc-encoding` and `grpc-message`."""

import re
from urllib.parse import quote

import grpc

from flowd_exporters.h2grpc.messages import ENCODINGS, Aborted

_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")  # blanks would be trimmed


def parse_timeout(text: str | None) -> float | None:
    """Seconds of a `grpc-timeout`; None for an absent header.

    Raises:
        Aborted: the header is malformed.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,8})([HMSmun])", text)
    if not match:
        raise Aborted(grpc.StatusCode.INTERNAL, "malformed grpc-timeout")
    return int(match[1]) * _UNITS[match[2]]


def request_encoding(headers: dict[str, str]) -> str:
    """The `grpc-encoding` of requests, `identity` by default.

    Raises:
        Aborted: the encoding is none of ENCODINGS.
    """
    encoding = headers.get("grpc-encoding", "identity")
    if encoding not in ENCODINGS:
        raise Aborted(grpc.StatusCode.UNIMPLEMENTED, "requests are compressed in an unknown way")
    return encoding


def percent_encoded(details: str) -> str:
    """The value of `grpc-message`: percent-encoded UTF-8."""
    return quote(details, safe=_PRINTABLE, errors="replace")
