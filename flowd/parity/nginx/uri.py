"""Parse and encode request targets as nginx does (src/http/ngx_http_parse.c, ngx_string.c)."""

from dataclasses import dataclass

_HEX = "0123456789abcdefABCDEF"
_KEPT = frozenset(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=:@/"
)
"""Bytes that nginx leaves as they are when it encodes a URI for a backend (NGX_ESCAPE_URI)."""


class BadTarget(ValueError):
    """nginx answers this target with 400.

    Attributes:
        cause: cause id, `bad-escape` or `above-root`.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Target:
    """A request target.

    Attributes:
        raw: as it was sent.
        path: decoded bytes of the path, dot segments resolved, slashes merged.
        query: without `?`; "" if there is none.
        fragment: the target had a `#`.
    """

    raw: str
    path: bytes
    query: str
    fragment: bool = False


def parse_target(raw: str) -> Target:
    """Decode and normalise a target (ngx_http_parse_complex_uri, with merge_slashes).

    Raises:
        BadTarget: a bad escape, an escaped NUL, or a path above the root.
    """
    rest = raw
    for scheme in ("http://", "https://"):
        if rest.lower().startswith(scheme):
            rest = "/" + rest[len(scheme) :].partition("/")[2]
    visible, fragment, _ = rest.partition("#")
    path, _, query = visible.partition("?")
    decoded = _decode(path)
    return Target(raw, _resolve(decoded), query, bool(fragment))


def _decode(path: str) -> list[int]:
    """Bytes of the path; a decoded byte counts as if it had been sent plain."""
    data = path.encode("utf-8", "surrogateescape")
    decoded: list[int] = []
    at = 0
    while at < len(data):
        byte = data[at]
        if byte != 0x25:
            decoded.append(byte)
            at += 1
            continue
        digits = data[at + 1 : at + 3].decode("latin-1")
        if len(digits) < 2 or any(digit not in _HEX for digit in digits):
            raise BadTarget("bad-escape")
        value = int(digits, 16)
        if value == 0:
            raise BadTarget("bad-escape")
        decoded.append(value)
        at += 3
    return decoded


def _resolve(decoded: list[int]) -> bytes:
    segments = bytes(decoded).split(b"/")[1:]
    kept: list[bytes] = []
    last = len(segments) - 1
    for number, segment in enumerate(segments):
        if segment == b"..":
            if not kept:
                raise BadTarget("above-root")
            kept.pop()
        elif segment not in (b".", b"") or (segment == b"" and number == last):
            kept.append(segment)
            continue
        if number == last:
            kept.append(b"")
    return b"/" + b"/".join(kept)


def encode_path(path: bytes) -> str:
    """Encode a path for the backend after a rewrite (ngx_escape_uri, NGX_ESCAPE_URI)."""
    return "".join(chr(byte) if byte in _KEPT else f"%{byte:02X}" for byte in path)
