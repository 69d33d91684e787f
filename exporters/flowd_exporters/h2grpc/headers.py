"""Values of gRPC's own headers."""

import re
from urllib.parse import quote

import grpc

from flowd_exporters.h2grpc.messages import ENCODINGS, Aborted

_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")  # blanks would be trimmed


def parse_timeout(text: str | None) -> float | None:
    """Seconds of a `grpc-timeout`; None when there is none.

    Raises:
        Aborted: it is malformed.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,8})([HMSmun])", text)
    if not match:
        raise Aborted(grpc.StatusCode.INTERNAL, "malformed grpc-timeout")
    return int(match[1]) * _UNITS[match[2]]


def request_encoding(headers: dict[str, str]) -> str:
    """How requests are compressed.

    Raises:
        Aborted: in a way that is none of ENCODINGS.
    """
    encoding = headers.get("grpc-encoding", "identity")
    if encoding not in ENCODINGS:
        raise Aborted(grpc.StatusCode.UNIMPLEMENTED, "requests are compressed in an unknown way")
    return encoding


def percent_encoded(details: str) -> str:
    """A `grpc-message`."""
    return quote(details, safe=_PRINTABLE, errors="replace")
